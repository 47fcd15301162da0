"""The same reflections in several sweeps, as arrays."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class SweepSeries:
    """Matched intensities of K sweeps and n reflections; absent ones are NaN.

    Attributes:
        intensity: Photons, shape (K, n).
        variance: Shape (K, n); positive where the intensity is there.
        transmission: Recorded, shape (K,).
        reference: Index of the reference sweep.
        dose_start: Dose before each sweep, shape (K,), a sweep at T = 1 being 1.
        d: Resolution, angstrom, shape (n,).
        position: Where in its sweep each reflection is, 0 to 1, shape (n,).
        unit: Reflections that are no independent observations of the crystal share a
            number, shape (n,): they are resampled together.
        sigma_pixels: Standard deviation of the spot on the detector, pixels, shape (n,).
        sigma_images: Standard deviation across images, shape (n,).
        background: Background a pixel in photons, shape (K, n); NaN where unknown.
        panel: Shape (n,).
        peak: Photons in the brightest pixel of the reference, shape (n,), where it was
            measured; None to estimate it from the widths.
        same_place: Whether a reflection fell on the same pixels in every sweep, so that
            all but the beam and the crystal's decay cancels.
        profile_fitted: Whether intensities are profile fits, in which pixels count by
            their weights, and not sums.
    """

    intensity: np.ndarray
    variance: np.ndarray
    transmission: np.ndarray
    reference: int
    dose_start: np.ndarray
    d: np.ndarray
    position: np.ndarray
    unit: np.ndarray
    sigma_pixels: np.ndarray
    sigma_images: np.ndarray
    background: np.ndarray
    panel: np.ndarray
    peak: np.ndarray | None = None
    same_place: bool = True
    profile_fitted: bool = False

    def __post_init__(self) -> None:
        k, n = self.intensity.shape
        if k < 2:
            raise ValueError("linearity needs two sweeps at least")
        for name in ("transmission", "dose_start"):
            if getattr(self, name).shape != (k,):
                raise ValueError(f"{name} must have one value for each sweep")
        for name in ("variance", "background"):
            if getattr(self, name).shape != (k, n):
                raise ValueError(f"{name} must have the shape of intensity")
        for name in (
            "d",
            "position",
            "unit",
            "sigma_pixels",
            "sigma_images",
            "panel",
        ):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} must have one value for each reflection")
        if not (self.transmission > 0).all():
            raise ValueError("transmissions must be positive")
        if not (self.variance[self.present] > 0).all():
            raise ValueError("variances must be positive")

    @property
    def n_sweeps(self) -> int:
        return self.intensity.shape[0]

    @functools.cached_property
    def present(self) -> np.ndarray:
        """Which intensities are there, bool, shape (K, n)."""
        return np.isfinite(self.intensity)

    def shared(self, one: int, other: int) -> np.ndarray | slice:
        """Index of the reflections that two sweeps have; a slice if that is all."""
        both = self.present[one] & self.present[other]
        return slice(None) if both.all() else np.flatnonzero(both)

    def select(self, keep: np.ndarray) -> SweepSeries:
        """The series with some of its reflections.

        Args:
            keep: Bool, shape (n,).
        """
        of_reflections = {
            name: getattr(self, name)[keep]
            for name in (
                "d",
                "position",
                "unit",
                "sigma_pixels",
                "sigma_images",
                "panel",
            )
        }
        of_both = {
            name: getattr(self, name)[:, keep]
            for name in ("intensity", "variance", "background")
        }
        peak = None if self.peak is None else self.peak[keep]
        return dataclasses.replace(self, **of_reflections, **of_both, peak=peak)

    def dose(self) -> np.ndarray:
        """Dose at which each reflection was measured, shape (K, n)."""
        return self.dose_start[:, None] + self.transmission[:, None] * self.position


def dose_before(transmission: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Dose that the crystal has had before each sweep.

    Args:
        transmission: Of each sweep, shape (K,).
        order: Indices of the sweeps in order of collection, shape (K,).

    Returns:
        Shape (K,), a sweep at T = 1 being 1.
    """
    before = np.empty(len(transmission))
    before[order] = np.cumsum(transmission[order]) - transmission[order]
    return before


def pooled_intensity(
    series: SweepSeries, beam: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Intensity at T = 1 of each reflection from all its sweeps together.

    The sum over sweeps divided by the sum of their beams. As the noise of photons grows
    with the beam, the share of one sweep in the sum does not correlate with the sum:
    reflections can be sorted and selected by it without a bias in any ratio, unlike by
    the intensity of one sweep.

    Args:
        series: The sweeps.
        beam: Relative beam of each, shape (K,).

    Returns:
        The intensity and its standard deviation, shape (n,).
    """
    present = series.present
    weight = beam @ present
    total = np.where(present, series.intensity, 0).sum(axis=0)
    variance = np.where(present, series.variance, 0).sum(axis=0)
    return total / weight, np.sqrt(variance) / weight
