"""A transmission series: one crystal and one detector, sweep after sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dials_jungfrau_qc.simulation.crystal import (
    CrystalModel,
    Reflections,
    add_spots,
    partiality,
    predict,
    random_crystal,
)
from dials_jungfrau_qc.simulation.detector import (
    DetectorModel,
    Pixels,
    draw_pixels,
    expose,
    shifted,
    tile_pixels,
    to_counts,
)
from dials_jungfrau_qc.simulation.faults import KINDS, Faults, draw_faults
from dials_jungfrau_qc.simulation.geometry import (
    CHIP_EDGE_VALUE,
    GAP_BIT,
    GAP_VALUE,
    MODULE_SHAPE,
    VIRTUAL_PIXEL_BIT,
    Geometry,
)
from dials_jungfrau_qc.simulation.scene import SceneModel, background, shadow

if TYPE_CHECKING:
    from dxtbx.model import Crystal

# Every source of randomness has a number of its own, so that a change in one, such as
# another rate of bad pixels, leaves the others as they were.
_ORIENTATION, _INTENSITIES, _PIXELS, _MODULES, _FAULTS, _MASKED, _SHUTTER, _FRAME = (
    range(8)
)

# In a sweep: what is known of each image has to fit into memory
MOST_IMAGES = 1_000_000


@dataclass(frozen=True)
class SeriesModel:
    """How the data are taken, and what goes wrong on the way.

    Attributes:
        transmissions: Nominal, one for each sweep, in order of collection.
        n_images: In each sweep.
        oscillation: Start and width, degrees; the same in every sweep.
        seed: The same seed gives the same pixel data.
        n_sum: Detector frames that are added to an image before rounding.
        attenuator_error: Relative error of each transmission.
        reference_scale: Factor of the beam in the sweep of highest transmission.
        uniform_decay: Intensities fall as exp(-uniform_decay * dose), the dose of a
            sweep at T = 1 being 1.
        b_decay: Increase of the B factor with dose, angstrom^2.
        lost_images: Share of the images that never reach the file.
        blank_images: Share of the images taken with the shutter closed.
    """

    transmissions: tuple[float, ...] = (0.064, 0.127, 0.253, 0.503, 1.0)
    n_images: int = 60
    oscillation: tuple[float, float] = (0.0, 0.2)
    seed: int = 0
    n_sum: int = 1
    attenuator_error: tuple[float, ...] = ()
    reference_scale: float = 1.0
    uniform_decay: float = 0.0
    b_decay: float = 0.0
    lost_images: float = 0.0
    blank_images: float = 0.0

    def __post_init__(self) -> None:
        if not self.transmissions:
            raise ValueError("a series needs one transmission at least")
        for transmission in self.transmissions:
            if not 0 < transmission <= 1:
                raise ValueError(
                    f"transmissions lie above 0 and up to 1, {transmission} does not"
                )
        for name in ("n_images", "n_sum"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.n_images > MOST_IMAGES:
            raise ValueError(f"n_images must be at most {MOST_IMAGES}")
        if self.seed < 0:
            raise ValueError("seed must not be negative")
        if not (np.isfinite(self.oscillation).all() and self.oscillation[1] > 0):
            raise ValueError(
                f"the oscillation width must be positive, not {self.oscillation[1]}"
            )
        if len(self.attenuator_error) not in (0, len(self.transmissions)):
            raise ValueError(
                f"{len(self.attenuator_error)} attenuator errors do not fit "
                f"{len(self.transmissions)} transmissions: give one for each"
            )
        if any(not -1 < error < np.inf for error in self.attenuator_error):
            raise ValueError("attenuator errors must be above -1")
        if not 0 < self.reference_scale < np.inf:
            raise ValueError("reference_scale must be positive")
        for name in ("uniform_decay", "b_decay"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must not be negative")
        for name in ("lost_images", "blank_images"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1")


@dataclass(frozen=True)
class FaultModel:
    """Bad pixels; what is left out is as in KINDS.

    Attributes:
        rates: Share of the pixels, by kind.
        strengths: Range of the strength, by kind.
        shares: Range of the share of frames, by kind.
        masked: Share of the bad pixels that the files' pixel mask knows.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    strengths: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    shares: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    masked: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.masked <= 1:
            raise ValueError("the masked share of bad pixels must be from 0 to 1")


