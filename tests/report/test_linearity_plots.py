from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from dials_jungfrau_qc.report.linearity_plots import (
    background_plot,
    residual_plots,
)


def residuals(ratio, error) -> dict:
    """The plot of ratios of one sweep in bins of intensity."""
    result = SimpleNamespace(
        quantity="intensity",
        centre=np.geomspace(10, 1000, len(ratio)),
        ratio=np.array([ratio]),
        error=np.array([error]),
        model=np.ones((1, len(ratio))),
    )
    return residual_plots(["0 (T = 0.1)"], [result])["residual_intensity"]


def test_uncertain_bins_do_not_set_the_range():
    plot = residuals([3.0, 1.04, 0.98, 1.01], [2.0, 0.02, 0.01, 0.01])

    low, high = plot["layout"]["yaxis"]["range"]
    assert 0.9 < low < 0.97 and 1.06 < high < 1.1
    assert 3.0 in plot["data"][0]["y"]
    assert "outside" in plot["help"]


@pytest.mark.parametrize("quantity", ["intensity", "resolution", "position"])
def test_error_bars_of_many_sweeps_stand_side_by_side(quantity):
    centre = np.geomspace(0.01, 0.3, 8)
    ones = np.ones((5, 8))
    result = SimpleNamespace(
        quantity=quantity, centre=centre, ratio=ones, error=ones / 10, model=ones
    )
    labels = [f"{k} (T = {0.1 * k:g})" for k in range(5)]

    (plot,) = residual_plots(labels, [result]).values()

    points = np.array([t["x"] for t in plot["data"] if t["mode"] == "markers"])
    assert np.all(np.diff(points, axis=0) > 0)
    assert np.median(points, axis=0) == pytest.approx(centre, rel=1e-4)
    assert points[-1][:-1] == pytest.approx(centre[:-1], rel=0.2)
    lines = [t["x"] for t in plot["data"] if t["mode"] == "lines"]
    assert np.allclose(lines, centre, rtol=1e-4)


def test_a_range_always_holds_one():
    plot = residuals([1.2, 1.21, math.nan], [0.01, 0.01, math.nan])

    low, high = plot["layout"]["yaxis"]["range"]
    assert low < 1 < 1.22 < high


@pytest.mark.parametrize(
    "transmissions, named",
    [
        ([0.064, 0.127, 0.253], ["0.064", "0.127", "0.253"]),
        ([0.5, 0.5, 0.52, 1.0], ["0.5", "1"]),
    ],
)
def test_transmissions_are_named_where_there_is_room(transmissions, named):
    n = len(transmissions)
    ones = np.ones(n)

    plot = background_plot(transmissions, ones, ones, ones, ones)["background_monitor"]

    axis = plot["layout"]["xaxis"]
    assert axis["ticktext"] == named
    low, high = axis["range"]
    assert (
        low < math.log10(min(transmissions)) and math.log10(max(transmissions)) < high
    )
