"""Chunks of HDF5 data sets unpacked without HDF5, in half of its time.

HDF5 makes room for every chunk anew and copies it from there. Where a chunk is a whole
frame, packed in one of the ways that detectors use, it can be read as it is in the file
and unpacked into memory that is used again::

    unpack = unpacker(dataset)
    unpack(dataset.id.read_direct_chunk((k, 0, 0))[1], frame)
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

try:
    # Inflates in less than half of the time
    from isal import isal_zlib as zlib
except ImportError:
    import zlib

from dials_jungfrau_qc.io.hdf5_checks import (
    BITSHUFFLE,
    BITSHUFFLE_HEADER,
    BITSHUFFLE_LZ4,
    DEFLATE,
    SHUFFLE,
    check_blocks,
    filters,
)

if TYPE_CHECKING:
    import h5py

Unpacker = Callable[[bytes, np.ndarray], None]

# What is unpacked at a time stays in the cache
_BITE = 1 << 18
_NOTHING = bytes(_BITE)


def unpacker(dataset: h5py.Dataset) -> Unpacker | None:
    """How to unpack the chunks of a data set.

    Args:
        dataset: A chunked data set.

    Returns:
        A function of a packed chunk and of the contiguous array of the data set's type
        to fill, which raises ValueError where the chunk is damaged or of another size.
        None where only HDF5 can unpack it.
    """
    used = filters(dataset)
    if used == (DEFLATE,):
        return _inflate
    # The order of bytes matters
    if sys.byteorder != "little" or not dataset.dtype.isnative:
        return None
    if used == (SHUFFLE, DEFLATE):
        return _inflate_shuffled
    if used == (BITSHUFFLE,):
        _, _, parameters, _ = dataset.id.get_create_plist().get_filter(0)
        is_lz4 = len(parameters) > 4 and parameters[4] == BITSHUFFLE_LZ4
        if is_lz4 and parameters[2] == dataset.dtype.itemsize and _bitshuffle():
            return _unpack_bitshuffle
    return None


def _inflate(packed: bytes, target: np.ndarray) -> None:
    content = target.reshape(-1).view(np.uint8)

    def put(at: int, piece: bytes) -> None:
        content[at : at + len(piece)] = np.frombuffer(piece, np.uint8)

    _inflate_pieces(packed, content.size, put)


def _inflate_shuffled(packed: bytes, target: np.ndarray) -> None:
    """Unpack what HDF5's shuffle filter made: first bytes first, then second ones."""
    n, size = target.size, target.itemsize
    values = target.reshape(-1).view(f"u{size}")

    def put(at: int, piece: bytes) -> None:
        while piece:
            which, start = divmod(at, n)
            part, piece = piece[: n - start], piece[n - start :]
            own = values[start : start + len(part)]
            if which == 0:
                own[:] = np.frombuffer(part, np.uint8)
            # Photons are few: their higher bytes are nearly all zeros
            elif part != _NOTHING[: len(part)]:
                own |= np.frombuffer(part, np.uint8).astype(own.dtype) << 8 * which
            at += len(part)

    _inflate_pieces(packed, n * size, put)


def _inflate_pieces(
    packed: bytes, size: int, put: Callable[[int, bytes], None]
) -> None:
    """Unpack deflate a piece at a time, to a size and not beyond.

    Args:
        packed: What was packed.
        size: Bytes that must come out.
        put: Called with the place of each piece and the piece.

    Raises:
        ValueError: It holds another number of bytes, or is damaged.
    """
    stream, at = zlib.decompressobj(), 0
    source = memoryview(packed)
    # zlib copies what a call leaves over: what it is given at a time has to be short
    for start in range(0, len(source), _BITE // 4):
        left: bytes | memoryview = source[start : start + _BITE // 4]
        last = start + len(left) == len(source)
        while not stream.eof:
            try:
                piece = stream.decompress(left, min(_BITE, size - at + 1))
            except zlib.error as e:
                raise ValueError(f"a chunk is damaged ({e})") from e
            left = stream.unconsumed_tail
            if at + len(piece) > size:
                raise ValueError(
                    f"a chunk holds more than {size} bytes: the file is damaged"
                )
            put(at, piece)
            at += len(piece)
            if not left and not (last and piece):
                break
    if at != size or not stream.eof:
        raise ValueError(f"a chunk holds less than {size} bytes: the file is damaged")


@functools.cache
def _bitshuffle() -> Callable | None:
    """bshuf_decompress_lz4 of the bitshuffle library that hdf5plugin brings.

    None where it cannot be had: HDF5 then does the work.
    """
    try:
        import hdf5plugin

        path = hdf5plugin.get_config().registered_filters["bshuf"]
        function = ctypes.CDLL(path).bshuf_decompress_lz4
    except (ImportError, AttributeError, KeyError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t] * 3
    function.restype = ctypes.c_int64
    return function


def _unpack_bitshuffle(packed: bytes, target: np.ndarray) -> None:
    """Unpack bitshuffle with LZ4."""
    size = target.itemsize
    says = int.from_bytes(packed[:8], "big")
    if says != target.nbytes:
        raise ValueError(
            f"a chunk of {target.nbytes} bytes says that it holds {says}: the file is "
            "damaged"
        )
    block = int.from_bytes(packed[8:BITSHUFFLE_HEADER], "big") // size
    check_blocks(packed, target.size, size)
    source = np.frombuffer(packed, np.uint8)
    used = _bitshuffle()(
        source.ctypes.data + BITSHUFFLE_HEADER,
        target.ctypes.data,
        target.size,
        size,
        block,
    )
    if used != len(packed) - BITSHUFFLE_HEADER:
        raise ValueError("a chunk is damaged")
