"""Ratios of the intensities of two sweeps, and of all pairs of sweeps together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.labels import without_gaps
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries

# Cuts on the I/sigma of a pair's sum, highest first
CUTS = (30.0, 20.0, 15.0, 10.0, 7.0, 5.0, 3.0)
# A higher cut is preferred as long as it costs less than this factor in precision
_ACCEPTED_LOSS = 1.25
N_BOOTSTRAP = 1000
# Units are put into this many groups at most, which are resampled as wholes
_MAX_BLOCKS = 1000


@dataclasses.dataclass(frozen=True)
class RatioOfSums:
    """The ratio of the sums of two sweeps.

    Attributes:
        ratio: Sum of y over sum of x.
        error: Its standard deviation, from the bootstrap.
        interval: The central 68.3 % of the bootstrap.
        n_used: Reflections in the sums.
        cut: I/sigma of a pair's sum from which reflections are used.
        bias: Estimated relative bias that the cut leaves in the ratio.
    """

    ratio: float
    error: float
    interval: tuple[float, float]
    n_used: int
    cut: float
    bias: float


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio and its standard deviation; NaN where it cannot be had."""

    ratio: float
    error: float


def ratio_of_sums(
    x: np.ndarray,
    y: np.ndarray,
    variance_x: np.ndarray,
    variance_y: np.ndarray,
    unit: np.ndarray,
    nominal: float,
    rng: np.random.Generator,
    n_bootstrap: int = N_BOOTSTRAP,
) -> RatioOfSums:
    """The ratio of sums of matched intensities, with a bootstrap over units.

    Reflections are selected by the I/sigma of x + y. A cut on x alone would keep its
    upward fluctuations; the sum of both is uncorrelated with how it is divided as long
    as the variances are in the ratio of the intensities.

    Args:
        x: Intensities of the reference, shape (n,).
        y: Of the other sweep, shape (n,).
        variance_x: Shape (n,), positive.
        variance_y: Shape (n,), positive.
        unit: Number of the unit that is resampled, shape (n,).
        nominal: Expected ratio, by which the precision of each cut is foreseen.
        rng: Source of the resampling.
        n_bootstrap: Number of resamplings.

    Raises:
        ValueError: No reflection, or the sum of x is not positive.
    """
    if not len(x):
        raise ValueError("no reflection is in both sweeps")
    significance = (x + y) / np.sqrt(variance_x + variance_y)
    cut = choose_cut(x, variance_x, variance_y, significance, nominal)
    used = significance > cut
    if not used.any() or not x[used].sum() > 0:
        used, cut = np.ones(len(x), dtype=bool), -np.inf
    sum_x, sum_y = float(x[used].sum()), float(y[used].sum())
    if not sum_x > 0:
        raise ValueError("the intensities of the reference add up to nothing")
    ratio = sum_y / sum_x
    samples = bootstrap_sums([x[used], y[used]], unit[used], rng, n_bootstrap)
    ratios = samples[1] / samples[0]
    low, high = np.quantile(ratios, (0.1585, 0.8415))
    bias = (
        selection_bias(ratio, x, y, variance_x, variance_y, significance, cut)
        if np.isfinite(cut)
        else 0.0
    )
    return RatioOfSums(
        ratio=ratio,
        error=float(ratios.std()),
        interval=(float(low), float(high)),
        n_used=int(np.count_nonzero(used)),
        cut=float(cut),
        bias=bias,
    )


