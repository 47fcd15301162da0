"""Programs that are stopped, that run out of room, or that run side by side."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from integrated_files import simulate, write_series
from nxmx_files import geometry_of, write_nxmx
from refl_files import random_boxes, table_bytes

from dxtbx.model.experiment_list import ExperimentListFactory

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.interruption import Stopped, stoppable
from dials_jungfrau_qc.io.masks import read_mask
from dials_jungfrau_qc.io.output import OutputFiles
from dials_jungfrau_qc.io.processes import run_in_processes

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "dials_jungfrau_qc.command_line"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")

SPOTS = ["pixel_histogram", "many.refl", "find_features=False"]
FRAMES = ["pixel_histogram", "x.expt", "pixels=frames", "nproc=2"]
SIMULATE = [
    *("simulate_jungfrau", "detector=module", "n_images=40", "transmission=1"),
    *("crystal.d_min=3", "output.directory=series", "nproc=2"),
]
LINEARITY = ["transmission_linearity", "integrated.expt", "integrated.refl"]
BAD_PIXELS = ["find_bad_pixels", "x.expt", "nproc=2"]
EVERY = {
    "spots": SPOTS,
    "frames": FRAMES,
    "simulate": SIMULATE,
    "linearity": LINEARITY,
    "bad pixels": BAD_PIXELS,
}
# The others read reflections as the spots, or images as the bad pixels
WRITERS = {name: EVERY[name] for name in EVERY if name != "frames"}


def pages(program):
    return {f"dials.{program}.{suffix}" for suffix in ("json", "html")}


RESULTS = {
    "spots": {*pages("pixel_histogram"), "many.hist", "many_intensity.hist"},
    "frames": {*pages("pixel_histogram"), "x.hist"},
    "simulate": {"series"},
    "linearity": {
        *pages("transmission_linearity"),
        *(f"{name}{k}.dat" for name in ("pair", "matched") for k in (0, 1)),
    },
    "bad pixels": {
        *pages("find_bad_pixels"),
        *("pixels.mask", "bad_pixels.dat", "bad_pixels.h5"),
    },
}
# A hook in the place of the program's entry says when the program itself begins
START = (
    "import importlib, sys;"
    "program = importlib.import_module(sys.argv[1]); print('ready', flush=True);"
    "sys.argv[:2] = [sys.argv[1]]; program.run()"
)
# Workers that begin late are there to be killed before they have done their part
SLOW_WORKERS = (
    "import time; from dials_jungfrau_qc.io import processes; begin = processes._begin;"
    "processes._begin = lambda work: (begin(work), time.sleep(3));"
)


@pytest.fixture(autouse=True)
def interruptible():
    """Children inherit it when Ctrl-C is ignored here, as in a job of the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A reflection table and 60 images, large enough for a second or two of work."""
    folder = tmp_path_factory.mktemp("files")
    boxes = random_boxes(400) * 50
    (folder / "many.refl").write_bytes(table_bytes(boxes))
    frames = np.random.default_rng(0).poisson(2.0, (4, *geometry_of().shape))
    write_nxmx(folder / "x.nxs", np.tile(frames, (15, 1, 1)), compression="off")
    experiments = ExperimentListFactory.from_filenames([str(folder / "x.nxs")])
    experiments.as_file(str(folder / "x.expt"))
    write_series(folder, simulate(n=1000))
    return folder


def start(arguments, folder, program=START, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program, f"{PACKAGE}.{arguments[0]}", *arguments[1:]],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
            "OPENBLAS_NUM_THREADS": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def of_session(session: int) -> list[int]:
    """The processes of a session that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def workers_of(session: int) -> list[int]:
    """Its processes that are copies of the first, as other programs that it runs are not."""

    def command(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    first = command(session)
    return [
        pid for pid in of_session(session) if pid != session and command(pid) == first
    ]


def gone(session: int, seconds: float = 10) -> bool:
    """Whether all processes of a session end."""
    deadline = time.monotonic() + seconds
    while of_session(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def new_files(folder: Path, before: set[str]) -> set[str]:
    names = {path.name for path in folder.iterdir()} - before
    return {name for name in names if not name.endswith(".log")}


@pytest.fixture
def here(tmp_path, files):
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    # Paths in experiment lists are absolute
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", EVERY)
def test_stopped_at_random_moments(here, name, number):
    arguments = EVERY[name]
    rng = random.Random(f"{name}{number}")
    before = {path.name for path in here.iterdir()}
    stopped = 0
    for _ in range(3):
        process = start(arguments, here)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.02, 0.8))
        # As a terminal does it: to every process of the session
        os.killpg(process.pid, number)
        output, message = process.communicate(timeout=60)

        assert "Traceback" not in output + message
        assert gone(process.pid)
        # All results or none: the program may have been at its last lines
        left = new_files(here, before)
        assert left in (set(), RESULTS[name])
        for file in left:
            path = here / file
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if process.returncode == 0:
            continue
        # Before and after the program itself, Python ends as others do
        if process.returncode != -number:
            assert process.returncode == 128 + number
            assert message.splitlines()[-1].startswith(f"Stopped by {number.name}")
            stopped += 1
    assert stopped


