"""Planted against found: the gain switch, over many seeds.

Spots with Wilson intensities over a background are read out through the model of the
detector, histogrammed with and without the spot-finding threshold of DIALS
(dispersion_extended), and searched. One row of the table is one kind of data:

    python benchmarks/gain_switch_truth.py --seeds 100 --processes 2

Long runs can be split: `--save part.json` keeps the rows, `--load *.json` prints their table.

Columns: calls in %; then over the calls the median bias of J, its rms and the median of the
stated error, how often the 68 % interval holds J, the median error of the position and its
rms, and how often the sign is right; then over the rest the median bound and how often it holds
where it applies, which is to positions from the last column on.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.algorithms.gain_switch import find_gain_switch
from dials_jungfrau_qc.simulation.detector import DetectorModel, with_notch
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic, read_photons

# Spread of the switch points and their position, photons: wide ones have to lie lower to stay
# below the ceiling of the first gain.
POSITION = {0.6: 25.0, 2.0: 22.0}
AREAS = (-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
WEAK_AREAS = (-6.0, -1.0, 0.0, 2.0)
# Mean intensities: a sweep at full transmission, and one at 0.067.
STRONG, WEAK = 1500.0, 100.0
SWEEPS = {"strong": STRONG, "weak": WEAK}


@dataclass(frozen=True)
class Row:
    """One search, with what was planted."""

    intensity: float
    background: float
    thresholded: bool
    area: float | None
    spread: float
    called: bool
    found: tuple[float, float, float, float]
    significance: float
    bound: float
    bound_from: float
    seconds: float

    @property
    def kind(self):
        area = np.inf if self.area is None else self.area
        return (-self.intensity, self.thresholded, self.background, self.spread, area)


def strong_pixels(image: np.ndarray) -> np.ndarray:
    """Pixels that DIALS' spot finding marks, with its default parameters."""
    from dials.algorithms.image.threshold import DispersionExtendedThreshold
    from dials.array_family import flex

    data = flex.double(np.ascontiguousarray(image, dtype=float))
    mask = flex.bool(data.accessor(), True)
    result = flex.bool(data.accessor())
    algorithm = DispersionExtendedThreshold(image.shape, (3, 3), 6.0, 3.0, 0.0, 2)
    algorithm(data, mask, result)
    return result.as_numpy_array()


def cases(intensity: float):
    """What is planted: (J, spread), with J None for a detector that does not switch."""
    areas = AREAS if intensity == STRONG else WEAK_AREAS
    return [(area, spread) for spread in POSITION for area in areas] + [(None, 0.6)]


def run_seed(job) -> list[Row]:
    """All cases of one seed, one background and one intensity."""
    seed, background, intensity, null = job
    rng = np.random.default_rng((seed, int(10 * background), int(intensity)))
    mosaic = SpotMosaic(background=background, mean_intensity=intensity)
    photons = mosaic.photons(rng)
    rows = []
    for area, spread in cases(intensity):
        if null and area:
            continue
        model = DetectorModel()
        if area is None:
            model = replace(model, switching=False)
        else:
            model = with_notch(model, area, POSITION[spread], spread)
        image = read_photons(photons, model, rng)
        for thresholded in (False, True):
            pixels = image[strong_pixels(image)] if thresholded else image.ravel()
            counts = np.bincount(pixels[(pixels >= 0) & (pixels < 1000)])
            start = time.perf_counter()
            result = find_gain_switch(counts)
            seconds = time.perf_counter() - start
            c = result.candidate
            nothing = (np.nan,) * 4
            rows.append(
                Row(
                    intensity=intensity,
                    background=background,
                    thresholded=thresholded,
                    area=area,
                    spread=spread,
                    called=result.switch is not None,
                    found=(c.position, c.position_error, c.area, c.area_error)
                    if c
                    else nothing,
                    significance=c.significance if c else 0.0,
                    bound=result.bound_95,
                    bound_from=result.bound_range[0] if result.bound_range else np.inf,
                    seconds=seconds,
                )
            )
    return rows


