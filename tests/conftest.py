from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, find_chromium, running_browser
from hypothesis import settings
from tutorial_run import ROOT, run_tutorial

# The first example of a test pays for imports, and machines are shared
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder of real data is not here")
    return SHARED


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new folder that is also the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def folder_in_checkout() -> Iterator[Path]:
    """A new folder that another system which is shown the checkout sees as well."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tests-", dir=ROOT / "build") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def small_tutorial(folder_in_checkout) -> tuple[Path, str]:
    """The folder in which the small tutorial ran, and what it printed."""
    if not (Path(sys.executable).parent / "dials.pixel_histogram").exists():
        pytest.skip("the package is not installed")
    if not shutil.which("dials.index"):
        pytest.skip("the programs of DIALS are not on PATH")
    folder = folder_in_checkout / "tutorial"
    return folder, run_tutorial([sys.executable], folder)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all the tests that look at pages."""
    if find_chromium() is None:
        pytest.skip("Chromium is not installed")
    with running_browser() as running:
        yield running


@pytest.fixture(autouse=True)
def no_handlers_left():
    """DIALS adds handlers to its loggers in each run and never takes them away."""
    yield
    for name in ("dials", "dxtbx", "py.warnings"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
