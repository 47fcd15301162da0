"""Find and measure the gain switch in a histogram of pixel values.

Pixels that leave the first gain are read with another gain and another pedestal. Where these
disagree with the first ones the histogram of pixel values shows a discontinuity, whose area
J is the shift in photons, and whose place n_sw is the switch point of the typical pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dials_jungfrau_qc.algorithms.smooth_histogram import (
    Window,
    density_and_slopes,
    find_low_end,
    make_window,
)
from dials_jungfrau_qc.algorithms.switch_model import Shape, SwitchFit
from dials_jungfrau_qc.algorithms.switch_orders import (
    akaike,
    fit_orders,
    fit_smooth,
    least_significance,
)
from dials_jungfrau_qc.algorithms.switch_scan import (
    SCAN_SPREAD,
    WIDE_SPREAD,
    SwitchScan,
    scan_switch,
)

# Where the first switch can be: near 25 photons at 12.4 keV, so 10 to 40 for 8 to 30 keV.
SEARCH_RANGE = (10.0, 40.0)
# Values above the search range that are fitted with it, as a factor.
REACH = 2.25
ORDERS = (2, 3, 4, 5)
# A search on one histogram in a thousand without a switch passes this by chance.
CALL_SIGNIFICANCE = 3.3
# ... and only if J differs from 0 by so many of its errors, so that its sign is known at 95 %.
CALL_AREA_ERRORS = 2.0
MIN_COUNTS = 200
# Values between the first of the fit and the first position, where it begins in a background.
CLEAR_OF_BACKGROUND = 3
# Two standard deviations of a wide spread: so far from the low end all of a switch is seen.
HIDDEN = 4.0
# Spreads of a switch that must lie clear of the low end before it is called: of an overlap that
# reaches below only the end is seen, which a deficit further up describes about as well.
CLEAR_SPREADS = 1.5
# Nor is it called if a switch of the other sign, partly hidden there, is not worse by more than
# this in deviance: of a deficit only the recovery is seen, which looks like an overlap.
RIVAL = 9.0
# A candidate this near the ends of the range, photons, belongs to something outside it.
LIMIT_MARGIN = 0.3
# The fit starts later until its first values are described: chi-squared of 4, at 1 in 200.
LOW_END_VALUES = 4
LOW_END_CHI2 = 14.9
LOW_END_ATTEMPTS = 8


@dataclass(frozen=True)
class GainSwitch:
    """A discontinuity of the histogram.

    Attributes:
        position: n_sw, photons; the affected values lie between it and n_sw + J.
        position_error: One standard deviation, photons.
        area: J, photons. Positive for a deficit, negative for an overlap.
        area_error: One standard deviation, photons.
        significance: Of J, in standard deviations, look-elsewhere effect included.
        spread: Standard deviation of the switch points of the pixels, photons.
        spread_error: One standard deviation, photons.
    """

    position: float
    position_error: float
    area: float
    area_error: float
    significance: float
    spread: float
    spread_error: float


@dataclass(frozen=True)
class GainSwitchSearch:
    """What a search for the gain switch found.

    Attributes:
        switch: The switch, or None if none is called.
        candidate: The best candidate, called or not; None where nothing could be fitted.
        bound_95: Largest |J| in photons that the data admit at 95 % for a switch in
            `bound_range`; infinite where they do not limit it. NaN if a switch is called.
        searched: Range of positions where a switch would have been called, photons; None if
            the turn-on, or too few counts, left none.
        bound_range: Range of positions to which `bound_95` applies, photons; a switch with a
            wide spread nearer to the low end is partly hidden there. None if there is none.
        turn_on_end: First value of the fit, photons: below it the histogram is shaped by the
            background or by the threshold of spot finding.
        order: Order of the smooth model in log v.
        dispersion: Pearson chi-squared of the fit by degree of freedom, at least 1.
        values, counts: The fitted stretch of the histogram.
        expected: Counts of the fit, switch included.
        smooth: Counts that the fit expects without a switch.
        null: Counts of the best fit that has no switch at all.
        scan: Deviance over position and area, for the joint search.
        window: Fitted stretch with the basis of its smooth model, for the joint search.
    """

    switch: GainSwitch | None
    candidate: GainSwitch | None
    bound_95: float
    searched: tuple[float, float] | None
    bound_range: tuple[float, float] | None
    turn_on_end: int
    order: int
    dispersion: float
    values: np.ndarray
    counts: np.ndarray
    expected: np.ndarray
    smooth: np.ndarray
    null: np.ndarray
    scan: SwitchScan | None
    window: Window | None


def find_gain_switch(
    counts: np.ndarray,
    first_value: int = 0,
    search: tuple[float, float] = SEARCH_RANGE,
    call_significance: float = CALL_SIGNIFICANCE,
) -> GainSwitchSearch:
    """Search a histogram of integer pixel values for the gain switch.

    Args:
        counts: Pixels with the values first_value, first_value + 1, ...
        first_value: The value of counts[0], photons.
        search: Range of positions, photons.
        call_significance: A switch is called from here on, standard deviations.

    Raises:
        ValueError: If counts are not one-dimensional, finite and non-negative, or the range
            is not a positive interval.
    """
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 1 or not np.all(np.isfinite(counts)) or np.any(counts < 0):
        raise ValueError(
            "counts must be a one-dimensional array of finite numbers, none negative"
        )
    if not 1 <= search[0] < search[1]:
        raise ValueError(
            f"the range of the search must be positive and ascending, not {search}"
        )
    high = int(math.ceil(REACH * search[1]))
    if first_value + counts.size <= high:
        counts = np.pad(counts, (0, high + 1 - first_value - counts.size))
    low, background = find_low_end(counts, first_value)
    for _ in range(LOW_END_ATTEMPTS):
        positions = _candidate_positions(low, background, search)
        inside = counts[max(0, low - first_value) : high - first_value + 1]
        if positions is None or inside.sum() < MIN_COUNTS:
            return _nothing_searched(low)
        windows = [
            make_window(counts, first_value, low, high, order, background)
            for order in ORDERS
        ]
        found = search_window(windows, positions, call_significance)
        if _low_end_fits(found) or _at_limit(found.candidate.position, positions):
            break
        low += 1
    first = low + _clearance(low, background) + HIDDEN
    if first > positions[-1]:
        return replace(found, bound_range=None, bound_95=_without_range(found))
    return replace(
        found, bound_range=(max(first, float(positions[0])), float(positions[-1]))
    )


def _without_range(found: GainSwitchSearch) -> float:
    """The bound where it applies to no position."""
    return math.nan if found.switch is not None else math.inf


def search_window(
    windows: list[Window], positions: np.ndarray, call_significance: float
) -> GainSwitchSearch:
    """Search one stretch of a histogram, given with smooth models of ascending order.

    Args:
        windows: The same counts with one smooth model each.
        positions: Candidate positions, equally spaced.
        call_significance: A switch is called from here on, standard deviations.
    """
    smooth_fits = fit_smooth(windows)
    smooth_window, null = min(smooth_fits, key=akaike)
    scan = scan_switch(smooth_window, null.coefficients[0], positions, null.deviance)
    fits = fit_orders(smooth_fits, scan)
    window, best = fits[0]
    dispersion = best.dispersion[0]
    significance = least_significance(smooth_fits, fits, scan, call_significance)
    candidate = _to_switch(fits, significance)
    significant = significance >= call_significance
    called = (
        significant
        and sign_is_known(candidate)
        and is_clear_of_low_end(candidate, window)
        and not _at_limit(candidate.position, positions)
        and not _has_hidden_rival(smooth_window, null, scan, candidate, dispersion)
    )
    if called:
        bound = math.nan
    elif significant:
        bound = math.inf  # it may be a switch, but of no known place or sign
    else:
        wide = scan_switch(
            smooth_window, null.coefficients[0], positions, null.deviance, WIDE_SPREAD
        )
        bound = max(
            _bound(scan, dispersion),
            _bound(wide, dispersion),
            abs(candidate.area) + 1.645 * candidate.area_error,
        )
    return GainSwitchSearch(
        switch=candidate if called else None,
        candidate=candidate,
        bound_95=bound,
        searched=(float(positions[0]), float(positions[-1])),
        bound_range=(float(positions[0]), float(positions[-1])),
        turn_on_end=int(window.values[0]),
        order=window.order,
        dispersion=dispersion,
        values=window.values,
        counts=window.counts,
        expected=best.expected[0],
        smooth=_smooth_counts(window, best),
        null=null.expected[0],
        scan=scan,
        window=window,
    )


def _candidate_positions(
    low: int, background: bool, search: tuple[float, float]
) -> np.ndarray | None:
    """Candidate positions, one photon apart, clear of the low end of the fit."""
    first = max(search[0], math.ceil(low + _clearance(low, background)))
    if first > search[1] - 2:
        return None
    return np.arange(first, search[1] + 0.5)


def _clearance(low: int, background: bool) -> float:
    """Photons from the first value of the fit to the first candidate position."""
    return CLEAR_OF_BACKGROUND if background else math.sqrt(low + 1.0)


def _low_end_fits(found: GainSwitchSearch) -> bool:
    """True if the first values of the fit are described as well as the others."""
    pull = (found.counts - found.expected) ** 2 / np.maximum(found.expected, 0.5)
    others = max(1.0, float(np.mean(pull[LOW_END_VALUES:])))
    return bool(pull[:LOW_END_VALUES].sum() < LOW_END_CHI2 * others)


def _nothing_searched(low: int) -> GainSwitchSearch:
    empty = np.zeros(0)
    return GainSwitchSearch(
        switch=None,
        candidate=None,
        bound_95=math.inf,
        searched=None,
        bound_range=None,
        turn_on_end=low,
        order=0,
        dispersion=1.0,
        values=empty.astype(int),
        counts=empty,
        expected=empty,
        smooth=empty,
        null=empty,
        scan=None,
        window=None,
    )


def _at_limit(position: float, positions: np.ndarray) -> bool:
    """True for a position that the search would rather have outside its range."""
    return not positions[0] + LIMIT_MARGIN < position < positions[-1] - LIMIT_MARGIN


def _to_switch(fits: list[tuple[Window, SwitchFit]], significance: float) -> GainSwitch:
    """Mean over the orders that are believed, with their spread in the errors."""
    dispersion = min(f.dispersion[0] for _, f in fits)
    scores = np.array([f.deviance / dispersion + 2.0 * w.order for w, f in fits])
    weights = np.exp(-0.5 * (scores - scores.min()))
    weights /= weights.sum()
    vectors = np.array([f.shape.to_vector() for _, f in fits])
    variances = np.array([np.diag(f.covariance) * f.dispersion[0] for _, f in fits])
    mean = weights @ vectors
    errors = np.sqrt(weights @ (variances + (vectors - mean) ** 2))
    shape = Shape.from_vector(mean)
    return GainSwitch(
        position=shape.position,
        position_error=float(errors[0]),
        area=shape.area,
        area_error=float(errors[1]),
        significance=significance,
        spread=shape.spread,
        spread_error=float(errors[2] * shape.spread),
    )


def sign_is_known(switch: GainSwitch) -> bool:
    """True if the area is of one sign within its errors."""
    return abs(switch.area) > CALL_AREA_ERRORS * switch.area_error


def is_clear_of_low_end(switch: GainSwitch, window: Window) -> bool:
    """True if nearly all switch points lie where the histogram is fitted."""
    return switch.position - CLEAR_SPREADS * switch.spread > _first_position(window)


def _first_position(window: Window) -> float:
    """Where the first candidate position can be."""
    low = int(window.values[0])
    return low + _clearance(low, window.background is not None)


def _has_hidden_rival(
    window: Window,
    null: SwitchFit,
    scan: SwitchScan,
    candidate: GainSwitch,
    dispersion: float,
) -> bool:
    """True if a switch of the other sign that the low end hides explains about as much."""
    first = _first_position(window)
    best = scan.deviance.min()
    for spread in (SCAN_SPREAD, WIDE_SPREAD):
        end = first + CLEAR_SPREADS * spread
        positions = np.arange(int(window.values[0]) + 1.0, end)
        hidden = scan_switch(
            window, null.coefficients[0], positions, null.deviance, spread
        )
        rivals = hidden.deviance[hidden.areas * candidate.area < 0]
        if rivals.min() < best + RIVAL * dispersion:
            return True
    return False


def _smooth_counts(window: Window, fit: SwitchFit) -> np.ndarray:
    """Counts that the smooth model of a fit expects if no pixel switches."""
    density, _, turn_on = density_and_slopes(window, fit.coefficients[0])
    return density[window.inside] * turn_on


def _bound(scan: SwitchScan, dispersion: float) -> float:
    """Largest |J| of the scan within 95 % of the best, photons.

    One-sided, 2.71 in deviance; interpolated between the areas of the scan.
    """
    profile = scan.by_area()
    rise = (profile - min(profile.min(), scan.null_deviance)) / dispersion - 2.706
    largest = 0.0
    for sign in (-1, 1):
        order = np.argsort(sign * scan.areas)
        areas, above = scan.areas[order] * sign, rise[order]
        keep = areas >= 0
        areas, above = areas[keep], above[keep]
        allowed = np.nonzero(above <= 0)[0]
        if not allowed.size:
            continue
        last = int(allowed[-1])
        if last == areas.size - 1:
            return math.inf
        fraction = -above[last] / (above[last + 1] - above[last])
        largest = max(largest, areas[last] + fraction * (areas[last + 1] - areas[last]))
    return float(largest)
