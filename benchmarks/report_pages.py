"""Size of the pages, and how long a browser takes to open them.

Runs the programs on the files of a tutorial of five sweeps, or takes pages that are there,
and opens each in headless Chromium in turn, from disk and without a network:

    python tools/tutorial.py demo/tutorial
    python benchmarks/report_pages.py demo/tutorial
    python benchmarks/report_pages.py [--repeats 7] PAGE.html ...

Printed are seconds from the start of navigation until the text can be read and until the
last plot is drawn, and the seconds of processor that the page's own thread took: what an
idle machine takes, while other work on the machine stretches the former.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser, running_browser

LARGEST, SLOWEST = 8.0, 2.0


def open_once(browser: Browser, path: Path) -> tuple[float, float, float]:
    """Open a page; seconds to its text, to its last plot, and of its own thread."""
    with browser.open(path, 1600, 900) as page:
        page.wait_until("document.body.dataset.drawn === 'all'")
        text = page.evaluate("performance.getEntriesByType('paint')[0].startTime")
        plots = page.evaluate("Number(document.body.dataset.drawnAt)")
        return text / 1000, plots / 1000, page.busy_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("paths", nargs="+", type=Path, help="pages, or their folder")
    options = parser.parse_args()
    pages = [
        page
        for path in options.paths
        for page in (sorted(path.rglob("dials.*.html")) if path.is_dir() else [path])
    ]
    print("  MB  text s  plots s  (least)  thread s  page")
    with running_browser() as browser:
        # The first page pays for the start of the browser
        open_once(browser, pages[0])
        for page in pages:
            runs = [open_once(browser, page) for _ in range(options.repeats)]
            text, plots, thread = (statistics.median(column) for column in zip(*runs))
            size, least = page.stat().st_size / 1e6, min(run[1] for run in runs)
            print(
                f"{size:4.1f}  {text:6.2f}  {plots:7.2f}  {least:7.2f}  {thread:8.2f}  {page}"
                + ("  too large" if size > LARGEST else "")
                + ("  too slow" if thread > SLOWEST else "")
            )


if __name__ == "__main__":
    main()
