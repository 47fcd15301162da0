"""How far every pixel is from what it should show: the tests, and their statistics.

Each pixel is compared with its arc, the pixels near it at the same scattering angle:
its response (sum of photons over that of the arc), its excess (the same without the
blocks of time that are brightest), and its scatter (variance over mean), all as numbers
of standard deviations too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from dials_jungfrau_qc.algorithms.local_expectation import (
    ARC,
    Arcs,
    median,
    ring_arcs,
    robust_scatter,
)
from dials_jungfrau_qc.algorithms.pixel_statistics import PixelSums, n_trimmed

# Rows that are tested together: a few squares of arcs, and more than the side of a chip
STRIP = 288
# An arc is taken to have at least so many photons a pixel in all frames together
FEWEST_PHOTONS = 3.0
# Standard deviations up to which distributions are taken as normal
NEAR = 2.5
# Variance over mean from which on other noise than that of photons prevails: counts then
# fall short as those of a normal distribution do, down to negative ones
NOT_PHOTONS = 1.5
# A pixel that is an outlier in more than this share of the frames always is
ALWAYS = 0.9
# Pixels along the edge of a chip of the JUNGFRAU; elsewhere just the length of a line that
# is looked at for double pixels
CHIP = 256
# Most lines side by side, within so many pixels to either side, that are an edge
LINE_WIDTH = 4
LINE_REACH = 6
# Arcs whose pixels scatter so much more than they should lie on an edge, and their own
# scatter counts instead; an estimate from 48 pixels is 13 % uncertain
EDGE_SCATTER = 1.4
# Least frames for tests that Bragg spots disturb, with a block of time to leave out
MIN_FRAMES_BLOCKS = 24
# Least frames for what is constant or always there
MIN_FRAMES = 10
# Of 16 photons none arrives with a probability of 1e-7, 0.1 false alarms a megapixel
DEAD_PHOTONS = 16


@dataclasses.dataclass(frozen=True)
class PanelTests:
    """Test results of every pixel of a panel, arrays [slow, fast]; NaN where untested.

    Attributes:
        sums: What was tested.
        mask: True where the pixel is good as far as was known.
        expected: Photons a frame that the arc has.
        usual: Photons of the arc in all frames together, without the brightest blocks.
        normal: Variance over mean of the arc, without the blocks that scatter most.
        z_low: Standard deviations of the pixel's sum from that of the arc.
        z_high: The same without the brightest blocks of time.
        z_scatter: Standard deviations of variance over mean from that of the arc.
        skipped: The tests for which there were too few frames or photons, in words.
    """

    sums: PixelSums
    mask: np.ndarray
    expected: np.ndarray
    usual: np.ndarray
    normal: np.ndarray
    z_low: np.ndarray
    z_high: np.ndarray
    z_scatter: np.ndarray
    skipped: tuple[str, ...] = ()

    def response(self, index: np.ndarray) -> np.ndarray:
        """Photons of pixels, given by flat index, relative to the arc, shape (n,)."""
        seen = self.sums.n_frames - self._at(self.sums.n_outliers, index).astype(float)
        seen[seen < (1 - ALWAYS) * self.sums.n_frames] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            return (
                self._at(self.sums.total, index) / seen / self._at(self.expected, index)
            )

    def calm_response(self, index: np.ndarray) -> np.ndarray:
        """The same without the brightest blocks of time; NaN with too many outliers.

        Outliers count as 0, and nobody knows how many of them were in those blocks.
        """
        seen = self.sums.n_frames - self._at(self.sums.n_outliers, index).astype(float)
        seen[seen < ALWAYS * self.sums.n_frames] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            usual = self._at(self.usual, index) * seen / self.sums.n_frames
            return self.sums.bright(index) / usual

    def excess(self, index: np.ndarray) -> np.ndarray:
        """Photons above the arc without the brightest blocks, all frames together."""
        return self.sums.bright(index) - self._at(self.usual, index)

    def scatter(self, index: np.ndarray) -> np.ndarray:
        """Variance over mean relative to the arc, without the blocks that scatter most.

        The mean is that of the arc where the pixel's own is lower: it can be negative.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = self.sums.calm(index) / self._photons(index)
            return relative / self._at(self.normal, index)

    def excess_scatter(self, index: np.ndarray) -> np.ndarray:
        """Sum of squared deviations above that of the arc, without the same blocks."""
        normal = self._photons(index) * self._at(self.normal, index)
        return self.sums.calm(index) - normal

    def _photons(self, index: np.ndarray) -> np.ndarray:
        """Photons of the pixel, or of the arc in as many frames if they are more."""
        seen = self.sums.n_frames - self._at(self.sums.n_outliers, index).astype(float)
        arc = self._at(self.expected, index) * seen
        return np.maximum(self._at(self.sums.total, index), arc)

    @staticmethod
    def _at(image: np.ndarray, index: np.ndarray) -> np.ndarray:
        return image.reshape(-1)[index]


