"""Matched intensities as text that gnuplot reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.algorithms.spot_pixel_curves import peak_shares
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries, pooled_intensity
from dials_jungfrau_qc.io.fixed_width import (
    FixedWidthLines,
    fixed_width_text,
    number_format,
    pieces,
)
from dials_jungfrau_qc.io.integrated_reflections import IntegratedSweep
from dials_jungfrau_qc.io.output import write_in_turn
from dials_jungfrau_qc.io.sweep_matching import MatchedSweeps
from dials_jungfrau_qc.io.tutorial_ratio import TutorialPair, pairs_of_sweeps

MATCHED_COLUMNS = (
    "h k l I_ref sigma_ref I sigma pooled_I peak d position panel background_ref "
    "background"
)
# Decimals of each of them
_DECIMALS = (0, 0, 0, 4, 4, 4, 4, 4, 2, 4, 4, 0, 5, 5)
# Those that differ from sweep to sweep: I, sigma and background
_OWN = (5, 6, 13)


def write_pairs(
    sweeps: Sequence[IntegratedSweep], matched: MatchedSweeps, paths: Mapping[int, Path]
) -> list[TutorialPair | None]:
    """Write the intensities of the reference and of a sweep by the tutorial's selection.

    Args:
        sweeps: The sweeps.
        matched: How they were matched.
        paths: File of each sweep that gets one.

    Returns:
        The intensities of all sweeps; None for the reference.

    Raises:
        InputError: A file cannot be written.
    """
    pairs = pairs_of_sweeps(sweeps, matched)
    write_in_turn(
        paths,
        (
            (k, text)
            for k in paths
            for text in fixed_width_text([(pairs[k].x, 4), (pairs[k].y, 4)])
        ),
    )
    return pairs


def write_matched(
    sweeps: Sequence[IntegratedSweep],
    matched: MatchedSweeps,
    paths: Mapping[int, Path],
    beam: np.ndarray,
) -> None:
    """Write every reflection that the reference and a sweep share.

    The first line is a comment with the names of the columns.

    Args:
        sweeps: The sweeps.
        matched: How they were matched.
        paths: File of each sweep that gets one.
        beam: Of each sweep relative to the reference, shape (K,).

    Raises:
        InputError: A file cannot be written.
    """
    if not paths:
        return
    series = matched.series
    pooled, _ = pooled_intensity(series, beam)
    peak = series.peak
    if peak is None:
        peak = pooled * peak_shares(series.sigma_pixels, series.sigma_images)
    write_in_turn(
        paths, _matched_text(list(paths), series, matched.miller_index, pooled, peak)
    )


def _matched_text(
    sweeps: Sequence[int],
    series: SweepSeries,
    miller_index: np.ndarray,
    pooled: np.ndarray,
    peak: np.ndarray,
) -> Iterator[tuple[int, bytes | memoryview]]:
    """Pieces of text, and the sweep that each is for.

    The columns that sweeps have in common are made into text once for all of them.
    """
    reference = series.reference
    common = {
        **dict(enumerate(miller_index.T)),
        3: series.intensity[reference],
        4: np.sqrt(series.variance[reference]),
        7: pooled,
        8: peak,
        9: series.d,
        10: series.position,
        11: series.panel,
        12: series.background[reference],
    }
    # One format has to do for all sweeps
    largest = {5: series.intensity, 6: np.sqrt(series.variance), 13: series.background}
    columns = common | largest
    formats = [
        number_format(columns[i], decimals) for i, decimals in enumerate(_DECIMALS)
    ]
    for k in sweeps:
        yield k, f"# {MATCHED_COLUMNS}\n".encode("ascii")
    for piece in pieces(len(series.d)):
        lines = FixedWidthLines(piece.stop - piece.start, formats)
        for column, values in common.items():
            lines.fill(column, values[piece])
        for k in sweeps:
            own = (
                series.intensity[k, piece],
                np.sqrt(series.variance[k, piece]),
                series.background[k, piece],
            )
            for column, values in zip(_OWN, own):
                lines.fill(column, values)
            yield (
                k,
                lines.text(series.present[k, piece] & series.present[reference, piece]),
            )
