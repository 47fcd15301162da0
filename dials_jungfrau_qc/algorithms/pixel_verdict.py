"""What to look at in the pixel values, in words."""

from __future__ import annotations

from collections.abc import Sequence

from dials_jungfrau_qc.algorithms.value_counts import (
    ValueCounts,
    count_where,
    merge_counts,
)

# Counts at which pixels of a JUNGFRAU leave their first gain at 12.4 keV: the switch at
# about 310 keV (Redford et al. 2018, JINST 13 C01027), seen at 19 to 25 in real data
SWITCH_COUNTS = (19, 26)
# Counts from which pixels can pile up: the third gain ends near 10 000 photons
PILE_UP_COUNTS = 8000

# Fewer pixels than this across the switch cannot show a step
MIN_SWITCH_PIXELS = 100


def pixel_verdict(groups: Sequence[ValueCounts]) -> str:
    """Say what there is to look at in the pixel values of all groups.

    Args:
        groups: The counted pixel values of each group that has any.
    """
    if not groups:
        return (
            "There are no pixels here, only intensities: look for a step at the same "
            "intensity in every sweep, and at indexed.refl for the pixels."
        )
    counted = merge_counts(groups)
    if not counted.n_finite:
        return "No pixel has a finite value: there is nothing to look at."
    low, high = SWITCH_COUNTS
    n_switch = count_where(counted, low, high)
    n_high = count_where(counted, PILE_UP_COUNTS, float("inf"))
    n_negative = count_where(counted, float("-inf"), 0)
    maximum = f"{counted.values[-1]:.6g}"
    sentences = []
    if counted.values[-1] < low:
        sentences.append(
            f"The highest pixel has {maximum} counts, below the {low} to {high - 1} at "
            "which JUNGFRAU pixels leave their first gain: these data cannot show the "
            "gain switch, use a higher transmission"
        )
    elif n_switch < MIN_SWITCH_PIXELS:
        sentences.append(
            f"{n_switch or 'No'} pixels have {low} to {high - 1} counts, where JUNGFRAU "
            "pixels leave their first gain: too few to show a step"
        )
    else:
        sentences.append(
            f"Look for a dip, a bump or a step at {low} to {high - 1} counts, where "
            f"JUNGFRAU pixels leave their first gain ({n_switch} pixels there)"
        )
    if n_high:
        sentences.append(
            f"look for a pile-up near 10 000: {n_high} pixels have {PILE_UP_COUNTS} "
            f"counts or more, the highest {maximum}"
        )
    else:
        sentences.append(
            f"no pixel comes near 10 000, where they pile up (the highest has {maximum})"
        )
    if n_negative:
        sentences.append(
            f"{n_negative} pixels are negative, which photons cannot be: see whether "
            "masked or invalid pixels are among them"
        )
    if counted.n_not_finite:
        sentences.append(f"{counted.n_not_finite} pixels are not finite")
    return "; ".join(sentences) + "."
