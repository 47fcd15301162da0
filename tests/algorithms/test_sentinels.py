from __future__ import annotations

import numpy as np
import pytest
from switch_data import module_frames

from dials_jungfrau_qc.algorithms.sentinels import find_sentinels


def distinct(values):
    return np.unique(np.asarray(values, dtype=np.int64), return_counts=True)


def photons(seed=1, n=100000):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.exponential(3.0, n))


@pytest.mark.parametrize(
    "marker", [-1, -(2**31), 32767, 32678, -32768, 0x8000, 65535, 2**31 - 1, 2**32 - 1]
)
def test_marker_among_photons(marker):
    values = np.concatenate([photons(), np.full(500, marker)])
    found = find_sentinels(*distinct(values))
    assert found.values == (marker,)
    assert found.counts == (500,)
    assert found.n_pixels == 500
    assert not found.keep(np.array([marker])).any()
    assert found.keep(np.arange(20)).all()


def test_several_markers_next_to_each_other():
    values = np.concatenate(
        [photons(), np.full(90, 32767), np.full(70, 32768), np.full(9, -1)]
    )
    assert find_sentinels(*distinct(values)).values == (-1, 32767, 32768)


def test_photons_and_readings_below_zero_are_kept():
    rng = np.random.default_rng(2)
    noisy = np.rint(rng.normal(0.5, 1.5, 100000))
    found = find_sentinels(*distinct(noisy))
    assert found.values == ()
    assert found.n_negative == (noisy < 0).sum()
    bright = np.rint(rng.uniform(30000, 35000, 200000))
    assert find_sentinels(*distinct(bright)).values == ()
    assert find_sentinels(*distinct([])).n_pixels == 0


def test_real_module():
    frames = module_frames()
    found = find_sentinels(*np.unique(frames, return_counts=True))
    # Its -1 are the last of the readings below zero, which reach to -181.
    assert found.values == (32678,)
    assert found.counts == (60,)
    assert found.n_negative == np.count_nonzero(frames < 0)


def test_bad_histogram_raises():
    with pytest.raises(ValueError):
        find_sentinels(np.array([1, 2]), np.array([1]))
    with pytest.raises(ValueError):
        find_sentinels(np.array([2, 1]), np.array([1, 1]))
