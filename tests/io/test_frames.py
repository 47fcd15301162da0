from __future__ import annotations

import h5py
import numpy as np
import pytest
from nxmx_files import frames_of, geometry_of, imageset_of, write_nxmx

from dxtbx import flumpy
from dxtbx.format.image import ImageBool

from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.frames import (
    DxtbxFrames,
    TrustedRange,
    open_frames,
)
from dials_jungfrau_qc.io.nxmx_frames import NXmxLayout


def assert_equal_to_dxtbx(source, imageset):
    with source.open() as reader:
        for k in range(source.n_frames):
            frame = reader.read(k)
            raw = [flumpy.to_numpy(panel) for panel in imageset.get_raw_data(k)]
            masks = [flumpy.to_numpy(panel) for panel in imageset.get_mask(k)]
            assert [p.dtype for p in frame] == [p.dtype for p in raw]
            for panel, (own, theirs, mask) in enumerate(zip(frame, raw, masks)):
                np.testing.assert_array_equal(own, theirs)
                np.testing.assert_array_equal(reader.valid(panel, own), mask)


@pytest.mark.parametrize("compression", ["off", "gzip", "bitshuffle"])
@pytest.mark.parametrize("images_per_file", [None, 2])
@pytest.mark.parametrize(
    "preset,panels", [("module", False), ("jungfrau_1m", False), ("jungfrau_1m", True)]
)
def test_frames_and_masks_equal_those_of_dxtbx(
    tmp_path, compression, images_per_file, preset, panels
):
    if compression == "bitshuffle":
        pytest.importorskip("hdf5plugin")
    geometry = geometry_of(preset, panels)
    path = write_nxmx(
        tmp_path / "x.nxs",
        frames_of(geometry.shape),
        geometry,
        compression=compression,
        images_per_file=images_per_file,
    )
    imageset = imageset_of(path)

    source = open_frames(imageset)

    assert isinstance(source.parts[0], NXmxLayout)
    assert len(source.panel_shapes) == (2 if panels else 1)
    assert_equal_to_dxtbx(source, imageset)


@pytest.mark.parametrize(
    "limits", [(0, 100), (None, 100), (-2, None), (None, 2**31 - 1)]
)
@pytest.mark.parametrize("instrument", ["SIMULATED", "DIAMOND BEAMLINE I24"])
def test_trusted_range_equals_that_of_dxtbx(tmp_path, limits, instrument):
    frames = frames_of(geometry_of().shape, 1)
    path = write_nxmx(
        tmp_path / "x.nxs",
        frames,
        underload_value=limits[0],
        saturation_value=limits[1],
        instrument=instrument,
    )
    imageset = imageset_of(path)

    assert_equal_to_dxtbx(open_frames(imageset), imageset)


@pytest.mark.parametrize("bits", [16, 32])
def test_masking_values_of_the_bit_depth_equal_those_of_dxtbx(tmp_path, bits):
    frames = frames_of(geometry_of().shape, 2)
    frames[:, 4, :4] = [2**16 - 1, 2**16 - 2, 2**16, 2**16 - 3]
    path = write_nxmx(tmp_path / "x.nxs", frames)
    with h5py.File(path, "r+") as file:
        file["/entry/instrument/detector/bit_depth_readout"] = bits
    imageset = imageset_of(path)

    assert_equal_to_dxtbx(open_frames(imageset), imageset)


@pytest.mark.parametrize("dtype", ["<u2", "<i2", "<f4", "<f8"])
def test_other_types_equal_dxtbx(tmp_path, dtype):
    frames = np.clip(frames_of(geometry_of().shape, 2), 0, 30000).astype(dtype)
    path = write_nxmx(tmp_path / "x.nxs", frames, saturation_value=100)
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data"]
        file["/entry/data/data"] = frames
    imageset = imageset_of(path)

    source = open_frames(imageset)

    assert isinstance(source.parts[0], NXmxLayout) == (dtype != "<f8")
    assert_equal_to_dxtbx(source, imageset)


def test_mask_files_and_untrusted_rectangles_count(tmp_path):
    path = write_nxmx(tmp_path / "x.nxs", frames_of(geometry_of().shape))
    imageset = imageset_of(path)
    rng = np.random.default_rng(1)
    mask = rng.random(geometry_of().shape) < 0.9
    imageset.external_lookup.mask.data = ImageBool((flumpy.from_numpy(mask),))
    imageset.get_detector()[0].add_mask(10, 20, 33, 47)

    source = open_frames(imageset)

    assert not source.masks[0][20:47, 10:33].any()
    assert_equal_to_dxtbx(source, imageset)


