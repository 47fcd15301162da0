"""Ratios of sweeps in bins of what could explain that they are not all the same."""

from __future__ import annotations

import dataclasses

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_groups import quantile_bins
from dials_jungfrau_qc.algorithms.linearity_model import LinearityModel
from dials_jungfrau_qc.algorithms.linearity_terms import B_DECAY, UNIFORM
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries

_N_BINS = 20
_MINIMUM_IN_BIN = 30


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Ratios to the reference in bins of one quantity, over the fitted beams.

    Attributes:
        quantity: "intensity", "peak", "resolution", "position" or "panel".
        centre: Mean of the quantity in each bin, shape (b,).
        ratio: Ratio of sums over the ratio of the beams, shape (K, b); NaN for bins
            that a sweep has no part in, and for the reference.
        error: Standard deviation, shape (K, b).
        model: What the model expects of the same, shape (K, b).
        chi_squared: Of each sweep about a constant, shape (K,).
        chi_squared_model: Of each sweep about the model, shape (K,).
        degrees_of_freedom: Of the former, shape (K,); one more of the latter.
    """

    quantity: str
    centre: np.ndarray
    ratio: np.ndarray
    error: np.ndarray
    model: np.ndarray
    chi_squared: np.ndarray
    chi_squared_model: np.ndarray
    degrees_of_freedom: np.ndarray


def residuals(series: SweepSeries, model: LinearityModel) -> list[Residuals]:
    """Bin the ratios of all sweeps to the reference.

    Args:
        series: The sweeps.
        model: The joint model, whose intensities reflections are sorted by.
    """
    groups = model.groups
    rows = groups.rows
    peak = model.effects.peak * model.relative_beam[series.reference]
    peak = peak * series.transmission[series.reference]
    if series.peak is not None:
        peak = series.peak[rows]
    quantities = {
        "intensity": model.effects.true * series.transmission[series.reference],
        "peak": peak,
        "resolution": 1 / series.d[rows] ** 2,
        "position": series.position[rows],
    }
    observed = _observed(series, model)
    results = []
    n_bins = int(np.clip(len(rows) // _MINIMUM_IN_BIN, 1, _N_BINS))
    for name, values in quantities.items():
        known = np.isfinite(values)
        bins = np.zeros(len(rows), dtype=np.int64) - 1
        bins[known] = quantile_bins(values[known], n_bins)
        results.append(_in_bins(observed, model, name, values, bins, n_bins))
    panels, bins = np.unique(series.panel[rows], return_inverse=True)
    if len(panels) > 1:
        values = series.panel[rows].astype(float)
        results.append(_in_bins(observed, model, "panel", values, bins, len(panels)))
    return results


@dataclasses.dataclass(frozen=True)
class _Observed:
    """The reflections of the joint model, with what it expects of them, shapes (K, m)."""

    reference: int
    present: np.ndarray
    intensity: np.ndarray
    variance: np.ndarray
    expected: np.ndarray


def _observed(series: SweepSeries, model: LinearityModel) -> _Observed:
    groups = model.groups
    scale = groups.variance_scale[groups.intensity_bin[groups.label]]
    return _Observed(
        reference=series.reference,
        present=series.present[:, groups.rows],
        intensity=series.intensity[:, groups.rows],
        variance=series.variance[:, groups.rows] * scale,
        expected=_expected(series, model),
    )


def _expected(series: SweepSeries, model: LinearityModel) -> np.ndarray:
    """What the model expects of each reflection at the beam of 1, shape (K, m).

    Decay varies inside a group, for which the group has its mean alone.
    """
    groups, fit = model.groups, model.free_fit
    beam = series.transmission * np.exp(fit.log_beam)
    true = model.effects.true
    weight = groups.sums(true)
    expected = (fit.expected / beam[:, None] / weight)[:, groups.label] * true
    dose = series.dose()[:, groups.rows]
    damage = dose / (2 * series.d[groups.rows] ** 2)
    for name, values in ((UNIFORM, dose), (B_DECAY, damage)):
        rate = fit.values.get(name, 0.0)
        if rate:
            mean = groups.sums(values * true) / weight
            expected *= np.exp(rate * (mean[:, groups.label] - values))
    return expected


def _in_bins(
    observed: _Observed,
    model: LinearityModel,
    name: str,
    values: np.ndarray,
    bins: np.ndarray,
    n_bins: int,
) -> Residuals:
    n_sweeps, reference = len(observed.intensity), observed.reference
    shape = (n_sweeps, n_bins)
    ratio, error, foreseen_ratio = (np.full(shape, np.nan) for _ in range(3))
    chi_squared, chi_squared_model = np.full((2, n_sweeps), np.nan)
    freedom = np.zeros(n_sweeps, dtype=np.int64)
    inside = bins >= 0
    # Of the reference, where a sweep has all of it
    of_all: list[np.ndarray] | None = None
    for k in range(n_sweeps):
        both = observed.present[k] & observed.present[reference] & inside
        if k == reference or not both.any():
            continue
        which = slice(None) if both.all() else both
        own = bins[which]
        count = np.bincount(own, minlength=n_bins)

        def sums(sweep: int) -> list[np.ndarray]:
            return [
                np.bincount(own, table[sweep, which], n_bins)
                for table in (observed.intensity, observed.variance, observed.expected)
            ]

        y, vy, my = sums(k)
        if of_all is not None and both.all():
            x, vx, mx = of_all
        else:
            x, vx, mx = sums(reference)
            of_all = [x, vx, mx] if both.all() else of_all
        beam = model.relative_beam[k]
        good = (count >= min(_MINIMUM_IN_BIN, 5)) & (x > 0) & (mx > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = y / x / beam
            sigma = np.sqrt(vy + (beam * found) ** 2 * vx) / x / beam
            foreseen = my / mx
        ratio[k, good], error[k, good] = found[good], sigma[good]
        foreseen_ratio[k, good] = foreseen[good]
        weight = 1 / sigma[good] ** 2
        mean = (weight * found[good]).sum() / weight.sum() if good.any() else np.nan
        chi_squared[k] = (weight * (found[good] - mean) ** 2).sum()
        chi_squared_model[k] = (weight * (found[good] - foreseen[good]) ** 2).sum()
        freedom[k] = max(int(good.sum()) - 1, 0)
    count = np.bincount(bins[inside], minlength=n_bins)
    total = np.bincount(bins[inside], values[inside], n_bins)
    return Residuals(
        quantity=name,
        centre=total / np.maximum(count, 1),
        ratio=ratio,
        error=error,
        model=foreseen_ratio,
        chi_squared=chi_squared,
        chi_squared_model=chi_squared_model,
        degrees_of_freedom=freedom,
    )
