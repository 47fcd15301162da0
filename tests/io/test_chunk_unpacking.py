from __future__ import annotations

import struct

import h5py
import hdf5plugin
import numpy as np
import pytest

from dials_jungfrau_qc.io import chunk_unpacking
from dials_jungfrau_qc.io.chunk_unpacking import unpacker

BITSHUFFLE = hdf5plugin.Bitshuffle(cname="lz4")
FILTERS = {
    "gzip": {"compression": "gzip"},
    "shuffled gzip": {"compression": "gzip", "shuffle": True},
    "bitshuffle": dict(BITSHUFFLE),
    "bitshuffle, blocks of 64": dict(hdf5plugin.Bitshuffle(64, "lz4")),
}


@pytest.fixture(params=["isal.isal_zlib", "zlib"])
def inflater(request, monkeypatch):
    """The library that inflates: without the faster one the standard one does it."""
    library = pytest.importorskip(request.param)
    monkeypatch.setattr(chunk_unpacking, "zlib", library)


def frame_of(shape, dtype, seed=0):
    frame = np.random.default_rng(seed).poisson(1.0, shape).astype(dtype)
    frame.reshape(-1)[:3] = [0, 100, 30000]
    if np.dtype(dtype).itemsize == 4:
        frame.reshape(-1)[-3:] = [70000, 2**30, 0]
    if np.dtype(dtype).kind in "if":
        frame.reshape(-1)[5:7] = -1, -20
    return frame


def skip_without_bitshuffle(kind):
    """HDF5 can have the filter from elsewhere, and then it does the work."""
    if kind.startswith("bitshuffle") and chunk_unpacking._bitshuffle() is None:
        pytest.skip("hdf5plugin does not bring the library of bitshuffle")


def written(path, frame, **kind):
    file = h5py.File(path, "w")
    data = file.create_dataset(
        "data", (1, *frame.shape), frame.dtype, chunks=(1, *frame.shape), **kind
    )
    data[0] = frame
    file.flush()
    return data, data.id.read_direct_chunk((0, 0, 0))[1]


@pytest.mark.parametrize("dtype", ["<i4", "<u2", "<f4"])
# Less than a block, blocks and a part of one, and values that fill no step of eight
@pytest.mark.parametrize("shape", [(8, 9), (64, 129), (3, 5), (700, 1001)])
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.usefixtures("inflater")
def test_chunks_are_unpacked_as_by_hdf5(tmp_path, kind, shape, dtype):
    frame = frame_of(shape, dtype)
    data, packed = written(tmp_path / "x.h5", frame, **FILTERS[kind])
    target = np.full(shape, 77, dtype)

    skip_without_bitshuffle(kind)
    unpack = unpacker(data)
    assert unpack is not None
    unpack(packed, target)

    np.testing.assert_array_equal(target, frame)
    np.testing.assert_array_equal(target, data[0])


@pytest.mark.parametrize(
    "kind",
    [
        {"compression": "lzf"},
        dict(hdf5plugin.LZ4()),
        dict(hdf5plugin.Bitshuffle(cname="zstd")),
        dict(hdf5plugin.Bitshuffle(cname="none")),
        {"compression": "gzip", "fletcher32": True},
    ],
)
def test_what_only_hdf5_can_unpack(tmp_path, kind):
    number = kind["compression"]
    if isinstance(number, int) and not h5py.h5z.filter_avail(number):
        pytest.skip("this HDF5 does not have the filter")
    data, _ = written(tmp_path / "x.h5", frame_of((64, 129), "<i4"), **kind)

    assert unpacker(data) is None


def test_other_byte_order_is_left_to_hdf5(tmp_path):
    frame = frame_of((64, 129), ">i4")
    for name in ("shuffled gzip", "bitshuffle"):
        data, _ = written(tmp_path / f"{name}.h5", frame, **FILTERS[name])
        assert unpacker(data) is None


def test_without_the_library_of_bitshuffle(tmp_path, monkeypatch):
    data, _ = written(tmp_path / "x.h5", frame_of((64, 129), "<i4"), **BITSHUFFLE)
    monkeypatch.setattr(chunk_unpacking, "_bitshuffle", lambda: None)

    assert unpacker(data) is None


def damages(packed):
    """Chunks that say what is not so, by what is wrong with them."""
    size, block = struct.unpack_from(">QI", packed)
    (first,) = struct.unpack_from(">I", packed, 12)
    return {
        "more than a frame": struct.pack(">QI", 2 * size, block) + packed[12:],
        "less than a frame": struct.pack(">QI", size - 8, block) + packed[12:],
        "no block": struct.pack(">QI", size, 0) + packed[12:],
        "odd block": struct.pack(">QI", size, 20) + packed[12:],
        "huge block": struct.pack(">QI", size, 2**31) + packed[12:],
        "other block": struct.pack(">QI", size, block // 2) + packed[12:],
        "block beyond the end": packed[:12] + struct.pack(">I", 2**30) + packed[16:],
        "negative block": packed[:12] + struct.pack(">I", 2**32 - 1) + packed[16:],
        "shifted blocks": packed[:12] + struct.pack(">I", first - 1) + packed[16:],
        "cut off": packed[: len(packed) // 2],
        "longer": packed + b"\0" * 100,
        "empty": b"",
    }


@pytest.mark.parametrize("damage", damages(struct.pack(">QII", 64, 8, 1)))
def test_damaged_bitshuffle_is_an_error(tmp_path, damage):
    skip_without_bitshuffle("bitshuffle")
    frame = frame_of((700, 1001), "<i4")
    data, packed = written(tmp_path / "x.h5", frame, **BITSHUFFLE)

    with pytest.raises(ValueError, match="damaged"):
        unpacker(data)(damages(packed)[damage], np.empty_like(frame))


@pytest.mark.usefixtures("inflater")
@pytest.mark.parametrize("kind", ["gzip", "shuffled gzip"])
@pytest.mark.parametrize(
    "change", [slice(0, -20), slice(40, None), slice(0, 2), slice(0, 0)]
)
def test_damaged_gzip_is_an_error(tmp_path, kind, change):
    frame = frame_of((700, 1001), "<i4")
    data, packed = written(tmp_path / "x.h5", frame, **FILTERS[kind])

    with pytest.raises(ValueError, match="damaged|less than"):
        unpacker(data)(packed[change], np.empty_like(frame))


@pytest.mark.usefixtures("inflater")
@pytest.mark.parametrize("kind", ["gzip", "shuffled gzip"])
@pytest.mark.parametrize("rows,words", [(699, "more"), (701, "less")])
def test_gzip_of_another_size_is_an_error(tmp_path, kind, rows, words):
    frame = frame_of((700, 1001), "<i4")
    data, packed = written(tmp_path / "x.h5", frame, **FILTERS[kind])

    with pytest.raises(ValueError, match=f"holds {words} than"):
        unpacker(data)(packed, np.empty((rows, 1001), "<i4"))