def test_mask_of_another_shape(tmp_path):
    imageset = imageset_of(write_nxmx(tmp_path / "x.nxs", frames_of((514, 1030), 1)))
    mask = flumpy.from_numpy(np.ones((5, 6), bool))
    imageset.external_lookup.mask.data = ImageBool((mask,))

    with pytest.raises(InputError, match="5 x 6 pixels.*514 x 1030"):
        open_frames(imageset)


def test_part_of_a_scan_reads_its_own_frames(tmp_path):
    path = write_nxmx(tmp_path / "x.nxs", frames_of(geometry_of().shape))
    part = imageset_of(path)[2:4]

    source = open_frames(part)

    assert source.numbers.tolist() == [3, 4]
    assert_equal_to_dxtbx(source, part)


@pytest.mark.parametrize(
    "selection,numbers",
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"images": [4, 2]}, [4, 2]),
        ({"image_range": (2, 4)}, [2, 3, 4]),
        ({"stride": 2}, [1, 3, 5]),
        ({"image_range": (2, 5), "stride": 3}, [2, 5]),
    ],
)
def test_selection(tmp_path, selection, numbers):
    frames = frames_of(geometry_of().shape)
    source = open_frames(
        imageset_of(write_nxmx(tmp_path / "x.nxs", frames)), **selection
    )

    assert source.numbers.tolist() == numbers
    with source.open() as reader:
        for k, number in enumerate(numbers):
            np.testing.assert_array_equal(reader.read(k)[0], frames[number - 1])


@pytest.mark.parametrize(
    "selection,message",
    [
        ({"images": [0]}, "image 0 is outside"),
        ({"image_range": (1, 6)}, "image 6 is outside.*1 to 5"),
        ({"image_range": (3, 2)}, "empty"),
        ({"stride": 0}, "stride"),
    ],
)
def test_impossible_selections(tmp_path, selection, message):
    imageset = imageset_of(write_nxmx(tmp_path / "x.nxs", frames_of((514, 1030))))

    with pytest.raises(InputError, match=message):
        open_frames(imageset, **selection)


def test_imagesets_are_read_one_after_the_other(tmp_path):
    frames = frames_of(geometry_of().shape)
    first = imageset_of(write_nxmx(tmp_path / "a.nxs", frames[:2]))
    second = imageset_of(write_nxmx(tmp_path / "b.nxs", frames[2:]))

    source = open_frames([first, second[:2], second[2:]])

    assert source.numbers.tolist() == [1, 2, 3, 4, 5]
    assert len(source.parts) == 2
    with source.open() as reader:
        for k in range(5):
            np.testing.assert_array_equal(reader.read(k)[0], frames[k])


def test_different_detectors_are_refused(tmp_path):
    small = imageset_of(write_nxmx(tmp_path / "a.nxs", frames_of((514, 1030), 1)))
    geometry = geometry_of("jungfrau_1m")
    large = imageset_of(
        write_nxmx(tmp_path / "b.nxs", frames_of(geometry.shape, 1), geometry)
    )

    with pytest.raises(InputError, match="514 x 1030.*1066 x 1030.*once for each"):
        open_frames([small, large])


def test_other_formats_are_read_by_dxtbx(real_data):
    imageset = imageset_of(
        real_data / "image_examples" / "DLS_I23_P12M_thau_00001.cbf.gz"
    )

    source = open_frames(imageset)

    assert isinstance(source.parts[0], DxtbxFrames)
    assert len(source.panel_shapes) == 24
    assert_equal_to_dxtbx(source, imageset)


def test_real_module_equals_dxtbx(real_data):
    imageset = imageset_of(real_data / "jungfrau_module" / "module5.nxs")

    source = open_frames(imageset)

    assert isinstance(source.parts[0], NXmxLayout)
    assert_equal_to_dxtbx(source, imageset)


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_trusted_limits(inclusive, dtype):
    """The limits themselves are good or not, and so are the nearest values beside."""
    trusted = TrustedRange(-1.0, 2**24 + 1.0, inclusive)
    values = np.array([-2, -1, 0, 2**24, 2**24 + 1, 2**24 + 2], np.float64)

    good = trusted.valid(values.astype(dtype))

    exact = values.astype(dtype).astype(np.float64)
    expected = (
        (exact >= -1) & (exact <= 2**24 + 1)
        if inclusive
        else (exact > -1) & (exact < 2**24 + 1)
    )
    assert good.tolist() == expected.tolist()


def test_nothing_is_trusted_in_an_empty_range():
    assert not TrustedRange(5, 5, False).valid(np.arange(10, dtype=np.int32)).any()
    assert not TrustedRange(1e12, 1e13, True).valid(np.arange(9, dtype=np.int32)).any()


def test_reading_past_the_end(tmp_path):
    path = write_nxmx(tmp_path / "x.nxs", frames_of(geometry_of().shape, 1))
    layout = open_frames(imageset_of(path)).parts[0]

    with layout.open() as reader, pytest.raises(FrameError):
        reader.read(1)
