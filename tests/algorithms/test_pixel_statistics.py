from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms import pixel_statistics
from dials_jungfrau_qc.algorithms.pixel_statistics import (
    TILE,
    PixelAccumulator,
    PixelSums,
    estimate_background,
    isolated_outliers,
    n_blocks,
    n_trimmed,
)

TRUSTED = (-(2.0**31) + 1, 2.0**31 - 2)
SHAPE = (50, 70)


def photons(n=48, rate=0.7, seed=0, dtype=np.int32):
    return np.random.default_rng(seed).poisson(rate, (n, *SHAPE)).astype(dtype)


def summed(frames, mask=None, trusted=TRUSTED, at_a_time=4, blocks=None):
    mask = np.ones(SHAPE, bool) if mask is None else mask
    background = estimate_background(frames[:4], mask, trusted)
    accumulator = PixelAccumulator(background, trusted)
    blocks = blocks or n_blocks(len(frames))
    for block in np.array_split(np.arange(len(frames)), blocks):
        for start in range(0, len(block), at_a_time):
            places = block[start : start + at_a_time]
            accumulator.add([frames[k] for k in places], places)
        accumulator.end_block()
    return background, accumulator.sums


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("at_a_time", [1, 4])
def test_sums_equal_those_of_numpy(dtype, at_a_time):
    frames = photons(dtype=dtype)

    background, sums = summed(frames, at_a_time=at_a_time)

    blocks = np.array_split(frames.astype(float), sums.n_blocks)
    normal = frames <= background.high
    assert normal.all()
    np.testing.assert_allclose(sums.total, frames.sum(axis=0))
    totals = np.sort([block.sum(axis=0) for block in blocks], axis=0)
    scatters = np.sort([len(b) * b.var(axis=0) for b in blocks], axis=0)
    np.testing.assert_allclose(sums.largest, totals[[-1, -2]])
    # Squared deviations are kept as whole numbers, the sums of which are exact
    np.testing.assert_allclose(sums.scatter, scatters.sum(axis=0), atol=4)
    np.testing.assert_allclose(sums.largest_scatter, scatters[[-1, -2]], atol=0.51)
    assert sums.n_frames == 48 and sums.n_blocks == 8
    assert not sums.n_outliers.any()


def test_the_frames_are_not_changed():
    frames = photons()
    frames[5, 3, 4] = 1000
    before = frames.copy()

    summed(frames)

    np.testing.assert_array_equal(frames, before)


def test_outliers_are_counted_and_not_summed():
    frames = photons()
    frames[[7, 20, 33], 10, 20] = [5000, 60, -40]

    _, sums = summed(frames)

    others = np.delete(frames[:, 10, 20], [7, 20, 33])
    assert sums.n_outliers[10, 20] == 3
    assert sums.n_isolated[10, 20] == 3
    assert (sums.first_outlier[10, 20], sums.last_outlier[10, 20]) == (7, 33)
    assert sums.total[10, 20] == others.sum()
    assert sums.n_outliers.sum() == 3


def test_spots_do_not_stand_alone():
    frames = photons(rate=0.3)
    slow, fast = np.mgrid[:50, :70]
    for k in (10, 11):
        spot = 400 * np.exp(-((slow - 25.3) ** 2 + (fast - 30.4) ** 2) / 2 / 0.8**2)
        frames[k] += np.random.default_rng(k).poisson(spot).astype(np.int32)

    _, sums = summed(frames)

    assert sums.n_outliers[25, 30] == 2
    assert sums.n_isolated.sum() <= 1


@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1, 32767])
def test_sentinels_of_masked_pixels_do_no_harm(value):
    frames = photons()
    mask = np.ones(SHAPE, bool)
    mask[20:24] = False
    frames[:, 20:24] = value

    background, sums = summed(frames, mask)

    assert sums.n_outliers.sum() == 0
    assert abs(background.level - 0.7).max() < 0.25
    np.testing.assert_array_equal(sums.total[:20], frames[:, :20].sum(axis=0))


def test_values_that_are_not_trusted():
    frames = photons()
    frames[:, 5, 6] = 200

    _, sums = summed(frames, trusted=(0.0, 100.0))

    assert sums.n_untrusted[5, 6] == 48
    assert sums.n_untrusted.sum() == 48


def test_not_a_number_is_an_outlier():
    frames = photons(dtype=np.float32)
    frames[:, 5, 6] = np.nan

    _, sums = summed(frames)

    assert sums.n_outliers[5, 6] == 48
    assert np.isfinite(sums.total).all()


