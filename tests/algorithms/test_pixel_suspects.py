from __future__ import annotations

import numpy as np
import pytest
from faulty_frames import (
    SHAPE,
    find,
    kinds_at,
    photons,
    rotation,
    spot_image,
)
from scipy import stats

from dials_jungfrau_qc.algorithms.pixel_suspects import (
    Limits,
    small_regions,
)


@pytest.mark.parametrize("height", [5, 30, 1000])
def test_bragg_spots_are_no_faults(height):
    frames, _ = rotation(height)

    assert len(find(frames)) == 0


@pytest.mark.parametrize("height", [5, 30, 1000])
def test_spots_that_come_back(height):
    """Twenty spots on the same pixels four times, in half of the blocks of time."""
    frames, rng = rotation(height)
    spots = spot_image(rng.random((20, 2)) * SHAPE, height)
    for k in (20, 21, 80, 81, 140, 141, 200, 201):
        frames[k] += rng.poisson(spots).astype(np.int32)

    # Faint ones that hardly pass the limit for outliers can look like flickering
    assert len(find(frames)) <= (2 if height == 5 else 0)


def test_a_spot_that_stays_is_no_fault():
    rng = np.random.default_rng(6)
    frames = photons(60)
    still = spot_image(rng.random((20, 2)) * SHAPE, 40)
    frames += rng.poisson(still, frames.shape).astype(np.int32)

    assert len(find(frames)) == 0


def test_the_same_value_in_few_frames_is_chance():
    """Of a million pixels with a photon each, twelve hold one or none in all 12 frames."""
    frames = sum(len(find(photons(12, rate=1.0, seed=seed))) for seed in range(40))

    assert frames == 0


@pytest.mark.parametrize(
    "value, n_frames, found",
    [(1, 16, False), (1, 17, True), (9, 10, True), (-3, 10, True)],
)
def test_the_same_value_in_all_frames(value, n_frames, found):
    frames = photons(n_frames, rate=2.0, seed=3)
    frames[:, 40, 50] = value

    assert (40 * SHAPE[1] + 50 in find(frames).index) == found


def test_edges_and_shadows_are_no_faults():
    """A beam stop with an arm, half in the shade."""
    rng = np.random.default_rng(7)
    light = np.full(SHAPE, 2.0)
    slow, fast = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(slow - 90, fast - 120)
    light *= np.clip((distance - 18) / 5, 0, 1)
    light[90:, 116:124] *= 0.3
    frames = rng.poisson(light, (120, *SHAPE)).astype(np.int32)

    assert len(find(frames, centre=(90, 120))) <= 1


def test_double_pixels_are_no_faults():
    rng = np.random.default_rng(8)
    light = np.full(SHAPE, 1.0)
    light[:, 127:129] *= 2
    light[95] *= 2
    frames = rng.poisson(light, (120, *SHAPE)).astype(np.int32)
    frames[:, 30, 127] = 0

    bad = find(frames)

    assert bad.index.tolist() == [30 * SHAPE[1] + 127]


def test_masked_pixels_and_gaps_are_left_alone():
    frames = photons(60)
    mask = np.ones(SHAPE, bool)
    mask[50:58] = False
    frames[:, 50:58] = -(2**31)
    # A gap that nobody has masked
    frames[:, :, 60:66] = -1

    assert len(find(frames, mask)) == 0


def test_small_regions():
    image = np.zeros((30, 30), bool)
    image[2, 2] = True
    image[10:20, 10:20] = True
    # Connected at a corner
    image[20, 20] = True

    # The ends of neighbouring rows do not touch
    image[24:, [0, -1]] = [[True, True]]
    index = np.flatnonzero(image)

    small = index[small_regions(index, image.shape, largest=6)]

    expected = [[2, 2], *([s, f] for s in range(24, 30) for f in (0, 29))]
    np.testing.assert_array_equal(np.divmod(small, 30), np.transpose(expected))


@pytest.mark.parametrize(
    "wrong",
    [
        {"false_alarms": 0},
        {"dead": 0.9},
        {"low": 1.2},
        {"high": 0.9},
        {"scatter": 1.0},
        {"share": 0.0},
    ],
)
def test_impossible_limits(wrong):
    with pytest.raises(ValueError):
        Limits(**wrong)


def test_rate_of_false_alarms_sets_the_threshold():
    assert Limits(false_alarms=0.1).z == pytest.approx(stats.norm.isf(1e-7))


def test_faults_beside_faults_are_found():
    """A bright neighbour that stands alone is no spot that would excuse a pixel."""
    frames = photons(120)
    rng = np.random.default_rng(4)
    frames[:, 40, 50] = 600
    frames[rng.random(120) < 0.3, 40, 51] += 60
    when = rng.random(120) < 0.7
    frames[when, 90, 80] = rng.integers(590, 610, when.sum())
    frames[:, 91, 81] += rng.poisson(25, 120).astype(np.int32)

    kinds = kinds_at(find(frames), [(40, 50), (40, 51), (90, 80), (91, 81)])

    assert kinds == ["stuck", "flickering", "wrong_gain", "hot"]


def test_a_spot_on_a_dead_pixel_does_not_hide_it():
    """It responds a little, and spots on it are far brighter than the background."""
    frames = photons(240, 0.3)
    rng = np.random.default_rng(5)
    spot = spot_image([(60, 100)], 700)
    for k in (130, 131, 132):
        frames[k] += rng.poisson(spot).astype(np.int32)
    frames[:, 60, 101] = rng.binomial(frames[:, 60, 101], 0.04)
    frames[130:133, 60, 101] = (6, 7, 6)

    bad = find(frames)

    assert bad.index.tolist() == [60 * SHAPE[1] + 101]
    assert bad.kind[0] in ("dead", "under_responding")


def test_noise_is_told_by_negative_values_in_short_series():
    frames = photons(60, 0.7)
    rng = np.random.default_rng(6)
    places = [(30 + 20 * (i // 8), 20 + 28 * (i % 8)) for i in range(40)]
    for slow, fast in places:
        noise = rng.normal(0, 1.2, 60)
        frames[:, slow, fast] = np.rint(frames[:, slow, fast] + noise)

    kinds = kinds_at(find(frames), places)

    assert sum(kind is not None for kind in kinds) >= 38
    assert kinds.count("noisy") >= 36


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_negative_values_of_all_pixels_are_no_noise(dtype):
    """Detectors that integrate charge have noise in every pixel."""
    n_bad = 0
    for seed in range(8):
        frames = photons(60, 0.5, seed).astype(np.float64)
        frames += np.random.default_rng(100 + seed).normal(0, 0.7, frames.shape)
        if dtype is np.int32:
            frames = np.rint(frames)
        n_bad += len(find(frames.astype(dtype)))

    assert n_bad <= 1


def test_spots_in_few_blocks_of_time_excuse_nothing():
    """The brightest blocks are left out, and a noisy pixel is noisy in the others too."""
    frames = photons(300, 0.6)
    rng = np.random.default_rng(7)
    spot = spot_image([(60, 100)], 400)
    for k in (130, 131, 132, 133, 134, 135):
        frames[k] += rng.poisson(spot).astype(np.int32)
    frames[:, 61, 101] = np.rint(frames[:, 61, 101] + rng.normal(0, 1.3, 300))

    assert kinds_at(find(frames), [(61, 101)]) == ["noisy"]
