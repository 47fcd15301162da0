"""What a mask costs in reflections."""

from __future__ import annotations

import numpy as np


def boxes_touched(bad: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How many bad pixels lie in each box.

    Args:
        bad: True where bad, array [slow, fast].
        boxes: fast from, fast to, slow from, slow to, half-open, int array (n, 4).

    Returns:
        Int array (n,); what lies outside of the panel counts for nothing.
    """
    sums = np.pad(
        np.cumsum(np.cumsum(bad, axis=0, dtype=np.int64), axis=1), ((1, 0),) * 2
    )
    f0, f1 = (np.clip(boxes[:, i], 0, bad.shape[1]) for i in (0, 1))
    s0, s1 = (np.clip(boxes[:, i], 0, bad.shape[0]) for i in (2, 3))
    return sums[s1, f1] - sums[s0, f1] - sums[s1, f0] + sums[s0, f0]
