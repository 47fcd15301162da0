"""A smooth local model of a histogram of pixel values.

The number of pixels that hold v photons falls smoothly with v, over orders of magnitude: a
tail of Bragg peaks, roughly a power law, above the peak of the background. Its logarithm is
written as a polynomial in log v, which a power law needs one term of. The low end holds one
of two things that are no part of that tail:

- in whole frames the last of the background's Poisson peak, written as the tail of a
  Poisson distribution of free mean and height, which is added;
- in strong pixels the turn-on of the spot-finding threshold, which dies away within a few
  counts, written as two decaying exponentials in the logarithm of the counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Decay lengths of the low end, in units of the spread of a Poisson variable that has its
# mean at the first value of the window: the turn-on of a local threshold in backgrounds of
# 0.1 to 6 photons dies away within 0.5 and 1 of these.
EDGE_DECAY = (0.4, 1.0)
# Prior widths (natural logarithm). The offset and the slope are free; the curvature terms
# and the low end are held only against running away where there are no counts.
SIGMA_CURVATURE = 2.0
LINEAR_CURVATURE = 5.0
# The background's tail: logarithm of its height at the first value over the counts there, and
# of its mean; the tail is met near twice the mean.
LOG_HEIGHT = (0.0, 3.0)
LOG_MEAN = (-0.8, 0.5)
# The background differs over the detector: a mixture of Poisson tails, whose logarithm is bent less.
MIXTURE = 0.3
SIGMA_EDGE = 1.5
# Photons beyond the ends of the window for which true values are carried, so that pixels
# moved by the second gain come from somewhere.
MARGIN = 16
HIGHEST_ORDER = 6
# The tail of the Poisson peak of a background falls faster than v^-2.75 and to less than a tenth of
# its peak; Bragg peaks fall as v^-1 to v^-2.5, and a gain switch takes away three quarters at most.
STEEP = -2.75
PEAK_RATIO = 0.1
# Values after the end that have to stay below that: a deficit at a switch is followed by more.
AFTER = 10
# The fit starts where the turn-on of a threshold has brought the counts to this share of the highest.
TURN_ON_LEVEL = 0.8
# Values below the end of a background's tail that are fitted with it.
BACKGROUND_VALUES = 4


@dataclass(frozen=True)
class Window:
    """The stretch of a histogram that is fitted, and the basis of its smooth model.

    Attributes:
        values: Read values, integer photons, shape (V,).
        counts: Pixels that read each value, shape (V,).
        true: True values, integer photons, shape (Q,); they reach `MARGIN` photons
            further than `values`.
        tail: Basis of the logarithm of the density of true values, shape (Q, order + 1).
        edge: Basis of the turn-on, added in the logarithm of the read counts, shape (V, 2);
            None where the low end is a background.
        background: Basis of the logarithm of the background's tail, shape (Q, 2), and
        background_offset: what it is added to, shape (Q,); None where the low end is a turn-on.
        precision: Inverse variance of the prior of each coefficient (tail, then low end).
    """

    values: np.ndarray
    counts: np.ndarray
    true: np.ndarray
    tail: np.ndarray
    edge: np.ndarray | None
    background: np.ndarray | None
    background_offset: np.ndarray | None
    precision: np.ndarray

    @property
    def order(self) -> int:
        """Order of the polynomial in log v."""
        return self.tail.shape[1] - 1

    @property
    def inside(self) -> slice:
        """The true values that are also read values."""
        start = int(self.values[0] - self.true[0])
        return slice(start, start + self.values.size)


def make_window(
    counts: np.ndarray,
    first_value: int,
    low: int,
    high: int,
    order: int,
    background: bool = False,
) -> Window:
    """Cut a histogram to low..high (both included) and set up its smooth model.

    Args:
        counts: Pixels with the values first_value, first_value + 1, ...
        first_value: The value of counts[0], photons.
        low, high: First and last value to fit, photons; low must be positive.
        order: Order of the polynomial in log v.
        background: True if the low end is the tail of a background, False if a turn-on.

    Raises:
        ValueError: If the stretch is not inside the histogram or not positive.
    """
    if low < 1 or low < first_value or high >= first_value + counts.size or high <= low:
        raise ValueError(
            f"the stretch {low} to {high} is not a positive part of the histogram"
        )
    values = np.arange(low, high + 1)
    true = np.arange(max(1, low - MARGIN), high + MARGIN + 1)
    centre, half = 0.5 * np.log(low * high), 0.5 * np.log(high / low)
    # Below the window the polynomial would run away: its argument is held there.
    scaled = np.maximum((np.log(true) - centre) / half, -1.3)
    tail = np.polynomial.legendre.legvander(scaled, order)
    cut = np.asarray(counts[low - first_value : high - first_value + 1], dtype=float)
    edge = basis = offset = None
    if background:
        from scipy.special import gammaln

        offset = gammaln(low + 1.0) - gammaln(true + 1.0)
        offset += np.log(cut[0] + 0.5) + LOG_HEIGHT[0]
        offset += (true - low) * (np.log(low) + LOG_MEAN[0])
        distance = (true - low).astype(float)
        basis = np.column_stack([np.ones(true.size), distance, distance**2 / low])
        sigma_low = np.array([LOG_HEIGHT[1], LOG_MEAN[1], MIXTURE])
    else:
        lengths = np.sqrt(low + 1.0) * np.asarray(EDGE_DECAY)
        edge = np.exp(-(values[:, None] - low) / lengths)
        sigma_low = np.full(lengths.size, SIGMA_EDGE)
    precision = np.concatenate(
        [[1e-8, 1e-8], np.full(order - 1, SIGMA_CURVATURE**-2), sigma_low**-2.0]
    )
    return Window(
        values=values,
        counts=cut,
        true=true,
        tail=tail,
        edge=edge,
        background=basis,
        background_offset=offset,
        precision=precision,
    )


def make_linear_window(counts: np.ndarray, order: int) -> Window:
    """A stretch whose bins are numbered from 0, smooth in their number, without a low end.

    For histograms of a logarithm, where equal bins are equal ratios.

    Args:
        counts: Of each bin.
        order: Order of the polynomial in the number of the bin.
    """
    values = np.arange(counts.size)
    true = np.arange(-MARGIN, counts.size + MARGIN)
    centre, half = 0.5 * (counts.size - 1), 0.5 * counts.size
    scaled = np.clip((true - centre) / half, -1.1, 1.1)
    return Window(
        values=values,
        counts=np.asarray(counts, dtype=float),
        true=true,
        tail=np.polynomial.legendre.legvander(scaled, order),
        edge=np.zeros((values.size, 0)),
        background=None,
        background_offset=None,
        precision=np.concatenate(
            [[1e-8, 1e-8], np.full(order - 1, LINEAR_CURVATURE**-2)]
        ),
    )


def clipped(values: np.ndarray, lower, upper) -> np.ndarray:
    """Values held between limits; `np.clip` takes several times as long on short arrays."""
    return np.minimum(np.maximum(values, lower), upper)


def density_and_slopes(
    window: Window, coefficients: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smooth model before pixels are read.

    Args:
        window: Basis.
        coefficients: Of one model, shape (n,), or of several, shape (P, n).

    Returns:
        Density of true values (..., Q), its derivatives by the coefficients that it depends
        on (..., Q, m), and the factor of the turn-on on read values (..., V).
    """
    n_tail = window.tail.shape[1]
    tail, low = coefficients[..., :n_tail], coefficients[..., n_tail:]
    density = np.exp(clipped(tail @ window.tail.T, -40.0, 40.0))
    slopes = density[..., None] * window.tail
    if window.background is None:
        turn_on = np.exp(clipped(low @ window.edge.T, -20.0, 20.0))
        return density, slopes, turn_on
    exponent = window.background_offset + low @ window.background.T
    background = np.exp(clipped(exponent, -60.0, 40.0))
    slopes = np.concatenate(
        [slopes, background[..., None] * window.background], axis=-1
    )
    ones = np.ones((*coefficients.shape[:-1], window.values.size))
    return density + background, slopes, ones


