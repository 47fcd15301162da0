"""The mean of ratios as the script of the DIALS tutorial has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.io.integrated_reflections import IntegratedSweep
from dials_jungfrau_qc.io.sweep_matching import MatchedSweeps

# I/sigma from which the script takes reflections, on both sides
MINIMUM_SIGNIFICANCE = 3.0
# Side of the boxes that reflections are sorted by, pixels
_BOX = 8.0


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


def pairs_of_sweeps(
    sweeps: Sequence[IntegratedSweep], matched: MatchedSweeps
) -> list[TutorialPair | None]:
    """The tutorial's pairs; of merged intensities where positions do not match.

    Args:
        sweeps: The sweeps.
        matched: How they were matched.

    Returns:
        Those of each sweep, None for the reference.
    """
    series, reference = matched.series, matched.series.reference
    others = [k for k in range(len(sweeps)) if k != reference]
    if series.same_place:
        found = tutorial_pairs(sweeps[reference], [sweeps[k] for k in others])
    else:
        significance = series.intensity / np.sqrt(series.variance)
        strong = significance > MINIMUM_SIGNIFICANCE
        found = [
            pair_of(series.intensity[reference, both], series.intensity[k, both])
            for k in others
            for both in (strong[k] & strong[reference],)
        ]
    pairs: list[TutorialPair | None] = [None] * len(sweeps)
    for k, pair in zip(others, found):
        pairs[k] = pair
    return pairs


def tutorial_pairs(
    reference: IntegratedSweep, others: Sequence[IntegratedSweep]
) -> list[TutorialPair]:
    """Pair sweeps with a reference by reflection_table.match, both at I/sigma > 3.

    What match finds for a reflection depends on no other of its table, so that all
    sweeps are matched in one call, which looks through the reference once.

    Args:
        reference: The sweep to compare with.
        others: The sweeps.
    """
    strong = [_strong(sweep) for sweep in (reference, *others)]
    sizes = [len(rows) for rows in strong]
    if not sizes[0] or not sum(sizes[1:]):
        return [pair_of(np.empty(0), np.empty(0)) for _ in others]
    own, matched = _match(
        np.concatenate([s.observed[rows] for s, rows in zip(others, strong[1:])]),
        reference.observed[strong[0]],
    )
    x = reference.observed_intensity[strong[0]]
    y = np.concatenate(
        [s.observed_intensity[rows] for s, rows in zip(others, strong[1:])]
    )
    ends = np.searchsorted(own, np.cumsum(sizes[1:])).tolist()
    return [
        pair_of(x[matched[begin:end]], y[own[begin:end]])
        for begin, end in zip([0, *ends], ends)
    ]


def _strong(sweep: IntegratedSweep) -> np.ndarray:
    """Rows of the observed reflections that the script takes."""
    variance = sweep.observed_variance
    with np.errstate(invalid="ignore", divide="ignore"):
        strong = sweep.observed_intensity / np.sqrt(variance) > MINIMUM_SIGNIFICANCE
    strong &= variance > 0
    return np.flatnonzero(strong & np.isfinite(sweep.observed.sum(axis=1)))


def _match(xyz: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that reflection_table.match pairs, by the row in the first table.

    Neighbours in space are made neighbours in memory first: the search takes half the
    time.
    """
    from dials.array_family import flex

    orders, tables = [], []
    for positions in (xyz, reference):
        order = np.argsort(_boxes(positions))
        table = flex.reflection_table()
        table["xyzobs.px.value"] = _vectors(positions[order])
        orders.append(order)
        tables.append(table)
    own, matched, _ = tables[0].match(tables[1])
    found = np.full(len(xyz), -1, dtype=np.int64)
    found[orders[0][own.as_numpy_array()]] = orders[1][matched.as_numpy_array()]
    rows = np.flatnonzero(found >= 0)
    return rows, found[rows]


def _boxes(xyz: np.ndarray) -> np.ndarray:
    """Numbers of the boxes of a few pixels and an image that positions lie in."""
    sides = np.array([_BOX, _BOX, 1.0])
    boxes = np.floor((xyz - xyz.min(axis=0)) / sides).astype(np.int64)
    _, n_slow, n_images = (boxes.max(axis=0) + 1).tolist()
    return (boxes[:, 0] * n_slow + boxes[:, 1]) * n_images + boxes[:, 2]


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
