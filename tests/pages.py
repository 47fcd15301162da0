"""What reports have to be: complete in themselves, drawn, legible, and usable."""

from __future__ import annotations

import itertools
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from browser import Browser, Page
from tutorial_run import ROOT

DESKTOP, LAPTOP, NARROW = 1600, 1280, 600
ALL_DRAWN = "document.body.dataset.drawn === 'all'"
# Where the screenshots are, to be looked at
SCREENSHOTS = ROOT / "build" / "screenshots"
SVG = "{http://www.w3.org/2000/svg}"

# Plots to save from one tab in both formats: of more than ten downloads browsers may ask
AT_ONCE = 4

# For each plot: what is drawn, the words on it and where they are
PLOTS = """
Array.from(document.querySelectorAll(".plot-area")).map(area => {
  const box = element => {
    const b = element.getBoundingClientRect();
    return {text: element.textContent, left: b.left, right: b.right, top: b.top, bottom: b.bottom};
  };
  // Less the air around letters, and turned as the word is
  const corners = element => {
    const b = element.getBBox(), m = element.getScreenCTM();
    const [left, right] = [b.x + 1, b.x + Math.max(b.width - 1, 1)];
    const [top, bottom] = [b.y + 3, b.y + Math.max(b.height - 3, 3)];
    return [[left, top], [right, top], [right, bottom], [left, bottom]].map(
      ([x, y]) => [m.a * x + m.c * y + m.e, m.b * x + m.d * y + m.f]);
  };
  const boxes = selector => Array.from(area.querySelectorAll(selector))
    .filter(e => e.textContent && e.getBBox().width)
    .map(e => Object.assign(box(e), {corners: corners(e)}));
  return {
    key: area.id,
    types: area.data.map(trace => trace.type || "scatter"),
    points: Array.from(area.querySelectorAll(".trace.scatter")).map(
      trace => trace.querySelectorAll(".point, .js-line").length),
    words: boxes(".xtick text, .x2tick text, .ytick text, .y2tick text, .g-xtitle text, " +
                 ".g-ytitle text, .g-y2title text, .g-gtitle text, .annotation-text"),
    names: boxes(".legendtext").concat(Array.from(area.querySelectorAll(".modebar-group")).map(
      group => {
        const b = Object.assign(box(group), {text: "buttons"});
        return Object.assign(b, {corners: [[b.left, b.top], [b.right, b.top],
          [b.right, b.bottom], [b.left, b.bottom]]});
      })),
    plot: box(area),
    axes: Object.keys(area.layout).filter(name => /^[xy]axis/.test(name)).map(
      name => [name, (area.layout[name].title || {}).text || "", area._fullLayout[name].type]),
  };
})
"""


# The share of a plot's width that is left to the narrowest of the data
PLOT_WIDTHS = """
Math.min(...Array.from(document.querySelectorAll(".plot-area"))
  .filter(area => area._fullLayout.xaxis.constrain !== "domain")
  .map(area => area._fullLayout._size.w / area._fullLayout.width))
"""


def assert_self_contained(text: str) -> None:
    """See that a page takes nothing from elsewhere, and is no larger than it may be."""
    own = re.sub(r"<script>/\*\*?\s*\n?\*? plotly.*?</script>", "", text, flags=re.S)
    assert len(own) < len(text) / 2, "the script of plotly was not found"
    assert not re.findall(r"""(?:src|href)\s*=\s*["']""", own)
    assert "url(" not in own and "@import" not in own
    assert len(text.encode()) < 8e6


def assert_usable(browser: Browser, path: Path, screenshots: str) -> list[str]:
    """Open a page as a user would, try everything on it, and photograph it.

    Args:
        browser: Where to open it.
        path: The page.
        screenshots: Name for the screenshots.

    Returns:
        The keys of its plots.
    """
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width in (DESKTOP, LAPTOP, NARROW):
        with browser.open(path, width) as page:
            page.wait_until(ALL_DRAWN)
            plots = page.evaluate(PLOTS)
            assert plots
            for plot in plots:
                assert_drawn(plot)
                assert_legible(plot)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            picture = page.screenshot()
            (SCREENSHOTS / f"{screenshots}_{width}.png").write_bytes(picture)
            assert png_size(picture)[0] == width
            if width == NARROW:
                assert page.evaluate(PLOT_WIDTHS) > 0.6
            # Once is enough for what does not depend on the width
            if width == LAPTOP:
                assert_presets_work(page)
                assert_helps_work(page)
            assert_quiet(page, path)
    keys = [plot["key"] for plot in plots]
    for some in (
        keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)
    ):
        with browser.open(path, LAPTOP) as page:
            page.wait_until(ALL_DRAWN)
            for key in some:
                assert_plot_is_saved(page, key)
            assert_quiet(page, path)
    return keys


def assert_quiet(page: Page, path: Path) -> None:
    """See that nothing left the page, and that nothing went wrong in it."""
    outside = [
        url
        for url in page.requests()
        if url != path.resolve().as_uri() and not url.startswith(("data:", "blob:"))
    ]
    assert not outside
    assert not page.complaints()


