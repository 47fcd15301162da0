"""Integrated intensities of a transmission series, without images.

The statistics of estimators need many series, and a series of images takes minutes.
Here every reflection is a small box of pixels with the share of its photons that falls
into each: the photons are drawn, read out by the detector of this package and added up
again, as summation integration does. Only geometry and the crystal's lattice are
missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dials_jungfrau_qc.simulation.detector import (
    DetectorModel,
    draw_pixels,
    read_out,
    to_counts,
)
from dials_jungfrau_qc.simulation.series import SeriesModel, plan_sweeps

# Where the brightest pixel of a reflection stays below this no pixel leaves the first
# gain (it is left at 19 photons or more), so that the sum is all there is to draw.
_ALWAYS_FIRST_GAIN = 8.0
# Half the box, pixels and images
_HALF_BOX = (3, 1)


@dataclass(frozen=True)
class SpotModel:
    """The reflections and how they fall on the pixels.

    Attributes:
        n_reflections: In every sweep.
        scale: Mean photons of a reflection at T = 1, d infinite.
        b_factor: Angstrom^2; mean intensities fall as exp(-B / 2 d^2).
        d_range: Lowest and highest d, angstrom; reflections fill reciprocal space
            evenly in between.
        spot_size: Standard deviation on the detector, pixels.
        rocking_width: Standard deviation in images, lowest and highest.
        background: Photons a pixel and image at T = 1.
        n_background: Pixels that the background of a reflection is measured on.
        background_bias: Photons a pixel by which the background is found too low,
            whatever the transmission.
    """

    n_reflections: int = 12000
    scale: float = 12000.0
    b_factor: float = 22.0
    d_range: tuple[float, float] = (1.6, 30.0)
    spot_size: float = 0.8
    rocking_width: tuple[float, float] = (0.3, 0.45)
    background: float = 1.5
    n_background: int = 400
    background_bias: float = 0.0


@dataclass(frozen=True)
class SimulatedIntensities:
    """A series as integration gives it: K sweeps of the same n reflections.

    Attributes:
        d: Angstrom, shape (n,).
        position: Where in the sweep, 0 at its start and 1 at its end, shape (n,).
        expected: True photons at T = 1 without any fault, shape (n,).
        sigma_pixels: Standard deviation of the spots, pixels, shape (n,).
        sigma_images: The same across images, shape (n,).
        n_pixels: Pixels that are added up for a reflection.
        intensity: Photons, shape (K, n).
        variance: Shape (K, n).
        background: Photons a pixel, shape (K, n).
        beam: True relative beam of each sweep, shape (K,).
        transmission: Nominal, shape (K,).
    """

    d: np.ndarray
    position: np.ndarray
    expected: np.ndarray
    sigma_pixels: np.ndarray
    sigma_images: np.ndarray
    n_pixels: int
    intensity: np.ndarray
    variance: np.ndarray
    background: np.ndarray
    beam: np.ndarray
    transmission: np.ndarray


def simulate_intensities(
    series: SeriesModel, spots: SpotModel, detector: DetectorModel
) -> SimulatedIntensities:
    """Draw the integrated intensities of a series.

    Args:
        series: Transmissions, errors of the beam, decay and seed.
        spots: The reflections.
        detector: The detector.

    Returns:
        The series.
    """
    rng = np.random.Generator(np.random.SFC64(series.seed))
    n = spots.n_reflections
    low, high = (1 / d**3 for d in spots.d_range[::-1])
    d = np.cbrt(1 / (high + (low - high) * rng.random(n)))
    position = rng.random(n)
    expected = (
        spots.scale * np.exp(-spots.b_factor / (2 * d**2)) * rng.exponential(size=n)
    )
    widths = rng.uniform(*spots.rocking_width, size=n)
    shares = _shares(spots.spot_size, widths, rng)
    n_pixels = shares.shape[1]
    # Every sweep puts a reflection on the same pixels.
    brightest = expected * shares.max(axis=1) + spots.background
    by_pixel = np.flatnonzero(brightest > _ALWAYS_FIRST_GAIN)
    pixels = draw_pixels(detector, (len(by_pixel) * n_pixels,), rng)
    sweeps = plan_sweeps(series)
    total, background = np.empty((2, len(sweeps), n))
    for k, sweep in enumerate(sweeps):
        dose = sweep.dose_start + position * sweep.beam
        decay = series.uniform_decay + series.b_decay / (2 * d**2)
        mean = expected * sweep.beam * np.exp(-decay * dose)
        level = spots.background * sweep.beam
        own = brightest[by_pixel] * sweep.beam > _ALWAYS_FIRST_GAIN
        total[k] = rng.poisson(mean * shares.sum(axis=1) + level * n_pixels)
        # Reading out whole reflections, or nothing where none is bright enough
        rates = mean[by_pixel, None] * shares[by_pixel] + level
        photons = rng.poisson(rates).astype(np.float32)
        counts = to_counts(read_out(photons.ravel(), pixels, rng))
        sums = counts.reshape(photons.shape).sum(axis=1, dtype=np.float64)
        total[k, by_pixel[own]] = sums[own]
        measured = rng.poisson(level * spots.n_background, size=n) / spots.n_background
        background[k] = measured - spots.background_bias
    subtracted = n_pixels * background
    return SimulatedIntensities(
        d=d,
        position=position,
        expected=expected,
        sigma_pixels=np.full(n, spots.spot_size),
        sigma_images=widths,
        n_pixels=n_pixels,
        intensity=total - subtracted,
        variance=np.abs(total)
        + np.abs(subtracted) * n_pixels / spots.n_background
        + 1e-9,
        background=background,
        beam=np.array([sweep.beam for sweep in sweeps]),
        transmission=np.array([sweep.transmission for sweep in sweeps]),
    )


def _shares(
    spot_size: float, widths: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Share of each reflection's photons in each pixel of its box.

    Args:
        spot_size: Pixels.
        widths: Images, shape (n,).
        rng: Source of the positions within a pixel.

    Returns:
        Float32 array (n, pixels of the box).
    """
    from scipy.special import ndtr

    half, half_images = _HALF_BOX
    n = len(widths)

    def along(half: int, sigma: np.ndarray) -> np.ndarray:
        edges = np.arange(-half, half + 2) - rng.random(n)[:, None]
        return np.diff(ndtr(edges / sigma[:, None]), axis=1)

    fast = along(half, np.full(n, spot_size))
    slow = along(half, np.full(n, spot_size))
    images = along(half_images, widths)
    shares = images[:, :, None, None] * slow[:, None, :, None] * fast[:, None, None, :]
    return shares.reshape(n, -1).astype(np.float32)
