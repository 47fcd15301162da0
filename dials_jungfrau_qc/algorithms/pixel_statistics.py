"""Statistics of every pixel over many frames, in one pass.

What a frame costs: one addition, one comparison, one product and two sums a pixel, done
in bands of rows that stay in the cache. Values far from the background (*outliers*: Bragg
spots, faults, values that are not trusted) are few; they are taken out of the sums,
counted, and looked at together with their neighbours, one by one.

Frames are summed in consecutive blocks of time. Of each pixel the two blocks with the
largest sum and the two with the largest variance are known, so that they can be left out:
a Bragg spot or two then leave no trace, while a fault, which is there all the time, does.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots

# Blocks of time, and the least number of frames in one
N_BLOCKS = 8
MIN_BLOCK = 6
# Pixels in a band of rows: all the work on a band stays in the second-level cache
BAND = 1 << 15
# Pixels of the squares over which the background is taken to be constant
TILE = 8
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
    """

    level: np.ndarray
    low: int
    high: np.ndarray


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
) -> Background:
    """Estimate the background from a few frames and set the limits for outliers.

    The limits leave room for half as much background again, as crystals are not round
    and beams not steady; with five standard deviations and three photons on top, normal
    pixels pass them less often than once in a million frames.

    Args:
        samples: A few frames from all over the series, arrays [slow, fast].
        mask: True where the pixel is good.
        trusted: Lowest and highest trusted value.
    """
    dtype = samples[0].dtype
    largest = np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max
    level = _tile_level(samples, mask, trusted)
    # Twice the smallest negative value that noise alone gives, whatever the background
    low = max(trusted[0], -max(4.0, math.ceil(2 * math.sqrt(np.median(level) + 1))))
    hopeful = 1.5 * _largest_of_neighbours(level)
    high = np.ceil(hopeful + 5 * np.sqrt(hopeful) + 3)
    high = np.minimum(high, trusted[1]).astype(dtype)
    high = np.repeat(np.repeat(high, TILE, 0), TILE, 1)
    high = np.ascontiguousarray(high[: mask.shape[0], : mask.shape[1]])
    high[~mask] = largest
    return Background(level.astype(np.float32), int(low), high)


def _tile_level(
    samples: Sequence[np.ndarray], mask: np.ndarray, trusted: tuple[float, float]
) -> np.ndarray:
    """Level of each tile: the median over samples and neighbours, against spots."""
    around = []
    for sample in samples:
        good = (sample >= max(trusted[0], -1000)) & (sample <= trusted[1]) & mask
        tiles = _tile_sums(np.where(good, sample, 0).astype(np.float32))
        weights = _tile_sums(good.astype(np.float32))
        tiles = tiles / np.maximum(weights, 1)
        tiles[weights == 0] = np.nan
        around.append(_shifted(tiles))
    stack = np.concatenate(around)
    empty = np.isnan(stack).all(axis=0)
    stack[:, empty] = 0
    level = np.nanmedian(stack, axis=0)
    level[empty] = np.nan
    return _fill(level)


def _tile_sums(image: np.ndarray) -> np.ndarray:
    rows = np.add.reduceat(image, np.arange(0, image.shape[0], TILE), axis=0)
    return np.add.reduceat(rows, np.arange(0, image.shape[1], TILE), axis=1)


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


# The value that almost all pixels have in some of the sums
_USUAL = {
    "n_outliers": 0,
    "n_isolated": 0,
    "n_untrusted": 0,
    "first_outlier": -1,
    "last_outlier": -1,
}


