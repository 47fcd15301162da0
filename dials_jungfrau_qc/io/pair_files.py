"""Matched intensities as text that gnuplot reads."""

from __future__ import annotations

import numpy as np

from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries
from dials_jungfrau_qc.io.fixed_width import fixed_width_text
from dials_jungfrau_qc.io.tutorial_ratio import TutorialPair

MATCHED_COLUMNS = (
    "h k l I_ref sigma_ref I sigma pooled_I peak d position panel background_ref "
    "background"
)


def pair_text(pair: TutorialPair) -> str:
    """Lines of the reference's intensity and the sweep's."""
    return fixed_width_text([(pair.x, 4), (pair.y, 4)])


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
    columns = [
        *((index, 0) for index in miller_index.T),
        (series.intensity[reference], 4),
        (np.sqrt(series.variance[reference]), 4),
        (series.intensity[sweep], 4),
        (np.sqrt(series.variance[sweep]), 4),
        (pooled, 4),
        (peak, 2),
        (series.d, 4),
        (series.position, 4),
        (series.panel, 0),
        (series.background[reference], 5),
        (series.background[sweep], 5),
    ]
    # Column by column, so that no second copy of them all is ever there
    return f"# {MATCHED_COLUMNS}\n" + fixed_width_text(
        [(values[both], decimals) for values, decimals in columns]
    )
