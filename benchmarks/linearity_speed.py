"""Speed and memory of dials.transmission_linearity beside DIALS' reader.

Builds an integrated.refl of five sweeps of 380 000 reflections with every column that
dials.integrate writes, and times whole processes in turn:

    python benchmarks/linearity_speed.py [--repeats 3] [--reflections 380000]
        [--scale 2300] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from pathlib import Path

import numpy as np
from timing import print_table, run_in_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

OURS = "dials_jungfrau_qc.command_line.transmission_linearity"
TRANSMISSIONS = (0.064, 0.127, 0.253, 0.503, 1.0)
READ_ONLY = """
import sys
from dials.array_family import flex
flex.reflection_table.from_file(sys.argv[1])
"""


def write_files(folder: Path, n: int, scale: float) -> None:
    """Write a series of a perfect detector with the columns of dials.integrate.

    Photons are drawn for whole reflections: drawing each pixel takes minutes, and the
    program does the same with either.

    Args:
        folder: Where.
        n: Reflections of each sweep.
        scale: Mean photons of a reflection at T = 1, d infinite.
    """
    from integrated_files import write_series

    from dials.array_family import flex
    from dials_jungfrau_qc.simulation.intensities import SimulatedIntensities

    rng = np.random.default_rng(1)
    beam = np.array(TRANSMISSIONS)
    n_pixels, n_background, background = 147, 400, 1.5
    d = np.cbrt(1 / (30.0**-3 + (1.6**-3 - 30.0**-3) * rng.random(n)))
    expected = scale * np.exp(-22.0 / (2 * d**2)) * rng.exponential(size=n)
    level = np.array([rng.poisson(b * background * n_background, n) for b in beam])
    level = level / n_background
    total = np.array(
        [rng.poisson(b * (expected + background * n_pixels)) for b in beam]
    )
    series = SimulatedIntensities(
        d=d,
        position=rng.random(n),
        expected=expected,
        sigma_pixels=np.full(n, 0.8),
        sigma_images=rng.uniform(0.3, 0.45, n),
        n_pixels=n_pixels,
        intensity=total - n_pixels * level,
        variance=total + level * n_pixels**2 / n_background + 1e-9,
        background=level,
        beam=beam,
        transmission=beam,
    )
    write_series(folder, series)
    table = flex.reflection_table.from_file(str(folder / "integrated.refl"))
    n_rows = len(table)
    for name in ("xyzcal.mm", "xyzobs.mm.value", "xyzobs.mm.variance", "s1"):
        table[name] = table["xyzcal.px"]
    table["xyzobs.px.variance"] = table["xyzcal.px"]
    for name in ("background.sum.value", "background.sum.variance"):
        table[name] = table["background.mean"]
    table["profile.correlation"] = flex.double(n_rows, 0.9)
    for name in ("background", "background_used", "foreground", "valid"):
        table[f"num_pixels.{name}"] = flex.int(n_rows, n_pixels)
    table["imageset_id"] = table["id"]
    table["partial_id"] = flex.size_t(range(n_rows))
    table["bbox"] = flex.int6(n_rows)
    table.as_file(str(folder / "integrated.refl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reflections", type=int, default=380_000)
    parser.add_argument(
        "--scale", type=float, default=2300.0, help="photons, see above"
    )
    parser.add_argument("--folder", type=Path, help="where to work and leave the file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)).resolve()
        target = folder / "integrated.refl"
        if not target.exists():
            # In a process of its own: what it needs would count as peak of its children
            writer = multiprocessing.Process(
                target=write_files, args=(folder, options.reflections, options.scale)
            )
            writer.start()
            writer.join()
            if writer.exitcode:
                sys.exit("the files could not be written")
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
