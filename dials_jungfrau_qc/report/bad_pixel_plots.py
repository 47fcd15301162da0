"""Plots of bad pixels: where they are, what they show, how far they are from the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.pixel_suspects import Limits
from dials_jungfrau_qc.io.pixel_search import Findings
from dials_jungfrau_qc.report.plots import (
    Plots,
    digits,
    line_style,
    logarithmic_axis,
    marker_style,
    step_line,
)
from dials_jungfrau_qc.report.scatter import without_covered

# More points than this a kind make a page slow to open
MAX_POINTS = 2000
# Pixels of each kind whose values are drawn
N_TRACES = 2
# Ratios beyond this are drawn at it
LARGEST = 50.0
# Room between panels in the drawing, as a share of their smaller side
GAP = 0.08
# Width over height that the drawing of several panels comes near to
ASPECT = 1.6
# Height of the drawing in a window of usual width, pixels of the screen
MAP_HEIGHT = 640


def detector_plot(
    findings: Findings, kinds: Sequence[str], words: Mapping[str, str]
) -> Plots:
    """Where the bad pixels are, by kind; several panels are drawn side by side.

    Args:
        findings: The bad pixels; nothing is drawn if there are none.
        kinds: The kinds that can be among them.
        words: What they are called.
    """
    if not findings.n_bad:
        return {}
    shapes = [mask.shape for mask in findings.masks]
    places = panel_places(shapes)
    thinned = False
    data = []
    for number, kind in enumerate(kinds):
        x, y, labels = [], [], []
        for i, (panel, shape) in enumerate(zip(findings.panels, shapes)):
            index = panel.pixels.index[panel.pixels.kind == kind]
            slow, fast = np.divmod(index, shape[1])
            x.append(fast + places[i][1])
            y.append(slow + places[i][0])
            where = f"panel {i}, " if len(shapes) > 1 else ""
            labels += [f"{where}slow {s}, fast {f}" for s, f in zip(slow, fast)]
        x, y = np.concatenate(x), np.concatenate(y)
        drawn = np.arange(len(x))
        if len(x) > MAX_POINTS:
            thinned = True
            drawn = without_covered(x, y, MAX_POINTS)
        if not len(x):
            continue
        data.append(
            {
                "x": x[drawn].tolist(),
                "y": y[drawn].tolist(),
                "text": [labels[k] for k in drawn],
                "type": "scatter",
                "mode": "markers",
                "name": f"{words[kind]} ({len(x)})",
                "marker": marker_style(number, 6),
                "hovertemplate": "%{text}",
            }
        )
    several = len(shapes) > 1
    right = max(x + shape[1] for (_, x), shape in zip(places, shapes))
    bottom = max(y + shape[0] for (y, _), shape in zip(places, shapes))
    margin = 0.01 * right
    hidden = {"showticklabels": False, "showgrid": False}
    return {
        "bad_pixel_map": {
            "data": data,
            "layout": {
                "title": {"text": "Where the bad pixels are"},
                "height": MAP_HEIGHT,
                "xaxis": {
                    "title": {"text": "Fast (pixels)"},
                    "range": [-margin, right + margin],
                    "constrain": "domain",
                    "zeroline": False,
                    **(hidden if several else {}),
                },
                "yaxis": {
                    "title": {"text": "Slow (pixels)"},
                    "range": [bottom + margin, -margin],
                    "scaleanchor": "x",
                    "constrain": "domain",
                    "zeroline": False,
                    **(hidden if several else {}),
                },
                "shapes": [
                    {
                        "type": "rect",
                        "x0": x - 0.5,
                        "x1": x + shape[1] - 0.5,
                        "y0": y - 0.5,
                        "y1": y + shape[0] - 0.5,
                        "line": {"color": "#999999", "width": 1},
                    }
                    for (y, x), shape in zip(places, shapes)
                ],
                "annotations": [
                    {
                        "x": x,
                        "y": y,
                        "xanchor": "left",
                        "yanchor": "top",
                        "showarrow": False,
                        "text": f"panel {i}",
                        "font": {"size": 10, "color": "#595959"},
                    }
                    for i, (y, x) in enumerate(places)
                ]
                if several
                else [],
                "hovermode": "closest",
            },
            "help": (
                "Every bad pixel, by kind. Pixels that were masked already are not shown. "
                "Lines or regions of bad pixels are a chip or a column; a pattern that "
                "looks like diffraction would be a fault of this program."
                + (
                    "\n\nPanels are drawn in the order of their numbers, not where they are "
                    "on the detector."
                    if several
                    else ""
                )
                + (
                    f"\n\nOf kinds with more than {MAX_POINTS} pixels those are left out that "
                    "others would cover."
                    if thinned
                    else ""
                )
            ),
        }
    }


def panel_places(shapes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where to draw panels, row by row, so that the whole is a little wider than high.

    Args:
        shapes: Of the panels, as slow and fast pixels.

    Returns:
        Slow and fast pixel of the first corner of each in the drawing.
    """
    if len(shapes) == 1:
        return [(0, 0)]
    gap = round(GAP * max(map(min, shapes)))
    height, width = (gap + max(sizes) for sizes in zip(*shapes))

    def distance_to_aspect(columns: int) -> float:
        rows = -(-len(shapes) // columns)
        return abs(math.log(columns * width / (rows * height) / ASPECT))

    columns = min(range(1, len(shapes) + 1), key=distance_to_aspect)
    return [(i // columns * height, i % columns * width) for i in range(len(shapes))]


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
        edges = np.concatenate([[0], np.geomspace(0.02, LARGEST, 200)])
        # Zero has no place on a logarithmic axis
        drawn_edges = np.maximum(edges, 0.01)
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
            if not counts.any():
                continue
            line = step_line(drawn_edges, counts)
            line["line"] |= line_style(index)
            data.append(
                line
                | {
                    "name": f"{name} pixels",
                    "hovertemplate": "from %{x:.3~g}: %{y} pixels",
                }
            )
        if not data:
            continue
        plots[f"distribution_{key}"] = {
            "data": data,
            "layout": {
                "title": {"text": title},
                "xaxis": {
                    "title": {"text": axis},
                    "type": "log",
                    "tickvals": [0.014, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, LARGEST],
                    "ticktext": ["0", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10"]
                    + ["20", "≥ 50"],
                },
                "yaxis": logarithmic_axis("Pixels", data, "y"),
                "hovermode": "closest",
                **_threshold_lines(thresholds),
            },
            "help": helptext,
        }
    return plots


def _counts(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many of the values that are known lie between edges, the last of them to infinity."""
    values = np.clip(values[np.isfinite(values)], 0, 0.998 * edges[-1])
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
        # Those left of 1 are written on their left, and every second lower, so that names
        # do not overlap; the places of annotations are logarithms on a logarithmic axis
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
                "xshift": -3 if x < 1 else 3,
                "yshift": -14 * (index % 2),
            }
            for index, (name, x) in enumerate(drawn)
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
                "xaxis": {"title": {"text": "Image"}, "zeroline": False},
                "yaxis": {
                    "title": {"text": "Value (counts)"},
                    "exponentformat": "none",
                    "separatethousands": True,
                },
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
        number = len(data) // 2
        style = line_style(number)
        x = numbers[look.frames].tolist()
        own = look.at(np.array([bad.index[k]])).values[0]
        neighbours = np.median(look.at(np.sort(around)).values, axis=0)
        where = f"panel {panel}, " if len(result.bad) > 1 else ""
        name = f"{where}slow {slow}, fast {fast}"
        for values, dash, label in (
            (own, "solid", name),
            (neighbours, "dot", "its neighbours"),
        ):
            data.append(
                {
                    "x": x,
                    "y": digits(values),
                    "type": "scatter",
                    "mode": "lines+markers",
                    "marker": marker_style(number, 5),
                    "line": {**style, "dash": dash},
                    "name": label,
                    "hovertemplate": "%{y:.4~g}",
                }
            )
    return data
