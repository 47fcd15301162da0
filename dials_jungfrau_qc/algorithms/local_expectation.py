"""What a pixel should show, from those near it at the same scattering angle.

A panel is cut into squares, and the pixels of a square, in order of their scattering
angle, into arcs of equal numbers of pixels: stretches of a ring about as long as the
square and no wider than a pixel. Ice and solvent rings do not vary along an arc, and a median over
it takes no notice of spots and faults.
"""

from __future__ import annotations

import dataclasses

import numpy as np

# Pixels in an arc; their median is known to 1.25 / sqrt(48) = 18 % of a pixel's scatter
ARC = 48
# Least pixels along the side of a square. Only in its corners are arcs thicker than a pixel
SQUARE = 96
# Median absolute deviation to standard deviation of a normal distribution
MAD_TO_SIGMA = 1.4826


@dataclasses.dataclass(frozen=True)
class Arcs:
    """The good pixels of a panel, by arc.

    Attributes:
        members: Flat index of the pixels of each arc, shape (n, ARC). The last arc of a
            square reaches back into the one before.
        shape: Of the panel, (slow, fast).
    """

    members: np.ndarray
    shape: tuple[int, int]

    def gather(self, image: np.ndarray) -> np.ndarray:
        """The values of the pixels of each arc in an image [slow, fast], shape (n, ARC)."""
        return image.reshape(-1)[self.members]

    def image(self, values: np.ndarray) -> np.ndarray:
        """The image [slow, fast] of values of each pixel or arc; NaN without arc.

        Args:
            values: Shape (n, ARC) or (n, 1).
        """
        image = np.full(self.shape, np.nan, np.float32)
        image.reshape(-1)[self.members] = values
        return image


def median(values: np.ndarray) -> np.ndarray:
    """Median of each row, shape (n, 1); NaN is taken for large."""
    middle = values.shape[1] // 2
    parted = np.partition(values, (middle - 1, middle), axis=1)
    return (parted[:, middle - 1 : middle] + parted[:, middle : middle + 1]) / 2


def robust_scatter(deviations: np.ndarray) -> np.ndarray:
    """Standard deviation of each row of deviations from its median, shape (n, 1)."""
    return np.float32(MAD_TO_SIGMA) * median(np.abs(deviations))


def ring_arcs(mask: np.ndarray, angle: np.ndarray) -> Arcs:
    """Cut a panel into arcs.

    Pixels of squares with fewer good pixels than an arc has are in none.

    Args:
        mask: True where the pixel is good, array [slow, fast].
        angle: What grows with the scattering angle, same shape.
    """
    index, keys = _squares(mask, angle)
    # Sorting 16 bits takes a fifth of the time that sorting 32 takes
    order = np.argsort(keys, axis=1, kind="stable")
    ordered = np.take_along_axis(index, order, axis=1)
    n_good = (keys < _MASKED).sum(axis=1)
    starts = np.arange(0, keys.shape[1], ARC)[None, :]
    # The last arc of a square begins early enough to be full
    first = np.minimum(starts, n_good[:, None] - ARC)
    square, which = np.nonzero((starts < n_good[:, None]) & (n_good[:, None] >= ARC))
    places = first[square, which][:, None] + np.arange(ARC)
    return Arcs(ordered[square[:, None], places], mask.shape)


_MASKED = np.iinfo(np.uint16).max


def _squares(mask: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index and sorting key of the pixels of each square, shape (squares, pixels)."""
    slow, fast = mask.shape
    # Somewhat larger than SQUARE where that leaves no narrow strip at the edge
    n_slow, n_fast = max(1, slow // SQUARE), max(1, fast // SQUARE)
    height, width = -(-slow // n_slow), -(-fast // n_fast)

    def cut(image: np.ndarray, outside: float) -> np.ndarray:
        whole = np.full((n_slow * height, n_fast * width), outside, image.dtype)
        whole[:slow, :fast] = image
        squares = whole.reshape(n_slow, height, n_fast, width).swapaxes(1, 2)
        return squares.reshape(n_slow * n_fast, height * width)

    index = cut(np.arange(slow * fast, dtype=np.int32).reshape(slow, fast), 0)
    good = cut(mask, False)
    angles = cut(np.asarray(angle, np.float32), np.nan)
    low = np.nanmin(angles, axis=1, keepdims=True)
    high = np.nanmax(angles, axis=1, keepdims=True)
    scaled = (angles - low) * ((_MASKED - 1) / np.maximum(high - low, 1e-30))
    keys = np.full(angles.shape, _MASKED, np.uint16)
    keys[good] = scaled[good]
    return index, keys


def scattering_angle(
    d_matrix: np.ndarray,
    s0: np.ndarray,
    shape: tuple[int, int],
    pixel_size: np.ndarray,
    rows: slice = np.s_[:],
) -> np.ndarray:
    """What grows with the scattering angle of the pixels of some rows of a panel.

    Args:
        d_matrix: The panel's d matrix in mm, shape (3, 3).
        s0: Incident beam vector, shape (3,).
        shape: Of the panel, (slow, fast).
        pixel_size: (fast, slow) in mm.
        rows: The rows; what grows must be compared within these alone.

    Returns:
        The squared tangent of the scattering angle, or minus its cosine where some
        pixels scatter backwards, float32 array [slow, fast]. Neither takes the time of
        an arc tangent.
    """
    beam = np.asarray(s0, float) / np.linalg.norm(s0)
    # Two directions across the beam
    across = np.cross(beam, np.eye(3)[np.argmin(np.abs(beam))])
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(beam, across), beam])
    frame = axes @ np.asarray(d_matrix, float).reshape(3, 3)
    fast = ((np.arange(shape[1]) + 0.5) * pixel_size[0]).astype(np.float32)
    slow = ((np.arange(shape[0])[rows] + 0.5) * pixel_size[1]).astype(np.float32)
    x, y, z = (
        np.float32(row[0]) * fast[None, :]
        + (np.float32(row[1]) * slow + np.float32(row[2]))[:, None]
        for row in frame
    )
    across_squared = x * x + y * y
    if (z > 0).all():
        return across_squared / (z * z)
    return -z / np.sqrt(across_squared + z * z)
