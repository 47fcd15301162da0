"""Histograms as text that gnuplot reads."""

from __future__ import annotations

from dials_jungfrau_qc.algorithms.histogram import Histogram


def hist_text(histogram: Histogram) -> str:
    """Lines of bin centre and count, as Python prints them."""
    lines = zip(histogram.centres.tolist(), histogram.counts.tolist())
    return "".join(f"{centre} {count}\n" for centre, count in lines)


def intensity_hist_text(histogram: Histogram, quantity: str) -> str:
    """Lines of bin centre, count and bin edges, below a comment that says what they are.

    Args:
        histogram: With logarithmic bins.
        quantity: What the intensities are, in words.
    """
    edges = histogram.edges.tolist()
    rows = zip(
        histogram.centres.tolist(), histogram.counts.tolist(), edges[:-1], edges[1:]
    )
    return (
        f"# Intensity in counts: {quantity}\n# centre count lower_edge upper_edge\n"
    ) + "".join(f"{c:.6g} {n} {low:.6g} {high:.6g}\n" for c, n, low, high in rows)
