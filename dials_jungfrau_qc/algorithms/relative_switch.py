"""Discontinuities on a coarser or relative scale: the second switch, and spot intensities."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch import (
    CALL_SIGNIFICANCE,
    GainSwitchSearch,
    find_gain_switch,
    search_window,
)
from dials_jungfrau_qc.algorithms.smooth_histogram import make_linear_window

# G1 to G2 near 700 photons at 12.4 keV; pixels differ by 5 %, so bins are 4 % wide.
SECOND_SEARCH = (400.0, 1100.0)
SECOND_BINS = 25
# Intensities: bins of 4 % in the intensity.
INTENSITY_BIN = 0.04
INTENSITY_ORDERS = (4, 5, 6, 7, 8)
LEAST_INTENSITIES = 500
# Bins at both ends of the intensities that hold no candidates, and the reflections that the nine
# bins around a candidate must hold: a tenth of them is then three standard deviations.
CLEAR = 10
AROUND = 9
LEAST_AROUND = 900


def find_second_switch(
    counts: np.ndarray,
    first_value: int = 0,
    search: tuple[float, float] = SECOND_SEARCH,
    call_significance: float = CALL_SIGNIFICANCE,
) -> GainSwitchSearch:
    """Search for the switch from the second gain to the third.

    The same search as `find_gain_switch`, on bins of equal width that hold as many values as
    4 % of the middle of the range.

    Args:
        counts: Pixels with the values first_value, first_value + 1, ...
        first_value: The value of counts[0], photons.
        search: Range of positions, photons.
        call_significance: A switch is called from here on, standard deviations.

    Returns:
        Positions, areas and values in photons; counts by bin.

    Raises:
        ValueError: As find_gain_switch.
    """
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 1:
        raise ValueError("counts must be one-dimensional")
    width = max(1, round(math.sqrt(search[0] * search[1]) / SECOND_BINS))
    # Bin i holds the values (i - 1/2) width <= v < (i + 1/2) width, and only what is certainly
    # above the first switch and its overlap.
    values = first_value + np.arange(counts.size)
    index = (values + width // 2) // width
    first = max(2, int(0.3 * search[0] / width))
    use = index >= first
    if not use.any():
        binned = np.zeros(2)
    else:
        binned = np.bincount(index[use] - first, weights=counts[use])
    found = find_gain_switch(
        binned, first, (search[0] / width, search[1] / width), call_significance
    )
    # The centre of a bin of even width lies half a value below its multiple.
    return _rescale(found, width, 0.0 if width % 2 else -0.5)


def _rescale(found: GainSwitchSearch, width: float, shift: float) -> GainSwitchSearch:
    """A search on bins, in photons."""

    def scaled(switch):
        if switch is None:
            return None
        return replace(
            switch,
            position=switch.position * width + shift,
            position_error=switch.position_error * width,
            area=switch.area * width,
            area_error=switch.area_error * width,
            spread=switch.spread * width,
            spread_error=switch.spread_error * width,
        )

    def in_photons(limits):
        return None if limits is None else tuple(x * width + shift for x in limits)

    return replace(
        found,
        switch=scaled(found.switch),
        candidate=scaled(found.candidate),
        bound_95=found.bound_95 * width,
        searched=in_photons(found.searched),
        bound_range=in_photons(found.bound_range),
        turn_on_end=int(found.turn_on_end * width),
        values=found.values * width + shift,
        scan=None,
        window=None,
    )


@dataclass(frozen=True)
class IntensityDiscontinuity:
    """A jump of the intensities of spots.

    Attributes:
        found: True if one is called.
        intensity: Where, in the unit of the intensities; NaN unless found.
        jump: Relative change of the intensities above it, in percent; NaN unless found.
        jump_error: One standard deviation, percent; NaN unless found.
        significance: Of the best candidate, look-elsewhere effect included.
        bound_95: Largest |jump| in percent that the data admit at 95 %; NaN if found.
            Infinite where they do not limit it.
        searched: Range of intensities, or None with too few of them.
        centres, counts, expected: The histogram and its fit; centres in intensity.
    """

    found: bool
    intensity: float
    jump: float
    jump_error: float
    significance: float
    bound_95: float
    searched: tuple[float, float] | None
    centres: np.ndarray
    counts: np.ndarray
    expected: np.ndarray


def find_intensity_discontinuity(
    intensities: np.ndarray, call_significance: float = CALL_SIGNIFICANCE
) -> IntensityDiscontinuity:
    """Search the histogram of spot intensities for a jump.

    If spots whose pixels pass the switch are measured a relative amount too high or too
    low, the histogram of the logarithm of the intensity has a deficit or an overlap of that
    width, as pixel values have at the switch.

    Args:
        intensities: Integrated intensities; those not positive and finite are left out.
        call_significance: A jump is called from here on, standard deviations.

    Raises:
        ValueError: If intensities are not one-dimensional.
    """
    intensities = np.asarray(intensities, dtype=float)
    if intensities.ndim != 1:
        raise ValueError("intensities must be one-dimensional")
    use = np.isfinite(intensities) & (intensities > 0)
    logarithms = np.log(intensities[use])
    empty = np.zeros(0)
    nothing = IntensityDiscontinuity(
        False, math.nan, math.nan, math.nan, 0.0, math.inf, None, empty, empty, empty
    )
    if logarithms.size < LEAST_INTENSITIES:
        return nothing
    # From where the histogram is populated to where a dozen are left.
    rank = np.sort(logarithms)
    low, high = rank[int(0.03 * rank.size)], rank[-min(12, rank.size // 20)]
    n_bins = int((high - low) / INTENSITY_BIN)
    if n_bins < 4 * CLEAR:
        return nothing
    edges = low + INTENSITY_BIN * np.arange(n_bins + 1)
    counts = np.histogram(logarithms, bins=edges)[0]
    around = np.convolve(counts, np.ones(AROUND), mode="same")
    dense = np.nonzero(around >= min(LEAST_AROUND, 0.5 * around.max()))[0]
    first, last = max(CLEAR, dense[0]), min(n_bins - CLEAR, dense[-1])
    if last - first < 4:
        return nothing
    positions = np.arange(first, last, 2.0)
    windows = [make_linear_window(counts, order) for order in INTENSITY_ORDERS]
    found = search_window(windows, positions, call_significance)
    best = found.candidate
    centres = np.exp(edges[:-1] + 0.5 * INTENSITY_BIN)

    def at(index: float) -> float:
        return float(np.exp(low + (index + 0.5) * INTENSITY_BIN))

    called = found.switch is not None
    return IntensityDiscontinuity(
        found=called,
        intensity=at(best.position) if called else math.nan,
        jump=100.0 * math.expm1(best.area * INTENSITY_BIN) if called else math.nan,
        jump_error=100.0 * best.area_error * INTENSITY_BIN if called else math.nan,
        significance=best.significance,
        bound_95=100.0 * math.expm1(found.bound_95 * INTENSITY_BIN)
        if math.isfinite(found.bound_95)
        else found.bound_95,
        searched=(at(positions[0]), at(positions[-1])),
        centres=centres,
        counts=found.counts,
        expected=found.expected,
    )
