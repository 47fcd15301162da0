"""The pixels of shoeboxes, taken out of the blob in which DIALS stores them.

Records have variable size and carry no index, so the offsets follow from the
bounding boxes: one cumulative sum, then checked against every record's own header.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.io.errors import InputError

# Bits of the shoebox mask (dials/algorithms/shoebox/mask_code.h)
VALID = 1
BACKGROUND = 2
FOREGROUND = 4
STRONG = 8
BACKGROUND_USED = 16
OVERLAPPED = 32

HEADER_SIZE = 29
HEADER = np.dtype([("panel", "<u4"), ("bbox", "<i4", (6,)), ("flag", "u1")])

# Bytes of a mask element for each value of the flag byte that says "pixels follow"
MASK_BYTES = {1: 4, 2: 1}

# Read and work on this much at a time: large enough that the cost of a call does not
# matter, small enough for the caches and for the memory that is promised.
BLOCK_BYTES = 1 << 23

# No shoebox of a real detector comes near; more is a damaged bounding box.
MAX_PIXELS = 1 << 31

ReadBytes = Callable[[int, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ShoeboxPixels:
    """The pixels of a block of shoeboxes.

    Attributes:
        rows: Row of each shoebox in the table, shape (n,).
        sizes: Number of pixels of each shoebox, shape (n,).
        data: Pixel values of all the shoeboxes one after the other, shape (sum(sizes),),
            float32.
        mask: Their mask codes, same shape.
        background: Their background values, same shape, or None if not asked for.
    """

    rows: np.ndarray
    sizes: np.ndarray
    data: np.ndarray
    mask: np.ndarray
    background: np.ndarray | None


def bbox_sizes(bbox: np.ndarray, flat: bool = False) -> np.ndarray:
    """Number of pixels in each bounding box.

    Args:
        bbox: x0, x1, y0, y1, z0, z1, half open, shape (n, 6).
        flat: The shoeboxes were flattened: one layer whatever z0 and z1 say.

    Returns:
        Shape (n,) int64; -1 for a box whose sides are negative or absurd.
    """
    sides = (bbox[:, 1::2].astype(np.int64) - bbox[:, ::2]).T
    valid = np.all((sides >= 0) & (sides <= 1 << 20), axis=0)
    dx, dy, dz = np.where(valid, sides, 0)
    n = dx * dy * (1 if flat else dz)
    return np.where(valid & (n < MAX_PIXELS), n, -1)


def iter_shoebox_blob(
    path: Path,
    read: ReadBytes,
    offset: int,
    n_bytes: int,
    bbox: np.ndarray | None,
    n_rows: int,
    rows: np.ndarray,
    background: bool,
) -> Iterator[ShoeboxPixels]:
    """Read the pixels of shoeboxes, in blocks of bounded size.

    Args:
        path: The file's name, for messages.
        read: Reads bytes of the file, given offset and number.
        offset: Where the blob begins in the file, bytes.
        n_bytes: Its length, bytes.
        bbox: The table's bounding boxes, shape (n_rows, 6), if it has them.
        n_rows: The number of shoeboxes in the blob.
        rows: The rows wanted, ascending, shape (n,).
        background: Read the background values as well.

    Raises:
        InputError: The records do not add up to the blob.
    """
    layout = _record_layout(path, read, offset, n_bytes, bbox, n_rows)
    starts, sizes, mask_bytes = (a[rows] for a in layout)
    ends = starts + HEADER_SIZE + sizes * (8 + mask_bytes)
    first = 0
    while first < len(rows):
        # As many shoeboxes as fit into a block, and at least one
        limit = starts[first] + BLOCK_BYTES
        last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
        begin, end = int(starts[first]), int(ends[last - 1])
        block = slice(first, last)
        yield _take_pixels(
            path,
            read(offset + begin, end - begin),
            rows[block],
            starts[block] - begin,
            sizes[block],
            mask_bytes[block],
            background,
        )
        first = last


def _record_layout(
    path: Path,
    read: ReadBytes,
    offset: int,
    n_bytes: int,
    bbox: np.ndarray | None,
    n_rows: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset in the blob, number of pixels and bytes of a mask element by record.

    A record without pixels has size 0 and 0 bytes a mask element.
    """
    if n_rows * HEADER_SIZE > n_bytes:
        raise InputError(
            f"{path}: {n_rows} shoeboxes do not fit into {n_bytes} bytes: the file is "
            "damaged"
        )
    if bbox is not None and n_rows:
        flag = int(read(offset + HEADER_SIZE - 1, 1)[0])
        # Flattened shoeboxes hold one layer and keep their z0 and z1
        for flat in (False, True):
            sizes = bbox_sizes(bbox, flat) if flag else np.zeros(n_rows, np.int64)
            mask_bytes = MASK_BYTES.get(flag, 0)
            lengths = HEADER_SIZE + sizes * (8 + mask_bytes)
            if sizes.min() >= 0 and lengths.sum() == n_bytes:
                starts = np.cumsum(lengths) - lengths
                return starts, sizes, np.full(n_rows, mask_bytes)
    return _walk_records(path, read, offset, n_bytes, n_rows)


