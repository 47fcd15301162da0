"""What is known of the intensities of a set of spots."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class IntensityCounts:
    """Spot intensities that have no place in a logarithmic histogram, counted.

    Attributes:
        values: The finite intensities, shape (n,), counts.
        n_not_positive: How many of them are zero or negative.
        n_not_finite: How many more are NaN or infinite.
        n_not_integrated: How many more reflections have no integrated intensity.
    """

    values: np.ndarray
    n_not_positive: int
    n_not_finite: int
    n_not_integrated: int


def count_intensities(
    intensities: np.ndarray, integrated: np.ndarray | None
) -> IntensityCounts:
    """Divide intensities into usable and unusable ones.

    Args:
        intensities: Shape (n,), counts.
        integrated: Whether each was integrated, shape (n,); None where the question
            does not arise, as for the sums of spot finding.
    """
    n_not_integrated = 0
    if integrated is not None:
        n_not_integrated = int(np.count_nonzero(~integrated))
        intensities = intensities[integrated]
    finite = np.isfinite(intensities)
    values = intensities[finite]
    return IntensityCounts(
        values=values,
        n_not_positive=int(np.count_nonzero(values <= 0)),
        n_not_finite=int(np.count_nonzero(~finite)),
        n_not_integrated=n_not_integrated,
    )
