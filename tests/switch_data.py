"""Histograms with planted switches, and real ones, for the tests of the gain switch."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from dials_jungfrau_qc.simulation.detector import DetectorModel, with_notch
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic, read_photons

DATA = Path(__file__).parents[2] / "shared" / "data"


@lru_cache(maxsize=8)
def photons(seed: int, mosaic: SpotMosaic) -> np.ndarray:
    return mosaic.photons(np.random.default_rng(seed))


def planted_image(
    seed: int, mosaic: SpotMosaic, area: float | None, position: float, spread: float
) -> np.ndarray:
    """Counts of a mosaic of spots; area None for a detector that does not switch."""
    model = DetectorModel()
    if area is None:
        model = replace(model, switching=False)
    else:
        model = with_notch(model, area, position, spread)
    return read_photons(
        photons(seed, mosaic), model, np.random.default_rng(seed + 1000)
    )


def histogram(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    values = image.ravel() if mask is None else image[mask]
    return np.bincount(values[(values >= 0) & (values < 2000)])


def strong_pixels(image: np.ndarray, good: np.ndarray | None = None) -> np.ndarray:
    """Pixels that the spot finding of DIALS marks, with its default parameters."""
    threshold = pytest.importorskip("dials.algorithms.image.threshold")
    flex = pytest.importorskip("dials.array_family.flex")
    data = flex.double(np.ascontiguousarray(image, dtype=float))
    mask = flex.bool(data.accessor(), True)
    if good is not None:
        mask = flex.bool(np.ascontiguousarray(good))
    result = flex.bool(data.accessor())
    algorithm = threshold.DispersionExtendedThreshold(
        image.shape, (3, 3), 6.0, 3.0, 0.0, 2
    )
    algorithm(data, mask, result)
    return result.as_numpy_array()


def module_frames() -> np.ndarray:
    """The real JUNGFRAU module, (frame, slow, fast)."""
    h5py = pytest.importorskip("h5py")
    path = DATA / "jungfrau_module" / "module5.nxs"
    if not path.is_file():
        pytest.skip("the real module is not there")
    with h5py.File(path, "r") as handle:
        return handle["entry/data/data"][()]


def foreground_histogram(*parts: str) -> np.ndarray:
    """Foreground pixels of the shoeboxes of a real reflection table."""
    flex = pytest.importorskip("dials.array_family.flex")
    path = DATA.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"{parts[-1]} is not there")
    shoeboxes = flex.reflection_table.from_file(str(path))["shoebox"]
    values = np.concatenate(
        [s.data.as_numpy_array()[s.mask.as_numpy_array() & 4 > 0] for s in shoeboxes]
    )
    return np.bincount(np.rint(values[values >= 0]).astype(int))
