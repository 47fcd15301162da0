"""What comparing sweeps needs to know of their experiments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiments import image_template, load_experiments

# keV angstrom
HC = 12.398419843
# Start times before this (in 2001) are no time stamps but seconds since the first image
_EARLIEST = 1e9
# Narrower than this no spot is, pixels and images
_LEAST_WIDTH = 0.2


@dataclasses.dataclass(frozen=True)
class SweepExperiment:
    """One experiment with a crystal and a scan.

    Attributes:
        identifier: The identifier that the reflection table knows it by; may be empty.
        template: Template or first path of its images; empty if there are none.
        transmission: Of the beam model; 1 where nobody said otherwise.
        wavelength: Angstrom.
        a_matrix: A = UB with the goniometer's fixed rotation, 1/A, shape (3, 3).
        axis: Rotation axis in the laboratory, shape (3,).
        unit_cell: Lengths in A and angles in degrees.
        space_group: Its symbol.
        crystal: The dxtbx model, for questions of symmetry.
        angle_start: Rotation at the start of the first image, degrees.
        image_width: Degrees.
        first_image: Array index of the first image.
        n_images: In the scan.
        start_time: Seconds since 1970, NaN if unknown.
        panel_sizes: Fast and slow size of each panel, pixels.
        pixel_size: Of the first panel, mm.
        distances: From the sample to each panel's centre, mm, shape (p,).
        sigma_b: Width of the spots as an angle, degrees; NaN if unknown.
        sigma_m: Width of the rocking curve, degrees; NaN if unknown.
    """

    identifier: str
    template: str
    transmission: float
    wavelength: float
    a_matrix: np.ndarray
    axis: np.ndarray
    unit_cell: tuple[float, ...]
    space_group: str
    crystal: object
    angle_start: float
    image_width: float
    first_image: int
    n_images: int
    start_time: float
    panel_sizes: tuple[tuple[int, int], ...]
    pixel_size: float
    distances: np.ndarray
    sigma_b: float
    sigma_m: float

    @property
    def photon_energy(self) -> float:
        """keV."""
        return HC / self.wavelength

    def angle(self, z: np.ndarray) -> np.ndarray:
        """Rotation in degrees at positions in array indices of images.

        Where there is no position it is two turns before the scan, which matches nothing.
        """
        angle = self.angle_start + (z - self.first_image) * self.image_width
        return np.where(np.isfinite(angle), angle, self.angle_start - 720)

    def spot_widths(
        self, zeta: np.ndarray, panel: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimate the widths of spots from the profile model of integration.

        sigma_b is the root of the mean square angle from the spot's centre, in both
        directions of the detector together, so that one direction has it over the root
        of 2. It contains the width of a pixel and lacks the tails below the threshold of
        spot finding, which about cancels.

        Args:
            zeta: Lorentz factor of the rotation of each reflection, shape (n,).
            panel: Shape (n,).

        Returns:
            Standard deviations on the detector in pixels and across images.

        Raises:
            InputError: A reflection is on a panel that the detector does not have.
        """
        n = len(zeta)
        # Unsigned in files, so that a damaged one is anything
        if n and not (0 <= panel.min() and panel.max() < len(self.distances)):
            wrong = panel[(panel < 0) | (panel >= len(self.distances))][0]
            raise InputError(
                f"experiment {self.identifier or self.template}: there are reflections on "
                f"panel {wrong}, and its detector has {len(self.distances)}: give the "
                ".expt that was written with the reflections"
            )
        if not np.isfinite([self.sigma_b, self.sigma_m]).all():
            return np.ones(n), np.full(n, 0.5)
        on_detector = (
            np.tan(np.radians(self.sigma_b)) * self.distances / self.pixel_size
        )
        narrow = np.maximum(on_detector / np.sqrt(2), _LEAST_WIDTH)
        steep = np.maximum(np.abs(np.nan_to_num(zeta, nan=1.0)), 0.05)
        across = self.sigma_m / steep / self.image_width
        return narrow[panel], np.maximum(across, _LEAST_WIDTH / 2)


def read_sweep_experiments(path: Path) -> list[SweepExperiment]:
    """Read an experiment list; the images need not be there.

    Raises:
        InputError: It cannot be read, or an experiment is no rotation of a crystal.
    """
    sweeps = []
    for index, experiment in enumerate(load_experiments(path)):
        for name in ("crystal", "goniometer", "scan"):
            if getattr(experiment, name) is None:
                raise InputError(
                    f"{path}: experiment {index} has no {name}: only integrated rotation "
                    "data can be compared"
                )
        sweeps.append(_sweep_experiment(experiment))
    return sweeps


