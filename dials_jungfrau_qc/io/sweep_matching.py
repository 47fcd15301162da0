"""Bring the reflections of several sweeps together as one series."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.change_of_basis import ChangeOfBasis, change_of_basis
from dials_jungfrau_qc.algorithms.matching import Predictions, match_predictions
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries
from dials_jungfrau_qc.algorithms.symmetry_matching import (
    Merged,
    correlation,
    distinct_reindexings,
    merge,
    unique_keys,
)
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.integrated_reflections import PROFILE, IntegratedSweep
from dials_jungfrau_qc.io.sweep_experiments import SweepExperiment, cell_text

# Images by which the same reflection may be predicted apart
ANGLE_TOLERANCE = 2.0
# Rotation axes that are further apart than this are not the same, degrees
_AXIS_TOLERANCE = 1.0
# Degrees by which a lattice may deviate from a symmetry that it is tried with
_LATTICE_TOLERANCE = 2.0
# Correlations that differ by less do not decide between two ways of indexing
_CLEAR_CORRELATION = 0.05


@dataclasses.dataclass(frozen=True)
class MatchedSweeps:
    """A series and how it came together.

    Attributes:
        series: The intensities.
        rows: Row of each reflection among those of its sweep, -1 where it is absent,
            shape (K, n); of a merged reflection one of its observations.
        miller_index: In the setting of the reference, shape (n, 3).
        settings: How each sweep was brought to the setting of the reference, as text.
        reindexed: Whether that changed anything.
        n_duplicates: Shape (K,).
        n_displaced: Shape (K,).
        n_alone: Shape (K,).
        warnings: What the user should know.
    """

    series: SweepSeries
    rows: np.ndarray
    miller_index: np.ndarray
    settings: list[str]
    reindexed: list[bool]
    n_duplicates: np.ndarray
    n_displaced: np.ndarray
    n_alone: np.ndarray
    warnings: list[str]


def match_by_index(
    sweeps: Sequence[IntegratedSweep],
    reference: int,
    transmission: np.ndarray,
    dose_start: np.ndarray,
) -> MatchedSweeps:
    """Match sweeps of one crystal in one orientation, reflection by reflection.

    Args:
        sweeps: The sweeps.
        reference: Index of the reference.
        transmission: Of each sweep, shape (K,).
        dose_start: Dose before each, shape (K,).

    Raises:
        InputError: The orientations differ or nothing matches.
    """
    changes = [
        _change_of_basis(sweeps[reference], sweep, reference) for sweep in sweeps
    ]
    predictions = [
        Predictions(
            change.apply(sweep.miller_index),
            sweep.entering,
            sweep.angle,
            sweep.panel,
            sweep.xyz[:, :2],
        )
        for sweep, change in zip(sweeps, changes)
    ]
    width = abs(sweeps[reference].experiment.image_width)
    matches = match_predictions(predictions, reference, ANGLE_TOLERANCE * width)
    rows = matches.rows
    if not rows.size:
        raise InputError(
            "the sweeps have no common reflections"
            + (
                f" ({int(matches.n_displaced.sum())} of the same index lie more than 2 "
                "pixels apart)"
                if matches.n_displaced.any()
                else ""
            )
            + ". Do they cover the same rotation? For other orientations of the crystal "
            "give match=symmetry"
        )
    first = np.where(rows[reference] >= 0, reference, np.argmax(rows >= 0, axis=0))

    def of_first(values: Sequence[np.ndarray]) -> np.ndarray:
        """A property of the reference's own reflection, or else of another sweep's."""
        taken = np.empty((rows.shape[1], *values[0].shape[1:]), values[0].dtype)
        for k, column in enumerate(values):
            own = first == k
            taken[own] = column[rows[k, own]]
        return taken

    def of_all(values: Sequence[np.ndarray]) -> np.ndarray:
        table = np.full(rows.shape, np.nan)
        for k, column in enumerate(values):
            there = rows[k] >= 0
            table[k, there] = column[rows[k, there]]
        return table

    widths = [s.experiment.spot_widths(s.zeta, s.panel) for s in sweeps]
    miller_index = of_first([p.miller_index for p in predictions])
    operators, size = laue_operators(sweeps[reference].experiment), _largest(sweeps)
    keys = unique_keys(miller_index, operators, 3 * size)
    series = SweepSeries(
        intensity=of_all([s.intensity for s in sweeps]),
        variance=of_all([s.variance for s in sweeps]),
        transmission=transmission,
        reference=reference,
        dose_start=dose_start,
        d=of_first([s.d for s in sweeps]),
        position=np.clip(
            of_first(
                [
                    (s.xyz[:, 2] - s.experiment.first_image) / s.experiment.n_images
                    for s in sweeps
                ]
            ),
            0,
            1,
        ),
        unit=np.unique(keys, return_inverse=True)[1],
        sigma_pixels=of_first([w[0] for w in widths]),
        sigma_images=of_first([w[1] for w in widths]),
        background=of_all([s.background for s in sweeps]),
        panel=of_first([s.panel for s in sweeps]),
        profile_fitted=sweeps[reference].kind == PROFILE,
    )
    return MatchedSweeps(
        series=series,
        rows=rows,
        miller_index=miller_index,
        settings=[str(change) for change in changes],
        reindexed=[not change.is_identity for change in changes],
        n_duplicates=matches.n_duplicates,
        n_displaced=matches.n_displaced,
        n_alone=matches.n_alone,
        warnings=[],
    )


def _change_of_basis(
    reference: IntegratedSweep, other: IntegratedSweep, number: int
) -> ChangeOfBasis:
    one, two = reference.experiment, other.experiment
    cosine = float(one.axis @ two.axis)
    hint = (
        "For sweeps in different orientations give match=symmetry. The cells are "
        f"{cell_text(one)} and {cell_text(two)}"
    )
    if cosine < np.cos(np.radians(_AXIS_TOLERANCE)):
        raise InputError(
            f"experiments {number} and {other.id} rotate about different axes. {hint}"
        )
    try:
        return change_of_basis(one.a_matrix, two.a_matrix)
    except ValueError as e:
        raise InputError(
            f"experiments {number} and {other.id} are not the same crystal in the same "
            f"orientation: {e}. {hint}"
        ) from None


def laue_operators(experiment: SweepExperiment) -> np.ndarray:
    """Operators of the crystal's Laue group on Miller indices as rows, (g, 3, 3)."""
    group = experiment.crystal.get_space_group().build_derived_laue_group()
    return _rotations(group)


