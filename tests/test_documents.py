"""The documents: every command and example in them is run, every link leads somewhere.

They are run on the files that the small tutorial leaves, and on some with the names that
documents give to files of users. The tutorial itself is run by test_tutorial.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from integrated_files import simulate, write_series
from tutorial_run import ROOT, tool

from dials_jungfrau_qc.command_line import (
    find_bad_pixels,
    pixel_histogram,
    simulate_jungfrau,
    transmission_linearity,
)
from dials_jungfrau_qc.io.pair_files import MATCHED_COLUMNS

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial.md"
BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}
# Added to commands that would simulate a series of five minutes
SMALL = "detector=module n_images=2 crystal.d_min=4"
# Lines that install something, with what is tested in their place
INSTALLING = {
    "git clone <address of this repository> dials_jungfrau_qc": "a checkout is here",
    "cd dials_jungfrau_qc": "it is here",
    # By tools/install.sh, or after it where DIALS is not Debian's
    "pip install --no-deps -e .": "make install",
    "pip install -e .": "make install",
    # test_installation.py compares the file with what setup.py requires
    "conda env create -f environment.yml": "environment.yml",
    "conda activate dials": "environment.yml",
    # test_installation.py reads what they read
    "libtbx.python -m pip install -e modules/dials_jungfrau_qc": "libtbx_config",
    "libtbx.configure dials_jungfrau_qc": "libtbx_config",
}
LINEARITY = "docs/programs/dials.transmission_linearity.md"


@pytest.fixture(scope="module")
def blocks():
    return tool("tutorial").blocks


@pytest.fixture(scope="module")
def commands():
    return tool("tutorial").commands


@pytest.fixture(scope="module")
def user_files(small_tutorial, tmp_path_factory) -> Path:
    """The files of the small tutorial, under the names of documents as well."""
    tutorial, _ = small_tutorial
    folder = tmp_path_factory.mktemp("documents")
    for path in tutorial.iterdir():
        # What programs write, documents write themselves
        if path.suffix in (".expt", ".refl") or path.name == "data":
            (folder / path.name).symlink_to(path)
    images = sorted((tutorial / "data").rglob("*.nxs"))
    (folder / "data_master.h5").symlink_to(images[0])
    for i, path in enumerate(images):
        (folder / f"sweep_{i}.nxs").symlink_to(path)
    (folder / "old.mask").symlink_to(tutorial / "bad_pixels" / "pixels.mask")
    apart = folder / "apart"
    apart.mkdir()
    write_series(apart, simulate(n=600, transmissions=(0.1, 1.0)), apart=True)
    for i, name in enumerate(("low", "high")):
        for suffix in (".expt", ".refl"):
            (folder / name).with_suffix(suffix).symlink_to(apart / f"sweep{i}{suffix}")
    return folder


@pytest.fixture
def here(user_files, tmp_path) -> Path:
    """A folder of its own for a document, with all these files."""
    for path in user_files.iterdir():
        (tmp_path / path.name).symlink_to(path.resolve())
    return tmp_path


def run(command: str, folder: Path) -> str:
    """Run a command of a shell; returns what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}"
    return done.stdout


def runnable(command: str, number: int) -> str:
    """A command as it can be run in a test."""
    if command.startswith("dials.simulate_jungfrau"):
        command += f" {SMALL}"
        if "output.directory" not in command:
            command += f" output.directory=series_{number}"
    return command


@pytest.mark.parametrize("name", [n for n, p in BY_NAME.items() if p != TUTORIAL])
def test_commands_and_examples(name, here, blocks, commands):
    """Commands first, then the examples in Python, one after the other."""
    text = BY_NAME[name].read_text()
    if name == LINEARITY:
        # Its examples are of five sweeps
        for old in here.glob("integrated.*"):
            old.unlink()
        write_series(here, simulate(n=600, transmissions=(0.06, 0.13, 0.25, 0.5, 1.0)))
    lines = [c for c in commands(text) if c not in INSTALLING]
    # The targets are what continuous integration runs: here that they are there
    targets = [c for c in lines if c.startswith("make ")]
    if shutil.which("make"):
        for command in targets:
            run(f"{command} --dry-run", ROOT)
    lines = [runnable(c, i) for i, c in enumerate(lines) if c not in targets]
    # The examples of a program do not build on each other
    n_threads = 2 if name.startswith("docs/programs/") else 1
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda command: run(command, here), lines))
    examples = blocks(text, "python")
    if examples:
        (here / "examples.py").write_text("\n".join(examples))
        run(f"{sys.executable} -W error::SyntaxWarning examples.py", here)


