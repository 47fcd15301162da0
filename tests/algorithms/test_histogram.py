from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dials_jungfrau_qc.algorithms.histogram import (
    SMALLEST,
    bin_edges,
    logarithmic_edges,
    logarithmic_histogram,
    pixel_histogram,
    widening_histogram,
)
from dials_jungfrau_qc.algorithms.value_counts import count_values


@settings(max_examples=100)
@given(data=st.data(), low=st.sampled_from([0.0, -3.5, 7.0]))
@pytest.mark.parametrize("width, n_bins", [(1.0, 40), (0.1, 33), (1 / 3, 70), (250, 9)])
def test_equals_flex_histogram(width, n_bins, low, data):
    from dials.array_family import flex

    high = low + width * n_bins
    # Values in and around the range, and in and around the tolerance at its ends
    near = st.sampled_from([0.0, 5e-5, 9.9e-5, 1.01e-4, 2e-4])
    ends = st.builds(
        lambda end, sign, x: end + sign * x * width,
        st.sampled_from([low, high]),
        st.sampled_from([-1, 1]),
        near,
    )
    edges = st.integers(-2, n_bins + 2).map(lambda i: low + i * width)
    values = data.draw(
        hnp.arrays(
            np.float64,
            st.integers(0, 30),
            elements=st.one_of(ends, edges, st.floats(low - width, high + width)),
        )
    )
    reference = flex.histogram(
        flex.double(values.tolist()), data_min=low, data_max=high, n_slots=n_bins
    )
    found = pixel_histogram(count_values(values), low, high, n_bins)
    assert found.counts.tolist() == list(reference.slots())
    assert found.centres.tolist() == list(reference.slot_centers())
    assert found.n_below + found.n_above == reference.n_out_of_slot_range()
    assert found.n_below == np.count_nonzero(values < low - width * 1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 12000, 0),
        (5, 5, 10),
        (7, 3, 10),
        (0, float("inf"), 5),
        (1e17, 1e17 + 32, 64),
    ],
)
def test_ranges_that_make_no_sense(arguments):
    with pytest.raises(ValueError):
        bin_edges(*arguments)


@given(
    hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(-10, 1e7)),
    st.integers(1, 40),
)
def test_logarithmic_bins_take_every_value_but_the_smallest(values, bins_per_decade):
    edges = logarithmic_edges(values, bins_per_decade, None, None)
    histogram = logarithmic_histogram(values, edges)
    assert histogram.counts.sum() == np.count_nonzero(values >= SMALLEST)
    assert histogram.n_below == np.count_nonzero(values < SMALLEST)
    assert histogram.n_above == 0
    np.testing.assert_allclose(np.diff(np.log10(edges)), 1 / bins_per_decade)


def test_logarithmic_bins_share_their_edges():
    one = logarithmic_edges(np.array([3.0, 500.0]), 20, None, None)
    other = logarithmic_edges(np.array([40.0, 8000.0]), 20, None, None)
    common = [e for e in one if other[0] <= e <= other[-1]]
    np.testing.assert_allclose(common, other[: len(common)])


@pytest.mark.parametrize("minimum, maximum", [(0.0, 10.0), (100.0, 10.0)])
def test_logarithmic_ranges_that_make_no_sense(minimum, maximum):
    with pytest.raises(ValueError, match="positive and in order"):
        logarithmic_edges(np.empty(0), 20, minimum, maximum)


@given(hnp.arrays(np.int64, st.integers(0, 60), elements=st.integers(-5, 20000)))
def test_widening_bins_take_every_count_once(values):
    histogram = widening_histogram(count_values(values))
    assert histogram.counts.sum() == np.count_nonzero(values >= 1)
    assert histogram.n_below == np.count_nonzero(values < 1)
    assert histogram.n_above == 0
    assert (
        histogram.counts.tolist() == np.histogram(values, histogram.edges)[0].tolist()
    )


def test_widening_bins_hold_one_count_each_at_the_switch():
    histogram = widening_histogram(count_values(np.arange(1, 12000)))
    narrow = np.diff(histogram.edges)[histogram.edges[:-1] < 17]
    assert (narrow == 1).all()
    assert histogram.counts.sum() == 11999
