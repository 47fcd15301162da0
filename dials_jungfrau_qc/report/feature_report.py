"""What was found in the pixel values, as paragraphs, JSON and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitch, GainSwitchSearch
from dials_jungfrau_qc.algorithms.gain_switch_joint import (
    JointGainSwitch,
    PanelComparison,
)
from dials_jungfrau_qc.algorithms.pixel_features import PixelFeatures
from dials_jungfrau_qc.algorithms.pixel_verdict import (
    SWITCH_COUNTS,
    bound_words,
    switch_words,
    value_with_error,
)
from dials_jungfrau_qc.algorithms.relative_switch import IntensityDiscontinuity
from dials_jungfrau_qc.io.spot_pixels import SpotPixels


def group_paragraph(spots: SpotPixels, features: PixelFeatures) -> str:
    """A few sentences on one group: the switch, the second switch, the pile-up, markers."""
    switch = features.switch
    lines = [f"  {_switch_line(switch)}"]
    if switch.searched and spots.thresholded and switch.searched[0] > SWITCH_COUNTS[0]:
        lines.append(
            f"  The threshold of spot finding shapes the histogram up to "
            f"{switch.turn_on_end} counts: a switch below {switch.searched[0]:.0f} would "
            "not be seen. Use pixels=frames with the experiment list."
        )
    if features.second_switch.switch:
        lines.append(f"  Second switch {switch_words(features.second_switch.switch)}")
    lines.append(f"  {_pile_up_line(features)}")
    if features.recommended:
        advice = features.recommended
        limit = "less than " if advice.is_upper_limit else ""
        lines.append(
            f"  Transmission at which at most {100 * advice.share:g} % of the reflections "
            f"reach the ceiling: {limit}{advice.transmission:.3g} (now "
            f"{spots.transmission:.4g}, {100 * advice.share_now:.2g} % reach it)"
            + (
                f"; by the rule of dials.countrate {features.count_rate:.3g}"
                if features.count_rate
                else ""
            )
        )
    if features.sentinels.n_pixels:
        lines.append(
            "  Left out as marks of invalid pixels: "
            + ", ".join(
                f"{value} ({n} pixels)"
                for value, n in zip(
                    features.sentinels.values, features.sentinels.counts
                )
            )
        )
    return "\n".join(lines)


def _switch_line(search: GainSwitchSearch) -> str:
    if search.switch:
        return (
            f"Gain switch {switch_words(search.switch)}, spread "
            f"{value_with_error(search.switch.spread, search.switch.spread_error)}"
        )
    if not search.searched:
        return f"Gain switch: cannot be seen (too few pixels above {search.turn_on_end} counts)"
    low, high = search.bound_range or search.searched
    words = bound_words(search.bound_95)
    line = f"{words[0].upper()}{words[1:]} (for a switch at {low:.0f} to {high:.0f} counts)"
    if low > SWITCH_COUNTS[1]:
        line += (
            f"; lower down the background or the threshold of spot finding, which reach to "
            f"{search.turn_on_end} counts, hide a wide one"
        )
    return line


def _pile_up_line(features: PixelFeatures) -> str:
    search = features.pile_up
    if search.pile_up:
        pile_up = search.pile_up
        touched = (
            f", {int(features.clipped.sum())} reflections"
            if features.clipped is not None
            else ""
        )
        return (
            f"Pile-up at {value_with_error(pile_up.edge, pile_up.edge_error)} counts, "
            f"excess {value_with_error(pile_up.excess, pile_up.excess_error)} pixels: "
            f"{pile_up.n_pixels} pixels{touched} at or above the suggested trusted maximum, "
            f"{pile_up.suggested_trusted_maximum:.0f}"
        )
    if search.cut is not None:
        return (
            f"The values end sharply at {search.cut:.0f}, where {search.expected_beyond:.0f} "
            "pixels are missing in the next tenth: the trusted range ends below the pile-up, "
            "and spot finding has removed the pixels above it (spots are hollow)"
        )
    return f"No pile-up; the highest pixel has {search.largest:.6g} counts"


def switch_json(switch: GainSwitch | None) -> dict[str, float] | None:
    """A switch as it stands in the JSON."""
    if switch is None:
        return None
    names = (
        "position",
        "position_error",
        "area",
        "area_error",
        "significance",
        "spread",
    )
    return {name: getattr(switch, name) for name in names}


# What a group has in the JSON, null where nothing was looked for
SOUGHT = (
    "gain_switch",
    "gain_switch_bound_95",
    "gain_switch_bound_range",
    "gain_switch_searched",
    "threshold_end",
    "second_gain_switch",
    "second_gain_switch_bound_95",
    "pile_up",
    "trusted_range_cut",
    "recommended_transmission",
    "recommended_transmission_is_upper_limit",
    "count_rate_transmission",
    "sentinels",
    "n_negative",
    "fit",
)
# And what all groups have together
SOUGHT_TOGETHER = (
    "gain_switch",
    "detector_feature",
    "panels",
    "intensity_discontinuity",
)


def features_json(spots: SpotPixels, features: PixelFeatures | None) -> dict[str, Any]:
    """What was found in a group, as it stands in the JSON.

    Every key is there in any case, and features_searched tells null for what was not
    found from null for what was not looked for.
    """
    found = dict.fromkeys(SOUGHT) if features is None else _found(spots, features)
    return {
        "transmission": spots.transmission,
        "features_searched": features is not None,
        **found,
    }


def _found(spots: SpotPixels, features: PixelFeatures) -> dict[str, Any]:
    search = features.pile_up
    pile_up = None
    if search.pile_up:
        pile_up = {
            "edge": search.pile_up.edge,
            "edge_error": search.pile_up.edge_error,
            "spread": search.pile_up.spread,
            "excess": search.pile_up.excess,
            "excess_error": search.pile_up.excess_error,
            "n_pixels": search.pile_up.n_pixels,
            "n_reflections": None
            if features.clipped is None
            else int(features.clipped.sum()),
            "suggested_trusted_maximum": search.pile_up.suggested_trusted_maximum,
            "touched": _touched(spots, features),
        }
    advice = features.recommended
    return {
        "gain_switch": switch_json(features.switch.switch),
        "gain_switch_bound_95": None
        if features.switch.switch
        else features.switch.bound_95,
        "gain_switch_bound_range": features.switch.bound_range,
        "gain_switch_searched": features.switch.searched,
        "threshold_end": features.switch.turn_on_end if spots.thresholded else None,
        "second_gain_switch": switch_json(features.second_switch.switch),
        "second_gain_switch_bound_95": None
        if features.second_switch.switch
        else features.second_switch.bound_95,
        "pile_up": pile_up,
        "trusted_range_cut": search.cut,
        "recommended_transmission": advice.transmission if advice else None,
        "recommended_transmission_is_upper_limit": advice.is_upper_limit
        if advice
        else None,
        "count_rate_transmission": features.count_rate,
        "sentinels": dict(
            zip(map(str, features.sentinels.values), features.sentinels.counts)
        ),
        "n_negative": features.sentinels.n_negative,
        "fit": {
            "values": features.switch.values,
            "counts": features.switch.counts,
            "expected": features.switch.expected,
            "smooth": features.switch.smooth,
        },
    }


def _touched(spots: SpotPixels, features: PixelFeatures) -> dict[str, Any] | None:
    """Resolution and images of the reflections that reach the ceiling."""
    if features.clipped is None or not features.clipped.any():
        return None
    touched: dict[str, Any] = {}
    if spots.resolution is not None:
        d = spots.resolution[features.clipped]
        touched["d_max"], touched["d_min"] = float(d.max()), float(d.min())
    if spots.image is not None:
        images = np.floor(spots.image[features.clipped]).astype(int) + 1
        touched["images"] = np.unique(images)
    return touched


def joint_json(
    joint: JointGainSwitch, panels: PanelComparison | None, names: Sequence[str]
) -> dict[str, Any]:
    """What all groups say together, as it stands in the JSON."""
    result: dict[str, Any] = {
        "gain_switch": switch_json(joint.switch),
        "detector_feature": joint.detector_feature,
        "panels": None,
    }
    if panels is not None:
        result["panels"] = {
            "compared": [names[i] for i in panels.panels],
            "different": [names[i] for i in panels.different],
            "area_probability": panels.area_probability,
            "position_probability": panels.position_probability,
        }
    return result


def intensity_json(found: IntensityDiscontinuity | None) -> dict[str, Any] | None:
    """The test on the intensities, as it stands in the JSON."""
    if found is None:
        return None
    return {
        "found": found.found,
        "bound_95": found.bound_95,
        "intensity": found.intensity,
        "jump": found.jump,
        "jump_error": found.jump_error,
        "significance": found.significance,
    }


def switch_table(
    names: Sequence[str], features: Sequence[PixelFeatures]
) -> list[list[str]]:
    """A row a group with its gain switch or the bound on it."""
    rows = [
        [
            "Group",
            "Position\n(photons)",
            "J (photons)",
            "Sigma",
            "Spread",
            "95 % bound\non |J|",
        ]
    ]
    for name, feature in zip(names, features):
        switch = feature.switch.switch
        if switch:
            row = [
                value_with_error(switch.position, switch.position_error),
                value_with_error(switch.area, switch.area_error),
                f"{switch.significance:.1f}",
                value_with_error(switch.spread, switch.spread_error),
                "",
            ]
        else:
            bound = feature.switch.bound_95
            row = [
                "none",
                "",
                "",
                "",
                f"{bound:.2g}" if math.isfinite(bound) else "no limit",
            ]
        rows.append([name, *row])
    return rows


def pile_up_table(
    names: Sequence[str],
    spots: Sequence[SpotPixels],
    features: Sequence[PixelFeatures],
) -> list[list[str]]:
    """A row a group with its ceiling and how far the beam can be opened."""
    rows = [
        [
            "Group",
            "Highest\npixel",
            "Ceiling\n(counts)",
            "Excess\npixels",
            "Reflections\nthat reach it",
        ]
        + ["Suggested\ntrusted maximum", "Transmission", "Recommended"]
    ]
    for name, group, feature in zip(names, spots, features):
        pile_up, advice = feature.pile_up.pile_up, feature.recommended
        row = [name, f"{feature.pile_up.largest:.6g}"]
        if pile_up:
            row += [
                value_with_error(pile_up.edge, pile_up.edge_error),
                value_with_error(pile_up.excess, pile_up.excess_error),
                "" if feature.clipped is None else str(int(feature.clipped.sum())),
                f"{pile_up.suggested_trusted_maximum:.0f}",
            ]
        elif feature.pile_up.cut is not None:
            row += [f"cut at {feature.pile_up.cut:.0f}", "", "", ""]
        else:
            row += ["none", "", "", ""]
        row.append("" if group.transmission is None else f"{group.transmission:.4g}")
        row.append(
            ("below " if advice.is_upper_limit else "") + f"{advice.transmission:.3g}"
            if advice
            else ""
        )
        rows.append(row)
    return rows
