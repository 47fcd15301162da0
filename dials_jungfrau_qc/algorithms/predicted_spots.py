"""Where and when Bragg spots are expected on a panel, for what must not be blamed on it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class PredictedSpots:
    """Predicted positions on one panel, int arrays (n,), and the pixels around them.

    Attributes:
        slow, fast: The pixel of each prediction, which may lie just off the panel.
        first, last: Numbers of the first and last image that may show it.
        numbers: Image number of each frame of the series, shape (m,).
        radius: Pixels around the prediction that may be part of the spot.
        shape: Of the panel, (slow, fast).
    """

    slow: np.ndarray
    fast: np.ndarray
    first: np.ndarray
    last: np.ndarray
    numbers: np.ndarray
    radius: float
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not 0 <= self.radius < math.inf:
            raise ValueError("the radius of predicted spots must not be negative")

    def pixels(self, k: int) -> np.ndarray:
        """Flat indices of the pixels of spots on one frame, in no order.

        Args:
            k: Its place in the series.
        """
        number = self.numbers[k]
        on_frame = np.flatnonzero((self.first <= number) & (number <= self.last))
        return self._around(on_frame)[0]

    def frame_counts(self) -> np.ndarray:
        """In how many frames a spot is predicted at each pixel, uint16 [slow, fast].

        Frames count once for each of the spots that overlap.
        """
        n_frames = self._n_frames()
        index, spot = self._around(np.flatnonzero(n_frames))
        counts = np.bincount(
            index, n_frames[spot], minlength=self.shape[0] * self.shape[1]
        )
        return counts.clip(max=65535).astype(np.uint16).reshape(self.shape)

    def on_frames(self) -> np.ndarray:
        """Which of the spots are on the panel and on any of the frames, bool array (n,)."""
        inside = (self.slow >= 0) & (self.slow < self.shape[0])
        inside &= (self.fast >= 0) & (self.fast < self.shape[1])
        return inside & (self._n_frames() > 0)

    def _n_frames(self) -> np.ndarray:
        ordered = np.sort(self.numbers)
        return np.searchsorted(ordered, self.last, "right") - np.searchsorted(
            ordered, self.first, "left"
        )

    def _around(self, spots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of the pixels around some spots, and the spot of each."""
        reach = math.floor(self.radius)
        i, j = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
        near = i * i + j * j <= self.radius**2
        slow = (self.slow[spots, None] + i[near]).reshape(-1)
        fast = (self.fast[spots, None] + j[near]).reshape(-1)
        inside = (slow >= 0) & (slow < self.shape[0])
        inside &= (fast >= 0) & (fast < self.shape[1])
        index = slow[inside] * self.shape[1] + fast[inside]
        return index, np.repeat(spots, near.sum())[inside]
