"""Speed and memory of dials.pixel_histogram beside the tutorial's script and DIALS' reader.

Builds an indexed.refl of 540 000 shoeboxes (about 580 MB) by repeating reflection files,
the real ones beside the checkout if they are there, and times whole processes in turn:

    python benchmarks/pixel_histogram_speed.py [--repeats 5] [--folder FOLDER] [FILE ...]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from pathlib import Path

from timing import print_table, run_in_turn

TUTORIAL_SCRIPT = """
import sys
from dials.array_family import flex
data = flex.reflection_table.from_file(sys.argv[1])
data = data.select(data.get_flags(data.flags.indexed))
boxes = data["shoebox"]
h0 = flex.histogram(flex.double(), data_min=0, data_max=12000, n_slots=12000)
for j in range(boxes.size()):
    values = boxes[j].data.as_double().as_1d()
    h0.update(flex.histogram(values, data_min=0, data_max=12000, n_slots=12000))
with open(sys.argv[2], "w") as f:
    for c, v in zip(h0.slot_centers(), h0.slots()):
        f.write(f"{c} {v}\\n")
"""
READ_ONLY = """
import sys
from dials.array_family import flex
flex.reflection_table.from_file(sys.argv[1])
"""
OURS = "dials_jungfrau_qc.command_line.pixel_histogram"
N_SHOEBOXES = 540_000
N_EXPERIMENTS = 5


def build(files: list[Path], target: Path) -> None:
    """Repeat reflection tables up to the number of shoeboxes, as five experiments."""
    from dials.array_family import flex

    tables = [flex.reflection_table.from_file(str(path)) for path in files]
    common = set.intersection(*(set(table.keys()) for table in tables))
    block = flex.reflection_table()
    for table in tables:
        for key in set(table.keys()) - common:
            del table[key]
        for id_ in list(table.experiment_identifiers().keys()):
            del table.experiment_identifiers()[id_]
        block.extend(table)
    whole = flex.reflection_table()
    per_experiment = -(-N_SHOEBOXES // N_EXPERIMENTS // block.size())
    for id_ in range(N_EXPERIMENTS):
        block["id"] = flex.int(block.size(), id_)
        for _ in range(per_experiment):
            whole.extend(block)
    whole = whole[:N_SHOEBOXES]
    for id_ in range(N_EXPERIMENTS):
        whole.experiment_identifiers()[id_] = f"sweep-{id_}"
    whole.as_file(str(target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work and leave the file")
    parser.add_argument("files", nargs="*", type=Path)
    options = parser.parse_args()
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    files = options.files or [
        shared / "quartz_processed" / "indexed.refl",
        shared / "ssx_CuNiR_test_data" / "indexed.refl",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        target = folder / "indexed.refl"
        if not target.exists():
            # In a process of its own: a child's peak memory begins with its parent's
            builder = multiprocessing.get_context("spawn").Process(
                target=build, args=(files, target)
            )
            builder.start()
            builder.join()
            if builder.exitcode:
                raise SystemExit("the file could not be built")
        size = target.stat().st_size / 1e6
        print(f"{N_SHOEBOXES} shoeboxes, {size:.0f} MB")
        python = sys.executable
        runs = run_in_turn(
            {
                "import and from_file": [python, "-c", READ_ONLY, str(target)],
                "histograms alone": [
                    *(python, "-m", OURS, str(target), "find_features=False")
                ],
                "dials.pixel_histogram": [python, "-m", OURS, str(target)],
                "tutorial script": [
                    *(python, "-c", TUTORIAL_SCRIPT, str(target)),
                    str(folder / "script.hist"),
                ],
                "dials.pixel_histogram -h": [python, "-m", OURS, "-h"],
                "import dials.util.options": [
                    python,
                    "-c",
                    "import dials.util.options",
                ],
            },
            folder,
            options.repeats,
        )
    print_table(runs, "histograms alone")
    peak = max(run.memory for run in runs["dials.pixel_histogram"])
    print(f"peak memory: {peak:.0f} MB; limit (file + 500 MB): {size + 500:.0f} MB")


if __name__ == "__main__":
    main()
