"""Columns of numbers as text of fixed width, whole columns at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

# Digits that are looked up at once
_CHUNK = 4
_SPACE, _MINUS, _POINT, _END = b" -.\n"
# Larger numbers have more digits than a float64 knows
_LARGEST = 1e15
_PIECE = 8192


@dataclasses.dataclass(frozen=True)
class NumberFormat:
    """How a column of numbers is written.

    Attributes:
        whole: Digits before the point.
        decimals: Digits after it.
    """

    whole: int
    decimals: int

    @property
    def width(self) -> int:
        """Characters, with a sign and a space before the number."""
        return 2 + self.whole + self.decimals + (self.decimals > 0)


def number_format(values: np.ndarray, decimals: int) -> NumberFormat:
    """The narrowest format that all numbers fit into.

    Args:
        values: Of any shape.
        decimals: Digits after the point.
    """
    scaled, _ = _scaled(values, decimals)
    largest = int(scaled.max(initial=0)) // 10**decimals
    # Room for nan
    return NumberFormat(max(len(str(largest)), 3), decimals)


class FixedWidthLines:
    """Lines of numbers, right-aligned and divided by spaces."""

    def __init__(self, n_lines: int, formats: Sequence[NumberFormat]):
        """Make lines in which all columns are empty.

        Args:
            n_lines: How many.
            formats: Of the columns.
        """
        self._formats = list(formats)
        # No space goes before the first column
        self._ends = (np.cumsum([column.width for column in formats]) - 1).tolist()
        self._characters = np.full((n_lines, self._ends[-1] + 1), _SPACE, np.uint8)
        self._characters[:, -1] = _END

    def fill(self, column: int, values: np.ndarray) -> None:
        """Write the numbers of a column.

        Args:
            column: Which one.
            values: Numbers that its format has room for, shape (lines,). What is not
                finite or too large for its digits to mean anything becomes nan.
        """
        form, end = self._formats[column], self._ends[column]
        begin = end - form.width
        scaled, known = _scaled(values, form.decimals)
        self._characters[:, max(begin, 0) : begin + 2] = _SPACE
        whole = scaled
        if form.decimals:
            whole = scaled // 10**form.decimals
            self._put_digits(end, form.decimals, scaled - whole * 10**form.decimals)
            end -= form.decimals + 1
            self._characters[:, end] = _POINT
        self._put_digits(end, form.whole, whole, spaces=True)
        negative = np.flatnonzero((np.asarray(values) < 0) & (scaled > 0))
        powers = 10 ** np.arange(1, form.whole, dtype=np.int64)
        n_shown = 1 + np.searchsorted(powers, whole[negative], side="right")
        self._characters[negative, end - 1 - n_shown] = _MINUS
        if not known.all():
            unknown, end = np.flatnonzero(~known), self._ends[column]
            self._characters[unknown, max(begin, 0) : end] = _SPACE
            self._characters[unknown, end - 3 : end] = list(b"nan")

    def _put_digits(
        self, end: int, n_digits: int, values: np.ndarray, spaces: bool = False
    ) -> None:
        """Write whole numbers, with zeros or spaces before them.

        Args:
            end: Where in the line they end.
            n_digits: How many there are.
            values: Not negative, shape (lines,).
            spaces: Whether spaces come before them.
        """
        n_lines, width = self._characters.shape
        for i, n in enumerate(_chunks(n_digits) if n_lines else []):
            left = values // 10**n
            which = values - left * 10**n
            if spaces:
                which += (left == 0) * 10**n
            items = np.ndarray(
                n_lines, f"V{n}", self._characters, offset=end - n, strides=width
            )
            items[:] = _texts(n, i == 0)[which]
            values, end = left, end - n

    def text(self, lines: np.ndarray | slice = slice(None)) -> memoryview:
        """Some of the lines, or all, as they are to be written to a file.

        Args:
            lines: Which ones, as indices or bool.
        """
        return memoryview(self._characters[lines].reshape(-1))


def fixed_width_text(
    columns: Sequence[tuple[np.ndarray, int]],
) -> Iterator[memoryview]:
    """Lines of numbers, right-aligned and divided by spaces, some thousands at a time.

    Args:
        columns: Numbers, shape (n,), and how many decimals they get. What is not finite
            or too large for its digits to mean anything becomes nan.
    """
    formats = [number_format(values, decimals) for values, decimals in columns]
    for piece in pieces(len(columns[0][0])):
        lines = FixedWidthLines(piece.stop - piece.start, formats)
        for i, (values, _) in enumerate(columns):
            lines.fill(i, values[piece])
        yield lines.text()


def pieces(n_lines: int) -> Iterator[slice]:
    """Lines in pieces that fit into the cache of a processor."""
    for start in range(0, n_lines, _PIECE):
        yield slice(start, min(start + _PIECE, n_lines))


def _scaled(values: np.ndarray, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """Absolute numbers in units of their last decimal, and which are numbers."""
    size = np.abs(np.asarray(values, dtype=np.float64))
    if decimals:
        size *= 10.0**decimals
    known = size < _LARGEST
    if not known.all():
        size = np.where(known, size, 0)
    return np.rint(size).astype(np.int64), known


def _chunks(n_digits: int) -> list[int]:
    """Digits of each chunk, the last ones first."""
    full, rest = divmod(n_digits, _CHUNK)
    return [_CHUNK] * full + [rest] * (rest > 0)


@functools.lru_cache
def _texts(n: int, last: bool) -> np.ndarray:
    """The text of all numbers of n digits as one item each.

    With zeros before them first, then, from 10**n on, with spaces.

    Args:
        n: Digits.
        last: Whether 0 after spaces is shown as a digit, and not as one more space.
    """
    texts = [b"%0*d" % (n, i) for i in range(10**n)]
    texts += [b"%*d" % (n, i) for i in range(10**n)]
    if not last:
        texts[10**n] = b" " * n
    return np.array(texts, dtype=f"S{n}").view(f"V{n}")