def print_table(rows: list[Row]) -> None:
    """One line a kind of data, and the summary of false calls."""
    print(
        "sweep  pixels      bkg spread    J  calls%   bias    rms  error  68%cov "
        "pos.bias pos.rms pos.cov sign%  bound holds%  from"
    )
    for kind in sorted({row.kind for row in rows}):
        of_kind = [row for row in rows if row.kind == kind]
        print(_line(of_kind))
    null = [row for row in rows if not row.area]
    for thresholded in (False, True):
        part = [row for row in null if row.thresholded is thresholded]
        called = sum(row.called for row in part)
        name = "strong pixels" if thresholded else "whole frames"
        print(
            f"false calls, {name}: {called} of {len(part)}, {100 * called / len(part):.2f} %"
        )
    print(f"seconds a search: median {np.median([row.seconds for row in rows]):.2f}")


def _line(rows: list[Row]) -> str:
    first = rows[0]
    area = first.area
    called = [row for row in rows if row.called]
    sweep = "strong" if first.intensity == STRONG else "weak"
    pixels = "strong" if first.thresholded else "frames"
    planted = "none" if area is None else f"{area:+.1f}"
    text = f"{sweep:6s} {pixels:8s} {first.background:6.1f} {first.spread:6.1f} {planted:>5s}"
    text += f" {100 * len(called) / len(rows):6.1f}"
    if called and area:
        position, position_error, found, error = np.array(
            [row.found for row in called]
        ).T
        bias, moved = found - area, position - POSITION[first.spread]
        text += f" {np.median(bias):+6.2f} {np.sqrt(np.mean(bias**2)):6.2f}"
        text += f" {np.median(error):6.2f} {100 * np.mean(np.abs(bias) < error):6.0f}"
        text += f" {np.median(moved):+8.2f} {np.sqrt(np.mean(moved**2)):7.2f}"
        text += f" {100 * np.mean(np.abs(moved) < position_error):7.0f}"
        text += f" {100 * np.mean(np.sign(found) == np.sign(area)):5.0f}"
    else:
        text += " " * 55
    rest = [row for row in rows if not row.called]
    if rest:
        bounds = np.array([row.bound for row in rest])
        text += f" {np.median(bounds):6.2f}"
        # A bound says nothing of a switch that would be nearer to the low end
        applies = np.array([row.bound_from <= POSITION[row.spread] for row in rest])
        if not area or applies.any():
            held = bounds[applies | (not area)] >= abs(area or 0.0)
            text += f" {100 * np.mean(held):5.0f}"
        else:
            text += "     -"
    else:
        text += " " * 13
    return text + f" {np.median([row.bound_from for row in rows]):6.1f}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--backgrounds", type=float, nargs="+", default=[0.1, 1.5, 6.0])
    parser.add_argument("--sweeps", choices=SWEEPS, nargs="+", default=list(SWEEPS))
    parser.add_argument(
        "--null", action="store_true", help="only J = 0 and no switching"
    )
    parser.add_argument("--save", type=Path)
    parser.add_argument("--load", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.load:
        parts = [json.loads(path.read_text()) for path in arguments.load]
        rows = [Row(**row) for part in parts for row in part]
    else:
        rows = run(arguments)
    if arguments.save:
        arguments.save.write_text(json.dumps([asdict(row) for row in rows]))
    print_table(rows)


def run(arguments: argparse.Namespace) -> list[Row]:
    """All seeds, backgrounds and sweeps."""
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    jobs = [
        (seed, background, intensity, arguments.null)
        for seed in seeds
        for background in arguments.backgrounds
        for intensity in (SWEEPS[name] for name in arguments.sweeps)
    ]
    with Pool(arguments.processes) as pool:
        return [row for part in pool.imap_unordered(run_seed, jobs) for row in part]


if __name__ == "__main__":
    main()
