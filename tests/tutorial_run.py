"""The tutorial on a series small enough for a test, under this DIALS or another."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    "detector=module",
    "n_images=25",
    "transmission=0.253,1.0",
    # Unknown bad pixels are a large part of the few spots of so small a series
    "faults.masked=1",
)


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    path = ROOT / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tutorial(python: Sequence[str | Path], folder: Path) -> str:
    """Run the small tutorial in a folder with the Python given as a command line."""
    script = ROOT / "tools" / "tutorial.py"
    process = subprocess.run(
        [*map(str, python), str(script), str(folder), *SMALL],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout
