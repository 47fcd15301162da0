"""What HDF5 data sets promise, looked at before they are read.

A data set can say that it is larger than any disk and take no room, and a compressed
chunk can hold more than its data set says: HDF5 itself makes room for whatever comes out
of deflate, and for whatever size is written in front of LZ4.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

DEFLATE, SHUFFLE = 1, 2
LZ4, BITSHUFFLE = 32004, 32008
# What bitshuffle's filter has as the number of LZ4 among its parameters
BITSHUFFLE_LZ4 = 2
# Its chunks begin with the size in bytes, 8 bytes, and that of a block, 4 bytes
BITSHUFFLE_HEADER = 12
# It works on so many values at once
BITSHUFFLE_STEP = 8
# HDF5 holds a chunk packed and unpacked at the same time
MAX_CHUNK_BYTES = 1 << 28
# A data set up to this size may be of nothing but zeros
MAX_UNSEEN_BYTES = 1 << 26
# More is not achieved by the compressions that DIALS uses (LZ4: 255)
MAX_RATIO = 300
# zlib reaches 1032
_DEFLATE_RATIO = 1032
_PIECE = 1 << 20


def check_size(dataset: h5py.Dataset, max_bytes: int | None = None) -> None:
    """See that a data set can be what it says, before it is read as a whole.

    Args:
        dataset: The data set.
        max_bytes: Largest size that makes sense; by default what its place in the file
            can hold.

    Raises:
        ValueError: It says that it is larger, or its chunks are.
    """
    n_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape or (0,), dtype=object))
    if max_bytes is None:
        max_bytes = max(MAX_UNSEEN_BYTES, MAX_RATIO * dataset.id.get_storage_size())
    if n_bytes > max_bytes:
        raise ValueError(
            f"{dataset.name} says that it holds {_readable(n_bytes)}, which cannot be"
        )
    check_chunk_shape(dataset)


def check_chunk_shape(dataset: h5py.Dataset) -> None:
    """See that one chunk fits into memory.

    Raises:
        ValueError: It does not.
    """
    if dataset.chunks and chunk_bytes(dataset) > MAX_CHUNK_BYTES:
        raise ValueError(
            f"{dataset.name} has chunks of {_readable(chunk_bytes(dataset))}, which do not "
            "fit into memory"
        )


def chunk_bytes(dataset: h5py.Dataset) -> int:
    """Size of an unpacked chunk."""
    return dataset.dtype.itemsize * int(np.prod(dataset.chunks, dtype=object))


def filters(dataset: h5py.Dataset) -> tuple[int, ...]:
    """The numbers of the filters that chunks went through, in order."""
    properties = dataset.id.get_create_plist()
    return tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))


def check_chunk(dataset: h5py.Dataset, where: tuple[int, ...]) -> None:
    """See that a packed chunk holds what a chunk of its data set holds, and no more.

    Args:
        dataset: A chunked data set.
        where: The position of the chunk's first element.

    Raises:
        ValueError: It holds more, or is damaged.
    """
    used = filters(dataset)
    if not {DEFLATE, LZ4, BITSHUFFLE} & set(used):
        return
    info = dataset.id.get_chunk_info_by_coord(where)
    if info.byte_offset is None or not info.size:
        return
    expected = chunk_bytes(dataset)
    if DEFLATE in used and info.size * _DEFLATE_RATIO > MAX_CHUNK_BYTES:
        if used not in ((DEFLATE,), (SHUFFLE, DEFLATE)):
            return
        skipped, packed = dataset.id.read_direct_chunk(where)
        if not skipped:
            _check_inflated(dataset, packed, expected)
    elif used[0] in (LZ4, BITSHUFFLE) and len(used) == 1 and info.size >= 8:
        skipped, packed = dataset.id.read_direct_chunk(where)
        says = int.from_bytes(packed[:8], "big")
        if skipped:
            return
        if says > expected:
            raise ValueError(_too_much(dataset, says, expected))
        _, _, parameters, _ = dataset.id.get_create_plist().get_filter(0)
        if used[0] == BITSHUFFLE and BITSHUFFLE_LZ4 in parameters[4:5]:
            size = dataset.dtype.itemsize
            check_blocks(packed, says // size, size)


def check_blocks(packed: bytes, n: int, size: int) -> None:
    """See that the blocks of a chunk end where it ends.

    Bitshuffle does not look, and reads on through memory that is not its own.

    Args:
        packed: The chunk.
        n: Its number of values.
        size: Bytes of a value.

    Raises:
        ValueError: They do not.
    """
    block = int.from_bytes(packed[8:BITSHUFFLE_HEADER], "big") // size
    if block <= 0 or block % BITSHUFFLE_STEP:
        raise ValueError("a chunk is damaged")
    whole, rest = divmod(n, block)
    # Values that fill no step of their own follow as they are
    n_blocks = whole + (rest >= BITSHUFFLE_STEP)
    at, end = BITSHUFFLE_HEADER, len(packed) - n % BITSHUFFLE_STEP * size
    length_at = struct.Struct(">I").unpack_from
    try:
        for _ in range(n_blocks):
            at += 4 + length_at(packed, at)[0]
    except struct.error as e:
        raise ValueError("a chunk is damaged") from e
    if at != end:
        raise ValueError("a chunk is damaged")


def _check_inflated(dataset: h5py.Dataset, packed: bytes, expected: int) -> None:
    stream, size = zlib.decompressobj(), 0
    try:
        while packed and not stream.eof and size <= expected:
            size += len(stream.decompress(packed, _PIECE))
            packed = stream.unconsumed_tail
    except zlib.error as e:
        raise ValueError(f"{dataset.name}: a chunk is damaged ({e})") from e
    if size > expected:
        raise ValueError(_too_much(dataset, size, expected))


def _too_much(dataset: h5py.Dataset, n_bytes: int, expected: int) -> str:
    return (
        f"{dataset.name}: a chunk of {_readable(expected)} unpacks to "
        f"{_readable(n_bytes)} or more: the file is damaged"
    )


def _readable(n_bytes: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"
