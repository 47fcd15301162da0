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
            unknown, shape (n,).
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
    correction: np.ndarray
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
) -> list[IntegratedSweep]:
    """Read the integrated reflections of all experiments of all tables.

    Args:
        tables: The reflection tables.
        experiments: The experiments of each, by id.
        kind: "profile" or "sum".

    Raises:
        InputError: A column is missing or an experiment has no usable reflection.
    """
    sweeps: list[IntegratedSweep] = []
    for table, own in zip(tables, experiments):
        columns = _Columns(table, kind)
        for index, experiment in enumerate(own):
            sweeps.append(columns.sweep(index, len(sweeps), experiment))
    return sweeps


class _Columns:
    """The columns of a table that are needed, read once for all its experiments."""

    def __init__(self, table: ReflectionFile, kind: str):
        self._table = table
        self._kind = kind
        self._ids = (
            table.read("id")
            if "id" in table.column_names
            else np.zeros(table.n_rows, dtype=np.int64)
        )
        self._flags = table.read("flags")
        self._value = table.read(f"{_COLUMNS[kind]}.value")
        self._variance = table.read(f"{_COLUMNS[kind]}.variance")
        names = ("miller_index", "entering", "panel", "xyzcal.px", "xyzobs.px.value")
        self._geometry = {name: table.read(name) for name in names}
        self._optional = {
            name: table.read(name) if name in table.column_names else None
            for name in (
                "partiality",
                "d",
                "background.mean",
                "zeta",
                "lp",
                "qe",
                "dqe",
            )
        }

    def sweep(
        self, index: int, number: int, experiment: SweepExperiment
    ) -> IntegratedSweep:
        rows = np.flatnonzero(self._ids == index)
        usable, rejected = self._usable(rows)
        both = self._flags[rows] & (_INTEGRATED_SUM | _INTEGRATED_PRF)
        if self._kind == PROFILE:
            both = both == _INTEGRATED_SUM | _INTEGRATED_PRF
        shown = rows[both.astype(bool)]
        n_rows, rows = len(rows), rows[usable]
        if not len(rows):
            reasons = ", ".join(f"{n} {reason}" for reason, n in rejected.items() if n)
            raise InputError(
                f"{self._table.path}: experiment {index} has no usable reflection among "
                f"{n_rows}" + (f" ({reasons})" if reasons else "")
            )
        geometry = {name: column[rows] for name, column in self._geometry.items()}
        correction = np.full(len(rows), np.nan)
        if self._optional["lp"] is not None:
            correction = self._optional["lp"][rows].copy()
            # The name has changed between versions of DIALS
            for name in ("qe", "dqe"):
                if self._optional[name] is not None:
                    efficiency = self._optional[name][rows]
                    correction /= np.where(efficiency > 0, efficiency, np.nan)
                    break
        miller_index = geometry["miller_index"].astype(np.int64)
        return IntegratedSweep(
            id=number,
            path=self._table.path,
            kind=self._kind,
            experiment=experiment,
            rows=rows,
            miller_index=miller_index,
            entering=geometry["entering"].astype(bool),
            panel=geometry["panel"].astype(np.int64),
            xyz=geometry["xyzcal.px"],
            intensity=self._value[rows],
            variance=self._variance[rows],
            d=self._resolution(rows, miller_index, experiment),
            background=self._column("background.mean", rows),
            zeta=self._column("zeta", rows),
            correction=correction,
            n_reflections=n_rows,
            n_rejected=rejected,
            observed=self._geometry["xyzobs.px.value"][shown],
            observed_intensity=self._value[shown],
            observed_variance=self._variance[shown],
        )

    def _usable(self, rows: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """Rows that can be used; each of the others is counted under one reason."""
        flags = self._flags[rows]
        value, variance = self._value[rows], self._variance[rows]
        partiality = self._optional["partiality"]
        tests = {
            "not integrated": flags & (_FLAG[self._kind] | _DONT_INTEGRATE)
            != _FLAG[self._kind],
            "overloaded": flags & _OVERLOADED != 0,
            "with untrusted pixels": flags & _BAD_FOREGROUND != 0,
            "not finite": ~(np.isfinite(value) & np.isfinite(variance)),
            "with a variance of 0 or less": ~(variance > 0),
            "partial": (
                np.zeros(len(rows), dtype=bool)
                if partiality is None
                else ~(partiality[rows] >= FULL)
            ),
        }
        usable = np.ones(len(rows), dtype=bool)
        rejected = {}
        for reason, fails in tests.items():
            rejected[reason] = int(np.count_nonzero(usable & fails))
            usable &= ~fails
        return usable, rejected

    def _column(self, name: str, rows: np.ndarray) -> np.ndarray:
        column = self._optional[name]
        return np.full(len(rows), np.nan) if column is None else column[rows]

    def _resolution(
        self, rows: np.ndarray, miller_index: np.ndarray, experiment: SweepExperiment
    ) -> np.ndarray:
        if self._optional["d"] is not None:
            return self._optional["d"][rows]
        return 1 / np.linalg.norm(miller_index @ experiment.a_matrix.T, axis=1)
