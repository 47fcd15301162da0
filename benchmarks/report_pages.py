"""Size of the pages, and how long a browser takes to open them.

Runs the programs on the files of a tutorial of five sweeps, or takes pages that are there,
and opens each in headless Chromium in turn, from disk and without a network:

    python tools/tutorial.py demo/tutorial
    python benchmarks/report_pages.py demo/tutorial
    python benchmarks/report_pages.py [--repeats 7] PAGE.html ...

Printed are seconds from the start of navigation until the text can be read, until the plots
in the window are drawn and until the last plot is drawn, each as median and least, and the
seconds of processor that the page's own thread took: what an idle machine takes, while other
work on the machine, whose load is printed too, stretches the former.

The browser is opened as users do it. With its developer tools watching the scripts, as the
tests have them, it takes half a second longer to read plotly's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser, running_browser

LARGEST, SLOWEST = 8.0, 2.0


def open_once(browser: Browser, path: Path) -> tuple[float, float, float, float]:
    """Open a page; seconds to its text, first and last plots, and of its own thread."""
    with browser.open(path, 1600, 900, watched=False) as page:
        page.wait_until("document.body.dataset.drawn === 'all'")
        times = page.evaluate(
            "[performance.getEntriesByType('paint')[0].startTime,"
            " Number(document.body.dataset.drawnInViewAt),"
            " Number(document.body.dataset.drawnAt)]"
        )
        text, first, last = (milliseconds / 1000 for milliseconds in times)
        return text, first, last, page.busy_seconds()


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
    print("        text          in window     all plots     thread")
    print("  MB  median least   median least   median least  median  load  page")
    with running_browser() as browser:
        # The first page pays for the start of the browser
        open_once(browser, pages[0])
        for page in pages:
            runs = [open_once(browser, page) for _ in range(options.repeats)]
            medians = [statistics.median(column) for column in zip(*runs)]
            least = [min(column) for column in zip(*runs)]
            size = page.stat().st_size / 1e6
            print(
                f"{size:4.1f}"
                + "".join(f"  {a:6.2f} {b:5.2f}" for a, b in zip(medians[:3], least))
                + f"  {medians[3]:6.2f}  {os.getloadavg()[0]:4.1f}  {page}"
                + ("  too large" if size > LARGEST else "")
                + ("  too slow" if medians[3] > SLOWEST else "")
            )


if __name__ == "__main__":
    main()
