"""Histograms of pixel values and of spot intensities."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from dials_jungfrau_qc.algorithms.value_counts import ValueCounts

# scitbx/histogram.h: a value this share of a bin outside the range still counts
RELATIVE_TOLERANCE = 1e-4

# Logarithmic bins do not follow the data below this, counts: rounding errors live there
SMALLEST = 1e-6

# An end of a logarithmic range that misses an edge by this share of a bin lies on it
ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts in bins.

    Attributes:
        edges: Edges of the bins, shape (n + 1,), in counts.
        centres: Centres of the bins, shape (n,).
        counts: Shape (n,), int64.
        n_below: Finite values below the first bin.
        n_above: Finite values above the last bin.
    """

    edges: np.ndarray
    centres: np.ndarray
    counts: np.ndarray
    n_below: int
    n_above: int


def bin_edges(minimum: float, maximum: float, n_bins: int) -> np.ndarray:
    """Edges of bins of one width.

    They carry the rounding of repeated addition, as those of flex.histogram do, so
    that the printed centres are the same (scitbx/histogram.h).

    Args:
        minimum: Lower edge of the first bin.
        maximum: Upper edge of the last bin.
        n_bins: The number of bins.

    Returns:
        Shape (n_bins + 1,).

    Raises:
        ValueError: The range is empty or not finite, or there are no bins.
    """
    if n_bins < 1:
        raise ValueError(f"a histogram needs at least one bin, not {n_bins}")
    if not (math.isfinite(minimum) and math.isfinite(maximum) and minimum < maximum):
        raise ValueError(
            f"the range of a histogram must be finite and its minimum ({minimum:g}) "
            f"below its maximum ({maximum:g})"
        )
    width = (maximum - minimum) / n_bins
    edges = np.add.accumulate(np.concatenate([[minimum], np.full(n_bins, width)]))
    if not (np.diff(edges) > 0).all() or not math.isfinite(edges[-1]):
        raise ValueError(
            f"{n_bins} bins from {minimum:g} to {maximum:g} are narrower than numbers "
            "can tell apart"
        )
    return edges


def pixel_histogram(
    counted: ValueCounts, minimum: float, maximum: float, n_bins: int
) -> Histogram:
    """Put counted values into bins of one width, by the rule of flex.histogram.

    A value within 1e-4 of a bin outside the range counts into the bin at that end,
    and so does the maximum itself.

    Args:
        counted: The values.
        minimum: Lower edge of the first bin.
        maximum: Upper edge of the last bin.
        n_bins: The number of bins.

    Raises:
        ValueError: As for bin_edges.
    """
    edges = bin_edges(minimum, maximum, n_bins)
    width = (maximum - minimum) / n_bins
    values, counts = counted.values, counted.counts
    tolerance = width * RELATIVE_TOLERANCE
    below = values < minimum - tolerance
    above = values > maximum + tolerance
    inside = ~(below | above)
    slots = np.maximum((values[inside] - minimum) / width, 0).astype(np.int64)
    slots = np.minimum(slots, n_bins - 1)
    binned = np.bincount(slots, weights=counts[inside], minlength=n_bins)
    return Histogram(
        edges=edges,
        centres=(edges[1:] + edges[:-1]) / 2,
        counts=binned.astype(np.int64),
        n_below=int(counts[below].sum()),
        n_above=int(counts[above].sum()),
    )


def logarithmic_edges(
    values: np.ndarray,
    bins_per_decade: int,
    minimum: float | None,
    maximum: float | None,
) -> np.ndarray:
    """Edges of logarithmic bins that lie on whole fractions of a decade.

    Histograms with the same number of bins a decade therefore share their edges,
    whatever their range, and can be laid over each other.

    Args:
        values: What is to be binned; only finite values of at least SMALLEST matter.
        bins_per_decade: The number of bins a decade.
        minimum: Lower end in place of the smallest value.
        maximum: Upper end in place of the largest value.

    Returns:
        Shape (n + 1,); n is at least 1.

    Raises:
        ValueError: The ends are not positive or not in order.
    """
    positive = values[np.isfinite(values) & (values >= SMALLEST)]
    low = minimum if minimum is not None else (positive.min() if positive.size else 1.0)
    high = (
        maximum if maximum is not None else (positive.max() if positive.size else 10.0)
    )
    if minimum is None and maximum is not None:
        low = min(low, high / 10)
    if maximum is None and minimum is not None:
        high = max(high, low * 10)
    if not (0 < low <= high < math.inf):
        raise ValueError(
            f"the range of logarithmic bins must be positive and in order: {low} to {high}"
        )
    first = math.floor(math.log10(low) * bins_per_decade + ROUNDING)
    last = max(math.ceil(math.log10(high) * bins_per_decade - ROUNDING), first + 1)
    # An end that was given may lie a rounding error outside; the data may not
    if minimum is None and low < 10 ** (first / bins_per_decade):
        first -= 1
    if maximum is None and high >= 10 ** (last / bins_per_decade):
        last += 1
    return 10 ** (np.arange(first, last + 1) / bins_per_decade)


def widening_histogram(counted: ValueCounts, bins_per_decade: int = 40) -> Histogram:
    """Bins that hold one whole number each at first, and widen with the value.

    For pixel values on a logarithmic axis: near the first gain switch every count is
    seen by itself, near saturation many are taken together.

    Args:
        counted: The values; those below 0.5 count as below.
        bins_per_decade: The number of bins a decade where they are wide.
    """
    highest = max(float(counted.values[-1]) if len(counted.values) else 0.0, 1.0)
    n_edges = math.ceil(math.log10(highest + 1) * bins_per_decade) + 1
    # Bins never narrower than one count, with edges between whole numbers
    wide = np.round(10 ** (np.arange(n_edges + 1) / bins_per_decade))
    edges = np.unique(wide) - 0.5
    bins = np.searchsorted(edges, counted.values, side="right") - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    binned = np.bincount(
        bins[inside], weights=counted.counts[inside], minlength=len(edges) - 1
    )
    return Histogram(
        edges=edges,
        centres=(edges[1:] + edges[:-1]) / 2,
        counts=binned.astype(np.int64),
        n_below=int(counted.counts[bins < 0].sum()),
        n_above=int(counted.counts[bins >= len(edges) - 1].sum()),
    )


def logarithmic_histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    """Put values into logarithmic bins, low <= value < high.

    Args:
        values: Finite values, shape (n,). Zero and negative values count as below.
        edges: From logarithmic_edges.
    """
    bins = np.searchsorted(edges, values, side="right") - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    return Histogram(
        edges=edges,
        centres=np.sqrt(edges[1:] * edges[:-1]),
        counts=np.bincount(bins[inside], minlength=len(edges) - 1),
        n_below=int(np.count_nonzero(bins < 0)),
        n_above=int(np.count_nonzero(bins >= len(edges) - 1)),
    )
