"""The likelihood of a switch at every candidate position and area, and its trials factor.

A discontinuity is searched over positions and both signs, so the largest of many correlated
values is reported. How many independent ones they amount to follows from the templates: the
largest of their projections on pure noise is drawn, and compared with that of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dials_jungfrau_qc.algorithms.smooth_histogram import (
    Window,
    clipped,
    density_and_slopes,
    deviance,
)

AREAS = np.array(
    [-12, -10, -8, -7, -6, -5, -4, -3, -2, -1.4, -1, -0.6, -0.3]
    + [0, 0.3, 0.6, 1, 1.4, 2, 3, 4, 5, 6, 8, 10],
    dtype=float,
)
# Spreads of the switch points: the usual one, and the widest, for which an area hides best.
SCAN_SPREAD = 1.2
WIDE_SPREAD = 2.5
SCAN_WIDTH = 0.5
ITERATIONS = 2


@dataclass(frozen=True)
class SwitchScan:
    """Deviances of the smooth model with a switch, over its position and area.

    Attributes:
        positions: Candidate positions, photons, shape (P,).
        areas: Candidate areas, photons, shape (A,).
        deviance: Best deviance at each, shape (A, P).
        null_deviance: Deviance of the smooth model alone.
        trials: How many independent candidates the scan amounts to.
    """

    positions: np.ndarray
    areas: np.ndarray
    deviance: np.ndarray
    null_deviance: float
    trials: float

    def best(self) -> tuple[float, float]:
        """Position and area of the smallest deviance."""
        area, position = np.unravel_index(np.argmin(self.deviance), self.deviance.shape)
        return float(self.positions[position]), float(self.areas[area])

    def by_area(self) -> np.ndarray:
        """Smallest deviance of each area, shape (A,)."""
        return self.deviance.min(axis=1)


def scan_switch(
    window: Window,
    coefficients: np.ndarray,
    positions: np.ndarray,
    null_deviance: float,
    spread: float = SCAN_SPREAD,
) -> SwitchScan:
    """Fit the smooth model with a switch of fixed shape at every position and area.

    Args:
        window: Data and basis.
        coefficients: Of the smooth model without a switch.
        positions: Candidate positions, photons.
        null_deviance: Of the smooth model without a switch, penalty included.
        spread: Of the switch points, photons.
    """
    from scipy.special import ndtr

    q = window.true.astype(float)
    switched = ndtr((q[:, None] - positions) / spread)  # (Q, P)
    edges = np.append(window.values - 0.5, window.values[-1] + 0.5)
    found = np.empty((AREAS.size, positions.size))
    expected_by_area = np.empty((AREAS.size, positions.size, window.values.size))
    zero = int(np.argmin(np.abs(AREAS)))
    first = np.tile(coefficients, (positions.size, 1))
    for direction in (range(zero, AREAS.size), range(zero - 1, -1, -1)):
        current = first.copy()
        for i in direction:
            moved = np.diff(ndtr((edges[:, None] - q - AREAS[i]) / SCAN_WIDTH), axis=0)
            current, value, expected = _fit_positions(window, moved, switched, current)
            found[i], expected_by_area[i] = value, expected
            if i == zero:
                first = current.copy()
    trials = _count_trials(window, coefficients, expected_by_area)
    return SwitchScan(positions, AREAS, found, float(null_deviance), trials)


def _fit_positions(window, moved, switched, coefficients):
    """Fisher scoring of the smooth model at all positions at once, for one area."""
    counts, precision = window.counts, window.precision
    n_positions, inside = coefficients.shape[0], window.inside
    best = coefficients.copy()
    best_value = np.full(n_positions, np.inf)
    best_expected = np.ones((n_positions, counts.size))
    for iteration in range(ITERATIONS + 1):
        density, slopes, turn_on = density_and_slopes(window, coefficients)
        columns = np.concatenate([density[:, :, None], slopes], axis=2)  # (P, Q, 1 + m)
        above = columns * switched.T[:, :, None]
        stacked = above.transpose(1, 0, 2).reshape(window.true.size, -1)
        folded = (
            (moved @ stacked).reshape(counts.size, n_positions, -1).transpose(1, 0, 2)
        )
        folded = (folded + (columns - above)[:, inside]) * turn_on[:, :, None]
        expected = np.maximum(folded[:, :, 0], 1e-9)
        value = deviance(counts, expected).sum(axis=1) + (coefficients**2 @ precision)
        better = value < best_value
        best[better], best_value[better] = coefficients[better], value[better]
        best_expected[better] = expected[better]
        if iteration == ITERATIONS:
            break
        slopes = folded[:, :, 1:]
        if window.edge is not None:
            low_end = expected[:, :, None] * window.edge
            slopes = np.concatenate([slopes, low_end], axis=2)
        scaled = slopes / expected[:, :, None]
        normal = scaled.transpose(0, 2, 1) @ slopes
        normal += np.diag(precision + 1e-6)
        gradient = (scaled * (counts - expected)[:, :, None]).sum(axis=1)
        gradient -= precision * coefficients
        step = np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        coefficients = coefficients + clipped(step, -1.5, 1.5)
    return best, best_value, best_expected


def _count_trials(window, coefficients, expected_by_area, n_draws=300) -> float:
    """Effective number of independent candidates of a scan."""
    density, slopes, turn_on = density_and_slopes(window, coefficients)
    null = np.maximum(density[window.inside] * turn_on, 1e-12)
    root = np.sqrt(np.maximum(null, 1e-6))
    smooth = slopes[window.inside] * (turn_on / root)[:, None]
    if window.edge is not None:
        smooth = np.column_stack([smooth, window.edge * root[:, None]])
    orthogonal, _ = np.linalg.qr(smooth)
    use = np.abs(AREAS) > 0
    templates = ((expected_by_area[use] - null) / root).reshape(-1, null.size)
    templates = np.clip(templates, -1e3, 1e3)
    templates -= (templates @ orthogonal) @ orthogonal.T
    length = np.sqrt((templates**2).sum(axis=1))
    templates = templates[length > 1e-6 * max(length.max(), 1e-12)]
    if not len(templates):
        return 1.0
    templates /= np.sqrt((templates**2).sum(axis=1))[:, None]
    draws = np.random.default_rng(20).standard_normal((null.size, n_draws))
    largest = np.abs(templates @ draws).max(axis=0)
    from scipy.special import log_ndtr

    # Where one draw in ten passes: there p_global = 1 - (1 - p_local)^N gives N.
    p_local = 2.0 * np.exp(log_ndtr(-np.quantile(largest, 0.9)))
    return float(max(1.0, np.log(0.9) / np.log1p(-p_local)))
