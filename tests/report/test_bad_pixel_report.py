from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.bad_pixels import (
    BadPixels,
    CombinedPixels,
    Look,
    signal_pixels,
)
from dials_jungfrau_qc.algorithms.pixel_suspects import Limits
from dials_jungfrau_qc.algorithms.pixel_tests import PixelSample
from dials_jungfrau_qc.io.frame_sharing import Unreadable
from dials_jungfrau_qc.io.pixel_search import Findings, SweepResult
from dials_jungfrau_qc.report.bad_pixel_plots import (
    MAX_POINTS,
    detector_plot,
    distribution_plots,
)
from dials_jungfrau_qc.report.bad_pixel_report import sections

SHAPE = (20, 30)


@pytest.fixture
def findings():
    """One bad pixel of which hardly anything is known."""
    bad: BadPixels = signal_pixels(np.array([45]), np.full(SHAPE, 20), 40)
    bad.kind[:] = "hot"
    good = np.ones(SHAPE, bool)
    ones = np.ones(good.size, np.float32)
    sample = PixelSample(np.arange(good.size), ones, ones, 1)
    look = Look(np.array([45]), np.array([0, 1]), np.zeros((1, 2)))
    return Findings(
        method="statistics",
        panel_names=("panel",),
        masks=(good,),
        panels=[CombinedPixels(bad, np.array([0]), np.array([1]))],
        sweeps=[SweepResult([bad], [sample], [look], (), Unreadable())],
        numbers=[np.arange(1, 41)],
        skipped=[()],
    )


def test_panels_are_drawn_side_by_side(findings):
    n = 18
    many = dataclasses.replace(
        findings,
        panel_names=tuple(f"module {i}" for i in range(n)),
        masks=findings.masks * n,
        panels=findings.panels * n,
    )

    (plot,) = detector_plot(many, ("hot",), {"hot": "hot"}).values()

    (trace,) = plot["data"]
    frames = plot["layout"]["shapes"]
    assert [note["text"] for note in plot["layout"]["annotations"]] == [
        f"panel {i}" for i in range(n)
    ]
    for i, (frame, x, y) in enumerate(zip(frames, trace["x"], trace["y"])):
        # Pixel 45 of 30 pixels a row
        assert (x, y) == (frame["x0"] + 0.5 + 15, frame["y0"] + 0.5 + 1)
        assert trace["text"][i] == f"panel {i}, slow 1, fast 15"


def test_of_very_many_pixels_some_are_drawn(findings):
    shape = (2000, 3000)
    index = np.arange(0, 6_000_000, 97)
    bad = signal_pixels(index, np.full(shape, 20), 40)
    many = dataclasses.replace(
        findings,
        masks=(np.ones(shape, bool),),
        panels=[CombinedPixels(bad, np.zeros(len(index)), np.ones(len(index)))],
    )

    (plot,) = detector_plot(many, ("signal",), {"signal": "signal"}).values()

    (trace,) = plot["data"]
    assert 500 < len(trace["x"]) <= MAX_POINTS
    assert trace["name"] == f"signal ({len(index)})"
    assert str(MAX_POINTS) in plot["help"]


def test_nothing_is_drawn_of_no_bad_pixels(findings):
    none = dataclasses.replace(
        findings,
        panels=[
            CombinedPixels(
                signal_pixels(np.empty(0, int), np.full(SHAPE, 20), 40),
                np.empty(0),
                np.empty(0),
            )
        ],
    )

    assert detector_plot(none, ("hot",), {"hot": "hot"}) == {}
    parts = sections(none, [], [], Limits())
    assert parts[0].points == [
        "There is nothing to mask beyond what is masked already."
    ]
    assert "Bad pixels" not in [part.title for part in parts]


def test_thresholds_are_drawn_where_the_limits_are(findings):
    plots = distribution_plots(findings, Limits(dead=0.04, low=0.7, high=1.5))

    for key, places in (
        ("distribution_response", [0.04, 0.7, 1.5]),
        ("distribution_scatter", [1.4]),
    ):
        layout = plots[key]["layout"]
        assert [line["x0"] for line in layout["shapes"]] == places
        assert [line["x1"] for line in layout["shapes"]] == places
        assert [note["x"] for note in layout["annotations"]] == [
            pytest.approx(math.log10(place)) for place in places
        ]
        for note, place in zip(layout["annotations"], places):
            assert note["text"].endswith(f" {place:g}")


def test_a_threshold_of_zero_has_no_place_on_a_logarithmic_axis(findings):
    plots = distribution_plots(findings, Limits(dead=0.0))

    assert len(plots["distribution_response"]["layout"]["shapes"]) == 2


def test_unknown_numbers_are_empty_in_the_table(findings):
    parts = sections(findings, [], [], Limits())

    (table,) = next(part for part in parts if part.title == "Evidence").tables
    assert table.rows[1] == [
        "over-responding or hot", "0", "1", "15", "", "", "", "0", "50 %",
    ]  # fmt: skip
