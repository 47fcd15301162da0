"""From the joint model to an answer: linear or not, within what bound, and why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_fit import Candidate
from dials_jungfrau_qc.algorithms.linearity_model import LinearityModel
from dials_jungfrau_qc.algorithms.linearity_residuals import Residuals
from dials_jungfrau_qc.algorithms.linearity_terms import (
    B_DECAY,
    COMPRESSION,
    DETECTOR,
    G1_GAIN,
    G1_OFFSET,
    OFFSET,
    SATURATION,
    UNIFORM,
)
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries, pooled_intensity

SELECTION = "selection"
FLUX = "attenuator or flux of a sweep"
CAUSE_OF_TERM = {
    UNIFORM: "uniform decay",
    B_DECAY: "decay in B",
    G1_GAIN: "gain-stage gain",
    G1_OFFSET: "gain-stage offset",
    COMPRESSION: "saturation or compression",
    SATURATION: "saturation or compression",
    OFFSET: "integration or background offset",
}
# What sweeps in different orientations have beside all of these
ORIENTATION = "differences between orientations"
DETECTOR_CAUSES = frozenset(CAUSE_OF_TERM[term] for term in DETECTOR)

# Choices of parameters whose scores differ by less than this (odds of 20 to 1) are
# not told apart
_MARGIN = 6.0
# Standard deviations at which the drift inside sweeps shows uniform decay
_DRIFT = 3.0
# Below this probability the residuals are not explained
_UNEXPLAINED = 1e-5
# A selection is found where at least this many missing reflections were to be expected
_MISSING = 20.0
# A bound above this is none
LARGEST_BOUND = 0.5


@dataclasses.dataclass(frozen=True)
class Linearity:
    """The answer.

    Attributes:
        linear: Whether the detector is linear; None if that cannot be told.
        bound: Largest departure from linearity that is not excluded at 95 %, relative;
            NaN where the data hold nothing against which one could show.
        highest_intensity: Photons of the brightest reflection that it holds for.
        highest_peak: Photons in the brightest pixel that it holds for.
        peak_measured: Whether that was read from pixels, not estimated.
        causes: What is established.
        cannot_tell: Causes of which one at least is at work, but which is open.
        sweeps_off: Sweeps whose beam is not the nominal one, if that is a cause.
        unexplained: Quantities against which a residual remains.
        selected: Sweeps from which weak reflections were taken out beforehand.
    """

    linear: bool | None
    bound: float
    highest_intensity: float
    highest_peak: float
    peak_measured: bool
    causes: tuple[str, ...]
    cannot_tell: tuple[tuple[str, ...], ...]
    sweeps_off: tuple[int, ...]
    unexplained: tuple[str, ...]
    selected: tuple[int, ...]


def judge(
    series: SweepSeries, model: LinearityModel, residuals: Sequence[Residuals]
) -> Linearity:
    """Name what is established and say what is not.

    Args:
        series: The sweeps.
        model: The joint model.
        residuals: Of the model.
    """
    causes, open_questions = established(model, series.n_sweeps)
    if not series.same_place:
        open_questions = [(*q, ORIENTATION) for q in open_questions]
        open_questions += [(cause, ORIENTATION) for cause in causes]
        causes = []
    selected = selected_sweeps(series, model)
    if selected:
        causes.insert(0, SELECTION)
        # A cut does to weak reflections what an offset does
        offset = CAUSE_OF_TERM[OFFSET]
        if offset in causes:
            causes.remove(offset)
            open_questions.append((SELECTION, offset))
    unexplained = unexplained_residuals(residuals)
    suspects = set(causes) | {c for question in open_questions for c in question}
    linear: bool | None = not suspects & DETECTOR_CAUSES
    certain = [set(causes), *({*q} for q in open_questions)]
    if not linear and not any(
        group & DETECTOR_CAUSES if group == set(causes) else group <= DETECTOR_CAUSES
        for group in certain
    ):
        linear = None
    bound = departure_bound(model, series.reference)
    if linear and (unexplained or not bound < LARGEST_BOUND):
        linear = None
    reference = series.transmission[series.reference]
    rows = model.groups.rows
    peak = model.effects.peak * reference if series.peak is None else series.peak[rows]
    return Linearity(
        linear=linear,
        bound=bound,
        highest_intensity=float(model.effects.true.max() * reference),
        highest_peak=float(np.nanmax(peak)),
        peak_measured=series.peak is not None,
        causes=tuple(causes),
        cannot_tell=tuple(open_questions),
        sweeps_off=sweeps_off(model, causes, open_questions, series.n_sweeps),
        unexplained=unexplained,
        selected=selected,
    )


def causes_of(candidate: Candidate) -> frozenset[str]:
    """The causes that a choice of parameters stands for."""
    causes = {CAUSE_OF_TERM[term] for term in candidate.terms}
    if candidate.sweeps:
        causes.add(FLUX)
    return frozenset(causes)


def established(
    model: LinearityModel, n_sweeps: int
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Causes that every good choice of parameters agrees on, and those in question.

    Args:
        model: The joint model.
        n_sweeps: Number of sweeps.

    Returns:
        What is established, and groups of causes that the data do not tell apart.
    """
    best = causes_of(model.best)
    found = set(best)
    questions: list[tuple[str, ...]] = []
    for rival in model.rivals:
        if rival.score > model.rivals[0].score + _MARGIN:
            break
        other = causes_of(rival)
        missing, extra = best - other, other - best
        if missing and extra:
            found -= missing
            question = tuple(sorted(missing | extra))
            if question not in questions:
                questions.append(question)
    # A beam that differs from sweep to sweep is uniform decay as well, but for the drift
    uniform = CAUSE_OF_TERM[UNIFORM]
    term = model.terms[UNIFORM]
    if uniform in found and not term.value > _DRIFT * term.error:
        found.remove(uniform)
        found.discard(FLUX)
        question = tuple(sorted((uniform, FLUX)))
        if question not in questions:
            questions.append(question)
    order = [FLUX, *CAUSE_OF_TERM.values()]
    # The shorter question is the sharper one
    sharp = [
        q for q in questions if not any(set(p) < set(q) for p in questions if p != q)
    ]
    return [c for c in dict.fromkeys(order) if c in found], sharp


