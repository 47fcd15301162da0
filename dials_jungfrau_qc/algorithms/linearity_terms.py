"""The terms of the joint model, each as what it does to the sums of groups.

The expected sum of a group in a sweep is its true intensity, times the beam, times
exp(-dose (uniform + B / 2 d^2)), times 1 + the sum of the terms of detector and
integration. A term's array holds what one unit of its parameter adds to that factor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_groups import Groups
from dials_jungfrau_qc.algorithms.spot_pixel_curves import (
    SpotCurves,
    SpotShares,
    SwitchModel,
    in_second_gain,
    lost_above,
    lost_by_compression,
)
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries

OFFSET = "additive_offset"
UNIFORM = "uniform_decay"
B_DECAY = "b_decay"
G1_GAIN = "g1_gain"
G1_OFFSET = "g1_offset"
COMPRESSION = "compression"
SATURATION = "saturation"

# In the logarithm of the factor
DECAYS = (UNIFORM, B_DECAY)
# Of the detector
DETECTOR = (G1_GAIN, G1_OFFSET, COMPRESSION, SATURATION)
TERMS = (OFFSET, *DECAYS, *DETECTOR)
UNITS = {
    OFFSET: "photons a reflection",
    UNIFORM: "share lost in a sweep at T = 1",
    B_DECAY: "A^2 in a sweep at T = 1",
    G1_GAIN: "relative error of the second gain",
    G1_OFFSET: "photons a pixel in the second gain",
    COMPRESSION: "share lost for each photon in a pixel",
    SATURATION: "share lost of what is above the ceiling",
}
# A term with a larger error than this, alone beside free beams, is out of reach
LARGEST_ERROR = {
    OFFSET: 1000.0,
    UNIFORM: 1.0,
    B_DECAY: 20.0,
    G1_GAIN: 0.2,
    G1_OFFSET: 10.0,
    COMPRESSION: 0.01,
    SATURATION: 10.0,
}
# A term that moves no sum by more than this is out of reach of the data
_LEAST_EFFECT = 1e-9
# Below this part of the photons in the second gain its terms are not fitted
_LEAST_PHI = 0.02
# Standard deviation of the widths that spots are given, relative: what the profile model
# of integration gives is 4 % below the truth in simulated images
_WIDTH_ERROR = 0.05


@dataclasses.dataclass(frozen=True)
class Effects:
    """Terms at one state of knowledge of the true intensities.

    Attributes:
        terms: For each term its effect, shape (K, G).
        peak: Expected photons in the brightest pixel at T = 1 of each used reflection,
            shape (m,).
        true: Intensity at T = 1 of each used reflection, corrected for what the
            detector loses, shape (m,).
        compression_constant: Photons at which the compression is linearised.
        ceiling: Photons in a pixel from which the saturation term counts.
        uncertainty: What one standard deviation of each width of the spots changes in
            the factor of detector and integration, shape (2, K, G); None where no term
            of the second gain is at work.
    """

    terms: dict[str, np.ndarray]
    peak: np.ndarray
    true: np.ndarray
    compression_constant: float
    ceiling: float
    uncertainty: np.ndarray | None = None


def effects(
    series: SweepSeries,
    groups: Groups,
    curves: SpotCurves,
    beam: np.ndarray,
    switch: SwitchModel,
    response: np.ndarray,
    compression_constant: float,
    ceilings: Sequence[float],
) -> list[Effects]:
    """Work out what every term does to every sum.

    Args:
        series: The sweeps.
        groups: Their groups.
        curves: Of the used reflections.
        beam: Relative beam of each sweep, shape (K,).
        switch: Where the detector switches gains.
        response: Factor of detector and integration on each sum so far, shape (K, G).
        compression_constant: Photons at which compression is linearised.
        ceilings: Photons in a pixel above which saturation is looked for.

    Returns:
        The terms with each of the ceilings.
    """
    label, rows = groups.label, groups.rows
    present = series.present[:, rows]
    # What all sweeps together measured, over what they would have of one photon
    own = np.where(present, beam[:, None] * response[:, label], 0)
    true = groups.pooled * (groups.beam @ present) / own.sum(axis=0)
    weight = groups.sums(true)
    count = groups.sums(np.ones(len(rows)))
    dose = series.dose()[:, rows]
    damage = dose / (2 * series.d[rows] ** 2)

    def average(values: np.ndarray) -> np.ndarray:
        return groups.sums(values * true) / weight

    terms = {name: np.empty(groups.total.shape) for name in TERMS}
    saturated = np.empty((len(ceilings), *groups.total.shape))
    terms[OFFSET] = count / (beam[:, None] * weight)
    terms[UNIFORM] = average(dose)
    terms[B_DECAY] = average(damage)
    for k, level in enumerate(background_levels(series, groups)):

        def all_curves(spot: SpotShares, photons: np.ndarray) -> tuple[np.ndarray, ...]:
            return (
                *in_second_gain(spot, photons, level, switch, series.profile_fitted),
                lost_by_compression(spot, photons, compression_constant, level),
                *(lost_above(spot, photons, ceiling) for ceiling in ceilings),
            )

        phi, nu, compressed, *lost = curves.evaluate(beam[k] * true, all_curves)
        terms[G1_GAIN][k] = average(phi)
        terms[G1_OFFSET][k] = average(nu)
        terms[COMPRESSION][k] = -average(compressed) * compression_constant
        saturated[:, k] = [-average(share) for share in lost]
    peak = true * curves.per_reflection(lambda spot: spot.peak)
    return [
        Effects(
            terms={**terms, SATURATION: own},
            peak=peak,
            true=true,
            compression_constant=compression_constant,
            ceiling=ceiling,
        )
        for ceiling, own in zip(ceilings, saturated)
    ]


def decay_factor(
    series: SweepSeries, groups: Groups, values: dict[str, float]
) -> np.ndarray:
    """What decay has left of each used reflection in each sweep, shape (K, m).

    Args:
        series: The sweeps.
        groups: Their groups.
        values: Parameters of the terms.
    """
    damage = values.get(B_DECAY, 0.0) / (2 * series.d[groups.rows] ** 2)
    return np.exp(-(values.get(UNIFORM, 0.0) + damage) * series.dose()[:, groups.rows])


def background_levels(series: SweepSeries, groups: Groups) -> list[float]:
    """Typical background of each sweep, photons a pixel; 0 where unknown."""
    levels = []
    for values in series.background[:, groups.rows]:
        finite = values[np.isfinite(values)]
        levels.append(max(float(np.median(finite)), 0.0) if finite.size else 0.0)
    return levels


def width_uncertainty(
    series: SweepSeries,
    groups: Groups,
    found: Effects,
    beam: np.ndarray,
    switch: SwitchModel,
    values: dict[str, float],
) -> Effects:
    """Add what the terms of the second gain owe to widths that are not known exactly.

    Args:
        series: The sweeps.
        groups: Their groups.
        found: The terms.
        beam: Relative beam of each sweep, shape (K,).
        switch: Where the detector switches gains.
        values: Parameters of the terms.
    """
    gain, offset = values.get(G1_GAIN, 0.0), values.get(G1_OFFSET, 0.0)
    if not gain and not offset:
        return dataclasses.replace(found, uncertainty=None)
    rows, true = groups.rows, found.true
    weight = groups.sums(true)
    levels = background_levels(series, groups)
    widths = (series.sigma_pixels[rows], series.sigma_images[rows])
    changes = np.empty((len(widths), *groups.total.shape))
    for i, change in enumerate(changes):
        wider = [
            sigma * (1 + _WIDTH_ERROR * (i == j)) for j, sigma in enumerate(widths)
        ]
        curves = SpotCurves(*wider)
        for k, level in enumerate(levels):

            def stage(spot: SpotShares, photons: np.ndarray) -> tuple[np.ndarray, ...]:
                return in_second_gain(
                    spot, photons, level, switch, series.profile_fitted
                )

            phi, nu = curves.evaluate(beam[k] * true, stage)
            change[k] = groups.sums((gain * phi + offset * nu) * true) / weight
    changes -= gain * found.terms[G1_GAIN] + offset * found.terms[G1_OFFSET]
    return dataclasses.replace(found, uncertainty=changes)


def within_reach(found: Effects, groups: Groups) -> tuple[str, ...]:
    """The terms that the data could show at all."""
    reachable = []
    for name, effect in found.terms.items():
        largest = np.abs(effect[groups.used]).max()
        least = _LEAST_EFFECT
        if name in (G1_GAIN, G1_OFFSET):
            largest = np.abs(found.terms[G1_GAIN][groups.used]).max()
            least = _LEAST_PHI
        elif name == COMPRESSION:
            largest, least = found.peak.max(initial=0), 10.0
        if largest > least:
            reachable.append(name)
    return tuple(reachable)