def _rotations(group) -> np.ndarray:
    operators = []
    for operator in group.all_ops(0):
        rotation = operator.r()
        matrix = np.array(rotation.num()).reshape(3, 3)
        if rotation.den() != 1:
            matrix = matrix // rotation.den()
        operators.append(matrix)
    return np.unique(np.array(operators, dtype=int), axis=0)


def _lattice_rotations(experiment: SweepExperiment) -> list[np.ndarray]:
    """Proper rotations that lay the lattice on itself, in the experiment's setting.

    Raises:
        InputError: The cell and the space group do not go together.
    """
    from cctbx import crystal, sgtbx

    try:
        symmetry = crystal.symmetry(
            unit_cell=experiment.crystal.get_unit_cell(),
            space_group=experiment.crystal.get_space_group(),
        )
        to_niggli = symmetry.change_of_basis_op_to_niggli_cell()
        cell = symmetry.change_basis(to_niggli).unit_cell()
    except (AssertionError, RuntimeError) as e:
        raise InputError(
            f"experiment {experiment.identifier or experiment.template}: the cell does not "
            f"go with the space group: {cell_text(experiment)}"
        ) from e
    group = sgtbx.lattice_symmetry.group(cell, max_delta=_LATTICE_TOLERANCE)
    group = group.change_basis(to_niggli.inverse())
    return [m for m in _rotations(group) if round(np.linalg.det(m)) == 1]


def _largest(sweeps: Sequence[IntegratedSweep]) -> int:
    return max(int(np.abs(sweep.miller_index).max()) for sweep in sweeps)


