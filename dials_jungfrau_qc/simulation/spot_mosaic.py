"""Many Bragg spots side by side: photons for statistics of pixel values.

No crystal and no geometry: spots with Gaussian profiles and Wilson intensities, each in a
square of its own, over a background that varies as a solvent ring does. It makes the
histograms of pixel values on which the analysis of the gain switch is tested, thousands of
times faster than whole sweeps.
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

# Pixels on an edge of the square of one spot.
CELL = 18
# Pixels with fewer photons neither switch nor round to anything but what they hold.
DIM = 4


@dataclass(frozen=True)
class SpotMosaic:
    """What to draw.

    Attributes:
        n_spots: On an edge; n_spots**2 in all.
        mean_intensity: Of the acentric Wilson distribution, photons in a full spot.
        background: Mean, photons a pixel.
        sigma: Of the profile, pixels; varies by a tenth from spot to spot.
    """

    n_spots: int = 64
    mean_intensity: float = 1500.0
    background: float = 1.0
    sigma: float = 1.5

    def expected(self, rng: np.random.Generator) -> np.ndarray:
        """Expected photons of every pixel, float64 array (slow, fast)."""
        n = self.n_spots
        size = n * CELL
        # One image records a part of the reflection.
        part = rng.uniform(0.05, 1.0, (n, n))
        intensity = rng.exponential(self.mean_intensity, (n, n)) * part
        sigma = self.sigma * np.exp(rng.normal(0.0, 0.1, (n, n)))
        pixel = np.arange(CELL) + 0.5 - CELL / 2

        def profile() -> np.ndarray:
            centre = rng.uniform(-2.0, 2.0, (n, n))
            distance = (pixel - centre[..., None]) / sigma[..., None]
            return np.exp(-0.5 * distance**2)

        amplitude = intensity / (2 * np.pi * sigma**2)
        spots = np.einsum("ij,ijk,ijl->ikjl", amplitude, profile(), profile())
        return spots.reshape(size, size) + self.expected_background()

    def expected_background(self) -> np.ndarray:
        """Expected photons of the background, float64 array (slow, fast)."""
        size = self.n_spots * CELL
        slow, fast = (axis / size - 0.5 for axis in np.ogrid[:size, :size])
        ring = 0.6 + 0.8 * np.exp(-0.5 * ((np.hypot(slow, fast) - 0.3) / 0.12) ** 2)
        return self.background * ring / ring.mean()

    def photons(self, rng: np.random.Generator) -> np.ndarray:
        """Photons of every pixel, int64 array (slow, fast)."""
        return rng.poisson(self.expected(rng))


def read_photons(
    photons: np.ndarray, model: DetectorModel, rng: np.random.Generator
) -> np.ndarray:
    """Read photons with newly drawn pixels, all of them good.

    Pixels with fewer than `DIM` photons are given back as they are, which saves most of the
    work: a tenth of a photon is the most that the first gain is off there.

    Args:
        photons: Photons of every pixel.
        model: Of the detector.
        rng: Source of the pixels and of the noise.

    Returns:
        int32 array of the same shape, counts.
    """
    counts = photons.astype(np.int32)
    lit = np.nonzero(photons >= DIM)
    pixels = draw_pixels(model, (lit[0].size,), rng)
    counts[lit] = to_counts(read_out(photons[lit], pixels, rng))
    return counts
