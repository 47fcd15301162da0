"""Speed and memory of dials.transmission_linearity beside DIALS' reader.

Builds an integrated.refl of five sweeps of 380 000 reflections, and times whole processes
in turn:

    python benchmarks/linearity_speed.py [--repeats 3] [--reflections 380000]
        [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from timing import print_table, run_in_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from integrated_files import simulate, write_series  # noqa: E402

OURS = "dials_jungfrau_qc.command_line.transmission_linearity"
TRANSMISSIONS = (0.064, 0.127, 0.253, 0.503, 1.0)
READ_ONLY = """
import sys
from dials.array_family import flex
flex.reflection_table.from_file(sys.argv[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reflections", type=int, default=380_000)
    parser.add_argument("--folder", type=Path, help="where to work and leave the file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        target = folder / "integrated.refl"
        if not target.exists():
            # Weak data need no pixel to be drawn, which takes the time of a simulation
            simulated = simulate(
                1, options.reflections, TRANSMISSIONS, spots={"scale": 150.0}
            )
            write_series(folder, simulated)
        size = target.stat().st_size / 1e6
        print(f"5 x {options.reflections} reflections, {size:.0f} MB")
        python = sys.executable
        files = [str(target), str(folder / "integrated.expt")]
        runs = run_in_turn(
            {
                "import and from_file": [python, "-c", READ_ONLY, str(target)],
                "dials.transmission_linearity": [python, "-m", OURS, *files],
            },
            folder,
            options.repeats,
        )
    print_table(runs, "import and from_file")
    peak = max(run.memory for run in runs["dials.transmission_linearity"])
    print(f"peak memory: {peak:.0f} MB, {peak / size:.1f} times the file")


if __name__ == "__main__":
    main()
