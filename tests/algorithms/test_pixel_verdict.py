from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitch
from dials_jungfrau_qc.algorithms.gain_switch_joint import JointGainSwitch
from dials_jungfrau_qc.algorithms.pixel_features import (
    advise,
    common_ceiling,
    find_features,
)
from dials_jungfrau_qc.algorithms.pixel_verdict import (
    bound_words,
    pixel_verdict,
    switch_words,
    value_with_error,
)
from dials_jungfrau_qc.algorithms.value_counts import count_values

NOTHING = JointGainSwitch(None, None, 0.0)
SWITCH = GainSwitch(25.02, 0.05, -4.94, 0.12, 30.0, 0.6, 0.05)


@pytest.mark.parametrize(
    "value, error, expected",
    [
        (25.0213, 0.0512, "25.021 +- 0.051"),
        (10497.2, 27.8, "10497 +- 28"),
        (-4.9, 0.12, "-4.90 +- 0.12"),
        (3.0, math.inf, "3"),
    ],
)
def test_numbers_carry_two_digits_of_their_error(value, error, expected):
    assert value_with_error(value, error) == expected


def test_kind_of_a_switch():
    assert "J = -4.94 +- 0.12 photons (overlap, 30 sigma)" in switch_words(SWITCH)
    assert "deficit" in switch_words(replace(SWITCH, area=2.0))


def test_bound():
    assert "|J| below 0.34 photons" in bound_words(0.341)
    assert "no limit" in bound_words(math.inf)


def features_of(values):
    return find_features(count_values(np.array(values, float)))


@pytest.mark.parametrize(
    "values, expected",
    [
        ([3, 22, 40], "cannot show a gain switch"),
        ([np.nan], "nothing to look at"),
        ([-7, 30, 31], "1 pixels are negative"),
        ([32767] * 50 + [5] * 10, "50 pixels hold values that mark invalid pixels"),
    ],
)
def test_words_for_pixels(values, expected):
    assert expected in pixel_verdict([features_of(values)], NOTHING)


def test_words_for_what_all_say_together():
    features = [features_of([3, 22, 40])]
    same = JointGainSwitch(SWITCH, True, 50.0)
    assert "it is the detector's" in pixel_verdict(features, same)
    moving = JointGainSwitch(None, False, -50.0)
    assert "moves with the transmission" in pixel_verdict(features, moving)


def test_no_pixels():
    assert "There are no pixels here" in pixel_verdict([], NOTHING)


def test_advice_needs_a_transmission_and_a_ceiling():
    counted = count_values(np.array([5.0, 50.0, 900.0] * 20))
    maximum = np.full(20, 900.0)
    found = find_features(counted, maximum)
    assert common_ceiling([found]) is None
    assert advise(found, counted, maximum, None, None, 10000.0).recommended is None
    assert advise(found, counted, maximum, 0.1, 2.0**31, None).recommended is None
    advised = advise(found, counted, maximum, 0.1, None, 9000.0)
    assert advised.recommended.transmission == pytest.approx(1.0)
    assert advised.count_rate == pytest.approx(0.1 * 0.1 * 9000 / 900)
