from __future__ import annotations

import numpy as np
import pytest
from nxmx_files import geometry_of, imageset_of, spoil, write_nxmx

from dials_jungfrau_qc.algorithms.pixel_statistics import estimate_background
from dials_jungfrau_qc.io.frames import open_frames
from dials_jungfrau_qc.io.pixel_search import add_up

SHAPE = geometry_of().shape
N_IMAGES = 21


@pytest.mark.parametrize("damaged", [[], [1, 10]])
@pytest.mark.parametrize("nproc", [1, 2])
def test_sums_are_those_of_the_frames(tmp_path, nproc, damaged):
    """Each frame counts once, though frames take the memory of earlier ones."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(2.0, (N_IMAGES, *SHAPE)).astype(np.int32)
    path = write_nxmx(tmp_path / "x.nxs", frames)
    for index in damaged:
        spoil(path, index)
    source = open_frames(imageset_of(path))
    good = source.masks[0]
    trusted = tuple(map(float, source.trusted[0].limits(np.int32)))
    background = estimate_background(frames[2:6], good, trusted)

    (sums,), unreadable = add_up(source, [background], [trusted], nproc)

    assert unreadable.numbers == tuple(index + 1 for index in damaged)
    read = np.delete(frames, damaged, axis=0)
    usual = np.where(read > background.high, 0, read)
    assert sums.n_frames == len(read)
    np.testing.assert_array_equal(sums.total[good], usual.sum(axis=0)[good])
