"""Planted against found: the ceiling of the pixels, over many seeds.

python benchmarks/pile_up_truth.py --seeds 100
"""

from __future__ import annotations

import argparse

import numpy as np

from dials_jungfrau_qc.algorithms.pile_up import find_pile_up, reaches_ceiling
from dials_jungfrau_qc.simulation.detector import (
    DetectorModel,
    draw_pixels,
    read_out,
    to_counts,
)

# Pixels on an edge of the square of a spot, and the width of its profile, pixels.
CELL, SIGMA = 9, 1.5
# Pedestal spread of the third gain, ADU, which spreads the ceilings by 1.5 and 3.5 %.
PEDESTAL_SPREADS = (100.0, 450.0)
MEANS = (5000.0, 20000.0, 30000.0, 60000.0, 120000.0)


def bright_spots(
    rng: np.random.Generator, n_spots: int, mean_intensity: float, model: DetectorModel
) -> tuple[np.ndarray, np.ndarray, float]:
    """Spots that reach the ceiling: counts, clipped pixels and the median ceiling."""
    intensity = rng.exponential(mean_intensity, n_spots)
    pixel = np.arange(CELL) - CELL // 2

    def profile() -> np.ndarray:
        centre = rng.uniform(-0.5, 0.5, (n_spots, 1))
        return np.exp(-0.5 * ((pixel - centre) / SIGMA) ** 2)

    shape = profile()[:, :, None] * profile()[:, None, :]
    amplitude = intensity / (2 * np.pi * SIGMA**2)
    photons = rng.poisson(amplitude[:, None, None] * shape + 1.0)
    pixels = draw_pixels(model, (photons.size,), rng)
    counts = to_counts(read_out(photons.ravel(), pixels, rng)).reshape(photons.shape)
    ceiling = pixels.ceiling(2)
    clipped = (photons.ravel() >= ceiling).reshape(photons.shape)
    return counts, clipped, float(np.median(ceiling))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--spots", type=int, default=3000)
    arguments = parser.parse_args()
    print(
        "spread   mean I  clipped  found% edge.bias% edge.rms% in.2% excess/clipped"
        " flagged% false% | trusted range to 9000: cut% pile-up%"
    )
    for spread in PEDESTAL_SPREADS:
        for mean in MEANS:
            print(_line(spread, mean, arguments.seeds, arguments.spots), flush=True)


def _line(spread: float, mean: float, n_seeds: int, n_spots: int) -> str:
    model = DetectorModel(pedestal_spread=(100.0, 450.0, spread))
    found, cut, hidden, clipped_reflections = [], 0, 0, []
    for seed in range(n_seeds):
        rng = np.random.default_rng((seed, int(spread), int(mean)))
        counts, clipped, ceiling = bright_spots(rng, n_spots, mean, model)
        reflections = clipped.any(axis=(1, 2))
        clipped_reflections.append(reflections.sum())
        strong = counts[counts > 3]
        search = find_pile_up(*np.unique(strong, return_counts=True))
        if search.pile_up is not None:
            flagged = reaches_ceiling(counts.max(axis=(1, 2)), search.pile_up)
            found.append(
                (
                    search.pile_up.edge / ceiling - 1,
                    search.pile_up.excess / max(1, clipped.sum()),
                    flagged[reflections].sum(),
                    reflections.sum(),
                    flagged[~reflections].mean(),
                )
            )
        values = np.unique(strong[strong < 9000], return_counts=True)
        search = find_pile_up(*values, trusted_maximum=9000.0)
        cut += search.cut is not None
        hidden += search.pile_up is not None
    text = f"{spread:6.0f} {mean:8.0f} {np.mean(clipped_reflections):8.1f}"
    text += f" {100 * len(found) / n_seeds:7.0f}"
    if found:
        edge, excess, flagged, reflections, false = np.array(found).T
        text += f" {100 * edge.mean():+10.2f} {100 * edge.std():9.2f}"
        text += f" {100 * np.mean(np.abs(edge) < 0.02):5.0f} {excess.mean():14.2f}"
        text += f" {100 * flagged.sum() / max(1, reflections.sum()):8.1f} {100 * false.mean():6.2f}"
    else:
        text += " " * 57
    return text + f" | {100 * cut / n_seeds:27.0f} {100 * hidden / n_seeds:8.0f}"


if __name__ == "__main__":
    main()
