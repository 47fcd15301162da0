"""What a gain switch does to a histogram of pixel values, and its fit.

A pixel reads its true number of photons q until its own switch point, which is spread
normally about n_sw from pixel to pixel. Above, it is read in the second gain, as
q + J + e (q - n_sw), where the area J is the shift at the switch and e a difference of gain,
with a width from noise and from the calibration of the pixels. So the histogram is the
smooth density of true values, folded with this response; a positive J leaves a deficit of J
photon-bins above n_sw, a negative one an overlap of -J below it, and both end in a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dials_jungfrau_qc.algorithms.smooth_histogram import (
    Window,
    clipped,
    density_and_slopes,
    deviance,
    start_coefficients,
)

# Priors of the shape, as (centre, width). Logarithms of the spread of the switch points
# (0.6 to 2 photons) and of the width of a reading in the second gain (noise of 0.3 photons, 1 %
# of gain and a few ADU of pedestal); the relative error of gain left in calibrated data.
LOG_SPREAD = (0.0, 0.7)
LOG_WIDTH = (np.log(0.5), 0.5)
GAIN_ERROR = (0.0, 0.03)
# Wide, and felt only where an overlap merges with the low end so that J has no other limit.
AREA = (0.0, 8.0)
# Change in deviance at which the fit ends: a thirtieth of a standard deviation.
CONVERGED = 1e-3


@dataclass(frozen=True)
class Shape:
    """The parameters of the switch.

    Attributes:
        position: n_sw, photons.
        area: J, photons.
        spread: Standard deviation of the switch points, photons.
        width: Standard deviation of a reading in the second gain, photons.
        gain_error: Relative difference of gain, e.
    """

    position: float
    area: float
    spread: float = 1.0
    width: float = 0.5
    gain_error: float = 0.0

    def to_vector(self) -> np.ndarray:
        """Parameters as the fit varies them."""
        return np.array(
            [
                self.position,
                self.area,
                np.log(self.spread),
                np.log(self.width),
                self.gain_error,
            ]
        )

    @staticmethod
    def from_vector(vector: np.ndarray) -> Shape:
        """The inverse of to_vector."""
        position, area, spread, width, gain_error = (float(x) for x in vector)
        return Shape(
            position, area, float(np.exp(spread)), float(np.exp(width)), gain_error
        )


_PRIOR_CENTRE = np.array([0.0, 0.0, LOG_SPREAD[0], LOG_WIDTH[0], GAIN_ERROR[0]])
_PRIOR_PRECISION = np.array(
    [0.0, AREA[1] ** -2, LOG_SPREAD[1] ** -2, LOG_WIDTH[1] ** -2, GAIN_ERROR[1] ** -2]
)


class Response:
    """The response to one shape, and the derivatives of what is folded with it."""

    def __init__(self, window: Window, shape: Shape) -> None:
        from scipy.special import ndtr

        self.window, self.shape = window, shape
        q = window.true.astype(float)
        self.distance = (q - shape.position) / shape.spread
        self.switched = ndtr(self.distance)
        centre = q + shape.area + shape.gain_error * (q - shape.position)
        edges = np.append(window.values - 0.5, window.values[-1] + 0.5)
        self.edge = (edges[:, None] - centre) / shape.width
        self.moved = np.diff(ndtr(self.edge), axis=0)

    def matrix(self) -> np.ndarray:
        """Probability that a true value is read as each value, shape (V, Q)."""
        inside = self.window.inside
        matrix = self.moved * self.switched
        rows = np.arange(self.window.values.size)
        matrix[rows, inside.start + rows] += 1.0 - self.switched[inside]
        return matrix

    def derivatives(self, density: np.ndarray) -> np.ndarray:
        """Of the folded density, by the vector of the shape, shape (V, 5)."""
        shape, inside = self.shape, self.window.inside
        normal = np.exp(-0.5 * self.distance**2) * (density / np.sqrt(2.0 * np.pi))
        # The switch points: what leaves a value, and what arrives from the others.
        per_position, per_spread = -normal / shape.spread, -normal * self.distance
        columns = np.column_stack([per_position, per_spread])
        by_switch = self.moved @ columns - columns[inside]
        # The readings in the second gain.
        bell = np.exp(-0.5 * np.minimum(self.edge**2, 1400.0)) / np.sqrt(2.0 * np.pi)
        above = density * self.switched
        slope = np.diff(bell, axis=0) / -shape.width
        by_area = slope @ above
        by_gain = slope @ (above * (self.window.true - shape.position))
        by_width = -np.diff(bell * self.edge, axis=0) @ above
        return np.column_stack(
            [
                by_switch[:, 0] - shape.gain_error * by_area,
                by_area,
                by_switch[:, 1],
                by_width,
                by_gain,
            ]
        )


@dataclass(frozen=True)
class _Expectation:
    """What one window is expected to hold.

    Attributes:
        counts: Expected counts, shape (V,).
        slopes: Their derivatives by the coefficients of the smooth model, shape (V, m).
        response: To the switch, or None.
        density: Of true values, shape (Q,).
        turn_on: Factor on read values, shape (V,).
    """

    counts: np.ndarray
    slopes: np.ndarray
    response: Response | None
    density: np.ndarray
    turn_on: np.ndarray

    def by_shape(self) -> np.ndarray:
        """Derivatives of the counts by the vector of the shape, shape (V, 5)."""
        return self.turn_on[:, None] * self.response.derivatives(self.density)


def _expect(
    window: Window, coefficients: np.ndarray, shape: Shape | None
) -> _Expectation:
    """Expected counts of the smooth model with a switch, or with none."""
    density, slopes, turn_on = density_and_slopes(window, coefficients)
    if shape is None:
        read = None
        expected, slopes = density[window.inside], slopes[window.inside]
    else:
        read = Response(window, shape)
        folded = read.matrix() @ np.column_stack([density, slopes])
        expected, slopes = folded[:, 0], folded[:, 1:]
    expected = np.maximum(turn_on * expected, 1e-9)
    slopes = turn_on[:, None] * slopes
    if window.edge is not None:
        slopes = np.column_stack([slopes, expected[:, None] * window.edge])
    return _Expectation(expected, slopes, read, density, turn_on)


@dataclass(frozen=True)
class SwitchFit:
    """A fit of one shape to one or more windows.

    Attributes:
        shape: Best shape, or None if the fit is of the smooth model alone.
        covariance: Of the vector of the shape, without inflation, shape (5, 5).
        coefficients: Of each window.
        expected: Counts expected in each window.
        deviance: Poisson deviance of all windows and the priors' penalty.
        dispersion: Pearson chi-squared by degree of freedom of each window, at least 1.
    """

    shape: Shape | None
    covariance: np.ndarray | None
    coefficients: tuple[np.ndarray, ...]
    expected: tuple[np.ndarray, ...]
    deviance: float
    dispersion: tuple[float, ...]


def fit_switch(
    windows: list[Window],
    start: Shape | None,
    coefficients: list[np.ndarray] | None = None,
    fixed_area: float | None = None,
    position_limits: tuple[float, float] = (-np.inf, np.inf),
    weights: list[float] | None = None,
    max_iterations: int = 200,
    fixed_position: bool = False,
) -> SwitchFit:
    """Maximum likelihood of the smooth models of all windows and of one common switch.

    Fisher scoring with Levenberg's damping; the derivatives are analytic.

    Args:
        windows: Histograms that share the switch.
        start: Where the shape starts; None fits the smooth models alone.
        coefficients: Where the smooth models start.
        fixed_area: Hold J at this value.
        position_limits: Range of n_sw, photons.
        weights: Weight of each window, the inverse of its dispersion.
        max_iterations: Upper limit on steps.
        fixed_position: Hold n_sw at its start.
    """
    coefficients = [
        start_coefficients(w) if c is None else np.array(c, dtype=float)
        for w, c in zip(windows, coefficients or [None] * len(windows))
    ]
    weights = [1.0] * len(windows) if weights is None else weights
    free = np.zeros(5, dtype=bool)
    vector = None
    if start is not None:
        if fixed_area is not None:
            start = Shape(
                start.position, fixed_area, start.spread, start.width, start.gain_error
            )
        free[:] = True
        free[4] = False
        free[0], free[1] = not fixed_position, fixed_area is None
        vector = start.to_vector()
    lower = np.array([position_limits[0], -14.0, np.log(0.2), np.log(0.1), -0.3])
    upper = np.array([position_limits[1], 14.0, np.log(6.0), np.log(4.0), 0.3])
    n_shape = int(free.sum())
    sizes = [w.precision.size for w in windows]
    offsets = n_shape + np.concatenate([[0], np.cumsum(sizes)])
    total = int(offsets[-1])

    def objective(vector, coefficients):
        value = 0.0
        parts = []
        shape = None if vector is None else Shape.from_vector(vector)
        for window, c, weight in zip(windows, coefficients, weights):
            part = _expect(window, c, shape)
            value += weight * deviance(window.counts, part.counts).sum()
            value += (window.precision * c * c).sum()
            parts.append(part)
        if vector is not None:
            value += (_PRIOR_PRECISION * (vector - _PRIOR_CENTRE) ** 2).sum()
        return value, parts

    value, parts = objective(vector, coefficients)
    damping = 1e-3
    normal = np.eye(total)
    for _ in range(max_iterations):
        normal = np.zeros((total, total))
        gradient = np.zeros(total)
        for i, window in enumerate(windows):
            expected, jacobian = parts[i].counts, parts[i].slopes
            if n_shape:
                jacobian = np.hstack([parts[i].by_shape()[:, free], jacobian])
            index = np.concatenate(
                [np.arange(n_shape), np.arange(offsets[i], offsets[i + 1])]
            )
            scaled = jacobian * (weights[i] / expected)[:, None]
            normal[np.ix_(index, index)] += scaled.T @ jacobian
            gradient[index] += scaled.T @ (window.counts - expected)
            own = np.arange(offsets[i], offsets[i + 1])
            normal[own, own] += window.precision
            gradient[own] -= window.precision * coefficients[i]
        if n_shape:
            own = np.arange(n_shape)
            normal[own, own] += _PRIOR_PRECISION[free]
            gradient[own] -= (_PRIOR_PRECISION * (vector - _PRIOR_CENTRE))[free]
        accepted = False
        for _ in range(8):
            damped = normal + damping * np.diag(np.maximum(np.diag(normal), 1e-8))
            step = np.linalg.solve(damped, gradient)
            trial_vector = vector
            if n_shape:
                trial_vector = vector.copy()
                trial_vector[free] += clipped(step[:n_shape], -1.5, 1.5)
                trial_vector = clipped(trial_vector, lower, upper)
            trial = [
                c + clipped(step[offsets[i] : offsets[i + 1]], -3.0, 3.0)
                for i, c in enumerate(coefficients)
            ]
            trial_value, trial_parts = objective(trial_vector, trial)
            if trial_value <= value + 1e-9:
                accepted = True
                break
            damping *= 8.0
        if not accepted:
            break
        change = value - trial_value
        vector, coefficients, value, parts = (
            trial_vector,
            trial,
            trial_value,
            trial_parts,
        )
        damping = max(damping / 8.0, 1e-7)
        if change < CONVERGED:
            break
    covariance = None
    if n_shape:
        covariance = _covariance(windows, parts, weights, free)
    dispersion = []
    for window, part, size in zip(windows, parts, sizes):
        expected = np.maximum(part.counts, 0.5)
        pearson = ((window.counts - part.counts) ** 2 / expected).sum()
        dispersion.append(
            max(1.0, pearson / max(1, window.counts.size - size - n_shape))
        )
    return SwitchFit(
        shape=None if vector is None else Shape.from_vector(vector),
        covariance=covariance,
        coefficients=tuple(coefficients),
        expected=tuple(part.counts for part in parts),
        deviance=float(value),
        dispersion=tuple(dispersion),
    )


def _covariance(windows, parts, weights, free) -> np.ndarray:
    """Covariance of the shape; the difference of gain is held at 0 but not taken as known."""
    free = free.copy()
    free[4] = True
    kept = np.nonzero(free)[0]
    normal = np.diag(_PRIOR_PRECISION[kept])
    for window, part, weight in zip(windows, parts, weights):
        by_shape, slopes = part.by_shape()[:, kept], part.slopes
        per_count = (weight / part.counts)[:, None]
        scaled = by_shape * per_count
        cross = scaled.T @ slopes
        own = (slopes * per_count).T @ slopes + np.diag(window.precision)
        normal += scaled.T @ by_shape - cross @ np.linalg.solve(own, cross.T)
    covariance = np.zeros((5, 5))
    covariance[np.ix_(kept, kept)] = np.linalg.pinv(normal)
    return covariance
