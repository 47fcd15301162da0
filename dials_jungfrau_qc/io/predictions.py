"""Where the crystals of an indexed experiment put their spots."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.sweeps import Sweep
from dials_jungfrau_qc.io.wording import reason

# Reciprocal lattice points that are looked at, each of 12 bytes
MAX_POINTS = 50_000_000

logger = logging.getLogger("dials.jungfrau_qc.predictions")


def predict_spots(sweep: Sweep, radius: float, images: float) -> list[PredictedSpots]:
    """Predict the spots of all crystals of a sweep, to the corner of the detector.

    Args:
        sweep: Of which the crystals, the scan and the goniometer are known.
        radius: Pixels around a prediction that may be part of the spot.
        images: Images before and after the one with its middle that may show it.

    Returns:
        The spots on each panel; nothing where no crystal is known.

    Raises:
        InputError: The models cannot predict.
    """
    if not sweep.indexed:
        return []
    panel, positions = (
        np.concatenate(column)
        for column in zip(*(_positions(experiment) for experiment in sweep.indexed))
    )
    logger.info("%s: %d spots are predicted and left alone", sweep.label, len(panel))
    fast, slow, z = positions.T
    spots = []
    for i, shape in enumerate(sweep.source.panel_shapes):
        own = panel == i
        spots.append(
            PredictedSpots(
                slow=np.floor(slow[own]).astype(np.int64),
                fast=np.floor(fast[own]).astype(np.int64),
                # The first image goes from 0 to 1
                first=np.floor(z[own] - images).astype(np.int64) + 1,
                last=np.floor(z[own] + images).astype(np.int64) + 1,
                numbers=sweep.source.numbers,
                radius=radius,
                shape=shape,
            )
        )
    return spots


def _positions(experiment: Any) -> tuple[np.ndarray, np.ndarray]:
    """Panel, shape (n,), and position in pixels and images, shape (n, 3)."""
    from dials.array_family import flex

    try:
        d_min = _resolution(experiment)
        table = flex.reflection_table.from_predictions(experiment, dmin=d_min)
    # The models of dxtbx raise whatever a damaged value leads to
    except Exception as e:
        raise InputError(
            f"{Path(experiment.imageset.paths()[0]).name}: its spots cannot be predicted: "
            f"{reason(e)}. predicted.radius=0 leaves them out of account"
        ) from e
    positions = table["xyzcal.px"].as_double().as_numpy_array().reshape(-1, 3)
    return table["panel"].as_numpy_array().astype(np.int64), positions


def _resolution(experiment: Any) -> float:
    """Resolution in A to which spots are predicted: the corner of the detector.

    Or less far, if the cell is so large that the points of its reciprocal lattice, one in
    each 1 / V of a sphere of radius 1 / d_min, would fill memory.
    """
    corner = experiment.detector.get_max_resolution(experiment.beam.get_s0())
    volume = experiment.crystal.get_unit_cell().volume()
    possible = (4 / 3 * math.pi * volume / MAX_POINTS) ** (1 / 3)
    if possible > corner:
        logger.warning(
            "The unit cell has %.3g A^3: spots are predicted to %.1f A alone, not to the "
            "%.1f A of the corner of the detector",
            volume,
            possible,
            corner,
        )
    return max(corner, possible)
