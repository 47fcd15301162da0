"""Where the modules of a JUNGFRAU lie, which of its pixels are real, and its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dxtbx.model import Beam, Detector

PIXEL_SIZE = 0.075  # mm
SENSOR_THICKNESS = 0.320  # mm of silicon
# 2 x 4 chips of 256 x 256, with the two virtual pixels that stand for the double ones
# at each edge between chips.
MODULE_SHAPE = (514, 1030)
CHIP_EDGES_SLOW = (255, 256, 257, 258)
CHIP_EDGES_FAST = tuple(c + 258 * k for k in range(3) for c in CHIP_EDGES_SLOW)

GAP_VALUE = -(2**31)
CHIP_EDGE_VALUE = -1

# Bits of the NXmx pixel_mask
GAP_BIT = 0
VIRTUAL_PIXEL_BIT = 31

# hc in keV angstrom
_HC = 12.398419843320026


@dataclass(frozen=True)
class Preset:
    """How the modules of a detector are arranged.

    Attributes:
        modules: Number of modules along slow and fast.
        gap: Pixels between modules along slow and fast.
        beam_center: Default, (fast, slow) in pixels; on a module, so that the beam stop
            is seen.
        distance: Default, mm.
    """

    modules: tuple[int, int]
    gap: tuple[int, int]
    beam_center: tuple[float, float]
    distance: float

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the image, (slow, fast)."""
        return tuple(
            n * size + (n - 1) * gap
            for n, size, gap in zip(self.modules, MODULE_SHAPE, self.gap)
        )


PRESETS: Mapping[str, Preset] = {
    "jungfrau_1m": Preset((2, 1), (38, 0), (500.2, 621.7), 100.0),
    "jungfrau_4m": Preset((4, 2), (36, 8), (1100.2, 1150.7), 150.0),
    # Rows as in the 1M; the gap between columns is that of other detectors of 9M.
    "jungfrau_9m": Preset((6, 3), (38, 12), (1500.2, 1590.7), 200.0),
    "module": Preset((1, 1), (0, 0), (480.2, 210.7), 80.0),
}


@dataclass(frozen=True)
class Geometry:
    """A detector at its place in the beam.

    Attributes:
        preset: Arrangement of the modules.
        distance: From the crystal, mm.
        beam_center: (fast, slow), pixels.
        photon_energy: keV.
        panel_per_module: Files have one panel a module instead of one for all.
    """

    preset: Preset
    distance: float
    beam_center: tuple[float, float]
    photon_energy: float
    panel_per_module: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.distance) and self.distance > 0):
            raise ValueError(f"the distance must be positive, not {self.distance} mm")

    @property
    def shape(self) -> tuple[int, int]:
        """Size of the image, (slow, fast)."""
        return self.preset.shape

    @property
    def wavelength(self) -> float:
        """Angstrom."""
        return _HC / self.photon_energy

    def module_origins(self) -> list[tuple[int, int]]:
        """(slow, fast) of the first pixel of each module, row by row."""
        (n_slow, n_fast), (gap_slow, gap_fast) = self.preset.modules, self.preset.gap
        return [
            (i * (MODULE_SHAPE[0] + gap_slow), j * (MODULE_SHAPE[1] + gap_fast))
            for i in range(n_slow)
            for j in range(n_fast)
        ]

    def panels(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """(slow, fast) of the origin and the size of each panel of the files."""
        if self.panel_per_module:
            return [(origin, MODULE_SHAPE) for origin in self.module_origins()]
        return [((0, 0), self.shape)]

    def panel_position(
        self, slow: np.ndarray, fast: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Panel, slow and fast on it of pixels that lie on modules.

        Args:
            slow: Int array, of the image.
            fast: Int array, of the image.

        Returns:
            Three int arrays.
        """
        if not self.panel_per_module:
            return np.zeros_like(slow), slow, fast
        pitch = [size + gap for size, gap in zip(MODULE_SHAPE, self.preset.gap)]
        panel = (slow // pitch[0]) * self.preset.modules[1] + fast // pitch[1]
        return panel, slow % pitch[0], fast % pitch[1]

    def pixel_mask(self) -> np.ndarray:
        """Mask of the gaps and the chip edges.

        Returns:
            Uint32 array (slow, fast) with the bits of an NXmx pixel_mask.
        """
        module = np.zeros(MODULE_SHAPE, dtype=np.uint32)
        module[list(CHIP_EDGES_SLOW), :] = 1 << VIRTUAL_PIXEL_BIT
        module[:, list(CHIP_EDGES_FAST)] = 1 << VIRTUAL_PIXEL_BIT
        mask = np.full(self.shape, 1 << GAP_BIT, dtype=np.uint32)
        for slow, fast in self.module_origins():
            mask[slow : slow + MODULE_SHAPE[0], fast : fast + MODULE_SHAPE[1]] = module
        return mask

    def two_theta(self) -> np.ndarray:
        """Scattering angle of each pixel's centre, float32 array (slow, fast), rad."""
        x, y = self.offsets()
        return np.arctan2(np.hypot(x, y), np.float32(self.distance))

    def polarisation(self, fraction: float = 0.999) -> np.ndarray:
        """Share of scattered intensity that polarisation leaves at each pixel.

        Args:
            fraction: Of the light, with its field along fast.

        Returns:
            Float32 array (slow, fast).
        """
        x, y = self.offsets()
        square = x**2 + y**2 + np.float32(self.distance**2)
        return 1 - fraction * x**2 / square - (1 - fraction) * y**2 / square

    def offsets(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances of the pixels from the beam along fast and slow, mm."""
        fast, slow = (
            ((np.arange(n) + 0.5 - center) * PIXEL_SIZE).astype(np.float32)
            for n, center in zip(self.shape[::-1], self.beam_center)
        )
        return fast[None, :], slow[:, None]

    def models(self) -> tuple[Beam, Detector]:
        """dxtbx models of the beam and of the whole image as one panel.

        They agree with what dxtbx makes of the files, the parallax in the sensor
        included, so that spots are put where DIALS will predict them.
        """
        from cctbx.eltbx import attenuation_coefficient
        from dxtbx.model import Beam, Detector, ParallaxCorrectedPxMmStrategy

        table = attenuation_coefficient.get_table("Si")
        mu = table.mu_at_angstrom(self.wavelength) / 10  # 1/mm
        fast, slow = (c * PIXEL_SIZE for c in self.beam_center)
        detector = Detector()
        panel = detector.add_panel()
        panel.set_local_frame((1, 0, 0), (0, -1, 0), (-fast, slow, -self.distance))
        panel.set_pixel_size((PIXEL_SIZE, PIXEL_SIZE))
        panel.set_image_size(self.shape[::-1])
        panel.set_thickness(SENSOR_THICKNESS)
        panel.set_material("Si")
        panel.set_mu(mu)
        panel.set_px_mm_strategy(ParallaxCorrectedPxMmStrategy(mu, SENSOR_THICKNESS))
        beam = Beam(direction=(0, 0, 1), wavelength=self.wavelength)
        return beam, detector
