"""Everything that is known of the linearity of a series, in the order it is found."""

from __future__ import annotations

import dataclasses

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_model import LinearityModel, fit_joint_model
from dials_jungfrau_qc.algorithms.linearity_residuals import Residuals, residuals
from dials_jungfrau_qc.algorithms.linearity_verdict import Linearity, judge
from dials_jungfrau_qc.algorithms.ratios import (
    AllPairs,
    Ratio,
    RatioOfSums,
    all_pairs,
    median_ratio,
    ratio_of_sums,
    york_slope,
)
from dials_jungfrau_qc.algorithms.spot_pixel_curves import SwitchModel, peak_shares
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries, pooled_intensity


@dataclasses.dataclass(frozen=True)
class SweepRatios:
    """How one sweep compares with the reference.

    Attributes:
        n_matched: Reflections that both have.
        sums: Ratio of sums.
        york: Slope through the origin with errors in both.
        median: Median of ratios, of the reflections in the ratio of sums.
        background: Ratio of the backgrounds under the same reflections.
    """

    n_matched: int
    sums: RatioOfSums
    york: Ratio
    median: Ratio
    background: Ratio


@dataclasses.dataclass(frozen=True)
class LinearityAnalysis:
    """The whole analysis.

    Attributes:
        series: What was analysed.
        ratios: For each sweep; None for the reference.
        pairs: Relative beams from all pairs.
        model: The joint model.
        residuals: In bins of each quantity.
        verdict: The answer.
        n_bright: Reflections left out of the ratios and of the pairs, as their brightest
            pixel may be above half the ceiling.
    """

    series: SweepSeries
    ratios: list[SweepRatios | None]
    pairs: AllPairs
    model: LinearityModel
    residuals: list[Residuals]
    verdict: Linearity
    n_bright: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How the sweeps compare, before the question why.

    Attributes:
        series: What was compared.
        bright: Reflections that were left out, as their brightest pixel may be above half
            the ceiling, bool, shape (n,).
        ratios: For each sweep; None for the reference.
        pairs: Relative beams from all pairs.
    """

    series: SweepSeries
    bright: np.ndarray
    ratios: list[SweepRatios | None]
    pairs: AllPairs


def analyse(
    series: SweepSeries, switch: SwitchModel, seed: int = 0
) -> LinearityAnalysis:
    """Analyse the linearity of a series of sweeps.

    Args:
        series: The sweeps.
        switch: Where the detector switches gains.
        seed: Of the bootstrap.

    Raises:
        ValueError: A sweep shares nothing with the others, or too little to tell.
    """
    return explain(compare(series, switch, seed), switch)


def compare(series: SweepSeries, switch: SwitchModel, seed: int = 0) -> Comparison:
    """Compare every sweep with the reference, and all with each other.

    Args:
        series: The sweeps.
        switch: Where the detector switches gains.
        seed: Of the bootstrap.

    Raises:
        ValueError: A sweep shares nothing with the others.
    """
    rng = np.random.default_rng(seed)
    bright = is_bright(series, switch)
    dim = series.select(~bright) if bright.any() else series
    present, reference = series.present, series.reference
    ratios = [
        None
        if k == reference
        else dataclasses.replace(
            sweep_ratios(dim, k, rng),
            n_matched=int(np.count_nonzero(present[k] & present[reference])),
        )
        for k in range(series.n_sweeps)
    ]
    return Comparison(series, bright, ratios, all_pairs(dim, rng))


def explain(comparison: Comparison, switch: SwitchModel) -> LinearityAnalysis:
    """Find out why sweeps compare as they do.

    Args:
        comparison: How they compare.
        switch: Where the detector switches gains.

    Raises:
        ValueError: There is too little to tell.
    """
    series, pairs = comparison.series, comparison.pairs
    model = fit_joint_model(series, pairs.beam, switch, comparison.bright)
    binned = residuals(series, model)
    return LinearityAnalysis(
        series=series,
        ratios=comparison.ratios,
        pairs=pairs,
        model=model,
        residuals=binned,
        verdict=judge(series, model, binned),
        n_bright=int(np.count_nonzero(comparison.bright)),
    )


def is_bright(series: SweepSeries, switch: SwitchModel) -> np.ndarray:
    """Reflections whose brightest pixel may be above half the detector's ceiling.

    Args:
        series: The sweeps.
        switch: Of the detector.

    Returns:
        Bool, shape (n,).
    """
    pooled, _ = pooled_intensity(series, series.transmission)
    share = peak_shares(series.sigma_pixels, series.sigma_images)
    peak = pooled * share * series.transmission.max()
    if series.peak is not None:
        peak = np.where(np.isfinite(series.peak), series.peak, peak)
    return peak > switch.ceiling / 2


def sweep_ratios(
    series: SweepSeries, sweep: int, rng: np.random.Generator
) -> SweepRatios:
    """All estimates of the ratio of one sweep to the reference.

    Args:
        series: The sweeps.
        sweep: Which of them.
        rng: Source of the bootstrap.

    Raises:
        ValueError: They share no reflection.
    """
    reference = series.reference
    both = series.shared(sweep, reference)
    x, y = series.intensity[reference, both], series.intensity[sweep, both]
    if not len(x):
        raise ValueError(
            f"sweep {sweep} has no reflection in common with the reference, sweep "
            f"{reference}"
        )
    vx, vy = series.variance[reference, both], series.variance[sweep, both]
    nominal = series.transmission[sweep] / series.transmission[reference]
    sums = ratio_of_sums(x, y, vx, vy, series.unit[both], nominal, rng)
    strong = (x + y) / np.sqrt(vx + vy) > sums.cut
    return SweepRatios(
        n_matched=len(x),
        sums=sums,
        york=york_slope(x, y, vx, vy),
        median=median_ratio(x[strong], y[strong]),
        background=background_ratio(
            series.background[reference, both], series.background[sweep, both]
        ),
    )


def background_ratio(x: np.ndarray, y: np.ndarray) -> Ratio:
    """Ratio of the mean backgrounds of the same reflections.

    Args:
        x: Photons a pixel in the reference, shape (n,).
        y: In the sweep, shape (n,).
    """
    known = np.isfinite(x) & np.isfinite(y)
    n, total = int(np.count_nonzero(known)), float(x[known].sum())
    if n < 2 or not total > 0:
        return Ratio(float("nan"), float("nan"))
    x, y = x[known], y[known]
    ratio = float(y.sum()) / total
    return Ratio(ratio, float((y - ratio * x).std() * np.sqrt(n) / total))