def match_by_symmetry(
    sweeps: Sequence[IntegratedSweep],
    reference: int,
    transmission: np.ndarray,
    dose_start: np.ndarray,
) -> MatchedSweeps:
    """Match sweeps in any orientation in the asymmetric unit.

    Intensities are corrected for Lorentz factor, polarisation and detector efficiency,
    symmetry mates (Friedel mates among them) are averaged, and an ambiguity of indexing
    is resolved by correlation with the reference.

    Args:
        sweeps: The sweeps.
        reference: Index of the reference.
        transmission: Of each sweep, shape (K,).
        dose_start: Dose before each, shape (K,).

    Raises:
        InputError: The symmetries differ, a correction is missing or nothing matches.
    """
    home = sweeps[reference].experiment
    warnings = [
        "match=symmetry compares reflections in different places: absorption, the shape of "
        "the crystal in the beam, the profile and the response of other pixels do not "
        "cancel, dose is that of the middle of each sweep, and the errors hold only as far "
        "as the scatter shows them"
    ]
    for sweep in sweeps:
        if sweep.experiment.space_group != home.space_group:
            raise InputError(
                f"experiments {reference} and {sweep.id} have different symmetry: "
                f"{cell_text(home)} and {cell_text(sweep.experiment)}. Run "
                "dials.reindex or dials.cosym first"
            )
        if sweep.correction is None or not np.isfinite(sweep.correction).all():
            raise InputError(
                f"{sweep.path}: match=symmetry needs the columns lp and qe, which "
                "dials.integrate writes"
            )
    operators, size = laue_operators(home), 3 * _largest(sweeps)
    # On the scale of photons, as the errors and the terms of the detector are
    typical = float(np.median(sweeps[reference].correction))
    ways = distinct_reindexings(_lattice_rotations(home), operators)
    merged: list[Merged] = []
    settings, reindexed = [], []
    for sweep in [sweeps[reference], *(s for s in sweeps if s.id != reference)]:
        factor = sweep.correction / typical
        intensity, variance = sweep.intensity * factor, sweep.variance * factor**2
        choices = [
            merge(
                unique_keys(sweep.miller_index @ way, operators, size),
                intensity,
                variance,
            )
            for way in (ways if sweep.id != reference else ways[:1])
        ]
        best = 0
        if len(choices) > 1:
            scores = [correlation(merged[0], choice)[0] for choice in choices]
            finite = np.nan_to_num(scores, nan=-1.0)
            best = int(np.argmax(finite))
            others = np.delete(finite, best)
            if finite[best] - others.max() < _CLEAR_CORRELATION:
                warnings.append(
                    f"experiment {sweep.id}: the correlations with the reference do not "
                    "decide how it is indexed ("
                    + ", ".join(f"{score:.3f}" for score in scores)
                    + ")"
                )
        merged.append(choices[best])
        settings.append(str(ChangeOfBasis(ways[best].T, 0.0)))
        reindexed.append(best != 0)
    # Back to the order of the sweeps
    place = [reference, *(s.id for s in sweeps if s.id != reference)]
    order = np.argsort(place)
    merged = [merged[i] for i in order]
    keys = np.unique(np.concatenate([m.key for m in merged]))
    count = sum(np.isin(keys, m.key).astype(int) for m in merged)
    common = keys[count > 1]
    if not len(common):
        raise InputError(
            "the sweeps have no common reflections in the asymmetric unit. The cells are "
            + "; ".join(cell_text(sweep.experiment) for sweep in sweeps)
        )
    return _merged_series(
        sweeps,
        merged,
        common,
        reference,
        transmission,
        dose_start,
        [settings[i] for i in order],
        [reindexed[i] for i in order],
        warnings,
    )


def _merged_series(
    sweeps: Sequence[IntegratedSweep],
    merged: Sequence[Merged],
    common: np.ndarray,
    reference: int,
    transmission: np.ndarray,
    dose_start: np.ndarray,
    settings: list[str],
    reindexed: list[bool],
    warnings: list[str],
) -> MatchedSweeps:
    """The series of merged reflections."""
    n_sweeps, n = len(sweeps), len(common)
    rows = np.full((n_sweeps, n), -1, dtype=np.int64)
    intensity, variance, background = (np.full((n_sweeps, n), np.nan) for _ in range(3))
    of_reference: dict[str, np.ndarray] = {}
    for k in [*(i for i in range(n_sweeps) if i != reference), reference]:
        sweep, own = sweeps[k], merged[k]
        _, there, taken = np.intersect1d(
            common, own.key, assume_unique=True, return_indices=True
        )
        rows[k, there] = own.first[taken]
        intensity[k, there] = own.intensity[taken]
        variance[k, there] = own.variance[taken]
        levels = np.bincount(own.label, sweep.background, len(own.key))
        background[k, there] = (levels / own.multiplicity)[taken]
        on_detector, across = sweep.experiment.spot_widths(sweep.zeta, sweep.panel)
        shared = {
            "miller_index": sweep.miller_index,
            "d": sweep.d,
            "sigma_pixels": on_detector,
            "sigma_images": across,
            "panel": sweep.panel,
        }
        for name, values in shared.items():
            column = of_reference.setdefault(
                name, np.zeros((n, *values.shape[1:]), values.dtype)
            )
            column[there] = values[own.first[taken]]
    series = SweepSeries(
        intensity=intensity,
        variance=variance,
        transmission=transmission,
        reference=reference,
        dose_start=dose_start,
        d=of_reference["d"],
        position=np.full(n, 0.5),
        unit=np.arange(n),
        sigma_pixels=of_reference["sigma_pixels"],
        sigma_images=of_reference["sigma_images"],
        background=background,
        panel=np.zeros(n, dtype=np.int64),
        same_place=False,
        profile_fitted=sweeps[reference].kind == PROFILE,
    )
    n_alone = np.array([int((~np.isin(m.key, common)).sum()) for m in merged])
    return MatchedSweeps(
        series=series,
        rows=rows,
        miller_index=of_reference["miller_index"],
        settings=settings,
        reindexed=reindexed,
        n_duplicates=np.zeros(n_sweeps, dtype=np.int64),
        n_displaced=np.zeros(n_sweeps, dtype=np.int64),
        n_alone=n_alone,
        warnings=warnings,
    )
