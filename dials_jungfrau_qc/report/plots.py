"""Plots as plain plotly dictionaries: results in, dictionaries out.

Each function returns {key: {"data": [...], "layout": {...}, "help": "..."}} as DIALS'
own plots.py modules do. Keys are JavaScript identifiers, values are Python scalars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.histogram import Histogram, widening_histogram
from dials_jungfrau_qc.algorithms.value_counts import ValueCounts

Plots = dict[str, dict[str, Any]]

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), made darker until each colour
# has a contrast of 3 with white, with which thin lines are legible, and until people with
# any kind of colour vision tell all of them apart
COLOURS = ("#0A528F", "#B84800", "#148350", "#CB79A7", "#D38000", "#2C9CD8", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "x",
    "cross",
    "star",
    "triangle-down",
    "hexagon",
)

# More lines than this cannot be told apart on one plot
MAX_LINES = 20
# Longer names than this leave a plot no room
MAX_NAME = 48
# Bins are drawn together from this distance to zero, in bins, so that each is 1 % wide ...
FINE_BINS = 100
# ... but never so many that fewer than this are drawn
LEAST_BINS = 500


def line_style(index: int) -> dict[str, Any]:
    """Colour and dash of the line with this number."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "dash": DASHES[index // len(COLOURS) % len(DASHES)],
        "width": 1.5,
    }


