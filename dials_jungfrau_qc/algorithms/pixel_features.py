"""Everything that is looked for in the pixel values of a group of spots, or of frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitchSearch, find_gain_switch
from dials_jungfrau_qc.algorithms.pile_up import (
    PileUpSearch,
    RecommendedTransmission,
    count_rate_transmission,
    find_pile_up,
    reaches_ceiling,
    recommend_transmission,
)
from dials_jungfrau_qc.algorithms.relative_switch import find_second_switch
from dials_jungfrau_qc.algorithms.sentinels import Sentinels, find_sentinels
from dials_jungfrau_qc.algorithms.value_counts import ValueCounts

# Both switches lie far below; values above are not needed to find them
HIGHEST_VALUE = 4000


@dataclasses.dataclass(frozen=True)
class PixelFeatures:
    """What a histogram of pixel values shows.

    Attributes:
        sentinels: Values that cannot be photons.
        switch: The search for the switch from the first to the second gain.
        second_switch: That from the second to the third.
        pile_up: The search for the ceiling.
        clipped: Whether each reflection's highest pixel may have met the ceiling, shape
            (n,); None without pile-up or without reflections.
        recommended: How far the beam can be opened; None if the transmission or the
            ceiling is not known.
        count_rate: Transmission by the rule of dials.countrate; None if unknown.
    """

    sentinels: Sentinels
    switch: GainSwitchSearch
    second_switch: GainSwitchSearch
    pile_up: PileUpSearch
    clipped: np.ndarray | None
    recommended: RecommendedTransmission | None
    count_rate: float | None


def find_features(
    counted: ValueCounts,
    maximum: np.ndarray | None = None,
    trusted_maximum: float | None = None,
) -> PixelFeatures:
    """Look for gain switches, pile-up and markers in pixel values.

    Args:
        counted: The counted pixel values.
        maximum: Highest pixel of each reflection, shape (n,), NaN where it has none.
        trusted_maximum: Upper limit of the trusted range, if it is known.
    """
    sentinels = find_sentinels(counted.values, counted.counts)
    keep = sentinels.keep(counted.values)
    values, counts = counted.values[keep], counted.counts[keep]
    whole = np.rint(values)
    low = whole <= HIGHEST_VALUE
    by_value = np.bincount(
        whole[low].astype(np.int64), weights=counts[low], minlength=HIGHEST_VALUE + 1
    )
    pile_up = find_pile_up(values, counts, _limit(trusted_maximum))
    clipped = None
    if pile_up.pile_up is not None and maximum is not None:
        clipped = reaches_ceiling(maximum, pile_up.pile_up)
        clipped &= ~np.isin(maximum, sentinels.values)
    return PixelFeatures(
        sentinels=sentinels,
        switch=find_gain_switch(by_value),
        second_switch=find_second_switch(by_value),
        pile_up=pile_up,
        clipped=clipped,
        recommended=None,
        count_rate=None,
    )


def common_ceiling(features: Sequence[PixelFeatures]) -> float | None:
    """The lowest suggested trusted maximum of several sweeps; None if none piles up."""
    found = [f.pile_up.pile_up for f in features if f.pile_up.pile_up is not None]
    return min((p.suggested_trusted_maximum for p in found), default=None)


def advise(
    features: PixelFeatures,
    counted: ValueCounts,
    maximum: np.ndarray | None,
    transmission: float | None,
    trusted_maximum: float | None,
    ceiling: float | None,
    share: float = 0.001,
) -> PixelFeatures:
    """Add how far the beam can be opened.

    Args:
        features: What the pixel values show.
        counted: The counted pixel values.
        maximum: Highest pixel of each reflection, shape (n,), NaN where it has none.
        transmission: Of the beam, if it is known.
        trusted_maximum: Upper limit of the trusted range, if it is known.
        ceiling: Highest value to be trusted by the pile-up, of this sweep or another.
        share: Share of reflections that may reach the ceiling.

    Returns:
        The features with the advice that the data admit.
    """
    ceiling = ceiling or _limit(trusted_maximum)
    if not transmission or not ceiling or not 0 < transmission <= 1:
        return features
    recommended = count_rate = None
    if maximum is not None:
        marks = np.isin(maximum, features.sentinels.values)
        highest = maximum[np.isfinite(maximum) & ~marks]
        if len(highest):
            recommended = recommend_transmission(highest, transmission, ceiling, share)
    keep = features.sentinels.keep(counted.values)
    values, counts = counted.values[keep], counted.counts[keep]
    if maximum is not None and len(values) and values[-1] > 0:
        limit = _limit(trusted_maximum) or ceiling
        try:
            count_rate = count_rate_transmission(values, counts, transmission, limit)
        except ValueError:
            # So few strong pixels that their percentile is zero
            count_rate = None
    return dataclasses.replace(features, recommended=recommended, count_rate=count_rate)


def _limit(trusted_maximum: float | None) -> float | None:
    """A trusted maximum, unless it is only the end of the integers."""
    if trusted_maximum is None or not trusted_maximum < 1 << 24:
        return None
    return trusted_maximum
