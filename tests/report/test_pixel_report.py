from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pages import assert_self_contained, rendered
from refl_files import write_table

from dials_jungfrau_qc.command_line.pixel_histogram import run


@pytest.fixture
def page(in_tmp_path) -> Path:
    write_table(Path("indexed.refl"), n=80, n_experiments=2)
    run(["indexed.refl"])
    return in_tmp_path / "dials.pixel_histogram.html"


def test_the_page_takes_nothing_from_elsewhere(page):
    assert_self_contained(page.read_text())


def test_text_of_files_is_escaped(in_tmp_path):
    name = "<script>alert(1)<\\script>\"'&.refl"
    write_table(Path(name), n=20)
    run([name])
    text = Path("dials.pixel_histogram.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_every_plot_is_drawn_in_a_browser(page, tmp_path):
    dom = rendered(page, tmp_path)
    for key in ("pixel_values", "pixel_values_log", "spot_intensities"):
        start = dom.index(f'id="{key}"')
        drawn = dom[start : dom.index("</figure>", start)]
        assert drawn.count("main-svg") >= 1
        assert drawn.count('class="trace scatter') >= 2
    buttons = re.findall(r'class="updatemenu-button.*?</g>', dom, flags=re.S)
    assert any("0-50" in button for button in buttons)


def test_the_page_shows_what_the_json_has(page, tmp_path):
    dom = rendered(page, tmp_path)
    content = json.loads((tmp_path / "dials.pixel_histogram.json").read_text())
    assert content["verdict"] in dom
    for group in content["groups"]:
        row = dom[dom.index(f"<td>{group['label']}</td>") :]
        row = row[: row.index("</tr>")]
        assert f"<td>{group['n_pixels']}</td>" in row
        assert f"<td>{group['maximum']:.0f}</td>" in row
