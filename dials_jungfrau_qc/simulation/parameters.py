"""The parameters of dials.simulate_jungfrau, and the models that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import libtbx

from dials_jungfrau_qc.simulation.crystal import CrystalModel
from dials_jungfrau_qc.simulation.detector import DetectorModel, with_notch
from dials_jungfrau_qc.simulation.faults import KINDS
from dials_jungfrau_qc.simulation.geometry import PRESETS, Geometry
from dials_jungfrau_qc.simulation.nxmx import FileModel
from dials_jungfrau_qc.simulation.scene import SceneModel
from dials_jungfrau_qc.simulation.series import FaultModel, ModuleModel, SeriesModel


def _fault_phil() -> str:
    """The parameters of each kind of bad pixel."""
    text = ""
    for name, kind in KINDS.items():
        text += f"""
      {name} {{
        rate = {kind.rate}
          .type = float
          .help = "Share of the pixels of this kind."
        strength = {kind.range[0]} {kind.range[1]}
          .type = floats(size=2)
          .help = "Range of the strength ({kind.strength})."
        share = {kind.share[0]} {kind.share[1]}
          .type = floats(size=2)
          .help = "Range of the share of frames in which such a pixel is bad."
          .expert_level = 1
      }}"""
    return text


PHIL = (
    """
    detector = *jungfrau_1m jungfrau_4m jungfrau_9m module
      .type = choice
      .help = "Arrangement of modules."

    panels = *single module
      .type = choice
      .help = "One panel for the whole image, or one a module, which DIALS 3.12 cannot "
              "import where modules lie side by side (jungfrau_4m, jungfrau_9m)."

    transmission = 0.064 0.127 0.253 0.503 1.0
      .type = floats
      .help = "Nominal transmission of each sweep, in order of collection, above 0 and up "
              "to 1."

    n_images = 60
      .type = int
      .help = "Number of images in each sweep."

    oscillation = 0.2
      .type = floats(size_min=1, size_max=2)
      .help = "Width of an image in degrees; or start of the rotation and width."

    seed = 0
      .type = int
      .help = "The same seed gives the same pixel data, whatever nproc."

    nproc = Auto
      .type = int(value_min=1)
      .help = "Number of images to work on at the same time."

    distance = Auto
      .type = float
      .help = "From the crystal to the detector, in mm."

    beam_center = Auto
      .type = floats(size=2)
      .help = "Where the beam hits the image, fast and slow, in pixels."
      .expert_level = 1

    photon_energy = 12.4
      .type = float
      .help = "Energy of a photon in keV."

    sample = insulin
      .type = str
      .help = "Name of the sample, part of the names of the files."

    first_number = 661
      .type = int(value_min=0)
      .help = "Number in the name of the first sweep's folder."
      .expert_level = 1

    crystal {
      unit_cell = 78 78 78 90 90 90
        .type = floats(size=6)
        .help = "a, b, c in angstrom, alpha, beta, gamma in degrees."
      space_group = "I 21 3"
        .type = str
        .help = "Symbol of the space group."
      b_factor = 22
        .type = float
        .help = "Mean intensities fall as exp(-B / 2 d^2); in angstrom^2."
      scale = 3500
        .type = float
        .help = "Mean photons of a reflection at T = 1 and infinite d, before the "
                "Lorentz and polarisation factors."
      mosaicity = 0.08
        .type = float
        .help = "Standard deviation of the rocking curve, in degrees."
      spot_size = 0.8
        .type = float(value_max=100)
        .help = "Standard deviation of the spots on the detector, in pixels."
      d_min = None
        .type = float
        .help = "Highest resolution in angstrom; that of the detector's corner if None."
    }

    background {
      photons = 6
        .type = float
        .help = "Photons a pixel and image at T = 1 on the top of the solvent ring."
      solvent = 0.7
        .type = float
        .help = "Share of the solvent ring in that; the rest is air scatter."
        .expert_level = 1
      ice = 0
        .type = float
        .help = "Photons a pixel and image at T = 1 on the first ice ring."
    }

    beam_stop {
      radius = 1.6
        .type = float
        .help = "Radius of the shadow in mm; 0 for no beam stop."
      penumbra = 0.5
        .type = float
        .help = "Distance over which the shadow fades, in mm."
        .expert_level = 1
      arm_width = 0.6
        .type = float
        .help = "Width of the arm in mm."
        .expert_level = 1
      arm_opacity = 0.7
        .type = float
        .help = "Share of the light that the arm takes."
        .expert_level = 1
    }

    notch {
      area = None
        .type = float
        .help = "J of the switch from the first to the second gain, in photons: a deficit "
                "where positive, an overlap where negative. Sets the pedestal error of "
                "the second gain."
      position = None
        .type = float
        .help = "Value at which the typical pixel leaves the first gain, in photons. Sets "
                "the first switch energy."
      spread = None
        .type = float
        .help = "Standard deviation of the position between pixels, in photons. Sets the "
                "first switch spread."
      module_position_spread = 0
        .type = float
        .help = "Standard deviation of the position between modules, in photons."
      module_area_spread = 0
        .type = float
        .help = "Standard deviation of J between modules, in photons."
    }

    readout
      .expert_level = 1
    {
      switching = True
        .type = bool
        .help = "False for a detector that never leaves its first gain."
      n_sum = 1
        .type = int(value_min=1, value_max=10000)
        .help = "Frames of the detector that are added to an image before rounding."
      gain = 41.0 -1.439 -0.1145
        .type = floats(size=3)
        .help = "Of the three stages, in ADU/keV."
      gain_spread = 0.01 0.01 0.01
        .type = floats(size=3)
        .help = "Relative standard deviation between pixels."
      pedestal = 3000 15000 15000
        .type = floats(size=3)
        .help = "Of the three stages, in ADU."
      pedestal_spread = 100 450 100
        .type = floats(size=3)
        .help = "Standard deviation between pixels, in ADU."
      noise = 13 4.8 4.8
        .type = floats(size=3)
        .help = "Electronic noise, in ADU rms."
      switch_energy = 310 8700
        .type = floats(size=2)
        .help = "Energy at which a pixel leaves the first and the second gain, in keV."
      switch_spread = 0.6 0.05
        .type = floats(size=2)
        .help = "Standard deviation between pixels: photons for the first switch, a "
                "fraction for the second."
      gain_error = 0 0 0
        .type = floats(size=3)
        .help = "Relative error of the calibration in use: 0.05 reads 5 % high."
      gain_error_spread = 0.01 0.01 0.01
        .type = floats(size=3)
        .help = "Relative standard deviation between pixels."
      pedestal_error = 0 -5 0
        .type = floats(size=3)
        .help = "Error of the calibration in use: photons by which values are read high."
      pedestal_error_spread = 5 5 5
        .type = floats(size=3)
        .help = "Standard deviation between pixels, in ADU."
      non_linearity = None
        .type = float
        .help = "Compression: x photons are seen as x / (1 + x / non_linearity)."
    }

    attenuator_error = None
      .type = floats
      .help = "Relative error of each transmission, one for each sweep."

    reference_scale = 1
      .type = float
      .help = "Factor of the beam in the sweep of highest transmission."

    uniform_decay = 0
      .type = float
      .help = "Intensities fall as exp(-uniform_decay * dose); a sweep at T = 1 has a "
              "dose of 1."

    b_decay = 0
      .type = float
      .help = "Increase of the B factor with dose, in angstrom^2."

    lost_images = 0
      .type = float
      .help = "Share of the images that never reach the file."

    blank_images = 0
      .type = float
      .help = "Share of the images taken with the shutter closed."

    faults {
      masked = 0.8
        .type = float
        .help = "Share of the bad pixels that the pixel mask of the files knows."
"""
    + _fault_phil()
    + """
    }

    compression = *gzip bitshuffle off
      .type = choice
      .help = "Of the images."

    file_layout = *single master
      .type = choice
      .help = "One file a sweep, or a master file with links to data files."

    images_per_file = 1000
      .type = int
      .help = "Images in each data file with file_layout=master."

    saturation_value = None
      .type = int
      .help = "Highest valid value. Left out of the files if None, as in real ones: spot "
              "finding drops pixels above it, and a pile-up there would vanish."

    underload_value = None
      .type = int
      .help = "Lowest valid value; left out of the files if None."
      .expert_level = 1

    diamond = False
      .type = bool
      .help = "Give the instrument a name of Diamond's, so that dxtbx reads the files by "
              "the format class of Diamond."

    output {
      directory = simulated_series
        .type = path
        .help = "Folder for the sweeps and truth.json."
      overwrite = False
        .type = bool
        .help = "Replace an earlier simulation in the folder."
      log = dials.simulate_jungfrau.log
        .type = str
        .help = "Name of the log file in the folder."
    }
    """
)


def build_models(params: Any) -> dict[str, Any]:
    """Translate parameters into the models of the simulation.

    Args:
        params: Extract of PHIL.

    Returns:
        The arguments of simulation.series.prepare, and the file model as "files".

    Raises:
        ValueError: If a parameter is impossible.
    """
    if params.sample != Path(params.sample or "").name:
        raise ValueError(f"sample must be a plain name, not {params.sample}")
    preset = PRESETS[params.detector]
    detector = _detector_model(params)
    geometry = Geometry(
        preset=preset,
        distance=preset.distance if is_auto(params.distance) else params.distance,
        beam_center=preset.beam_center
        if is_auto(params.beam_center)
        else tuple(params.beam_center),
        photon_energy=params.photon_energy,
        panel_per_module=params.panels == "module",
    )
    oscillation = (0.0, *params.oscillation)[-2:]
    series = SeriesModel(
        transmissions=tuple(params.transmission or ()),
        n_images=params.n_images,
        oscillation=oscillation,
        seed=params.seed,
        n_sum=params.readout.n_sum,
        attenuator_error=tuple(params.attenuator_error or ()),
        reference_scale=params.reference_scale,
        uniform_decay=params.uniform_decay,
        b_decay=params.b_decay,
        lost_images=params.lost_images,
        blank_images=params.blank_images,
    )
    crystal = CrystalModel(
        unit_cell=tuple(params.crystal.unit_cell),
        space_group=params.crystal.space_group,
        b_factor=params.crystal.b_factor,
        scale=params.crystal.scale,
        mosaicity=params.crystal.mosaicity,
        spot_size=params.crystal.spot_size,
        d_min=params.crystal.d_min,
    )
    scene = SceneModel(
        background=params.background.photons,
        solvent=params.background.solvent,
        ice=params.background.ice,
        beam_stop=params.beam_stop.radius,
        penumbra=params.beam_stop.penumbra,
        arm_width=params.beam_stop.arm_width,
        arm_transmission=1 - params.beam_stop.arm_opacity,
    )
    by_kind = {kind: getattr(params.faults, kind) for kind in KINDS}
    faults = FaultModel(
        rates={kind: fault.rate for kind, fault in by_kind.items()},
        strengths={kind: tuple(fault.strength) for kind, fault in by_kind.items()},
        shares={kind: tuple(fault.share) for kind, fault in by_kind.items()},
        masked=params.faults.masked,
    )
    files = FileModel(
        compression=params.compression,
        saturation_value=params.saturation_value,
        underload_value=params.underload_value,
        instrument="DIAMOND BEAMLINE I24" if params.diamond else FileModel.instrument,
        images_per_file=params.images_per_file
        if params.file_layout == "master"
        else None,
    )
    return {
        "series": series,
        "geometry": geometry,
        "crystal": crystal,
        "scene": scene,
        "detector": detector,
        "modules": ModuleModel(
            switch_spread=params.notch.module_position_spread,
            area_spread=params.notch.module_area_spread,
        ),
        "faults": faults,
        "files": files,
    }


def is_auto(value: Any) -> bool:
    """Whether a parameter was left to the program."""
    return value is None or value is libtbx.Auto


def _detector_model(params: Any) -> DetectorModel:
    readout, notch = params.readout, params.notch
    model = DetectorModel(
        photon_energy=params.photon_energy,
        gain=tuple(readout.gain),
        gain_spread=tuple(readout.gain_spread),
        pedestal=tuple(readout.pedestal),
        pedestal_spread=tuple(readout.pedestal_spread),
        noise=tuple(readout.noise),
        switch_energy=tuple(readout.switch_energy),
        switch_spread=tuple(readout.switch_spread),
        gain_error=tuple(readout.gain_error),
        gain_error_spread=tuple(readout.gain_error_spread),
        pedestal_error=tuple(readout.pedestal_error),
        pedestal_error_spread=tuple(readout.pedestal_error_spread),
        compression=readout.non_linearity or float("inf"),
        switching=readout.switching,
    )
    if notch.area is None and notch.position is None and notch.spread is None:
        return model
    return with_notch(model, notch.area, notch.position, notch.spread)
