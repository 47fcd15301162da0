from __future__ import annotations

import math

import numpy as np
import pytest
from switch_data import (
    foreground_histogram,
    histogram,
    module_frames,
    planted_image,
    strong_pixels,
)

from dials_jungfrau_qc.algorithms.gain_switch import (
    CALL_SIGNIFICANCE,
    GainSwitch,
    find_gain_switch,
    sign_is_known,
)
from dials_jungfrau_qc.algorithms.smooth_histogram import make_window
from dials_jungfrau_qc.algorithms.switch_model import Response, Shape
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic

STRONG = SpotMosaic(n_spots=64, background=1.5)
SMALL = SpotMosaic(n_spots=40, background=0.5)


@pytest.mark.parametrize(
    "area, position, spread",
    [(-6, 25, 0.6), (-6, 22, 2), (-1, 25, 0.6), (1, 25, 0.6), (2, 22, 2)],
)
@pytest.mark.parametrize("thresholded", [False, True])
def test_planted_switch_is_found(area, position, spread, thresholded):
    image = planted_image(1, STRONG, area, position, spread)
    counts = histogram(image, strong_pixels(image) if thresholded else None)
    switch = find_gain_switch(counts).switch
    assert switch is not None
    assert abs(switch.position - position) < 1.0
    assert abs(switch.area - area) < max(0.4, 3.5 * switch.area_error)
    assert switch.area_error < 0.5
    assert np.sign(switch.area) == np.sign(area)
    assert switch.spread == pytest.approx(spread, rel=0.35)


def test_errors_cover_the_truth_and_bias_is_small():
    found = [
        find_gain_switch(histogram(planted_image(seed, SMALL, -2.0, 25.0, 0.6))).switch
        for seed in range(24)
    ]
    assert all(switch is not None for switch in found)
    pull = np.array([(s.area + 2.0) / s.area_error for s in found])
    moved = np.array([(s.position - 25.0) / s.position_error for s in found])
    # The mean of 24 is known to 0.2 standard deviations, their spread to 15 %.
    assert abs(pull.mean()) < 0.8 and 0.5 < pull.std() < 1.6
    assert abs(moved.mean()) < 0.8 and 0.5 < moved.std() < 1.7


@pytest.mark.parametrize("thresholded", [False, True])
@pytest.mark.parametrize("area", [0.0, None])
def test_nothing_is_called_without_an_area(area, thresholded):
    for seed, background in enumerate((0.1, 0.5, 1.5, 3.0, 6.0, 6.0)):
        mosaic = SpotMosaic(n_spots=40, background=background)
        image = planted_image(seed, mosaic, area, 25.0, 0.6)
        counts = histogram(image, strong_pixels(image) if thresholded else None)
        found = find_gain_switch(counts)
        assert found.switch is None, (seed, background)
        assert found.bound_95 > 0


def test_smooth_histograms_are_rarely_called():
    """A power law over the tail of a background, without pixels: Poisson counts alone."""
    values = np.arange(1, 120)
    rate = 4e4 * values**-1.4 + 1e6 * np.exp(-1.5 * values)
    rng = np.random.default_rng(7)
    called = sum(
        find_gain_switch(rng.poisson(rate), 1).switch is not None for _ in range(40)
    )
    assert called <= 1


def test_weak_data_give_a_bound_that_holds():
    held = 0
    for seed in range(10):
        mosaic = SpotMosaic(n_spots=40, mean_intensity=100.0, background=0.1)
        found = find_gain_switch(
            histogram(planted_image(seed, mosaic, -1.0, 22.0, 2.0))
        )
        assert found.switch is None or abs(found.switch.area) > 1.0
        held += found.switch is not None or found.bound_95 >= 1.0
    assert held >= 9


def test_position_inside_the_turn_on_is_not_called():
    image = planted_image(3, SpotMosaic(n_spots=64, background=6.0), -6.0, 15.0, 0.6)
    found = find_gain_switch(histogram(image, strong_pixels(image)))
    assert found.switch is None
    assert found.searched is None or found.searched[0] > 15.0


