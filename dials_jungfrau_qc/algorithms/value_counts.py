"""Count how often each pixel value occurs, and describe the distribution.

Pixel values are whole photons nearly everywhere, so the distinct values are few
however many pixels there are: everything else follows from the counts of these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

# Whole numbers within this range are counted by index; others are sorted.
DENSE_RANGE = 1 << 20


@dataclasses.dataclass(frozen=True)
class ValueCounts:
    """How often each value occurs.

    Attributes:
        values: The distinct finite values in ascending order, shape (n,), float64.
        counts: How often each occurs, shape (n,), int64.
        n_not_finite: The number of values that are NaN or infinite.
    """

    values: np.ndarray
    counts: np.ndarray
    n_not_finite: int = 0

    @property
    def n_finite(self) -> int:
        """The number of finite values."""
        return int(self.counts.sum())


@dataclasses.dataclass(frozen=True)
class ValueStatistics:
    """Description of the finite values; NaN where there are none."""

    n: int
    n_zero: int
    mean: float
    median: float
    p99_9: float
    maximum: float


def count_values(values: np.ndarray) -> ValueCounts:
    """Count the distinct values of an array.

    Args:
        values: Shape (n,), any real type.
    """
    n_not_finite = 0
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            n_not_finite = int(values.size - np.count_nonzero(finite))
            values = values[finite]
    if not values.size:
        return ValueCounts(np.empty(0), np.empty(0, dtype=np.int64), n_not_finite)
    low, high = float(values.min()), float(values.max())
    if -DENSE_RANGE <= low and high <= DENSE_RANGE:
        whole = values.astype(np.int32)
        if values.dtype.kind != "f" or np.array_equal(whole, values):
            lowest = int(low)
            counts = np.bincount(whole - lowest if lowest else whole)
            present = np.flatnonzero(counts)
            return ValueCounts(
                (present + lowest).astype(np.float64), counts[present], n_not_finite
            )
    distinct, counts = np.unique(values, return_counts=True)
    return ValueCounts(
        distinct.astype(np.float64), counts.astype(np.int64), n_not_finite
    )


def count_values_by_group(
    values: np.ndarray, groups: np.ndarray
) -> dict[int, ValueCounts]:
    """Count the distinct values of each group.

    Args:
        values: Shape (n,).
        groups: The group of each value, whole numbers not below 0, shape (n,).

    Returns:
        The counts of each group that occurs.
    """
    if not values.size:
        return {}
    if groups[0] == groups[-1] and (groups == groups[0]).all():
        return {int(groups[0]): count_values(values)}
    sizes = np.bincount(groups)
    # Stable sorting of small integers is a radix sort in numpy
    kind = np.uint16 if len(sizes) <= 1 << 16 else np.int64
    values = values[np.argsort(groups.astype(kind), kind="stable")]
    ends = np.cumsum(sizes)
    return {
        int(g): count_values(values[ends[g] - sizes[g] : ends[g]])
        for g in np.flatnonzero(sizes)
    }


def merge_counts(parts: Iterable[ValueCounts]) -> ValueCounts:
    """Add up counts of several sets of values."""
    parts = list(parts)
    n_not_finite = sum(part.n_not_finite for part in parts)
    parts = [part for part in parts if len(part.values)]
    if len(parts) == 1:
        return dataclasses.replace(parts[0], n_not_finite=n_not_finite)
    if not parts:
        return ValueCounts(np.empty(0), np.empty(0, dtype=np.int64), n_not_finite)
    values, inverse = np.unique(
        np.concatenate([part.values for part in parts]), return_inverse=True
    )
    counts = np.zeros(len(values), dtype=np.int64)
    np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
    return ValueCounts(values, counts, n_not_finite)


def describe(counted: ValueCounts) -> ValueStatistics:
    """Mean, median, 99.9th percentile and maximum of the finite values.

    Percentiles are interpolated linearly between order statistics, as numpy does.
    """
    values, counts = counted.values, counted.counts
    n = counted.n_finite
    if not n:
        nan = float("nan")
        return ValueStatistics(0, 0, nan, nan, nan, nan)
    return ValueStatistics(
        n=n,
        n_zero=int(counts[values == 0].sum()),
        mean=float(np.dot(values, counts) / n),
        median=percentile(counted, 50),
        p99_9=percentile(counted, 99.9),
        maximum=float(values[-1]),
    )


def percentile(counted: ValueCounts, percent: float) -> float:
    """A percentile of the finite values, which must not be empty."""
    cumulative = np.cumsum(counted.counts)
    position = (int(cumulative[-1]) - 1) * percent / 100
    rank = int(position)
    ranks = [rank, min(rank + 1, int(cumulative[-1]) - 1)]
    below, above = counted.values[np.searchsorted(cumulative, ranks, side="right")]
    return float(below + (above - below) * (position - rank))
