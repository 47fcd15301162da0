"""Bad pixels planted and found, next to the program of that name in DIALS.

Simulates series of one JUNGFRAU module with faults of every kind, and prints for each
kind how many were planted, how many of those that the statistics of the series allow to
find were found, how many got the right kind, and how many DIALS' own criterion finds.
What the statistics allow is 1.5 times the smallest deviation that is significant:
k / sqrt(n lambda) for a response, k sqrt(lambda / n) for an offset and
k sqrt((2 + 1 / lambda) / n) for a relative excess of the variance, with n images of
lambda photons a pixel and k standard deviations.

    python benchmarks/bad_pixels_truth.py [--quick] [--seeds 4]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.algorithms.pixel_suspects import Limits
from dials_jungfrau_qc.io.dispersion import constant_signal, signal_counts
from dials_jungfrau_qc.io.pixel_search import search
from dials_jungfrau_qc.io.sweeps import open_sweeps
from dials_jungfrau_qc.simulation.crystal import CrystalModel
from dials_jungfrau_qc.simulation.detector import DetectorModel
from dials_jungfrau_qc.simulation.faults import KINDS
from dials_jungfrau_qc.simulation.geometry import PRESETS, Geometry
from dials_jungfrau_qc.simulation.nxmx import FileModel
from dials_jungfrau_qc.simulation.scene import SceneModel
from dials_jungfrau_qc.simulation.series import (
    FaultModel,
    SeriesModel,
    Simulation,
    prepare,
)
from dials_jungfrau_qc.simulation.sweep_files import write_sweep

NPROC = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """A series to simulate."""

    name: str
    n_images: int
    background: float = 1.0
    ice: float = 0.0
    n_sweeps: int = 1


CASES = (
    Case("300 images", 300),
    Case("300 images, ice rings", 300, ice=2.0),
    Case("60 images", 60),
    Case("five sweeps of 60 images, one orientation", 60, n_sweeps=5),
)


def simulate(case: Case, seed: int) -> Simulation:
    """A module with every kind of fault on 0.1 % of its pixels."""
    preset = PRESETS["module"]
    return prepare(
        SeriesModel((1.0,) * case.n_sweeps, n_images=case.n_images, seed=seed),
        Geometry(preset, preset.distance, preset.beam_center, 12.4),
        CrystalModel(),
        SceneModel(background=case.background, ice=case.ice),
        DetectorModel(),
        faults=FaultModel(rates=dict.fromkeys(KINDS, 0.001), masked=0.0),
    )


def write(simulation: Simulation, folder: Path) -> list[Path]:
    """Write the sweeps as files."""
    paths = []
    with ThreadPoolExecutor(NPROC) as executor:
        for i in range(len(simulation.sweeps)):
            paths.append(folder / f"sweep_{i}.nxs")
            write_sweep(simulation, i, paths[-1], FileModel(), "x", executor, NPROC + 1)
    return paths


def allowed(simulation: Simulation, limits: Limits) -> np.ndarray:
    """Which of the faults the statistics of one sweep allow to find."""
    faults, n = simulation.pixels.faults, simulation.series.n_images
    image = simulation.background * simulation.shadow * simulation.sweeps[0].beam
    # Where there is no light at all nothing that depends on it can be seen
    rate = np.maximum(image.reshape(-1)[faults.index], 1e-9)
    reach = 1.5 * limits.z
    can = np.ones(len(faults), bool)
    low = np.isin(faults.kind, ("dead", "under_responding"))
    deficit = 1 - faults.strength
    can[low] = (deficit >= np.maximum(reach / np.sqrt(n * rate), 1 - limits.low))[low]
    hot = faults.kind == "hot"
    offset = np.maximum(reach * np.sqrt(rate / n), (limits.high - 1) * rate)
    can[hot] = (faults.strength >= offset)[hot]
    unsteady = np.isin(faults.kind, ("noisy", "flickering"))
    extra = faults.strength**2 * np.where(
        faults.kind == "noisy", 1, faults.share * (1 - faults.share)
    )
    least = np.maximum(reach * np.sqrt((2 + 1 / rate) / n), limits.scatter - 1)
    can[unsteady] = (extra / rate >= least)[unsteady]
    return can


@dataclasses.dataclass
class Tally:
    """Numbers of pixels, added up over seeds.

    Attributes:
        by_kind: For each kind of fault how many were planted, how many of them the
            statistics allow to find, and of these found, found as what they are; and
            how many of those planted DIALS' criterion finds.
        found: Pixels that are called bad, by whom.
        false: Those of them that are good.
        good: Good pixels.
    """

    by_kind: dict[str, np.ndarray]
    found: Counter
    false: Counter
    good: int = 0


def add_seed(tally: Tally, case: Case, seed: int, limits: Limits) -> None:
    """Simulate a case and add to its numbers."""
    simulation = simulate(case, seed)
    faults = simulation.pixels.faults
    with tempfile.TemporaryDirectory() as folder:
        sweeps = open_sweeps(write(simulation, Path(folder)), [])
        findings = search(sweeps, limits, nproc=NPROC)
        signal = [
            constant_signal(signal_counts(sweep, NPROC), case.n_images)
            for sweep in sweeps
        ]
    found = findings.panels[0].pixels
    kinds = dict(zip(found.index.tolist(), found.kind.tolist()))
    # DIALS' program takes what all sweeps have
    by_dials = set(np.flatnonzero(np.all(signal, axis=0)).tolist())
    can = allowed(simulation, limits)
    for kind, numbers in tally.by_kind.items():
        index = faults.index[faults.kind == kind]
        visible = faults.index[(faults.kind == kind) & can]
        hits = [kinds[i] for i in visible.tolist() if i in kinds]
        numbers += (
            len(index),
            len(visible),
            len(hits),
            hits.count(kind),
            len(by_dials & set(index.tolist())),
        )
    planted = set(faults.index.tolist())
    for name, pixels in (("ours", set(kinds)), ("DIALS", by_dials)):
        tally.found[name] += len(pixels)
        tally.false[name] += len(pixels - planted)
    tally.good += int((simulation.pixel_mask == 0).sum()) - len(faults)


def report(case: Case, seeds: Sequence[int], limits: Limits) -> None:
    """Simulate a case with every seed and print its table."""
    by_kind = {kind: np.zeros(5, int) for kind in KINDS}
    tally = Tally(by_kind, Counter(), Counter())
    for seed in seeds:
        add_seed(tally, case, seed, limits)
    print(
        f"\n{case.name}, background up to {case.background:g} photons, {len(seeds)} seeds"
    )
    print(
        "kind               planted  allowed  found      of the kind  DIALS of planted"
    )
    for kind, (planted, visible, hits, right, dials) in by_kind.items():
        print(
            f"{kind:18} {planted:7}  {visible:7}  {percent(hits, visible)}"
            f"    {percent(right, visible)}      {percent(dials, planted)}"
        )
    for name, found in tally.found.items():
        false = tally.false[name]
        print(
            f"{name}: {found} pixels, precision {100 * (1 - false / max(found, 1)):.2f} %, "
            f"{false} false, {1e6 * false / tally.good:.1f} a megapixel",
            flush=True,
        )


def percent(n: int, of: int) -> str:
    return f"{100 * n / of:6.1f} %" if of else "     -  "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the short series only")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args()
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for case in CASES:
        if not args.quick or case.n_images < 100:
            report(case, seeds, Limits())


if __name__ == "__main__":
    main()
