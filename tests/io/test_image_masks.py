from __future__ import annotations

import struct

import h5py
import numpy as np
import pytest

from dials_jungfrau_qc.io.image_masks import (
    assembled,
    crystfel_mask_bytes,
    tiff_bytes,
)


def bits_of(shape=(7, 5)):
    bits = np.zeros(shape, np.uint32)
    bits[1, 2], bits[6, 4], bits[0, 0] = 2, 1 << 31 | 8, 70000
    return bits


def test_panels_lie_where_they_are_in_the_image():
    left, right = np.full((2, 3), 4), np.full((2, 3), 16)
    left[0, 1] = 0
    layout = ((4, 8), ((np.s_[0:2], np.s_[0:3]), (np.s_[2:4], np.s_[5:8])))

    image = assembled([left, right], layout)

    assert image.dtype == np.uint32
    np.testing.assert_array_equal(image[0:2, 0:3], left)
    np.testing.assert_array_equal(image[2:4, 5:8], right)
    assert image.sum() == left.sum() + right.sum()


def test_crystfel_finds_the_bad_pixels_as_its_manual_says(tmp_path):
    bits = bits_of()
    bits[6, 4] = 8
    (tmp_path / "mask.h5").write_bytes(crystfel_mask_bytes(bits, "mask.h5"))

    with h5py.File(tmp_path / "mask.h5") as file:
        (name,) = file
        lines = file[name].attrs["geometry"].splitlines()
    said = dict(line.split(" = ") for line in lines)

    assert set(said) == {
        f"mask0_{key}" for key in ("file", "data", "goodbits", "badbits")
    }
    with h5py.File(tmp_path / said["mask0_file"]) as file:
        mask = file[said["mask0_data"]]
        assert mask.dtype.kind in "iu" and mask.dtype.itemsize == 4
        mask = mask[()]
    # A pixel is bad unless it has all good bits, and if it has any bad bit
    good, bad = int(said["mask0_goodbits"], 16), int(said["mask0_badbits"], 16)
    is_bad = ((mask & good) != good) | ((mask & bad) != 0)
    np.testing.assert_array_equal(is_bad, bits != 0)


def test_tiff_is_read_by_others():
    image_module = pytest.importorskip("PIL.Image")
    import io

    bits = bits_of()
    bits[6, 4] = 8

    with image_module.open(io.BytesIO(tiff_bytes(bits))) as image:
        assert image.format == "TIFF" and image.size == (5, 7)
        np.testing.assert_array_equal(np.array(image), bits)


def test_tiff_says_32_bits_unsigned_and_not_compressed():
    bits = bits_of()
    content = tiff_bytes(bits)

    magic, version, at = struct.unpack_from("<2sHI", content)
    assert (magic, version) == (b"II", 42) and at % 2 == 0
    (n,) = struct.unpack_from("<H", content, at)
    tags = {}
    for k in range(n):
        tag, kind, count, value = struct.unpack_from("<HHII", content, at + 2 + 12 * k)
        assert kind in (3, 4) and count == 1 and tag > max(tags, default=0)
        tags[tag] = value
    assert (tags[256], tags[257]) == (5, 7)
    assert (tags[258], tags[339], tags[259], tags[277]) == (32, 1, 1, 1)
    pixels = np.frombuffer(content, "<u4", tags[279] // 4, tags[273])
    np.testing.assert_array_equal(pixels.reshape(7, 5), bits)
