"""Look for what the detector did in the pixel values of all groups together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch_joint import (
    JointGainSwitch,
    PanelComparison,
    compare_panels,
    join_sweeps,
)
from dials_jungfrau_qc.algorithms.pixel_features import (
    PixelFeatures,
    advise,
    common_ceiling,
    find_features,
)
from dials_jungfrau_qc.algorithms.relative_switch import (
    IntensityDiscontinuity,
    find_intensity_discontinuity,
)
from dials_jungfrau_qc.io.processes import run_in_processes
from dials_jungfrau_qc.io.spot_pixels import INTEGRATED, SpotPixels


@dataclasses.dataclass(frozen=True)
class PixelAnalysis:
    """What was found.

    Attributes:
        features: In each group; None where it has no pixels.
        joint: What all groups say together about the first gain switch.
        panels: How panels differ; None if groups are not panels.
        intensities: The test on the integrated intensities of all groups; None if there
            are none.
    """

    features: list[PixelFeatures | None]
    joint: JointGainSwitch
    panels: PanelComparison | None
    intensities: IntensityDiscontinuity | None


def analyse(spots: Sequence[SpotPixels], share: float, nproc: int = 1) -> PixelAnalysis:
    """Look for the gain switches, the pile-up and their traces in the intensities.

    Args:
        spots: The groups.
        share: Share of reflections that may reach the ceiling of the pixels.
        nproc: Number of processes, which share the groups.
    """
    features = _find_all(spots, nproc)
    known = [(group, found) for group, found in zip(spots, features) if found]
    ceiling = common_ceiling([found for _, found in known])
    features = [
        found
        and advise(
            found,
            group.pixels,
            group.maximum,
            group.transmission,
            group.trusted_maximum,
            ceiling,
            share,
        )
        for group, found in zip(spots, features)
    ]
    searches = [found.switch for _, found in known]
    by_panel = any(group.group.panel is not None for group in spots)
    integrated = [
        group.intensities.values
        for group in spots
        if group.intensities and group.quantity == INTEGRATED
    ]
    return PixelAnalysis(
        features=features,
        joint=join_sweeps(searches, [group.transmission for group, _ in known]),
        panels=compare_panels(searches) if by_panel and searches else None,
        intensities=find_intensity_discontinuity(np.concatenate(integrated))
        if integrated
        else None,
    )


def _find_all(spots: Sequence[SpotPixels], nproc: int) -> list[PixelFeatures | None]:
    """What each group shows; None where it has no pixels."""
    groups = [group for group in spots if group.pixels]
    arguments = (
        [group.pixels for group in groups],
        [group.maximum for group in groups],
        [group.trusted_maximum for group in groups],
    )
    nproc = min(nproc, len(groups))
    if nproc > 1:
        found = iter(run_in_processes(find_features, list(zip(*arguments)), nproc))
    else:
        found = map(find_features, *arguments)
    return [next(found) if group.pixels else None for group in spots]