@dataclasses.dataclass(frozen=True)
class _Sparse:
    """An array that has the usual value but in some places, given by flat index."""

    shape: tuple[int, ...]
    usual: int
    index: np.ndarray
    values: np.ndarray

    def full(self) -> np.ndarray:
        array = np.full(self.shape, self.usual, self.values.dtype)
        array.reshape(-1)[self.index] = self.values
        return array


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
    n_untrusted: np.ndarray
    first_outlier: np.ndarray
    last_outlier: np.ndarray

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: what is the same almost everywhere is sent without it."""
        state = vars(self).copy()
        for name, usual in _USUAL.items():
            flat = state[name].reshape(-1)
            unusual = np.flatnonzero(flat != usual)
            if len(unusual) < flat.size // 8:
                state[name] = _Sparse(state[name].shape, usual, unusual, flat[unusual])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.full() if isinstance(value, _Sparse) else value)

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> PixelSums:
        def zeros(dtype, *more):
            return np.zeros((*more, *shape), dtype)

        return cls(
            0,
            0,
            zeros(np.float32),
            zeros(np.float32, 2),
            zeros(np.float32),
            zeros(np.float32, 2),
            zeros(np.uint16),
            zeros(np.uint16),
            zeros(np.uint16),
            np.full(shape, -1, np.int32),
            np.full(shape, -1, np.int32),
        )

    def rows(self, rows: slice) -> PixelSums:
        """The same for some rows; the arrays are views."""
        pair = ("largest", "largest_scatter")
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

    def add_block(self, rows: slice, sums: np.ndarray, scatter: np.ndarray) -> None:
        """Take in a block's sums and sums of squared deviations of some rows."""
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
        ):
            _insert(own, theirs[0])
            _insert(own, theirs[1])
        for name in ("n_outliers", "n_isolated", "n_untrusted"):
            _add_saturating(getattr(self, name), getattr(other, name))
        none = self.first_outlier < 0
        self.first_outlier[none] = other.first_outlier[none]
        np.maximum(self.last_outlier, other.last_outlier, out=self.last_outlier)


def _insert(largest: np.ndarray, values: np.ndarray) -> None:
    """Keep the two largest of three."""
    np.maximum(largest[1], np.minimum(largest[0], values), out=largest[1])
    np.maximum(largest[0], values, out=largest[0])


def _add_saturating(counts: np.ndarray, more: np.ndarray) -> None:
    room = np.iinfo(counts.dtype).max - counts
    counts += np.minimum(more, room)


