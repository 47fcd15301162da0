"""The package as it is installed: its programs, its environment and its layers."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dials_jungfrau_qc"
PROGRAMS = sorted(
    path
    for path in (PACKAGE / "command_line").glob("*.py")
    if path.name != "__init__.py"
)
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each layer may import of this package. The plain modules of the top level,
# such as _version, are open to all.
LAYERS = {
    "algorithms": {"algorithms"},
    "io": {"io", "algorithms"},
    "simulation": {"simulation", "io", "algorithms"},
    "report": {"report", "io", "algorithms"},
    "command_line": {"command_line", "report", "simulation", "io", "algorithms"},
}

# Slow to import. DIALS may load some of them, but a program of ours that only shows
# its help must not add to that.
HEAVY = {"h5py", "hdf5plugin", "plotly", "scipy"}


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        # Not from the checkout by luck of the working directory, even where the
        # package is used without being installed.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def by_stem(paths: list[Path]) -> dict[str, list]:
    return {"argvalues": paths, "ids": [path.stem for path in paths]}


# --- console scripts ---------------------------------------------------------------


def console_scripts() -> dict[str, str]:
    """Name and target of each console script that ``setup.py`` declares."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "entry_points":
            declared = ast.literal_eval(node.value)["console_scripts"]
            return dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in declared)
    raise AssertionError("setup.py declares no entry points")


@pytest.fixture(scope="module")
def installed() -> importlib.metadata.Distribution:
    """The installed distribution, not the egg-info that building leaves in a checkout."""
    for distribution in importlib.metadata.distributions(name="dials_jungfrau_qc"):
        files = distribution.files or []
        if any(file.parent.suffix == ".dist-info" for file in files):
            return distribution
    pytest.skip("used from the checkout, not installed")


def test_every_program_has_a_console_script():
    targets = {target.partition(":")[0] for target in console_scripts().values()}
    assert targets == {
        f"dials_jungfrau_qc.command_line.{path.stem}" for path in PROGRAMS
    }


