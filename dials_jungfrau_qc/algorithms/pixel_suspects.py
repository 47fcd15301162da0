"""Which pixels need a second look, because they fail a test and their neighbours do not.

What a pixel's neighbours do as well is no fault of the pixel: Bragg spots, ice, shadows
and the edges between chips extend over several.

Thresholds are numbers of standard deviations, from a rate of false alarms a megapixel.
"""

from __future__ import annotations

import dataclasses
import math

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
# Standard deviations from which on a pixel may scatter too much, to be told by negative
# values, which photons never have
WEAK_Z = 3.0
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


def neighbour_places(
    at: Places, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The eight neighbours of some pixels.

    Args:
        at: The pixels.
        shape: Of the panel, (slow, fast).

    Returns:
        Their flat indices, shape (8, n), and which of them are on the panel.
    """
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j])
    slow, fast = (along + step[:, None] for along, step in zip(at, steps.T))
    inside = (slow >= 0) & (slow < shape[0]) & (fast >= 0) & (fast < shape[1])
    return np.where(inside, slow * shape[1] + fast, 0), inside


def neighbours(image: np.ndarray, at: Places) -> np.ndarray:
    """The eight neighbours of some pixels, shape (8, n); NaN beyond the edge."""
    index, inside = neighbour_places(at, image.shape)
    return np.where(inside, image.reshape(-1)[index], np.nan)


def neighbour_mean(
    z: np.ndarray, at: Places, without: np.ndarray | None = None
) -> np.ndarray:
    """Mean of those of the eight neighbours that were tested, held to +-CLIPPED.

    Args:
        z: Array [slow, fast]; NaN where a pixel was not tested.
        at: The pixels.
        without: Flat indices of neighbours that do not count.
    """
    index, inside = neighbour_places(at, z.shape)
    around = np.clip(z.reshape(-1)[index], -CLIPPED, CLIPPED)
    counts = inside & np.isfinite(around)
    if without is not None:
        counts &= ~np.isin(index, without)
    return np.where(counts, around, 0).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)


def spot_frames(
    sums: PixelSums, at: Places, predicted: np.ndarray | None = None
) -> np.ndarray:
    """In how many frames a spot was on some pixels or next to them, shape (n,).

    Spots are the outliers that do not stand alone, on pixels where most do not, and what
    is predicted. Where all are in as few blocks of time as the tests leave out, none count.

    Args:
        sums: Of the panel.
        at: The pixels.
        predicted: In how many frames a spot is predicted at each pixel [slow, fast].
    """
    shape = sums.total.shape
    index, inside = neighbour_places(at, shape)
    index = np.vstack([at[0] * shape[1] + at[1], index])
    n_outliers, n_isolated = (
        counts.reshape(-1)[index] for counts in (sums.n_outliers, sums.n_isolated)
    )
    together = n_outliers.astype(np.int64) - n_isolated
    together[n_isolated >= 0.4 * n_outliers] = 0
    together[sums.together(index) <= 0] = 0
    together[1:][~inside] = 0
    frames = together.max(axis=0)
    return frames if predicted is None else np.maximum(frames, predicted[at])


@dataclasses.dataclass(frozen=True)
class Suspects:
    """Pixels that failed a test, by which; rising flat indices, int arrays (n,).

    Attributes:
        low: Too few photons, dead pixels among them.
        high: Too many.
        scatter: Too much scatter.
        perhaps: Perhaps too much scatter.
        outlier: Often far from the background, and alone.
        constant: Perhaps always the same value.
    """

    low: np.ndarray
    high: np.ndarray
    scatter: np.ndarray
    perhaps: np.ndarray
    outlier: np.ndarray
    constant: np.ndarray

    @property
    def index(self) -> np.ndarray:
        """All of them."""
        return np.unique(
            np.concatenate([getattr(self, f.name) for f in dataclasses.fields(self)])
        )


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
    n = tests.sums.n_frames
    nothing = np.empty(0, np.int64)
    if n < MIN_FRAMES:
        return Suspects(*[nothing] * len(dataclasses.fields(Suspects)))
    bright = scatter = perhaps = nothing
    if n >= MIN_FRAMES_BLOCKS:
        bright = _bright(tests, limits, high, predicted)
        scatter = _scattering(tests, limits, high, predicted)
        perhaps = np.flatnonzero(tests.z_scatter > WEAK_Z)
        perhaps = perhaps[tests.scatter(perhaps) > limits.scatter]
    return Suspects(
        _dark(tests, limits),
        bright,
        scatter,
        perhaps,
        _outliers(tests, limits),
        _constant(tests, limits),
    )


def _dark(tests: PanelTests, limits: Limits) -> np.ndarray:
    """Pixels with too few photons, in the whole series or in its calmer parts.

    Spots leave photons even on pixels that hardly respond, in some parts of the series.
    """
    found = []
    for z, response in (
        (tests.z_low, tests.response),
        (tests.z_high, tests.calm_response),
    ):
        dark = np.flatnonzero(z < -limits.z)
        dead = dark[response(dark) <= limits.dead]
        dark = dark[response(dark) <= limits.low]
        found.append(dark[neighbour_mean(z, _places(dark, z.shape)) > -REGION_Z])
        # Dead pixels do not excuse each other, but the shadow around them would
        dead = dead[small_regions(dead, z.shape)]
        others = neighbour_mean(z, _places(dead, z.shape), without=dead)
        found.append(dead[others > -REGION_Z])
    return np.unique(np.concatenate(found))


def _bright(
    tests: PanelTests, limits: Limits, high: np.ndarray, predicted: np.ndarray | None
) -> np.ndarray:
    """Pixels with too many photons in the calmer parts of the series."""
    found = np.flatnonzero(tests.z_high > limits.z)
    found = found[tests.response(found) >= limits.high]
    at = _places(found, tests.mask.shape)
    by_spots = spot_frames(tests.sums, at, predicted) * _flank(tests, high, at)
    return found[_is_single(tests, at) & (tests.excess(found) > by_spots)]


def _scattering(
    tests: PanelTests, limits: Limits, high: np.ndarray, predicted: np.ndarray | None
) -> np.ndarray:
    """Pixels with too much scatter in the calmer parts of the series."""
    found = np.flatnonzero(tests.z_scatter > limits.z)
    found = found[tests.scatter(found) > limits.scatter]
    at = _places(found, tests.mask.shape)
    by_spots = spot_frames(tests.sums, at, predicted) * _flank(tests, high, at) ** 2
    return found[_is_single(tests, at) & (tests.excess_scatter(found) > by_spots)]


def _is_single(tests: PanelTests, at: Places) -> np.ndarray:
    """Which pixels have neighbours with neither more photons nor more scatter than others.

    A spot that moves slowly over the pixels, near the axis of rotation, makes some of them
    bright and others scatter.
    """
    means = (neighbour_mean(z, at) for z in (tests.z_high, tests.z_scatter))
    return np.logical_and.reduce([mean < REGION_Z for mean in means])


def _flank(tests: PanelTests, high: np.ndarray, at: Places) -> np.ndarray:
    """What a flank of a spot may leave in the sums: it is below the limit."""
    return SPOT_FLANK * (high[at] - tests.expected[at])


def _outliers(tests: PanelTests, limits: Limits) -> np.ndarray:
    """Pixels that stand alone in many frames, which are not all near each other."""
    sums, n = tests.sums, tests.sums.n_frames
    least = max(3, math.ceil(limits.share * n))
    if n < MIN_FRAMES_BLOCKS:
        least = max(least, math.ceil(ALWAYS * n))
    found = np.flatnonzero(sums.n_isolated >= least)
    n_isolated, n_outliers, first, last, good = (
        image.reshape(-1)[found]
        for image in (
            *(sums.n_isolated, sums.n_outliers),
            *(sums.first_outlier, sums.last_outlier, tests.mask),
        )
    )
    alone = good & (n_isolated >= 0.4 * n_outliers)
    if n >= MIN_FRAMES_BLOCKS:
        alone &= last - first >= n // 4
    return found[alone]


def _constant(tests: PanelTests, limits: Limits) -> np.ndarray:
    """Pixels that may always have the same value, and hardly by chance."""
    from scipy.special import gammaln

    sums, n = tests.sums, tests.sums.n_frames
    still = np.flatnonzero((sums.scatter == 0) & (sums.n_outliers == 0))
    value = sums.total.reshape(-1)[still].astype(float) / n
    still, value = still[value != 0], value[value != 0]
    # Photons are whole numbers and positive; q of them come most often where q are expected
    photons = np.maximum(value, 1)
    log_chance = photons * np.log(photons) - photons - gammaln(photons + 1)
    rare = n * log_chance < np.log(limits.false_alarms / 1e6)
    still = still[rare | (value < 0) | (value != np.rint(value))]
    always = np.flatnonzero(sums.n_outliers >= ALWAYS * n)
    found = np.union1d(still, always)
    return found[tests.mask.reshape(-1)[found]]


def _places(index: np.ndarray, shape: tuple[int, int]) -> Places:
    return np.divmod(index, shape[1])


def small_regions(
    index: np.ndarray, shape: tuple[int, int], largest: int = LARGEST_CLUSTER
) -> np.ndarray:
    """Which of some pixels are connected, corners included, to no more than so many.

    Args:
        index: Their flat indices, rising, int array (n,).
        shape: Of the panel, (slow, fast).
        largest: Most pixels in a region that is small.

    Returns:
        Bool array (n,).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(index):
        return np.zeros(0, bool)
    n, width = len(index), shape[1]
    fast = index % width
    pairs = []
    # The other four neighbours see it from their side
    for slow_step, fast_step in ((0, 1), (1, -1), (1, 0), (1, 1)):
        target = index + slow_step * width + fast_step
        other = np.searchsorted(index, target).clip(max=n - 1)
        met = (index[other] == target) & (0 <= fast + fast_step)
        met &= fast + fast_step < width
        pairs.append(np.stack([np.flatnonzero(met), other[met]]))
    ends = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(ends.shape[1], np.int8), ends), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    return np.bincount(labels)[labels] <= largest


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
    for index, how_bad in (
        (suspects.low, tests.z_low),
        (suspects.high, tests.z_high),
        (suspects.scatter, tests.z_scatter),
        (suspects.outlier, tests.sums.n_isolated),
        (suspects.constant, tests.sums.n_outliers),
    ):
        badness = np.abs(np.nan_to_num(how_bad.reshape(-1)[index]))
        chosen.append(index[np.argsort(badness)[-n:]])
    slow, fast = np.divmod(np.unique(np.concatenate(chosen)), n_fast)
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    index = [
        np.clip(slow + i, 0, n_slow - 1) * n_fast + np.clip(fast + j, 0, n_fast - 1)
        for i, j in around
    ]
    return np.unique(np.concatenate(index))
