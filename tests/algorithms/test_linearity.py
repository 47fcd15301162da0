"""Statistical claims on simulated intensities, each over several seeds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from integrated_files import simulate

from dials_jungfrau_qc.algorithms.linearity import analyse
from dials_jungfrau_qc.algorithms.linearity_groups import group_reflections
from dials_jungfrau_qc.algorithms.ratios import all_pairs, ratio_of_sums, york_slope
from dials_jungfrau_qc.algorithms.spot_pixel_curves import (
    SpotCurves,
    fit_weights,
    in_second_gain,
    lost_by_compression,
    peak_shares,
    spot_shares,
    switch_at,
)
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries, dose_before

SWITCH = switch_at(12.4)
T = (0.064, 0.253, 1.0)


def as_series(simulated) -> SweepSeries:
    n_sweeps, n = simulated.intensity.shape
    return SweepSeries(
        simulated.intensity,
        simulated.variance,
        simulated.transmission,
        n_sweeps - 1,
        dose_before(simulated.transmission, np.arange(n_sweeps)),
        simulated.d,
        simulated.position,
        np.arange(n),
        simulated.sigma_pixels,
        simulated.sigma_images,
        simulated.background,
        np.zeros(n, int),
    )


def found(seed, n=3000, **faults):
    faults.setdefault("spots", {"scale": 8000.0})
    return analyse(as_series(simulate(seed, n, T, **faults)), SWITCH, seed)


def test_ratio_of_sums_is_unbiased_and_its_errors_are_right():
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(400):
        true = rng.exponential(60, 1500)
        x = rng.poisson(true + 40) - 40.0
        y = rng.poisson(0.1 * (true + 40)) - 4.0
        result = ratio_of_sums(
            x,
            y,
            np.maximum(x, 0) + 45,
            np.maximum(y, 0) + 4.5,
            np.arange(1500),
            0.1,
            rng,
            100,
        )
        pulls.append((result.ratio - 0.1) / result.error)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(400)
    assert 0.6 < np.mean(np.abs(pulls) < 1) < 0.76


def test_york_slope_of_exact_data():
    x = np.array([1.0, 2.0, 5.0])
    assert york_slope(x, 3 * x, x, x).ratio == pytest.approx(3)


def test_all_pairs_does_not_need_the_reference_everywhere():
    series = as_series(simulate(2, 2000, T))
    intensity = series.intensity.copy()
    intensity[2, :1000] = np.nan
    series = dataclasses.replace(series, intensity=intensity)

    pairs = all_pairs(series, np.random.default_rng(0), 300)

    assert np.all(np.abs(pairs.beam - T)[:2] < 4 * pairs.beam_error[:2])


def test_nothing_is_found_where_nothing_is():
    results = [found(seed) for seed in range(12)]

    assert sum(bool(r.verdict.causes or r.verdict.cannot_tell) for r in results) <= 2
    beams = np.array([r.model.relative_beam[:2] for r in results]) / T[:2]
    errors = np.array([r.model.relative_beam_error[:2] for r in results]) / T[:2]
    pulls = (beams - 1) / errors
    assert abs(pulls.mean()) < 4 / np.sqrt(12)
    assert 0.5 < (np.abs(pulls) < 1).mean() < 0.9


@pytest.mark.parametrize(
    "faults, term, true, tolerance, cause",
    [
        ({"detector": {"gain_error": (0, -0.05, 0)}}, "g1_gain", -0.05, 0.005, "gain-stage gain"),
        ({"detector": {"pedestal_error": (0, -5.9, 0)}}, "g1_offset", -5.9, 0.3, "gain-stage offset"),
        ({"b_decay": 1.0}, "b_decay", 1.0, 0.03, "decay in B"),
        ({"uniform_decay": 0.1}, "uniform_decay", 0.1, 0.01, "uniform decay"),
        ({"spots": {"scale": 4000.0, "background_bias": 0.02}}, "additive_offset", 2.94, 0.3, "integration or background offset"),
    ],
)  # fmt: skip
def test_faults_are_named_and_measured(faults, term, true, tolerance, cause):
    results = [found(seed, **faults) for seed in range(6)]

    assert all(cause in r.verdict.causes for r in results)
    assert sum(r.verdict.causes == (cause,) for r in results) >= 5
    values = [r.model.terms[term].value for r in results]
    errors = [r.model.terms[term].error for r in results]
    assert abs(np.mean(values) - true) < tolerance
    assert np.std(values) < 2.5 * np.mean(errors)
    detector = cause.startswith("gain-stage")
    assert all(r.verdict.linear is not detector for r in results)


def test_an_offset_beside_a_low_reference_is_in_photons():
    """The beam that intensities are pooled with is not that of the fit."""
    faults = {"spots": {"scale": 4000.0, "background_bias": 0.02}}
    results = [found(seed, reference_scale=0.8, **faults) for seed in range(6)]

    values = [r.model.terms["additive_offset"].value for r in results]
    assert abs(np.mean(values) - 2.94) < 0.2


def test_compression_is_no_gain_stage_fault():
    for seed in range(3):
        verdict = found(seed, detector={"compression": 3000.0}).verdict
        assert verdict.causes == ("saturation or compression",)
        assert verdict.linear is False


def test_curves_agree_with_counted_photons():
    rng = np.random.default_rng(0)
    spot = spot_shares(0.8, 0.4)
    total = 400.0
    shares = np.repeat(spot.shares[None], 3000, axis=0)
    photons = rng.poisson(total * shares + 1.0)
    switch = rng.normal(SWITCH.position, SWITCH.spread, photons.shape)
    above = photons > switch
    expected = (spot.weight * above).sum(axis=(1, 2)).mean() / total
    expected_q = (spot.weight * above * photons).sum(axis=(1, 2)).mean() / total

    phi, nu = in_second_gain(spot, np.array([total]), 1.0, SWITCH)

    assert nu[0] == pytest.approx(expected, rel=0.03)
    assert phi[0] == pytest.approx(expected_q, rel=0.03)


def test_compression_agrees_with_counted_photons():
    rng = np.random.default_rng(0)
    spot, constant, background = spot_shares(0.8, 0.4), 300.0, 3.0
    for total in (30.0, 2000.0):
        signal = total * np.repeat(spot.shares[None], 4000, axis=0)
        photons = rng.poisson(signal + background)
        lost = photons - photons / (1 + photons / constant)
        empty = rng.poisson(background, 10**6)
        lost_there = empty - empty / (1 + empty / constant)
        expected = (spot.weight * (lost - lost_there.mean())).sum(axis=(1, 2)) / total
        error = expected.std() / np.sqrt(len(expected))

        found = lost_by_compression(spot, np.array([total]), constant, background)[0]

        assert found == pytest.approx(expected.mean(), abs=4 * error, rel=0.01)


@pytest.mark.parametrize("total", [150.0, 2000.0])
def test_weights_of_pixels_are_those_of_a_profile_fit(total):
    spot, background = spot_shares(0.8, 0.4), 3.0

    weights = fit_weights(spot, np.array([total]), background)[0]

    # A fit of I p to counts less their background, with one pixel a photon too high
    profile = spot.shares[0]
    counts = total * profile
    inverse = 1 / (counts + background)
    for pixel in (0, 10, len(profile) - 1):
        high = counts + (np.arange(len(profile)) == pixel)
        fitted = (inverse * profile * high).sum() / (inverse * profile**2).sum()
        assert weights[0, pixel] == pytest.approx(fitted - total, rel=1e-6)


def test_offset_beside_saturation_is_no_gain_error():
    for seed in range(2):
        result = found(
            seed,
            spots={"scale": 60000.0},
            detector={"pedestal_error": (0, -5.0, 0)},
        )
        assert set(result.verdict.causes) == {
            "gain-stage offset",
            "saturation or compression",
        }
        offset = result.model.terms["g1_offset"]
        assert offset.value == pytest.approx(-5, abs=4 * offset.error)
        assert offset.error < 0.3
        assert not result.model.terms["g1_gain"].supported
        assert not result.model.terms["compression"].supported


# A third gain that does not end where these reflections are
NO_END = (41.0, -1.439, -0.03)


def test_saturation_of_a_few_reflections():
    simulated = simulate(1, 3000, T, spots={"scale": 8000.0}, detector={"gain": NO_END})
    series = as_series(simulated)
    share = peak_shares(series.sigma_pixels, series.sigma_images)
    # The brightest are made so bright that eight of them pass the ceiling
    peak = series.intensity[-1] * share
    some = np.argsort(peak)[-100:]
    factor = 1.1 * SWITCH.ceiling / peak[some[-8]]
    series.intensity[:, some] *= factor
    series.variance[:, some] *= factor**2
    excess = np.maximum(series.intensity[-1] * share - SWITCH.ceiling, 0)
    assert 8 <= np.count_nonzero(excess) < 16
    assert analyse(series, SWITCH).verdict.causes == ()
    series.intensity[-1] -= excess

    result = analyse(series, SWITCH)

    assert result.verdict.causes == ("saturation or compression",)
    saturation = result.model.terms["saturation"]
    assert saturation.value > 5 * saturation.error
    assert not result.model.terms["compression"].supported


def test_one_bright_accident_is_no_saturation():
    simulated = simulate(
        1, 3000, T, spots={"scale": 30000.0}, detector={"gain": NO_END}
    )
    series = as_series(simulated)
    strongest = int(np.argmax(series.intensity[-1]))
    series.intensity[-1, strongest] *= 0.7

    assert analyse(series, SWITCH).verdict.causes == ()


def test_an_accident_does_not_take_its_neighbours_with_it():
    simulated = simulate(
        0, 3000, T, spots={"scale": 60000.0}, detector={"gain": NO_END}
    )
    series = as_series(simulated)
    before = group_reflections(series, series.transmission).n_outliers
    accidents = np.argsort(series.intensity[-1])[-1000::33]
    for i, reflection in enumerate(accidents):
        series.intensity[i % 3, reflection] *= 3.0 if i % 2 else 0.2

    groups = group_reflections(series, series.transmission)

    assert not np.isin(accidents, groups.rows).any()
    assert groups.n_outliers <= before + len(accidents) + 2


def test_curves_of_reflections_are_those_of_their_shapes():
    rng = np.random.default_rng(0)
    sigma_pixels, sigma_images = rng.uniform(0.5, 1.5, 500), rng.uniform(0.3, 2, 500)
    photons = 10 ** rng.uniform(-1, 5, 500)
    curves = SpotCurves(sigma_pixels, sigma_images)

    def functions(spot, n):
        return np.log(n) * spot.peak, np.sqrt(n) + spot.mean

    found = curves.evaluate(photons, functions)

    for reflection in range(0, 500, 25):
        spot = curves.spots[curves.label[reflection]]
        expected = functions(spot, max(photons[reflection], 1.0))
        for values, value in zip(found, expected):
            assert values[reflection] == pytest.approx(value, rel=0.01, abs=0.01)


def test_a_stuck_pixel_is_found_in_a_group_of_its_own():
    simulated = simulate(0, 3000, T, spots={"scale": 8000.0})
    # No other reflection as strong has its resolution, so that it has a group to itself
    strong = int(np.argmax(simulated.intensity[-1]))
    keep = np.arange(3000) != strong
    keep &= simulated.intensity[-1] < 20000
    keep[strong] = True
    series = as_series(simulated).select(keep)
    here = np.count_nonzero(keep[:strong])
    series.d[here] = series.d.min()
    series.intensity[:, here] = [12000, 14000, 20000]
    series.variance[:, here] = [12000, 14000, 20000]

    groups = group_reflections(series, series.transmission)

    assert here not in groups.rows
    assert groups.n_outliers < 4
