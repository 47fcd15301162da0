"""Which points of a scatter plot to draw.

Browsers without WebGL, such as those on many remote desktops, draw each point as an element
of SVG, of which some ten thousand make a page slow.
"""

from __future__ import annotations

import numpy as np

# Cells of a plot in which points cover each other, across and up
CELLS = (400, 200)


def without_covered(x: np.ndarray, y: np.ndarray, most: int) -> np.ndarray:
    """One of the points in each small cell of a plot, and so outliers always.

    Args:
        x: Where points are drawn across, on any scale, shape (n,), finite.
        y: Where they are drawn up, shape (n,), finite.
        most: The largest number of points; cells are made larger until it is kept.

    Returns:
        Indices of the points to draw, in rising order.

    Raises:
        ValueError: No point may be drawn.
    """
    if most < 1:
        raise ValueError(f"at least one point has to be drawn, not {most}")
    if not len(x):
        return np.empty(0, int)
    across, up = (
        (values - values.min()) / (np.ptp(values) or 1.0) for values in (x, y)
    )
    cells = np.array(CELLS, float)
    while True:
        cell = np.floor(across * (cells[0] - 1)) * cells[1] + np.floor(
            up * (cells[1] - 1)
        )
        _, first = np.unique(cell, return_index=True)
        if len(first) <= most:
            return np.sort(first)
        cells = np.maximum(0.8 * cells, 1.0)