def assert_drawn(plot: dict[str, Any]) -> None:
    """See that each trace of a plot is on it, without WebGL."""
    assert set(plot["types"]) == {"scatter"}, plot["key"]
    assert plot["points"] and all(plot["points"]), plot["key"]


def assert_legible(plot: dict[str, Any]) -> None:
    """See that axes say what they are, and that no words cover each other."""
    for name, title, kind in plot["axes"]:
        # Names of sweeps speak for themselves
        if kind != "category":
            assert title, f"{plot['key']}: {name} has no title"
    for one, other in itertools.combinations(plot["words"], 2):
        assert not overlap(one, other), (plot["key"], one, other)
    for one, other in itertools.product(plot["words"], plot["names"]):
        assert not overlap(one, other), (plot["key"], one, other)
    for word in plot["words"]:
        # Some digits of a power stand out of the box of a plot by a hair
        assert word["left"] > plot["plot"]["left"] - 2, (plot["key"], word)
        assert word["right"] < plot["plot"]["right"] + 2, (plot["key"], word)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two words cover each other, at whatever angle they are written.

    Two rectangles do unless a line along a side of one of them parts them.
    """
    for corners in (one["corners"], other["corners"]):
        for (x0, y0), (x1, y1) in itertools.pairwise(corners[:3]):
            across = [
                [(x1 - x0) * x + (y1 - y0) * y for x, y in word["corners"]]
                for word in (one, other)
            ]
            if max(across[0]) <= min(across[1]) or max(across[1]) <= min(across[0]):
                return False
    return True


def assert_presets_work(page: Page) -> None:
    """Click on every preset and see that the horizontal axis has its range."""
    presets = page.evaluate(
        """Array.from(document.querySelectorAll("[data-range]")).map(
          b => [b.dataset.plot, b.dataset.range, b.textContent])"""
    )
    seen = set()
    for key, text, label in presets:
        page.click(f"[data-plot='{key}'][data-range='{text}']")
        axes = page.evaluate(
            f"""(() => {{
              const area = document.getElementById("{key}");
              const ticks = Array.from(area.querySelectorAll(".xtick")).map(t => t.textContent);
              const pressed = Array.from(document.querySelectorAll("[data-plot='{key}'][data-range]"))
                .filter(b => b.getAttribute("aria-pressed") === "true").map(b => b.textContent);
              return {{range: area.layout.xaxis.range, ticks: ticks.join(), pressed: pressed}};
            }})()"""
        )
        low, high = json.loads(text)
        assert axes["range"] == [low, high]
        assert label in axes["pressed"]
        assert (key, axes["ticks"]) not in seen or axes["pressed"] != [label]
        seen.add((key, axes["ticks"]))


def assert_helps_work(page: Page) -> None:
    """Open and close every help, by mouse and by keyboard."""
    keys = page.evaluate(
        """Array.from(document.querySelectorAll(".help-button")).map(b => b.dataset.dialog)"""
    )
    assert len(keys) == page.evaluate("document.querySelectorAll('.plot').length")
    for key in keys:
        button, dialog = f"[data-dialog={key}]", f"document.getElementById('{key}')"
        height = f"{dialog}.getBoundingClientRect().height"
        assert page.evaluate(height) == 0
        page.click(button)
        assert page.evaluate(height) > 50
        assert len(page.evaluate(f"{dialog}.innerText")) > 100
        page.click(f"#{key} form button")
        assert page.evaluate(height) == 0
    page.evaluate(f"document.querySelector('{button}').focus()")
    page.press("Enter", 13, "\r")
    assert page.evaluate(height) > 50
    page.press("Escape", 27)
    assert page.evaluate(height) == 0
    assert page.evaluate(f"document.activeElement.matches('{button}')")


def assert_plot_is_saved(page: Page, key: str) -> None:
    """Save a plot in both formats and see that each file is one of its kind."""
    title = page.evaluate(f"document.getElementById('{key}').layout.title.text")
    page.click(f"[data-plot={key}][data-format=svg]")
    tree = ElementTree.fromstring(page.saved(f"{key}.svg"))
    assert tree.tag == f"{SVG}svg"
    words = {"".join(text.itertext()) for text in tree.iter(f"{SVG}text")}
    assert any(word.startswith(title[:10]) for word in words), words
    assert any(path.get("d") for path in tree.iter(f"{SVG}path"))
    for text in tree.iter(f"{SVG}text"):
        if text.get("class") == "xtitle":
            # With room for what hangs below the line
            assert float(text.get("y")) < float(tree.get("height")) - 8
    page.click(f"[data-plot={key}][data-format=png]")
    width, height = png_size(page.saved(f"{key}.png"))
    assert width == 2400 and height >= 1200


def png_size(content: bytes) -> tuple[int, int]:
    """Width and height of a PNG, which ends as one does."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", content[16:24])
