"""The answers: what was put into a series, in the form of truth.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from dials_jungfrau_qc.simulation.detector import (
    DetectorModel,
    GainSwitch,
    actual_gain_switch,
    planned_gain_switch,
)
from dials_jungfrau_qc.simulation.faults import KINDS
from dials_jungfrau_qc.simulation.geometry import MODULE_SHAPE
from dials_jungfrau_qc.simulation.series import Simulation


def describe(simulation: Simulation, detector: DetectorModel) -> dict[str, Any]:
    """Everything that an analysis of the series should find.

    Args:
        simulation: The series.
        detector: The model that its modules are variations of.

    Returns:
        A dictionary of dictionaries, lists, numpy arrays and scalars.
    """
    crystal = simulation.crystal
    return {
        "crystal": {
            "unit_cell": list(crystal.get_unit_cell().parameters()),
            "space_group": str(crystal.get_space_group().info()),
            "A": list(crystal.get_A()),
            "n_reflections": len(simulation.reflections),
        },
        "detector": {
            "image_size": list(simulation.geometry.shape[::-1]),
            "beam_center": list(simulation.geometry.beam_center),
            "distance": simulation.geometry.distance,
            "wavelength": simulation.geometry.wavelength,
            "background_range": _background_range(simulation),
        },
        "sweeps": [_sweep(simulation, i) for i in range(len(simulation.sweeps))],
        "gain_switch": _gain_switch(simulation, detector, 0),
        "second_gain_switch": _gain_switch(simulation, detector, 1),
        "ceiling": _ceiling(simulation, detector),
        "bad_pixel_strengths": {kind: KINDS[kind].strength for kind in KINDS},
        "bad_pixels": _bad_pixels(simulation),
    }


def verdict(truth: dict[str, Any]) -> str:
    """What an analysis of the pixels should find, in one sentence.

    Args:
        truth: From describe.

    Returns:
        The sentence.
    """
    pile_up = f"pixels pile up at {truth['ceiling']['median']:.0f} photons"
    switch = truth["gain_switch"]
    if switch is None:
        return f"The detector does not switch gains, and {pile_up}."
    return (
        f"The gain switches at {switch['position']:.2f} photons with "
        f"J = {switch['area']:.2f} photons, and {pile_up}."
    )


def _valid(simulation: Simulation) -> np.ndarray:
    return simulation.pixel_mask == 0


def _background_range(simulation: Simulation) -> list[float]:
    """Lowest and highest background at T = 1 outside the deep shadow."""
    lit = _valid(simulation) & (simulation.shadow > 0.5)
    image = (simulation.background * simulation.shadow)[lit]
    return [float(image.min()), float(image.max())]


def _sweep(simulation: Simulation, i: int) -> dict[str, Any]:
    sweep = simulation.sweeps[i]
    n_images = simulation.series.n_images
    return {
        "transmission": sweep.transmission,
        "true_transmission": sweep.true_transmission,
        "relative_beam": sweep.beam,
        "dose": [sweep.dose_start, sweep.dose_start + sweep.dose_per_image * n_images],
        # Image numbers begin at 1, as everywhere in DIALS.
        "lost_images": np.flatnonzero(sweep.lost) + 1,
        "blank_images": np.flatnonzero(sweep.blank) + 1,
    }


def _numbers(switch: GainSwitch | None) -> dict[str, float] | None:
    if switch is None:
        return None
    return {
        "position": switch.position,
        "spread": switch.spread,
        "area": switch.area,
        "area_spread": switch.area_spread,
    }


def _gain_switch(
    simulation: Simulation, detector: DetectorModel, stage: int
) -> dict[str, Any] | None:
    """Position n_sw and J, as planned, of all valid pixels, and module by module."""
    planned = _numbers(planned_gain_switch(detector, stage))
    if planned is None:
        return None
    valid = _valid(simulation)
    modules = []
    for slow, fast in simulation.geometry.module_origins():
        use = np.zeros_like(valid)
        here = np.s_[slow : slow + MODULE_SHAPE[0], fast : fast + MODULE_SHAPE[1]]
        use[here] = valid[here]
        modules.append(_numbers(actual_gain_switch(simulation.pixels, stage, use)))
    actual = _numbers(actual_gain_switch(simulation.pixels, stage, valid))
    return {**actual, "planned": planned, "modules": modules}


def _ceiling(simulation: Simulation, detector: DetectorModel) -> dict[str, Any]:
    valid = _valid(simulation).ravel()
    highest = simulation.pixels.ceiling(2 if detector.switching else 0)[valid]
    return {
        "median": float(np.median(highest)),
        "spread": float(highest.std()),
        "lowest": float(highest.min()),
        "highest": float(highest.max()),
        "by_gain": [detector.ceiling(stage) for stage in range(3)],
    }


def _bad_pixels(simulation: Simulation) -> list[dict[str, Any]]:
    faults = simulation.pixels.faults
    shape = simulation.geometry.shape
    slow, fast = np.unravel_index(faults.index, shape)
    panel, on_slow, on_fast = simulation.geometry.panel_position(slow, fast)
    known = simulation.pixel_mask.ravel()[faults.index] != 0
    return [
        {
            "panel": int(panel[i]),
            "slow": int(on_slow[i]),
            "fast": int(on_fast[i]),
            "kind": str(faults.kind[i]),
            "strength": float(faults.strength[i]),
            "share": float(faults.share[i]),
            "masked": bool(known[i]),
        }
        for i in range(len(faults))
    ]
