"""The joint model of beam, crystal, integration and detector for a series of sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_fit import (
    Candidate,
    Fit,
    JointModel,
    penalty,
    rank_candidates,
)
from dials_jungfrau_qc.algorithms.linearity_groups import (
    Groups,
    each_alone,
    group_reflections,
    with_scatter,
)
from dials_jungfrau_qc.algorithms.linearity_terms import (
    B_DECAY,
    COMPRESSION,
    DECAYS,
    LARGEST_ERROR,
    SATURATION,
    UNIFORM,
    UNITS,
    Effects,
    decay_factor,
    effects,
    width_uncertainty,
    within_reach,
)
from dials_jungfrau_qc.algorithms.spot_pixel_curves import (
    SpotCurves,
    SwitchModel,
    peak_shares,
)
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries

# Neither a crystal nor a detector is known to gain in these
POSITIVE = (UNIFORM, B_DECAY, COMPRESSION, SATURATION)
# Ceilings that are tried, as parts of the brightest pixel
_CEILINGS = (0.7, 0.4, 0.2, 0.1)
_MAX_ROUNDS = 6
_SATURATION_ROUNDS = 3
# Standard deviations to which the dim observations of a reflection agree, and how far
# sweeps differ by what the model of the detector does to one of them, relative
_ALIKE = 5.0
_SPREAD = 0.03
# Compression far above the brightest pixel is linear in it
_FAR = 10.0


@dataclasses.dataclass(frozen=True)
class Term:
    """One term of the model.

    Attributes:
        value: Its parameter, fitted with all beams free beside the supported terms; NaN
            where the data cannot show it.
        error: Standard deviation.
        supported: Whether the data ask for it.
        unit: Of the value.
    """

    value: float
    error: float
    supported: bool
    unit: str


@dataclasses.dataclass(frozen=True)
class LinearityModel:
    """What the joint model says of a series.

    Attributes:
        terms: Every term by name.
        relative_beam: Beam of each sweep relative to the reference, shape (K,).
        relative_beam_error: Shape (K,).
        over_nominal_covariance: Of the logarithms of the relative beams, shape (K, K).
        correlations: Correlation of every two parameters of the fit with all beams free,
            shape (p, p).
        correlated: Names of these parameters.
        best: The choice of parameters that the data support.
        rivals: All choices, best first.
        fit: With the parameters of the best choice.
        free_fit: With all beams free beside the supported terms.
        groups: The sums that were fitted.
        effects: The terms' effects on them.
        model: For further fits.
        penalty: What a parameter has to take off chi-squared.
        n_above_ceiling: Reflections left out because of saturation.
    """

    terms: dict[str, Term]
    relative_beam: np.ndarray
    relative_beam_error: np.ndarray
    over_nominal_covariance: np.ndarray
    correlations: np.ndarray
    correlated: tuple[str, ...]
    best: Candidate
    rivals: list[Candidate]
    fit: Fit
    free_fit: Fit
    groups: Groups
    effects: Effects
    model: JointModel
    penalty: float
    n_above_ceiling: int


def fit_joint_model(
    series: SweepSeries,
    relative_beam: np.ndarray,
    switch: SwitchModel,
    bright: np.ndarray | None = None,
) -> LinearityModel:
    """Find out which terms the data support, and their parameters.

    Args:
        series: The sweeps.
        relative_beam: Of each sweep, from ratios, shape (K,).
        switch: Where the detector switches gains.
        bright: Reflections that may be saturated, which are looked at for nothing but
            saturation, bool, shape (n,); None for none.

    Raises:
        ValueError: Too few reflections.
    """
    beam = relative_beam * series.transmission[series.reference]
    # What may be saturated tells nothing of anything else
    dim = np.ones(len(series.d), dtype=bool) if bright is None else ~bright
    if not dim.all():
        try:
            groups = group_reflections(series, beam, dim)
        except ValueError:
            dim[:] = True
    if dim.all():
        groups = group_reflections(series, beam)
    state = _search(series, groups, _curves(series, groups), beam, switch)
    n_above = 0
    if SATURATION in state.best.terms:
        low = state.found.peak < state.found.ceiling / 2
        below = np.zeros(len(series.d), dtype=bool)
        below[groups.rows[low]] = True
        try:
            rest = group_reflections(series, beam, below)
        except ValueError:
            return _result(series, state, n_above)
        n_above = int(len(groups.rows) - np.count_nonzero(low))
        curves = _curves(series, rest)
        inner = _search(series, rest, curves, beam, switch, (SATURATION,))
        return _result(series, inner, n_above, state)
    if not dim.all() and COMPRESSION not in state.best.terms:
        saturated = _saturation(series, state, switch, ~dim)
        if saturated is not None:
            return _result(series, state, int(np.count_nonzero(~dim)), saturated)
    return _result(series, state, n_above)


def _curves(series: SweepSeries, groups: Groups) -> SpotCurves:
    return SpotCurves(
        series.sigma_pixels[groups.rows], series.sigma_images[groups.rows]
    )


def _saturation(
    series: SweepSeries, state: _State, switch: SwitchModel, bright: np.ndarray
) -> _State | None:
    """Look for saturation with the bright reflections, beside what the dim ones ask for.

    One reflection alone is an accident: chi-squared has to fall without the one that it
    falls most for.

    Args:
        series: The sweeps.
        state: The end of the search with reflections far from the ceiling.
        switch: Of the detector.
        bright: Reflections that may be near the ceiling, bool, shape (n,).

    Returns:
        The state with saturation; None if the data do not ask for it.
    """
    beam = series.transmission * np.exp(state.fit.log_beam)
    bright = bright & _alike_while_dim(series, beam, switch.ceiling / 2)
    # As much more scatter as the brightest of the dim ones have
    groups = each_alone(series, beam, bright, state.groups.variance_scale[-1])
    if groups is None:
        return None
    curves = _curves(series, groups)
    peak = groups.pooled * curves.per_reflection(lambda spot: spot.peak)
    brightest = float(peak.max() * series.transmission.max())
    names = [*(n for n in state.best.terms if n != SATURATION), SATURATION]
    start = np.concatenate(
        [state.fit.log_beam, [state.fit.values[n] for n in names[:-1]], [0.0]]
    )
    response = np.ones(groups.total.shape)
    ceilings = [switch.ceiling, *(part * brightest for part in _CEILINGS)]
    constant = state.found.compression_constant
    for _ in range(_SATURATION_ROUNDS):
        best_gain = 0.0
        for found in effects(
            series, groups, curves, beam, switch, response, constant, ceilings
        ):
            model = JointModel(groups, found.terms, names, series.transmission)
            # All else is known from reflections that are not saturated
            fit = model.fit([model.column(SATURATION)], held=start)
            gains = model.departures(model.fit([], held=start)) - model.departures(fit)
            gain = float(gains.sum() - gains.max())
            if fit.values[SATURATION] > 0 and gain > best_gain:
                best_gain, best = gain, (found, model, fit)
        if not best_gain:
            return None
        found, model, fit = best
        response, ceilings = fit.response, [found.ceiling]
    if best_gain <= penalty(groups.n_observations):
        return None
    ranked = [
        dataclasses.replace(candidate, terms=(*candidate.terms, SATURATION))
        for candidate in state.ranked
    ]
    return _State(groups, found, model, ranked[0], ranked, fit)


def _alike_while_dim(series: SweepSeries, beam: np.ndarray, limit: float) -> np.ndarray:
    """Reflections that the sweeps in which they are dim agree on.

    What departs from the others in these has another cause than saturation.

    Args:
        series: The sweeps.
        beam: Relative beam of each, shape (K,).
        limit: Photons in the brightest pixel up to which a reflection is dim.

    Returns:
        Bool, shape (n,); True where no more than one sweep is dim.
    """
    share = peak_shares(series.sigma_pixels, series.sigma_images)
    scaled = series.intensity / beam[:, None]
    dim = series.present & (np.nan_to_num(series.intensity) * share < limit)
    error = np.hypot(np.sqrt(series.variance) / beam[:, None], _SPREAD * scaled)
    weight = np.where(dim, 1 / np.where(dim, error, 1) ** 2, 0)
    mean = (weight * np.where(dim, scaled, 0)).sum(axis=0)
    mean /= np.maximum(weight.sum(axis=0), 1e-300)
    return (~dim | (np.abs(scaled - mean) < _ALIKE * error)).all(axis=0)


@dataclasses.dataclass
class _State:
    """Where the search for the supported terms has arrived."""

    groups: Groups
    found: Effects
    model: JointModel
    best: Candidate
    ranked: list[Candidate]
    fit: Fit


def _search(
    series: SweepSeries,
    groups: Groups,
    curves: SpotCurves,
    beam: np.ndarray,
    switch: SwitchModel,
    without: Sequence[str] = (),
) -> _State:
    """Choose terms, correct the intensities for them, and choose again."""
    response = np.ones(groups.total.shape)
    peak = groups.pooled * curves.per_reflection(lambda spot: spot.peak)
    brightest = float(peak.max() * series.transmission.max())
    constant, ceiling = _FAR * brightest, 0.0
    seen: list[tuple] = []
    values: dict[str, float] = {}
    for _ in range(_MAX_ROUNDS):
        choices = [ceiling] if ceiling else [part * brightest for part in _CEILINGS]
        state = None
        for found in effects(
            series, groups, curves, beam, switch, response, constant, choices
        ):
            found = width_uncertainty(series, groups, found, beam, switch, values)
            model, start = _reachable_model(series, groups, found, beam, without)
            ranked = rank_candidates(model, start, POSITIVE, (COMPRESSION, SATURATION))
            if state is None or ranked[0].score < state.best.score:
                fit = model.fit(_columns(model, ranked[0]), start)
                state = _State(groups, found, model, ranked[0], ranked, fit)
        # Linearised once more about the fit itself
        ranked = rank_candidates(
            state.model,
            state.model.parameters(state.fit),
            POSITIVE,
            (COMPRESSION, SATURATION),
        )
        best = ranked[0]
        fit = state.model.fit(
            _columns(state.model, best), state.model.parameters(state.fit)
        )
        state = dataclasses.replace(state, best=best, ranked=ranked, fit=fit)
        key = (best.terms, best.sweeps)
        compression = fit.values.get(COMPRESSION, 0.0)
        settled = (
            not best.terms
            or key in seen
            and (
                COMPRESSION not in best.terms or abs(compression * constant - 1) < 0.02
            )
        )
        if settled:
            break
        seen.append(key)
        response, values = fit.response, fit.values
        if any(name in DECAYS for name in best.terms):
            # What decays unlike inside a group is no error of its reflections
            groups = with_scatter(series, groups, decay_factor(series, groups, values))
        beam = series.transmission * np.exp(fit.log_beam)
        ceiling = state.found.ceiling
        if COMPRESSION in best.terms and compression > 0:
            constant = 1 / compression
        else:
            constant = _FAR * brightest
    return state


def _reachable_model(
    series: SweepSeries,
    groups: Groups,
    found: Effects,
    beam: np.ndarray,
    without: Sequence[str],
) -> tuple[JointModel, np.ndarray]:
    """The model of the terms that the data can show, and where its fit begins.

    Uniform decay stays in whatever it costs: without a drift to show it, it is the same
    as beams that are off, and has to be named beside them.
    """
    names = [n for n in within_reach(found, groups) if n not in without]
    model = JointModel(
        groups, found.terms, names, series.transmission, found.uncertainty
    )
    start = np.zeros(model.n_columns)
    start[: model.n_sweeps] = np.log(beam / series.transmission)
    errors = model.own_errors(start)
    shown = [n for n in names if n == UNIFORM or errors[n] < LARGEST_ERROR[n]]
    if shown != names:
        model = JointModel(
            groups, found.terms, shown, series.transmission, found.uncertainty
        )
        start = np.append(
            start[: model.n_sweeps], np.zeros(model.n_columns - model.n_sweeps)
        )
    return model, start


def _columns(model: JointModel, candidate: Candidate) -> list[int]:
    return [*candidate.sweeps, *(model.column(name) for name in candidate.terms)]


def _result(
    series: SweepSeries, state: _State, n_above: int, outer: _State | None = None
) -> LinearityModel:
    """Final numbers.

    Args:
        series: The sweeps.
        state: The end of the search.
        n_above: Reflections that were left out because of saturation.
        outer: The end of the search with them, if they were left out.
    """
    model, best = state.model, state.best
    supported = list(best.terms)
    beams = list(range(1, model.n_sweeps))
    start = model.parameters(state.fit)
    own_errors = model.own_errors(start)
    beside = [n for n in supported if own_errors[n] < LARGEST_ERROR[n]]
    free_fit = model.fit([*beams, *map(model.column, beside)], start)
    terms = {}
    for name, unit in UNITS.items():
        if name == SATURATION and outer is not None:
            column = outer.model.column(name)
            terms[name] = Term(
                outer.fit.values[name], outer.fit.column_error(column), True, unit
            )
            continue
        if name not in model.names:
            terms[name] = Term(float("nan"), float("nan"), False, unit)
            continue
        fit = free_fit
        if name not in supported:
            columns = [*beams, *map(model.column, [*beside, name])]
            fit = model.fit(columns, model.parameters(free_fit))
        error = fit.column_error(model.column(name))
        # Beside free beams it may be undetermined, as uniform decay without a drift
        known = own_errors[name] < LARGEST_ERROR[name]
        terms[name] = Term(
            fit.values[name] if known else float("nan"),
            error if known else float("nan"),
            name in supported,
            unit,
        )
    difference = np.eye(model.n_sweeps)
    difference[:, series.reference] -= 1
    covariance = free_fit.full_covariance(model.n_columns)
    own = covariance[: model.n_sweeps, : model.n_sweeps]
    relative = difference @ own @ difference.T
    log_ratio = np.log(series.transmission / series.transmission[series.reference])
    log_ratio += difference @ free_fit.log_beam
    # Beams as logarithms relative to the reference, then the terms
    to_reported = np.eye(model.n_columns)
    to_reported[: model.n_sweeps, : model.n_sweeps] = difference
    shown = [k for k in range(model.n_sweeps) if k != series.reference]
    shown += [model.column(name) for name in beside]
    reported = (to_reported @ covariance @ to_reported.T)[np.ix_(shown, shown)]
    sigma = np.sqrt(np.maximum(np.diag(reported), 1e-300))
    ranked = state.ranked
    if outer is not None:
        # Whether there is saturation was decided with all the reflections
        best = dataclasses.replace(best, terms=(*best.terms, SATURATION))
        ranked = outer.ranked
    return LinearityModel(
        terms=terms,
        relative_beam=np.exp(log_ratio),
        relative_beam_error=np.exp(log_ratio) * np.sqrt(np.diag(relative)),
        over_nominal_covariance=relative,
        correlations=reported / sigma[:, None] / sigma,
        correlated=(
            *(f"beam {k}" for k in shown if k < model.n_sweeps),
            *beside,
        ),
        best=best,
        rivals=ranked,
        fit=state.fit,
        free_fit=free_fit,
        groups=state.groups,
        effects=state.found,
        model=model,
        penalty=penalty(state.groups.n_observations),
        n_above_ceiling=n_above,
    )
