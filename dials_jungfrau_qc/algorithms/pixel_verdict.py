"""What the pixel values show, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitch
from dials_jungfrau_qc.algorithms.gain_switch_joint import JointGainSwitch
from dials_jungfrau_qc.algorithms.pixel_features import PixelFeatures
from dials_jungfrau_qc.algorithms.relative_switch import IntensityDiscontinuity

# Counts at which pixels of a JUNGFRAU leave their first gain at 12.4 keV: the switch at
# about 310 keV (Redford et al. 2018, JINST 13 C01027), seen at 19 to 25 in real data
SWITCH_COUNTS = (19, 25)


def switch_words(switch: GainSwitch) -> str:
    """Position, area and kind of a gain switch."""
    kind = "overlap" if switch.area < 0 else "deficit"
    return (
        f"at {value_with_error(switch.position, switch.position_error)} photons, "
        f"J = {value_with_error(switch.area, switch.area_error)} photons ({kind}, "
        f"{switch.significance:.0f} sigma)"
    )


def value_with_error(value: float, error: float) -> str:
    """A number with its error, rounded to two digits of the error."""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g}"
    digits = min(max(1 - math.floor(math.log10(error)), 0), 4)
    return f"{value:.{digits}f} +- {error:.{digits}f}"


def two_digits(value: float) -> str:
    """A number rounded to two digits, which is what the end of a range is good for."""
    return f"{float(f'{value:.2g}'):.6g}"


def bound_words(bound: float) -> str:
    """The bound on |J| where no switch is called."""
    if math.isfinite(bound):
        return f"no gain switch: |J| below {bound:.2g} photons at 95 %"
    return "no gain switch is called, and the data set no limit on J"


def pixel_verdict(
    features: Sequence[PixelFeatures],
    joint: JointGainSwitch,
    intensities: IntensityDiscontinuity | None = None,
) -> str:
    """Say what was found in the pixel values of all groups.

    Args:
        features: What each group with pixels shows.
        joint: What they say together about the first gain switch.
        intensities: The test on the integrated intensities, if there are any.
    """
    if not features:
        return (
            f"{intensity_words(intensities)}. There are no pixels here: for these give "
            "indexed.refl."
        )
    if not any(
        feature.switch.counts.size or feature.pile_up.largest for feature in features
    ):
        return "No pixel has a positive value: there is nothing to look at."
    sentences = [_switch_sentence(features, joint), _pile_up_sentence(features)]
    if intensities is not None:
        sentences.append(f"{intensity_words(intensities)}.")
    markers = sum(feature.sentinels.n_pixels for feature in features)
    negative = sum(feature.sentinels.n_negative for feature in features)
    if markers:
        values = sorted({v for f in features for v in f.sentinels.values})
        sentences.append(
            f"{markers} pixels hold values that mark invalid pixels "
            f"({', '.join(map(str, values))}) and were left out: is a mask missing?"
        )
    if negative:
        sentences.append(f"{negative} pixels are negative, which photons cannot be.")
    return " ".join(sentences)


def _switch_sentence(features: Sequence[PixelFeatures], joint: JointGainSwitch) -> str:
    if joint.switch is not None:
        words = f"The gain switch shows {switch_words(joint.switch)}"
        if joint.detector_feature:
            return words + ", at the same counts in every sweep: it is the detector's."
        return words + "."
    if joint.detector_feature is False:
        return (
            "A feature of the histogram moves with the transmission: it is the sample's "
            "and not the detector's."
        )
    called = [f.switch.switch for f in features if f.switch.switch is not None]
    if called:
        return (
            f"{len(called)} of {len(features)} histograms show a discontinuity, but not "
            "all of them together: look at them one by one."
        )
    low, high = SWITCH_COUNTS
    seen = [f.switch for f in features if f.switch.bound_range]
    seen = [search for search in seen if search.bound_range[0] <= low]
    if not seen:
        return (
            f"The histograms cannot show a gain switch at {low} to {high} counts: too few "
            "pixels, or the threshold of spot finding reaches there. Use pixels=frames, "
            "or a higher transmission."
        )
    best = min(seen, key=lambda search: search.bound_95)
    words = bound_words(best.bound_95)
    low, high = best.bound_range
    return f"{words[0].upper()}{words[1:]}, for a switch at {low:.0f} to {high:.0f} counts."


def _pile_up_sentence(features: Sequence[PixelFeatures]) -> str:
    found = [f for f in features if f.pile_up.pile_up is not None]
    cut = [f.pile_up.cut for f in features if f.pile_up.cut is not None]
    if found:
        worst = max(found, key=lambda f: f.pile_up.pile_up.n_pixels)
        pile_up = worst.pile_up.pile_up
        words = (
            "Pixels pile up at "
            f"{value_with_error(pile_up.edge, pile_up.edge_error)} counts"
        )
        if worst.clipped is not None:
            words += f" ({int(worst.clipped.sum())} reflections reach it)"
        return words + "."
    if cut:
        return (
            f"The histogram ends sharply at {min(cut):.0f} counts: the trusted range ends "
            "below the pile-up, and spot finding has removed the pixels above it."
        )
    largest = max(feature.pile_up.largest for feature in features)
    return f"No pile-up: the highest pixel has {largest:.6g} counts."


def intensity_words(found: IntensityDiscontinuity | None) -> str:
    """What the spot intensities show of the switch."""
    if found is None:
        return (
            "Spot intensities: no verdict from spot finding; run dials.pixel_histogram "
            "integrated.refl"
        )
    if found.found:
        return (
            f"Spot intensities: a discontinuity at {found.intensity:.4g} counts, "
            f"{value_with_error(found.jump, found.jump_error)} % "
            f"({found.significance:.1f} sigma)"
        )
    if math.isfinite(found.bound_95):
        low, high = found.searched
        return (
            f"Spot intensities: no discontinuity above {found.bound_95:.2g} % at 95 % "
            f"(from {two_digits(low)} to {two_digits(high)} counts)"
        )
    return "Spot intensities: too few to set a limit on a discontinuity"
