"""The crystal: its intensities, where and when it diffracts, and the shape of spots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dials_jungfrau_qc.simulation.geometry import Geometry

if TYPE_CHECKING:
    from dxtbx.model import Crystal

# Nearer to the rotation axis than this a reflection takes too long to cross the sphere
# to be one; DIALS does not integrate below 0.05.
_MINIMUM_ZETA = 0.04
# Profiles end at this many standard deviations: 6e-5 of a spot lies outside.
_EXTENT = 4.0


@dataclass(frozen=True)
class CrystalModel:
    """What the crystal is like.

    Attributes:
        unit_cell: a, b, c in angstrom, alpha, beta, gamma in degrees.
        space_group: Symbol.
        b_factor: Angstrom^2; mean intensities fall as exp(-B / 2 d^2).
        scale: Mean photons of a reflection at T = 1, d infinite, before the Lorentz
            and polarisation factors.
        mosaicity: Standard deviation of the rocking curve, degrees.
        spot_size: Standard deviation of the spots on the detector, pixels.
        d_min: Angstrom; None for the corner of the detector.
    """

    unit_cell: tuple[float, ...] = (78.0, 78.0, 78.0, 90.0, 90.0, 90.0)
    space_group: str = "I 21 3"
    b_factor: float = 22.0
    scale: float = 3500.0
    mosaicity: float = 0.08
    spot_size: float = 0.8
    d_min: float | None = None

    def __post_init__(self) -> None:
        for name in ("scale", "b_factor"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must not be negative")
        for name in ("mosaicity", "spot_size"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be positive")
        if self.d_min is not None and not self.d_min > 0:
            raise ValueError(f"d_min must be positive, not {self.d_min}")
        self.symmetry()

    def symmetry(self):
        """The cctbx crystal symmetry.

        Raises:
            ValueError: If the cell or the space group is impossible, or one does not
                fit the other.
        """
        from cctbx import sgtbx, uctbx
        from cctbx.crystal import symmetry

        cell = ", ".join(f"{p:g}" for p in self.unit_cell)
        try:
            unit_cell = uctbx.unit_cell(tuple(self.unit_cell))
        except (RuntimeError, ValueError) as e:
            raise ValueError(f"no cell has the parameters {cell}") from e
        try:
            space_group = sgtbx.space_group_info(self.space_group)
        except (RuntimeError, ValueError) as e:
            raise ValueError(f"no space group is called {self.space_group}") from e
        if not space_group.group().is_compatible_unit_cell(unit_cell):
            raise ValueError(
                f"the cell {cell} does not have the symmetry of {self.space_group}"
            )
        return symmetry(unit_cell=unit_cell, space_group_info=space_group)


@dataclass(frozen=True)
class Reflections:
    """Reflections that cross the Ewald sphere, in rising order of phi.

    Attributes:
        miller_index: Int array (n, 3).
        fast: Float array (n,), predicted position, pixels of the image.
        slow: Float array (n,).
        phi: Float array (n,), rotation at the middle of the reflection, degrees.
        phi_width: Float array (n,), standard deviation of the rocking curve, degrees.
        intensity: Float array (n,), expected photons at T = 1, Lorentz and polarisation
            included.
        d: Float array (n,), angstrom.
        spot_size: Standard deviation of the spots, pixels.
    """

    miller_index: np.ndarray
    fast: np.ndarray
    slow: np.ndarray
    phi: np.ndarray
    phi_width: np.ndarray
    intensity: np.ndarray
    d: np.ndarray
    spot_size: float

    def __len__(self) -> int:
        return len(self.phi)


def random_crystal(model: CrystalModel, rng: np.random.Generator) -> Crystal:
    """A crystal in a random orientation.

    Args:
        model: Cell and space group.
        rng: Source of the orientation.

    Returns:
        The dxtbx model.
    """
    from dxtbx.model import Crystal
    from scitbx import matrix

    # Four normal numbers point anywhere in their space alike, which makes rotations
    # uniform.
    quaternion = matrix.col(rng.standard_normal(4).tolist()).normalize()
    u = quaternion.unit_quaternion_as_r3_rotation_matrix()
    orthogonal = matrix.sqr(model.symmetry().unit_cell().orthogonalization_matrix())
    axes = (u * orthogonal).transpose()
    return Crystal(
        axes[:3],
        axes[3:6],
        axes[6:],
        space_group_symbol=str(model.symmetry().space_group_info()),
    )


def wilson_intensities(
    model: CrystalModel,
    miller_index: np.ndarray,
    d_min: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Intensities with Wilson's distribution, the same for symmetry mates.

    Args:
        model: Space group and B factor.
        miller_index: Int array (n, 3), none beyond d_min.
        d_min: The draw covers every reflection up to here, angstrom; the same d_min
            gives the same intensity whatever else is asked for.
        rng: Source of randomness.

    Returns:
        Float array (n,); the mean is 1 at infinite d.
    """
    from cctbx import miller
    from cctbx.array_family import flex

    symmetry = model.symmetry()
    # The order in which cctbx lists them is not promised, hence the sort.
    unique = miller.build_set(symmetry, anomalous_flag=False, d_min=0.999 * d_min)
    unique = unique.map_to_asu().sort(by_value="packed_indices")
    centric = unique.centric_flags().data().as_numpy_array()
    draws = np.where(
        centric,
        rng.standard_normal(len(centric)) ** 2,
        rng.standard_exponential(len(centric)),
    )
    draws *= unique.epsilons().data().as_numpy_array()
    s_squared = unique.d_star_sq().data().as_numpy_array()
    draws *= np.exp(-model.b_factor / 2 * s_squared)

    wanted = miller.set(
        symmetry,
        flex.miller_index([tuple(int(i) for i in hkl) for hkl in miller_index]),
        anomalous_flag=False,
    ).map_to_asu()
    place = {hkl: i for i, hkl in enumerate(unique.indices())}
    # Absent reflections, which a predictor may list, have no place and no intensity.
    where = np.array([place.get(hkl, -1) for hkl in wanted.indices()], dtype=int)
    return np.where(where >= 0, draws[where], 0.0)


