"""Run the commands of docs/tutorial.md in their order, and compare the end with the truth.

    python tools/tutorial.py FOLDER [PARAMETER...]

The commands are those of the fenced blocks marked "sh", so that the text and what is run
cannot differ. What DIALS' own programs print is kept in their logs. Parameters are added to
those of dials.simulate_jungfrau, for a series of another kind or size.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
OURS = (
    "dials.simulate_jungfrau",
    "dials.pixel_histogram",
    "dials.transmission_linearity",
    "dials.find_bad_pixels",
)
# dials.find_bad_pixels prints a line for each
MASK_LINES = 3


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a text that are marked with a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def commands(text: str) -> list[str]:
    """The commands in the fenced blocks of a text."""
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


def shortened(output: str) -> str:
    """What a program printed, with only the first of many lines for bad pixels."""
    kept, n_masked = [], 0
    for line in output.splitlines(keepends=True):
        n_masked += line.startswith("mask:")
        if not line.startswith("mask:") or n_masked <= MASK_LINES:
            kept.append(line)
        elif n_masked == MASK_LINES + 1:
            kept.append("mask: ...\n")
    return "".join(kept)


def run(command: str, folder: Path) -> None:
    """Run one command; its output is shown if it is one of this package's programs.

    Raises:
        SystemExit: It failed.
    """
    print(f"\n$ {command}", flush=True)
    shown = command.startswith(OURS)
    # The programs that are installed beside this Python come first
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    start = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "DIALS_NOBANNER": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if shown:
        print(shortened(done.stdout), end="")
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-20:]))
        sys.exit(f"the command ended with {done.returncode}: {command}")
    print(f"[{time.monotonic() - start:.0f} s]", flush=True)


def main() -> None:
    folder, extra = Path(sys.argv[1]).resolve(), sys.argv[2:]
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    start = time.monotonic()
    for command in commands(TUTORIAL.read_text(encoding="utf-8")):
        if command.startswith("dials.simulate_jungfrau"):
            command = " ".join([command, *extra])
        run(command, folder)
    print(f"\nThe tutorial took {time.monotonic() - start:.0f} s")
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "planted_and_found.py"), str(folder)],
        check=True,
    )
    print("\nReports:")
    for page in sorted(folder.rglob("*.html")):
        if page.name.startswith(OURS):
            print(f"  {page}")


if __name__ == "__main__":
    main()
