"""Plots of bad pixels: where they are, what they show, how far they are from the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.pixel_suspects import Limits
from dials_jungfrau_qc.io.pixel_search import Findings
from dials_jungfrau_qc.report.plots import COLOURS, Plots, line_style

SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "cross",
    "x",
    "triangle-up",
    "star",
    "hexagon",
)
# More points than this a kind make a page slow to open
MAX_POINTS = 5000
# Pixels of each kind whose values are drawn
N_TRACES = 2
# Gap between panels in the drawing, pixels
GAP = 20


def detector_plot(
    findings: Findings, kinds: Sequence[str], words: Mapping[str, str]
) -> Plots:
    """Where the bad pixels are, by kind; panels are drawn below each other."""
    shapes = [mask.shape for mask in findings.masks]
    offsets = np.cumsum([0, *(shape[0] + GAP for shape in shapes)])
    data = []
    for number, kind in enumerate(kinds):
        x, y, labels = [], [], []
        for i, (panel, shape) in enumerate(zip(findings.panels, shapes)):
            index = panel.pixels.index[panel.pixels.kind == kind]
            slow, fast = np.divmod(index, shape[1])
            x += fast.tolist()
            y += (slow + offsets[i]).tolist()
            labels += [f"panel {i}, slow {s}, fast {f}" for s, f in zip(slow, fast)]
        if not x:
            continue
        data.append(
            {
                "x": x[:MAX_POINTS],
                "y": y[:MAX_POINTS],
                "text": labels[:MAX_POINTS],
                "type": "scattergl",
                "mode": "markers",
                "name": f"{words[kind]} ({len(x)})",
                "marker": {
                    "color": COLOURS[number % len(COLOURS)],
                    "symbol": SYMBOLS[number % len(SYMBOLS)],
                    "size": 5,
                },
                "hovertemplate": "%{text}",
            }
        )
    outlines = [
        {
            "type": "rect",
            "x0": -0.5,
            "x1": shape[1] - 0.5,
            "y0": float(offset) - 0.5,
            "y1": float(offset) + shape[0] - 0.5,
            "line": {"color": "#999999", "width": 1},
        }
        for offset, shape in zip(offsets, shapes)
    ]
    widest = max(shape[1] for shape in shapes)
    return {
        "bad_pixel_map": {
            "data": data,
            "layout": {
                "title": {"text": "Where the bad pixels are"},
                "xaxis": {
                    "title": {"text": "Fast (pixels)"},
                    "range": [-10, widest + 9],
                },
                "yaxis": {
                    "title": {"text": "Slow (pixels)"},
                    "range": [float(offsets[-1]) - GAP + 10, -10],
                    "scaleanchor": "x",
                },
                "shapes": outlines,
                "hovermode": "closest",
            },
            "help": (
                "Every bad pixel, by kind. Pixels that were masked already are not shown. "
                "Lines or regions of bad pixels are a chip or a column; a pattern that "
                "looks like diffraction would be a fault of this program."
            ),
        }
    }


def distribution_plots(findings: Findings, limits: Limits) -> Plots:
    """Distributions of the tests over all pixels, the bad ones apart, with the limits."""
    plots: Plots = {}
    for key, title, quantity, axis, thresholds, helptext in (
        (
            "response",
            "Response",
            "response",
            "Photons relative to the pixels around",
            (
                ("dead", limits.dead),
                ("under-responding", limits.low),
                ("over-responding", limits.high),
            ),
            "Photons of each pixel in all images together, relative to the pixels near it "
            "at the same scattering angle. Dead pixels are at 0, hot ones far above 1. Dashed "
            "lines are the thresholds, below or above which a significant deviation is a "
            "fault.",
        ),
        (
            "scatter",
            "Scatter",
            "scatter",
            "Variance over mean relative to the pixels around",
            (("noisy", limits.scatter),),
            "How much the values of a pixel vary from image to image, against their mean. "
            "Photons give 1; noise and flickering add to it, a constant value gives 0. The "
            "brightest parts of the series are left out, because of Bragg spots. The dashed "
            "line is the threshold, above which a significant deviation is a fault.",
        ),
    ):
        edges = np.concatenate([[0], np.geomspace(0.02, 50, 200)])
        good = bad = np.zeros(len(edges) - 1, int)
        for sample, panel in zip(findings.sweeps[0].sampled, findings.panels):
            pixels = panel.pixels
            is_good = ~np.isin(sample.index, pixels.index)
            good = good + sample.step * _counts(
                getattr(sample, quantity)[is_good], edges
            )
            with np.errstate(divide="ignore", invalid="ignore"):
                of_bad = {
                    "response": pixels.mean / pixels.expected,
                    "scatter": pixels.variance_ratio,
                }
            bad = bad + _counts(of_bad[quantity], edges)
        data = []
        for index, (name, counts) in enumerate((("good", good), ("bad", bad))):
            centres = (edges[1:] + edges[:-1]) / 2
            data.append(
                {
                    "x": [float(f"{c:.4g}") for c in centres],
                    "y": [n or None for n in counts.tolist()],
                    "type": "scatter",
                    "mode": "lines+markers",
                    "marker": {"size": 3},
                    "line": {**line_style(index), "shape": "hvh"},
                    "name": f"{name} pixels",
                }
            )
        plots[f"distribution_{key}"] = {
            "data": data,
            "layout": {
                "title": {"text": title},
                "xaxis": {"title": {"text": axis}, "type": "log"},
                "yaxis": {
                    "title": {"text": "Pixels"},
                    "type": "log",
                    "exponentformat": "power",
                },
                "hovermode": "closest",
                **_threshold_lines(thresholds),
            },
            "help": helptext,
        }
    return plots


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of the values that are known lie between edges, the last of them to infinity."""
    values = np.clip(values[np.isfinite(values)], 0, 0.999 * edges[-1])
    return np.histogram(values, edges)[0]


