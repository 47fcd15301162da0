"""Reflection files made by the tests: by DIALS, and byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

INDEXED, STRONG, INTEGRATED_SUM = 1 << 2, 1 << 5, 1 << 8


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">BB", 0xD9, len(raw)) + raw


def uint(value: int) -> bytes:
    return struct.pack(">BQ", 0xCF, value)


def column(name: str, kind: str, n_rows: int, blob: bytes) -> bytes:
    return (
        text(name)
        + b"\x92"
        + text(kind)
        + b"\x92"
        + uint(n_rows)
        + struct.pack(">BI", 0xC6, len(blob))
        + blob
    )


def shoebox_record(
    panel: int,
    bbox: Sequence[int],
    data: np.ndarray | None,
    mask: np.ndarray | None,
    background: np.ndarray | None,
    version: int,
) -> bytes:
    head = struct.pack("<I6i", panel % (1 << 32), *bbox)
    if data is None:
        return head + b"\x00"
    mask_type = {1: "<i4", 2: "u1"}[version]
    return (
        head
        + struct.pack("B", version)
        + data.astype("<f4").tobytes()
        + mask.astype(mask_type).tobytes()
        + background.astype("<f4").tobytes()
    )


def refl_bytes(
    columns: Mapping[str, tuple[str, np.ndarray | bytes]],
    n_rows: int,
    version: int = 1,
    identifiers: Mapping[int, str] | None = None,
) -> bytes:
    """A reflection table as DIALS' msgpack format lays it out."""
    out = b"\x93" + b"\xbb" + b"dials::af::reflection_table"
    out += uint(version) + b"\x83" + text("identifiers")
    identifiers = identifiers or {}
    out += struct.pack(">BH", 0xDE, len(identifiers))
    for key, name in identifiers.items():
        out += uint(key) + text(name)
    out += text("nrows") + uint(n_rows) + text("data")
    out += struct.pack(">BH", 0xDE, len(columns))
    for name, (kind, blob) in columns.items():
        raw = blob if isinstance(blob, bytes) else blob.tobytes()
        out += column(name, kind, n_rows, raw)
    return out


def table_bytes(
    boxes: Sequence[tuple[np.ndarray, np.ndarray]],
    version: int = 1,
    ids: Sequence[int] | None = None,
    flags: Sequence[int] | None = None,
    panels: Sequence[int] | None = None,
    with_bbox: bool = True,
    flatten: bool = False,
    identifiers: Mapping[int, str] | None = None,
    extra: Mapping[str, tuple[str, np.ndarray]] | None = None,
) -> bytes:
    """A table of shoeboxes, each given as data and mask of shape (dz, dy, dx)."""
    n = len(boxes)
    panels = panels or [0] * n
    bboxes, blob = [], b""
    for (data, mask), panel in zip(boxes, panels):
        dz, dy, dx = data.shape
        bbox = (5, 5 + dx, 7, 7 + dy, 2, 2 + dz)
        bboxes.append(bbox)
        if flatten:
            data, mask = data.sum(axis=0), mask.max(axis=0)
        blob += shoebox_record(
            panel,
            bbox,
            data if data.size else None,
            mask,
            np.full(data.shape, 0.5),
            version,
        )
    columns = {
        "flags": ("std::size_t", np.array(flags or [INDEXED | STRONG] * n, "<u8")),
        "id": ("int", np.array(ids or [0] * n, "<i4")),
        "panel": ("std::size_t", np.array(panels, "<u8")),
        **(extra or {}),
    }
    if with_bbox:
        columns["bbox"] = ("int6", np.array(bboxes, "<i4"))
    columns["shoebox"] = ("Shoebox<>", blob)
    return refl_bytes(columns, n, version, identifiers)


def random_boxes(
    n: int, seed: int = 0, mean: float = 40.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Shoeboxes of random shapes with Poisson values and random masks."""
    rng = np.random.default_rng(seed)
    boxes = []
    for _ in range(n):
        shape = tuple(rng.integers(1, 5, size=3))
        data = rng.poisson(rng.exponential(mean, size=shape)).astype(np.float32)
        boxes.append((data, rng.choice([0, 1, 3, 5, 37], size=shape)))
    return boxes


def dials_table(
    n: int = 60,
    n_experiments: int = 1,
    seed: int = 0,
    mean: float = 40.0,
    indexed: float = 0.8,
    n_panels: int = 1,
):
    """A flex.reflection_table with shoeboxes, as spot finding and indexing make them."""
    from dxtbx import flumpy
    from scitbx.array_family import flex as scitbx_flex

    from dials.array_family import flex

    rng = np.random.default_rng(seed)
    boxes = random_boxes(n, seed, mean)
    table = flex.reflection_table()
    table["id"] = flex.int(rng.integers(0, n_experiments, size=n).astype(int).tolist())
    panels = rng.integers(0, n_panels, size=n)
    table["panel"] = flex.size_t(panels.tolist())
    shapes = [data.shape for data, _ in boxes]
    bbox = [(5, 5 + dx, 7, 7 + dy, 2, 2 + dz) for dz, dy, dx in shapes]
    table["bbox"] = flex.int6(bbox)
    shoeboxes = flex.shoebox(table["panel"], table["bbox"], allocate=True)
    for shoebox, (data, mask) in zip(shoeboxes, boxes):
        grid = scitbx_flex.grid(*data.shape)
        values = flumpy.from_numpy(data.astype(np.float32).ravel().copy())
        values.reshape(grid)
        shoebox.data = values
        codes = flumpy.from_numpy(
            mask.astype(shoebox.mask.as_numpy_array().dtype).ravel().copy()
        )
        codes.reshape(grid)
        shoebox.mask = codes
    table["shoebox"] = shoeboxes
    flags = np.where(rng.random(n) < indexed, INDEXED | STRONG, STRONG)
    table["flags"] = flex.size_t(flags.astype(int).tolist())
    table["xyzobs.px.value"] = flex.vec3_double(
        rng.uniform(0, 100, size=(n, 3)).tolist()
    )
    table["intensity.sum.value"] = flex.double(
        [float(d[m & 4 != 0].sum()) for d, m in boxes]
    )
    for i in range(n_experiments):
        table.experiment_identifiers()[i] = f"experiment-{i}"
    return table


def write_table(path: Path, **kwargs) -> Path:
    dials_table(**kwargs).as_file(str(path))
    return path
