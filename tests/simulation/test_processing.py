"""The series as DIALS sees it: found, indexed, and where they were put."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import libtbx.phil
from cctbx import crystal
from dxtbx.model.experiment_list import ExperimentList

from dials.array_family import flex
from dials_jungfrau_qc.command_line import transmission_linearity
from dials_jungfrau_qc.command_line.simulate_jungfrau import phil_scope, run
from dials_jungfrau_qc.simulation.parameters import build_models
from dials_jungfrau_qc.simulation.series import prepare

OPTIONS = {
    "detector": "module",
    "n_images": "30",
    "oscillation": "0.6",
    "transmission": "0.253,1.0",
    "crystal.mosaicity": "0.2",
    "crystal.d_min": "2.9",
    "seed": "2",
}


def dials(program: str, *args: str, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-m", f"dials.command_line.{program}", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def processed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processed")
    series = folder / "series"
    run([*(f"{k}={v}" for k, v in OPTIONS.items()), f"output.directory={series}"])
    images = [str(path) for path in sorted(series.glob("*/*.nxs"))]
    dials("dials_import", *images, cwd=folder)
    dials("find_spots", "imported.expt", "nproc=2", cwd=folder)
    dials(
        "index",
        "imported.expt",
        "strong.refl",
        # DIALS 3.30 does not decide by itself that sweeps are of one crystal.
        "joint_indexing=True",
        "n_macro_cycles=1",
        "reflections_per_degree=40",
        # The best few of the 50 cells that DIALS would refine in turn
        "max_refine=3",
        cwd=folder,
    )
    return folder


@pytest.fixture(scope="module")
def simulation():
    options = "\n".join(f"{k} = {v}" for k, v in OPTIONS.items())
    user = libtbx.phil.parse(options.replace(",", " "))
    params = phil_scope.fetch(user).extract()
    models = build_models(params)
    models.pop("files")
    return prepare(**models)


def test_cell_and_indexed_fraction(processed):
    experiments = ExperimentList.from_file(
        str(processed / "indexed.expt"), check_format=False
    )
    expected = crystal.symmetry(
        unit_cell=(78, 78, 78, 90, 90, 90), space_group_symbol="I 21 3"
    ).niggli_cell()
    for model in experiments.crystals():
        assert (
            model.get_unit_cell()
            .niggli_cell()
            .is_similar_to(expected.unit_cell(), 0.003, 0.3)
        )
    table = flex.reflection_table.from_file(str(processed / "indexed.refl"))
    indexed = table.get_flags(table.flags.indexed)
    assert len(table) > 2000
    for sweep in range(2):
        of_sweep = table["imageset_id"] == sweep
        share = (indexed & of_sweep).count(True) / of_sweep.count(True)
        assert share > 0.95


def test_spots_lie_where_they_were_predicted(processed, simulation):
    table = flex.reflection_table.from_file(str(processed / "strong.refl"))
    found = np.array(list(table["xyzobs.px.value"]))
    box = np.array(list(table["bbox"]))
    # Spots cut off by the first or last image do not show their middle.
    full = (box[:, 4] > 0) & (box[:, 5] < simulation.series.n_images)
    full &= box[:, 5] - box[:, 4] > 1
    full &= table["n_signal"].as_numpy_array() >= 10
    found = found[full]
    start, width = simulation.series.oscillation
    r = simulation.reflections
    z = (r.phi - start) / width
    offsets = []
    for x, y, frame in found:
        near = np.flatnonzero(abs(z - frame) < 1.0)
        near = near[np.hypot(r.fast[near] - x, r.slow[near] - y) < 3]
        if len(near) == 0:
            continue
        best = near[np.argmin(np.hypot(r.fast[near] - x, r.slow[near] - y))]
        offsets.append((x - r.fast[best], y - r.slow[best], frame - z[best]))
    offsets = np.array(offsets)
    assert len(offsets) > 0.97 * len(found) > 1000
    rms = np.sqrt((offsets**2).mean(axis=0))
    assert (rms[:2] < 0.3).all()
    assert rms[2] < 0.3
    # No systematic shift, such as that of half a pixel
    assert abs(np.median(offsets, axis=0)).max() < 0.05


def test_strong_pixels_overlap_below_the_switch_and_pile_up(processed):
    table = flex.reflection_table.from_file(str(processed / "strong.refl"))
    pixels = []
    for shoebox in table.select(table["id"] == 1)["shoebox"]:
        foreground = (shoebox.mask.as_numpy_array() & 4) > 0
        pixels.append(shoebox.data.as_numpy_array()[foreground])
    pixels = np.concatenate(pixels)
    # J = -5 and a switch at 25: counts 20 to 25 hold two kinds of pixels.
    excess = np.count_nonzero((pixels > 20.5) & (pixels < 24.5))
    above = np.count_nonzero((pixels > 26.5) & (pixels < 30.5))
    assert excess > 2 * above
    assert np.count_nonzero(pixels > 10_000) >= 3
    assert pixels.max() < 11_300


@pytest.fixture(scope="module")
def linearity(processed):
    dials(
        "integrate",
        "indexed.expt",
        "indexed.refl",
        "nproc=2",
        "prediction.d_min=3.2",
        cwd=processed,
    )
    transmission_linearity.run(
        [
            str(processed / "integrated.expt"),
            str(processed / "integrated.refl"),
            f"output.directory={processed}",
        ]
    )
    return json.loads((processed / "dials.transmission_linearity.json").read_text())


def test_linearity_finds_the_offset_of_the_second_gain(linearity):
    offset = linearity["model"]["g1_offset"]
    assert offset["supported"]
    assert offset["value"] == pytest.approx(-5, abs=3 * offset["error"])
    assert offset["error"] < 1
    assert not linearity["model"]["g1_gain"]["supported"]
    assert linearity["linearity"]["linear"] is False


def test_linearity_takes_transmissions_from_the_images(linearity):
    for sweep, expected in zip(linearity["sweeps"], (0.253, 1.0)):
        assert sweep["transmission"] == pytest.approx(expected)
        assert sweep["transmission_source"] == "image file (NXattenuator)"
        # The ratios themselves are 2 % low, as the second gain is
        error = max(sweep["model_beam_error"], 1e-9)
        assert abs(sweep["model_beam"] - expected) < 3 * error