@dataclass(frozen=True)
class ModuleModel:
    """How modules differ, as standard deviations.

    Attributes:
        switch_spread: Position of the first gain switch, photons.
        area_spread: J of the first gain switch, photons.
    """

    switch_spread: float = 0.0
    area_spread: float = 0.0

    def __post_init__(self) -> None:
        if min(self.switch_spread, self.area_spread) < 0:
            raise ValueError("spreads between modules must not be negative")


@dataclass(frozen=True)
class Sweep:
    """One sweep of the series.

    Attributes:
        transmission: Nominal.
        true_transmission: What the attenuator lets through.
        beam: Intensity relative to that of T = 1 without any fault.
        dose_start: Dose that the crystal has had before it.
        dose_per_image: Dose of one image; a sweep at T = 1 has 1.
        lost: Bool array (n_images,), images that are missing.
        blank: Bool array (n_images,), images without beam.
    """

    transmission: float
    true_transmission: float
    beam: float
    dose_start: float
    dose_per_image: float
    lost: np.ndarray
    blank: np.ndarray


@dataclass(frozen=True)
class Simulation:
    """Everything that is decided before the first image is taken.

    Attributes:
        series: How the data are taken.
        geometry: Of the detector.
        crystal: In its orientation.
        reflections: That the rotation shows.
        pixels: Of the detector.
        module_models: Detector model of each module.
        pixel_mask: Uint32 array (slow, fast), NXmx bits, as files have it.
        background: Float32 array (slow, fast), photons at T = 1.
        shadow: Float32 array (slow, fast), share of the light that arrives.
        sweeps: In order of collection.
    """

    series: SeriesModel
    geometry: Geometry
    crystal: Crystal
    reflections: Reflections
    pixels: Pixels
    module_models: list[DetectorModel]
    pixel_mask: np.ndarray
    background: np.ndarray
    shadow: np.ndarray
    sweeps: list[Sweep]

    def expected(self, sweep: int, image: int) -> np.ndarray:
        """Expected photons of an image.

        Args:
            sweep: From 0.
            image: From 0.

        Returns:
            Float32 array (slow, fast).
        """
        this = self.sweeps[sweep]
        if this.blank[image]:
            return np.zeros(self.geometry.shape, dtype=np.float32)
        mean = self.background * np.float32(this.beam)
        start, width = self.series.oscillation
        which, share = partiality(
            self.reflections, start + image * width, start + (image + 1) * width
        )
        dose = this.dose_start + (image + 0.5) * this.dose_per_image
        d = self.reflections.d[which]
        decay = self.series.uniform_decay + self.series.b_decay / (2 * d**2)
        add_spots(
            mean,
            self.reflections.fast[which],
            self.reflections.slow[which],
            self.reflections.intensity[which]
            * share
            * this.beam
            * np.exp(-decay * dose),
            self.reflections.spot_size,
        )
        mean *= self.shadow
        return mean

    def image(self, sweep: int, image: int) -> np.ndarray | None:
        """Take an image.

        Args:
            sweep: From 0.
            image: From 0.

        Returns:
            Int32 array (slow, fast) as a file holds it, or None if the image is lost.
        """
        if self.sweeps[sweep].lost[image]:
            return None
        rng = _source(self.series.seed, _FRAME, sweep, image)
        mean = self.expected(sweep, image)
        counts = to_counts(expose(mean, self.pixels, rng, self.series.n_sum))
        in_gap = (self.pixel_mask & (1 << GAP_BIT)) > 0
        on_edge = (self.pixel_mask >> VIRTUAL_PIXEL_BIT) > 0
        counts[on_edge] = CHIP_EDGE_VALUE
        counts[in_gap] = GAP_VALUE
        return counts


