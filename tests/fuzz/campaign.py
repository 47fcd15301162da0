"""Run the programs on damaged files, each in a process of its own with bounds.

    python -m fuzz.campaign --mutants 2000 --seed 1 --keep findings

The programs are imported once; each mutant runs in a fork, with 1 GB of memory above what
the imports take and 10 s of processor time. Prints what went wrong, as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from .corpus import CANARY, Case, cases

MEMORY = 1 << 30
CPU_SECONDS = 10
# Of the clock, as the machine may have other work
WALL_SECONDS = 120
# PHIL lists the choices of a parameter, a line each
MAX_LINES, MAX_CHARACTERS = 8, 1500


@dataclasses.dataclass(frozen=True)
class Finding:
    """A mutant that a program did not stand."""

    case: int
    seed: str
    program: str
    target: str
    arguments: list[str]
    problem: str
    message: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="folder of real data")
    parser.add_argument("--keep", type=Path, help="keep the mutants that were found")
    parser.add_argument("--only", help="one mutant, by the seed that was printed")
    parser.add_argument("--match", default="", help="cases with this in their names")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        corpus = cases(Path(name), options.real)
        warm_up(corpus)
        outcomes, findings = Counter(), []
        seeds = [f"{options.seed}.{i}" for i in range(options.mutants)]
        for seed in [options.only] if options.only else seeds:
            index = int(seed.split(".")[1]) % len(corpus)
            case = corpus[index]
            if options.match not in f"{case.program} {case.target}":
                continue
            outcome, finding = run_mutant(corpus, index, seed, options.keep)
            outcomes[outcome] += 1
            if finding:
                findings.append(dataclasses.asdict(finding))
                print(json.dumps(findings[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"outcomes": outcomes, "findings": findings}))


def warm_up(corpus: list[Case]) -> None:
    """Import everything that a run needs, so that forks have it."""
    for program in {case.program for case in corpus}:
        importlib.import_module(program)
    for name in (
        *("h5py", "hdf5plugin", "plotly.offline", "scipy.stats", "scipy.optimize"),
        *("dxtbx.model.experiment_list", "dxtbx.format.FormatNXmx", "dxtbx.flumpy"),
        *("jinja2", "dials.util.options", "dials.array_family.flex"),
    ):
        importlib.import_module(name)


def run_mutant(
    corpus: list[Case], index: int, seed: str, keep: Path | None
) -> tuple[str, Finding | None]:
    """Run one mutant; returns its outcome and what is wrong with it."""
    case = corpus[index]
    rng = random.Random(seed)
    other = rng.choice(corpus)
    splice = other.target.read_bytes() if other.target else b""
    folder = Path(tempfile.mkdtemp())
    try:
        arguments = case.prepare(folder, rng, splice)
        before = {path.name for path in folder.iterdir()}
        pid = os.fork()
        if not pid:
            _child(case, arguments, folder)
        status = _wait(pid)
        output = (folder / "stdout").read_text(errors="replace")
        message = (folder / "stderr").read_text(errors="replace")
        problem = _problem(case, folder, before, status, output, message)
        outcome = "answer" if status == 0 else "message" if status == 1 else "other"
        if not problem:
            return outcome, None
        if keep is not None:
            shutil.copytree(folder, keep / seed, dirs_exist_ok=True)
        return "finding", Finding(
            index,
            seed,
            case.program.rpartition(".")[2],
            case.target.name if case.target else "",
            arguments,
            problem,
            message[-3000:],
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(case: Case, arguments: list[str], folder: Path) -> None:
    """Run the program within bounds, and end the process."""
    status = 70
    try:
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            target = os.open(name, os.O_CREAT | os.O_WRONLY, 0o644)
            os.dup2(target, stream)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        bound = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
        used = int(time.process_time())
        resource.setrlimit(
            resource.RLIMIT_CPU, (used + CPU_SECONDS, used + CPU_SECONDS)
        )
        status = _run(case.program, arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _run(program: str, arguments: list[str]) -> int:
    """Run a program as Python would at the top level; returns its exit status."""
    sys.argv = [program.rpartition(".")[2], *arguments]
    try:
        sys.modules[program].run()
    except SystemExit as stop:
        if stop.code is None:
            return 0
        if isinstance(stop.code, int):
            return stop.code
        print(stop.code, file=sys.stderr)
        return 1
    return 0


def _wait(pid: int) -> int:
    """The exit status of a child, as subprocess has it; it is killed if it hangs."""
    deadline = time.monotonic() + WALL_SECONDS
    pause = 0.002
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -signal.SIGALRM
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def _problem(
    case: Case, folder: Path, before: set[str], status: int, output: str, message: str
) -> str:
    """What is wrong with how a mutant ended; empty if nothing is."""
    text = output + message
    lines = [line for line in message.splitlines() if line.strip()]
    left = {path.name for path in folder.iterdir()} - before - {"stdout", "stderr"}
    if CANARY in left:
        return "a pickle was run"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    if "Traceback" in text or "report this error" in text:
        return "traceback"
    partial = sorted(name for name in left if name.endswith(".part"))
    if partial:
        return f"left over: {partial}"
    if status == 0:
        if case.check and case.target:
            try:
                return case.check(folder, folder / case.target.name)
            except Exception as e:
                return f"results cannot be checked: {type(e).__name__}: {e}"
        return ""
    if not lines:
        return "no message"
    if len(lines) > MAX_LINES or len(message) > MAX_CHARACTERS:
        return "the message is long"
    results = sorted(name for name in left if not name.endswith(".log"))
    return f"failed, and wrote {results}" if results else ""


if __name__ == "__main__":
    main()