def test_overlap_that_is_partly_hidden_is_not_called_a_deficit():
    # Of this one the turn-on hides all but the upper end, at 5.5 sigma.
    mosaic = SpotMosaic(n_spots=64, background=6.0, mean_intensity=1500.0)
    image = planted_image(21, mosaic, -6.0, 22.0, 2.0)
    found = find_gain_switch(histogram(image, strong_pixels(image)))
    assert found.candidate.significance > CALL_SIGNIFICANCE
    assert found.switch is None
    assert found.bound_range[0] > 25.0 and math.isinf(found.bound_95)


def test_deficit_that_is_partly_hidden_is_not_called_an_overlap():
    # Where the deficit ends the counts rise again, as they do where an overlap begins.
    mosaic = SpotMosaic(background=6.0, mean_intensity=100.0)
    image = planted_image(30, mosaic, 2.0, 22.0, 2.0)
    found = find_gain_switch(histogram(image, strong_pixels(image)))
    assert found.candidate.significance > CALL_SIGNIFICANCE
    assert found.candidate.area < -5.0
    assert found.switch is None


@pytest.mark.parametrize("error, known", [(0.49, True), (0.51, False)])
def test_sign_is_known_if_the_area_is_two_errors_from_zero(error, known):
    switch = GainSwitch(22.0, 0.1, -1.0, error, 5.0, 1.0, 0.1)
    assert sign_is_known(switch) is known


def test_too_few_counts_are_not_searched():
    found = find_gain_switch(np.array([0, 5, 3, 2, 1, 1]))
    assert found.switch is None and found.searched is None
    assert math.isinf(found.bound_95)
    assert find_gain_switch(np.zeros(10)).searched is None


@pytest.mark.parametrize(
    "counts, search",
    [
        (np.zeros((3, 3)), (10, 40)),
        (np.array([1.0, -1.0]), (10, 40)),
        (np.array([1.0, np.nan]), (10, 40)),
        (np.ones(100), (40, 10)),
    ],
)
def test_bad_values_raise(counts, search):
    with pytest.raises(ValueError):
        find_gain_switch(counts, search=search)


def test_response_keeps_every_pixel_and_its_derivatives_are_right():
    window = make_window(np.ones(200), 0, 8, 110, 4)
    shape = Shape(25.0, -3.0, 1.3, 0.6, 0.04)
    inner = slice(30, 90)
    assert Response(window, shape).matrix()[:, inner].sum(axis=0) == pytest.approx(1.0)
    density = window.true**-1.5
    derivatives = Response(window, shape).derivatives(density)
    for k, step in enumerate(1e-5 * np.eye(5)):
        up, down = (
            Response(
                window, Shape.from_vector(shape.to_vector() + sign * step)
            ).matrix()
            @ density
            for sign in (1, -1)
        )
        numeric = (up - down) / 2e-5
        assert derivatives[:, k] == pytest.approx(
            numeric, abs=1e-6 * np.abs(numeric).max()
        )


def test_real_module_switches_in_whole_frames():
    frames = module_frames()
    use = (frames >= 0) & (frames != 32678)
    switch = find_gain_switch(np.bincount(frames[use])).switch
    assert switch is not None
    assert 19.0 < switch.position < 21.5
    assert switch.area < -4.0 and switch.significance > 4


def test_real_module_switches_in_strong_pixels():
    frames = module_frames()
    counts = np.zeros(2000, dtype=int)
    for frame in frames:
        good = (frame >= 0) & (frame != 32678)
        strong = frame[strong_pixels(np.where(good, frame, 0), good)]
        counts += np.bincount(strong[strong < 2000], minlength=2000)
    switch = find_gain_switch(counts).switch
    assert switch is not None
    assert 19.0 < switch.position < 21.5
    assert switch.area < -4.0 and switch.significance > 6


@pytest.mark.parametrize(
    "path",
    [
        ("ssx_CuNiR_test_data", "indexed.refl"),
        ("ssx_CuNiR_test_data", "strong_5.refl"),
        ("quartz_processed", "indexed.refl"),
    ],
)
def test_real_data_of_other_detectors_are_not_called(path):
    found = find_gain_switch(foreground_histogram(*path))
    assert found.switch is None
    assert found.searched is None or found.searched[0] > 24