@pytest.mark.parametrize("name", ["frames", "bad pixels"])
def test_worker_that_is_killed(here, name):
    before = {path.name for path in here.iterdir()}
    process = start(EVERY[name], here, SLOW_WORKERS + START)
    assert process.stdout.readline() == "ready\n"
    while len(workers := workers_of(process.pid)) < 2 and process.poll() is None:
        time.sleep(0.005)
    assert workers, "no worker was seen"
    os.kill(workers[0], signal.SIGKILL)
    output, message = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "a process" in message and "died" in message and "nproc" in message
    assert "Traceback" not in output + message
    assert gone(process.pid)
    assert new_files(here, before) == set()


@pytest.mark.parametrize("name", ["frames", "bad pixels"])
def test_parent_that_is_killed_leaves_no_workers(here, name):
    process = start(EVERY[name], here)
    assert process.stdout.readline() == "ready\n"
    while len(workers_of(process.pid)) < 2 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate(timeout=60)

    assert gone(process.pid)


def sleep_and_stop(parent, seconds):
    time.sleep(0.3)
    os.kill(parent, signal.SIGTERM)
    time.sleep(seconds)


def test_workers_are_ended_whatever_they_are_at():
    begin = time.monotonic()
    with pytest.raises(Stopped), stoppable():
        run_in_processes(sleep_and_stop, [(os.getpid(), 600)], 2)
    assert time.monotonic() - begin < 60


def test_worker_that_is_stopped_before_it_has_begun(capfd):
    begun, begin = os.pipe()
    with stoppable():
        worker = os.fork()
        if not worker:
            os.write(begin, b".")
            time.sleep(60)
            os._exit(0)
        assert os.read(begun, 1) == b"."
        os.kill(worker, signal.SIGTERM)
        _, status = os.waitpid(worker, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert capfd.readouterr().err == ""


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stop, stoppable():
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.value.exit_status == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_signal_while_files_get_their_names(tmp_path, monkeypatch):
    """All of them get theirs, and the signal counts afterwards."""
    replace = os.replace

    def slow_replace(source, target):
        os.kill(os.getpid(), signal.SIGTERM)
        replace(source, target)

    monkeypatch.setattr(os, "replace", slow_replace)
    with pytest.raises(Stopped), stoppable(), OutputFiles() as output:
        output.write_text(tmp_path / "a", "a")
        output.write_text(tmp_path / "b", "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def mounted(*arguments) -> bool:
    """Mount something, where this user can and there is a program for it."""
    if os.getuid() or not shutil.which("mount"):
        return False
    command = ["mount", *map(str, arguments)]
    return subprocess.run(command, capture_output=True).returncode == 0


def elsewhere(name, folder):
    """The command line of a program with its output in another folder."""
    arguments = [a for a in EVERY[name] if not a.startswith("output.directory")]
    return [*arguments, f"output.directory={folder}/series"]


@pytest.mark.parametrize(
    "name,size,more",
    [
        ("spots", "64k", []),
        ("simulate", "1m", []),
        ("linearity", "64k", []),
        ("bad pixels", "64k", []),
        # Within the HDF5 file
        ("bad pixels", "16k", ["output.mask=None"]),
    ],
)
def test_full_disk(here, name, size, more):
    disk = here / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)):
        pytest.skip("only root can make a small disk")
    try:
        process = start([*elsewhere(name, "disk"), *more], here)
        output, message = process.communicate(timeout=120)
        left = {p.name for p in disk.rglob("*") if p.is_file()}
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

    assert process.returncode == 1
    assert "No space left on device" in message
    assert len(message.strip().splitlines()) == 1
    assert {name for name in left if not name.endswith(".log")} == set()