def _source(seed: int, *stream: int) -> np.random.Generator:
    """The source of randomness for one purpose."""
    sequence = np.random.SeedSequence(seed, spawn_key=stream)
    return np.random.Generator(np.random.SFC64(sequence))


def prepare(
    series: SeriesModel,
    geometry: Geometry,
    crystal: CrystalModel,
    scene: SceneModel,
    detector: DetectorModel,
    modules: ModuleModel = ModuleModel(),
    faults: FaultModel = FaultModel(),
) -> Simulation:
    """Decide everything but the photons.

    Args:
        series: How the data are taken.
        geometry: Of the detector.
        crystal: Its model.
        scene: Background and beam stop.
        detector: What is typical for a pixel.
        modules: How modules differ.
        faults: Bad pixels.

    Returns:
        The simulation, ready to take images.

    Raises:
        ValueError: If parameters do not go together.
    """
    seed = series.seed
    if detector.photon_energy != geometry.photon_energy:
        raise ValueError("detector and geometry have different photon energies")
    pixel_mask = geometry.pixel_mask()
    bad = draw_faults(
        np.flatnonzero(pixel_mask == 0),
        _source(seed, _FAULTS),
        faults.rates,
        faults.strengths,
        faults.shares,
    )
    _mask_some(pixel_mask, bad, faults.masked, _source(seed, _MASKED))
    module_models = _module_models(detector, modules, geometry, seed)
    pixels = tile_pixels(
        geometry.shape,
        geometry.module_origins(),
        [
            draw_pixels(model, MODULE_SHAPE, _source(seed, _PIXELS, i))
            for i, model in enumerate(module_models)
        ],
        bad,
    )
    oriented = random_crystal(crystal, _source(seed, _ORIENTATION))
    start, width = series.oscillation
    return Simulation(
        series=series,
        geometry=geometry,
        crystal=oriented,
        reflections=predict(
            crystal,
            oriented,
            geometry,
            (start, start + series.n_images * width),
            _source(seed, _INTENSITIES),
        ),
        pixels=pixels,
        module_models=module_models,
        pixel_mask=pixel_mask,
        background=background(scene, geometry),
        shadow=shadow(scene, geometry),
        sweeps=plan_sweeps(series),
    )


def plan_sweeps(series: SeriesModel) -> list[Sweep]:
    """Beam, dose and missing images of each sweep.

    Args:
        series: How the data are taken.

    Returns:
        The sweeps in order of collection.
    """
    reference = int(np.argmax(series.transmissions))
    errors = series.attenuator_error or (0.0,) * len(series.transmissions)
    sweeps, dose = [], 0.0
    for i, (nominal, error) in enumerate(zip(series.transmissions, errors)):
        true = nominal * (1 + error)
        beam = true * (series.reference_scale if i == reference else 1.0)
        rng = _source(series.seed, _SHUTTER, i)
        lost = rng.random(series.n_images) < series.lost_images
        blank = rng.random(series.n_images) < series.blank_images
        sweeps.append(
            Sweep(
                nominal, true, beam, dose, beam / series.n_images, lost, blank & ~lost
            )
        )
        dose += beam
    return sweeps


def _module_models(
    detector: DetectorModel, modules: ModuleModel, geometry: Geometry, seed: int
) -> list[DetectorModel]:
    n = len(geometry.module_origins())
    rng = _source(seed, _MODULES)
    positions = modules.switch_spread * rng.standard_normal(n)
    areas = modules.area_spread * rng.standard_normal(n)
    return [shifted(detector, p, a) for p, a in zip(positions, areas)]


def _mask_some(
    pixel_mask: np.ndarray, bad: Faults, share: float, rng: np.random.Generator
) -> None:
    """Let the pixel mask know a share of the bad pixels."""
    known = rng.random(len(bad)) < share
    bits = np.array([KINDS[kind].mask_bit for kind in bad.kind[known]], dtype=np.uint32)
    pixel_mask.reshape(-1)[bad.index[known]] |= np.uint32(1) << bits
