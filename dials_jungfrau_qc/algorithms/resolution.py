"""Resolution of positions on the detector."""

from __future__ import annotations

import numpy as np


def resolution_at_pixels(
    d_matrices: np.ndarray,
    pixel_size: np.ndarray,
    s0: np.ndarray,
    panel: np.ndarray,
    xy: np.ndarray,
) -> np.ndarray:
    """Resolution d = 1 / |s1 - s0| of positions on the panels of a detector.

    The parallax of the sensor is left out: it moves a position by less than a pixel.

    Args:
        d_matrices: The panels' d matrices [fast, slow, origin] in mm, shape (p, 3, 3).
        pixel_size: Fast and slow pixel size of the panels in mm, shape (p, 2).
        s0: Incident beam vector of length 1 / wavelength, in 1/A, shape (3,).
        panel: The panel of each position, shape (n,).
        xy: Fast and slow position in pixels, shape (n, 2).

    Returns:
        d in A, shape (n,); infinite in the direct beam.
    """
    mm = np.ones((len(xy), 3))
    mm[:, :2] = xy * pixel_size[panel]
    lab = np.einsum("nij,nj->ni", d_matrices[panel], mm)
    length = np.linalg.norm(lab, axis=1)
    s1 = lab * (np.linalg.norm(s0) / np.where(length > 0, length, 1))[:, None]
    with np.errstate(divide="ignore"):
        return 1 / np.linalg.norm(s1 - s0, axis=1)
