"""Which pixels are bad, and in what way, from statistics over ordinary images.

Each pixel is compared with its arc, the pixels near it at the same scattering angle:
its response (sum of photons over that of the arc), its excess (the same without the
blocks of time that are brightest), its scatter (variance over mean), and how often it
stands out alone. What a pixel's neighbours do as well is no fault of the pixel: Bragg
spots, ice, shadows and the edges between chips extend over several.

Thresholds are numbers of standard deviations, from a rate of false alarms a megapixel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.local_expectation import ARC, Arcs, ring_arcs
from dials_jungfrau_qc.algorithms.pixel_statistics import PixelSums, n_trimmed

KINDS = (
    "dead",
    "under_responding",
    "hot",
    "noisy",
    "stuck",
    "flickering",
    "wrong_gain",
    "untrusted",
)
# Bits of the NXmx pixel_mask (NeXus definition of NXdetector): 1 dead, 2 under-responding,
# 3 over-responding, 4 noisy, 6 part of a cluster. What the standard does not name gets the
# bit that says what the pixel does: a constant value answers to nothing, as a dead pixel.
BITS = {
    "dead": 1 << 1,
    "under_responding": 1 << 2,
    "hot": 1 << 3,
    "noisy": 1 << 4,
    "stuck": 1 << 1,
    "flickering": 1 << 4,
    "wrong_gain": 1 << 4,
    "untrusted": 1 << 3,
}
CLUSTER_BIT = 1 << 6

# Rows that are tested together: a few squares of arcs, and more than the side of a chip
STRIP = 288
# An arc is taken to have at least so many photons a pixel in all frames together
FEWEST_PHOTONS = 3.0
# Standard deviations up to which distributions are taken as normal
NEAR = 1.5
# A pixel that is an outlier in more than this share of the frames always is
ALWAYS = 0.9
# Pixels along the edge of a chip of the JUNGFRAU; elsewhere just the length of a line that
# is looked at for double pixels
CHIP = 256
# Most lines side by side, within so many pixels to either side, that are an edge
LINE_WIDTH = 4
LINE_REACH = 6
# Mean z of the eight neighbours, each held to +-CLIPPED, from which on a deviation is
# that of a region. One bad neighbour alone gives CLIPPED / 8 = 1.
REGION_Z = 1.8
CLIPPED = 8.0
# Arcs whose pixels scatter so much more than they should lie on an edge, and their own
# scatter counts instead; an estimate from 48 pixels is 13 % uncertain
EDGE_SCATTER = 1.4
# A spot's flanks are on a pixel in as many frames as its top is on the next one, with this
# much of the largest value that is no outlier
SPOT_FLANK = 0.75
# Larger connected regions of constant or dark pixels belong to the detector or to what
# stands before it
LARGEST_CLUSTER = 25
# Photons: misread in the second gain, an empty pixel of a JUNGFRAU shows hundreds
# (the difference of the pedestals over its gain); its first gain ends near 25
OTHER_GAIN = 100
# Least frames for tests that Bragg spots disturb, with a block of time to leave out
MIN_FRAMES_BLOCKS = 24
# Least frames for what is constant or always there
MIN_FRAMES = 10


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


@dataclasses.dataclass(frozen=True)
class PanelTests:
    """Test results of every pixel of a panel, arrays [slow, fast]; NaN where untested.

    Attributes:
        sums: What was tested.
        mask: True where the pixel is good as far as was known.
        expected: Photons a frame that the arc has.
        response: Photons of the pixel relative to the arc.
        z_low: Standard deviations of its sum from that of the arc.
        z_high: The same without the brightest blocks of time.
        scatter: Variance over mean, relative to the arc.
        z_scatter: Its standard deviations from 1.
        excess: Photons, all frames together, above the arc, without the brightest blocks.
        excess_scatter: The same for the sum of squared deviations.
        skipped: The tests for which there were too few frames or photons, in words.
    """

    sums: PixelSums
    mask: np.ndarray
    expected: np.ndarray
    response: np.ndarray
    z_low: np.ndarray
    z_high: np.ndarray
    scatter: np.ndarray
    z_scatter: np.ndarray
    excess: np.ndarray
    excess_scatter: np.ndarray
    skipped: tuple[str, ...] = ()


def test_panel(
    sums: PixelSums, mask: np.ndarray, angle: np.ndarray, run: Callable = map
) -> PanelTests:
    """Compare every pixel of a panel with its arc, a strip of rows at a time.

    Args:
        sums: Over all frames.
        mask: True where the pixel is good as far as is known.
        angle: What grows with the scattering angle, array [slow, fast].
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
        own = mask[rows]
        strip = test_pixels(sums.rows(rows), own, ring_arcs(own, angle[rows]))
        for name, image in images.items():
            image[rows] = getattr(strip, name)

    n_rows = len(mask)
    edges = np.linspace(0, n_rows, max(1, n_rows // STRIP) + 1).astype(int)
    for _ in run(test, [slice(*pair) for pair in zip(edges, edges[1:])]):
        pass
    skipped = _skipped(sums.n_frames, images["expected"][::8, ::8])
    return PanelTests(sums=sums, mask=mask, skipped=skipped, **images)


def test_pixels(sums: PixelSums, mask: np.ndarray, arcs: Arcs) -> PanelTests:
    """Compare every pixel of a panel with its arc.

    Args:
        sums: Over all frames.
        mask: True where the pixel is good as far as is known.
        arcs: Of the panel.
    """
    n, trimmed = sums.n_frames, n_trimmed(sums.n_blocks)
    seen = n - sums.n_outliers.astype(np.float32)
    unseen = ~mask | (seen < (1 - ALWAYS) * n)
    seen[unseen] = np.nan
    rate = sums.total / seen
    median_rate = arcs.median(rate)
    expected = arcs.spread(median_rate)
    dispersion = _dispersion(sums, arcs)

    with np.errstate(divide="ignore", invalid="ignore"):
        lines = line_response(rate / expected)
        if (lines != 1).any():
            # Arcs may run along lines
            expected = arcs.spread(arcs.median(rate / lines)) * lines
        response = rate / expected
    z_low = poisson_z(sums.total, expected * seen, dispersion)
    bright = sums.total.copy()
    for i in range(trimmed):
        bright -= sums.largest[i]
    bright[unseen] = np.nan
    usual = arcs.spread(arcs.median(bright / lines)) * lines
    z_high = poisson_z(bright, usual, dispersion)

    calm = sums.scatter.copy()
    for i in range(trimmed):
        calm -= sums.largest_scatter[i]
    calm[unseen] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = calm / np.where(sums.total > 0, sums.total, np.nan)
        normal = arcs.median(relative)
        normal[~(normal > 0)] = np.nan
        normal = arcs.spread(normal)
        scatter = relative / normal
    degrees = (n - sums.n_blocks) * (1 - trimmed / max(sums.n_blocks, 1))
    z_scatter = dispersion_z(scatter, rate, degrees)
    return PanelTests(
        sums=sums,
        mask=mask,
        expected=expected,
        response=response,
        z_low=standardised(z_low, arcs),
        z_high=standardised(z_high, arcs),
        scatter=scatter,
        z_scatter=standardised(z_scatter, arcs),
        excess=bright - usual,
        excess_scatter=calm - sums.total * normal,
        skipped=_skipped(n, median_rate),
    )


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


def _dispersion(sums: PixelSums, arcs: Arcs) -> np.ndarray:
    """Variance over mean of each arc, at least that of photons."""
    freedom = max(sums.n_frames - sums.n_blocks, 1) / max(sums.n_frames, 1)
    total = arcs.median(sums.total)
    scatter = arcs.median(sums.scatter) / freedom
    return arcs.spread(np.maximum(scatter / np.maximum(total, 1), 1))


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
    if photons < 10:
        skipped.append(
            "dead pixels need at least 10 photons a pixel in all images together; half "
            f"of the detector has {photons:.2g} or fewer"
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
    counts, expected, dispersion = np.broadcast_arrays(counts, expected, dispersion)
    # In deep shadow the median of an arc is 0 while its mean is not
    mean = np.maximum(expected, FEWEST_PHOTONS)
    positive = np.maximum(counts, 0)
    with np.errstate(invalid="ignore"):
        z = (positive - mean) / np.sqrt(mean * dispersion)
        far = np.abs(z) > NEAR
    # The logarithm takes its time, and near the middle it changes nothing
    x, mu = positive[far].astype(np.float64), mean[far].astype(np.float64)
    deviance = x * np.log(np.maximum(x, 1e-9) / mu) - x + mu
    z[far] = np.sign(x - mu) * np.sqrt(2 * np.maximum(deviance, 0) / dispersion[far])
    return z / np.float32(math.sqrt(1 + np.pi / 2 / ARC))


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


def standardised(z: np.ndarray, arcs: Arcs) -> np.ndarray:
    """Divide by how much pixels really scatter, where that is more than it should be.

    Pixels differ in gain, and arcs on the edge of a shadow hold both lit and dark ones.
    """
    _, scatter = arcs.median_and_scatter(z)
    known = scatter[np.isfinite(scatter)]
    usual = max(1.0, float(np.median(known))) if known.size else 1.0
    scatter = np.where(scatter > EDGE_SCATTER * usual, scatter, usual)
    return z / arcs.spread(scatter)


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


@dataclasses.dataclass(frozen=True)
class Look:
    """Values of suspects in some of the frames.

    Attributes:
        index: Flat index of the pixels, shape (n,).
        frames: Places of the frames in the series, shape (m,).
        values: Shape (n, m).
    """

    index: np.ndarray
    frames: np.ndarray
    values: np.ndarray

    def at(self, index: np.ndarray) -> Look:
        """The same for some of its pixels, given by flat index in rising order."""
        return Look(index, self.frames, self.values[np.searchsorted(self.index, index)])


@dataclasses.dataclass(frozen=True)
class BadPixels:
    """The bad pixels of a panel, arrays of shape (n,), with the evidence.

    Attributes:
        index: Flat index.
        kind: One of KINDS each.
        bits: NXmx bits.
        n_frames: Frames in which the pixel was seen.
        mean: Photons a frame, outliers left out; for pixels that always are outliers,
            of the values of the second look.
        expected: What its arc has.
        variance_ratio: Variance over mean, relative to the arc.
        z: Standard deviations in the test that it failed most.
        share: Share of the frames in which it is bad.
        first: Place of the first bad frame in the series, if single frames are bad.
        last: That of the last one.
    """

    index: np.ndarray
    kind: np.ndarray
    bits: np.ndarray
    n_frames: np.ndarray
    mean: np.ndarray
    expected: np.ndarray
    variance_ratio: np.ndarray
    z: np.ndarray
    share: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


def classify(
    tests: PanelTests,
    suspects: Suspects,
    look: Look,
    limits: Limits,
    trusted: tuple[float, float],
) -> BadPixels:
    """Give every bad pixel its kind, and let go the suspects that are none.

    Args:
        tests: Of the panel.
        suspects: Of the panel.
        look: Values of all suspects in some frames.
        limits: What counts as a fault.
        trusted: Lowest and highest trusted value.
    """
    sums, at = tests.sums, look.index
    kind = np.full(len(at), "", dtype="U16")
    if not len(at):
        return _evidence(tests, look, kind)
    values = look.values.astype(np.float64)
    low, high, scatter, outlier, constant = (
        getattr(suspects, name).reshape(-1)[at]
        for name in ("low", "high", "scatter", "outlier", "constant")
    )
    n = sums.n_frames
    expected = np.nan_to_num(tests.expected.reshape(-1)[at])
    response = tests.response.reshape(-1)[at]
    always = sums.n_outliers.reshape(-1)[at] >= ALWAYS * n

    photons = expected * n
    # As few as a dead pixel can have, with two standard deviations
    few = limits.dead * photons + 2 * np.sqrt(limits.dead * photons)
    kind[low] = np.where(
        response[low] * photons[low] <= few[low], "dead", "under_responding"
    )
    kind[high] = "hot"
    unsteady = scatter | (outlier & ~always)
    kind[unsteady] = _unsteady_kinds(values, expected)[unsteady]
    above = np.median(values, axis=1) >= expected
    kind[outlier & always] = np.where(above, "hot", "under_responding")[
        outlier & always
    ]
    in_other_gain = _in_other_gain(values, expected)
    kind[outlier & in_other_gain] = "wrong_gain"

    same = (values == values[:, :1]).all(axis=1) & (constant | low)
    same &= _small(same, at, tests.mask.shape)
    dark = same & low & (values[:, 0] == 0)
    kind[dark] = "dead"
    kind[same & ~dark] = "stuck"
    outside = ~((values >= trusted[0]) & (values <= trusted[1]))
    never = outside.all(axis=1)
    never &= sums.n_untrusted.reshape(-1)[at] >= ALWAYS * n
    never &= _small(never, at, tests.mask.shape)
    kind[never & ~same] = "untrusted"
    return _evidence(tests, look, kind)


def _small(which: np.ndarray, at: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which of some pixels are not part of a large region of such pixels."""
    image = np.zeros(shape, bool)
    image.reshape(-1)[at[which]] = True
    return small_regions(image).reshape(-1)[at]


def _unsteady_kinds(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Noisy, flickering or hot, from the values of pixels that scatter too much.

    Noise goes both ways, and photons are never negative; a flickering pixel is normal in
    many frames, a hot one in none.
    """
    spread = np.sqrt(expected)
    below = (values < np.maximum(0, expected - 2.2 * spread)[:, None]).sum(axis=1)
    above = (values > (expected + 3 * spread + 1)[:, None]).sum(axis=1)
    normal = (values <= np.ceil(expected)[:, None]).mean(axis=1)
    kinds = np.full(len(values), "flickering", dtype="U16")
    kinds[(normal < 0.15) & (above > 0.5 * values.shape[1])] = "hot"
    kinds[(below >= 2) & (below >= 0.2 * above)] = "noisy"
    return kinds


def _in_other_gain(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Pixels whose values lie partly where only another gain reaches, nothing between.

    A pixel that is always there must show the steps of that gain as well, for a hot
    pixel can be as bright.
    """
    limit = (expected + OTHER_GAIN)[:, None]
    other = values > limit
    between = (values > limit - 0.5 * OTHER_GAIN) & ~other
    n_other = other.sum(axis=1)
    clear = (n_other >= 2) & ~between.any(axis=1)
    ordered = np.sort(np.where(other, values, np.nan), axis=1)
    steps = np.diff(ordered, axis=1)
    # A photon is a step of 28 counts in the second gain, blurred by one; the values of a
    # hot pixel leave gaps of all sizes
    with np.errstate(invalid="ignore"):
        stepped = (steps > 15).any(axis=1) & ~((steps > 4) & (steps <= 15)).any(axis=1)
    sometimes = n_other < ALWAYS * values.shape[1]
    return clear & (sometimes | stepped)


def _evidence(tests: PanelTests, look: Look, kind: np.ndarray) -> BadPixels:
    """Collect the evidence of the pixels that have a kind."""
    keep = np.flatnonzero(kind != "")
    keep = keep[np.argsort(look.index[keep])]
    at, kind, sums = look.index[keep], kind[keep], tests.sums
    values = look.values[keep].astype(np.float64)
    n = sums.n_frames

    def of(image: np.ndarray) -> np.ndarray:
        return image.reshape(-1)[at]

    n_outliers = of(sums.n_outliers).astype(np.int64)
    seen = n - n_outliers
    mean = np.where(
        n_outliers >= ALWAYS * n,
        values.mean(axis=1) if values.size else np.nan,
        of(sums.total) / np.maximum(seen, 1),
    )
    z = np.stack([of(tests.z_low), of(tests.z_high), of(tests.z_scatter)])
    z = np.where(np.isfinite(z), z, 0)
    worst = np.abs(z).argmax(axis=0)
    expected = of(tests.expected)
    in_frames = np.isin(kind, ("flickering", "wrong_gain", "untrusted"))
    above = values > (expected + 3 * np.sqrt(expected) + 1)[:, None]
    shown = above.mean(axis=1) if values.size else np.zeros(len(at))
    share = np.where(in_frames, np.maximum(n_outliers / max(n, 1), shown), 1.0)
    isolated = in_frames & (of(sums.first_outlier) >= 0)
    bits = np.array([BITS[k] for k in kind], np.uint32)
    image = np.zeros(tests.mask.shape, bool)
    image.reshape(-1)[at] = True
    in_cluster = np.nansum(neighbours(image, np.divmod(at, image.shape[1])), axis=0) > 0
    bits[in_cluster] |= CLUSTER_BIT
    return BadPixels(
        index=at,
        kind=kind,
        bits=bits,
        n_frames=np.full(len(at), n),
        mean=mean,
        expected=expected,
        variance_ratio=of(tests.scatter),
        z=np.take_along_axis(z, worst[None], 0)[0],
        share=share,
        first=np.where(isolated, of(sums.first_outlier), -1),
        last=np.where(isolated, of(sums.last_outlier), -1),
    )


def look_places(n_frames: int, n_looks: int) -> np.ndarray:
    """Places of frames for the second look, evenly over the series."""
    n = min(n_frames, n_looks)
    return np.unique(np.linspace(0, n_frames - 1, n).round().astype(int))


def signal_pixels(index: np.ndarray, counts: np.ndarray, n_frames: int) -> BadPixels:
    """Pixels that are signal to spot finding in many frames, which is all known of them.

    Args:
        index: Flat indices.
        counts: Frames in which each pixel of the panel is signal.
        n_frames: Number of frames.
    """
    unknown = np.full(len(index), np.nan)
    return BadPixels(
        index=index,
        kind=np.full(len(index), "signal", dtype="U16"),
        bits=np.full(len(index), BITS["noisy"], np.uint32),
        n_frames=np.full(len(index), n_frames),
        mean=unknown,
        expected=unknown,
        variance_ratio=unknown,
        z=np.zeros(len(index)),
        share=counts.reshape(-1)[index] / n_frames,
        first=np.full(len(index), -1),
        last=np.full(len(index), -1),
    )


@dataclasses.dataclass(frozen=True)
class CombinedPixels:
    """The bad pixels of a panel in several sweeps.

    Attributes:
        pixels: With the evidence of the sweep that shows each of them best.
        sweep: Number of that sweep, from 0.
        n_sweeps: In how many sweeps each is bad.
    """

    pixels: BadPixels
    sweep: np.ndarray
    n_sweeps: np.ndarray


def combine_sweeps(sweeps: Sequence[BadPixels], rule: str) -> CombinedPixels:
    """Combine what several sweeps say of a panel.

    Args:
        sweeps: The bad pixels in each.
        rule: Bad in any, all or the majority of the sweeps.

    Raises:
        ValueError: No such rule.
    """
    least = {"any": 1, "all": len(sweeps), "majority": len(sweeps) // 2 + 1}
    if rule not in least:
        raise ValueError(f"there is no rule {rule}: {', '.join(least)}")
    index = np.concatenate([bad.index for bad in sweeps])
    sweep = np.repeat(np.arange(len(sweeps)), [len(bad) for bad in sweeps])
    badness = np.concatenate([np.abs(bad.z) + 100 * bad.share for bad in sweeps])
    # The best evidence of a pixel comes first among its own
    order = np.lexsort((-badness, index))
    _, first, n_sweeps = np.unique(index[order], return_index=True, return_counts=True)
    chosen = order[first][n_sweeps >= least[rule]]
    pixels = BadPixels(
        **{
            field.name: np.concatenate([getattr(bad, field.name) for bad in sweeps])[
                chosen
            ]
            for field in dataclasses.fields(BadPixels)
        }
    )
    return CombinedPixels(pixels, sweep[chosen], n_sweeps[n_sweeps >= least[rule]])
