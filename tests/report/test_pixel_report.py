from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from refl_files import write_table

from dials_jungfrau_qc.command_line.pixel_histogram import run


@pytest.fixture
def page(in_tmp_path) -> Path:
    write_table(Path("indexed.refl"), n=80, n_experiments=2)
    run(["indexed.refl"])
    return in_tmp_path / "dials.pixel_histogram.html"


def test_the_page_takes_nothing_from_elsewhere(page):
    text = page.read_text()
    own = re.sub(r"<script>/\*\*?\s*\n?\*? plotly.*?</script>", "", text, flags=re.S)
    assert len(own) < len(text) / 2, "the script of plotly was not found"
    assert not re.findall(r"""(?:src|href)\s*=\s*["']""", own)
    assert "url(" not in own and "@import" not in own
    assert len(text) < 8e6


def test_text_of_files_is_escaped(in_tmp_path):
    name = "<script>alert(1)<\\script>\"'&.refl"
    write_table(Path(name), n=20)
    run([name])
    text = Path("dials.pixel_histogram.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    return found or pytest.skip("Chromium is not installed")


def rendered(page: Path, tmp_path: Path) -> str:
    """The page after its scripts ran, from disk and without a network."""
    done = subprocess.run(
        [
            chromium(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


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
