"""Pile-up: where pixels run into the ceiling of their last gain.

Every pixel has a highest value that it can give, which differs by a few per cent between
pixels. Whatever is brighter is read there, so the histogram of pixel values ends in a bump at the
typical ceiling. A trusted range that ends below the ceiling hides it: spot finding has then
removed such pixels, and the values end sharply without a bump.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dials_jungfrau_qc.algorithms.smooth_histogram import deviance

# Bins of the fit, relative width; the ceilings spread by 1 to 3 %.
BIN = 0.01
# The fit reaches down to this share of the largest value, and this far above it.
REACH_DOWN = 0.2
REACH_UP = 1.3
LEAST_PIXELS = 30
# Twice the gain in log likelihood that a ceiling must bring: 4.5 sigma for three parameters.
CALL_GAIN = 27.0
# Share of pixels that neither the ceiling nor the smooth end describes (hot pixels).
STRAY = 1e-3
# Ceilings below the median that still count as saturated, in standard deviations: 0.5 % lie lower.
LOWEST_CEILING = 2.6
# Pixels expected in the next tenth beyond the largest value from which their absence is a cut: 6e-6
# by chance, and the extrapolation is not exact.
NEXT = 0.1
LEAST_BEYOND = 12.0
# Values so near the largest are "within a hair" of it.
HAIR = 0.01
# Relative spread of ceilings: prior of its logarithm.
LOG_SPREAD = (math.log(0.02), 0.6)


@dataclass(frozen=True)
class PileUp:
    """The ceiling of the pixels.

    Attributes:
        edge: The median pixel's ceiling, photons.
        edge_error: One standard deviation, photons.
        spread: Standard deviation of the ceilings, photons.
        excess: Pixels read at their ceiling rather than at their value.
        excess_error: One standard deviation.
        n_pixels: Pixels at or above `suggested_trusted_maximum`.
        suggested_trusted_maximum: Photons; all but 0.5 % of the ceilings lie above it.
    """

    edge: float
    edge_error: float
    spread: float
    excess: float
    excess_error: float
    n_pixels: int
    suggested_trusted_maximum: float


@dataclass(frozen=True)
class PileUpSearch:
    """What the upper end of a histogram shows.

    Attributes:
        pile_up: The ceiling, or None if none was found.
        cut: The value at which the histogram ends sharply without a bump, photons: a trusted
            range below the pile-up. None if it ends in pile-up or smoothly.
        expected_beyond: Pixels that a smooth end expects in the next tenth above the largest value.
        largest: Largest value, photons.
    """

    pile_up: PileUp | None
    cut: float | None
    expected_beyond: float
    largest: float


def find_pile_up(
    values: np.ndarray, counts: np.ndarray, trusted_maximum: float | None = None
) -> PileUpSearch:
    """Search the upper end of a histogram of pixel values for a ceiling.

    Args:
        values: Distinct pixel values without markers, photons.
        counts: Pixels that hold each.
        trusted_maximum: Upper end of the trusted range, photons; without it a sharp end is
            recognised by the histogram alone.

    Raises:
        ValueError: If the arrays differ in shape.
    """
    values, counts = np.asarray(values, dtype=float), np.asarray(counts, dtype=float)
    if values.shape != counts.shape or values.ndim != 1:
        raise ValueError("values and counts must be one-dimensional and of one length")
    use = (values > 0) & (counts > 0)
    values, counts = values[use], counts[use]
    if not values.size:
        return PileUpSearch(None, None, 0.0, 0.0)
    largest = float(values.max())
    edges = np.exp(
        np.arange(math.log(REACH_DOWN * largest), math.log(REACH_UP * largest), BIN)
    )
    histogram, _ = np.histogram(values, bins=edges, weights=counts)
    if largest < 10.0 / BIN or histogram.sum() < LEAST_PIXELS:
        return PileUpSearch(None, None, 0.0, largest)
    return _search(values, counts, edges, histogram, largest, trusted_maximum)


def _search(values, counts, edges, histogram, largest, trusted_maximum) -> PileUpSearch:
    """The fits behind find_pile_up."""
    x = 0.5 * (np.log(edges[1:]) + np.log(edges[:-1])) - math.log(largest)
    smooth = _best(_fit_smooth(x, histogram))
    best = _best(_fit_ceilings(x, histogram))
    # A sharp cut has no bump: below it, a smooth end describes the counts as well.
    seen = x < 0
    cut_short = _best(_fit_smooth(x[seen], histogram[seen]))
    bump = deviance(histogram[seen], _ceiling(x, best.parameters)[seen]).sum()
    gain = min(smooth.deviance - best.deviance, cut_short.deviance - bump)
    centre, log_spread, log_excess = best.parameters[:3]
    spread, excess = math.exp(log_spread), math.exp(log_excess)
    centre_error, _, relative_error = np.sqrt(np.diag(best.covariance))[:3]
    edge = largest * math.exp(centre)
    beyond = _expected_beyond(x, histogram)
    found = gain > CALL_GAIN and relative_error < 1.0 / 3.0
    visible = trusted_maximum is None or edge * (1.0 + 2.5 * spread) < trusted_maximum
    if found and visible:
        suggested = edge * math.exp(-LOWEST_CEILING * spread)
        pile_up = PileUp(
            edge=edge,
            edge_error=edge * float(centre_error),
            spread=edge * spread,
            excess=excess,
            excess_error=excess * float(relative_error),
            n_pixels=int(counts[values >= suggested].sum()),
            suggested_trusted_maximum=suggested,
        )
        return PileUpSearch(pile_up, None, beyond, largest)
    at_end = trusted_maximum is None or largest > (1.0 - 2.0 * HAIR) * trusted_maximum
    sharp = found or beyond > LEAST_BEYOND
    cut = largest if at_end and sharp else None
    return PileUpSearch(None, cut, beyond, largest)


def _fit_smooth(x: np.ndarray, histogram: np.ndarray) -> list[_Fit]:
    """Fits of a smooth end, of several orders."""
    return [
        _fit(x, histogram, _smooth, _tail_start(x, histogram, n)) for n in (2, 3, 4)
    ]


def _fit_ceilings(x: np.ndarray, histogram: np.ndarray) -> list[_Fit]:
    """Fits of a ceiling, from several starts."""
    fits = []
    for centre in (-0.1, -0.07, -0.045, -0.025, -0.01):
        below = x < centre - 0.1
        excess = max(2.0, 0.7 * histogram[np.abs(x - centre) < 0.04].sum())
        ceiling = [centre, LOG_SPREAD[0], math.log(excess)]
        for n in (2, 3):
            tail = _tail_start(x[below], histogram[below], n)
            fits.append(_fit(x, histogram, _ceiling, np.concatenate([ceiling, tail])))
    return fits


def _expected_beyond(x: np.ndarray, histogram: np.ndarray) -> float:
    """Pixels up to `NEXT` above the largest value, if the histogram went on as it comes."""
    seen = x < -BIN
    fit = _fit(
        x[seen], histogram[seen], _smooth, _tail_start(x[seen], histogram[seen], 3)
    )
    return float(_smooth(x[(x > 0) & (x < NEXT)], fit.parameters).sum())


@dataclass(frozen=True)
class _Fit:
    parameters: np.ndarray
    covariance: np.ndarray
    deviance: float


def _best(fits: list[_Fit]) -> _Fit:
    """The fit of the best Akaike criterion."""
    return min(fits, key=lambda fit: fit.deviance + 2.0 * fit.parameters.size)


def _smooth(x: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Counts whose logarithm is a polynomial in x, the logarithm of the value."""
    return np.exp(
        np.clip(np.polynomial.polynomial.polyval(x + 0.8, parameters), -30.0, 30.0)
    )