def sweeps_off(
    model: LinearityModel,
    causes: Sequence[str],
    questions: Sequence[tuple[str, ...]],
    n_sweeps: int,
) -> tuple[int, ...]:
    """Sweeps whose beam is not the recorded one; empty if that is no cause."""
    if FLUX not in causes and not any(FLUX in question for question in questions):
        return ()
    if n_sweeps == 2:
        return (0, 1)
    return model.best.sweeps if len(model.best.sweeps) == 1 else tuple(range(n_sweeps))


def selected_sweeps(series: SweepSeries, model: LinearityModel) -> tuple[int, ...]:
    """Sweeps that lack the reflections that must have come out weak.

    A cut on I/sigma before the data came here leaves no reflection below some I/sigma
    above 1 although the other sweeps say how many there should be.

    Args:
        series: The sweeps.
        model: The joint model.
    """
    from scipy.special import ndtr

    beam = model.relative_beam * series.transmission[series.reference]
    pooled, _ = pooled_intensity(series, beam)
    selected = []
    for k in range(series.n_sweeps):
        there = series.present[k]
        if not there.any():
            continue
        sigma = np.sqrt(series.variance[k, there])
        significance = series.intensity[k, there] / sigma
        lowest = float(significance.min())
        if lowest <= 1:
            continue
        missing = ndtr(0.9 * lowest - beam[k] * pooled[there] / sigma).sum()
        if missing > _MISSING:
            selected.append(k)
    return tuple(selected)


def unexplained_residuals(residuals: Sequence[Residuals]) -> tuple[str, ...]:
    """Quantities against which a sweep departs from the model."""
    from scipy.special import gammaincc

    quantities = []
    for result in residuals:
        freedom = result.degrees_of_freedom
        tested = np.isfinite(result.chi_squared_model) & (freedom > 0)
        if not tested.any():
            continue
        chance = gammaincc(
            freedom[tested] / 2, np.maximum(result.chi_squared_model[tested], 0) / 2
        )
        if chance.min() < _UNEXPLAINED:
            quantities.append(result.quantity)
    return tuple(quantities)


def departure_bound(model: LinearityModel, reference: int) -> float:
    """Largest departure of the reference from linearity not excluded at 95 %.

    All terms of the detector are fitted together with free beams, and their sum is
    looked at in bins of intensity: terms that the data cannot tell apart are held
    together by it.

    Args:
        model: The joint model.
        reference: Index of the reference.
    """
    joint, groups = model.model, model.groups
    terms = [name for name in joint.names if name in model.best.terms]
    added = [
        name
        for name in joint.names
        if name in DETECTOR and name != SATURATION and name not in terms
    ]
    names = [*terms, *added]
    detector = [name for name in names if name in DETECTOR]
    if not detector:
        return float("nan")
    columns = [*range(1, joint.n_sweeps), *map(joint.column, names)]
    fit = joint.fit(columns, joint.parameters(model.free_fit))
    covariance = fit.full_covariance(joint.n_columns)
    index = [joint.column(name) for name in detector]
    own = covariance[np.ix_(index, index)]
    values = np.array([fit.values[name] for name in detector])
    used = groups.used[reference]
    effects = np.array([model.effects.terms[name][reference] for name in detector])
    weight = np.where(used, groups.sums(model.effects.true), 0)
    n_bins = int(groups.intensity_bin.max()) + 1
    total = np.bincount(groups.intensity_bin, weight, n_bins)
    means = np.array(
        [np.bincount(groups.intensity_bin, weight * e, n_bins) for e in effects]
    )
    means = means[:, total > 0] / total[total > 0]
    departure = np.abs(values @ means)
    error = np.sqrt(np.einsum("ib,ij,jb->b", means, own, means))
    return float((departure + 1.96 * error).max())
