"""Which pixels need a second look, because they fail a test and their neighbours do not.

What a pixel's neighbours do as well is no fault of the pixel: Bragg spots, ice, shadows
and the edges between chips extend over several.

Thresholds are numbers of standard deviations, from a rate of false alarms a megapixel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from dials_jungfrau_qc.algorithms.pixel_statistics import PixelSums
from dials_jungfrau_qc.algorithms.pixel_tests import (
    ALWAYS,
    MIN_FRAMES,
    MIN_FRAMES_BLOCKS,
    PanelTests,
)

# Mean z of the eight neighbours, each held to +-CLIPPED, from which on a deviation is
# that of a region. One bad neighbour alone gives CLIPPED / 8 = 1.
REGION_Z = 1.8
CLIPPED = 8.0
# A spot's flanks are on a pixel in as many frames as its top is on the next one, with this
# much of the largest value that is no outlier
SPOT_FLANK = 0.75
# Larger connected regions of constant or dark pixels belong to the detector or to what
# stands before it
LARGEST_CLUSTER = 25


@dataclasses.dataclass(frozen=True)
class Limits:
    """What counts as a fault.

    Attributes:
        false_alarms: Expected number of false alarms a megapixel, of each test.
        dead: Largest response of a dead pixel.
        low: Largest response of an under-responding pixel.
        high: Smallest response of an over-responding pixel.
        scatter: Smallest variance of a noisy pixel, relative to that of others.
        share: Smallest share of the frames in which a pixel must be bad.
    """

    false_alarms: float = 0.1
    dead: float = 0.05
    low: float = 0.8
    high: float = 1.25
    scatter: float = 1.4
    share: float = 0.03

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1e5:
            raise ValueError("the rate of false alarms must be above 0 a megapixel")
        if not 0 <= self.dead <= self.low < 1 < self.high:
            raise ValueError(
                "responses must rise from dead through low and 1 to high, not "
                f"{self.dead:g}, {self.low:g}, {self.high:g}"
            )
        if self.scatter <= 1:
            raise ValueError("the variance of a noisy pixel must be above 1")
        if not 0 < self.share < 1:
            raise ValueError("the share of bad frames must lie between 0 and 1")

    @property
    def z(self) -> float:
        """Standard deviations that a normal variable passes at that rate, upwards."""
        from scipy.special import ndtri

        return float(-ndtri(self.false_alarms / 1e6))


Places = tuple[np.ndarray, np.ndarray]


def keep_where(
    pixels: np.ndarray, condition: Callable[[Places], np.ndarray]
) -> np.ndarray:
    """Of a few pixels keep those that meet a condition, asked for them alone.

    Args:
        pixels: Bool array [slow, fast].
        condition: Given indices along slow and fast, says which to keep.
    """
    at = np.nonzero(pixels)
    kept = np.zeros_like(pixels)
    kept[at] = condition(at)
    return kept


def neighbours(image: np.ndarray, at: Places) -> np.ndarray:
    """The eight neighbours of some pixels, shape (8, n); NaN beyond the edge."""
    slow, fast = at
    around = np.full((8, len(slow)), np.nan)
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
    for row, (i, j) in zip(around, steps):
        s, f = slow + i, fast + j
        inside = (s >= 0) & (s < image.shape[0]) & (f >= 0) & (f < image.shape[1])
        row[inside] = image[s[inside], f[inside]]
    return around


def neighbour_mean(z: np.ndarray, at: Places) -> np.ndarray:
    """Mean of those of the eight neighbours that were tested, held to +-CLIPPED."""
    around = np.clip(neighbours(z, at), -CLIPPED, CLIPPED)
    n_tested = np.isfinite(around).sum(axis=0)
    return np.nansum(around, axis=0) / np.maximum(n_tested, 1)


def spot_frames(
    sums: PixelSums, at: Places, predicted: np.ndarray | None = None
) -> np.ndarray:
    """In how many frames a spot was on some pixels or next to them, shape (n,).

    Spots are the outliers that do not stand alone, on pixels where most do not, and what
    is predicted.

    Args:
        sums: Of the panel.
        at: The pixels.
        predicted: In how many frames a spot is predicted at each pixel [slow, fast].
    """

    def with_neighbours(image: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.vstack([image[at][None], neighbours(image, at)]))

    n_outliers = with_neighbours(sums.n_outliers)
    n_isolated = with_neighbours(sums.n_isolated)
    together = np.where(n_isolated >= 0.4 * n_outliers, 0, n_outliers - n_isolated)
    frames = together.max(axis=0)
    return frames if predicted is None else np.maximum(frames, predicted[at])


@dataclasses.dataclass(frozen=True)
class Suspects:
    """Pixels that failed a test, by which; bool arrays [slow, fast].

    Attributes:
        low: Too few photons, dead pixels among them.
        high: Too many.
        scatter: Too much scatter.
        outlier: Often far from the background, and alone.
        constant: Perhaps always the same value.
    """

    low: np.ndarray
    high: np.ndarray
    scatter: np.ndarray
    outlier: np.ndarray
    constant: np.ndarray

    @property
    def any(self) -> np.ndarray:
        return self.low | self.high | self.scatter | self.outlier | self.constant


def find_suspects(
    tests: PanelTests,
    limits: Limits,
    high: np.ndarray,
    predicted: np.ndarray | None = None,
) -> Suspects:
    """Find the pixels that need a second look, what whole regions show left out.

    Args:
        tests: Of the panel.
        limits: What counts as a fault.
        high: Largest value of each pixel that was no outlier.
        predicted: In how many frames a spot is predicted at each pixel [slow, fast].
    """
    sums, mask, n = tests.sums, tests.mask, tests.sums.n_frames
    nothing = np.zeros_like(mask)
    if n < MIN_FRAMES:
        return Suspects(nothing, nothing, nothing, nothing, nothing)
    z = limits.z

    def flank(at: Places) -> np.ndarray:
        """What a flank of a spot may leave in the sums: it is below the limit."""
        return SPOT_FLANK * (high[at] - tests.expected[at])

    def spots(at: Places) -> np.ndarray:
        return spot_frames(sums, at, predicted)

    bright = scatter = nothing
    with np.errstate(invalid="ignore"):
        dark = (tests.response <= limits.low) & (tests.z_low < -z) & mask
        dead = dark & (tests.response <= limits.dead)
        low = keep_where(dark, lambda at: neighbour_mean(tests.z_low, at) > -REGION_Z)
        # Dead pixels do not excuse each other, but the shadow around them would
        others = np.where(dead, np.float32(np.nan), tests.z_low)
        low |= keep_where(
            small_regions(dead), lambda at: neighbour_mean(others, at) > -REGION_Z
        )
        if n >= MIN_FRAMES_BLOCKS:
            bright = keep_where(
                (tests.response >= limits.high) & (tests.z_high > z) & mask,
                lambda at: (
                    (neighbour_mean(tests.z_high, at) < REGION_Z)
                    & (tests.excess[at] > spots(at) * flank(at))
                ),
            )
            scatter = keep_where(
                (tests.scatter > limits.scatter) & (tests.z_scatter > z) & mask,
                lambda at: (
                    (neighbour_mean(tests.z_scatter, at) < REGION_Z)
                    & (tests.excess_scatter[at] > spots(at) * flank(at) ** 2)
                ),
            )
        still = (sums.scatter == 0) & (sums.n_outliers == 0)
        still &= (sums.total != 0) & (tests.expected * n > 10)
    always = sums.n_outliers >= ALWAYS * n
    return Suspects(
        low, bright, scatter, _outliers(sums, limits) & mask, (still | always) & mask
    )


def _outliers(sums: PixelSums, limits: Limits) -> np.ndarray:
    """Pixels that stand alone in many frames, which are not all near each other."""
    n = sums.n_frames
    alone = sums.n_isolated >= max(3, math.ceil(limits.share * n))
    alone &= sums.n_isolated >= 0.4 * sums.n_outliers
    lasting = sums.last_outlier - sums.first_outlier >= n // 4
    if n < MIN_FRAMES_BLOCKS:
        return alone & (sums.n_isolated >= ALWAYS * n)
    return alone & lasting


def small_regions(pixels: np.ndarray, largest: int = LARGEST_CLUSTER) -> np.ndarray:
    """The pixels that are connected, corners included, to no more than so many."""
    from scipy import ndimage

    if not pixels.any():
        return pixels
    labels, _ = ndimage.label(pixels, np.ones((3, 3)))
    sizes = np.bincount(labels.reshape(-1))
    return pixels & (sizes <= largest)[labels]


def worst_and_neighbours(
    tests: PanelTests, suspects: Suspects, n: int = 8
) -> np.ndarray:
    """Flat indices of the worst suspects by each test and of their neighbours.

    Args:
        tests: Of the panel.
        suspects: Of the panel.
        n: How many by each test.
    """
    n_slow, n_fast = tests.mask.shape
    chosen = []
    for which, how_bad in (
        (suspects.low, tests.z_low),
        (suspects.high, tests.z_high),
        (suspects.scatter, tests.z_scatter),
        (suspects.outlier, tests.sums.n_isolated),
        (suspects.constant, tests.sums.n_outliers),
    ):
        index = np.flatnonzero(which)
        badness = np.abs(np.nan_to_num(how_bad.reshape(-1)[index]))
        chosen.append(index[np.argsort(badness)[-n:]])
    slow, fast = np.divmod(np.unique(np.concatenate(chosen)), n_fast)
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    index = [
        np.clip(slow + i, 0, n_slow - 1) * n_fast + np.clip(fast + j, 0, n_fast - 1)
        for i, j in around
    ]
    return np.unique(np.concatenate(index))
