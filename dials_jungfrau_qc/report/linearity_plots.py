"""Plots of the linearity of a transmission series, as plain plotly dictionaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.linearity_residuals import Residuals
from dials_jungfrau_qc.io.tutorial_ratio import TutorialPair
from dials_jungfrau_qc.report.plots import (
    MAX_LINES,
    Plots,
    digits,
    line_style,
    logarithmic_axis,
    marker_style,
    resolution_axis,
)
from dials_jungfrau_qc.report.scatter import without_covered

# More points than this make a page slow and a plot no clearer
_MAX_POINTS = 3000

_AXES = {
    "intensity": ("Intensity in the reference (photons)", "log"),
    "peak": ("Brightest pixel in the reference (photons)", "log"),
    "resolution": ("Resolution (Å)", "resolution"),
    "position": ("Place in the sweep (0 start, 1 end)", "linear"),
    "panel": ("Panel", "linear"),
}
_NAMES = {"peak": "brightest pixel", "position": "place in the sweep"}
_HELP = {
    "intensity": (
        "A step where pixels begin to leave their first gain is a fault of the second "
        "gain; a fall at the bright end is compression; a rise at the faint end of "
        "strongly attenuated sweeps alone is an offset of integration."
    ),
    "peak": (
        "The same against the brightest pixel: faults of the detector happen at a number "
        "of photons in a pixel, about 25 for the first gain switch at 12.4 keV."
    ),
    "resolution": (
        "A slope is a difference in B: radiation damage between the sweeps. A fault of "
        "the detector is flat here but for the intensities that go with resolution."
    ),
    "position": (
        "A slope is a drift inside a sweep, of the beam or of the crystal: uniform decay "
        "shows here and nowhere else apart from the beam."
    ),
    "panel": "One module with a gain or pedestal of its own stands out here.",
}


def pair_scatter_plot(
    labels: Sequence[str], pairs: Sequence[TutorialPair], slopes: Sequence[float]
) -> Plots:
    """Intensities of each sweep against the reference on logarithmic axes.

    Args:
        labels: Of the sweeps.
        pairs: By the tutorial's selection.
        slopes: Ratio of sums of each.
    """
    data: list[dict[str, Any]] = []
    most = _MAX_POINTS // max(1, min(len(pairs), MAX_LINES))
    for index, (label, pair, slope) in enumerate(
        zip(labels[:MAX_LINES], pairs, slopes)
    ):
        if not len(pair.x):
            continue
        drawn = without_covered(np.log(pair.x), np.log(pair.y), most)
        data.append(
            {
                "x": digits(pair.x[drawn]),
                "y": digits(pair.y[drawn]),
                "type": "scatter",
                "mode": "markers",
                "marker": {**marker_style(index, 4), "opacity": 0.6},
                "name": label,
                "legendgroup": str(index),
                "hovertemplate": "%{x:.4~g}, %{y:.4~g}",
            }
        )
        ends = np.array([pair.x.min(), pair.x.max()])
        data.append(
            {
                "x": digits(ends),
                "y": digits(ends * slope),
                "type": "scatter",
                "mode": "lines",
                "line": {"color": "#000000", "width": 1},
                "showlegend": False,
                "legendgroup": str(index),
                "hovertemplate": f"ratio of sums {slope:.4f}",
            }
        )
    if not data:
        return {}
    return {
        "pair_scatter": {
            "data": data,
            "layout": {
                "title": {"text": "Intensities against those of the reference"},
                # As large as those of other plots, whose points are larger
                "legend": {"itemsizing": "constant"},
                "xaxis": logarithmic_axis(
                    "Intensity in the reference (photons)", data, "x"
                ),
                "yaxis": logarithmic_axis(
                    "Intensity in the sweep (photons)", data, "y"
                ),
                "hovermode": "closest",
            },
            "help": (
                "Every reflection with I/sigma above 3 in both sweeps, paired by position "
                "as the tutorial's script does, and the line of the ratio of sums. The "
                "bend of the points above the line at the faint end is selection: of faint "
                "reflections only those that came out high pass the cut.\n\n"
                "Of points that would cover each other one is drawn; pair<id>.dat has "
                "every one."
            ),
        }
    }


def ratio_over_nominal_plot(
    transmissions: Sequence[float],
    estimates: Sequence[tuple[str, Sequence[float], Sequence[float]]],
) -> Plots:
    """Each estimate of each sweep's ratio over the recorded one.

    Args:
        transmissions: Of the sweeps.
        estimates: Name, ratios over nominal and errors of each estimator.
    """
    data = []
    for index, (name, values, errors) in enumerate(estimates):
        # Moved apart a little so that error bars do not cover each other
        shift = 1 + 0.015 * (index - len(estimates) / 2)
        data.append(
            {
                "x": [float(f"{t * shift:.6g}") for t in transmissions],
                "y": _finite(values),
                "error_y": {"type": "data", "array": _finite(errors), "width": 2},
                "type": "scatter",
                "mode": "lines+markers",
                "line": {**line_style(index), "width": 1},
                "marker": marker_style(index, 7),
                "name": name,
                "hovertemplate": "%{y:.4f} ± %{error_y.array:.2~g}",
            }
        )
    return {
        "ratio_over_nominal": {
            "data": data,
            "layout": {
                "title": {"text": "Ratio to the reference over the recorded one"},
                "xaxis": _transmission_axis(transmissions),
                "yaxis": {"title": {"text": "Ratio / recorded ratio"}},
                "hovermode": "closest",
                "shapes": [_level(1.0)],
            },
            "help": (
                "1 for a linear detector behind a perfect attenuator. The same value for "
                "all sweeps is a reference that is off; one sweep off is its attenuator; "
                "a rise towards low transmission is damage or the detector.\n\n"
                "The mean of ratios lies above the others even for a perfect detector, as "
                "it selects reflections by their own errors."
            ),
        }
    }


def residual_plots(labels: Sequence[str], results: Sequence[Residuals]) -> Plots:
    """Ratios in bins of each quantity, with the joint model.

    Args:
        labels: Of all sweeps.
        results: Of each quantity.
    """
    plots: Plots = {}
    for result in results:
        title, kind = _AXES[result.quantity]
        data: list[dict[str, Any]] = []
        shown = [
            k
            for k in range(len(labels[:MAX_LINES]))
            if np.isfinite(result.ratio[k]).any()
        ]
        for place, k in enumerate(shown):
            label = labels[k]
            points = {
                "x": digits(result.centre),
                "type": "scatter",
                "legendgroup": str(k),
            }
            aside = 2 * place / len(shown) - 1 + 1 / len(shown)
            data.append(
                {
                    **points,
                    "x": digits(_moved(result.centre, aside, kind)),
                    "text": [_place_words(c, kind) for c in result.centre.tolist()],
                    "y": _finite(result.ratio[k]),
                    "error_y": {
                        "type": "data",
                        "array": _finite(result.error[k]),
                        "width": 2,
                    },
                    "mode": "markers",
                    "marker": marker_style(k, 7),
                    "name": label,
                    "hovertemplate": "%{text}: %{y:.4f} ± %{error_y.array:.2~g}",
                }
            )
            data.append(
                {
                    **points,
                    "y": _finite(result.model[k]),
                    "mode": "lines",
                    "line": {**line_style(k), "dash": "solid"},
                    "showlegend": False,
                    "hoverinfo": "skip",
                }
            )
        plots[f"residual_{result.quantity}"] = {
            "data": data,
            "layout": {
                "title": {
                    "text": "Ratio over the fitted beam against "
                    + _NAMES.get(result.quantity, result.quantity)
                },
                "xaxis": _axis(title, kind, data),
                "yaxis": {
                    "title": {"text": "Ratio / relative beam"},
                    **_range_of_certain(result),
                },
                "hovermode": "closest",
                "shapes": [_level(1.0)],
            },
            "help": (
                "Ratio of sums of each sweep to the reference in bins, over the relative "
                "beam that the joint model finds; lines are the joint model.\n\n"
                + _HELP[result.quantity]
                + "\n\nThe range is that of the points with small errors; others may lie "
                "outside of it."
            ),
        }
    return plots


def background_plot(
    transmissions: Sequence[float],
    values: Sequence[float],
    errors: Sequence[float],
    beams: Sequence[float],
    beam_errors: Sequence[float],
) -> Plots:
    """The background and the beam of the joint model, both over nominal.

    Args:
        transmissions: Of the sweeps.
        values: Background ratios over nominal.
        errors: Of these.
        beams: Relative beams over nominal.
        beam_errors: Of these.
    """
    data = []
    for index, (name, ys, sigmas) in enumerate(
        (
            ("background under the spots", values, errors),
            ("beam of the joint model", beams, beam_errors),
        )
    ):
        data.append(
            {
                # Moved apart a little so that error bars do not cover each other
                "x": [float(f"{t * (0.99 + 0.02 * index):.6g}") for t in transmissions],
                "y": _finite(ys),
                "error_y": {"type": "data", "array": _finite(sigmas), "width": 2},
                "type": "scatter",
                "mode": "lines+markers",
                "line": line_style(index),
                "marker": marker_style(index, 7),
                "name": name,
                "hovertemplate": "%{y:.4f} ± %{error_y.array:.2~g}",
            }
        )
    return {
        "background_monitor": {
            "data": data,
            "layout": {
                "title": {"text": "The background as a monitor of the beam"},
                "xaxis": _transmission_axis(transmissions),
                "yaxis": {"title": {"text": "Ratio / recorded ratio"}},
                "hovermode": "closest",
                "shapes": [_level(1.0)],
            },
            "help": (
                "The background under the spots is read in the first gain and does not "
                "decay with the lattice: where it follows the beam of the joint model the "
                "beam is off, where it stays at 1 the crystal or the detector is.\n\n"
                "At a few hundredths of a photon a pixel the background of integration has "
                "a bias of its own."
            ),
        }
    }


def _moved(centre: np.ndarray, aside: float, kind: str) -> np.ndarray:
    """Places beside those of the bins, so that error bars do not cover each other.

    Args:
        centre: Of the bins.
        aside: How far, from -1 to 1; at most 4 % of the value or 0.6 % of the range.
        kind: Of the axis.
    """
    if kind == "log":
        return centre * (1 + 0.04 * aside)
    return centre + 0.006 * aside * np.ptp(centre)


def _place_words(centre: float, kind: str) -> str:
    if kind == "resolution":
        return f"{centre**-0.5:.2f} Å" if centre > 0 else ""
    return f"{centre:.4g}"


def _axis(title: str, kind: str, data: Sequence[dict[str, Any]]) -> dict[str, Any]:
    if kind == "log":
        return logarithmic_axis(title, data, "x")
    if kind == "resolution":
        return resolution_axis(max((max(t["x"]) for t in data), default=0.0) or 1.0)
    return {"title": {"text": title}}


def _range_of_certain(result: Residuals) -> dict[str, Any]:
    """The range of the ratios that are well measured.

    Bins of the faintest reflections would else leave the others a line at 1.
    """
    known = np.isfinite(result.ratio) & np.isfinite(result.error)
    if not known.any():
        return {}
    ratio, error = result.ratio[known], result.error[known]
    certain = error <= 4 * np.median(error)
    low = min(float((ratio - error)[certain].min()), 1.0)
    high = max(float((ratio + error)[certain].max()), 1.0)
    space = 0.05 * (high - low) + 0.002
    return {"range": [low - space, high + space]}


def _transmission_axis(transmissions: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis that names the transmissions that there are."""
    apart: list[float] = []
    for value in sorted(set(transmissions)):
        # Names closer than this would overlap
        if not apart or value > 1.08 * apart[-1]:
            apart.append(value)
    return {
        "title": {"text": "Recorded transmission"},
        "type": "log",
        "range": [
            math.log10(0.85 * min(transmissions)),
            math.log10(1.15 * max(transmissions)),
        ],
        "tickvals": apart,
        "ticktext": [f"{value:.3g}" for value in apart],
    }


def _level(y: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": y,
        "y1": y,
        "line": {"color": "#888888", "width": 1, "dash": "dot"},
    }


def _finite(values: Sequence[float]) -> list[float | None]:
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]
