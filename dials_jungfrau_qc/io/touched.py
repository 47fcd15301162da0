"""The reflections that a mask touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.algorithms.mask_cost import boxes_touched
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.reflection_file import open_reflection_file

# Half the side of the square about the predicted position that counts as the spot
SPOT = 2


@dataclasses.dataclass(frozen=True)
class Touched:
    """Reflections that masked pixels touch.

    Attributes:
        path: The reflection file.
        n_reflections: All of its reflections.
        n_box: Those with a masked pixel in their bounding box: their background loses
            a pixel.
        n_spot: Those with one near the middle, which integration may reject.
    """

    path: Path
    n_reflections: int
    n_box: int
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
    spots = np.floor(np.nan_to_num(middle[:, [0, 0, 1, 1]])).astype(int)
    spots += [-SPOT, SPOT + 1, -SPOT, SPOT + 1]
    n_box = n_spot = 0
    for i, mask in enumerate(bad):
        own = panel == i
        n_box += int((boxes_touched(mask, boxes[own, :4]) > 0).sum())
        n_spot += int((boxes_touched(mask, spots[own]) > 0).sum())
    return Touched(path, len(panel), n_box, n_spot)
