from __future__ import annotations

import numpy as np
import pytest
from faulty_frames import (
    SHAPE,
    TRUSTED,
    photons,
)
from scipy import stats

from dials_jungfrau_qc.algorithms.pixel_statistics import (
    PixelAccumulator,
    estimate_background,
)
from dials_jungfrau_qc.algorithms.pixel_tests import (
    dispersion_z,
    line_response,
    poisson_z,
    test_panel,
)

test_panel.__test__ = False


def test_skipped_tests_are_named():
    frames = photons(12, rate=0.1)
    background = estimate_background(frames[:4], np.ones(SHAPE, bool), TRUSTED)
    accumulator = PixelAccumulator(background, TRUSTED)
    accumulator.add(list(frames), range(12))
    accumulator.end_block()
    angle = np.arange(192 * 256.0).reshape(SHAPE)

    skipped = test_panel(
        accumulator.sums, np.ones(SHAPE, bool), angle.__getitem__
    ).skipped

    assert len(skipped) == 2
    assert "24 images" in skipped[0] and "16 photons" in skipped[1]


def test_line_response():
    response = np.random.default_rng(0).normal(1, 0.1, (300, 300)).astype(np.float32)
    response[:, 100] *= 2
    response[40:60] *= 1.5

    factors = line_response(response)

    # Twenty rows are no line
    assert factors[:, 100] == pytest.approx(2.0, abs=0.15)
    assert (np.delete(factors, 100, axis=1) == 1).all()


@pytest.mark.parametrize("mean", [5.0, 30.0, 400.0])
def test_poisson_z_is_normal_far_out(mean):
    """One in a thousand and one in a million on either side."""
    for probability in (1e-3, 1e-6):
        for tail in (
            stats.poisson.ppf(probability, mean),
            stats.poisson.isf(probability, mean),
        ):
            if tail == 0:
                # There is nothing further out
                continue
            z = poisson_z(np.array([tail]), np.array([mean]), np.array([1.0]))[0]
            exact = stats.norm.isf(probability)
            assert abs(z) == pytest.approx(exact, abs=0.25 + 2 / np.sqrt(mean))


@pytest.mark.parametrize("rate,n", [(0.3, 300), (0.5, 60), (2.0, 40), (50.0, 40)])
def test_dispersion_z_has_the_right_tail(rate, n):
    rng = np.random.default_rng(0)
    x = rng.poisson(rate, (200_000, n)).astype(np.float32)
    mean = x.mean(axis=1)
    ratio = x.var(axis=1, ddof=1) / np.maximum(mean, 1e-6)

    z = dispersion_z(ratio, np.full(len(x), rate), n - 1)

    for limit in (2.0, 3.0, 3.7):
        expected = stats.norm.sf(limit) * len(x)
        assert (z > limit).sum() < 2.0 * expected + 4 * np.sqrt(expected)
        assert (z > limit).sum() > 0.3 * expected - 4 * np.sqrt(expected)


def test_too_few_photons_for_the_dispersion():
    assert np.isnan(dispersion_z(np.array([3.0]), np.array([0.01]), 50)).all()


def test_few_pixels_are_calculated_as_all_are():
    """What is asked of a few pixels, by sums that are done here once more."""
    n = 120
    frames = photons(n, rate=2.0)
    frames[:, 40, 50] = np.random.default_rng(1).poisson(4.0, n)
    frames[3:6, 60, 70] = 500
    background = estimate_background(frames[10:14], np.ones(SHAPE, bool), TRUSTED)
    accumulator = PixelAccumulator(background, TRUSTED)
    blocks = np.array_split(np.arange(n), 8)
    for block in blocks:
        accumulator.add([frames[k] for k in block], block)
        accumulator.end_block()
    angle = np.arange(192 * 256.0).reshape(SHAPE)
    tests = test_panel(accumulator.sums, np.ones(SHAPE, bool), angle.__getitem__)

    for slow, fast in ((40, 50), (60, 70), (100, 100)):
        index = np.array([slow * SHAPE[1] + fast])
        own = frames[:, slow, fast].astype(float)
        seen = own < 100
        own[~seen] = 0
        sums = np.sort([own[block].sum() for block in blocks])
        scatter = np.sort([len(block) * own[block].var() for block in blocks])
        expected, usual = tests.expected[slow, fast], tests.usual[slow, fast]
        assert expected == pytest.approx(2, rel=0.05)
        # Six of eight blocks, and those with fewest photons
        assert 0.64 * 240 < usual < 0.75 * 240
        assert tests.response(index)[0] == pytest.approx(
            own.sum() / seen.sum() / expected
        )
        assert tests.calm_response(index)[0] == pytest.approx(
            sums[:-2].sum() / usual / seen.mean()
        )
        assert tests.excess(index)[0] == pytest.approx(
            sums[:-2].sum() - usual, abs=1e-3
        )
        photons_of_it = max(own.sum(), expected * seen.sum())
        normal = tests.normal[slow, fast]
        # Squared deviations are kept as whole numbers
        assert tests.scatter(index)[0] == pytest.approx(
            scatter[:-2].sum() / photons_of_it / normal, rel=0.05
        )
        assert tests.excess_scatter(index)[0] == pytest.approx(
            scatter[:-2].sum() - photons_of_it * normal, abs=5
        )
