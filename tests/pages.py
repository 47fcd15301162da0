"""What reports have to be: complete in themselves, and drawn by a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


def assert_self_contained(text: str) -> None:
    """See that a page takes nothing from elsewhere."""
    own = re.sub(r"<script>/\*\*?\s*\n?\*? plotly.*?</script>", "", text, flags=re.S)
    assert len(own) < len(text) / 2, "the script of plotly was not found"
    assert not re.findall(r"""(?:src|href)\s*=\s*["']""", own)
    assert "url(" not in own and "@import" not in own
    assert len(text) < 8e6


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
