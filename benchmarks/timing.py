"""Time commands as whole processes, in turn, so that a noisy machine is fair to all."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished process: seconds by the clock, of CPU, and peak memory in MB."""

    wall: float
    cpu: float
    memory: float


def run_once(command: Sequence[str], folder: Path) -> Run:
    """Run a command to its end and account for it.

    Raises:
        RuntimeError: It failed.
    """
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def run_in_turn(
    commands: Mapping[str, Sequence[str]], folder: Path, repeats: int
) -> dict[str, list[Run]]:
    """Run each command once to warm up, then all of them in turn."""
    for command in commands.values():
        run_once(command, folder)
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run_once(command, folder))
    return runs


def print_table(runs: Mapping[str, Sequence[Run]], reference: str) -> None:
    """Medians of each command, and the median of its ratios to the reference."""
    width = max(map(len, runs))
    print(f"{'':{width}}  wall s   cpu s  peak MB  wall / {reference!r}, pair by pair")
    for name, own in runs.items():
        ratios = [a.wall / b.wall for a, b in zip(own, runs[reference])]
        print(
            f"{name:{width}}  {median(own, 'wall'):6.2f}  {median(own, 'cpu'):6.2f}"
            f"  {max(run.memory for run in own):7.0f}  {statistics.median(ratios):6.2f}"
            f"  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def median(runs: Sequence[Run], field: str) -> float:
    """The median of one figure over several runs."""
    return statistics.median(getattr(run, field) for run in runs)
