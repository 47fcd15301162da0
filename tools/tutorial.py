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
)


def commands(text: str) -> list[str]:
    """The commands in the fenced blocks of a text."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


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
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        print("\n".join((done.stdout or "").splitlines()[-20:]))
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
