"""The reflections that a mask touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.algorithms.mask_cost import boxes_touched
from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.reflection_file import open_reflection_file

REFLECTIONS, PREDICTIONS = "reflections", "predictions"
# Half the side of the square about the predicted position that counts as the spot
SPOT = 2


@dataclasses.dataclass(frozen=True)
class Touched:
    """Reflections that masked pixels touch.

    Attributes:
        name: Of the reflection file, or of the images that they are predicted for.
        source: REFLECTIONS, as integrated, or PREDICTIONS, from the crystals alone.
        n_reflections: All of them.
        n_box: Those with a masked pixel in their bounding box: their background loses
            a pixel. None for predictions, which have no boxes.
        n_spot: Those with one near the middle, which integration may reject.
    """

    name: str
    source: str
    n_reflections: int
    n_box: int | None
    n_spot: int


def touched_reflections(path: Path, bad: Sequence[np.ndarray]) -> Touched:
    """Count the reflections that bad pixels touch.

    Args:
        path: integrated.refl, or any with bounding boxes.
        bad: True where bad, an array [slow, fast] for each panel.

    Raises:
        InputError: It cannot be read, or lacks what is needed.
    """
    table = open_reflection_file(path)
    try:
        columns = table.column_names
        position = "xyzcal.px" if "xyzcal.px" in columns else "xyzobs.px.value"
        missing = {"panel", "bbox", position} - columns
        if missing:
            raise InputError(f"{path}: there is no column {sorted(missing)[0]}")
        panel = np.asarray(table.read("panel")).astype(int)
        boxes = np.asarray(table.read("bbox"))
        middle = np.asarray(table.read(position))
    finally:
        table.close()
    if panel.size and panel.max() >= len(bad):
        raise InputError(
            f"{path}: it has reflections on panel {panel.max()}, the images have "
            f"{len(bad)} panels"
        )
    fast, slow = np.floor(np.nan_to_num(middle[:, :2])).astype(int).T
    spots = _spot_boxes(fast, slow)
    n_box = n_spot = 0
    for i, mask in enumerate(bad):
        own = panel == i
        n_box += int((boxes_touched(mask, boxes[own, :4]) > 0).sum())
        n_spot += int((boxes_touched(mask, spots[own]) > 0).sum())
    return Touched(path.name, REFLECTIONS, len(panel), n_box, n_spot)


def touched_predictions(
    name: str, spots: Sequence[PredictedSpots], bad: Sequence[np.ndarray]
) -> Touched:
    """Count the predicted spots that bad pixels touch.

    Args:
        name: Of the images.
        spots: On each panel; only those on images that were looked at count.
        bad: True where bad, an array [slow, fast] for each panel.
    """
    n = n_spot = 0
    for own, mask in zip(spots, bad):
        seen = own.on_frames()
        n += int(seen.sum())
        boxes = _spot_boxes(own.fast[seen], own.slow[seen])
        n_spot += int((boxes_touched(mask, boxes) > 0).sum())
    return Touched(name, PREDICTIONS, n, None, n_spot)


def _spot_boxes(fast: np.ndarray, slow: np.ndarray) -> np.ndarray:
    return np.stack(
        [fast - SPOT, fast + SPOT + 1, slow - SPOT, slow + SPOT + 1], axis=1
    )
