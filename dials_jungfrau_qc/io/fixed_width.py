"""Columns of numbers as text of fixed width, whole columns at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# The digits of all numbers of four digits
_CHUNK = 4
_FOUR_DIGITS = np.array([list(b"%04d" % i) for i in range(10**_CHUNK)], dtype=np.uint8)
_ZERO, _SPACE, _MINUS, _POINT, _END = b"0 -.\n"
# Larger numbers have more digits than a float64 knows
_LARGEST = 1e15
_ROWS = 50_000


def fixed_width_text(columns: Sequence[tuple[np.ndarray, int]]) -> str:
    """Lines of numbers, right-aligned and divided by spaces.

    Args:
        columns: Numbers, shape (n,), and how many decimals they get. What is not finite
            or too large for its digits to mean anything becomes nan.
    """
    n = len(columns[0][0])
    widths = [_n_digits(values, decimals) for values, decimals in columns]
    parts = []
    for start in range(0, n, _ROWS):
        fields = [
            _field(values[start : start + _ROWS], decimals, n_digits)
            for (values, decimals), n_digits in zip(columns, widths)
        ]
        fields.append(np.full((len(fields[0]), 1), _END, dtype=np.uint8))
        lines = np.concatenate(fields, axis=1)[:, 1:]
        parts.append(np.ascontiguousarray(lines).tobytes().decode("ascii"))
    return "".join(parts)


def _scaled(values: np.ndarray, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    """Absolute numbers in units of their last decimal, and which are numbers."""
    size = np.abs(np.asarray(values, dtype=np.float64)) * 10.0**decimals
    known = size < _LARGEST
    return np.rint(np.where(known, size, 0)).astype(np.int64), known


def _n_digits(values: np.ndarray, decimals: int) -> int:
    scaled, _ = _scaled(values, decimals)
    return max(len(str(int(scaled.max(initial=0)))), decimals + 1, 3)


def _field(values: np.ndarray, decimals: int, n_digits: int) -> np.ndarray:
    """Characters of one column, with a space before it, shape (n, width)."""
    scaled, known = _scaled(values, decimals)
    n = len(scaled)
    # Room for a space and the sign
    whole = n_digits - decimals
    field = np.full((n, 2 + n_digits + (decimals > 0)), _SPACE, dtype=np.uint8)
    digits = np.empty((n, -(-n_digits // _CHUNK) * _CHUNK), dtype=np.uint8)
    left = scaled
    for end in range(digits.shape[1], 0, -_CHUNK):
        left, chunk = np.divmod(left, 10**_CHUNK)
        digits[:, end - _CHUNK : end] = _FOUR_DIGITS[chunk]
    digits = digits[:, -n_digits:]
    field[:, 2 : 2 + whole] = digits[:, :whole]
    if decimals:
        field[:, 2 + whole] = _POINT
        field[:, 3 + whole :] = digits[:, whole:]
    # One digit stays before the point
    powers = 10 ** np.arange(decimals + 1, n_digits, dtype=np.int64)
    n_shown = 1 + np.searchsorted(powers, scaled, side="right")
    for place in range(whole - 1):
        field[n_shown < whole - place, 2 + place] = _SPACE
    negative = np.flatnonzero((values < 0) & (scaled > 0))
    field[negative, 1 + whole - n_shown[negative]] = _MINUS
    field[~known] = _SPACE
    field[~known, -3:] = list(b"nan")
    return field