def test_several_can_add_to_the_same_sums():
    """In any order, as processes do."""
    frames = photons()
    frames[[3, 20, 40], 8, 9] = 500
    background, whole = summed(frames)
    shared = PixelSums.empty(SHAPE)
    for part in (range(24, 48), range(24)):
        accumulator = PixelAccumulator(background, TRUSTED, sums=shared)
        for block in np.array_split(np.array(part), 4):
            accumulator.add([frames[k] for k in block], block)
            accumulator.end_block()

    assert (shared.first_outlier[8, 9], shared.last_outlier[8, 9]) == (3, 40)
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(shared, name), getattr(whole, name))


def test_outliers_are_counted_before_they_fill_the_memory(monkeypatch):
    frames = photons()
    frames[:, 10:20] = 500
    _, expected = summed(frames)
    monkeypatch.setattr(pixel_statistics, "MAX_OUTLIERS", 1000)

    _, sums = summed(frames)

    assert sums.n_outliers.sum() == 48 * 10 * SHAPE[1]
    for name in vars(sums):
        np.testing.assert_array_equal(getattr(sums, name), getattr(expected, name))


def test_long_blocks_do_not_overflow():
    """A block so long that sums of squares pass the range of 32 bits."""
    frames = photons(rate=3000.0, n=12)
    background = estimate_background(frames[:4], np.ones(SHAPE, bool), TRUSTED)
    accumulator = PixelAccumulator(background, TRUSTED, longest_block=1200)
    for _ in range(100):
        accumulator.add(list(frames), range(12))
    accumulator.end_block()

    np.testing.assert_allclose(
        accumulator.sums.scatter, 1200 * frames.var(axis=0), rtol=1e-5
    )
    np.testing.assert_allclose(accumulator.sums.total, 100 * frames.sum(axis=0))


def test_merging_equals_one_pass():
    frames = photons()
    frames[[3, 40], 8, 9] = 500
    background, whole = summed(frames)
    halves = []
    for part in (range(24), range(24, 48)):
        accumulator = PixelAccumulator(background, TRUSTED)
        for block in np.array_split(np.array(part), 4):
            accumulator.add([frames[k] for k in block], block)
            accumulator.end_block()
        halves.append(accumulator.sums)
    halves[0].merge(halves[1])

    for name in vars(whole):
        np.testing.assert_array_equal(getattr(halves[0], name), getattr(whole, name))


@pytest.mark.parametrize("rate", [0.05, 0.5, 6.0, 200.0])
def test_background_and_its_limits(rate):
    frames = photons(rate=rate, n=60)

    background, sums = summed(frames)

    assert background.level.mean() == pytest.approx(rate, rel=0.15)
    assert (sums.n_outliers > 0).mean() < 1e-3
    assert background.high.max() < 1.5 * rate * 1.5 + 8 * np.sqrt(1.5 * rate) + 6


def test_a_spot_in_a_sample_does_not_raise_the_limits():
    frames = photons(rate=0.5)
    plain, _ = summed(frames)
    frames[0, 20:24, 20:24] += 300

    background, _ = summed(frames)

    assert background.high.max() <= plain.high.max() + 1


@pytest.mark.parametrize("n", [1, 5, 6, 20, 48, 300])
def test_blocks(n):
    blocks = n_blocks(n)

    assert 1 <= blocks <= 8
    assert blocks == 1 or n / blocks >= 6
    assert n_trimmed(blocks) == {8: 2}.get(blocks, 1 if blocks >= 4 else 0)


def test_neighbours_beyond_the_edge_count_for_nothing():
    frame = np.zeros((2 * TILE, 2 * TILE), np.int32)
    frame[0, 0] = 50
    background = estimate_background([frame], np.ones(frame.shape, bool), TRUSTED)

    alone = isolated_outliers(frame, np.array([0]), np.array([0]), background, TRUSTED)

    assert alone.tolist() == [True]


def test_a_fault_is_alone_beside_another_but_not_beside_a_spot():
    frame = np.zeros((2 * TILE, 2 * TILE), np.int32)
    background = estimate_background([frame], np.ones(frame.shape, bool), TRUSTED)
    frame[4, 4], frame[4, 5] = 600, 50
    # A spot: its top does not stand alone, nor do its flanks
    frame[9:12, 9:12] = [[20, 60, 20], [60, 200, 60], [20, 60, 20]]
    slow, fast = np.nonzero(frame)

    alone = isolated_outliers(frame, slow, fast, background, TRUSTED)

    assert alone.tolist() == [True, True] + [False] * 9


def test_blocks_with_most_spots_are_left_out():
    """Outliers together in three blocks: six frames, three and one."""
    frames = photons(n=80, rate=0.3)
    for k in (1, 2, 3, 4, 5, 6, 21, 22, 23, 61):
        frames[k, 20:23, 30:33] += 40

    _, sums = summed(frames)

    index = np.array([21 * SHAPE[1] + 31])
    assert sums.n_outliers[21, 31] == 10 and sums.n_isolated[21, 31] == 0
    assert sums.largest_together[:, 21, 31].tolist() == [6, 3]
    assert sums.together(index).tolist() == [1]
