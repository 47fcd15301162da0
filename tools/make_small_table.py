"""Write a small table of indexed reflections with shoeboxes, in two experiments.

A stand-in for real data in a demonstration. The pixels follow Poisson statistics: a
flat background plus Gaussian spots whose intensities span three decades. Of each
shoebox only the pixels that a spot finder would keep are foreground.

    python make_small_table.py indexed.refl
"""

from __future__ import annotations

import sys

import numpy as np

from dxtbx import flumpy

from dials.algorithms.shoebox import MaskCode
from dials.array_family import flex

N_SPOTS = 300  # in each experiment
TRANSMISSIONS = (0.25, 1.0)  # what makes the two experiments differ
BACKGROUND = 0.3  # photons a pixel at full transmission
INTENSITY_RANGE = (100.0, 100_000.0)  # photons at full transmission
SPOT_SIGMA = (0.8, 1.2, 1.2)  # frame, px, px
HALF_WIDTH = (2, 5, 5)
THRESHOLD = 3  # counts that make a pixel strong
DETECTOR_SIZE = (1030, 1066)  # fast, slow; one module pair
MIN_SPOT_SIZE = 3


def simulate_spot(
    rng: np.random.Generator, intensity: float, background: float
) -> np.ndarray:
    """Counts of one spot in its box, indexed [frame, slow, fast]."""
    profiles = []
    for half, sigma in zip(HALF_WIDTH, SPOT_SIGMA):
        offset = np.arange(-half, half + 1)
        profile = np.exp(-0.5 * ((offset - rng.uniform(-0.5, 0.5)) / sigma) ** 2)
        profiles.append(profile / profile.sum())
    density = np.einsum("z,y,x->zyx", *profiles)
    return rng.poisson(background + intensity * density).astype(np.float32)


def make_table(seed: int = 0) -> flex.reflection_table:
    """Spots of one series at two transmissions, as ``dials.index`` would leave them."""
    rng = np.random.default_rng(seed)
    signal = MaskCode.Valid | MaskCode.Foreground | MaskCode.Strong
    boxes, ids, intensities = [], [], []
    for experiment, transmission in enumerate(TRANSMISSIONS):
        true = np.exp(rng.uniform(*np.log(INTENSITY_RANGE), N_SPOTS)) * transmission
        for intensity in true:
            counts = simulate_spot(rng, intensity, BACKGROUND * transmission)
            strong = counts > THRESHOLD
            if strong.sum() < MIN_SPOT_SIZE:
                continue
            centre = [
                int(rng.integers(half, size - half))
                for half, size in zip(HALF_WIDTH, (100, *DETECTOR_SIZE[::-1]))
            ]
            z, y, x = ((c - h, c + h + 1) for c, h in zip(centre, HALF_WIDTH))
            (box,) = flex.shoebox(
                flex.size_t([0]), flex.int6([(*x, *y, *z)]), allocate=True
            )
            # Spot finding leaves 0 in whatever is not part of the spot.
            box.data = flumpy.from_numpy(np.where(strong, counts, np.float32(0)))
            # The mask's type depends on the DIALS that runs.
            mask_type = flumpy.to_numpy(box.mask).dtype
            box.mask = flumpy.from_numpy(np.where(strong, signal, 0).astype(mask_type))
            boxes.append(box)
            ids.append(experiment)
            intensities.append(float(counts[strong].sum()))

    table = flex.reflection_table()
    table["shoebox"] = flex.shoebox(boxes)
    table["bbox"] = table["shoebox"].bounding_boxes()
    table["panel"] = flex.size_t(len(boxes), 0)
    table["id"] = flex.int(ids)
    table["intensity.sum.value"] = flex.double(intensities)
    table["intensity.sum.variance"] = flex.double(intensities)
    table["xyzobs.px.value"] = table["shoebox"].centroid_strong().px_position()
    table["flags"] = flex.size_t(len(boxes), 0)
    for flag in (table.flags.strong, table.flags.indexed):
        table.set_flags(flex.bool(len(boxes), True), flag)
    for experiment in range(len(TRANSMISSIONS)):
        table.experiment_identifiers()[experiment] = f"small-{experiment}"
    return table


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_small_table.py FILE.refl")
    make_table().as_file(sys.argv[1])
