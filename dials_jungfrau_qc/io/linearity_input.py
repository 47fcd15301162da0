"""The sweeps of a transmission series from files, and which of them is the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiments import match_experiments
from dials_jungfrau_qc.io.integrated_reflections import (
    IntegratedSweep,
    available_intensity,
    read_integrated_sweeps,
)
from dials_jungfrau_qc.io.peak_pixels import read_peaks
from dials_jungfrau_qc.io.reflection_file import ReflectionFile
from dials_jungfrau_qc.io.sweep_experiments import read_sweep_experiments
from dials_jungfrau_qc.io.sweep_matching import MatchedSweeps


def read_sweeps(
    tables: Sequence[ReflectionFile],
    experiment_paths: Sequence[Path],
    wanted: str,
    corrected: bool,
) -> tuple[list[IntegratedSweep], str, list[str]]:
    """Read all sweeps of all files.

    Args:
        tables: The reflection tables.
        experiment_paths: The experiment lists.
        wanted: "profile" or "sum", the intensities to take if all tables have them.
        corrected: Read the factors for Lorentz, polarisation and efficiency as well.

    Returns:
        The sweeps, which intensities are taken, and what the user should know.

    Raises:
        InputError: There is one sweep alone, or files cannot be used.
    """
    experiments = match_experiments(
        tables, [(path, read_sweep_experiments(path)) for path in experiment_paths]
    )
    if sum(map(len, experiments)) < 2:
        raise InputError(
            "there is one sweep here, and linearity needs two at least: give the "
            "experiments and reflections of all transmissions"
        )
    kind = available_intensity(tables, wanted)
    warnings = []
    if kind != wanted:
        warnings.append(
            "there are no profile-fitted intensities, so summation intensities are used"
        )
    return read_integrated_sweeps(tables, experiments, kind, corrected), kind, warnings


def choose_reference(chosen: int | None, transmission: np.ndarray) -> int:
    """The sweep that the others are compared with.

    Args:
        chosen: By the user; None for the highest transmission.
        transmission: Of each sweep, shape (K,).

    Raises:
        InputError: There is no such sweep.
    """
    if chosen is None:
        return int(np.argmax(transmission))
    if chosen >= len(transmission):
        raise InputError(
            f"reference: there is no experiment {chosen}; there are {len(transmission)}, "
            "numbered from 0"
        )
    return chosen


def with_peaks(
    matched: MatchedSweeps, reference: IntegratedSweep, tables: Sequence[ReflectionFile]
) -> MatchedSweeps:
    """Add the brightest pixels, if the reference's file has shoeboxes.

    Args:
        matched: The series.
        reference: Its reference.
        tables: The reflection tables.

    Raises:
        InputError: The shoeboxes are damaged.
    """
    table = next(table for table in tables if table.path == reference.path)
    if "shoebox" not in table.column_names:
        return matched
    rows = matched.rows[reference.id]
    there = rows >= 0
    peaks = np.full(len(rows), np.nan)
    peaks[there] = read_peaks(table, reference.rows[rows[there]])
    if not np.isfinite(peaks).any():
        return matched
    series = dataclasses.replace(matched.series, peak=peaks)
    return dataclasses.replace(matched, series=series)
