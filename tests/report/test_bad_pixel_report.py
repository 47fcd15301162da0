from __future__ import annotations

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
from dials_jungfrau_qc.report.bad_pixel_plots import distribution_plots
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
