from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.pixel_verdict import pixel_verdict
from dials_jungfrau_qc.algorithms.value_counts import count_values


@pytest.mark.parametrize(
    "values, expected",
    [
        ([3, 5, 18], "The highest pixel has 18 counts, below the 19 to 25"),
        ([3, 22, 40], "1 pixels have 19 to 25 counts"),
        ([22] * 100, "Look for a dip, a bump or a step at 19 to 25 counts"),
        ([30, 9500], "1 pixels have 8000 counts or more, the highest 9500"),
        ([-1, 30], "1 pixels are negative"),
        ([30, np.nan], "1 pixels are not finite"),
        ([np.nan], "No pixel has a finite value"),
    ],
)
def test_words(values, expected):
    assert expected in pixel_verdict([count_values(np.array(values, float))])


def test_no_pixels():
    assert "only intensities" in pixel_verdict([])
