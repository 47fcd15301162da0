"""Plots of what was found in the pixel values; see plots.py for their form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitchSearch
from dials_jungfrau_qc.algorithms.gain_switch_joint import JointGainSwitch
from dials_jungfrau_qc.algorithms.pixel_features import PixelFeatures
from dials_jungfrau_qc.io.spot_pixels import SpotPixels
from dials_jungfrau_qc.report.plots import (
    MAX_LINES,
    Plots,
    digits,
    line_style,
    logarithmic_axis,
    marker_style,
    resolution_axis,
    short_name,
)
from dials_jungfrau_qc.report.scatter import without_covered

# Fits that are shown at first
MAX_FITS = 6
# More points than this make a page slow and a plot no clearer
MAX_SPOTS = 3000


def switch_fit_plot(names: Sequence[str], features: Sequence[PixelFeatures]) -> Plots:
    """The fit over the histogram of each group, with its residuals below."""
    groups = []
    for index, (name, feature) in enumerate(zip(names, features[:MAX_LINES])):
        search = feature.switch
        if search.values.size:
            traces = _fit_traces(index, name, search)
            if len(groups) >= MAX_FITS:
                traces = [trace | {"visible": "legendonly"} for trace in traces]
            groups.append(traces)
    data = [trace for traces in groups for trace in traces]
    if not data:
        return {}
    return {
        "switch_fit": {
            "data": data,
            "layout": {
                "title": {"text": "Fit of the gain switch"},
                "xaxis": {"title": {"text": "Pixel value (photons)"}, "anchor": "y2"},
                "yaxis": {
                    **logarithmic_axis("Pixels", [group[0] for group in groups], "y"),
                    "domain": [0.32, 1],
                },
                "yaxis2": {
                    "title": {"text": "Residual (sigma)"},
                    "domain": [0, 0.25],
                    "zeroline": True,
                },
                "hovermode": "closest",
            },
            "help": (
                "Points are the histogram, the full line is the fit: a smooth curve folded "
                "with a detector that switches gains. The dotted line is the smooth curve "
                "alone, and the lower plot is what the fit leaves, in standard deviations.\n\n"
                "J is the area between the two, in photons: how far values jump at the "
                "switch. Negative J is an overlap (values occur twice over, then a step down), "
                "positive J a deficit (values that do not occur).\n\n"
                "Where no switch is called the line is the best curve without one. "
                "Click on a name to hide its points or to show them."
            ),
        }
    }


def _fit_traces(index: int, name: str, search: GainSwitchSearch) -> list[dict]:
    """The histogram of a group, the lines through it, and what they leave."""
    fitted = search.expected if search.switch else search.null
    common = {
        "x": search.values.tolist(),
        "legendgroup": str(index),
        "hoverinfo": "x+y+name",
    }
    line = {"color": line_style(index)["color"], "width": 1.5}
    traces = [
        {
            "y": [n or None for n in search.counts.tolist()],
            "mode": "markers",
            "marker": marker_style(index, 5),
            "name": short_name(name) + ("" if search.switch else " (no switch)"),
        },
        {
            "y": digits(fitted),
            "mode": "lines",
            "line": line,
            "name": "fit",
            "showlegend": False,
        },
        {
            "y": digits((search.counts - fitted) / np.sqrt(np.maximum(fitted, 1))),
            "yaxis": "y2",
            "mode": "markers",
            "marker": marker_style(index, 4),
            "name": "residual",
            "showlegend": False,
        },
    ]
    if search.switch:
        traces.append(
            {
                "y": digits(search.smooth),
                "mode": "lines",
                "line": line | {"width": 1, "dash": "dot"},
                "name": "without a switch",
                "showlegend": False,
            }
        )
    return [common | trace for trace in traces]


def switch_by_group_plot(
    names: Sequence[str], features: Sequence[PixelFeatures], joint: JointGainSwitch
) -> Plots:
    """Position and J of the switch for each group, with their errors."""
    called = [(n, f.switch.switch) for n, f in zip(names, features) if f.switch.switch]
    if not called:
        return {}
    labels = [short_name(name) for name, _ in called]

    def points(value: str, axis: str, index: int, name: str) -> dict:
        return {
            "x": labels,
            "y": [getattr(switch, value) for _, switch in called],
            "error_y": {
                "type": "data",
                "array": [getattr(switch, f"{value}_error") for _, switch in called],
            },
            "mode": "markers",
            "marker": marker_style(index, 8),
            "yaxis": axis,
            "name": name,
            "hovertemplate": "%{y:.3f} ± %{error_y.array:.2~g}",
        }

    shapes = []
    if joint.switch:
        shapes = [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "yref": axis,
                "y0": value,
                "y1": value,
                "line": {"dash": "dot", "width": 1, "color": "#555"},
            }
            for axis, value in (("y", joint.switch.position), ("y2", joint.switch.area))
        ]
    return {
        "switch_by_group": {
            "data": [
                points("position", "y", 0, "position"),
                points("area", "y2", 1, "J"),
            ],
            "layout": {
                "title": {"text": "The gain switch of each histogram"},
                "xaxis": {"automargin": True, "anchor": "y2"},
                "yaxis": {"title": {"text": "Position (photons)"}, "domain": [0.55, 1]},
                "yaxis2": {"title": {"text": "J (photons)"}, "domain": [0, 0.45]},
                "shapes": shapes,
                "showlegend": False,
            },
            "help": (
                "Where the switch is and how far values jump there, for each sweep or panel, "
                "with errors of one standard deviation. Dotted: all together. A detector "
                "switches at the same counts in every sweep."
            ),
        }
    }


def peakogram(
    names: Sequence[str],
    spots: Sequence[SpotPixels],
    features: Sequence[PixelFeatures],
    joint: JointGainSwitch,
) -> Plots:
    """The highest pixel of each reflection against its resolution."""
    drawn = [
        (i, group)
        for i, group in enumerate(spots[:MAX_LINES])
        if group.resolution is not None and group.maximum is not None
    ]
    if not drawn:
        return {}
    data = []
    for index, group in drawn:
        use = np.flatnonzero(np.nan_to_num(group.maximum) > 0)
        # 1/d^2, on which an axis of resolution is linear
        x, y = 1 / group.resolution[use] ** 2, group.maximum[use]
        shown = without_covered(x, np.log(y), MAX_SPOTS // len(drawn))
        data.append(
            {
                "x": digits(x[shown]),
                "y": digits(y[shown]),
                "text": [f"{d:.2f} Å" for d in x[shown] ** -0.5],
                "type": "scatter",
                "mode": "markers",
                "marker": {**marker_style(index, 4), "opacity": 0.7},
                "name": short_name(names[index]),
                "hovertemplate": "%{text}: %{y}",
            }
        )
    lines = []
    if joint.switch:
        lines.append((joint.switch.position, "gain switch"))
    ceilings = [f.pile_up.pile_up.edge for f in features if f.pile_up.pile_up]
    if ceilings:
        lines.append((float(np.median(ceilings)), "pile-up"))
    highest = max(max(trace["x"], default=0.0) for trace in data) or 1.0
    return {
        "peakogram": {
            "data": data,
            "layout": {
                "title": {"text": "Peakogram"},
                # As large as those of other plots, whose points are larger
                "legend": {"itemsizing": "constant"},
                "xaxis": resolution_axis(highest),
                "yaxis": logarithmic_axis(
                    "Highest pixel of the reflection (counts)", data, "y"
                ),
                "shapes": [
                    {
                        "type": "line",
                        "xref": "paper",
                        "x0": 0,
                        "x1": 1,
                        "y0": value,
                        "y1": value,
                        "line": {"dash": "dash", "width": 1.5, "color": "#000"},
                    }
                    for value, _ in lines
                ],
                "annotations": [
                    {
                        "xref": "paper",
                        "x": 1,
                        "y": float(np.log10(value)),
                        "text": text,
                        "showarrow": False,
                        "xanchor": "right",
                        "yanchor": "bottom",
                        "yshift": 1,
                        # Legible over the points
                        "bgcolor": "rgba(255, 255, 255, 0.8)",
                        "borderpad": 1,
                    }
                    for value, text in lines
                ],
                "hovermode": "closest",
            },
            "help": (
                "The highest pixel of each reflection against its resolution. Reflections "
                "above the gain switch have pixels in the second gain; those at the pile-up "
                "are measured too weak, and are most often at low resolution.\n\n"
                "Of points that would cover each other one is drawn."
            ),
        }
    }