@dataclasses.dataclass(frozen=True)
class PixelSample:
    """Some of the good pixels of a panel, for distributions, arrays (n,).

    Attributes:
        index: Flat index.
        response: Photons relative to the arc.
        scatter: Variance over mean, relative to the arc.
        step: Of how many pixels each is one.
    """

    index: np.ndarray
    response: np.ndarray
    scatter: np.ndarray
    step: int


def sample_pixels(tests: PanelTests, most: int) -> PixelSample:
    """Take pixels from all over a panel, no more than so many."""
    step = -(-tests.mask.size // most)
    index = np.flatnonzero(tests.mask.reshape(-1)[::step]) * step
    return PixelSample(index, tests.response(index), tests.scatter(index), step)


def test_panel(
    sums: PixelSums,
    mask: np.ndarray,
    angle: Callable[[slice], np.ndarray],
    run: Callable = map,
) -> PanelTests:
    """Compare every pixel of a panel with its arc, a strip of rows at a time.

    Args:
        sums: Over all frames.
        mask: True where the pixel is good as far as is known.
        angle: Gives what grows with the scattering angle for some rows, array
            [slow, fast].
        run: Calls a function for each of some arguments, as map does; the map of a pool
            of threads does it faster.
    """
    # Filled by strips: strips that are kept to be put together take the memory twice
    images = {
        field.name: np.empty(mask.shape, np.float32)
        for field in dataclasses.fields(PanelTests)
        if field.name not in ("sums", "mask", "skipped")
    }

    def test(rows: slice) -> None:
        arcs = ring_arcs(mask[rows], angle(rows))
        results = _test_arcs(sums.rows(rows), mask[rows], arcs)
        for name, image in images.items():
            image[rows] = np.nan
            image[rows].reshape(-1)[arcs.members] = results[name]

    n_rows = len(mask)
    edges = np.linspace(0, n_rows, max(1, n_rows // STRIP) + 1).astype(int)
    for _ in run(test, [slice(*pair) for pair in zip(edges, edges[1:])]):
        pass
    skipped = _skipped(sums.n_frames, images["expected"][::8, ::8])
    return PanelTests(sums=sums, mask=mask, skipped=skipped, **images)


def _test_arcs(sums: PixelSums, mask: np.ndarray, arcs: Arcs) -> dict[str, np.ndarray]:
    """Compare the pixels of arcs with the rest of their arc.

    Args:
        sums: Over all frames.
        mask: True where the pixel is good as far as is known.
        arcs: Of the same rows.

    Returns:
        The images of a PanelTests by name, shape (n, ARC) or (n, 1) for n arcs.
    """
    n = sums.n_frames
    seen = n - sums.n_outliers.astype(np.float32)
    seen[~mask | (seen < (1 - ALWAYS) * n)] = np.nan
    seen, total, scatter = map(arcs.gather, (seen, sums.total, sums.scatter))
    unseen = np.isnan(seen)
    bright, calm = sums.bright(arcs.members), sums.calm(arcs.members)
    bright[unseen] = calm[unseen] = np.nan
    dispersion = _dispersion(total, scatter, n, sums.n_blocks)
    rate = total / seen
    expected = median(rate)
    # Arcs may run along lines
    lines = np.float32(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        image = line_response(arcs.image(rate / expected))
        if (image != 1).any():
            lines = arcs.gather(image)
            expected = median(rate / lines) * lines
        usual = median(bright / lines) * lines
        normal = median(calm / np.where(total > 0, total, np.nan))
        normal[~(normal > 0)] = np.nan
        relative = calm / np.maximum(total, expected * seen) / normal
    trimmed = n_trimmed(sums.n_blocks) / max(sums.n_blocks, 1)
    degrees = (n - sums.n_blocks) * (1 - trimmed)
    return {
        "expected": expected,
        "usual": usual,
        "normal": normal,
        "z_low": standardised(poisson_z(total, expected * seen, dispersion)),
        "z_high": standardised(poisson_z(bright, usual, dispersion)),
        "z_scatter": standardised(
            dispersion_z(relative, np.maximum(rate, expected), degrees)
        ),
    }


def line_response(response: np.ndarray) -> np.ndarray:
    """Response of the lines of double pixels along the edges of chips, 1 elsewhere.

    Args:
        response: Of each pixel, relative to its arc, array [slow, fast].

    Returns:
        Float32 array [slow, fast].
    """
    factors = np.ones_like(response)
    for image, target in ((response, factors), (response.T, factors.T)):
        pieces = max(1, len(image) // CHIP)
        for rows in np.array_split(np.arange(len(image)), pieces):
            along = slice(rows[0], rows[-1] + 1)
            # Every fourth pixel of a line is enough for its median
            part = image[along][::4]
            known = np.isfinite(part)
            n = known.sum(axis=0)
            ordered = np.sort(np.where(known, part, np.inf), axis=0)
            middle = np.take_along_axis(
                ordered, (n // 2)[None].clip(max=len(part) - 1), 0
            )[0]
            lower, upper = (
                np.take_along_axis(
                    ordered, (n * share).astype(int)[None].clip(max=len(part) - 1), 0
                )[0]
                for share in (0.16, 0.84)
            )
            # Standard error of a median from the middle two thirds of the values
            error = 1.25 * (upper - lower) / 2 / np.sqrt(np.maximum(n, 1))
            is_line = (n >= 16) & np.isfinite(middle) & np.isfinite(error)
            is_line &= (np.abs(middle - 1) > 0.15) & (np.abs(middle - 1) > 5 * error)
            # A wide feature is no line
            padded = np.pad(is_line.astype(int), LINE_REACH)
            width = sum(padded[i : i + len(is_line)] for i in range(2 * LINE_REACH + 1))
            is_line &= width <= LINE_WIDTH
            target[along, is_line] *= middle[is_line]
    return factors


def _dispersion(
    total: np.ndarray, scatter: np.ndarray, n_frames: int, n_blocks: int
) -> np.ndarray:
    """Variance over mean of each arc, at least that of photons, shape (n, 1)."""
    freedom = max(n_frames - n_blocks, 1) / max(n_frames, 1)
    variance = median(scatter) / np.float32(freedom)
    return np.maximum(variance / np.maximum(median(total), 1), 1)


def _skipped(n: int, rates: np.ndarray) -> tuple[str, ...]:
    skipped = []
    if n < MIN_FRAMES:
        skipped.append(f"all tests need at least {MIN_FRAMES} images")
    elif n < MIN_FRAMES_BLOCKS:
        skipped.append(
            f"over-responding, noisy and flickering pixels need at least "
            f"{MIN_FRAMES_BLOCKS} images, as fewer do not tell them from Bragg spots; "
            "those far too bright in every image are found"
        )
    rates = rates[np.isfinite(rates)]
    photons = n * float(np.median(rates)) if rates.size else 0.0
    if photons < DEAD_PHOTONS:
        few = f"{photons:.2g} or fewer" if photons else "none"
        skipped.append(
            f"dead pixels need at least {DEAD_PHOTONS} photons a pixel in all images "
            f"together; half of the detector has {few}"
        )
    return tuple(skipped)


def poisson_z(
    counts: np.ndarray, expected: np.ndarray, dispersion: np.ndarray
) -> np.ndarray:
    """Standard deviations of counts from the median of an arc.

    The signed root of the deviance is close to normal far into the tails of a Poisson
    distribution, which counts over their root are not (McCullagh and Nelder, Generalized
    Linear Models, 1989, section 2.4).

    Args:
        counts: Array.
        expected: Median counts of the arc.
        dispersion: Variance over mean, at least 1.
    """
    # In deep shadow the median of an arc is 0 while its mean is not
    mean = np.maximum(expected, np.float32(FEWEST_PHOTONS))
    positive = np.maximum(counts, 0)
    with np.errstate(invalid="ignore"):
        z = (positive - mean) / np.sqrt(mean * dispersion)
        far = (np.abs(z) > NEAR) & ((z > 0) | (dispersion < NOT_PHOTONS))
    mean, dispersion = (np.broadcast_to(x, z.shape) for x in (mean, dispersion))
    # The logarithm takes its time, and near the middle it changes nothing
    x, mu = positive[far].astype(np.float64), mean[far].astype(np.float64)
    deviance = x * np.log(np.maximum(x, 1e-9) / mu) - x + mu
    z[far] = np.sign(x - mu) * np.sqrt(2 * np.maximum(deviance, 0) / dispersion[far])
    z /= np.float32(math.sqrt(1 + np.pi / 2 / ARC))
    return z


def dispersion_z(ratio: np.ndarray, rate: np.ndarray, degrees: float) -> np.ndarray:
    """Standard deviations of the variance over the mean of photons from its expectation.

    Given the sum, the index of dispersion of n Poisson variables has the variance 2 n
    and the third cumulant n (8 + 4 / rate), by counting pairs and triples of photons in
    one frame. A gamma distribution with these is made normal by its cube root (Wilson
    and Hilferty, PNAS 17 (1931) 684).

    Args:
        ratio: Variance over mean, relative to what it should be.
        rate: Photons a frame.
        degrees: Degrees of freedom.

    Returns:
        NaN where there are too few photons to tell.
    """
    if degrees < 1:
        return np.full(np.shape(ratio), np.nan, np.float32)
    with np.errstate(invalid="ignore"):
        z = (ratio - 1) / np.float32(math.sqrt(2 / degrees))
        # Cube roots take their time, and near the middle they change little
        far = np.abs(z) > NEAR
        skewness = (8 + 4 / np.maximum(rate[far], 1e-3)) / math.sqrt(8 * degrees)
        shape = 4 / skewness**2
        cube_root = np.cbrt(np.maximum(1 + z[far] * skewness / 2, 0))
        z[far] = 3 * np.sqrt(shape) * (cube_root - (1 - 1 / (9 * shape)))
        z[rate < _least_rate(degrees)] = np.nan
    return z


def _least_rate(degrees: float) -> float:
    """Photons a frame below which the gamma distribution has a shape below 0.5."""
    largest = math.sqrt(8) * math.sqrt(8 * degrees)
    return 4 / (largest - 8) if largest > 8 else math.inf


def standardised(z: np.ndarray) -> np.ndarray:
    """Divide by how much pixels really scatter, where that is more than it should be.

    Pixels differ in gain, and arcs on the edge of a shadow hold both lit and dark ones.

    Args:
        z: Of the pixels of each arc, shape (n, ARC); changed.
    """
    scatter = robust_scatter(z)
    known = scatter[np.isfinite(scatter)]
    usual = np.float32(max(1.0, float(np.median(known))) if known.size else 1.0)
    z /= np.where(scatter > EDGE_SCATTER * usual, scatter, usual)
    return z
