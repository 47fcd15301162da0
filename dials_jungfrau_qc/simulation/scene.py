"""What falls on the detector besides Bragg spots: background, ice, the beam stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dials_jungfrau_qc.simulation.geometry import Geometry

# Hexagonal ice, angstrom
ICE_RINGS = (3.897, 3.669, 3.441, 2.671, 2.249, 2.072, 1.948, 1.918)
# Half width of an ice ring in 1/d, 1/angstrom
_ICE_WIDTH = 0.0012
# The first maximum of the diffuse scattering of water
_SOLVENT_D = 3.2
_SOLVENT_WIDTH = 0.07


@dataclass(frozen=True)
class SceneModel:
    """Scattering that is not from the crystal's lattice.

    Attributes:
        background: Photons a pixel and image at T = 1 where it is strongest, the top of
            the solvent ring.
        solvent: Share of the solvent ring in that; the rest is air scatter.
        ice: Photons a pixel and image at T = 1 on the first ice ring; 0 for none.
        beam_stop: Radius of the disc, mm; 0 for none.
        penumbra: Distance over which its shadow fades, mm.
        arm_width: Width of the arm that holds it, mm.
        arm_transmission: Share of the light that passes the arm.
    """

    background: float = 6.0
    solvent: float = 0.7
    ice: float = 0.0
    beam_stop: float = 1.6
    penumbra: float = 0.5
    arm_width: float = 0.6
    arm_transmission: float = 0.3

    def __post_init__(self) -> None:
        for name in (
            "background",
            "ice",
            "beam_stop",
            "penumbra",
            "arm_width",
        ):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must not be negative")
        for name in ("solvent", "arm_transmission"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")


def background(scene: SceneModel, geometry: Geometry) -> np.ndarray:
    """Expected background at T = 1, the beam stop not yet considered.

    Args:
        scene: How strong it is.
        geometry: Of the detector.

    Returns:
        Float32 array (slow, fast), photons a pixel and image.
    """
    two_theta = geometry.two_theta()
    inverse_d = 2 * np.sin(two_theta / 2) / np.float32(geometry.wavelength)
    ring = np.exp(-0.5 * ((inverse_d - 1 / _SOLVENT_D) / _SOLVENT_WIDTH) ** 2)
    # Air scatter falls from the beam outwards; capped at 1 so that it does not outdo the
    # ring near the beam stop.
    air = np.minimum(1.0, 0.25 + 0.75 * np.exp(-inverse_d / 0.12))
    image = scene.solvent * ring + (1 - scene.solvent) * air
    # A pixel far out is seen under a smaller solid angle.
    view = np.cos(two_theta) ** 3 * geometry.polarisation()
    image *= view
    image *= scene.background / image.max()
    if scene.ice > 0:
        for i, d in enumerate(ICE_RINGS):
            width = 0.5 * ((inverse_d - 1 / d) / _ICE_WIDTH) ** 2
            image += scene.ice * 0.8**i * np.exp(-width) * view
    return image.astype(np.float32)


def shadow(scene: SceneModel, geometry: Geometry) -> np.ndarray:
    """Share of the light that passes the beam stop and its arm.

    Args:
        scene: Of the beam stop.
        geometry: Of the detector.

    Returns:
        Float32 array (slow, fast), from 0 to 1.
    """
    if scene.beam_stop == 0:
        return np.ones(geometry.shape, dtype=np.float32)
    x, y = geometry.offsets()
    fade = np.float32(max(scene.penumbra, 1e-3))

    def edge(distance: np.ndarray) -> np.ndarray:
        """From 0 in the shade to 1 in the open, smoothly over the penumbra."""
        t = np.clip(distance / fade + 0.5, 0, 1)
        return t * t * (3 - 2 * t)

    disc = edge(np.hypot(x, y) - scene.beam_stop)
    beside_arm = np.where(y > 0, edge(np.abs(x) - scene.arm_width / 2), 1)
    arm = scene.arm_transmission + (1 - scene.arm_transmission) * beside_arm
    return (disc * arm).astype(np.float32)
