from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.labels import without_gaps


@pytest.mark.parametrize("labels", [[], [0], [7, 7, 3, 0, 3, 9], [5, 4, 3]])
def test_labels_are_numbered_in_their_order(labels):
    labels = np.array(labels, dtype=np.int64)
    unique, expected = np.unique(labels, return_inverse=True)

    found, n = without_gaps(labels)

    assert n == len(unique)
    assert np.array_equal(found, expected)
