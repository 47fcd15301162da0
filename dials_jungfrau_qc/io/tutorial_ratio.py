"""The mean of ratios as the script of the DIALS tutorial has it."""

from __future__ import annotations

import dataclasses

import numpy as np

from dials_jungfrau_qc.io.integrated_reflections import IntegratedSweep

# I/sigma from which the script takes reflections, on both sides
MINIMUM_SIGNIFICANCE = 3.0


@dataclasses.dataclass(frozen=True)
class TutorialPair:
    """Pairs of intensities by the selection of the tutorial.

    Attributes:
        x: Intensities of the reference, shape (n,).
        y: Of the other sweep, shape (n,).
        mean_of_ratios: Mean of y / x; NaN without pairs.
        error: Standard error of that mean.
    """

    x: np.ndarray
    y: np.ndarray
    mean_of_ratios: float
    error: float


def tutorial_pair(reference: IntegratedSweep, other: IntegratedSweep) -> TutorialPair:
    """Pair two sweeps with reflection_table.match, both at I/sigma > 3.

    Args:
        reference: The sweep to compare with.
        other: The sweep.
    """
    from dials.array_family import flex

    tables, intensities = [], []
    for sweep in (other, reference):
        variance = sweep.observed_variance
        with np.errstate(invalid="ignore", divide="ignore"):
            strong = sweep.observed_intensity / np.sqrt(variance) > MINIMUM_SIGNIFICANCE
        strong &= variance > 0
        table = flex.reflection_table()
        table["xyzobs.px.value"] = _vectors(sweep.observed[strong])
        tables.append(table)
        intensities.append(sweep.observed_intensity[strong])
    if not all(len(table) for table in tables):
        return pair_of(np.empty(0), np.empty(0))
    own, matched, _ = tables[0].match(tables[1])
    own, matched = (np.array(index, dtype=np.int64) for index in (own, matched))
    return pair_of(intensities[1][matched], intensities[0][own])


def pair_of(x: np.ndarray, y: np.ndarray) -> TutorialPair:
    """The mean of the ratios of pairs that are known already."""
    n = len(x)
    ratios = y / x
    return TutorialPair(
        x=x,
        y=y,
        mean_of_ratios=float(ratios.mean()) if n else float("nan"),
        error=float(ratios.std() / np.sqrt(n)) if n else float("nan"),
    )


def _vectors(xyz: np.ndarray):
    """A flex.vec3_double of an array of shape (n, 3)."""
    from scitbx.array_family import flex

    columns = [flex.double(np.ascontiguousarray(column)) for column in xyz.T]
    return flex.vec3_double(*columns)
