"""Statistics of every pixel over many frames, in one pass.

What a frame costs: one addition, one maximum, one product and two sums a pixel, and a
comparison for several frames together, done in bands of rows that stay in the cache: about
10 ms for ten megapixels. Values far from the background (*outliers*: Bragg spots, faults,
values that are not trusted) are few; they are taken out of the sums, counted, and looked
at together with their neighbours, one by one.

Frames are summed in consecutive blocks of time. Of each pixel the two blocks with the
largest sum and the two with the largest variance are known, so that they can be left out:
a Bragg spot or two then leave no trace, while a fault, which is there all the time, does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots

# Blocks of time, and the least number of frames in one
N_BLOCKS = 8
MIN_BLOCK = 6
# Pixels in a band of rows: all the work on a band stays in the second-level cache
BAND = 1 << 15
# Pixels of the squares over which the background is taken to be constant
TILE = 8
# Outliers that are kept before they are counted, so that memory has a limit
MAX_OUTLIERS = 1 << 21
# An outlier belongs to a spot if its eight neighbours together have more than this
# share of its excess. A spot whose point spread has a standard deviation of 0.5 pixels
# has as much in the neighbours as in the middle; wider spots have more.
ISOLATED_SHARE = 0.3


@dataclasses.dataclass(frozen=True)
class Background:
    """A rough background, which tells outliers from what is normal.

    Attributes:
        level: Photons a pixel and frame in squares of TILE pixels, float array.
        low: Smallest normal value, one for all pixels.
        high: Largest normal value of each pixel, array [slow, fast] in the type of the
            data. Where it is the largest value of the type nothing is an outlier.
        span: How far it is above the lowest: for whole numbers of an unsigned type, in
            which one comparison tests both limits, the largest where nothing is an outlier.
        negative: Share of the values of good pixels that are trusted and below zero.
    """

    level: np.ndarray
    low: int
    high: np.ndarray
    span: np.ndarray
    negative: float


def n_blocks(n_frames: int) -> int:
    """The number of blocks of time for so many frames."""
    return max(1, min(N_BLOCKS, n_frames // MIN_BLOCK))


def n_trimmed(blocks: int) -> int:
    """How many of the largest blocks are left out: a quarter."""
    return min(2, blocks // 4)


def estimate_background(
    samples: Sequence[np.ndarray],
    mask: np.ndarray,
    trusted: tuple[float, float],
    run: Callable = map,
) -> Background:
    """Estimate the background from a few frames and set the limits for outliers.

    The limits leave room for half as much background again, as crystals are not round
    and beams not steady; with five standard deviations and three photons on top, normal
    pixels pass them less often than once in a million frames.

    Args:
        samples: A few frames from all over the series, arrays [slow, fast].
        mask: True where the pixel is good.
        trusted: Lowest and highest trusted value.
        run: Calls a function for each of some arguments, as map does; the map of a pool
            of threads does it faster.
    """
    dtype = samples[0].dtype
    largest = np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max
    level = _tile_level(samples, mask, trusted, run)
    # Twice the smallest negative value that noise alone gives, whatever the background
    low = max(trusted[0], -max(4.0, math.ceil(2 * math.sqrt(np.median(level) + 1))))
    hopeful = 1.5 * _largest_of_neighbours(level)
    high = np.ceil(hopeful + 5 * np.sqrt(hopeful) + 3)
    high = np.minimum(high, trusted[1]).astype(dtype)
    high = np.repeat(np.repeat(high, TILE, 0), TILE, 1)
    high = np.ascontiguousarray(high[: mask.shape[0], : mask.shape[1]])
    high[~mask] = largest
    if dtype.kind == "f":
        span = np.where(mask, high - dtype.type(low), largest)
    else:
        # Differences of unsigned numbers are right beyond the range of signed ones too
        span = high.view(np.uint32) - np.array(int(low), np.int32).view(np.uint32)
        span[~mask] = np.iinfo(span.dtype).max
    below = list(run(lambda sample: _count_negative(sample, mask, trusted), samples))
    negative = float(np.mean(below) / max(np.count_nonzero(mask), 1))
    return Background(level.astype(np.float32), int(low), high, span, negative)


def _count_negative(
    sample: np.ndarray, mask: np.ndarray, trusted: tuple[float, float]
) -> int:
    """Good pixels with trusted values below zero."""
    # They are few in most data: the other conditions are asked of these alone
    index = np.flatnonzero(sample < 0)
    values = sample.reshape(-1)[index]
    return np.count_nonzero((values >= trusted[0]) & mask.reshape(-1)[index])


def _tile_level(
    samples: Sequence[np.ndarray],
    mask: np.ndarray,
    trusted: tuple[float, float],
    run: Callable,
) -> np.ndarray:
    """Level of each tile: the median over samples and neighbours, against spots."""

    def around(sample: np.ndarray) -> np.ndarray:
        good = (sample >= max(trusted[0], -1000)) & (sample <= trusted[1])
        good &= mask
        tiles = _tile_sums(np.where(good, sample, sample.dtype.type(0)), np.float32)
        weights = _tile_sums(good, np.uint8)
        with np.errstate(invalid="ignore"):
            tiles = np.where(weights > 0, tiles / np.maximum(weights, 1), np.nan)
        return _shifted(tiles)

    return _fill(_median_of_known(np.concatenate(list(run(around, samples)))))


def _tile_sums(image: np.ndarray, dtype: type) -> np.ndarray:
    """Sums over squares of TILE pixels; those at the edges are smaller."""

    def rows(image: np.ndarray) -> np.ndarray:
        whole = len(image) // TILE * TILE
        sums = image[:whole].reshape(-1, TILE, image.shape[1]).sum(axis=1, dtype=dtype)
        if whole == len(image):
            return sums
        return np.vstack([sums, image[whole:].sum(axis=0, dtype=dtype)[None]])

    return rows(rows(image).T).T


def _median_of_known(stack: np.ndarray) -> np.ndarray:
    """Median along the first axis of what is not NaN; NaN where nothing is."""
    # NaN is sorted to the end
    ordered = np.sort(stack, axis=0)
    n = np.isfinite(ordered).sum(axis=0)
    below, above = (
        np.take_along_axis(ordered, index.clip(min=0)[None], 0)[0]
        for index in ((n - 1) // 2, n // 2)
    )
    return (below + above) / 2


def _shifted(image: np.ndarray) -> np.ndarray:
    """The image and its eight neighbours, shape (9, *image.shape)."""
    padded = np.pad(image, 1, mode="edge")
    slow, fast = image.shape
    return np.stack(
        [padded[i : i + slow, j : j + fast] for i in range(3) for j in range(3)]
    )


def _largest_of_neighbours(image: np.ndarray) -> np.ndarray:
    return _shifted(image).max(axis=0)


def _fill(image: np.ndarray) -> np.ndarray:
    """Give tiles without a good pixel the median level: nothing depends on them."""
    known = image[~np.isnan(image)]
    return np.where(
        np.isnan(image), np.median(known) if known.size else 0.0, image
    ).clip(min=0)


@dataclasses.dataclass
class PixelSums:
    """Sums over frames of the pixels of one panel, arrays [slow, fast].

    Attributes:
        n_frames: Number of frames.
        n_blocks: Number of blocks of time.
        total: Sum of the values that are no outliers, an outlier counting as 0.
        largest: The largest sums of a block, largest first, shape (2, slow, fast).
        scatter: Sum over the blocks of the squared deviations from the block's mean.
        largest_scatter: The largest of these sums, as largest.
        n_outliers: Frames in which the pixel is an outlier.
        n_isolated: Those in which its neighbours are not, and no spot is predicted.
        largest_together: The largest numbers of a block of outliers that are not
            isolated, largest first, shape (2, slow, fast).
        n_untrusted: Those in which its value is not trusted.
        first_outlier: Place in the series of its first isolated outlier; -1 without.
        last_outlier: That of the last one.
    """

    n_frames: int
    n_blocks: int
    total: np.ndarray
    largest: np.ndarray
    scatter: np.ndarray
    largest_scatter: np.ndarray
    n_outliers: np.ndarray
    n_isolated: np.ndarray
    largest_together: np.ndarray
    n_untrusted: np.ndarray
    first_outlier: np.ndarray
    last_outlier: np.ndarray

    @classmethod
    def empty(
        cls, shape: tuple[int, int], zeros: Callable[..., np.ndarray] = np.zeros
    ) -> PixelSums:
        """Sums over no frames.

        Args:
            shape: Of the panel, (slow, fast).
            zeros: Makes the arrays, as numpy's function of that name.
        """
        sums = cls(
            0,
            0,
            zeros(shape, np.float32),
            zeros((2, *shape), np.float32),
            zeros(shape, np.float32),
            zeros((2, *shape), np.float32),
            zeros(shape, np.uint16),
            zeros(shape, np.uint16),
            zeros((2, *shape), np.uint16),
            zeros(shape, np.uint16),
            *(zeros(shape, np.int32) for _ in range(2)),
        )
        sums.first_outlier[:] = -1
        sums.last_outlier[:] = -1
        return sums

    def rows(self, rows: slice) -> PixelSums:
        """The same for some rows; the arrays are views."""
        pair = ("largest", "largest_scatter", "largest_together")
        return PixelSums(
            **{
                name: value
                if np.isscalar(value)
                else value[:, rows]
                if name in pair
                else value[rows]
                for name, value in vars(self).items()
            }
        )

    def bright(self, index: np.ndarray) -> np.ndarray:
        """Sums of some pixels, given by flat index, without the brightest blocks."""
        return self._trimmed(self.total, self.largest, index)

    def calm(self, index: np.ndarray) -> np.ndarray:
        """Their squared deviations without the blocks that have the largest."""
        return self._trimmed(self.scatter, self.largest_scatter, index)

    def together(self, index: np.ndarray) -> np.ndarray:
        """Outliers that are not isolated without the blocks that have most, int (n,).

        The brightest blocks, which are left out of other sums, are those of spots.
        """
        frames = self.n_outliers.reshape(-1)[index].astype(np.int64)
        frames -= self.n_isolated.reshape(-1)[index]
        return self._less(frames, self.largest_together, index)

    def _trimmed(
        self, whole: np.ndarray, largest: np.ndarray, index: np.ndarray
    ) -> np.ndarray:
        return self._less(whole.reshape(-1)[index], largest, index)

    def _less(
        self, values: np.ndarray, largest: np.ndarray, index: np.ndarray
    ) -> np.ndarray:
        for part in largest[: n_trimmed(self.n_blocks)]:
            values -= part.reshape(-1)[index]
        return values

    def add_block(self, rows: slice, sums: np.ndarray, scatter: np.ndarray) -> None:
        """Take in a block's sums and sums of squared deviations of some rows."""
        sums, scatter = (np.asarray(x, np.float32) for x in (sums, scatter))
        self.total[rows] += sums
        self.scatter[rows] += scatter
        _insert(self.largest[:, rows], sums)
        _insert(self.largest_scatter[:, rows], scatter)

    def merge(self, other: PixelSums) -> None:
        """Take in the blocks of frames that come after these."""
        self.n_frames += other.n_frames
        self.n_blocks += other.n_blocks
        self.total += other.total
        self.scatter += other.scatter
        for own, theirs in (
            (self.largest, other.largest),
            (self.largest_scatter, other.largest_scatter),
            (self.largest_together, other.largest_together),
        ):
            _insert(own, theirs[0])
            _insert(own, theirs[1])
        for name in ("n_outliers", "n_isolated", "n_untrusted"):
            _add_saturating(getattr(self, name), np.s_[:], getattr(other, name))
        none = self.first_outlier < 0
        self.first_outlier[none] = other.first_outlier[none]
        np.maximum(self.last_outlier, other.last_outlier, out=self.last_outlier)


