"""The gain switch of several histograms together: sweeps, and panels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch import (
    CALL_SIGNIFICANCE,
    GainSwitch,
    GainSwitchSearch,
    is_clear_of_low_end,
    sign_is_known,
)
from dials_jungfrau_qc.algorithms.switch_model import Shape, fit_switch
from dials_jungfrau_qc.algorithms.switch_orders import significance_of
from dials_jungfrau_qc.algorithms.switch_scan import AREAS

# Drop in deviance that decides between a switch of the detector and a feature of the sample.
DECISIVE = 9.0
# A panel differs if its deviation is as improbable as this, divided by the number of panels.
PANEL_PROBABILITY = 0.01
LEAST_PANELS = 2


@dataclass(frozen=True)
class JointGainSwitch:
    """What the histograms of several sweeps say together.

    Attributes:
        switch: The common switch, or None if none is called.
        detector_feature: True if it stays at the same counts, False if a feature that moves
            with the transmission describes the sweeps better, None if they cannot tell.
        preference: How much better the fixed position is, in deviance; negative if the
            moving one is. 0 where there is nothing to compare.
    """

    switch: GainSwitch | None
    detector_feature: bool | None
    preference: float


def join_sweeps(
    searches: Sequence[GainSwitchSearch],
    transmissions: Sequence[float | None] | None = None,
    call_significance: float = CALL_SIGNIFICANCE,
) -> JointGainSwitch:
    """Fit one switch to all sweeps, and ask whether it moves with the transmission.

    Args:
        searches: Of one sweep each.
        transmissions: Of each sweep, in the same order; None where unknown.
        call_significance: A switch is called from here on, standard deviations.

    Raises:
        ValueError: If the numbers of searches and of transmissions differ, or a transmission
            is not positive.
    """
    if transmissions is not None and len(transmissions) != len(searches):
        raise ValueError(f"{len(searches)} sweeps need as many transmissions")
    transmissions = (
        [None] * len(searches) if transmissions is None else list(transmissions)
    )
    if any(t is not None and not t > 0 for t in transmissions):
        raise ValueError("transmissions must be positive")
    used = [i for i, s in enumerate(searches) if s.scan is not None]
    if not used:
        return JointGainSwitch(None, None, 0.0)
    usable = [searches[i] for i in used]
    if len(usable) == 1:
        return JointGainSwitch(usable[0].switch, None, 0.0)

    positions = np.arange(
        min(s.scan.positions[0] for s in usable),
        max(s.scan.positions[-1] for s in usable) + 0.5,
    )
    fixed = sum(_gain_on_grid(s, positions) for s in usable)  # (A, P)
    row, column = np.unravel_index(int(np.argmax(fixed)), fixed.shape)
    known = [transmissions[i] for i in used]
    preference = 0.0
    if all(t is not None for t in known) and max(known) > 1.05 * min(known):
        moving = _best_moving(usable, np.asarray(known, dtype=float), positions)
        preference = float(fixed.max() - moving)
    switch = _fit_jointly(
        usable, Shape(float(positions[column]), float(AREAS[row]) or 0.1)
    )
    called = switch.significance >= call_significance and preference > -DECISIVE
    called = called and sign_is_known(switch)
    called = called and any(
        s.searched[0] < switch.position < s.searched[1]
        and is_clear_of_low_end(switch, s.window)
        for s in usable
    )
    detector_feature = None
    if preference < -DECISIVE:
        detector_feature = False
    elif called and preference > DECISIVE:
        detector_feature = True
    return JointGainSwitch(switch if called else None, detector_feature, preference)


def _gain_on_grid(search: GainSwitchSearch, positions: np.ndarray) -> np.ndarray:
    """Drop in deviance of one sweep by a switch, shape (A, P); 0 where it cannot be seen."""
    scan = search.scan
    gain = np.zeros((AREAS.size, positions.size))
    first = int(round(scan.positions[0] - positions[0]))
    gain[:, first : first + scan.positions.size] = scan.null_deviance - scan.deviance
    return gain / search.dispersion


def _best_moving(
    searches: Sequence[GainSwitchSearch],
    transmissions: np.ndarray,
    positions: np.ndarray,
) -> float:
    """Largest drop in deviance by a feature whose place and area scale with transmission."""
    from scipy.interpolate import RectBivariateSpline

    ratio = transmissions / transmissions.max()
    # Anywhere that brings it into the range of at least one sweep.
    start = np.exp(
        np.arange(math.log(positions[0]), math.log(positions[-1] / ratio.min()), 0.02)
    )
    areas = np.concatenate([AREAS[AREAS < 0], AREAS[AREAS > 0]])
    areas = np.unique(np.concatenate([areas / r for r in (1.0, ratio.min())]))
    total = np.zeros((areas.size, start.size))
    for search, r in zip(searches, ratio):
        scan = search.scan
        gain = (scan.null_deviance - scan.deviance) / search.dispersion
        surface = RectBivariateSpline(AREAS, scan.positions, gain, kx=1, ky=1)
        area, place = areas * r, start * r
        seen = (place >= scan.positions[0]) & (place <= scan.positions[-1])
        known = np.abs(area) <= np.abs(AREAS).max()
        value = surface(np.clip(area, AREAS[0], AREAS[-1]), place)
        total += np.where(seen[None, :] & known[:, None], value, 0.0)
    return float(total.max())


def _fit_jointly(searches: Sequence[GainSwitchSearch], start: Shape) -> GainSwitch:
    """One shape for all windows, each weighted by its dispersion."""
    windows = [s.window for s in searches]
    weights = [1.0 / s.dispersion for s in searches]
    limits = (
        min(s.searched[0] for s in searches),
        max(s.searched[1] for s in searches),
    )
    # Without a switch the sweeps have nothing in common: they are fitted one by one.
    smooth = [fit_switch([w], None, weights=[u]) for w, u in zip(windows, weights)]
    coefficients = [f.coefficients[0] for f in smooth]
    fit = fit_switch(
        windows, start, coefficients, position_limits=limits, weights=weights
    )
    blurred = fit_switch(
        windows,
        Shape(fit.shape.position, 0.0),
        coefficients,
        fixed_area=0.0,
        position_limits=limits,
        weights=weights,
    ).deviance
    flat = sum(f.deviance for f in smooth)
    trials = max(s.scan.trials for s in searches)
    errors = np.sqrt(np.diag(fit.covariance))
    return GainSwitch(
        position=fit.shape.position,
        position_error=float(errors[0]),
        area=fit.shape.area,
        area_error=float(errors[1]),
        significance=significance_of(min(flat, blurred) - fit.deviance, 1.0, trials),
        spread=fit.shape.spread,
        spread_error=float(errors[2] * fit.shape.spread),
    )


@dataclass(frozen=True)
class PanelComparison:
    """How the switch differs between panels.

    Attributes:
        panels: Panels with a measured switch.
        area_deviation, position_deviation: From the mean of the other panels, standard
            deviations, in the order of `panels`.
        area_probability, position_probability: Of the chi-squared of all panels about
            their mean, if they do not differ. NaN with fewer than two panels.
        different: Panels that differ in area or in position, the number of panels allowed for.
    """

    panels: tuple[int, ...]
    area_deviation: np.ndarray
    position_deviation: np.ndarray
    area_probability: float
    position_probability: float
    different: tuple[int, ...]


def compare_panels(searches: Sequence[GainSwitchSearch]) -> PanelComparison:
    """Find panels whose gain switch differs from that of the others.

    The mean is a weighted median, so that one deviating panel does not make the others
    deviate.

    Args:
        searches: Of one panel each, in the order of the panels.
    """
    from scipy.stats import chi2, norm

    panels = [i for i, s in enumerate(searches) if s.switch is not None]
    switches = [searches[i].switch for i in panels]
    area, p_area = _deviations(
        np.array([s.area for s in switches]),
        np.array([s.area_error for s in switches]),
        chi2,
    )
    position, p_position = _deviations(
        np.array([s.position for s in switches]),
        np.array([s.position_error for s in switches]),
        chi2,
    )
    limit = norm.isf(0.5 * PANEL_PROBABILITY / (2 * max(1, len(panels))))
    differ = (np.abs(area) > limit) | (np.abs(position) > limit)
    return PanelComparison(
        panels=tuple(panels),
        area_deviation=area,
        position_deviation=position,
        area_probability=p_area,
        position_probability=p_position,
        different=tuple(p for p, d in zip(panels, differ) if d),
    )


def _deviations(
    values: np.ndarray, errors: np.ndarray, chi2
) -> tuple[np.ndarray, float]:
    """Deviations from the weighted median in standard deviations, and their probability."""
    if values.size < LEAST_PANELS:
        return np.zeros(values.size), math.nan
    errors = np.maximum(errors, 1e-9)
    order = np.argsort(values)
    weight = np.cumsum(1.0 / errors[order])
    middle = values[order][np.searchsorted(weight, 0.5 * weight[-1])]
    mean = float(np.average(values, weights=errors**-2.0))
    # The median of n has pi/2 the variance of their mean.
    error = math.sqrt(0.5 * math.pi / np.sum(errors**-2.0))
    probability = float(
        chi2.sf((((values - mean) / errors) ** 2).sum(), values.size - 1)
    )
    return (values - middle) / np.hypot(errors, error), probability
