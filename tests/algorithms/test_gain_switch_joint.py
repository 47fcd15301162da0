from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from switch_data import histogram, planted_image, strong_pixels

from dials_jungfrau_qc.algorithms.gain_switch import find_gain_switch
from dials_jungfrau_qc.algorithms.gain_switch_joint import compare_panels, join_sweeps
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic

TRANSMISSIONS = (0.127, 0.253, 0.503, 1.0)


def sweeps(area, position, spread):
    found = []
    for i, transmission in enumerate(TRANSMISSIONS):
        mosaic = SpotMosaic(
            n_spots=44, mean_intensity=3000 * transmission, background=transmission
        )
        found.append(
            find_gain_switch(
                histogram(planted_image(i, mosaic, area, position, spread))
            )
        )
    return found


def test_switch_of_the_detector_stays():
    joint = join_sweeps(sweeps(-2.0, 25.0, 0.6), TRANSMISSIONS)
    assert joint.detector_feature is True
    assert abs(joint.switch.position - 25.0) < 0.3
    assert abs(joint.switch.area + 2.0) < 0.3
    assert joint.switch.significance > 8


def test_sweeps_that_miss_it_alone_find_it_together():
    alone = sweeps(-0.5, 25.0, 0.6)
    joint = join_sweeps(alone, TRANSMISSIONS)
    assert joint.switch.significance > max(s.candidate.significance for s in alone)
    assert joint.switch.area_error < min(s.candidate.area_error for s in alone)


def test_without_a_switch_there_is_no_verdict():
    joint = join_sweeps(sweeps(None, 25.0, 0.6), TRANSMISSIONS)
    assert joint.switch is None
    assert joint.detector_feature is None


def test_overlap_that_is_partly_hidden_in_all_sweeps_is_not_called():
    mosaic = SpotMosaic(n_spots=64, background=6.0, mean_intensity=1500.0)
    image = planted_image(21, mosaic, -6.0, 22.0, 2.0)
    hidden = find_gain_switch(histogram(image, strong_pixels(image)))
    joint = join_sweeps([hidden, hidden], [1.0, 1.0])
    assert joint.switch is None
    assert joint.detector_feature is None


def test_feature_that_scales_with_transmission_is_of_the_sample():
    """Deficits at 36 T: the histogram of a sample with nothing between two intensities."""
    rng = np.random.default_rng(4)
    transmissions = (0.4, 0.6, 0.8, 1.0)
    found = []
    for transmission in transmissions:
        values = np.arange(1.0, 120.0)
        rate = 3e4 * values**-1.4 + 1e6 * np.exp(-1.5 * values)
        start, end = 32 * transmission, 36 * transmission
        rate *= np.where((values >= start) & (values < end), 0.3, 1.0)
        found.append(find_gain_switch(rng.poisson(rate), 1))
    joint = join_sweeps(found, transmissions)
    assert joint.detector_feature is False
    assert joint.switch is None


def test_one_transmission_cannot_tell():
    joint = join_sweeps(sweeps(-2.0, 25.0, 0.6), (1.0,) * 4)
    assert joint.switch is not None
    assert joint.detector_feature is None
    assert join_sweeps(sweeps(-2.0, 25.0, 0.6)).detector_feature is None


def test_bad_transmissions_raise():
    found = sweeps(None, 25.0, 0.6)
    with pytest.raises(ValueError):
        join_sweeps(found, (1.0,))
    with pytest.raises(ValueError):
        join_sweeps(found, (1.0, 0.5, 0.0, 0.2))
    assert join_sweeps([]).switch is None


def panels(areas, error=0.2):
    base = find_gain_switch(
        histogram(planted_image(0, SpotMosaic(n_spots=40), -2.0, 25.0, 0.6))
    )
    rng = np.random.default_rng(2)
    return [
        replace(
            base,
            switch=replace(
                base.switch,
                area=area + error * rng.normal(),
                area_error=error,
                position=25 + 0.1 * rng.normal(),
                position_error=0.1,
            ),
        )
        for area in areas
    ]


def test_panel_that_differs_is_named_and_no_other():
    searches = panels([-2.0] * 8 + [-5.0] + [-2.0] * 7)
    searches.append(replace(searches[0], switch=None))
    comparison = compare_panels(searches)
    assert comparison.different == (8,)
    assert comparison.panels == tuple(range(16))
    assert comparison.area_probability < 1e-6 < comparison.position_probability


def test_equal_panels_do_not_differ():
    comparison = compare_panels(panels([-2.0] * 16))
    assert comparison.different == ()
    assert comparison.area_probability > 1e-3
    assert compare_panels([]).different == ()