def _walk_records(
    path: Path, read: ReadBytes, offset: int, n_bytes: int, n_rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same from the records themselves, one after the other.

    For tables without bounding boxes and for blobs in which only some of the
    shoeboxes have pixels.
    """
    starts = np.empty(n_rows, dtype=np.int64)
    sizes = np.empty(n_rows, dtype=np.int64)
    mask_bytes = np.empty(n_rows, dtype=np.int64)
    position = 0
    window, window_start = np.empty(0, dtype=np.uint8), 0
    for row in range(n_rows):
        if position + HEADER_SIZE > n_bytes:
            raise InputError(f"{path}: the shoeboxes end before row {row} of {n_rows}")
        if position + HEADER_SIZE > window_start + len(window):
            window_start = position
            length = min(max(BLOCK_BYTES, HEADER_SIZE), n_bytes - position)
            window = read(offset + position, length)
        header = np.frombuffer(window, HEADER, count=1, offset=position - window_start)
        flag = int(header["flag"][0])
        size = int(bbox_sizes(header["bbox"])[0]) if flag else 0
        if size < 0 or flag not in (0, *MASK_BYTES):
            raise InputError(
                f"{path}: the shoebox of row {row} is damaged, or flattened in a table "
                "in which others are not"
            )
        starts[row], sizes[row] = position, size
        mask_bytes[row] = MASK_BYTES.get(flag, 0)
        position += HEADER_SIZE + size * (8 + int(mask_bytes[row]))
    if position != n_bytes:
        raise InputError(
            f"{path}: the shoeboxes need {position} bytes and the file has {n_bytes} "
            "for them: it is damaged"
        )
    return starts, sizes, mask_bytes


def _take_pixels(
    path: Path,
    buffer: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    mask_bytes: np.ndarray,
    background: bool,
) -> ShoeboxPixels:
    """Cut the records out of a piece of the blob.

    Records of one size are cut together, so that numpy copies whole records; the
    shoeboxes come out ordered by size for that reason.
    """
    _check_headers(path, buffer, rows, starts, sizes, mask_bytes)
    order = np.argsort(sizes * 8 + mask_bytes, kind="stable")
    rows, starts, sizes, mask_bytes = (
        a[order] for a in (rows, starts, sizes, mask_bytes)
    )
    total = int(sizes.sum())
    data = np.empty(total, dtype="<f4")
    mask = np.empty(total, dtype=np.uint8)
    values = np.empty(total, dtype="<f4") if background else None

    changes = np.flatnonzero(np.diff(sizes) | np.diff(mask_bytes)) + 1
    edges = [0, *changes.tolist(), len(rows)]
    position = 0
    for i, j in zip(edges[:-1], edges[1:]):
        n, m = int(sizes[i]), int(mask_bytes[i])
        if n == 0:
            continue
        end = position + (j - i) * n
        at = starts[i:j] + HEADER_SIZE
        piece = _windows(buffer, at, n * (4 + m))
        data[position:end] = piece[:, : 4 * n].view("<f4").ravel()
        # The codes are below 256: of an int32 the first byte is all there is
        mask[position:end] = piece[:, 4 * n :: m].ravel()
        if values is not None:
            piece = _windows(buffer, at + n * (4 + m), 4 * n)
            values[position:end] = piece.view("<f4").ravel()
        position = end
    return ShoeboxPixels(rows, sizes, data, mask, values)


def _check_headers(
    path: Path,
    buffer: np.ndarray,
    rows: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    mask_bytes: np.ndarray,
) -> None:
    """Compare what the layout says with the records' own headers."""
    headers = _windows(buffer, starts, HEADER_SIZE).view(HEADER)[:, 0]
    flags = np.zeros(256, dtype=np.int64) - 1
    flags[0] = 0
    for flag, n in MASK_BYTES.items():
        flags[flag] = n
    good = flags[headers["flag"]] == mask_bytes
    own = bbox_sizes(headers["bbox"])
    good &= (own == sizes) | (sizes == 0) | (bbox_sizes(headers["bbox"], True) == sizes)
    if not good.all():
        raise InputError(
            f"{path}: the shoebox of row {int(rows[np.argmin(good)])} does not agree with "
            "its bounding box: the file is damaged"
        )


def _windows(buffer: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Copy pieces of one length out of a buffer, shape (len(starts), length)."""
    every = np.lib.stride_tricks.sliding_window_view(buffer, length)
    return every[starts]
