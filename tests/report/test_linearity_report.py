from __future__ import annotations

import json
from pathlib import Path

import pytest
from integrated_files import simulate, write_series
from pages import ALL_DRAWN

from dials_jungfrau_qc.command_line.transmission_linearity import run
from dials_jungfrau_qc.report.html import typeset


@pytest.fixture
def page(in_tmp_path) -> Path:
    run([*write_series(in_tmp_path, simulate(seed=3, spots={"scale": 6000.0}))])
    return in_tmp_path / "dials.transmission_linearity.html"


def test_the_page_shows_what_the_json_has(page, browser):
    content = json.loads(page.with_suffix(".json").read_text())
    with browser.open(page) as shown:
        shown.wait_until(ALL_DRAWN)
        assert typeset(content["verdict"]) == shown.evaluate(
            "document.querySelector('.verdict').textContent"
        )
        text = shown.evaluate("document.body.innerText")
    for sweep in content["sweeps"]:
        assert f"{sweep['id']} (T = {sweep['transmission']:g})" in text
        assert str(sweep["n_matched"]) in text
