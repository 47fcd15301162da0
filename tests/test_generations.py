"""The same work under the DIALS that runs and under the latest one, compared.

Needs the environment that `make test-latest` leaves in the checkout.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tutorial_run import ROOT, run_tutorial

LATEST_VENV = ROOT / ".venv-latest"
DEFAULT_RUNNER = ROOT.parent / "shared" / "tools" / "dials-latest-run"


def run_here(*command: str | Path) -> str:
    """Run a command and return what it printed."""
    process = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout


@pytest.fixture(scope="module")
def pythons() -> dict[str, tuple[str | Path, ...]]:
    """How to call the Python of this DIALS, and that of the latest."""
    runner = shutil.which(os.environ.get("DIALS_LATEST_RUN") or str(DEFAULT_RUNNER))
    python = LATEST_VENV / "bin" / "python"
    if Path(sys.prefix) == LATEST_VENV:
        pytest.skip("this is the latest DIALS: 'make test' compares the two")
    if not runner or not os.path.lexists(python):
        pytest.skip("no environment with the latest DIALS: 'make test-latest' makes it")
    latest = (runner, ROOT, python)
    probe = subprocess.run([*latest, "-c", "import dials"], capture_output=True)
    if probe.returncode:
        pytest.skip("the latest DIALS does not run here")
    return {"this": (sys.executable,), "latest": latest}


@pytest.fixture(scope="module")
def series(pythons, small_tutorial, folder_in_checkout) -> dict[str, Path]:
    """The folders with the small tutorial as each DIALS did it."""
    latest = folder_in_checkout / "latest"
    run_tutorial(pythons["latest"], latest)
    return {"this": small_tutorial[0], "latest": latest}


@pytest.fixture(scope="module")
def program(pythons, series, folder_in_checkout) -> Callable[..., Path]:
    """Runs a program under one DIALS on files of either; returns its output folder."""

    @functools.cache
    def run(name: str, under: str, files_of: str, *arguments: str) -> Path:
        output = folder_in_checkout / f"{name}_{under}_of_{files_of}_{len(arguments)}"
        files = [
            series[files_of] / argument if "=" not in argument else argument
            for argument in arguments
        ]
        module = f"dials_jungfrau_qc.command_line.{name}"
        run_here(*pythons[under], "-m", module, *files, f"output.directory={output}")
        return output

    return run


def results(folder: Path, name: str) -> Any:
    """The JSON of a program without what tells the runs apart."""
    content = json.loads((folder / f"dials.{name}.json").read_text())
    for key in ("dials_version", "input", "parameters"):
        content.pop(key)
    return content


def differences(a: Any, b: Any, rel: float, path: str = "") -> list[str]:
    """Where two contents of JSON differ, numbers by more than a share."""
    if isinstance(a, dict) and isinstance(b, dict):
        found = [f"{path}.{key}: in one" for key in a.keys() ^ b.keys()]
        for key in a.keys() & b.keys():
            found += differences(a[key], b[key], rel, f"{path}.{key}")
        return found
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        pairs = enumerate(zip(a, b))
        return [
            line
            for i, (x, y) in pairs
            for line in differences(x, y, rel, f"{path}[{i}]")
        ]
    numbers = all(isinstance(x, (int, float)) for x in (a, b))
    if numbers and not isinstance(a, bool) and not isinstance(b, bool):
        same = a == pytest.approx(b, rel=rel, abs=rel)
    else:
        same = a == b
    return [] if same else [f"{path}: {a} and {b}"]


def test_the_two_differ(series):
    """Else the tests below compare nothing."""
    scans = {}
    for which in ("this", "latest"):
        content = json.loads((series[which] / "indexed.expt").read_text())
        scans[which] = set(content["scan"][0])
    assert "properties" in scans["latest"]
    assert scans["this"] != scans["latest"]


def test_the_same_pixels_are_simulated(series):
    import h5py

    names = sorted(
        path.relative_to(series["this"]) for path in (series["this"]).rglob("*.nxs")
    )
    assert names
    for name in names:
        with (
            h5py.File(series["this"] / name) as a,
            h5py.File(series["latest"] / name) as b,
        ):
            pixels = [f["/entry/data/data"][()] for f in (a, b)]
        assert np.array_equal(*pixels), name


@pytest.mark.parametrize("files_of", ["this", "latest"])
def test_pixel_histograms_of_the_same_files_are_the_same(program, files_of):
    files = ("indexed.refl", "indexed.expt")
    folders = [
        program("pixel_histogram", under, files_of, *files)
        for under in ("this", "latest")
    ]

    written = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert written[0] == written[1]
    histograms = [name for name in written[0] if name.endswith(".hist")]
    assert len(histograms) == 4
    for name in histograms:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


@pytest.mark.parametrize("files_of", ["this", "latest"])
def test_what_is_found_in_the_same_files_is_the_same(program, files_of):
    files = ("indexed.refl", "indexed.expt")
    a, b = (
        results(program("pixel_histogram", under, files_of, *files), "pixel_histogram")
        for under in ("this", "latest")
    )
    assert differences(a, b, rel=1e-3) == []


@pytest.mark.parametrize("files_of", ["this", "latest"])
def test_sweeps_of_the_same_files_compare_alike(program, files_of):
    files = ("integrated.refl", "integrated.expt")
    a, b = (
        results(
            program("transmission_linearity", under, files_of, *files),
            "transmission_linearity",
        )
        for under in ("this", "latest")
    )
    assert differences(a, b, rel=1e-3) == []


@pytest.mark.parametrize("files_of", ["this", "latest"])
def test_frames_of_either_list_are_read_by_both(program, files_of):
    files = ("imported.expt", "pixels=frames", "frames.stride=5")
    a, b = (
        results(program("pixel_histogram", under, files_of, *files), "pixel_histogram")
        for under in ("this", "latest")
    )
    assert differences(a, b, rel=1e-3) == []


@pytest.mark.parametrize("files_of", ["this", "latest"])
def test_bad_pixels_of_either_list_are_the_same(program, files_of):
    a, b = (
        results(
            program("find_bad_pixels", under, files_of, "imported.expt"),
            "find_bad_pixels",
        )
        for under in ("this", "latest")
    )
    assert differences(a, b, rel=1e-3) == []


def test_each_dials_finds_the_same_gain_switch(series):
    found = [
        results(series[which] / "pixels", "pixel_histogram")["gain_switch"]
        for which in ("this", "latest")
    ]
    for name in ("position", "area"):
        error = max(*(switch[f"{name}_error"] for switch in found), 0.1)
        # Of the same pixels: only the spots that are found and indexed differ
        assert found[0][name] == pytest.approx(found[1][name], abs=3 * error)
