"""Numbers as text of fixed width."""

from __future__ import annotations

import io

import numpy as np
import pytest

from dials_jungfrau_qc.io import fixed_width
from dials_jungfrau_qc.io.fixed_width import fixed_width_text


def test_numbers_come_back():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400) * 10 ** rng.uniform(-5, 8, 400)
    whole = rng.integers(-300, 300, 400)

    text = fixed_width_text([(values, 4), (whole, 0)])

    lines = text.splitlines()
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
    text = fixed_width_text([(np.array([1.5, value]), 2)])
    assert [line.strip() for line in text.splitlines()] == ["1.50", "nan"]


def test_blocks_have_one_width(monkeypatch):
    monkeypatch.setattr(fixed_width, "_ROWS", 3)
    values = np.arange(-5.0, 200.0, 13.25)
    table = np.loadtxt(io.StringIO(fixed_width_text([(values, 3), (values, 3)])))
    assert np.array_equal(table[:, 1], values)


def test_no_numbers():
    assert fixed_width_text([(np.empty(0), 2)]) == ""
