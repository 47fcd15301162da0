from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dials_jungfrau_qc.algorithms.value_counts import (
    count_values,
    count_values_by_group,
    describe,
    merge_counts,
    percentile,
)

any_float = st.one_of(
    st.floats(width=32, allow_nan=True),
    st.integers(-5, 50).map(float),
    st.sampled_from([-(2.0**31), 32767.0, 0.5, float("nan"), float("inf")]),
)
arrays = hnp.arrays(np.float32, st.integers(0, 60), elements=any_float)


@given(arrays)
def test_counts_are_those_of_numpy(values):
    counted = count_values(values)
    finite = values[np.isfinite(values)]
    distinct, counts = np.unique(finite, return_counts=True)
    np.testing.assert_array_equal(counted.values, distinct)
    np.testing.assert_array_equal(counted.counts, counts)
    assert counted.n_not_finite == len(values) - len(finite)
    assert counted.n_finite == len(finite)


@given(arrays, st.data())
def test_groups_are_counted_apart_and_merge_to_the_whole(values, data):
    groups = data.draw(
        hnp.arrays(np.int64, len(values), elements=st.integers(0, 4)), label="groups"
    )
    by_group = count_values_by_group(values, groups)
    assert sorted(by_group) == sorted(set(groups.tolist()))
    for group, counted in by_group.items():
        expected = count_values(values[groups == group])
        np.testing.assert_array_equal(counted.values, expected.values)
        np.testing.assert_array_equal(counted.counts, expected.counts)
        assert counted.n_not_finite == expected.n_not_finite
    merged, whole = merge_counts(by_group.values()), count_values(values)
    np.testing.assert_array_equal(merged.values, whole.values)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert merged.n_not_finite == whole.n_not_finite


@settings(max_examples=200)
@given(
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.integers(-3, 30)),
    st.floats(0, 100),
)
def test_statistics_are_those_of_numpy(values, percent):
    counted = count_values(values)
    statistics = describe(counted)
    as_double = values.astype(float)
    assert statistics.n == len(values)
    assert statistics.n_zero == np.count_nonzero(values == 0)
    assert statistics.mean == pytest.approx(as_double.mean())
    assert statistics.median == np.median(as_double)
    assert statistics.p99_9 == pytest.approx(np.percentile(as_double, 99.9))
    assert statistics.maximum == as_double.max()
    assert percentile(counted, percent) == pytest.approx(
        np.percentile(as_double, percent)
    )


def test_nothing_to_describe():
    statistics = describe(count_values(np.array([np.nan, np.inf], dtype=np.float32)))
    assert statistics.n == 0
    assert np.isnan(statistics.median)
    assert merge_counts([]).n_finite == 0
