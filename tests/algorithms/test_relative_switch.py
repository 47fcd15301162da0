from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.relative_switch import (
    find_intensity_discontinuity,
    find_second_switch,
)
from dials_jungfrau_qc.simulation.detector import DetectorModel
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic, read_photons


def intensities(seed, n, jump, at=2000.0):
    rng = np.random.default_rng(seed)
    true = rng.exponential(5000.0, n) * rng.uniform(0.1, 1.0, n)
    moved = np.where(true > at, true * (1 + jump), true)
    return moved + rng.normal(0.0, np.sqrt(true + 100.0))


@pytest.mark.parametrize("jump", [-0.2, -0.08, 0.08, 0.2])
def test_jump_of_intensities_is_found(jump):
    found = find_intensity_discontinuity(intensities(1, 20000, jump))
    assert found.found
    assert found.intensity == pytest.approx(2000.0, rel=0.05)
    assert found.jump == pytest.approx(100 * jump, abs=max(1.5, 3.5 * found.jump_error))


def test_smooth_intensities_end_in_a_bound():
    called = 0
    for seed in range(6):
        found = find_intensity_discontinuity(intensities(seed, 8000, 0.0))
        called += found.found
        assert found.found or 0 < found.bound_95 < 12
    assert called == 0
    assert find_intensity_discontinuity(np.ones(10)).searched is None
    assert find_intensity_discontinuity(np.full(1000, np.nan)).searched is None


def second(area, seed=0):
    model = DetectorModel(pedestal_error=(0.0, -5.0, -5.0 + area))
    rng = np.random.default_rng(seed)
    photons = SpotMosaic(n_spots=48, mean_intensity=30000.0).photons(rng)
    return np.bincount(read_photons(photons, model, rng).clip(0).ravel())


@pytest.mark.parametrize("area", [-40.0, 50.0])
def test_second_switch_is_found(area):
    switch = find_second_switch(second(area)).switch
    assert switch is not None
    assert switch.position == pytest.approx(696.6, abs=25.0)
    assert switch.area == pytest.approx(area, abs=4.0 * switch.area_error)
    assert switch.area_error < 8.0


def test_second_switch_without_area_is_not_called():
    found = find_second_switch(second(0.0))
    assert found.switch is None
    assert found.bound_95 < 40.0
    assert find_second_switch(np.ones(50)).searched is None