class PixelAccumulator:
    """Adds frames of one panel to a PixelSums."""

    def __init__(
        self,
        background: Background,
        trusted: tuple[float, float],
        predicted: PredictedSpots | None = None,
    ) -> None:
        """Make room for the sums.

        Args:
            background: Of the panel.
            trusted: Lowest and highest trusted value.
            predicted: Where spots are expected: outliers there are no sign of a fault.
        """
        shape = background.high.shape
        self._background = background
        self._trusted = trusted
        self._predicted = predicted
        self._integer = background.high.dtype.kind in "iu"
        self.sums = PixelSums.empty(shape)
        self._rows = max(1, BAND // shape[1])
        self._n = 0
        normal = background.high[background.high < _largest(background.high.dtype)]
        reach = float(normal.max()) - background.low if normal.size else 0.0
        self._sum, self._square = (
            np.zeros(shape, self._accumulator_type(reach, power)) for power in (1, 2)
        )
        band = (self._rows, shape[1])
        self._scratch = np.empty(band, np.int32 if self._integer else np.float64)
        self._outlier = np.empty(band, bool)
        self._span = background.high
        if self._integer:
            # Values as far above the lowest as unsigned numbers: one comparison tests
            # both limits
            span = background.high.astype(np.int64) - background.low
            masked = background.high == np.iinfo(np.int32).max
            self._span = np.where(masked, np.iinfo(np.uint32).max, span).astype(
                np.uint32
            )

    def _accumulator_type(self, reach: float, power: int) -> type:
        if not self._integer:
            return np.float64
        # Blocks are not longer than this in any series that detectors take today
        return np.int32 if 5000 * reach**power < np.iinfo(np.int32).max else np.float64

    def add(self, frames: Sequence[np.ndarray], places: Sequence[int]) -> None:
        """Add frames; several at a time spare memory traffic.

        Args:
            frames: Arrays [slow, fast]; not changed.
            places: The place in the series of each.
        """
        self._n += len(frames)
        n_rows = self._background.high.shape[0]
        outliers: list[list[np.ndarray]] = [[] for _ in frames]
        for start in range(0, n_rows, self._rows):
            rows = slice(start, min(start + self._rows, n_rows))
            for values, found in zip(frames, outliers):
                where = self._add_band(values, rows)
                if where.size:
                    found.append(where + start * values.shape[1])
        for values, k, found in zip(frames, places, outliers):
            if found:
                self._look_at(values, np.concatenate(found), k)

    def _add_band(self, values: np.ndarray, rows: slice) -> np.ndarray:
        """Add a band of rows; returns the outliers in it, by flat index."""
        n = rows.stop - rows.start
        scratch, outlier = self._scratch[:n], self._outlier[:n]
        np.subtract(values[rows], self._background.low, out=scratch)
        if self._integer:
            np.greater(scratch.view(np.uint32), self._span[rows], out=outlier)
        else:
            # NaN is neither: an outlier
            np.less_equal(values[rows], self._span[rows], out=outlier)
            outlier &= scratch >= 0
            np.logical_not(outlier, out=outlier)
        where = np.flatnonzero(outlier)
        if where.size:
            scratch.reshape(-1)[where] = -self._background.low
        self._sum[rows] += scratch
        np.multiply(scratch, scratch, out=scratch)
        self._square[rows] += scratch
        return where

    def _look_at(self, values: np.ndarray, where: np.ndarray, k: int) -> None:
        """Count outliers, and apart from them those whose neighbours are normal."""
        sums = self.sums
        slow, fast = np.divmod(where, values.shape[1])
        own = values[slow, fast]
        untrusted = ~((own >= self._trusted[0]) & (own <= self._trusted[1]))
        isolated = isolated_outliers(
            values, slow, fast, self._background, self._trusted
        )
        if self._predicted is not None:
            isolated &= ~np.isin(where, self._predicted.pixels(k))
        for counts, which in (
            (sums.n_outliers, where),
            (sums.n_isolated, where[isolated]),
            (sums.n_untrusted, where[untrusted]),
        ):
            flat = counts.reshape(-1)
            flat[which] += flat[which] < np.iinfo(flat.dtype).max
        first, last = sums.first_outlier.reshape(-1), sums.last_outlier.reshape(-1)
        alone = where[isolated]
        new = alone[first[alone] < 0]
        first[new] = k
        last[alone] = k

    def end_block(self) -> None:
        """End a block of time."""
        n = self._n
        if n == 0:
            return
        low = self._background.low
        for start in range(0, len(self._sum), self._rows):
            rows = slice(start, start + self._rows)
            total = self._sum[rows].astype(np.float64)
            scatter = self._square[rows] - total * total / n
            if self._integer:
                # Sums of whole numbers are exact; what masked pixels hold does not matter
                scatter = np.rint(np.maximum(scatter, 0))
            self.sums.add_block(
                rows,
                (total + n * low).astype(np.float32),
                scatter.astype(np.float32),
            )
        self.sums.n_frames += n
        self.sums.n_blocks += 1
        self._sum[:] = 0
        self._square[:] = 0
        self._n = 0


def _largest(dtype: np.dtype):
    return np.finfo(dtype).max if dtype.kind == "f" else np.iinfo(dtype).max


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
    around = np.zeros(len(slow), np.float32)
    known = np.zeros(len(slow), np.float32)
    n_slow, n_fast = values.shape
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            if i == 0 and j == 0:
                continue
            s, f = slow + i, fast + j
            inside = (s >= 0) & (s < n_slow) & (f >= 0) & (f < n_fast)
            s, f = np.where(inside, s, slow), np.where(inside, f, fast)
            value = values[s, f]
            inside &= (value >= background.low) & (value <= trusted[1])
            inside &= background.high[s, f] < _largest(background.high.dtype)
            around += np.where(inside, value - level, 0)
            known += inside
    own = np.clip(values[slow, fast].astype(np.float64), trusted[0], trusted[1])
    excess = np.abs(own - level)
    # At an edge as much is missing of a spot as of its surroundings
    around *= 8 / np.maximum(known, 1)
    # Two standard deviations of the background around a fault, so that noise does not
    # make a spot of it
    noise = 2 * np.sqrt(8 * level)
    return around <= ISOLATED_SHARE * excess + np.minimum(noise, 0.3 * excess)
