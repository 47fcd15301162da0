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
        data, mask = boxes[row]
        values = data[(mask & FOREGROUND) != 0]
        counts.update((int(ids[row]), float(v)) for v in values[np.isfinite(values)])
    return counts


def _from_hdf5(path: Path):
    with h5py.File(path, "r") as file:
        steps = file["dials"]
        (table,) = steps[list(steps)[-1]].values()
        flags, ids = table["flags"][()], table["id"][()]
        shoebox = table["shoebox"]
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


def _from_msgpack(content: bytes):
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
    flags = np.frombuffer(blobs.get("flags", bytes(8 * n)), "<u8")
    ids = np.frombuffer(blobs.get("id", bytes(4 * n)), "<i4")
    if "shoebox" not in blobs:
        raise NotATable("no shoeboxes")
    bbox = blobs.get("bbox")
    if bbox is not None:
        bbox = np.frombuffer(bbox, "<i4").reshape(n, 6)
    return flags, ids, _shoeboxes(_Stream(blobs["shoebox"]), n, bbox)


def _shoeboxes(stream: _Stream, n: int, bbox: np.ndarray | None) -> list:
    """Record by record; flattened if they do not add up otherwise."""
    error = None
    for flat in (False, True):
        stream.at = 0
        try:
            boxes = [_record(stream, flat) for _ in range(n)]
            if stream.at != len(stream.content):
                raise NotATable("the shoeboxes do not add up")
            return boxes
        except NotATable as e:
            error = e
    raise error


def _record(stream: _Stream, flat: bool) -> tuple[np.ndarray, np.ndarray]:
    _, x0, x1, y0, y1, z0, z1 = struct.unpack("<I6i", stream.take(28))
    flag = stream.take(1)[0]
    if flag not in (0, 1, 2):
        raise NotATable(f"flag {flag}")
    size = (x1 - x0) * (y1 - y0) * (1 if flat else z1 - z0) if flag else 0
    if size < 0:
        raise NotATable("negative size")
    data = np.frombuffer(stream.take(4 * size), "<f4")
    kind = "<i4" if flag == 1 else "u1"
    mask = np.frombuffer(stream.take(size * np.dtype(kind).itemsize), kind)
    stream.take(4 * size)
    return data, mask


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
