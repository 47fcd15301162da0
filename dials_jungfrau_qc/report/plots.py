"""Plots as plain plotly dictionaries: results in, dictionaries out.

Each function returns {key: {"data": [...], "layout": {...}, "help": "..."}} as DIALS'
own plots.py modules do. Keys are JavaScript identifiers, values are Python scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.histogram import Histogram, widening_histogram
from dials_jungfrau_qc.algorithms.value_counts import ValueCounts

Plots = dict[str, dict[str, Any]]

# Okabe and Ito's palette, which people with any kind of colour vision can tell apart
# (https://jfly.uni-koeln.de/color/), darkest first
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot")

# More lines than this cannot be told apart on one plot
MAX_LINES = 20
# More points than this a line are merged for display
MAX_POINTS = 20000


def line_style(index: int) -> dict[str, Any]:
    """Colour and dash of the line with this number."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "dash": DASHES[index // len(COLOURS) % len(DASHES)],
        "width": 1.5,
    }


def pixel_values_plot(labels: Sequence[str], histograms: Sequence[Histogram]) -> Plots:
    """Overlay of the pixel value histograms, with presets for where faults show.

    Args:
        labels: Name of each group.
        histograms: Its histogram; all have the same bins.
    """
    shown = histograms[:MAX_LINES]
    last = max((int(np.max(np.flatnonzero(h.counts), initial=-1)) for h in shown)) + 1
    last = max(last, 1)
    merge = -(-last // MAX_POINTS)
    edges = shown[0].edges
    width = float(edges[1] - edges[0])
    data = []
    for index, (label, histogram) in enumerate(zip(labels, shown)):
        counts = histogram.counts[:last]
        if merge > 1:
            counts = np.add.reduceat(counts, np.arange(0, last, merge))
        data.append(
            {
                "x0": float(edges[0]) + merge * width / 2,
                "dx": merge * width,
                "y": [n or None for n in counts.tolist()],
                "type": "scatter",
                # Without markers a bin between two empty ones would not be drawn
                "mode": "lines+markers",
                "marker": {"size": 3},
                "line": {**line_style(index), "shape": "hvh"},
                "name": label,
                "hovertemplate": "%{x}: %{y} pixels",
            }
        )
    low, high = float(edges[0]), float(edges[last])
    presets = [("all", [low, high])] + [
        (f"{a}-{b}", [a, b])
        for a, b in ((0, 50), (0, 200), (0, 1000), (8000, 12000))
        if a < high and b > low
    ]
    note = _note(len(histograms), "histograms")
    if merge > 1:
        note += f" {merge} bins are drawn as one."
    return {
        "pixel_values": {
            "data": data,
            "layout": {
                "title": {"text": "Pixel values under the spots"},
                "xaxis": {
                    "title": {"text": "Pixel value (counts)"},
                    "range": [low, high],
                    "tickformat": ",~r",
                    "rangeslider": {
                        "visible": True,
                        "thickness": 0.08,
                        "range": [low, high],
                    },
                },
                "yaxis": {
                    "title": {
                        "text": f"Pixels in a bin of {width * merge:g} "
                        + ("count" if width * merge == 1 else "counts")
                    },
                    "type": "log",
                    "exponentformat": "power",
                },
                "hovermode": "x unified" if len(shown) <= 8 else "closest",
                "updatemenus": [range_buttons(presets)],
            },
            "help": (
                "How often each value occurs among the pixels under the spots, on a "
                "logarithmic axis. A perfect detector gives a smooth curve.\n\n"
                "0-50: JUNGFRAU pixels leave their first gain at about 19 to 25 counts at "
                "12.4 keV. A dip, a bump or a step there, at the same counts in every sweep, "
                "is a gain or pedestal error of the second gain; a feature of the sample "
                "moves with the transmission.\n\n"
                "8000-12000: pixels pile up near 10 000 counts where the third gain ends. "
                "Spots that reach it are too weak; attenuate the beam.\n\n"
                "In strong and indexed reflections only pixels above the local threshold of "
                "spot finding are foreground: the rise at the left end is that threshold."
                + note
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
        data.append(
            {
                "x": [float(f"{x:.6g}") for x in histogram.centres],
                "y": [float(f"{y:.4g}") or None for y in density],
                "type": "scatter",
                "mode": "lines+markers",
                "marker": {"size": 3},
                "line": {**line_style(index), "shape": "hvh"},
                "name": label,
                "hovertemplate": "%{x:.5g}: %{y:.4g} pixels a count",
            }
        )
    return {
        "pixel_values_log": {
            "data": data,
            "layout": {
                "title": {"text": "Pixel values, over the whole range"},
                "xaxis": {
                    "title": {"text": "Pixel value (counts)"},
                    "type": "log",
                    "exponentformat": "power",
                },
                "yaxis": {
                    "title": {"text": "Pixels a count"},
                    "type": "log",
                    "exponentformat": "power",
                },
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
    data = [
        {
            "x": [float(f"{x:.6g}") for x in histogram.centres],
            "y": [n or None for n in histogram.counts.tolist()],
            "type": "scatter",
            "mode": "lines+markers",
            "marker": {"size": 3},
            "line": {**line_style(index), "shape": "hvh"},
            "name": label,
            "hovertemplate": "%{x:.4g}: %{y} spots",
        }
        for index, (label, histogram) in enumerate(zip(labels, histograms[:MAX_LINES]))
    ]
    return {
        "spot_intensities": {
            "data": data,
            "layout": {
                "title": {"text": "Spot intensities"},
                "xaxis": {
                    "title": {"text": f"Intensity (counts): {quantity}"},
                    "type": "log",
                    "exponentformat": "power",
                },
                "yaxis": {
                    "title": {"text": "Spots in a logarithmic bin"},
                    "type": "log",
                    "exponentformat": "power",
                },
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


def range_buttons(presets: Sequence[tuple[str, Sequence[float]]]) -> dict[str, Any]:
    """Buttons that set the range of the horizontal axis."""
    return {
        "type": "buttons",
        "direction": "right",
        "showactive": True,
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "pad": {"t": 0, "b": 4},
        "buttons": [
            {
                "label": label,
                "method": "relayout",
                "args": [{"xaxis.range": list(range_), "yaxis.autorange": True}],
            }
            for label, range_ in presets
        ],
    }
