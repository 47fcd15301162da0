"""The tutorial, on a series small enough for a test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tutorial_run import tool


@pytest.fixture(scope="module")
def tutorial():
    return tool("tutorial")


def test_commands_are_those_of_the_marked_blocks(tutorial):
    text = "```sh\na b \\\n  c\n\nd\n```\n```gnuplot\nplot\n```\ntext\n```sh\ne\n```\n"
    assert tutorial.commands(text) == ["a b c", "d", "e"]


def test_few_of_the_lines_for_bad_pixels_are_shown(tutorial):
    lines = ["first", *(f"mask: {i} 0 2" for i in range(10)), "last"]
    shown = tutorial.shortened("".join(f"{line}\n" for line in lines))
    expected = ["first", *lines[1:4], "mask: ...", "last"]
    assert shown.splitlines() == expected


@pytest.fixture(scope="module")
def done(small_tutorial) -> tuple[Path, str]:
    """The folder in which the small tutorial ran, and what it printed."""
    return small_tutorial


def test_workflow_ends_with_its_reports(done):
    folder, printed = done
    pages = [
        *(f"{name}/dials.pixel_histogram.html" for name in ("pixels", "split")),
        *(f"{name}/dials.pixel_histogram.html" for name in ("intensities", "frames")),
        "linearity/dials.transmission_linearity.html",
        "bad_pixels/dials.find_bad_pixels.html",
    ]
    for page in pages:
        assert (folder / page).is_file()
        assert str(folder / page) in printed


def test_split_files_have_the_same_histograms(done):
    folder, _ = done
    for i in (0, 1):
        whole = (folder / "pixels" / f"indexed_{i}.hist").read_bytes()
        assert (folder / "split" / f"split_{i}.hist").read_bytes() == whole


def test_what_was_put_in_is_found(done):
    folder, printed = done
    rows = re.findall(r"^\| (.+?) +\| (.+?) +\| (.+?) +\|$", printed, flags=re.M)
    found = {name: (planted, value) for name, planted, value in rows}
    planted, cell = found["unit cell (A)"]
    for a, b in zip(planted.split(", "), cell.split(", ")):
        assert float(b) == pytest.approx(float(a), abs=0.1)
    indexed = float(found["spots, and indexed"][1].removesuffix("%"))
    assert indexed > 95
    planted, beam = found["beam of sweep 0 relative to 1"]
    value, error = map(float, beam.split(" +- "))
    assert value == pytest.approx(float(planted), abs=4 * error + 0.002)


def test_the_gain_switch_is_measured(done):
    folder, _ = done
    content = json.loads((folder / "pixels" / "dials.pixel_histogram.json").read_text())
    truth = json.loads((folder / "data" / "truth.json").read_text())["gain_switch"]
    for found in (content, *content["groups"]):
        switch = found["gain_switch"]
        for name in ("position", "area"):
            error = max(switch[f"{name}_error"], 0.1)
            assert switch[name] == pytest.approx(truth[name], abs=4 * error)