@pytest.mark.parametrize("name", console_scripts())
def test_console_script_is_installed_and_starts(name, installed, tmp_path):
    scripts = [file for file in installed.files if file.name == name]
    assert len(scripts) == 1, f"'{name}' is not installed: run 'make install'"
    script = Path(scripts[0].locate()).resolve()
    assert os.access(script, os.X_OK)

    result = run(script, "-h", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    # A program of two names shows one of them
    target = console_scripts()[name]
    names = [other for other, to in console_scripts().items() if to == target]
    assert any(other in result.stdout for other in names)


@pytest.mark.parametrize("path", **by_stem(PROGRAMS))
def test_program_runs_as_a_module(path, tmp_path):
    module = f"dials_jungfrau_qc.command_line.{path.stem}"

    result = run(sys.executable, "-m", module, "-h", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert "usage: dials." in result.stdout.lower()
    assert not list(tmp_path.iterdir()), "showing the help left files behind"


# --- libtbx ------------------------------------------------------------------------


def libtbx_config() -> dict:
    """The configuration, read in the way that ``libtbx.configure`` reads it."""
    with (ROOT / "libtbx_config").open() as f:
        return eval(" ".join(f.readlines()), {}, {})


def dispatcher_names(program: Path) -> list[str]:
    """The names under which a libtbx build would put a program into ``build/bin``."""
    names = []
    for line in program.read_text()[:1000].splitlines():
        words = line.split()
        if "LIBTBX_SET_DISPATCHER_NAME" in words[:-1]:
            names.append(words[words.index("LIBTBX_SET_DISPATCHER_NAME") + 1])
    return names


def test_libtbx_finds_every_program():
    locations = libtbx_config()["extra_command_line_locations"]

    found = {
        path
        for location in locations
        for path in (ROOT / location / "command_line").glob("*.py")
        if path.name != "__init__.py"
    }

    assert found == set(PROGRAMS)


@pytest.mark.parametrize("path", **by_stem(PROGRAMS))
def test_dispatcher_name(path):
    names = dispatcher_names(path)

    # Without a name libtbx would invent one from those of the folder and the file.
    assert names, (
        f"no LIBTBX_SET_DISPATCHER_NAME in the first 1000 characters of {path}"
    )
    assert set(names) <= set(console_scripts())
    for name in names:
        # A second source for a dispatcher stops libtbx.refresh for everything.
        owner = f"dials.command_line.{name.removeprefix('dials.')}"
        assert importlib.util.find_spec(owner) is None, f"DIALS has its own {name}"


# --- one HDF5 library --------------------------------------------------------------

READ_WITH_BOTH = """
import re, sys
import dxtbx.format.nexus
import h5py, hdf5plugin
from pathlib import Path

try:
    from dxtbx_format_nexus_ext import dataset_as_flex_int
except ImportError:
    from dxtbx.dxtbx_format_nexus_ext import dataset_as_flex_int

with h5py.File(sys.argv[1], "w") as f:
    f.create_dataset("data", data=[[3, 1], [4, 1]], dtype="i4")
with h5py.File(sys.argv[1]) as f:
    dataset = f["data"]
    selection = tuple(slice(0, n, 1) for n in dataset.shape)
    # An h5py object handed to dxtbx' C++ as a number: only the same HDF5 knows it.
    print("values", *dataset_as_flex_int(dataset.id.id, selection))

maps = Path("/proc/self/maps")
if maps.exists():
    mapped = set(re.findall(r"(/\\S*/libhdf5(?!\\w*_hl|_cpp)[^/\\s]*)", maps.read_text()))
    print("libraries", *sorted(path for path in mapped if "_hl" not in path))
"""


def test_h5py_is_the_one_that_dxtbx_uses(tmp_path):
    # In a process of its own: other tests may have loaded anything.
    result = run(sys.executable, "-c", READ_WITH_BOTH, "small.h5", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    answers = dict(
        line.partition(" ")[::2] for line in result.stdout.strip().splitlines()
    )
    assert answers["values"] == "3 1 4 1"
    if "libraries" in answers:
        assert len(answers["libraries"].split()) == 1, answers["libraries"]


# --- layers and start-up -----------------------------------------------------------


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, on_loading_only: bool = False) -> set[str]:
    """Full names of what a module imports.

    Args:
        path: The module.
        on_loading_only: Leave out what functions import when they are called, and
            what only type checkers see.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    found = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(), str(path))]
    while waiting:
        node = waiting.pop()
        if on_loading_only:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                waiting.extend(node.orelse)
                continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))
    return found


def layer(name: str) -> str | None:
    """The layer that a module of this package belongs to, or None."""
    parts = name.split(".")
    if parts[0] == "dials_jungfrau_qc" and len(parts) > 1 and parts[1] in LAYERS:
        return parts[1]
    return None


@pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES]
)
def test_imports_run_downward(path):
    own = layer(module_name(path))
    used = {layer(name) for name in imports(path)} - {None}

    assert used <= (LAYERS[own] if own else set())


@pytest.mark.parametrize("path", **by_stem(sorted(PACKAGE.glob("algorithms/**/*.py"))))
def test_algorithms_need_numpy_and_scipy_alone(path):
    allowed = {"numpy", "scipy", "dials_jungfrau_qc"} | sys.stdlib_module_names

    used = {name.partition(".")[0] for name in imports(path)}

    assert used - allowed == set()
    assert "logging" not in used


def loaded_with(program: Path) -> dict[str, set[str]]:
    """What loading a program loads: each module of this package, and its imports."""
    paths = {module_name(path): path for path in MODULES}
    loaded: dict[str, set[str]] = {}
    waiting = [module_name(program)]
    while waiting:
        name = waiting.pop()
        if name in loaded or name not in paths:
            continue
        loaded[name] = imports(paths[name], on_loading_only=True)
        waiting.extend(loaded[name])
        waiting.append(name.rpartition(".")[0])
    return loaded


@pytest.mark.parametrize("path", **by_stem(PROGRAMS))
def test_start_up_is_light(path):
    heavy = {
        module: {name for name in names if name.partition(".")[0] in HEAVY}
        for module, names in loaded_with(path).items()
    }

    assert {module: names for module, names in heavy.items() if names} == {}


@pytest.mark.parametrize("name", ["LICENSE", "CHANGELOG.md", "README.md"])
def test_documents_are_there(name):
    assert (ROOT / name).stat().st_size > 100


def test_conda_environment_has_all_requirements():
    listed = re.findall(
        r"^  - ([\w>=.-]+)$", (ROOT / "environment.yml").read_text(), flags=re.M
    )
    setup = (ROOT / "setup.py").read_text()
    required = re.findall(r'"([\w>=.]+)"', setup[setup.index("install_requires") :])
    wanted = required[: required.index("console_scripts")]

    other_names = {"isal": "python-isal"}

    assert "plotly>=6" in wanted
    assert {other_names.get(name, name) for name in wanted} - {"test"} <= set(listed)
    assert "dials>=3.12" in listed


@pytest.mark.parametrize("runner", ["", "/nowhere/runner"])
def test_without_the_latest_dials_its_tests_say_what_they_need(runner, tmp_path):
    shutil.copytree(ROOT / "tools", tmp_path / "checkout" / "tools")
    script = tmp_path / "checkout" / "tools" / "test-latest.sh"

    result = run("env", f"DIALS_LATEST_RUN={runner}", "bash", script, cwd=tmp_path)

    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "DIALS_LATEST_RUN= must name a program" in line
    assert result.stdout == ""