def predict(
    model: CrystalModel,
    crystal: Crystal,
    geometry: Geometry,
    phi_range: tuple[float, float],
    rng: np.random.Generator,
) -> Reflections:
    """Reflections that a rotation shows, those that it shows in part included.

    Args:
        model: Of the crystal.
        crystal: The same in its orientation.
        geometry: Of the detector.
        phi_range: First and last rotation about fast, degrees.
        rng: Source of the intensities.

    Returns:
        The reflections.
    """
    from dxtbx.model import Experiment, GoniometerFactory, Scan

    from dials.algorithms.spot_prediction import ScanStaticReflectionPredictor
    from dials.array_family import flex

    beam, detector = geometry.models()
    goniometer = GoniometerFactory.known_axis((1, 0, 0))
    # A margin lets reflections in whose middle lies before or after the rotation.
    margin = _EXTENT * model.mosaicity / _MINIMUM_ZETA
    start, width = phi_range[0] - margin, phi_range[1] - phi_range[0] + 2 * margin
    scan = Scan((1, 1), (start, width), flex.double(1, 0), flex.double(1, 0), 0)
    experiment = Experiment(
        beam=beam,
        detector=detector,
        goniometer=goniometer,
        scan=scan,
        crystal=crystal,
    )
    d_min = detector.get_max_resolution(beam.get_s0())
    d_min = max(d_min, model.d_min or 0.0)
    table = ScanStaticReflectionPredictor(experiment, dmin=d_min).for_ub(
        crystal.get_A()
    )

    fast, slow, _ = (c.as_numpy_array() for c in table["xyzcal.px"].parts())
    phi = np.degrees(table["xyzcal.mm"].parts()[2].as_numpy_array())
    s1 = table["s1"].as_double().as_numpy_array().reshape(-1, 3)
    s1 /= np.linalg.norm(s1, axis=1, keepdims=True)
    s0 = np.array([0.0, 0.0, -1.0])
    normal = np.cross(s1, s0)
    sin_two_theta = np.linalg.norm(normal, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        zeta = np.abs(normal[:, 0]) / sin_two_theta
    hkl = np.array(list(table["miller_index"]), dtype=np.int32).reshape(-1, 3)
    d = 1 / np.linalg.norm(hkl @ np.asarray(crystal.get_B()).reshape(3, 3).T, axis=1)

    use = np.flatnonzero((zeta > _MINIMUM_ZETA) & (d >= d_min))
    use = use[np.lexsort((*hkl[use].T, np.round(phi[use], 6)))]
    intensity = model.scale * wilson_intensities(model, hkl[use], d_min, rng)
    polarisation = 1 - 0.999 * s1[use, 0] ** 2 - 0.001 * s1[use, 1] ** 2
    intensity *= polarisation / (zeta[use] * sin_two_theta[use])
    return Reflections(
        miller_index=hkl[use],
        fast=fast[use],
        slow=slow[use],
        phi=phi[use],
        phi_width=model.mosaicity / zeta[use],
        intensity=intensity,
        d=d[use],
        spot_size=model.spot_size,
    )


def partiality(
    reflections: Reflections, phi_start: float, phi_end: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which reflections one image shows, and how much of each.

    Args:
        reflections: All of them.
        phi_start: Rotation where the image begins, degrees.
        phi_end: Rotation where it ends, degrees.

    Returns:
        Int array of the reflections and float array of the share of each that is
        recorded.
    """
    from scipy.special import ndtr

    reach = _EXTENT * reflections.phi_width
    on_image = np.flatnonzero(
        (reflections.phi + reach > phi_start) & (reflections.phi - reach < phi_end)
    )
    phi, width = reflections.phi[on_image], reflections.phi_width[on_image]
    return on_image, ndtr((phi_end - phi) / width) - ndtr((phi_start - phi) / width)


def add_spots(
    image: np.ndarray,
    fast: np.ndarray,
    slow: np.ndarray,
    photons: np.ndarray,
    spot_size: float,
) -> None:
    """Add Gaussian spots, integrated over pixels, to an image.

    Args:
        image: Float array (slow, fast), changed in place.
        fast: Float array (n,), centres, pixels.
        slow: Float array (n,).
        photons: Float array (n,), of each spot.
        spot_size: Standard deviation, pixels.
    """
    from scipy.special import ndtr

    half = int(np.ceil(_EXTENT * spot_size))
    offsets = np.arange(-half, half + 2)

    def shares(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = np.floor(position).astype(np.int64)
        edges = first[:, None] + offsets
        cumulative = ndtr((edges - position[:, None]) / spot_size)
        return edges[:, :-1], np.diff(cumulative, axis=1)

    columns, along_fast = shares(fast)
    rows, along_slow = shares(slow)
    patch = photons[:, None, None] * along_slow[:, :, None] * along_fast[:, None, :]
    rows = np.broadcast_to(rows[:, :, None], patch.shape)
    columns = np.broadcast_to(columns[:, None, :], patch.shape)
    inside = (rows >= 0) & (rows < image.shape[0])
    inside &= (columns >= 0) & (columns < image.shape[1])
    # Spots overlap, so equal indices must add up.
    np.add.at(image, (rows[inside], columns[inside]), patch[inside].astype(image.dtype))