def start_coefficients(window: Window) -> np.ndarray:
    """Coefficients of a straight line through the logarithm of the counts."""
    basis = window.tail[window.inside, :2]
    weight = np.sqrt(window.counts + 0.5)
    line = np.linalg.lstsq(
        basis * weight[:, None], np.log(window.counts + 0.5) * weight, rcond=None
    )[0]
    start = np.zeros(window.precision.size)
    start[:2] = line
    return start


def deviance(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Poisson deviance of each bin, twice the logarithm of the likelihood ratio."""
    expected = np.maximum(expected, 1e-12)
    log_ratio = np.log(np.where(counts > 0, counts, 1.0) / expected)
    return 2.0 * (np.where(counts > 0, counts * log_ratio, 0.0) - (counts - expected))


def find_low_end(counts: np.ndarray, first_value: int) -> tuple[int, bool]:
    """Lowest value from which the smooth model can hold.

    Above the highest point of the histogram it falls. Where background is present the fall
    is steeper than that of Bragg peaks (faster than v^-4) until the last of the
    background's Poisson tail; where a threshold has cut it away, it is shallow at once. The
    fit starts shortly before the steep fall ends.

    Args:
        counts: Pixels with the values first_value, first_value + 1, ...
        first_value: The value of counts[0], photons.

    Returns:
        A value, photons, at least 2, and True if a background ends there.
    """
    values = first_value + np.arange(counts.size)
    counts = np.asarray(counts, dtype=float)[values >= 1]
    values = values[values >= 1]
    if values.size < 4 or counts.sum() == 0:
        return int(max(2, values[0] if values.size else 2)), False
    # The highest point, of running means as wide as a Poisson spread / 2.
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    half = np.maximum(1, np.sqrt(values) / 4).astype(int)
    lower = np.maximum(np.arange(values.size) - half, 0)
    upper = np.minimum(np.arange(values.size) + half + 1, values.size)
    level = (cumulative[upper] - cumulative[lower]) / (upper - lower)
    peak = int(np.argmax(level))
    end = _end_of_background(values, counts, peak)
    if end is not None:
        return int(max(4, end - BACKGROUND_VALUES)), True
    first = int(np.nonzero(level[: peak + 1] >= TURN_ON_LEVEL * level[peak])[0][0])
    return int(max(2, values[first] + 1)), False


def _end_of_background(values: np.ndarray, counts: np.ndarray, peak: int) -> int | None:
    """Value at which the steep fall of a background peak at index `peak` ends, or None."""
    reach = values[peak] + 3.0 * np.sqrt(values[peak]) + 3.0
    steep = False
    for index in range(peak, values.size - 2):
        near, far = max(counts[index], 1.0), max(counts[index + 2], 0.5)
        step = np.log(values[index + 2] / values[index])
        noise = np.sqrt(1.0 / near + 1.0 / far) / step
        slope = np.log(far / near) / step
        if not steep:
            steep = slope < STEEP - noise
            if values[index] > reach:
                return None
        elif slope > STEEP - noise:
            # The slope over two values ends one value before the kink.
            after = counts[index + 1 : index + 1 + AFTER]
            low = after.max() < PEAK_RATIO * counts[peak]
            return int(values[index + 1]) if low else None
    return None
