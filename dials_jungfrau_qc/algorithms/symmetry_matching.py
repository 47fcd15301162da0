"""Match and merge reflections by symmetry, for sweeps in different orientations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Merged:
    """Symmetry mates of one sweep, merged.

    Attributes:
        key: Number of each unique reflection, ascending, shape (n,).
        intensity: Mean, shape (n,).
        variance: Of the mean, shape (n,).
        multiplicity: Shape (n,).
        first: One of the observations of each, shape (n,).
        label: Unique reflection of each observation, shape (m,).
    """

    key: np.ndarray
    intensity: np.ndarray
    variance: np.ndarray
    multiplicity: np.ndarray
    first: np.ndarray
    label: np.ndarray


def unique_keys(
    miller_index: np.ndarray, operators: np.ndarray, size: int
) -> np.ndarray:
    """A number for each reflection that all its symmetry mates share.

    Args:
        miller_index: Int, shape (n, 3).
        operators: Those of the Laue group on Miller indices (rows), shape (g, 3, 3).
        size: No index is larger than this.

    Returns:
        The largest of the mates' packed indices, shape (n,).
    """
    base = 2 * size + 1
    places = np.array([base * base, base, 1])
    best = np.full(len(miller_index), np.iinfo(np.int64).min)
    h, k, l = np.asarray(miller_index, dtype=np.int64).T
    for operator in operators:
        # The packed index is linear in the index, and so in that of the mate
        of_h, of_k, of_l = (operator @ places).tolist()
        np.maximum(best, h * of_h + k * of_k + l * of_l, out=best)
    return best + size * int(places.sum())


def merge(key: np.ndarray, intensity: np.ndarray, variance: np.ndarray) -> Merged:
    """Average the observations that share a key.

    Args:
        key: Shape (m,).
        intensity: Shape (m,).
        variance: Shape (m,).
    """
    unique, first, label, count = np.unique(
        key, return_index=True, return_inverse=True, return_counts=True
    )
    n = len(unique)
    return Merged(
        key=unique,
        intensity=np.bincount(label, intensity, n) / count,
        variance=np.bincount(label, variance, n) / count**2,
        multiplicity=count,
        first=first,
        label=label,
    )


def correlation(one: Merged, other: Merged) -> tuple[float, int]:
    """Correlation of the square roots of common intensities, and their number.

    Roots keep the few strongest reflections from deciding alone.
    """
    _, a, b = np.intersect1d(
        one.key, other.key, assume_unique=True, return_indices=True
    )
    if len(a) < 3:
        return float("nan"), len(a)
    x, y = (np.sqrt(np.maximum(i, 0)) for i in (one.intensity[a], other.intensity[b]))
    if not (x.std() > 0 and y.std() > 0):
        return float("nan"), len(a)
    return float(np.corrcoef(x, y)[0, 1]), len(a)


def distinct_reindexings(
    lattice: Sequence[np.ndarray], operators: np.ndarray
) -> list[np.ndarray]:
    """Ways to lay the lattice on itself that differ in the crystal's symmetry.

    Args:
        lattice: Operators of the lattice on Miller indices, the identity among them.
        operators: Those of the crystal's Laue group, shape (g, 3, 3).

    Returns:
        One operator of each coset, the identity first.
    """
    identity = np.eye(3, dtype=int)
    found, seen = [], set()
    for operator in [identity, *lattice]:
        coset = frozenset(
            (operator @ g).astype(int).tobytes() for g in np.asarray(operators)
        )
        if coset not in seen:
            seen.add(coset)
            found.append(np.asarray(operator, dtype=int))
    return found
