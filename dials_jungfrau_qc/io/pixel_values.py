"""Pixel values under the spots of a reflection table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from dials_jungfrau_qc.algorithms.value_counts import (
    ValueCounts,
    count_values_by_group,
    merge_counts,
)
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.reflection_file import ReflectionFile
from dials_jungfrau_qc.io.shoebox_blob import FOREGROUND, VALID

PIXEL_CHOICES = {"foreground": FOREGROUND, "valid": VALID, "all": None}

NO_SHOEBOXES = (
    "dials.find_spots writes them (output.shoeboxes=True), dials.index and dials.refine "
    "keep them, and dials.integrate keeps them only when asked to with its debug options: "
    "give indexed.refl or refined.refl"
)


@dataclasses.dataclass(frozen=True)
class TrustedLimits:
    """The trusted range of each reflection's panel.

    Attributes:
        low: Lower limit, shape (n,).
        high: Upper limit, shape (n,).
        inclusive: Whether the limits themselves are trusted.
    """

    low: np.ndarray
    high: np.ndarray
    inclusive: bool


@dataclasses.dataclass(frozen=True)
class PixelValues:
    """Pixel values of the reflections of one table.

    Attributes:
        counts: The counted values of each group, in the order of the groups.
        maximum: Highest value among the pixels of each reflection, shape (n,); NaN where
            no pixel was counted.
        shoebox_sum: Foreground minus background of each reflection, shape (n,), if it
            was asked for.
        n_untrusted: Pixels outside the trusted range in each group, shape (g,), if the
            range is known.
        n_at_maximum: Pixels equal to the upper limit in each group, shape (g,).
        untrusted: Whether a reflection has pixels outside the trusted range, shape (n,).
        at_maximum: Whether it has pixels equal to the upper limit, shape (n,).
    """

    counts: list[ValueCounts]
    maximum: np.ndarray
    shoebox_sum: np.ndarray | None = None
    n_untrusted: np.ndarray | None = None
    n_at_maximum: np.ndarray | None = None
    untrusted: np.ndarray | None = None
    at_maximum: np.ndarray | None = None


def read_pixel_values(
    table: ReflectionFile,
    rows: np.ndarray,
    group_of_row: np.ndarray,
    n_groups: int,
    pixels: str = "foreground",
    trusted: TrustedLimits | None = None,
    sum_shoeboxes: bool = False,
    progress: Callable[[int], object] = lambda n_rows: None,
) -> PixelValues:
    """Count the pixel values in the shoeboxes of reflections.

    Args:
        table: The reflection table.
        rows: The reflections, ascending rows, shape (n,).
        group_of_row: The group of each, from 0, shape (n,).
        n_groups: The number of groups.
        pixels: "foreground", "valid" or "all", by the bits of the shoebox mask.
        trusted: The trusted range of each reflection, if it is known.
        sum_shoeboxes: Also add up foreground minus background.
        progress: Called with the number of rows done since the last call.

    Raises:
        InputError: There are no shoeboxes, or they hold no pixels.
    """
    if "shoebox" not in table.column_names:
        raise InputError(
            f"{table.path}: the reflections have no shoeboxes: {NO_SHOEBOXES}"
        )
    bit = PIXEL_CHOICES[pixels]
    parts: list[list[ValueCounts]] = [[] for _ in range(n_groups)]
    limits = _LimitCounter(trusted, group_of_row, n_groups) if trusted else None
    sums = np.zeros(len(rows)) if sum_shoeboxes else None
    maximum = np.full(len(rows), np.nan)
    n_pixels, done = 0, 0
    for block in table.iter_shoeboxes(rows, background=sum_shoeboxes):
        n_pixels += block.data.size
        reflection = np.searchsorted(rows, block.rows)
        chosen = None if bit is None else (block.mask & bit).astype(bool)
        values = block.data if chosen is None else block.data[chosen]
        if n_groups == 1:
            pixel_group = np.zeros(1, dtype=np.int64).repeat(values.size)
        else:
            pixel_group = np.repeat(group_of_row[reflection], block.sizes)
            if chosen is not None:
                pixel_group = pixel_group[chosen]
        for group, counted in count_values_by_group(values, pixel_group).items():
            parts[group].append(counted)
        maximum[reflection] = maximum_by_shoebox(block.data, block.sizes, chosen)
        if limits is not None:
            limits.add(reflection, block.sizes, block.data, chosen)
        if sums is not None:
            signal = np.where(block.mask & FOREGROUND, block.data - block.background, 0)
            sums[reflection] = sum_by_shoebox(signal, block.sizes)
        last = int(block.rows.max()) + 1
        progress(last - done)
        done = last
    if not n_pixels:
        raise InputError(f"{table.path}: the shoeboxes hold no pixels: {NO_SHOEBOXES}")
    counts = [merge_counts(part) for part in parts]
    if limits is None:
        return PixelValues(counts, maximum, sums)
    return PixelValues(
        counts,
        maximum,
        sums,
        limits.n_untrusted,
        limits.n_at_maximum,
        limits.untrusted,
        limits.at_maximum,
    )


class _LimitCounter:
    """Pixels and reflections outside and at the end of the trusted range."""

    def __init__(self, trusted: TrustedLimits, group_of_row: np.ndarray, n_groups: int):
        self._trusted = trusted
        self._group_of_row = group_of_row
        self.n_untrusted = np.zeros(n_groups, dtype=np.int64)
        self.n_at_maximum = np.zeros(n_groups, dtype=np.int64)
        self.untrusted = np.zeros(len(group_of_row), dtype=bool)
        self.at_maximum = np.zeros(len(group_of_row), dtype=bool)

    def add(
        self,
        reflection: np.ndarray,
        sizes: np.ndarray,
        data: np.ndarray,
        chosen: np.ndarray | None,
    ) -> None:
        low = np.repeat(self._trusted.low[reflection], sizes)
        high = np.repeat(self._trusted.high[reflection], sizes)
        if self._trusted.inclusive:
            outside = (data < low) | (data > high)
        else:
            outside = (data <= low) | (data >= high)
        groups = self._group_of_row[reflection]
        for pixels, total, touched in (
            (outside, self.n_untrusted, self.untrusted),
            (data == high, self.n_at_maximum, self.at_maximum),
        ):
            if chosen is not None:
                pixels = pixels & chosen
            n = sum_by_shoebox(pixels, sizes)
            np.add.at(total, groups, n.astype(np.int64))
            touched[reflection] = n > 0


def sum_by_shoebox(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sums over consecutive pieces of an array.

    Args:
        values: Shape (sum(sizes),).
        sizes: Length of each piece, shape (n,); pieces may be empty.

    Returns:
        Shape (n,) float64.
    """
    cumulative = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    ends = np.cumsum(sizes)
    return cumulative[ends] - cumulative[ends - sizes]


def maximum_by_shoebox(
    values: np.ndarray, sizes: np.ndarray, chosen: np.ndarray | None
) -> np.ndarray:
    """Highest chosen value in consecutive pieces of an array.

    Args:
        values: Shape (sum(sizes),).
        sizes: Length of each piece, shape (n,); pieces may be empty.
        chosen: Which values count, same shape as values; all if None.

    Returns:
        Shape (n,) float64; NaN where none was chosen or finite.
    """
    if chosen is not None:
        values = np.where(chosen, values, np.float32(-np.inf))
    maximum = np.full(len(sizes), np.nan)
    filled = np.flatnonzero(sizes)
    if len(filled):
        starts = (np.cumsum(sizes) - sizes)[filled]
        maximum[filled] = np.fmax.reduceat(values, starts)
    maximum[~np.isfinite(maximum)] = np.nan
    return maximum
