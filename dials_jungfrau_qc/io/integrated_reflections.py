"""Integrated reflections of sweeps, from one file or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.reflection_file import ReflectionFile
from dials_jungfrau_qc.io.sweep_experiments import SweepExperiment

# Bits of the flags column (dials/array_family/reflection_table.h)
_DONT_INTEGRATE = 1 << 7
_INTEGRATED_SUM, _INTEGRATED_PRF = 1 << 8, 1 << 9
_OVERLOADED = 1 << 10
_BAD_FOREGROUND = 1 << 14
# A reflection of which less was recorded counts as partial
FULL = 0.99

PROFILE, SUM = "profile", "sum"
_COLUMNS = {PROFILE: "intensity.prf", SUM: "intensity.sum"}
_FLAG = {PROFILE: _INTEGRATED_PRF, SUM: _INTEGRATED_SUM}


@dataclasses.dataclass(frozen=True)
class IntegratedSweep:
    """The usable integrated reflections of one sweep, and how many were not usable.

    Attributes:
        id: Number of the sweep among all, from 0.
        path: The file.
        kind: "profile" or "sum".
        experiment: Its experiment.
        rows: Rows of the file, shape (n,).
        miller_index: Shape (n, 3).
        entering: Bool, shape (n,).
        panel: Shape (n,).
        xyz: Predicted position, pixels and images, shape (n, 3).
        intensity: Photons, shape (n,).
        variance: Shape (n,).
        d: Angstrom, shape (n,).
        background: Photons a pixel, NaN where unknown, shape (n,).
        zeta: Lorentz factor of the rotation, shape (n,).
        correction: Factor for Lorentz, polarisation and detector efficiency, NaN where
            unknown, shape (n,); None if it was not asked for.
        n_reflections: Rows of the sweep in the file.
        n_rejected: Rows that were left out, by reason.
        observed: Observed positions of all reflections that have both kinds of
            intensity, shape (m, 3); of those the selection below.
        observed_intensity: Shape (m,).
        observed_variance: Shape (m,).
    """

    id: int
    path: Path
    kind: str
    experiment: SweepExperiment
    rows: np.ndarray
    miller_index: np.ndarray
    entering: np.ndarray
    panel: np.ndarray
    xyz: np.ndarray
    intensity: np.ndarray
    variance: np.ndarray
    d: np.ndarray
    background: np.ndarray
    zeta: np.ndarray
    correction: np.ndarray | None
    n_reflections: int
    n_rejected: dict[str, int]
    observed: np.ndarray
    observed_intensity: np.ndarray
    observed_variance: np.ndarray

    @property
    def angle(self) -> np.ndarray:
        """Rotation of each reflection, degrees."""
        return self.experiment.angle(self.xyz[:, 2])


def available_intensity(tables: Sequence[ReflectionFile], wanted: str) -> str:
    """Which intensities all tables have: the wanted ones, or else sums.

    Args:
        tables: The reflection tables.
        wanted: "profile" or "sum".

    Raises:
        InputError: A table has no integrated intensities at all.
    """
    for table in tables:
        names = table.column_names
        if "flags" not in names or "intensity.sum.value" not in names:
            raise InputError(
                f"{table.path}: there are no integrated intensities here: run "
                "dials.integrate first"
            )
        flags = table.read("flags")
        if not (flags & _INTEGRATED_SUM).any():
            raise InputError(
                f"{table.path}: none of the {table.n_rows} reflections is integrated: "
                "give integrated.refl"
            )
        if "intensity.prf.value" not in names or not (flags & _INTEGRATED_PRF).any():
            wanted = SUM
    return wanted


def read_integrated_sweeps(
    tables: Sequence[ReflectionFile],
    experiments: Sequence[Sequence[SweepExperiment]],
    kind: str,
    corrected: bool = False,
) -> list[IntegratedSweep]:
    """Read the integrated reflections of all experiments of all tables.

    Args:
        tables: The reflection tables.
        experiments: The experiments of each, by id.
        kind: "profile" or "sum".
        corrected: Read the factors for Lorentz, polarisation and efficiency as well.

    Raises:
        InputError: A column is missing or an experiment has no usable reflection.
    """
    sweeps: list[IntegratedSweep] = []
    for table, own in zip(tables, experiments):
        columns = _Columns(table, kind, corrected)
        for index, experiment in enumerate(own):
            sweeps.append(columns.sweep(index, len(sweeps), experiment))
    return sweeps


class _Columns:
    """The columns of a table for one of its experiments at a time."""

    def __init__(self, table: ReflectionFile, kind: str, corrected: bool):
        self._table = table
        self._kind = kind
        self._corrected = corrected
        self._ids = (
            table.read("id")
            if "id" in table.column_names
            else np.zeros(table.n_rows, dtype=np.int64)
        )
        # Reflections of a sweep lie together but where someone has sorted the file
        # otherwise: then every column is read once for all
        self._together = bool((np.diff(self._ids) >= 0).all())
        self._whole: dict[str, np.ndarray] = {}

    def _rows(self, index: int) -> slice | np.ndarray:
        if self._together:
            return slice(*np.searchsorted(self._ids, [index, index + 1]).tolist())
        return np.flatnonzero(self._ids == index)

    def _read(self, name: str, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            return self._table.read(name, rows.start, rows.stop)
        if name not in self._whole:
            self._whole[name] = self._table.read(name)
        return self._whole[name][rows]

    def _optional(self, name: str, rows: slice | np.ndarray) -> np.ndarray | None:
        return self._read(name, rows) if name in self._table.column_names else None

    def sweep(
        self, index: int, number: int, experiment: SweepExperiment
    ) -> IntegratedSweep:
        rows = self._rows(index)
        numbers = np.arange(self._table.n_rows)[rows]
        flags = self._read("flags", rows)
        value = self._read(f"{_COLUMNS[self._kind]}.value", rows)
        variance = self._read(f"{_COLUMNS[self._kind]}.variance", rows)
        xyz = self._read("xyzcal.px", rows)
        usable, rejected = self._usable(
            flags, value, variance, xyz, self._optional("partiality", rows)
        )
        if not usable.any():
            reasons = ", ".join(f"{n} {reason}" for reason, n in rejected.items() if n)
            raise InputError(
                f"{self._table.path}: experiment {index} has no usable reflection among "
                f"{len(usable)}" + (f" ({reasons})" if reasons else "")
            )
        both = flags & (_INTEGRATED_SUM | _INTEGRATED_PRF)
        if self._kind == PROFILE:
            both = both == _INTEGRATED_SUM | _INTEGRATED_PRF
        shown, taken = _index(both.astype(bool)), _index(usable)
        n = int(np.count_nonzero(usable))

        def optional(name: str) -> np.ndarray:
            column = self._optional(name, rows)
            return np.full(n, np.nan) if column is None else column[taken]

        miller_index = self._read("miller_index", rows)[taken]
        d = optional("d")
        unknown = ~(np.isfinite(d) & (d > 0))
        if unknown.any():
            reciprocal = miller_index[unknown] @ experiment.a_matrix.T
            d = d.copy()
            d[unknown] = 1 / np.maximum(np.linalg.norm(reciprocal, axis=1), 1e-6)
        panel = self._read("panel", rows)[taken].astype(np.int64)
        n_panels = len(experiment.panel_sizes)
        if not 0 <= panel.min() <= panel.max() < n_panels:
            raise InputError(
                f"{self._table.path}: experiment {index} has reflections on panel "
                f"{panel.max()}, and its detector has {n_panels}: give the .expt that was "
                "written with the reflections"
            )
        return IntegratedSweep(
            id=number,
            path=self._table.path,
            kind=self._kind,
            experiment=experiment,
            rows=numbers[taken],
            miller_index=miller_index,
            entering=self._read("entering", rows)[taken].astype(bool),
            panel=panel,
            xyz=xyz[taken],
            intensity=value[taken],
            variance=variance[taken],
            d=d,
            background=optional("background.mean"),
            zeta=optional("zeta"),
            correction=self._correction(rows, taken) if self._corrected else None,
            n_reflections=len(usable),
            n_rejected=rejected,
            observed=self._read("xyzobs.px.value", rows)[shown],
            observed_intensity=value[shown],
            observed_variance=variance[shown],
        )

    def _correction(
        self, rows: slice | np.ndarray, taken: slice | np.ndarray
    ) -> np.ndarray:
        """Factor for Lorentz, polarisation and detector efficiency; NaN if unknown."""
        lp = self._optional("lp", rows)
        if lp is None:
            return np.full(self._table.n_rows, np.nan)[rows][taken]
        # The name has changed between versions of DIALS
        for name in ("qe", "dqe"):
            efficiency = self._optional(name, rows)
            if efficiency is not None:
                lp = lp / np.where(efficiency > 0, efficiency, np.nan)
                break
        return lp[taken]

    def _usable(
        self,
        flags: np.ndarray,
        value: np.ndarray,
        variance: np.ndarray,
        xyz: np.ndarray,
        partiality: np.ndarray | None,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Rows that can be used; each of the others is counted under one reason."""
        tests = {
            "not integrated": flags & (_FLAG[self._kind] | _DONT_INTEGRATE)
            != _FLAG[self._kind],
            "overloaded": flags & _OVERLOADED != 0,
            "with untrusted pixels": flags & _BAD_FOREGROUND != 0,
            "not finite": ~np.isfinite(value + variance + xyz.sum(axis=1)),
            "with a variance of 0 or less": ~(variance > 0),
            "partial": (
                np.zeros(len(flags), dtype=bool)
                if partiality is None
                else ~(partiality >= FULL)
            ),
        }
        usable = np.ones(len(flags), dtype=bool)
        rejected = {}
        for reason, fails in tests.items():
            rejected[reason] = int(np.count_nonzero(usable & fails))
            usable &= ~fails
        return usable, rejected


def _index(chosen: np.ndarray) -> slice | np.ndarray:
    """Index of the chosen rows; a slice, which copies nothing, if that is all."""
    return slice(None) if chosen.all() else np.flatnonzero(chosen)
