"""How the photons of a spot are spread over pixels, and what a gain switch makes of it.

A spot is a Gaussian on the detector and across images, integrated over pixels and
averaged over its position within a pixel. For a reflection of I photons that gives, as
curves against I, the share of its photons in pixels above the gain switch (phi), the
number of such pixels for each photon (nu), and what a detector that compresses or
saturates would lose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from dials_jungfrau_qc.algorithms.labels import without_gaps

# Positions within a pixel from its centre to its edge, which stand for all
_OFFSETS = (1 / 8, 3 / 8)
# Pixels with a smaller share than this never matter
_MINIMUM_SHARE = 3e-4
_EXTENT = 4.0
# Wider spots are taken for as wide as this: no pixel of theirs is bright
_WIDEST = 8.0
_CURVE_POINTS_A_DECADE = 12


@dataclasses.dataclass(frozen=True)
class SpotShares:
    """Shares of a spot's photons in its pixels, for one shape of spot.

    Attributes:
        shares: Share of each pixel, one row for each position, shape (positions, m).
        weight: Of each position; they add up to 1, shape (positions, 1).
        peak: Share of the brightest pixel, averaged over positions.
        mean: Share of the pixel that the average photon is in, sum of squares.
    """

    shares: np.ndarray
    weight: np.ndarray
    peak: float
    mean: float


def spot_shares(sigma_pixels: float, sigma_images: float) -> SpotShares:
    """Shares of the photons of a Gaussian spot in its pixels.

    Args:
        sigma_pixels: Standard deviation on the detector, pixels.
        sigma_images: Standard deviation across images.

    Raises:
        ValueError: A width is not positive.
    """
    if not (sigma_pixels > 0 and sigma_images > 0):
        raise ValueError(
            f"the widths of a spot must be positive, not {sigma_pixels} pixels and "
            f"{sigma_images} images"
        )
    sigma_pixels, sigma_images = min(sigma_pixels, _WIDEST), min(sigma_images, _WIDEST)
    on_detector = [_along(offset, sigma_pixels) for offset in _OFFSETS]
    across = [_along(offset, sigma_images) for offset in _OFFSETS]
    rows = [
        np.einsum("i,j,k->ijk", fast, slow, images).ravel()
        for index, fast in enumerate(on_detector)
        for slow in on_detector[index:]
        for images in across
    ]
    # Two unlike offsets stand for their exchange as well
    weights = [
        1.0 if i == j else 2.0
        for i in range(len(_OFFSETS))
        for j in range(i, len(_OFFSETS))
        for _ in across
    ]
    table = -np.sort(-np.array(rows), axis=1)
    table = table[:, table.max(axis=0) > min(_MINIMUM_SHARE, 0.03 * table.max())]
    share_of_row = np.array(weights) / np.sum(weights)
    return SpotShares(
        shares=table,
        weight=share_of_row[:, None],
        peak=float(share_of_row @ table[:, 0]),
        mean=float(share_of_row @ (table**2).sum(axis=1)),
    )


def _along(offset: float, sigma: float) -> np.ndarray:
    from scipy.special import ndtr

    half = int(np.ceil(_EXTENT * sigma + 0.5))
    edges = np.arange(-half, half + 1) + 0.5 - offset
    return np.diff(ndtr(edges / sigma))


@dataclasses.dataclass(frozen=True)
class SwitchModel:
    """Where pixels are in their second gain, and where they end.

    Attributes:
        position: Photons at which the typical pixel leaves its first gain.
        spread: Standard deviation of that between pixels, photons.
        second_position: Photons at which it leaves its second gain.
        second_spread: Standard deviation of that between pixels, photons.
        ceiling: Photons at which the converter has run out of codes.
    """

    position: float
    spread: float
    second_position: float
    second_spread: float
    ceiling: float


# Energy in a pixel at which it leaves its first and its second gain, keV, and the
# standard deviations between pixels, photons and relative (Redford et al. 2018, JINST 13
# C01027)
_SWITCH_ENERGIES = (310.0, 8700.0)
_SWITCH_SPREADS = (0.6, 0.05)
# Energy at which the third gain ends: 15 000 codes of 0.1145 ADU/keV (defaults of
# jungfraujoch)
_CEILING_ENERGY = 15000 / 0.1145


def switch_at(photon_energy: float, position: float | None = None) -> SwitchModel:
    """The switches of a JUNGFRAU.

    Args:
        photon_energy: keV.
        position: Of the first switch, photons; 310 keV if None.

    Raises:
        ValueError: The energy or the position is not positive.
    """
    if not photon_energy > 0:
        raise ValueError(f"the photon energy must be positive, not {photon_energy} keV")
    first, second = (energy / photon_energy for energy in _SWITCH_ENERGIES)
    position = first if position is None else position
    if not 0 < position < second:
        raise ValueError(
            f"the gain switch must lie between 0 and {second:.0f} photons, where the "
            f"second gain ends, not at {position:g}"
        )
    return SwitchModel(
        position=position,
        spread=_SWITCH_SPREADS[0],
        second_position=second,
        second_spread=_SWITCH_SPREADS[1] * second,
        ceiling=_CEILING_ENERGY / photon_energy,
    )


def fit_weights(spot: SpotShares, photons: np.ndarray, background: float) -> np.ndarray:
    """What a photon too many in each pixel adds to a profile-fitted intensity.

    The fit weights pixels by p / (b + I p) for a profile p, an intensity I and a
    background b (Kabsch, Acta Cryst. D66, 133 (2010)). Of a strong spot that is the sum
    of its pixels; of a weak one the brightest pixels, which are the first to leave their
    first gain, count for more than one.

    Args:
        spot: The shares.
        photons: Expected photons of the spot, shape (m,).
        background: Photons a pixel and image.

    Returns:
        Shape (m, positions, pixels).
    """
    weight = spot.shares / (photons[:, None, None] * spot.shares + background + 1e-9)
    return weight / (weight * spot.shares).sum(axis=2, keepdims=True)


def in_second_gain(
    spot: SpotShares,
    photons: np.ndarray,
    background: float,
    switch: SwitchModel,
    profile_fitted: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """What of a spot lies in pixels that are in their second gain.

    The number of photons in a pixel is Poissonian, so that E[q; q > s] is the mean
    times P(q > s - 1); the spread of the switch adds to the variance.

    Args:
        spot: The shares.
        photons: Expected photons of the spot, shape (m,).
        background: Photons a pixel and image.
        switch: Of the detector.
        profile_fitted: Whether pixels count as they do in a profile fit.

    Returns:
        phi, the photons (those of the background included) in such pixels for each
        photon of the spot, and nu, the number of such pixels for each photon; both (m,).
    """
    from scipy.special import ndtr

    mean = photons[:, None, None] * spot.shares + background
    # Pixels that cannot have switched need no arithmetic
    able = mean > 0.2 * switch.position
    mean, size = mean[able], mean.shape
    q_above, n_above = np.zeros(mean.shape), np.zeros(mean.shape)
    for position, spread, sign in (
        (switch.position, switch.spread, 1),
        (switch.second_position, switch.second_spread, -1),
    ):
        width = np.sqrt(mean + spread**2)
        n_above += sign * ndtr((mean - position) / width)
        q_above += sign * mean * ndtr((mean + 1 - position) / width)
    counted = fit_weights(spot, photons, background)[able] if profile_fitted else 1.0
    results = []
    for values in (q_above, n_above):
        full = np.zeros(size)
        full[able] = values * counted
        results.append((full * spot.weight).sum(axis=(1, 2)) / photons)
    return results[0], results[1]


def lost_above(spot: SpotShares, photons: np.ndarray, ceiling: float) -> np.ndarray:
    """Share of the photons that lie above a ceiling of the pixels, shape (m,)."""
    excess = np.maximum(photons[:, None, None] * spot.shares - ceiling, 0)
    return (excess * spot.weight).sum(axis=(1, 2)) / photons


def lost_by_compression(
    spot: SpotShares, photons: np.ndarray, constant: float, background: float = 0.0
) -> np.ndarray:
    """Share of the photons lost where q photons are seen as q / (1 + q / constant).

    For a Poissonian number of mean m that is m^2 / (c + m), to second order in its
    fluctuations plus m c^2 / (c + m)^3. Of what a pixel with background loses, the
    background loses by itself what is lost around the spot as well.

    Args:
        spot: The shares.
        photons: Expected photons of the spot, shape (m,).
        constant: Photons.
        background: Photons a pixel and image.
    """

    def lost(mean: np.ndarray | float) -> np.ndarray | float:
        rest = constant / (constant + mean)
        return mean / constant * rest * (mean + rest**2)

    own = lost(photons[:, None, None] * spot.shares + background) - lost(background)
    return (own * spot.weight).sum(axis=(1, 2)) / photons


class SpotCurves:
    """Curves of any such quantity for reflections of many shapes.

    Reflections are put into a few classes by their widths; each class has one curve on
    a logarithmic grid of photons.
    """

    def __init__(
        self,
        sigma_pixels: np.ndarray,
        sigma_images: np.ndarray,
        n_bins: tuple[int, int] = (2, 8),
    ):
        """Divide reflections into classes.

        Args:
            sigma_pixels: Width of each on the detector, pixels, shape (n,).
            sigma_images: Width of each across images, shape (n,).
            n_bins: Numbers of classes by the two widths.
        """
        columns, sizes = [], []
        for sigma, n in zip((sigma_pixels, sigma_images), n_bins):
            edges = np.unique(np.quantile(sigma, np.linspace(0, 1, n + 1)[1:-1]))
            columns.append(np.searchsorted(edges, sigma, side="right"))
            sizes.append(len(edges) + 1)
        label = columns[0] * sizes[1] + columns[1]
        self.label, n_classes = without_gaps(label)
        members = (self.label == i for i in range(n_classes))
        self.spots = [
            spot_shares(
                float(np.median(sigma_pixels[own])), float(np.median(sigma_images[own]))
            )
            for own in members
        ]

    def per_reflection(self, quantity: Callable[[SpotShares], float]) -> np.ndarray:
        """One number of the shape for every reflection, shape (n,)."""
        return np.array([quantity(spot) for spot in self.spots])[self.label]

    def evaluate(
        self,
        photons: np.ndarray,
        function: Callable[[SpotShares, np.ndarray], tuple[np.ndarray, ...]],
    ) -> tuple[np.ndarray, ...]:
        """Evaluate curves for every reflection.

        Args:
            photons: Expected photons, shape (n,); values below 1 count as 1.
            function: Curves of a shape at given photons; a tuple of arrays.

        Returns:
            For each curve an array of shape (n,).
        """
        logarithm = np.log10(np.maximum(photons, 1.0))
        highest = max(float(logarithm.max(initial=0)), 0.1)
        n_points = int(np.ceil(highest * _CURVE_POINTS_A_DECADE)) + 1
        grid = np.linspace(0, highest, n_points)
        step = grid[1]
        # Curves of all shapes one after the other, of which each reflection has a piece
        curves = np.array([function(spot, 10**grid) for spot in self.spots])
        slopes = np.diff(curves, axis=2, append=0) / step
        piece = np.minimum((logarithm / step).astype(np.intp), n_points - 2)
        beyond = logarithm - grid[piece]
        piece += self.label * n_points
        return tuple(
            curves[:, i].ravel()[piece] + slopes[:, i].ravel()[piece] * beyond
            for i in range(curves.shape[1])
        )


def peak_shares(sigma_pixels: np.ndarray, sigma_images: np.ndarray) -> np.ndarray:
    """Estimated share of each reflection's photons in its brightest pixel, shape (n,)."""
    curves = SpotCurves(sigma_pixels, sigma_images)
    return curves.per_reflection(lambda spot: spot.peak)
