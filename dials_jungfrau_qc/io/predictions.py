"""Where the crystals of an indexed experiment put their spots."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.sweeps import Sweep

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

    d_min = experiment.detector.get_max_resolution(experiment.beam.get_s0())
    try:
        table = flex.reflection_table.from_predictions(experiment, dmin=d_min)
    except RuntimeError as e:
        raise InputError(f"its spots cannot be predicted: {e}") from e
    positions = table["xyzcal.px"].as_double().as_numpy_array().reshape(-1, 3)
    return table["panel"].as_numpy_array().astype(np.int64), positions
