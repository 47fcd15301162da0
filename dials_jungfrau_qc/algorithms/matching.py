"""Find the same reflections in several sweeps of one crystal in one orientation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

# Angles are sorted as whole numbers of this many bits
_ANGLE_BITS = 24


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Where and when the reflections of one sweep were predicted.

    Attributes:
        miller_index: In the setting of the reference, int, shape (n, 3).
        entering: Whether they enter the Ewald sphere, bool, shape (n,).
        angle: Rotation, degrees; goes on past 360, shape (n,).
        panel: Shape (n,).
        xy: Fast and slow position, pixels, shape (n, 2).
    """

    miller_index: np.ndarray
    entering: np.ndarray
    angle: np.ndarray
    panel: np.ndarray
    xy: np.ndarray

    def __len__(self) -> int:
        return len(self.angle)


@dataclasses.dataclass(frozen=True)
class Matches:
    """Reflections that two sweeps or more have.

    Attributes:
        rows: Row of each in its sweep, -1 where it is absent, shape (K, n).
        n_duplicates: Rows of each sweep that share index, flag and angle with another
            of the same sweep, so that none can be taken, shape (K,).
        n_displaced: Rows left out because they lie on another panel or too far from
            the same reflection of the reference, shape (K,).
        n_alone: Rows without a partner in any other sweep, shape (K,).
    """

    rows: np.ndarray
    n_duplicates: np.ndarray
    n_displaced: np.ndarray
    n_alone: np.ndarray


def match_predictions(
    sweeps: Sequence[Predictions],
    reference: int,
    angle_tolerance: float,
    distance_tolerance: float = 2.0,
) -> Matches:
    """Match reflections by Miller index, entering flag and rotation, one to one.

    All rows are sorted once by index, flag and angle; neighbours that agree and whose
    angles differ by no more than the tolerance are one reflection. A scan past 360
    degrees therefore keeps its turns apart.

    Args:
        sweeps: The predictions of each sweep.
        reference: The sweep whose positions the others are compared with.
        angle_tolerance: Degrees.
        distance_tolerance: Pixels.

    Raises:
        ValueError: There are no reflections at all.
    """
    n_sweeps = len(sweeps)
    sizes = np.array([len(sweep) for sweep in sweeps])
    if not sizes.all():
        raise ValueError("a sweep has no reflections")
    largest = max(_largest(s.miller_index) for s in sweeps)
    key = np.concatenate(
        [reflection_keys(s.miller_index, s.entering, largest) for s in sweeps]
    )
    angle = np.concatenate([s.angle for s in sweeps])
    order = np.argsort(_with_angle(key, angle))
    key, angle = key[order], angle[order]
    starts = np.ones(len(key), dtype=bool)
    starts[1:] = (key[1:] != key[:-1]) | (np.diff(angle) > angle_tolerance)
    cluster = np.cumsum(starts) - 1
    del key, angle
    sweep = np.repeat(np.arange(n_sweeps, dtype=np.int32), sizes)[order]
    row = order - (np.cumsum(sizes) - sizes)[sweep]

    n_clusters = int(cluster[-1]) + 1
    cell = cluster * n_sweeps + sweep
    count = np.bincount(cell, minlength=n_clusters * n_sweeps)
    single = count[cell] == 1
    n_duplicates = np.bincount(sweep[~single], minlength=n_sweeps)
    rows = np.full(n_clusters * n_sweeps, -1, dtype=np.int64)
    rows[cell[single]] = row[single]
    rows = rows.reshape(n_clusters, n_sweeps).T

    n_partners = (rows >= 0).sum(axis=0)
    lonely = n_partners == 1
    n_alone = (rows[:, lonely] >= 0).sum(axis=1)
    rows = rows[:, n_partners > 1]
    n_displaced = _drop_displaced(rows, sweeps, reference, distance_tolerance)
    rows = rows[:, (rows >= 0).sum(axis=0) > 1]
    return Matches(np.ascontiguousarray(rows), n_duplicates, n_displaced, n_alone)


def reflection_keys(
    miller_index: np.ndarray, entering: np.ndarray, largest: int
) -> np.ndarray:
    """One whole number for each Miller index and entering flag.

    Args:
        miller_index: Int, shape (n, 3).
        entering: Bool, shape (n,).
        largest: No index is larger than this.

    Returns:
        Int64, shape (n,).

    Raises:
        ValueError: The indices are too large for this.
    """
    bits = largest.bit_length() + 1
    if 3 * bits + 1 + _ANGLE_BITS > 63:
        raise ValueError(f"Miller indices of {largest} are too large")
    key = np.zeros(len(miller_index), dtype=np.int64)
    for column in miller_index.T:
        key <<= bits
        key += column
        key += largest
    key <<= 1
    key += entering
    return key


def _largest(miller_index: np.ndarray) -> int:
    return max(int(miller_index.max(initial=0)), -int(miller_index.min(initial=0)))


def _with_angle(key: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Numbers that sort by key, then by angle."""
    low = float(angle.min())
    step = max(float(angle.max()) - low, 1e-6) / ((1 << _ANGLE_BITS) - 1)
    return (key << _ANGLE_BITS) | np.round((angle - low) / step).astype(np.int64)


def _drop_displaced(
    rows: np.ndarray, sweeps: Sequence[Predictions], reference: int, tolerance: float
) -> np.ndarray:
    """Take out what is not where the reference, or else the first sweep, has it.

    Args:
        rows: Changed in place, shape (K, n).
        sweeps: The predictions of each sweep.
        reference: Index of the reference.
        tolerance: Pixels.

    Returns:
        How many were taken out of each sweep, shape (K,).
    """
    n_sweeps, n = rows.shape
    first = np.where(rows[reference] >= 0, reference, np.argmax(rows >= 0, axis=0))
    panel, xy = np.empty(n, dtype=np.int64), np.empty((n, 2))
    for k, sweep in enumerate(sweeps):
        own = np.flatnonzero(first == k)
        panel[own] = sweep.panel[rows[k, own]]
        xy[own] = sweep.xy[rows[k, own]]
    n_displaced = np.zeros(n_sweeps, dtype=np.int64)
    for k, sweep in enumerate(sweeps):
        own = np.flatnonzero((rows[k] >= 0) & (first != k))
        taken = rows[k, own]
        distance = np.hypot(*(sweep.xy[taken] - xy[own]).T)
        wrong = (sweep.panel[taken] != panel[own]) | ~(distance <= tolerance)
        rows[k, own[wrong]] = -1
        n_displaced[k] = int(np.count_nonzero(wrong))
    return n_displaced
