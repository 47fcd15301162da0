"""Matched intensities as text that gnuplot reads."""

from __future__ import annotations

import io

import numpy as np

from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries
from dials_jungfrau_qc.io.tutorial_ratio import TutorialPair

MATCHED_COLUMNS = (
    "h k l I_ref sigma_ref I sigma pooled_I peak d position panel background_ref "
    "background"
)

# Rows that are formatted at once
_BLOCK = 500


def pair_text(pair: TutorialPair) -> str:
    """Lines of the reference's intensity and the sweep's."""
    out = io.StringIO()
    np.savetxt(out, np.column_stack([pair.x, pair.y]), fmt="%.6g")
    return out.getvalue()


def matched_text(
    series: SweepSeries,
    sweep: int,
    miller_index: np.ndarray,
    pooled: np.ndarray,
    peak: np.ndarray,
) -> str:
    """Every reflection that the reference and a sweep share, below a comment of columns.

    Args:
        series: The sweeps.
        sweep: Which of them.
        miller_index: Shape (n, 3).
        pooled: Intensity at the reference's beam from all sweeps, shape (n,).
        peak: Photons in the brightest pixel of the reference, shape (n,).
    """
    reference = series.reference
    both = series.present[sweep] & series.present[reference]
    columns = np.column_stack(
        [
            miller_index[both],
            series.intensity[reference, both],
            np.sqrt(series.variance[reference, both]),
            series.intensity[sweep, both],
            np.sqrt(series.variance[sweep, both]),
            pooled[both],
            peak[both],
            series.d[both],
            series.position[both],
            series.panel[both],
            series.background[reference, both],
            series.background[sweep, both],
        ]
    )
    form = "%d %d %d" + " %.6g" * 5 + " %.4g %.4f %.4f %d %.4g %.4g\n"
    # Blocks of rows are formatted at once, which takes less time than row by row and
    # keeps few numbers as objects
    blocks = [f"# {MATCHED_COLUMNS}\n"]
    for start in range(0, len(columns), _BLOCK):
        block = columns[start : start + _BLOCK]
        blocks.append(form * len(block) % tuple(block.ravel().tolist()))
    return "".join(blocks)