def _sweep_experiment(experiment) -> SweepExperiment:
    goniometer, scan = experiment.goniometer, experiment.scan
    setting = np.array(goniometer.get_setting_rotation()).reshape(3, 3)
    fixed = np.array(goniometer.get_fixed_rotation()).reshape(3, 3)
    a = np.array(experiment.crystal.get_A()).reshape(3, 3)
    panels = list(experiment.detector)
    start, width = scan.get_oscillation()
    epochs = list(scan.get_epochs())
    sigma_b, sigma_m = _profile_widths(experiment.profile)
    return SweepExperiment(
        identifier=experiment.identifier,
        template=image_template(experiment.imageset),
        transmission=float(experiment.beam.get_transmission()),
        wavelength=float(experiment.beam.get_wavelength()),
        a_matrix=fixed @ a,
        axis=setting @ np.array(goniometer.get_rotation_axis_datum()),
        unit_cell=tuple(experiment.crystal.get_unit_cell().parameters()),
        space_group=str(experiment.crystal.get_space_group().info()),
        crystal=experiment.crystal,
        angle_start=float(start),
        image_width=float(width),
        first_image=int(scan.get_array_range()[0]),
        n_images=int(scan.get_num_images()),
        start_time=float(epochs[0])
        if epochs and epochs[0] > _EARLIEST
        else float("nan"),
        panel_sizes=tuple(tuple(panel.get_image_size()) for panel in panels),
        pixel_size=float(panels[0].get_pixel_size()[0]),
        distances=np.array([_centre_distance(panel) for panel in panels]),
        sigma_b=sigma_b,
        sigma_m=sigma_m,
    )


def _centre_distance(panel) -> float:
    fast, slow = panel.get_image_size()
    return float(np.linalg.norm(panel.get_pixel_lab_coord((fast / 2, slow / 2))))


def _profile_widths(profile) -> tuple[float, float]:
    """sigma_b and sigma_m in degrees, NaN where the profile model has none."""
    if profile is None:
        return float("nan"), float("nan")
    values = profile.to_dict()
    return tuple(_scalar(values.get(name)) for name in ("sigma_b", "sigma_m"))


def _scalar(value) -> float:
    """A width, or the mean of those of a scan-varying model."""
    if value is None:
        return float("nan")
    width = float(np.mean(value))
    return width if width > 0 else float("nan")


def check_comparable(experiments: Sequence[SweepExperiment], reference: int) -> None:
    """See that sweeps were taken with one detector and one wavelength.

    Raises:
        InputError: They were not.
    """
    first = experiments[reference]
    for index, other in enumerate(experiments):
        if other.panel_sizes != first.panel_sizes:
            raise InputError(
                f"the sweeps were taken with different detectors: {_detector(first)} in "
                f"experiment {reference}, {_detector(other)} in experiment {index}"
            )
        if abs(other.wavelength / first.wavelength - 1) > 0.01:
            raise InputError(
                f"the sweeps were taken at different wavelengths: {first.wavelength:.4f} A "
                f"in experiment {reference}, {other.wavelength:.4f} A in experiment {index}"
            )
        ratio = _primitive_volume(other) / _primitive_volume(first)
        if abs(ratio - 1) > 0.03:
            raise InputError(
                f"the sweeps are of different crystals: cell {cell_text(first)} in "
                f"experiment {reference}, {cell_text(other)} in experiment {index}"
            )


def _primitive_volume(experiment: SweepExperiment) -> float:
    """Volume for each lattice point, which no choice of setting changes, A^3."""
    n_points = experiment.crystal.get_space_group().n_ltr()
    return experiment.crystal.get_unit_cell().volume() / n_points


def cell_text(experiment: SweepExperiment) -> str:
    """The cell and space group in a few words."""
    cell = ", ".join(f"{value:.2f}" for value in experiment.unit_cell)
    return f"{cell} ({experiment.space_group})"


def _detector(experiment: SweepExperiment) -> str:
    sizes = experiment.panel_sizes
    return (
        f"{len(sizes)} panel{'s' * (len(sizes) > 1)} of {sizes[0][0]} x {sizes[0][1]}"
    )
