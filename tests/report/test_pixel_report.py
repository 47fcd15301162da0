from __future__ import annotations

import json
from pathlib import Path

import pytest
from pages import ALL_DRAWN
from refl_files import write_table

from dials_jungfrau_qc.command_line.pixel_histogram import run


@pytest.fixture
def page(in_tmp_path) -> Path:
    write_table(Path("indexed.refl"), n=80, n_experiments=2)
    run(["indexed.refl"])
    return in_tmp_path / "dials.pixel_histogram.html"


def test_text_of_files_is_escaped(in_tmp_path):
    name = "<script>alert(1)<\\script>\"'&.refl"
    write_table(Path(name), n=20)
    run([name])
    text = Path("dials.pixel_histogram.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_the_page_shows_what_the_json_has(page, browser):
    content = json.loads(page.with_suffix(".json").read_text())
    with browser.open(page) as shown:
        shown.wait_until(ALL_DRAWN)
        assert content["verdict"] == shown.evaluate(
            "document.querySelector('.verdict').textContent"
        )
        rows = shown.evaluate(
            "Array.from(document.querySelectorAll('tr')).map("
            "r => Array.from(r.cells).map(c => c.textContent))"
        )
    for group in content["groups"]:
        row = next(row for row in rows if row[0] == group["label"])
        assert str(group["n_pixels"]) in row
        assert f"{group['maximum']:.0f}" in row