def _insert(largest: np.ndarray, values: np.ndarray) -> None:
    """Keep the two largest of three."""
    np.maximum(largest[1], np.minimum(largest[0], values), out=largest[1])
    np.maximum(largest[0], values, out=largest[0])


def _add_saturating(
    counts: np.ndarray, where: np.ndarray | slice, more: np.ndarray
) -> None:
    room = np.iinfo(counts.dtype).max - counts[where]
    counts[where] += np.minimum(more, room).astype(counts.dtype)


class PixelAccumulator:
    """Adds frames of one panel to a PixelSums, which several can share."""

    def __init__(
        self,
        background: Background,
        trusted: tuple[float, float],
        predicted: PredictedSpots | None = None,
        longest_block: int = 5000,
        sums: PixelSums | None = None,
        lock: AbstractContextManager | None = None,
    ) -> None:
        """Make room for the sums.

        Args:
            background: Of the panel.
            trusted: Lowest and highest trusted value.
            predicted: Where spots are expected: outliers there are no sign of a fault.
            longest_block: Most frames in a block of time.
            sums: What to add to; by default sums of its own.
            lock: Held while it is added to.
        """
        shape = background.high.shape
        self._background = background
        self._trusted = trusted
        self._predicted = predicted
        self._integer = background.high.dtype.kind in "iu"
        self.sums = PixelSums.empty(shape) if sums is None else sums
        self._lock = contextlib.nullcontext() if lock is None else lock
        self._rows = max(1, BAND // shape[1])
        self._n = 0
        high = background.high
        normal = high[high < _largest(high.dtype)]
        # How far above the lowest a normal value can be
        self._reach = float(normal.max()) - background.low if normal.size else 0.0
        self._sum, self._square = (
            np.zeros(shape, self._accumulator_type(longest_block, power))
            for power in (1, 2)
        )
        # For each frame that is added at a time, and for what is found in all of them
        self._scratch: list[np.ndarray] = []
        self._top = self._new_band()
        self._outliers: list[_Outliers] = []
        # Outliers of this block that are not isolated: pixels, and in how many frames
        self._together = _NOWHERE

    def _accumulator_type(self, n: int, power: int) -> type:
        if not self._integer:
            return np.float64
        largest = n * self._reach**power
        return np.int32 if largest < np.iinfo(np.int32).max else np.float64

    def _new_band(self) -> np.ndarray:
        shape = (self._rows, self._background.high.shape[1])
        return np.empty(shape, np.int32 if self._integer else np.float64)

    def add(self, frames: Sequence[np.ndarray], places: Sequence[int]) -> None:
        """Add frames; several at a time spare memory traffic.

        Args:
            frames: Arrays [slow, fast]; not changed.
            places: The place in the series of each.
        """
        self._n += len(frames)
        self._scratch += [
            self._new_band() for _ in range(len(frames) - len(self._scratch))
        ]
        n_rows, width = self._background.high.shape
        found: list[list[np.ndarray]] = [[] for _ in frames]
        for start in range(0, n_rows, self._rows):
            rows = slice(start, min(start + self._rows, n_rows))
            for own, where in zip(found, self._add_band(frames, rows)):
                own.append(where + start * width)
        for values, k, where in zip(frames, places, map(np.concatenate, found)):
            if where.size:
                self._look_at(values, where, int(k))
        if sum(len(outliers.where) for outliers in self._outliers) > MAX_OUTLIERS:
            self._count_outliers()

    def _add_band(self, frames: Sequence[np.ndarray], rows: slice) -> list[np.ndarray]:
        """Add a band of rows; returns the outliers of each frame in it, by flat index."""
        n = rows.stop - rows.start
        bands = [scratch[:n] for scratch in self._scratch[: len(frames)]]
        for values, band in zip(frames, bands):
            np.subtract(values[rows], self._background.low, out=band)
        # Pixels that are an outlier in any of the frames, then in which
        anywhere = np.flatnonzero(self._far(bands, self._background.span[rows]))
        span = self._background.span[rows].reshape(-1)[anywhere]
        found = []
        for band in bands:
            flat = band.reshape(-1)
            where = anywhere[self._beyond(flat[anywhere], span)]
            flat[where] = -self._background.low
            found.append(where)
        total, square = self._sum[rows], self._square[rows]
        for band in bands:
            total += band
            np.multiply(band, band, out=band)
            square += band
        return found

    def _far(self, bands: Sequence[np.ndarray], span: np.ndarray) -> np.ndarray:
        """Where any of some bands has an outlier."""
        if not self._integer:
            return np.logical_or.reduce([self._beyond(band, span) for band in bands])
        # As unsigned numbers, what is below the lowest normal value is largest
        top = bands[0].view(np.uint32)
        for band in bands[1:]:
            target = self._top[: len(band)].view(np.uint32)
            top = np.maximum(top, band.view(np.uint32), out=target)
        return top > span

    def _beyond(self, values: np.ndarray, span: np.ndarray) -> np.ndarray:
        """Which values, counted from the lowest normal one, are outliers."""
        if self._integer:
            return values.view(np.uint32) > span
        # NaN is neither: an outlier
        return ~((values >= 0) & (values <= span))

    def _look_at(self, values: np.ndarray, where: np.ndarray, k: int) -> None:
        """Find out which outliers of a frame have neighbours that are normal."""
        slow, fast = np.divmod(where, values.shape[1])
        own = values[slow, fast]
        untrusted = ~((own >= self._trusted[0]) & (own <= self._trusted[1]))
        isolated = isolated_outliers(
            values, slow, fast, self._background, self._trusted
        )
        if self._predicted is not None:
            isolated &= ~np.isin(where, self._predicted.pixels(k))
        self._outliers.append(_Outliers(where.astype(np.int32), isolated, untrusted, k))

    def _count_outliers(self) -> None:
        """Count the outliers seen so far, and apart from them those that stand alone."""
        seen, self._outliers = self._outliers, []
        if not seen:
            return
        where = np.concatenate([outliers.where for outliers in seen])
        isolated = np.concatenate([outliers.isolated for outliers in seen])
        untrusted = np.concatenate([outliers.untrusted for outliers in seen])
        self._together = _added_counts(self._together, where[~isolated])
        places = np.repeat([o.place for o in seen], [len(o.where) for o in seen])
        places, alone = places[isolated], where[isolated]
        sums = self.sums
        with self._lock:
            for counts, pixels in (
                (sums.n_outliers, where),
                (sums.n_isolated, alone),
                (sums.n_untrusted, where[untrusted]),
            ):
                _add_saturating(
                    counts.reshape(-1), *np.unique(pixels, return_counts=True)
                )
            first, last = sums.first_outlier.reshape(-1), sums.last_outlier.reshape(-1)
            # Frames come in any order where several processes share the sums
            order = np.argsort(places, kind="stable")
            pixels, at = np.unique(alone[order], return_index=True)
            earliest = places[order][at]
            before = first[pixels]
            first[pixels] = np.where(before < 0, earliest, np.minimum(before, earliest))
            pixels, at = np.unique(alone[order[::-1]], return_index=True)
            last[pixels] = np.maximum(last[pixels], places[order[::-1]][at])

    def end_block(self) -> None:
        """End a block of time."""
        self._count_outliers()
        n = self._n
        if n == 0:
            return
        pixels, together = self._together
        largest = self.sums.largest_together.reshape(2, -1)
        with self._lock:
            kept = largest[:, pixels]
            _insert(
                kept, together.clip(max=np.iinfo(kept.dtype).max).astype(kept.dtype)
            )
            largest[:, pixels] = kept
        self._together = _NOWHERE
        # Sums of whole numbers are exact if nothing on the way to them is too large
        is_exact = self._integer and (n * self._reach) ** 2 < 1 << 24
        work = np.float32 if is_exact else np.float64
        for start in range(0, len(self._sum), self._rows):
            rows = slice(start, start + self._rows)
            total, scatter = (x[rows].astype(work) for x in (self._sum, self._square))
            scatter -= total * total * work(1 / n)
            if self._integer:
                # What masked pixels hold does not matter
                np.rint(np.maximum(scatter, 0, out=scatter), out=scatter)
            total += n * self._background.low
            with self._lock:
                self.sums.add_block(rows, total, scatter)
            self._sum[rows] = 0
            self._square[rows] = 0
        self.sums.n_frames += n
        self.sums.n_blocks += 1
        self._n = 0


# No pixels, in no frames
_NOWHERE = (np.empty(0, np.int64), np.empty(0, np.int64))


def _added_counts(
    counts: tuple[np.ndarray, np.ndarray], more: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and how often each occurs, those of a list added."""
    pixels, inverse = np.unique(np.concatenate([counts[0], more]), return_inverse=True)
    weights = np.concatenate([counts[1], np.ones(len(more), np.int64)])
    return pixels, np.bincount(inverse, weights, len(pixels)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class _Outliers:
    """Outliers of one frame: flat index, alone or not, trusted or not, arrays (n,)."""

    where: np.ndarray
    isolated: np.ndarray
    untrusted: np.ndarray
    place: int


def _largest(dtype: np.dtype):
    return np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max


# Steps to the eight neighbours of a pixel along slow and along fast
_AROUND = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]).T[
    :, :, None
]


def isolated_outliers(
    values: np.ndarray,
    slow: np.ndarray,
    fast: np.ndarray,
    background: Background,
    trusted: tuple[float, float],
) -> np.ndarray:
    """Which outliers stand alone, as faults do and spots do not.

    Args:
        values: The frame, array [slow, fast].
        slow, fast: The outliers, int arrays (n,).
        background: Of the panel.
        trusted: Lowest and highest trusted value.

    Returns:
        Bool array (n,).
    """
    level = background.level[slow // TILE, fast // TILE]
    n_slow, n_fast = values.shape
    s, f = slow + _AROUND[0], fast + _AROUND[1]
    inside = (s >= 0) & (s < n_slow) & (f >= 0) & (f < n_fast)
    np.clip(s, 0, n_slow - 1, out=s)
    np.clip(f, 0, n_fast - 1, out=f)
    value = values[s, f]
    inside &= (value >= background.low) & (value <= trusted[1])
    inside &= background.high[s, f] < _largest(background.high.dtype)
    above = np.where(inside, value - level, 0)
    own = np.clip(values[slow, fast].astype(np.float64), trusted[0], trusted[1])
    excess = np.abs(own - level)
    alone = _is_alone(above, inside, excess, level)
    # A neighbour that stands alone is a fault and says nothing of this one
    flat = slow * n_fast + fast
    doubtful = np.flatnonzero(~alone)
    faults = np.isin((s * n_fast + f)[:, doubtful], flat[alone])
    beside = faults.any(axis=0)
    doubtful, faults = doubtful[beside], faults[:, beside]
    inside = inside[:, doubtful] & ~faults
    above = np.where(inside, above[:, doubtful], 0)
    alone[doubtful] = _is_alone(above, inside, excess[doubtful], level[doubtful])
    return alone


def _is_alone(
    above: np.ndarray, known: np.ndarray, excess: np.ndarray, level: np.ndarray
) -> np.ndarray:
    """Whether outliers have too little around them for a spot, bool array (n,).

    Args:
        above: Of the eight neighbours above the background, 0 where not known, (8, n).
        known: Which neighbours are, bool array (8, n).
        excess: Of the outliers above the background, shape (n,).
        level: The background, shape (n,).
    """
    # At an edge as much is missing of a spot as of its surroundings
    around = above.sum(axis=0) * 8 / np.maximum(known.sum(axis=0), 1)
    # Two standard deviations of the background around a fault, so that noise does not
    # make a spot of it
    noise = 2 * np.sqrt(8 * level)
    return around <= ISOLATED_SHARE * excess + np.minimum(noise, 0.3 * excess)
