"""The brightest pixel of reflections, from their shoeboxes."""

from __future__ import annotations

import numpy as np

from dials_jungfrau_qc.io.reflection_file import ReflectionFile

_FOREGROUND = 4


def read_peaks(table: ReflectionFile, rows: np.ndarray) -> np.ndarray:
    """Highest foreground pixel of each reflection.

    Args:
        table: A table with shoeboxes.
        rows: Rows of the reflections, in any order, shape (n,).

    Returns:
        Counts, NaN for reflections without foreground pixels, shape (n,).

    Raises:
        InputError: The shoeboxes are damaged.
    """
    wanted = np.unique(rows)
    peaks = np.full(len(wanted), np.nan)
    for block in table.iter_shoeboxes(wanted):
        values = np.where(block.mask & _FOREGROUND, block.data, -np.inf)
        filled = block.sizes > 0
        starts = (np.cumsum(block.sizes) - block.sizes)[filled]
        if not len(starts):
            continue
        highest = np.maximum.reduceat(values, starts)
        place = np.searchsorted(wanted, block.rows[filled])
        peaks[place] = np.where(np.isfinite(highest), highest, np.nan)
    return peaks[np.searchsorted(wanted, rows)]