def _threshold_lines(thresholds: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Dashed lines with their names for the layout of a plot, x being logarithmic.

    Args:
        thresholds: Name and place of each, in rising order.
    """
    drawn = [(name, x) for name, x in thresholds if x > 0]
    return {
        "shapes": [
            {
                "type": "line",
                "x0": x,
                "x1": x,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "#555555", "width": 1, "dash": "dash"},
            }
            for _, x in drawn
        ],
        # Those left of 1 are written on their left, so that names do not overlap; the
        # places of annotations are logarithms on a logarithmic axis
        "annotations": [
            {
                "x": math.log10(x),
                "yref": "paper",
                "y": 1,
                "yanchor": "top",
                "xanchor": "right" if x < 1 else "left",
                "showarrow": False,
                "text": f"{name} {'≤' if x < 1 else '≥'} {x:g}",
                "font": {"size": 11, "color": "#555555"},
            }
            for name, x in drawn
        ],
    }


def trace_plots(findings: Findings, words: Mapping[str, str]) -> Plots:
    """Values of the worst pixels over the series with the mean of their neighbours."""
    plots: Plots = {}
    for kind in words:
        data: list[dict[str, Any]] = []
        for i in range(len(findings.panels)):
            data += _traces(findings, i, kind, N_TRACES - len(data) // 2)
            if len(data) >= 2 * N_TRACES:
                break
        if not data:
            continue
        plots[f"trace_{kind}"] = {
            "data": data,
            "layout": {
                "title": {"text": f"Pixels that are {words[kind]}"},
                "xaxis": {"title": {"text": "Image"}},
                "yaxis": {"title": {"text": "Value (counts)"}},
                "hovermode": "x unified",
            },
            "help": (
                "Values of the worst pixels of this kind in images from all over the "
                "series, and below each the median of its eight neighbours."
            ),
        }
    return plots


def _traces(findings: Findings, panel: int, kind: str, n: int) -> list[dict[str, Any]]:
    """Traces of the worst pixels of a panel whose neighbours were looked at too."""
    result, numbers = findings.sweeps[0], findings.numbers[0]
    bad, look = result.bad[panel], result.looks[panel]
    n_slow, n_fast = findings.masks[panel].shape
    looked_at = np.zeros(n_slow * n_fast, bool)
    looked_at[look.index] = True
    order = np.argsort(-(np.abs(bad.z) + 100 * bad.share), kind="stable")
    data: list[dict[str, Any]] = []
    for k in order[bad.kind[order] == kind]:
        if len(data) >= 2 * n:
            break
        slow, fast = divmod(int(bad.index[k]), n_fast)
        around = np.array(
            [
                (slow + i) * n_fast + fast + j
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                if (i or j) and 0 <= slow + i < n_slow and 0 <= fast + j < n_fast
            ]
        )
        if not looked_at[around].all():
            continue
        style = line_style(len(data) // 2)
        x = numbers[look.frames].tolist()
        own = look.at(np.array([bad.index[k]])).values[0]
        neighbours = np.median(look.at(np.sort(around)).values, axis=0)
        name = f"panel {panel}, slow {slow}, fast {fast}"
        for values, dash, label in (
            (own, "solid", name),
            (neighbours, "dot", f"around slow {slow}, fast {fast}"),
        ):
            data.append(
                {
                    "x": x,
                    "y": [float(v) for v in values],
                    "type": "scatter",
                    "mode": "lines+markers",
                    "marker": {"size": 4},
                    "line": {**style, "dash": dash},
                    "name": label,
                }
            )
    return data
