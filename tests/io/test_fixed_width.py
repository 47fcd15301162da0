"""Numbers as text of fixed width."""

from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.io import fixed_width
from dials_jungfrau_qc.io.fixed_width import (
    FixedWidthLines,
    fixed_width_text,
    number_format,
)


def lines_of(columns) -> list[str]:
    return b"".join(fixed_width_text(columns)).decode("ascii").splitlines()


def test_numbers_come_back():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400) * 10 ** rng.uniform(-5, 8, 400)
    whole = rng.integers(-300, 300, 400)

    lines = lines_of([(values, 4), (whole, 0)])

    assert len({len(line) for line in lines}) == 1
    for line, value, number in zip(lines, values, whole):
        first, second = line.split()
        expected = f"{value:.4f}"
        if float(expected) == 0:
            expected = "0.0000"
        assert first == expected
        assert second == str(number)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e18])
def test_what_is_no_number_is_nan(value):
    lines = lines_of([(np.array([1.5, value]), 2), (np.array([value, 10.0]), 0)])
    assert [line.split() for line in lines] == [["1.50", "nan"], ["nan", "10"]]


@pytest.mark.parametrize("decimals", range(7))
def test_any_number_of_digits(decimals):
    values = np.array([10.0**i + part for i in range(-3, 8) for part in (0, -0.5, 7)])
    values = np.concatenate([values, -values])
    for line, value in zip(lines_of([(values, decimals)]), values):
        assert float(line) == pytest.approx(value, abs=0.51 * 10.0**-decimals)
        assert len(line.strip().partition(".")[2]) == decimals


def test_columns_can_be_filled_again():
    first, second = np.array([-1234.5, 7.0, np.nan]), np.array([3.25, -88.0, -0.5])
    lines = FixedWidthLines(3, [number_format(first, 2), number_format(first, 1)])
    lines.fill(1, first)
    lines.fill(0, first)
    lines.fill(0, second)

    text = bytes(lines.text(np.array([True, False, True]))).decode()

    assert text == "    3.25 -1234.5\n   -0.50     nan\n"


def test_pieces_have_one_width(monkeypatch):
    monkeypatch.setattr(fixed_width, "_PIECE", 3)
    values = np.arange(-5.0, 200.0, 13.25)
    lines = lines_of([(values, 3), (values, 3)])
    assert np.array_equal(np.loadtxt(lines)[:, 1], values)
    assert len({len(line) for line in lines}) == 1


def test_no_numbers():
    assert lines_of([(np.empty(0), 2)]) == []
