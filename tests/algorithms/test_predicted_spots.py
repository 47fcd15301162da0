from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.pixel_statistics import (
    PixelAccumulator,
    PixelSums,
    estimate_background,
)
from dials_jungfrau_qc.algorithms.pixel_suspects import spot_frames
from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots

SHAPE = (40, 50)


def spots(slow, fast, first, last, numbers=range(1, 21), radius=1.0):
    columns = [np.array(column) for column in (slow, fast, first, last, numbers)]
    return PredictedSpots(*columns, radius, SHAPE)


def places(index):
    return {tuple(map(int, p)) for p in zip(*np.divmod(index, SHAPE[1]))}


def test_pixels_around_a_prediction_on_its_images_only():
    predicted = spots([10, 20], [5, 30], [3, 4], [5, 6])

    cross = {(10, 5), (9, 5), (11, 5), (10, 4), (10, 6)}
    # Frame 2 is image 3
    assert places(predicted.pixels(2)) == cross
    assert places(predicted.pixels(4)) > cross
    assert len(predicted.pixels(1)) == 0


def test_spots_off_the_panel_reach_in_without_wrapping():
    predicted = spots([-1, 5], [7, 50], [1, 1], [1, 1])

    assert places(predicted.pixels(0)) == {(0, 7), (5, 49)}


def test_frames_are_counted_among_those_of_the_series():
    predicted = spots([10], [5], [3], [8], numbers=[9, 7, 5, 1])

    counts = predicted.frame_counts()

    assert counts[10, 5] == 2 and counts[11, 5] == 2 and counts[12, 5] == 0
    assert counts.sum() == 10


def test_outliers_of_predicted_spots_do_not_stand_alone():
    frames = np.random.default_rng(0).poisson(0.5, (20, *SHAPE)).astype(np.int32)
    frames[3:6, 10, 5] = frames[3:6, 30, 20] = 50
    mask, trusted = np.ones(SHAPE, bool), (-1000.0, 1e6)
    background = estimate_background(frames[10:14], mask, trusted)
    accumulator = PixelAccumulator(background, trusted, spots([10], [5], [5], [6]))

    accumulator.add(list(frames), range(20))
    accumulator.end_block()

    sums = accumulator.sums
    assert sums.n_outliers[10, 5] == sums.n_outliers[30, 20] == 3
    assert sums.n_isolated[10, 5] == 1
    assert sums.n_isolated[30, 20] == 3


def test_predictions_count_as_frames_with_a_spot():
    sums = PixelSums.empty(SHAPE)
    at = (np.array([10, 20]), np.array([5, 5]))

    predicted = spots([10], [5], [5], [6]).frame_counts()

    np.testing.assert_array_equal(spot_frames(sums, at), [0, 0])
    np.testing.assert_array_equal(spot_frames(sums, at, predicted), [2, 0])


def test_wrong_radius():
    with pytest.raises(ValueError, match="radius"):
        spots([1], [1], [1], [1], radius=-1.0)
