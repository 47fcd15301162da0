"""What the right answer is: plain readers that take nothing for granted."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

INDEXED, STRONG, FOREGROUND = 1 << 2, 1 << 5, 4
SIZES = {
    "bool": 1,
    "int": 4,
    "std::size_t": 8,
    "double": 8,
    "vec2<double>": 16,
    "vec3<double>": 24,
    "mat3<double>": 72,
    "int6": 24,
    "cctbx::miller::index<>": 12,
}


class NotATable(Exception):
    """What no reader should accept."""


def pixel_counts(path: Path) -> Counter:
    """How often each finite value occurs in foreground pixels, by experiment.

    Of the indexed reflections, or of the strong ones where none is indexed.

    Raises:
        NotATable: The file is damaged.
    """
    content = path.read_bytes()
    if content.startswith(b"\x89HDF"):
        return _count(*_from_hdf5(path))
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(1 << 28)
        except Exception as e:
            raise NotATable(str(e)) from e
    return _count(*_from_msgpack(content))


def _count(flags, ids, boxes) -> Counter:
    for bit in (INDEXED, STRONG):
        rows = [i for i in range(len(ids)) if int(flags[i]) & bit and ids[i] >= 0]
        if rows:
            break
    counts: Counter = Counter()
    for row in rows:
        if boxes[row] is None:
            raise NotATable(f"the shoebox of row {row} is damaged")
        data, mask = boxes[row]
        values = data[(mask & FOREGROUND) != 0]
        counts.update((int(ids[row]), float(v)) for v in values[np.isfinite(values)])
    return counts


def _from_hdf5(path: Path):
    with h5py.File(path, "r") as file:
        steps = file["dials"]
        (table,) = steps[list(steps)[-1]].values()
        shoebox = table["shoebox"]
        # As in msgpack, what is missing is 0
        nothing = np.zeros(len(shoebox["bbox"]), np.int64)
        flags, ids = (
            table[name][()] if name in table else nothing for name in ("flags", "id")
        )
        sides = np.diff(shoebox["bbox"][()].astype(int).reshape(-1, 3, 2))[..., 0]
        data, mask = shoebox["shoebox_data"][()], shoebox["shoebox_mask"][()]
    ends = np.cumsum(sides.prod(axis=1))
    if len(ends) and ends[-1] != len(data):
        ends = np.cumsum(sides[:, :2].prod(axis=1))
    if len(ends) != len(ids) or ends[-1] != len(data) or len(mask) != len(data):
        raise NotATable("shoeboxes")
    starts = [0, *ends[:-1]]
    return flags, ids, [(data[i:j], mask[i:j]) for i, j in zip(starts, ends)]


class _Stream:
    def __init__(self, content: bytes):
        self.content, self.at = content, 0

    def take(self, n: int) -> bytes:
        piece = self.content[self.at : self.at + n]
        if len(piece) != n:
            raise NotATable("it ends early")
        self.at += n
        return piece

    def item(self):
        """The next item of msgpack, of the kinds that tables are made of."""
        tag = self.take(1)[0]
        if tag < 0x80:
            return tag
        if tag < 0x90:
            return self.items(2 * (tag & 15), dict)
        if tag < 0xA0:
            return self.items(tag & 15, list)
        if tag < 0xC0:
            return self.take(tag & 31).decode(errors="replace")
        numbers = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
        if tag in numbers:
            return self.number(numbers[tag])
        if tag in (0xC4, 0xC5, 0xC6):
            return self.take(self.number(">" + "BHI"[tag - 0xC4]))
        if tag in (0xD9, 0xDA, 0xDB):
            n = self.number(">" + "BHI"[tag - 0xD9])
            return self.take(n).decode(errors="replace")
        if tag in (0xDC, 0xDD):
            return self.items(self.number(">" + "HI"[tag - 0xDC]), list)
        if tag in (0xDE, 0xDF):
            return self.items(2 * self.number(">" + "HI"[tag - 0xDE]), dict)
        raise NotATable(f"tag {tag}")

    def items(self, n: int, kind: type):
        found = [self.item() for _ in range(n)]
        return found if kind is list else dict(zip(found[::2], found[1::2]))

    def number(self, fmt: str) -> int:
        return struct.unpack(fmt, self.take(struct.calcsize(fmt)))[0]


def _blobs(content: bytes) -> tuple[int, dict[str, bytes]]:
    """Number of rows and the columns of a table in msgpack."""
    try:
        name, version, table = _Stream(content).item()
        n, columns = table["nrows"], table["data"]
        blobs = {}
        for key, (kind, (n_rows, blob)) in columns.items():
            if n_rows != n or len(blob) != n * SIZES.get(kind, len(blob) / max(n, 1)):
                raise NotATable(key)
            blobs[key] = blob
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise NotATable(str(e)) from e
    if name != "dials::af::reflection_table" or version not in (1, 2):
        raise NotATable("header")
    return n, blobs


def _from_msgpack(content: bytes):
    n, blobs = _blobs(content)
    flags = np.frombuffer(blobs.get("flags", bytes(8 * n)), "<u8")
    ids = np.frombuffer(blobs.get("id", bytes(4 * n)), "<i4")
    if "shoebox" not in blobs:
        raise NotATable("no shoeboxes")
    bbox = blobs.get("bbox")
    if bbox is not None:
        bbox = np.frombuffer(bbox, "<i4").reshape(n, 6)
    return flags, ids, _shoeboxes(_Stream(blobs["shoebox"]), n, bbox)


def _shoeboxes(stream: _Stream, n: int, bbox: np.ndarray | None) -> list:
    """Where the column of bounding boxes says; else record by record."""
    error = None
    flag = stream.content[28] if len(stream.content) > 28 else 0
    # Flattened if they do not add up otherwise
    attempts = [(bbox, flat) for flat in (False, True)] if bbox is not None else []
    for boxes, flat in [*attempts, (None, False), (None, True)]:
        stream.at = 0
        try:
            if boxes is None:
                found = [_record(stream, flat) for _ in range(n)]
            else:
                found = [_record(stream, flat, box, flag) for box in boxes]
            if stream.at != len(stream.content):
                raise NotATable("the shoeboxes do not add up")
            return found
        except NotATable as e:
            error = e
    raise error


def _size(box, flat: bool) -> int:
    x0, x1, y0, y1, z0, z1 = map(int, box)
    return (x1 - x0) * (y1 - y0) * (1 if flat else z1 - z0)


def _record(
    stream: _Stream, flat: bool, box: np.ndarray | None = None, usual: int = 0
) -> tuple[np.ndarray, np.ndarray] | None:
    """A shoebox; None if it is not as long as its column of boxes says."""
    _, *own = struct.unpack("<I6i", stream.take(28))
    flag = stream.take(1)[0]
    sound = flag in (0, 1, 2)
    if box is not None:
        sound &= flag == usual and (not flag or _size(own, flat) == _size(box, flat))
        flag, own = usual, box
    elif not sound:
        raise NotATable(f"flag {flag}")
    size = _size(own, flat) if flag else 0
    if size < 0:
        raise NotATable("negative size")
    data = np.frombuffer(stream.take(4 * size), "<f4")
    kind = "<i4" if flag == 1 else "u1"
    mask = np.frombuffer(stream.take(size * np.dtype(kind).itemsize), kind)
    stream.take(4 * size)
    return (data, mask) if sound else None


def wrong_histogram(folder: Path, refl: Path) -> str:
    """What is wrong with the histograms made of a table's foreground pixels, or ""."""
    try:
        truth = pixel_counts(refl)
    except NotATable as e:
        return f"accepted, and a plain reader says: {e}"
    content = json.loads((folder / "dials.pixel_histogram.json").read_text())
    parameters = content["parameters"]
    low, high = parameters["histogram.minimum"], parameters["histogram.maximum"]
    expected: Counter = Counter()
    for (_, value), n in truth.items():
        if low <= value <= high:
            expected[int(min(value, high - 1))] += n
    found: Counter = Counter()
    for path in folder.glob("*.hist"):
        if "_intensity" not in path.name:
            for line in path.read_text().splitlines():
                centre, n = line.split()
                found[int(float(centre))] += int(n)
    wrong = [bin_ for bin_ in found | expected if found[bin_] != expected[bin_]]
    # Values a hair outside the range count, as in flex.histogram
    if wrong and wrong != [int(low)] and wrong != [int(high) - 1]:
        bin_ = wrong[0]
        return f"{found[bin_]} pixels of {bin_}, and {expected[bin_]} in the file"
    return ""