def _ceiling(x: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Counts that end in ceilings spread normally, with a bump of clipped pixels."""
    from scipy.special import ndtr

    centre, log_spread, log_excess = parameters[:3]
    spread = math.exp(log_spread)
    ends = np.append(x - BIN / 2, x[-1] + BIN / 2)
    share = np.diff(ndtr((ends - centre) / spread))
    below = ndtr((centre - x) / spread)
    tail = _smooth(x, parameters[3:])
    return tail * (STRAY + (1.0 - STRAY) * below) + math.exp(log_excess) * share


def _tail_start(x: np.ndarray, histogram: np.ndarray, n: int) -> np.ndarray:
    """A straight line through the logarithm of the counts, as n coefficients."""
    weight = np.sqrt(histogram + 0.2)
    line = np.polynomial.polynomial.polyfit(
        x + 0.8, np.log(histogram + 0.2), 1, w=weight
    )
    return np.concatenate([line, np.zeros(n - 2)])


def _fit(x, histogram, model, start, max_iterations=40) -> _Fit:
    """Poisson likelihood by damped Fisher scoring, with the prior of the spread."""
    prior, centre = np.full(start.size, 1e-6), np.zeros(start.size)
    lower, upper = np.full(start.size, -60.0), np.full(start.size, 60.0)
    if model is _ceiling:
        prior[1], centre[1] = LOG_SPREAD[1] ** -2, LOG_SPREAD[0]
        lower[:3], upper[:3] = (
            (-0.3, math.log(2e-3), -3.0),
            (0.02, math.log(0.08), 30.0),
        )

    def objective(parameters):
        expected = np.maximum(model(x, parameters), 1e-9)
        penalty = (prior * (parameters - centre) ** 2).sum()
        return float(deviance(histogram, expected).sum() + penalty), expected

    parameters = np.clip(start, lower, upper)
    value, expected = objective(parameters)
    damping = 1e-2
    for _ in range(max_iterations):
        jacobian = np.column_stack(
            [
                (model(x, parameters + step) - expected) / 1e-5
                for step in 1e-5 * np.eye(parameters.size)
            ]
        )
        scaled = jacobian / expected[:, None]
        normal = scaled.T @ jacobian + np.diag(prior)
        gradient = scaled.T @ (histogram - expected) - prior * (parameters - centre)
        for _ in range(8):
            damped = normal + damping * np.diag(np.diag(normal) + 1e-9)
            step = np.clip(np.linalg.solve(damped, gradient), -2.0, 2.0)
            trial = np.clip(parameters + step, lower, upper)
            trial_value, trial_expected = objective(trial)
            if trial_value <= value:
                break
            damping *= 8.0
        else:
            break
        change = value - trial_value
        parameters, value, expected = trial, trial_value, trial_expected
        damping = max(damping / 8.0, 1e-8)
        if change < 1e-4:
            break
    return _Fit(parameters, np.linalg.pinv(normal), value)


def reaches_ceiling(maximum_pixel: np.ndarray, pile_up: PileUp) -> np.ndarray:
    """Reflections whose highest pixel may have been clipped.

    Args:
        maximum_pixel: Highest pixel of each reflection, photons.
        pile_up: The ceiling.

    Returns:
        Boolean array; all but 0.5 % of clipped reflections are True.
    """
    return np.asarray(maximum_pixel) >= pile_up.suggested_trusted_maximum


@dataclass(frozen=True)
class RecommendedTransmission:
    """How far the beam can be opened.

    Attributes:
        transmission: Highest, at most 1, at which no more than `share` reach the ceiling.
        is_upper_limit: True if too many reflections are clipped to tell how far to go down.
        share: Of reflections that may reach the ceiling.
        share_now: That reach it at the transmission of the sweep.
    """

    transmission: float
    is_upper_limit: bool
    share: float
    share_now: float


def recommend_transmission(
    maximum_pixel: np.ndarray,
    transmission: float,
    ceiling: float,
    share: float = 0.001,
) -> RecommendedTransmission:
    """Highest transmission at which fewer than a share of reflections reach the ceiling.

    Args:
        maximum_pixel: Highest pixel of each reflection, photons.
        transmission: Of the sweep, above 0 and at most 1.
        ceiling: Value not to be reached, photons; the suggested trusted maximum.
        share: Of reflections that may reach it.

    Raises:
        ValueError: If there are no reflections or a number is out of range.
    """
    maximum_pixel = np.asarray(maximum_pixel, dtype=float)
    if not maximum_pixel.size or not np.all(np.isfinite(maximum_pixel)):
        raise ValueError(
            "the highest pixels must be finite, of at least one reflection"
        )
    if not (0 < transmission <= 1 and ceiling > 0 and 0 < share < 1):
        raise ValueError("transmission, ceiling or share is out of range")
    bright = float(np.quantile(maximum_pixel, 1.0 - share, method="higher"))
    share_now = float(np.mean(maximum_pixel >= ceiling))
    clipped = bright >= ceiling
    ratio = min(1.0, ceiling / bright) if clipped else ceiling / bright
    return RecommendedTransmission(
        transmission=min(1.0, transmission * ratio),
        is_upper_limit=clipped,
        share=share,
        share_now=share_now,
    )


def count_rate_transmission(
    values: np.ndarray,
    counts: np.ndarray,
    transmission: float,
    trusted_maximum: float,
    share: float = 0.1,
    percentile: float = 99.9,
) -> float:
    """Transmission that brings a percentile of strong pixels to a share of the trusted range.

    The rule of dials.countrate (99.9th percentile at 10 %), which scales the transmission
    linearly. It can exceed 1.

    Args:
        values: Distinct values of strong pixels, ascending, photons.
        counts: Pixels that hold each.
        transmission: Of the sweep.
        trusted_maximum: Upper end of the trusted range, photons.
        share: Of the trusted range that the percentile may reach.
        percentile: Of the strong pixels.

    Raises:
        ValueError: If there are no pixels or the percentile is not positive.
    """
    values, counts = np.asarray(values, dtype=float), np.asarray(counts, dtype=float)
    cumulative = np.cumsum(counts)
    if not cumulative.size or cumulative[-1] <= 0:
        raise ValueError("there are no strong pixels")
    # Less a rounding error, so that a percentile that falls on a value is that value.
    rank = percentile / 100.0 * cumulative[-1] * (1.0 - 1e-12)
    bright = values[np.searchsorted(cumulative, rank)]
    if bright <= 0:
        raise ValueError("the percentile of the strong pixels must be positive")
    return float(transmission * share * trusted_maximum / bright)
