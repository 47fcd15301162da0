from __future__ import annotations

import numpy as np

from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots
from dials_jungfrau_qc.io.touched import touched_predictions

SHAPE = (40, 50)


def spots_at(places, numbers=range(1, 11)):
    """Spots at (slow, fast, first image, last image)."""
    slow, fast, first, last = np.array(places).T
    return PredictedSpots(
        slow, fast, first, last, np.array(numbers), radius=3, shape=SHAPE
    )


def test_predictions_that_bad_pixels_touch():
    bad = np.zeros(SHAPE, bool)
    bad[10, 20] = True
    spots = spots_at(
        [
            (10, 20, 1, 3),
            (12, 18, 2, 4),
            (13, 20, 2, 4),  # three pixels away
            (10, 20, 11, 13),  # after the last image
            (-1, 20, 1, 3),  # beside the panel
            (30, 30, 10, 12),
        ]
    )

    cost = touched_predictions("x.nxs", [spots], [bad])

    assert (cost.n_reflections, cost.n_spot, cost.n_box) == (4, 2, None)
    assert (cost.name, cost.source) == ("x.nxs", "predictions")


def test_panels_are_kept_apart():
    bad = np.zeros(SHAPE, bool)
    bad[10, 20] = True

    spots = [spots_at([(10, 20, 1, 3)]), spots_at([(10, 20, 1, 3), (5, 5, 1, 3)])]
    cost = touched_predictions("x.nxs", spots, [~bad & False, bad])

    assert (cost.n_reflections, cost.n_spot) == (3, 1)