# Pixels of the images that hold one value all the time, (slow, fast)
BAD_PIXELS = {(100, 200): 0, (400, 300): 777}
# No damage to geometry or header makes so many pixels bad that stand alone
MOST_BAD = 2000


def wrong_bad_pixels(folder: Path, target: Path) -> str:
    """What is wrong with the bad pixels, their masks and their list, or ""."""
    from dials_jungfrau_qc.io.masks import read_mask

    content = json.loads((folder / "dials.find_bad_pixels.json").read_text())
    found = {(p["panel"], p["slow"], p["fast"]) for p in content["pixels"]}
    masks = read_mask(folder / "pixels.mask")
    places = {
        (panel, *map(int, place))
        for panel, mask in enumerate(masks)
        for place in np.argwhere(~mask)
    }
    if places != found:
        return "the mask and the list have different pixels"
    with h5py.File(folder / "bad_pixels.h5") as file:
        n_bits = int(np.count_nonzero(file["/entry/instrument/detector/pixel_mask"]))
    lines = (folder / "bad_pixels.dat").read_text().splitlines()
    if not n_bits == len(lines) - 1 == len(found):
        return f"{len(found)} pixels, {n_bits} with bits, {len(lines) - 1} in the table"
    counts = [sum(panel["counts"].values()) for panel in content["panels"]]
    if sum(counts) != len(found):
        return f"{sum(counts)} pixels by kind, and {len(found)} in the list"
    if target.suffix == ".nxs":
        return ""
    if len(found) > MOST_BAD:
        return f"{len(found)} pixels are called bad"
    known = np.ones(masks[0].shape, bool)
    mask_file = _mask_of(folder, target)
    if mask_file is not None:
        (known,) = read_mask(mask_file)
    whole = content["n_images"] == 12 and not any(
        s["skipped"] for s in content["sweeps"]
    )
    for place in BAD_PIXELS:
        if whole and known[place] and (0, *place) not in found:
            return f"{place} is not found"
    return ""


