from __future__ import annotations

import functools
import os

import h5py
import pytest
from nxmx_files import frames_of, geometry_of, imageset_of, spoil, write_nxmx

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.frame_sharing import map_frames
from dials_jungfrau_qc.io.frames import open_frames


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


def test_work_may_be_partial(tmp_path):
    source = open_frames(
        imageset_of(write_nxmx(tmp_path / "x.nxs", frames_of((514, 1030), 2)))
    )

    results, _ = map_frames(source, functools.partial(scaled, 2), 2)

    assert results == [2, 2]


def scaled(factor, frames):
    return factor * sum(1 for _ in frames)
