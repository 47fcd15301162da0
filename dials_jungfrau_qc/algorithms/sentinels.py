"""Values that cannot be photons, left in the data to mark gaps and invalid readings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Markers in use: gaps -2^31 and chip edges -1 (morgul), +32767, -32768 and 32678 (jungfraujoch and
# its test data), 0x8000 and 0xffff in 16-bit files, and the ends of the wider integers.
KNOWN = (
    -(2**31),
    -(2**31) + 1,
    -32768,
    -2,
    -1,
    32678,
    2**15 - 1,
    2**15,
    2**16 - 2,
    2**16 - 1,
    2**31 - 1,
    2**32 - 2,
    2**32 - 1,
)
# A spike holds at least this many pixels, and this many times what its neighbours make likely.
LEAST_COUNT = 3
LEAST_RATIO = 10.0
# Neighbours: this share of the value to both sides, and at least this many values.
NEIGHBOUR_SHARE = 0.01
NEIGHBOUR_VALUES = 5


@dataclass(frozen=True)
class Sentinels:
    """Values that were recognised as markers.

    Attributes:
        values: The markers found, ascending.
        counts: Pixels that hold each.
        n_negative: Pixels below zero that hold none of them.
    """

    values: tuple[int, ...]
    counts: tuple[int, ...]
    n_negative: int

    @property
    def n_pixels(self) -> int:
        """Pixels that hold a marker."""
        return sum(self.counts)

    def keep(self, values: np.ndarray) -> np.ndarray:
        """True for values that are no marker and not negative."""
        values = np.asarray(values)
        return ~np.isin(values, np.asarray(self.values, dtype=np.int64)) & (values >= 0)


def find_sentinels(values: np.ndarray, counts: np.ndarray) -> Sentinels:
    """Recognise markers in a histogram of distinct values.

    A marker is one of the numbers in use as such, and stands out of its neighbours: photons
    are spread over many values, markers have one.

    Args:
        values: Distinct pixel values, ascending, as from numpy.unique.
        counts: Pixels that hold each.

    Raises:
        ValueError: If the arrays differ in shape, or the values do not ascend.
    """
    values, counts = np.asarray(values), np.asarray(counts)
    if values.shape != counts.shape or values.ndim != 1:
        raise ValueError("values and counts must be one-dimensional and of one length")
    if np.any(np.diff(values) <= 0):
        raise ValueError("the values must ascend")
    found = [v for v in KNOWN if _stands_out(values, counts, v)]
    index = np.searchsorted(values, found)
    negative = (values < 0) & ~np.isin(values, found)
    return Sentinels(
        values=tuple(int(v) for v in found),
        counts=tuple(int(c) for c in counts[index]) if found else (),
        n_negative=int(counts[negative].sum()),
    )


def _stands_out(values: np.ndarray, counts: np.ndarray, value: int) -> bool:
    index = int(np.searchsorted(values, value))
    if index == values.size or values[index] != value or counts[index] < LEAST_COUNT:
        return False
    reach = max(NEIGHBOUR_VALUES, int(NEIGHBOUR_SHARE * abs(value)))
    near = (np.abs(values - float(value)) <= reach) & (values != value)
    if abs(value) > NEIGHBOUR_VALUES:
        level = counts[near & ~np.isin(values, KNOWN)].sum() / reach
    else:
        # Readings below zero fall away from zero: what is above says nothing.
        level = counts[near & (values < value)].max(initial=0)
    return bool(counts[index] > LEAST_RATIO * max(level, 0.1))