def _mask_of(folder: Path, target: Path) -> Path | None:
    """The mask that an experiment list in the folder names."""
    lists = list(folder.glob("*.expt"))
    if not lists or target.suffix == ".refl":
        return None
    name = json.loads(lists[0].read_text())["imageset"][0].get("mask")
    return folder / name if name else None


def wrong_matches(folder: Path, _: Path) -> str:
    """What is wrong with the matched intensities of sweeps, or "".

    Every pair must be the intensities that the files have for one Miller index.
    """
    content = json.loads((folder / "dials.transmission_linearity.json").read_text())
    try:
        intensities = _intensities(content, folder)
    except NotATable as e:
        return f"accepted, and a plain reader says: {e}"
    reference = content["reference"]
    for sweep in content["sweeps"]:
        if sweep["id"] == reference or sweep["reindexed"]:
            continue
        path = folder / f"matched{sweep['id']}.dat"
        rows = [line.split() for line in path.read_text().splitlines()[1:]]
        if sweep["n_matched"] != len(rows):
            return f"{sweep['n_matched']} matched, and {len(rows)} written"
        for row in rows:
            index = tuple(map(int, row[:3]))
            for k, text in ((reference, row[3]), (sweep["id"], row[5])):
                values = intensities[k].get(index, ())
                if not any(_printed_alike(value, text) for value in values):
                    return f"{index} of sweep {k} has {text}, the file {values}"
    return ""


def _printed_alike(value: float, text: str) -> bool:
    return abs(value - float(text)) <= 6e-5 + 1e-6 * abs(value)


def _intensities(content: dict, folder: Path) -> list[dict[tuple, list[float]]]:
    """Of each sweep the intensities by Miller index, from one file or several."""
    names = [Path(name) for name in content["input"] if name.endswith(".refl")]
    column = {"profile": "intensity.prf.value", "sum": "intensity.sum.value"}
    sweeps: list[dict[tuple, list[float]]] = []
    n_sweeps = len(content["sweeps"])
    for name in names:
        raw = (folder / name.name).read_bytes()
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(1 << 28)
        n, blobs = _blobs(raw)
        ids = np.frombuffer(blobs.get("id", bytes(4 * n)), "<i4")
        values = np.frombuffer(blobs[column[content["intensity"]]], "<f8")
        indices = np.frombuffer(blobs["miller_index"], "<i4").reshape(n, 3)
        for i in range(n_sweeps if len(names) == 1 else 1):
            own: dict[tuple, list[float]] = {}
            for row in np.flatnonzero(ids == i):
                own.setdefault(tuple(indices[row].tolist()), []).append(values[row])
            sweeps.append(own)
    return sweeps