@pytest.mark.parametrize("name", WRITERS)
def test_folder_that_cannot_be_written(here, name):
    folder = here / "locked"
    folder.mkdir(mode=0o555)
    if not os.getuid():
        # Root may write everywhere but to a disk that is mounted so
        for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
            if not mounted(*options, str(folder)):
                pytest.skip("a folder cannot be mounted read-only here")
    try:
        process = start(elsewhere(name, "locked"), here)
        output, message = process.communicate(timeout=120)
    finally:
        if not os.getuid():
            subprocess.run(["umount", "-l", str(folder)], check=True)

    assert process.returncode == 1
    assert len(message.strip().splitlines()) == 1
    assert "locked/series" in message and "cannot be" in message


@pytest.mark.parametrize(
    "name,parameter,values",
    [
        ("spots", "histogram.n_bins", (1200, 600)),
        ("linearity", "seed", (1, 2)),
        ("bad pixels", "output.include_existing", (True, False)),
    ],
)
def test_two_runs_in_one_folder(here, name, parameter, values):
    runs = [[*EVERY[name], f"{parameter}={value}"] for value in values]
    processes = [start(arguments, here) for arguments in runs]
    for process in processes:
        output, message = process.communicate(timeout=120)
        assert process.returncode == 0, message

    program = f"dials.{EVERY[name][0]}"
    content = json.loads((here / f"{program}.json").read_text())
    value = content["parameters"][parameter]
    page = (here / f"{program}.html").read_text()
    short = parameter.rpartition(".")[2]
    # PHIL does not print what is the default
    by_default = value is False
    assert (f"{short} = {value}" in page) != by_default
    log = (here / f"{program}.log").read_text()
    assert "\0" not in log and log.count("have been modified") <= 1
    assert not list(here.glob(".*.part"))
    assert RESULTS[name] <= {path.name for path in here.iterdir()}
    if name == "spots":
        assert len((here / "many.hist").read_text().splitlines()) == value
    if name == "bad pixels":
        (good,) = read_mask(here / "pixels.mask")
        n_masked = len(content["pixels"])
        n_masked += (geometry_of().pixel_mask() != 0).sum() if value else 0
        assert (~good).sum() == n_masked


def test_two_simulations_in_one_folder(here):
    """The series of one of them is there, whole, and the other is told so."""
    small = [*SIMULATE, "n_images=4"]
    for more in ([], ["output.overwrite=True"]):
        runs = [[*small, *more, f"seed={seed}"] for seed in (1, 2)]
        processes = [start(arguments, here) for arguments in runs]
        messages = [process.communicate(timeout=120)[1] for process in processes]
        statuses = sorted(process.returncode for process in processes)
        assert statuses == ([0, 0] if more else [0, 1]), messages
        truth = json.loads((here / "series" / "truth.json").read_text())
        (sweep,) = truth["sweeps"]
        log = (here / "series" / "dials.simulate_jungfrau.log").read_text()
        assert f"seed = {truth['parameters']['seed']}" in log
        files = {p.name for p in (here / "series").rglob("*") if p.is_file()}
        assert files == {Path(sweep["file"]).name, "truth.json"} | {
            "dials.simulate_jungfrau.log"
        }
        assert not list(here.glob(".series*"))


def test_files_that_cannot_be_renamed_leave_none(tmp_path):
    (tmp_path / "b").mkdir()
    with (
        pytest.raises(InputError, match="b: cannot be written"),
        OutputFiles() as output,
    ):
        output.write_text(tmp_path / "b", "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
