"""Every report in a browser, without a network: see tests/pages.py for what is tried."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from integrated_files import experiment, simulate, write_series
from nxmx_files import write_nxmx
from pages import (
    ALL_DRAWN,
    LAPTOP,
    NARROW,
    PLOTS,
    assert_drawn,
    assert_legible,
    assert_quiet,
    assert_self_contained,
    assert_usable,
)
from refl_files import INDEXED, STRONG, table_bytes, write_table
from switch_data import planted_image

from dials_jungfrau_qc.algorithms.histogram import Histogram, bin_edges
from dials_jungfrau_qc.algorithms.value_counts import ValueCounts
from dials_jungfrau_qc.report.feature_plots import MAX_SPOTS
from dials_jungfrau_qc.report.html import (
    RunInfo,
    Section,
    plotly_script,
    render_report,
)
from dials_jungfrau_qc.report.plots import (
    digits,
    pixel_values_log_plot,
    pixel_values_plot,
    short_name,
)
from dials_jungfrau_qc.report.scatter import without_covered
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic

# Script, markup, quotes, entities, a template and a line break, for names of files
HOSTILE = '<b>&lt;<\\b><script>window.hit=1<\\script>"it\'s" %{x} \x1b\n.refl'


def write_spots(
    folder: Path, name: str = "indexed.refl", n_sweeps: int = 2
) -> list[str]:
    """Sweeps on a detector that switches at 25 photons with J = -4, and their geometry."""
    from dxtbx.model.experiment_list import ExperimentList

    boxes, ids = [], []
    for id_ in range(n_sweeps):
        image = planted_image(id_ + 1, SpotMosaic(n_spots=40), -4.0, 25.0, 0.6)
        for tile in np.array_split(image, image.shape[0] // 8):
            boxes.append((tile[None].astype("f4"), np.full((1, *tile.shape), 5)))
            ids.append(id_)
    rng = np.random.default_rng(0)
    places = rng.uniform((5, 5, 0), (1000, 500, 50), (len(boxes), 3))
    table = table_bytes(
        boxes,
        ids=ids,
        flags=[INDEXED | STRONG] * len(boxes),
        identifiers={k: f"sweep-{k}" for k in range(n_sweeps)},
        extra={
            "xyzobs.px.value": ("vec3<double>", places),
            "intensity.sum.value": (
                "double",
                np.array([float(data.sum()) for data, _ in boxes]),
            ),
        },
    )
    (folder / name).write_bytes(table)
    experiments = [
        experiment(f"sweep-{k}", transmission=2.0 ** (k + 1 - n_sweeps))
        for k in range(n_sweeps)
    ]
    ExperimentList(experiments).as_file(str(folder / "indexed.expt"))
    return [name, "indexed.expt"]


def write_images(folder: Path) -> list[str]:
    """Images with a dead, a hot, a noisy and a stuck pixel."""
    rng = np.random.default_rng(0)
    frames = rng.poisson(1.0, (40, 514, 1030)).astype(np.int32)
    frames[:, 100, 200] = 0
    frames[:, 101, 700] += rng.poisson(20, 40).astype(np.int32)
    frames[:, 210, 310] += np.rint(rng.normal(0, 4, 40)).astype(np.int32)
    frames[:, 400, 300] = 777
    write_nxmx(folder / "data.nxs", frames)
    return ["data.nxs"]


def write_integrated(folder: Path) -> list[str]:
    """A short transmission series of strong data."""
    return [*write_series(folder, simulate(seed=3, spots={"scale": 6000.0}))]


def write_page(program: str, folder: Path, args: Sequence[str]) -> Path:
    """Run a program in its folder, and say where its page is."""
    module = importlib.import_module(f"dials_jungfrau_qc.command_line.{program}")
    with contextlib.chdir(folder):
        module.run(args)
    return folder / f"dials.{program}.html"


@pytest.fixture(scope="module")
def pixel_page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pixels")
    return write_page("pixel_histogram", folder, [*write_spots(folder), "nproc=1"])


@pytest.fixture(scope="module")
def linearity_page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("linearity")
    return write_page("transmission_linearity", folder, write_integrated(folder))


@pytest.fixture(scope="module")
def bad_pixel_page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad_pixels")
    return write_page("find_bad_pixels", folder, write_images(folder))


@pytest.mark.parametrize(
    "page, keys",
    [
        (
            "pixel_page",
            ["pixel_values", "pixel_values_log", "switch_fit", "switch_by_group"]
            + ["peakogram", "spot_intensities"],
        ),
        (
            "linearity_page",
            ["ratio_over_nominal", "pair_scatter", "residual_intensity"]
            + ["residual_peak", "residual_resolution", "residual_position"]
            + ["background_monitor"],
        ),
        (
            "bad_pixel_page",
            ["bad_pixel_map", "distribution_response", "distribution_scatter"]
            + ["trace_dead", "trace_hot", "trace_noisy", "trace_stuck"],
        ),
    ],
)
def test_every_page_is_complete_and_usable(request, browser, page: str, keys: list):
    path = request.getfixturevalue(page)

    assert_self_contained(path.read_text())
    assert assert_usable(browser, path, path.stem) == keys


def test_pages_of_little_data_draw_what_they_have(in_tmp_path, browser):
    write_table(Path("few.refl"), n=5)
    few = np.random.default_rng(0).poisson(3.0, (3, 514, 1030)).astype(np.int32)
    write_nxmx(in_tmp_path / "three.nxs", few)
    weak = simulate(seed=4, n=200, spots={"scale": 60.0})
    for program, args in (
        ("pixel_histogram", ["few.refl"]),
        ("find_bad_pixels", ["three.nxs"]),
        ("transmission_linearity", write_series(in_tmp_path, weak)),
    ):
        path = write_page(program, in_tmp_path, args)
        with browser.open(path, LAPTOP) as page:
            page.wait_until(ALL_DRAWN)
            assert_quiet(page, path)
            for plot in page.evaluate(PLOTS):
                assert_drawn(plot)
                assert_legible(plot)
            assert page.evaluate("document.querySelectorAll('li').length") >= 1


def test_hostile_text_is_shown_as_text(in_tmp_path, browser):
    names = write_spots(in_tmp_path, HOSTILE, n_sweeps=1)
    log = "output.log=<img src=x onerror=window.hit=2>'\".log"
    path = write_page("pixel_histogram", in_tmp_path, [*names, "nproc=1", log])

    with browser.open(path) as page:
        page.wait_until(ALL_DRAWN)
        assert_quiet(page, path)
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.querySelectorAll('img, b').length") == 0
        shown = HOSTILE.replace("\x1b", "\\x1b").removesuffix(".refl")
        (inputs,) = page.evaluate(
            "Array.from(document.querySelectorAll('dd')).map(d => d.textContent)"
            ".filter(t => t.includes('indexed.expt') && !t.includes('dials.'))"
        )
        assert shown in inputs
        legend = page.evaluate(
            "document.querySelector('#pixel_values .legendtext').textContent"
        )
        label = json.loads(path.with_suffix(".json").read_text())["groups"][0]["label"]
        in_a_line = {"\x1b": "\\x1b", "\n": "\\n"}
        assert legend == "".join(in_a_line.get(c, c) for c in short_name(label))
        row = page.evaluate("document.querySelector('td').textContent")
        assert row.startswith(shown.replace("\n", "\\n")[:-2])
        changed = page.evaluate("document.querySelector('pre').textContent")
        assert "<img src=x onerror=window.hit=2>" in changed
        page.click("[data-plot=pixel_values][data-format=svg]")
        assert b"<script" not in page.saved("pixel_values.svg")


def test_five_sweeps_are_small_enough():
    """With every bin and every point that a page may have."""
    edges = bin_edges(0, 12000, 12000)
    rng = np.random.default_rng(0)
    counts = [rng.integers(1, 10**6, 12000) for _ in range(5)]
    names = [f"a_name_of_usual_length_{k} (and_its_images.nxs)" for k in range(5)]
    plots = pixel_values_plot(
        names, [Histogram(edges, edges[1:], c, 0, 0) for c in counts]
    ) | pixel_values_log_plot(
        names, [ValueCounts(np.arange(12000.0), c) for c in counts]
    )
    x, y = rng.random((2, 10**5))
    drawn = without_covered(x, y, MAX_SPOTS)
    plots["points"] = {
        "data": [{"x": digits(x[drawn]), "y": digits(y[drawn])}],
        "layout": {"title": {"text": "points"}},
    }
    run = RunInfo("program", "1", "DIALS", "program", ".", "2024-01-01", names, "")

    page = render_report("title", "verdict", [Section("plots", plots)], run)

    assert_self_contained(page)
    # What there is beside the script of plotly
    assert len(page.encode()) - len(plotly_script().encode()) < 1e6


@pytest.mark.parametrize("n, legible", [(24, True), (150, False)])
def test_turned_words_may_not_cover_each_other(in_tmp_path, browser, n, legible):
    """Of so many names that plotly turns them, those it is made to squeeze overlap."""
    plot = {
        "data": [{"x": [f"sweep_{k:03d}" for k in range(n)], "y": list(range(n))}],
        "layout": {
            "title": {"text": "many"},
            "xaxis": {"nticks": n, "automargin": True}
            | ({} if legible else {"tickangle": 30, "tickmode": "linear"}),
            "yaxis": {"title": {"text": "number"}},
            "showlegend": False,
        },
    }
    run = RunInfo("program", "1", "DIALS", "program", ".", "2024-01-01", [], "")
    page = render_report("title", "verdict", [Section("plots", {"many": plot})], run)
    path = in_tmp_path / "many.html"
    path.write_text(page)
    with browser.open(path, LAPTOP) as shown:
        shown.wait_until(ALL_DRAWN)
        (drawn,) = shown.evaluate(PLOTS)
        angle = shown.evaluate(
            "document.querySelector('.xtick text').getAttribute('transform')"
        )
    assert "rotate(" in angle and "rotate(0" not in angle
    if legible:
        assert_legible(drawn)
    else:
        with pytest.raises(AssertionError, match="sweep_"):
            assert_legible(drawn)


def test_plots_that_are_looked_at_are_drawn_first(pixel_page, browser):
    """Also where the window is not at the top, as after a reload or on a link."""
    text = pixel_page.read_text()
    linked = pixel_page.with_name("linked.html")
    drawn = (
        "<script>window.order = []; new MutationObserver(changes => changes.forEach("
    )
    drawn += (
        "c => c.target.matches('.js-plotly-plot') && order.push(c.target.id))).observe("
    )
    drawn += "document.body, {subtree: true, attributeFilter: ['class']});"
    drawn += "document.getElementById('peakogram').scrollIntoView();</script>"
    place = text.index("<script>/**")
    linked.write_text(text[:place] + drawn + text[place:])

    with browser.open(linked, LAPTOP, watched=False) as page:
        page.wait_until(ALL_DRAWN)
        keys = [plot["key"] for plot in page.evaluate(PLOTS)]
        order = list(dict.fromkeys(page.evaluate("order")))
        seen, drawn = page.evaluate(
            "[document.body.dataset.drawnInViewAt, document.body.dataset.drawnAt]"
        )
    assert order[0] == "peakogram"
    assert sorted(order) == sorted(keys)
    assert 0 < float(seen) < float(drawn)


@pytest.mark.parametrize("width", [LAPTOP, NARROW])
def test_print_has_every_plot_on_the_paper(pixel_page, browser, width):
    """Also those in a folded part; and the screen is as before afterwards."""
    with browser.open(pixel_page, width) as page:
        page.wait_until(ALL_DRAWN)
        page.evaluate("document.querySelectorAll('details')[2].open = false")
        sizes = (
            "Array.from(document.querySelectorAll('.plot-area')).map("
            "a => [a.offsetWidth, a.offsetHeight, a._fullLayout.width, a._fullLayout.height,"
            " a._fullLayout.margin.t, (a._fullLayout.legend || {}).orientation || ''])"
        )
        before = page.evaluate(sizes)
        page.evaluate(
            """(() => {
              window.atPrint = [];
              window.addEventListener("beforeprint", () => {
                window.atPrint = Array.from(document.querySelectorAll(".plot-area .main-svg"))
                  .map(svg => [svg.getBoundingClientRect().width, svg.closest("details").open]);
              });
            })()"""
        )
        pdf = page.pdf()
        assert pdf.startswith(b"%PDF")
        printed = page.evaluate("window.atPrint")
        assert len(printed) >= 6
        # A4 less margins of 12 mm is 703 pixels wide
        assert all(0 < width <= 703 and is_open for width, is_open in printed)
        assert page.evaluate(sizes) == before