def choose_cut(
    x: np.ndarray,
    variance_x: np.ndarray,
    variance_y: np.ndarray,
    significance: np.ndarray,
    nominal: float,
) -> float:
    """The highest cut that costs little precision.

    Strong reflections suffer least from what integration adds to weak ones; too few of
    them make the ratio uncertain.

    Args:
        x: Intensities of the reference, shape (n,).
        variance_x: Shape (n,).
        variance_y: Shape (n,).
        significance: I/sigma of the pair's sum, shape (n,).
        nominal: Expected ratio.

    Returns:
        One of CUTS.
    """
    # How many of the cuts each pair passes, and from that the sums above each of them
    passed = np.zeros(len(x), dtype=np.intp)
    for cut in CUTS:
        passed += significance > cut
    residual = variance_y + nominal**2 * variance_x
    residual, total = (
        np.cumsum(np.bincount(passed, values, len(CUTS) + 1)[:0:-1])
        for values in (residual, x)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(total > 0, np.sqrt(residual) / (nominal * total), np.inf)
    return CUTS[int(np.argmax(errors <= _ACCEPTED_LOSS * errors.min()))]


def selection_bias(
    ratio: float,
    x: np.ndarray,
    y: np.ndarray,
    variance_x: np.ndarray,
    variance_y: np.ndarray,
    significance: np.ndarray,
    cut: float,
) -> float:
    """Relative bias of a ratio of sums from selecting on x + y.

    For normal errors the mean of y - ratio x over what passes a cut on s = (x + y) /
    sigma is cov(y - ratio x, x + y) times the density of s at the cut times ds/d(x + y):
    only reflections at the cut contribute. The covariance, variance_y - ratio
    variance_x, vanishes for the noise of photons.

    Args:
        ratio: The ratio.
        x: Shape (n,).
        y: Shape (n,).
        variance_x: Shape (n,).
        variance_y: Shape (n,).
        significance: s, shape (n,).
        cut: On s.
    """
    low, high = 0.8 * cut, 1.25 * cut
    near = (significance > low) & (significance < high)
    variance = variance_x[near] + variance_y[near]
    # d sigma^2 / d(x + y) is 1 for photons
    slope = (1 - (x + y)[near] / (2 * variance)) / np.sqrt(variance)
    covariance = variance_y[near] - ratio * variance_x[near]
    excess = (covariance * slope).sum() / (high - low)
    return float(excess / (ratio * x[significance > cut].sum()))


def bootstrap_sums(
    columns: Sequence[np.ndarray],
    unit: np.ndarray,
    rng: np.random.Generator,
    n_bootstrap: int,
) -> np.ndarray:
    """Sums of columns over resampled units.

    Units are put into at most 1000 groups at random and groups are resampled, which
    leaves the variance of the sums as it is and needs one product of matrices.

    Args:
        columns: c of them, each of shape (n,).
        unit: Shape (n,).
        rng: Source of the resampling.
        n_bootstrap: Number of resamplings.

    Returns:
        Shape (c, n_bootstrap).
    """
    block, n_blocks = without_gaps(unit)
    if n_blocks > _MAX_BLOCKS:
        block = rng.permutation(n_blocks)[block] % _MAX_BLOCKS
        n_blocks = _MAX_BLOCKS
    sums = np.array([np.bincount(block, column, n_blocks) for column in columns])
    drawn = rng.integers(0, n_blocks, (n_bootstrap, n_blocks), dtype=np.int32)
    drawn += n_blocks * np.arange(n_bootstrap, dtype=np.int32)[:, None]
    times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
    return sums @ times.T.astype(float)


def york_slope(
    x: np.ndarray, y: np.ndarray, variance_x: np.ndarray, variance_y: np.ndarray
) -> Ratio:
    """Slope through the origin with errors in both coordinates.

    York et al., Am. J. Phys. 72, 367 (2004), without the intercept.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        variance_x: Shape (n,), positive.
        variance_y: Shape (n,), positive.
    """
    if not len(x) or not x.sum() > 0:
        return Ratio(float("nan"), float("nan"))
    slope = float(y.sum() / x.sum())
    for _ in range(50):
        weight = 1 / (variance_y + slope**2 * variance_x)
        # The best estimate of each true x given the slope
        adjusted = weight * (variance_y * x + slope * variance_x * y)
        new = float((weight * adjusted * y).sum() / (weight * adjusted * x).sum())
        done = abs(new - slope) <= 1e-10 * abs(slope)
        slope = new
        if done:
            break
    return Ratio(slope, float(1 / np.sqrt((weight * adjusted**2).sum())))


def median_ratio(x: np.ndarray, y: np.ndarray) -> Ratio:
    """Median of y / x over positive x, with the error from its order statistics."""
    usable = x > 0
    ratios = np.sort(y[usable] / x[usable])
    n = len(ratios)
    if not n:
        return Ratio(float("nan"), float("nan"))
    half = 0.5 * np.sqrt(n)
    low = ratios[max(int(n / 2 - half), 0)]
    high = ratios[min(int(np.ceil(n / 2 + half)), n - 1)]
    return Ratio(float(np.median(ratios)), float(high - low) / 2)


@dataclasses.dataclass(frozen=True)
class AllPairs:
    """Relative beams of all sweeps from all pairs of them.

    Attributes:
        beam: Relative to the reference, shape (K,).
        covariance: Of the logarithms, shape (K, K); zero for the reference.
        pairs: Indices of the sweeps of each pair, shape (p, 2).
        log_ratio: Logarithm of the ratio of sums, second to first, shape (p,).
        log_ratio_error: Shape (p,).
        chi_squared: Of the pairs about the beams; the pairs are not independent.
    """

    beam: np.ndarray
    covariance: np.ndarray
    pairs: np.ndarray
    log_ratio: np.ndarray
    log_ratio_error: np.ndarray
    chi_squared: float

    @property
    def beam_error(self) -> np.ndarray:
        return self.beam * np.sqrt(np.diag(self.covariance))


def all_pairs(
    series: SweepSeries, rng: np.random.Generator, n_bootstrap: int = N_BOOTSTRAP
) -> AllPairs:
    """Log least squares for the beams over every pair of sweeps.

    Every pair that shares reflections gives the logarithm of a ratio of sums; the
    errors come from resampling units in all pairs at once, so that the covariance knows
    what the pairs have in common.

    Args:
        series: The sweeps.
        rng: Source of the resampling.
        n_bootstrap: Number of resamplings.

    Raises:
        ValueError: A sweep is not connected to the reference by common reflections.
    """
    n_sweeps = series.n_sweeps
    pairs, columns, totals = [], [], []
    for i in range(n_sweeps):
        for j in range(i + 1, n_sweeps):
            both = series.shared(i, j)
            x, y = series.intensity[i, both], series.intensity[j, both]
            vx, vy = series.variance[i, both], series.variance[j, both]
            significance = (x + y) / np.sqrt(vx + vy)
            nominal = series.transmission[j] / series.transmission[i]
            used = significance > choose_cut(x, vx, vy, significance, nominal)
            if not (used.any() and x[used].sum() > 0 and y[used].sum() > 0):
                continue
            pairs.append((i, j))
            totals.append((x[used].sum(), y[used].sum()))
            for values in (x, y):
                column = np.where(used, values, 0)
                if not isinstance(both, slice):
                    column, values = np.zeros(len(series.d)), column
                    column[both] = values
                columns.append(column)
    if not pairs:
        raise ValueError("no two sweeps have reflections in common")
    pairs, totals = np.array(pairs), np.array(totals)
    samples = bootstrap_sums(columns, series.unit, rng, n_bootstrap)
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = np.log(samples[1::2] / samples[::2])
    resampled = resampled[:, np.isfinite(resampled).all(axis=0)]
    log_ratio = np.log(totals[:, 1] / totals[:, 0])
    error = np.maximum(resampled.std(axis=1), 1e-9)

    design = np.zeros((len(pairs), n_sweeps))
    design[np.arange(len(pairs)), pairs[:, 0]] = -1
    design[np.arange(len(pairs)), pairs[:, 1]] = 1
    free = np.arange(n_sweeps) != series.reference
    if np.linalg.matrix_rank(design[:, free]) < n_sweeps - 1:
        raise ValueError(
            "a sweep has no reflections in common with the others: it cannot be compared"
        )
    solve = np.zeros((n_sweeps, len(pairs)))
    solve[free] = np.linalg.pinv(design[:, free] / error[:, None]) / error
    log_beam = solve @ log_ratio
    residual = (log_ratio - design @ log_beam) / error
    return AllPairs(
        beam=np.exp(log_beam),
        covariance=solve @ np.atleast_2d(np.cov(resampled)) @ solve.T,
        pairs=pairs,
        log_ratio=log_ratio,
        log_ratio_error=error,
        chi_squared=float(residual @ residual),
    )
