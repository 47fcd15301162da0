from __future__ import annotations

import numpy as np
import pytest
from switch_data import foreground_histogram, module_frames

from dials_jungfrau_qc.algorithms.pile_up import (
    count_rate_transmission,
    find_pile_up,
    reaches_ceiling,
    recommend_transmission,
)
from dials_jungfrau_qc.simulation.detector import (
    DetectorModel,
    draw_pixels,
    read_out,
    to_counts,
)


def bright_spots(seed, mean, pedestal_spread, n_spots=3000):
    """Counts of Gaussian spots, and which of their pixels are clipped, and the median ceiling."""
    rng = np.random.default_rng(seed)
    model = DetectorModel(pedestal_spread=(100.0, 450.0, pedestal_spread))
    pixel = np.arange(9) - 4
    profile = np.exp(
        -0.5 * ((pixel - rng.uniform(-0.5, 0.5, (2, n_spots, 1))) / 1.5) ** 2
    )
    spot = profile[0][:, :, None] * profile[1][:, None, :] / (2 * np.pi * 1.5**2)
    photons = rng.poisson(rng.exponential(mean, (n_spots, 1, 1)) * spot + 1.0)
    pixels = draw_pixels(model, (photons.size,), rng)
    counts = to_counts(read_out(photons.ravel(), pixels, rng)).reshape(photons.shape)
    ceiling = pixels.ceiling(2)
    return (
        counts,
        (photons.ravel() >= ceiling).reshape(photons.shape),
        np.median(ceiling),
    )


def search(counts, **keywords):
    return find_pile_up(*np.unique(counts[counts > 3], return_counts=True), **keywords)


@pytest.mark.parametrize("pedestal_spread", [100.0, 450.0])
@pytest.mark.parametrize("mean", [60000.0, 120000.0])
def test_edge_and_clipped_reflections(mean, pedestal_spread):
    for seed in range(3):
        counts, clipped, ceiling = bright_spots(seed, mean, pedestal_spread)
        pile_up = search(counts, trusted_maximum=2.0**31 - 1).pile_up
        assert pile_up is not None
        assert pile_up.edge == pytest.approx(ceiling, rel=0.01)
        assert pile_up.excess == pytest.approx(clipped.sum(), rel=0.15)
        flagged = reaches_ceiling(counts.max(axis=(1, 2)), pile_up)
        reflections = clipped.any(axis=(1, 2))
        assert flagged[reflections].mean() >= 0.99
        assert flagged[~reflections].mean() < 0.06
        assert pile_up.n_pixels >= 0.98 * clipped.sum()


@pytest.mark.parametrize("mean", [3000.0, 15000.0])
def test_smooth_end_is_no_pile_up(mean):
    for seed in range(4):
        counts, _, _ = bright_spots(seed, mean, 100.0)
        found = search(counts)
        assert found.pile_up is None and found.cut is None


@pytest.mark.parametrize("trusted_maximum", [9000.0, None])
def test_trusted_range_below_the_pile_up_is_recognised(trusted_maximum):
    for seed in range(8):
        counts, _, _ = bright_spots(seed, 120000.0, 450.0)
        found = search(counts[counts < 9000], trusted_maximum=trusted_maximum)
        assert found.pile_up is None
        assert found.cut == pytest.approx(9000.0, rel=0.01)
        assert found.expected_beyond > 12


def test_little_data():
    assert find_pile_up(np.array([]), np.array([])).pile_up is None
    assert find_pile_up(np.array([5, 6]), np.array([10, 3])).pile_up is None
    with pytest.raises(ValueError):
        find_pile_up(np.array([5, 6]), np.array([10]))


def test_real_data_have_no_pile_up():
    frames = module_frames()
    values = np.unique(frames[(frames > 3) & (frames != 32678)], return_counts=True)
    assert find_pile_up(*values).pile_up is None
    for path in (
        ("ssx_CuNiR_test_data", "indexed.refl"),
        ("quartz_processed", "indexed.refl"),
    ):
        counts = foreground_histogram(*path)
        assert find_pile_up(np.arange(counts.size), counts).pile_up is None


def test_recommended_transmission_scales_with_the_brightest():
    rng = np.random.default_rng(1)
    peaks = rng.exponential(1000.0, 20000)
    at = recommend_transmission(peaks, 0.5, 8000.0, share=0.01)
    assert not at.is_upper_limit
    scaled = peaks * at.transmission / 0.5
    assert np.mean(scaled >= 8000.0) == pytest.approx(0.01, abs=2e-4)
    assert recommend_transmission(peaks, 0.5, 1e6, share=0.01).transmission == 1.0


def test_recommended_transmission_of_a_clipped_sweep_is_a_limit():
    peaks = np.minimum(np.random.default_rng(1).exponential(5000.0, 5000), 10500.0)
    at = recommend_transmission(peaks, 1.0, 10000.0, share=0.001)
    assert at.is_upper_limit
    assert at.transmission < 1.0
    assert at.share_now == pytest.approx(np.exp(-2), abs=0.02)
    with pytest.raises(ValueError):
        recommend_transmission(np.array([]), 1.0, 1e4)
    with pytest.raises(ValueError):
        recommend_transmission(peaks, 0.0, 1e4)


def test_count_rate_rule():
    values, counts = np.arange(1, 1001), np.ones(1000)
    assert count_rate_transmission(values, counts, 0.5, 10000.0) == pytest.approx(
        0.5 * 1000 / 999
    )
    with pytest.raises(ValueError):
        count_rate_transmission(np.array([]), np.array([]), 0.5, 1e4)