def marker_style(index: int, size: float) -> dict[str, Any]:
    """Colour and shape of the markers with this number, their size in pixels."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "symbol": SYMBOLS[index % len(SYMBOLS)],
        "size": size,
    }


def logarithmic_axis(title: str, traces: Sequence[Mapping[str, Any]], of: str) -> dict:
    """A logarithmic axis whose tick labels have room.

    Args:
        title: With the unit.
        traces: What is drawn.
        of: "x" or "y".
    """
    values = [v for trace in traces for v in trace[of] if v is not None and v > 0]
    decades = math.log10(max(values) / min(values)) if values else 1.0
    # From 5 downwards plotly leaves out digits between the decades that would overlap
    return {
        "title": {"text": title},
        "type": "log",
        "exponentformat": "power",
        "nticks": max(5, math.ceil(decades)),
    }


def resolution_axis(highest: float) -> dict[str, Any]:
    """An axis of 1/d^2 from zero, in 1/A^2, that names resolutions in A.

    Args:
        highest: The largest value on it.
    """
    ticks = resolution_ticks(highest)
    return {
        "title": {"text": "Resolution (Å)"},
        "tickvals": [d**-2 for d in ticks],
        "ticktext": [f"{d:g}" for d in ticks],
        "range": [0, 1.02 * highest],
        "zeroline": False,
    }


def resolution_ticks(highest: float) -> list[float]:
    """Round resolutions that are not too near to each other on an axis of 1/d^2.

    Args:
        highest: End of the axis, 1/A^2.

    Returns:
        In A, from low resolution to high.
    """
    # Two digits and no more say where a reflection is
    steps = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 3, 3.5, 4, 5, 6, 8)
    ticks: list[float] = []
    for d in sorted((s * 10.0**k for s in steps for k in (-1, 0, 1, 2)), reverse=True):
        if (
            d**-2 <= highest
            and d**-2 - (ticks[-1] ** -2 if ticks else 0) > highest / 15
        ):
            ticks.append(round(d, 6))
    return ticks


def short_name(name: str) -> str:
    """A name without its middle, if it is too long for a legend."""
    if len(name) <= MAX_NAME:
        return name
    kept = MAX_NAME - 1
    return f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def step_line(edges: np.ndarray, heights: np.ndarray) -> dict[str, Any]:
    """A trace that draws a histogram as steps with the edges of its bins.

    Empty bins have no place on a logarithmic axis: the line ends before and begins again
    behind them. Every point lies at the lower edge of its bin, but for those that end the
    line at an upper one.

    Args:
        edges: Shape (n + 1,).
        heights: Shape (n,).
    """
    drawn = np.flatnonzero(heights > 0)
    starts = np.flatnonzero(np.diff(drawn, prepend=-2) > 1)
    x: list[float | None] = []
    y: list[float | None] = []
    for run in np.split(drawn, starts[1:]):
        if not run.size:
            continue
        if x:
            x.append(None)
            y.append(None)
        x += digits(edges[run[0] : run[-1] + 2], 7)
        values = digits(heights[run], 5)
        y += [*values, values[-1]]
    return {
        "x": x,
        "y": y,
        "type": "scatter",
        "mode": "lines",
        "line": {"shape": "hv"},
    }


def digits(values: np.ndarray, n: int = 5) -> list[float]:
    """Numbers with as many digits as a plot can show, which keeps pages small."""
    return [float(f"{value:.{n}g}") for value in np.asarray(values).tolist()]


def display_bins(edges: np.ndarray, n: int) -> np.ndarray:
    """Where to put bins of one width together for display.

    Single bins near zero, where the gain switches; towards larger values 1 % of the value,
    or a 500th part of the range if that is less.

    Args:
        edges: Edges of all bins.
        n: How many of the bins are drawn.

    Returns:
        The first bin of each that is drawn, and n at the end.
    """
    width = edges[1] - edges[0]
    starts = [0]
    while starts[-1] < n:
        here = starts[-1]
        distance = round(abs(edges[here]) / width)
        step = _round_down(min(distance / FINE_BINS, n / LEAST_BINS))
        starts.append(min(here + step, n))
    return np.array(starts)


def _round_down(value: float) -> int:
    """The largest of 1, 2, 5, 10, 20, 50 and so on that is no larger."""
    if value < 2:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return int(power * next(f for f in (5, 2, 1) if f * power <= value))


def pixel_values_plot(
    labels: Sequence[str], histograms: Sequence[Histogram], of_images: bool = False
) -> Plots:
    """Overlay of the pixel value histograms, with presets for where faults show.

    Args:
        labels: Name of each group.
        histograms: Its histogram; all have the same bins.
        of_images: Of all pixels of the images and not of those under the spots.
    """
    where = "of the images" if of_images else "under the spots"
    low_end = (
        "The peak at the left end is the background."
        if of_images
        else "In strong and indexed reflections only pixels above the local threshold of "
        "spot finding are foreground: the rise at the left end is that threshold."
    )
    shown = histograms[:MAX_LINES]
    last = max((int(np.max(np.flatnonzero(h.counts), initial=-1)) for h in shown)) + 1
    last = max(last, 1)
    edges = shown[0].edges
    starts = display_bins(edges, last)
    drawn_edges = edges[starts]
    widths = np.diff(drawn_edges)
    data = []
    for index, (label, histogram) in enumerate(zip(labels, shown)):
        counts = np.add.reduceat(histogram.counts[:last], starts[:-1])
        line = step_line(drawn_edges, counts / widths)
        line["line"] |= line_style(index)
        data.append(
            line
            | {"name": short_name(label), "hovertemplate": "%{y:.4~g} pixels a count"}
        )
    low, high = float(edges[0]), float(edges[last])
    presets = [("all", [low, high])] + [
        (f"{a}-{b}", [a, b])
        for a, b in ((0, 50), (0, 200), (0, 1000), (8000, 12000))
        if a < high and b > low
    ]
    # Where the gain switches; the next plot has the whole range
    first = next((r for label, r in presets if label == "0-200"), [low, high])
    note = _note(len(histograms), "histograms")
    if len(starts) <= last:
        note += (
            "\n\nTowards larger values bins are drawn together and their pixels divided by "
            "the width."
        )
    return {
        "pixel_values": {
            "data": data,
            "presets": [{"label": label, "range": ends} for label, ends in presets],
            "layout": {
                "title": {"text": f"Pixel values {where}"},
                "xaxis": {
                    "title": {"text": "Pixel value (counts)"},
                    "range": first,
                    "tickformat": ",~r",
                    "hoverformat": ",.7~r",
                    "rangeslider": {
                        "visible": True,
                        "thickness": 0.08,
                        "range": [low, high],
                        "bgcolor": "#f5f5f5",
                        "yaxis": {"rangemode": "auto"},
                    },
                },
                "yaxis": logarithmic_axis("Pixels a count", data, "y"),
                "hovermode": "x unified" if len(shown) <= 8 else "closest",
            },
            "help": (
                f"How often each value occurs among the pixels {where}, on a "
                "logarithmic axis. A perfect detector gives a smooth curve.\n\n"
                "0-50: JUNGFRAU pixels leave their first gain at about 19 to 25 counts at "
                "12.4 keV. A dip, a bump or a step there, at the same counts in every sweep, "
                "is a gain or pedestal error of the second gain; a feature of the sample "
                "moves with the transmission.\n\n"
                "8000-12000: pixels pile up near 10 000 counts where the third gain ends. "
                "Spots that reach it are too weak; attenuate the beam.\n\n"
                f"{low_end}{note}"
            ),
        }
    }


def pixel_values_log_plot(
    labels: Sequence[str], counted: Sequence[ValueCounts]
) -> Plots:
    """Overlay of the pixel values over their whole range, on logarithmic axes.

    Args:
        labels: Name of each group.
        counted: Its counted pixel values.
    """
    data = []
    for index, (label, values) in enumerate(zip(labels, counted[:MAX_LINES])):
        histogram = widening_histogram(values)
        density = histogram.counts / np.diff(histogram.edges)
        line = step_line(histogram.edges, density)
        line["line"] |= line_style(index)
        data.append(
            line
            | {
                "name": short_name(label),
                "hovertemplate": "from %{x:.5~g}: %{y:.4~g} pixels a count",
            }
        )
    return {
        "pixel_values_log": {
            "data": data,
            "layout": {
                "title": {"text": "Pixel values, over the whole range"},
                "xaxis": logarithmic_axis("Pixel value (counts)", data, "x"),
                "yaxis": logarithmic_axis("Pixels a count", data, "y"),
                "hovermode": "closest",
            },
            "help": (
                "The same values in bins that widen with the value, divided by the width of "
                "the bin, so that the few pixels of the strongest spots show. Pixels whose "
                "third gain has no codes left pile up in a bump near 10 000 counts; a curve "
                "that ends without a bump is not saturated."
                + _note(len(counted), "curves")
            ),
        }
    }


def spot_intensities_plot(
    labels: Sequence[str], histograms: Sequence[Histogram], quantity: str
) -> Plots:
    """Overlay of the spot intensity histograms on logarithmic axes.

    Args:
        labels: Name of each group.
        histograms: Its histogram, in logarithmic bins.
        quantity: What the intensities are, in words.
    """
    data = []
    for index, (label, histogram) in enumerate(zip(labels, histograms[:MAX_LINES])):
        line = step_line(histogram.edges, histogram.counts)
        line["line"] |= line_style(index)
        data.append(
            line
            | {
                "name": short_name(label),
                "hovertemplate": "from %{x:.4~g}: %{y} spots",
            }
        )
    return {
        "spot_intensities": {
            "data": data,
            "layout": {
                "title": {"text": "Spot intensities"},
                "xaxis": logarithmic_axis(f"Intensity (counts): {quantity}", data, "x"),
                "yaxis": logarithmic_axis("Spots in a logarithmic bin", data, "y"),
                "hovermode": "closest",
            },
            "help": (
                "How often each intensity occurs, in bins of equal width on a logarithmic "
                "axis. If a fault of the gain switch reached the intensities it would show "
                "here as a step at the same counts in every sweep; sweeps at other "
                "transmissions are otherwise the same curve, shifted.\n\n"
                f"The intensities are: {quantity}. Intensities that are zero or negative "
                "have no place on the axis; the table counts them."
                + _note(len(histograms), "histograms")
            ),
        }
    }


def _note(n: int, what: str) -> str:
    if n <= MAX_LINES:
        return ""
    return f"\n\nOnly the first {MAX_LINES} of {n} {what} are drawn; the JSON has all."
