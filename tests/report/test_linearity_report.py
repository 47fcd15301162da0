from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from integrated_files import simulate, write_series
from pages import assert_self_contained, rendered

from dials_jungfrau_qc.command_line.transmission_linearity import run


@pytest.fixture
def page(in_tmp_path) -> Path:
    run([*write_series(in_tmp_path, simulate(seed=3, spots={"scale": 6000.0}))])
    return in_tmp_path / "dials.transmission_linearity.html"


def test_the_page_takes_nothing_from_elsewhere(page):
    assert_self_contained(page.read_text())


def test_every_plot_is_drawn_in_a_browser(page, tmp_path):
    dom = rendered(page, tmp_path)
    figures = re.findall(r"<figure.*?</figure>", dom, flags=re.S)
    keys = [re.search(r'id="(\w+)"', figure).group(1) for figure in figures]
    for name in ("intensity", "peak", "resolution", "position"):
        assert f"residual_{name}" in keys
    assert len(keys) >= 7
    for key, figure in zip(keys, figures):
        assert "main-svg" in figure, key
        assert 'class="trace scatter' in figure or "scattergl" in figure, key
    content = json.loads((tmp_path / "dials.transmission_linearity.json").read_text())
    assert content["verdict"] in dom
