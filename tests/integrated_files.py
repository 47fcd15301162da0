"""Integrated reflections and experiments of a transmission series, without images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dxtbx.model import (
    BeamFactory,
    Crystal,
    Detector,
    Experiment,
    GoniometerFactory,
    Scan,
)
from dxtbx.model.experiment_list import ExperimentList

from dials.algorithms.profile_model.gaussian_rs import Model
from dials.array_family import flex
from dials_jungfrau_qc.simulation.detector import DetectorModel
from dials_jungfrau_qc.simulation.intensities import (
    SimulatedIntensities,
    SpotModel,
    simulate_intensities,
)
from dials_jungfrau_qc.simulation.series import SeriesModel

INTEGRATED, SUM_ONLY = 256 | 512, 256
N_IMAGES = 100
CELL = (78.0, 78.0, 78.0, 90.0, 90.0, 90.0)


def simulate(
    seed: int = 0,
    n: int = 1500,
    transmissions: Sequence[float] = (0.1, 0.32, 1.0),
    detector: dict | None = None,
    spots: dict | None = None,
    **series,
) -> SimulatedIntensities:
    """A small series of strong data from a perfect detector, but for what is given."""
    return simulate_intensities(
        SeriesModel(seed=seed, transmissions=tuple(transmissions), **series),
        SpotModel(n_reflections=n, **{"scale": 16000.0, **(spots or {})}),
        DetectorModel(**{"pedestal_error": (0, 0, 0), **(detector or {})}),
    )


def experiment(
    identifier: str,
    setting: np.ndarray | None = None,
    cell: Sequence[float] = CELL,
    transmission: float | None = None,
    image_size: tuple[int, int] = (1030, 514),
    start_angle: float = 0.0,
    tilt: float = 0.0,
    epoch: float = 0.0,
) -> Experiment:
    """An experiment with one crystal, indexed in a setting of its own.

    Args:
        identifier: Of the experiment.
        setting: h = setting h_ref, the indices in this setting.
        cell: Cubic, tetragonal or orthorhombic.
        transmission: Of the beam model.
        image_size: Of the panel, pixels.
        start_angle: Of the scan, degrees.
        tilt: Of the crystal about the beam, degrees.
        epoch: Time stamp of the first image.
    """
    beam = BeamFactory.simple(1.0)
    if transmission is not None:
        beam.set_transmission(transmission)
    detector = Detector()
    panel = detector.add_panel()
    panel.set_pixel_size((0.075, 0.075))
    panel.set_image_size(image_size)
    panel.set_local_frame((1, 0, 0), (0, -1, 0), (-38, 19, -80))
    panel.set_trusted_range((0, 1e6))
    c, s = np.cos(np.radians(20 + tilt)), np.sin(np.radians(20 + tilt))
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    a = rotation @ np.diag([1 / length for length in cell[:3]])
    if setting is not None:
        # A h is the same vector in both settings
        a = a @ np.linalg.inv(setting)
    real = np.linalg.inv(a)
    crystal = Crystal(*[tuple(row) for row in real], space_group_symbol="P 2 3")
    epochs = flex.double([epoch + i for i in range(N_IMAGES)])
    scan = Scan((1, N_IMAGES), (start_angle, 0.4), flex.double(N_IMAGES, 0.1), epochs)
    sigma = np.degrees(np.arctan(0.8 * np.sqrt(2) * 0.075 / 85))
    return Experiment(
        identifier=identifier,
        beam=beam,
        detector=detector,
        goniometer=GoniometerFactory.known_axis((1, 0, 0)),
        scan=scan,
        crystal=crystal,
        profile=Model(None, 3, sigma, 0.15, deg=True),
    )


def indices(n: int) -> np.ndarray:
    """Distinct Miller indices, none a symmetry mate of another, shape (n, 3)."""
    size = int(np.ceil((6 * n) ** (1 / 3))) + 3
    grid = np.array(
        [
            (h, k, l)
            for h in range(1, size)
            for k in range(1, h)
            for l in range(k, h)
            if k > 0
        ]
    )
    assert len(grid) >= n
    return grid[:n]


def table(
    simulated: SimulatedIntensities,
    sweep: int,
    id_: int = 0,
    setting: np.ndarray | None = None,
    seed: int = 0,
) -> flex.reflection_table:
    """Integrated reflections of one sweep."""
    rng = np.random.default_rng(seed)
    n = len(simulated.d)
    hkl = indices(n)
    if setting is not None:
        hkl = hkl @ np.asarray(setting).T
    xy = rng.uniform((5, 5), (1000, 500), size=(n, 2))
    entering = rng.random(n) < 0.5
    # The same places in every sweep, but for what refinement does
    noise = np.random.default_rng(1000 + sweep).normal(0, 0.2, size=(n, 3))
    xyz = np.column_stack([xy, simulated.position * N_IMAGES])
    reflections = flex.reflection_table()
    reflections["id"] = flex.int(n, id_)
    reflections["panel"] = flex.size_t(n, 0)
    reflections["flags"] = flex.size_t(n, INTEGRATED)
    reflections["miller_index"] = flex.miller_index(
        [tuple(int(i) for i in row) for row in hkl]
    )
    reflections["entering"] = flex.bool(entering.tolist())
    for name, values in (("xyzcal.px", xyz), ("xyzobs.px.value", xyz + noise)):
        reflections[name] = flex.vec3_double([tuple(row) for row in values.tolist()])
    for name in ("prf", "sum"):
        reflections[f"intensity.{name}.value"] = flex.double(simulated.intensity[sweep])
        reflections[f"intensity.{name}.variance"] = flex.double(
            simulated.variance[sweep]
        )
    reflections["d"] = flex.double(simulated.d)
    reflections["background.mean"] = flex.double(simulated.background[sweep])
    reflections["partiality"] = flex.double(n, 1.0)
    reflections["zeta"] = flex.double(0.375 / simulated.sigma_images)
    reflections["lp"] = flex.double(n, 1.0)
    reflections["qe"] = flex.double(n, 1.0)
    return reflections


def write_series(
    folder: Path,
    simulated: SimulatedIntensities,
    transmissions: Sequence[float | None] | None = None,
    settings: Sequence[np.ndarray | None] | None = None,
    apart: bool = False,
    **kwargs,
) -> list[str]:
    """Write a series as one pair of files, or one for each sweep.

    Returns:
        The names of the files.
    """
    n_sweeps = len(simulated.beam)
    transmissions = (
        list(simulated.transmission) if transmissions is None else transmissions
    )
    settings = settings or [None] * n_sweeps
    tables, experiments = [], []
    for k in range(n_sweeps):
        own = table(simulated, k, 0 if apart else k, settings[k])
        own.experiment_identifiers()[0 if apart else k] = f"sweep-{k}"
        tables.append(own)
        options = {
            name: value[k] if isinstance(value, list) else value
            for name, value in kwargs.items()
        }
        experiments.append(
            experiment(
                f"sweep-{k}", settings[k], transmission=transmissions[k], **options
            )
        )
    if apart:
        names = []
        for k in range(n_sweeps):
            tables[k].as_file(str(folder / f"sweep{k}.refl"))
            ExperimentList([experiments[k]]).as_file(str(folder / f"sweep{k}.expt"))
            names += [f"sweep{k}.refl", f"sweep{k}.expt"]
        return names
    whole = tables[0]
    for other in tables[1:]:
        whole.extend(other)
    whole.as_file(str(folder / "integrated.refl"))
    ExperimentList(experiments).as_file(str(folder / "integrated.expt"))
    return ["integrated.refl", "integrated.expt"]
