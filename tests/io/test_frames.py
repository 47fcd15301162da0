from __future__ import annotations

import functools
import os

import h5py
import numpy as np
import pytest
from nxmx_files import geometry_of, write_nxmx

from dxtbx import flumpy
from dxtbx.format.image import ImageBool
from dxtbx.model.experiment_list import ExperimentListFactory

from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.frames import (
    DxtbxFrames,
    TrustedRange,
    map_frames,
    open_frames,
)
from dials_jungfrau_qc.io.nxmx_frames import NXmxLayout

N = 5


def frames_of(shape, n=N, seed=0):
    """Photons, with every value in them that somebody uses as a sentinel."""
    rng = np.random.default_rng(seed)
    frames = rng.poisson(2.0, (n, *shape)).astype(np.int32)
    sentinels = [-1, -2, 0, 32767, 2**31 - 1, 2**31 - 2, -(2**31), -(2**31) + 1, 100]
    frames[:, 3, : len(sentinels)] = sentinels
    return frames


def imageset_of(*paths):
    experiments = ExperimentListFactory.from_filenames([str(path) for path in paths])
    return experiments[0].imageset


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

    with pytest.raises(InputError, match=r"\(5, 6\)"):
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

    with pytest.raises(InputError, match="different shape"):
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


# --- several processes, and files that are not as they should be -------------------


def add_up(frames):
    """Numbers and sum of the frames of a share."""
    numbers, total = [], 0
    for k, reader, panels in frames:
        numbers.append(int(reader.source.numbers[k]))
        total += int(panels[0][100:].sum())
    return numbers, total


def die(frames):
    for _ in frames:
        os._exit(3)


@pytest.mark.parametrize("nproc", [1, 2, 3, 99])
def test_processes_share_the_frames(tmp_path, nproc):
    frames = frames_of(geometry_of().shape)
    source = open_frames(imageset_of(write_nxmx(tmp_path / "x.nxs", frames)))

    results, unreadable = map_frames(source, add_up, nproc)

    assert sum((numbers for numbers, _ in results), []) == [1, 2, 3, 4, 5]
    assert len(results) == min(nproc, 5)
    assert sum(total for _, total in results) == frames[:, 100:].sum()
    assert unreadable.numbers == ()


def merged(first, later):
    return first[0] + later[0], first[1] + later[1]


@pytest.mark.parametrize("nproc", [1, 3])
def test_results_are_merged_in_the_order_of_the_frames(tmp_path, nproc):
    frames = frames_of(geometry_of().shape)
    path = write_nxmx(tmp_path / "x.nxs", frames, images_per_file=1)
    source = open_frames(imageset_of(path))
    (tmp_path / "x_data_000004.h5").unlink()

    results, unreadable = map_frames(
        source, add_up, nproc, max_unreadable=0.5, merge=merged
    )

    assert results == [([1, 2, 3, 5], frames[[0, 1, 2, 4], 100:].sum())]
    assert unreadable.numbers == (4,)


def test_progress_counts_frames(tmp_path):
    source = open_frames(
        imageset_of(write_nxmx(tmp_path / "x.nxs", frames_of((514, 1030))))
    )
    for nproc in (1, 2):
        done = []
        map_frames(source, add_up, nproc, progress=done.append)
        assert sum(done) == 5


def test_a_process_that_dies(tmp_path):
    source = open_frames(
        imageset_of(write_nxmx(tmp_path / "x.nxs", frames_of((514, 1030))))
    )

    with pytest.raises(InputError, match="died"):
        map_frames(source, die, 2)


def spoil(path, index):
    """Overwrite the middle of a frame's compressed chunk."""
    with h5py.File(path) as file:
        chunk = file["/entry/data/data"].id.get_chunk_info_by_coord((index, 0, 0))
    with open(path, "r+b") as stream:
        stream.seek(chunk.byte_offset + chunk.size // 2)
        stream.write(b"\x00" * 1000)


@pytest.mark.parametrize("nproc", [1, 2])
def test_a_frame_that_does_not_decompress_is_left_out(tmp_path, nproc):
    frames = frames_of(geometry_of().shape)
    path = write_nxmx(tmp_path / "x.nxs", frames)
    spoil(path, 2)
    source = open_frames(imageset_of(path))

    with pytest.raises(InputError, match="1 of 5 images.*image 3"):
        map_frames(source, add_up, nproc, max_unreadable=0.1)
    results, unreadable = map_frames(source, add_up, nproc, max_unreadable=0.2)

    assert sum((numbers for numbers, _ in results), []) == [1, 2, 4, 5]
    assert unreadable.numbers == (3,)


def test_frames_never_written_are_unreadable(tmp_path):
    frames = frames_of(geometry_of().shape)
    path = write_nxmx(tmp_path / "x.nxs", frames)
    with h5py.File(path, "r+") as file:
        del file["/entry/data/data"]
        data = file["/entry/data"].create_dataset(
            "data", frames.shape, "<i4", chunks=(1, *frames.shape[1:])
        )
        data[:3] = frames[:3]
    source = open_frames(imageset_of(path))

    _, unreadable = map_frames(source, add_up, max_unreadable=0.5)

    assert unreadable.numbers == (4, 5)
    assert "never written" in unreadable.reason


def test_a_missing_data_file_is_no_file_of_zeros(tmp_path):
    path = write_nxmx(
        tmp_path / "x.nxs", frames_of(geometry_of().shape), images_per_file=2
    )
    (tmp_path / "x_data_000002.h5").unlink()
    source = open_frames(imageset_of(path))

    results, unreadable = map_frames(source, add_up, max_unreadable=0.5)

    assert unreadable.numbers == (3, 4)
    assert "x_data_000002.h5" in unreadable.reason


def test_all_frames_unreadable(tmp_path):
    path = write_nxmx(
        tmp_path / "x.nxs", frames_of(geometry_of().shape, 2), images_per_file=2
    )
    source = open_frames(imageset_of(path))
    (tmp_path / "x_data_000001.h5").unlink()

    with pytest.raises(InputError, match="2 of 2 images"):
        map_frames(source, add_up, max_unreadable=1.0)


def test_reading_past_the_end(tmp_path):
    path = write_nxmx(tmp_path / "x.nxs", frames_of(geometry_of().shape, 1))
    layout = open_frames(imageset_of(path)).parts[0]

    with layout.open() as reader, pytest.raises(FrameError):
        reader.read(1)


def test_work_may_be_partial(tmp_path):
    source = open_frames(
        imageset_of(write_nxmx(tmp_path / "x.nxs", frames_of((514, 1030), 2)))
    )

    results, _ = map_frames(source, functools.partial(scaled, 2), 2)

    assert results == [2, 2]


def scaled(factor, frames):
    return factor * sum(1 for _ in frames)