def test_every_block_that_is_run_is_marked():
    """No command hides in a block without a language."""
    for name, page in BY_NAME.items():
        languages = set(re.findall(r"^```(\w*)$", page.read_text(), flags=re.M))
        assert languages <= {"", "sh", "python", "gnuplot"}, name
        plain = re.findall(r"^```\n(.*?)^```", page.read_text(), flags=re.M | re.S)
        for block in plain:
            assert not re.search(r"^(\$ )?(dials\.|make |pip )", block, flags=re.M), (
                name
            )


def test_gnuplot_of_the_tutorial(small_tutorial, blocks):
    """What it plots is there, in two columns; it is plotted where gnuplot is installed."""
    (script,) = blocks(TUTORIAL.read_text(), "gnuplot")
    (template,) = re.findall(r'sprintf\("(.*)", i\)', script)
    for i in (0, 1):
        assert np.loadtxt(small_tutorial[0] / (template % i)).shape == (12000, 2)
    if shutil.which("gnuplot"):
        script = "set terminal dumb\n" + script.replace("0:4", "0:1")
        run(f"gnuplot -e '{script}'", small_tutorial[0])


def test_lines_that_are_not_run_are_in_the_documents(commands):
    """Else the list above would hide a command that has changed."""
    found = {c for page in PAGES for c in commands(page.read_text())}
    assert set(INSTALLING) <= found
    assert "-e" in (ROOT / "tools" / "install.sh").read_text()
    assert (ROOT / "environment.yml").is_file()


# --- links -------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub and GitLab make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.M):
        plain = re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("name", BY_NAME)
def test_links_lead_somewhere(name):
    page = BY_NAME[name]
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_index_has_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        if page.name != "README.md":
            assert f"({page.relative_to(ROOT / 'docs')})" in index, page.name


@pytest.mark.parametrize("name", BY_NAME)
def test_files_that_are_named_are_there(name):
    for path in re.findall(
        r"`((?:dials_jungfrau_qc|tests|tools|benchmarks|docs)/[\w./-]*)`",
        BY_NAME[name].read_text(),
    ):
        # The example of the page on checks
        if not path.endswith("parity.py"):
            assert (ROOT / path).exists(), path


# --- what follows from the code ----------------------------------------------------


def test_made_pages_are_up_to_date():
    for path, text in tool("make_docs").pages().items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)}: run 'make docs'"


def test_every_parameter_is_on_its_page():
    for module in (
        *(find_bad_pixels, pixel_histogram),
        *(simulate_jungfrau, transmission_linearity),
    ):
        stem = module.__name__.rpartition(".")[2]
        page = (ROOT / "docs" / "programs" / f"dials.{stem}.md").read_text()
        for definition in module.phil_scope.all_definitions():
            assert f"`{definition.path}`" in page
            assert definition.object.help, definition.path


def test_columns_in_the_documents_are_those_of_the_files():
    from dials_jungfrau_qc.io import bad_pixel_files

    text = (ROOT / "docs" / "formats.md").read_text()
    source = Path(bad_pixel_files.__file__).read_text()
    header = re.search(r'"# (panel slow fast [^"]*)"\s*"([^"]*)"', source)
    for section, columns in (
        ("### matched0.dat", MATCHED_COLUMNS),
        ("### bad_pixels.dat", "".join(header.groups())),
    ):
        part = text[text.index(section) :].split("\n#")[0]
        named = re.findall(r"^\| [\d, -]+ \| ([^|]*) \|", part, flags=re.M)
        words = " ".join(named).replace("`", "").replace(",", "").split()
        assert words == columns.split()
