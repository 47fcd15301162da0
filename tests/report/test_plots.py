from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.histogram import Histogram, bin_edges
from dials_jungfrau_qc.report.bad_pixel_plots import ASPECT, GAP, panel_places
from dials_jungfrau_qc.report.plots import (
    COLOURS,
    DASHES,
    MAX_LINES,
    MAX_NAME,
    display_bins,
    line_style,
    marker_style,
    pixel_values_plot,
    resolution_ticks,
    short_name,
    step_line,
)
from dials_jungfrau_qc.report.scatter import without_covered

# What each kind of dichromat sees of linear RGB: Machado, Oliveira and Fernandes (2009),
# IEEE Trans. Vis. Comput. Graph. 15, 1291, severity 1.0
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# Linear sRGB to CIE XYZ, D65
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear_rgb(colour: str) -> np.ndarray:
    """Light of a colour as #RRGGBB."""
    s = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear RGB."""
    t = XYZ @ np.clip(light, 0, 1) / XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", VISION)
def test_colours_can_be_told_apart(kind):
    """By far more than the 2.3 that are just noticeable side by side."""
    seen = [lab(VISION[kind] @ linear_rgb(colour)) for colour in COLOURS]
    for one, other in itertools.combinations(range(len(COLOURS)), 2):
        distance = np.linalg.norm(seen[one] - seen[other])
        assert distance > 15, (COLOURS[one], COLOURS[other])


def test_colours_stand_out_from_paper():
    """Contrast of 3, as WCAG 2.1 asks of graphics (success criterion 1.4.11)."""
    for colour in COLOURS:
        assert 1.05 / (0.05 + XYZ[1] @ linear_rgb(colour)) >= 3, colour


def test_no_two_lines_or_markers_look_alike():
    lines = {json.dumps(line_style(i)) for i in range(MAX_LINES)}
    markers = {json.dumps(marker_style(i, 5)) for i in range(MAX_LINES)}
    assert len(lines) == len(markers) == MAX_LINES
    assert len(COLOURS) * len(DASHES) >= MAX_LINES


def test_steps_have_the_edges_of_their_bins():
    line = step_line(np.array([0.0, 1, 2, 5, 7, 9]), np.array([0, 4, 2, 0, 3]))

    # Two runs, each ended at its upper edge
    assert line["x"] == [1, 2, 5, None, 7, 9]
    assert line["y"] == [4, 2, 2, None, 3, 3]
    assert line["line"]["shape"] == "hv"


def test_an_empty_histogram_draws_nothing():
    line = step_line(np.arange(4.0), np.zeros(3))

    assert line["x"] == line["y"] == []


@pytest.mark.parametrize(
    "low, width, n", [(0, 1, 12000), (-50, 1, 3000), (0, 0.5, 100), (1000, 1, 11000)]
)
def test_display_bins_are_single_at_zero_and_cover_all(low, width, n):
    edges = bin_edges(low, low + n * width, n)

    starts = display_bins(edges, n)

    sizes = np.diff(starts)
    assert starts[0] == 0 and starts[-1] == n and (sizes > 0).all()
    near = np.abs(edges[starts[:-1]] / width) < 200
    assert (sizes[near] == 1).all()
    far = ~near
    assert (sizes[far] <= np.abs(edges[starts[:-1]][far] / width) / 100).all()
    assert min(n, 500) <= len(sizes) <= 1200


def test_no_pixel_is_lost_where_bins_are_drawn_together():
    counts = np.random.default_rng(0).poisson(3.0, 12000)
    edges = bin_edges(0, 12000, 12000)

    plot = pixel_values_plot(["a"], [Histogram(edges, edges[1:], counts, 0, 0)])

    (trace,) = plot["pixel_values"]["data"]
    x = np.array(trace["x"], float)
    y = np.array(trace["y"], float)
    together = y[:-1] * np.diff(x)
    # The last count may be 0, and then no line ends it
    assert np.nansum(together) == pytest.approx(counts.sum(), rel=1e-4)


@pytest.mark.parametrize("of_images", [False, True])
def test_the_title_says_which_pixels(of_images):
    edges = bin_edges(0, 100, 100)
    histogram = Histogram(edges, edges[1:], np.ones(100, int), 0, 0)

    plot = pixel_values_plot(["a"], [histogram], of_images)["pixel_values"]

    words = (plot["layout"]["title"]["text"], plot["help"])
    for text in words:
        assert ("under the spots" in text, "of the images" in text) == (
            not of_images,
            of_images,
        )
    assert ("threshold" in plot["help"]) is not of_images


def test_presets_are_where_there_are_pixels():
    def presets(highest: int) -> list[str]:
        counts = np.zeros(12000, int)
        counts[highest] = 1
        edges = bin_edges(0, 12000, 12000)
        plot = pixel_values_plot(["a"], [Histogram(edges, edges[1:], counts, 0, 0)])
        return [preset["label"] for preset in plot["pixel_values"]["presets"]]

    assert presets(10500) == ["all", "0-50", "0-200", "0-1000", "8000-12000"]
    assert "8000-12000" not in presets(900)


def test_long_names_keep_their_ends():
    name = "begin" + 100 * "x" + "end"

    short = short_name(name)

    assert len(short) == MAX_NAME
    assert short.startswith("begin") and short.endswith("end") and "…" in short
    assert short_name("short") == "short"


def test_covered_points_are_left_out_and_outliers_are_not():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1e-3, (2, 50000))
    x[[7, 11]], y[[7, 11]] = (5, -5), (8, -8)

    drawn = without_covered(x, y, 1000)

    assert len(drawn) <= 1000
    assert {7, 11} <= set(drawn.tolist())
    assert (np.diff(drawn) > 0).all()


@pytest.mark.parametrize("x, n", [([], 0), ([3.0], 1), ([2.0, 2.0], 1)])
def test_few_points_are_all_drawn(x, n):
    assert len(without_covered(np.array(x), np.array(x), 10)) == n


def test_at_least_one_point_is_drawn():
    with pytest.raises(ValueError, match="at least one"):
        without_covered(np.ones(3), np.ones(3), 0)


@pytest.mark.parametrize("highest", [0.02, 0.3, 1.0])
def test_resolutions_are_round_and_apart(highest):
    ticks = resolution_ticks(highest)

    places = np.array(ticks) ** -2.0
    assert len(ticks) >= 4
    assert (np.diff(places) > highest / 15).all() and places[-1] <= highest
    assert all(len(f"{d:g}") <= 4 for d in ticks)


@pytest.mark.parametrize(
    "n, shape", [(1, (514, 1030)), (18, (514, 1030)), (24, (195, 2463))]
)
def test_panels_do_not_overlap_and_fill_a_page(n, shape):
    places = panel_places([shape] * n)

    assert len(set(places)) == n
    for (slow, fast), (other_slow, other_fast) in itertools.combinations(places, 2):
        assert abs(slow - other_slow) >= shape[0] or abs(fast - other_fast) >= shape[1]
    height = max(slow for slow, _ in places) + shape[0]
    width = max(fast for _, fast in places) + shape[1]
    if n > 1:
        assert ASPECT / 2 < width / height < ASPECT * 2
        assert places[1][1] in (0, shape[1] + round(GAP * min(shape)))
