"""Images from the command line, as sweeps whose frames can be read."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiment_json import refuse_pickle
from dials_jungfrau_qc.io.experiments import fault_of_image, images_of, load_experiments
from dials_jungfrau_qc.io.frames import (
    FrameSource,
    different_detectors,
    open_frames,
)
from dials_jungfrau_qc.io.nexus_checks import check_nexus
from dials_jungfrau_qc.io.wording import reason


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A rotation series, or stills of one detector taken together.

    Attributes:
        label: Name for people: the file or the template.
        source: Its frames.
        imagesets: The dxtbx imagesets that it was made of.
        d_matrices: The panels' d matrices in mm, shape (p, 3, 3).
        pixel_sizes: (fast, slow) of each panel in mm, shape (p, 2).
        s0: Incident beam vector, shape (3,).
        indexed: Rotation experiments of these images whose crystal is known, one for
            each lattice.
    """

    label: str
    source: FrameSource
    imagesets: tuple[Any, ...]
    d_matrices: np.ndarray
    pixel_sizes: np.ndarray
    s0: np.ndarray
    indexed: tuple[Any, ...] = ()


def open_sweeps(
    images: Sequence[Path],
    experiment_lists: Sequence[Path],
    numbers: Sequence[int] | None = None,
    image_range: tuple[int, int] | None = None,
    stride: int = 1,
) -> list[Sweep]:
    """Open images and experiment lists.

    Stills, which make an experiment each, are judged together as one sweep.

    Args:
        images: Image files.
        experiment_lists: Files that dials.import or a later program wrote.
        numbers: Numbers of the images to take from each sweep.
        image_range: First and last number instead.
        stride: Take every stride-th of them.

    Raises:
        InputError: A file cannot be read, holds no images, or detectors differ.
    """
    experiments = _from_images(images) if images else []
    for path in experiment_lists:
        experiments += _from_list(path)
    rotations: list[Any] = []
    stills: list[Any] = []
    lattices: dict[Any, list[Any]] = {}
    for experiment in experiments:
        imageset = experiment.imageset
        # The lattices of one crystal each have an experiment of the same images
        same = lattices.setdefault(images_of(imageset), [])
        same.append(experiment)
        if len(same) > 1:
            continue
        is_rotation = experiment.scan is not None and len(imageset) > 1
        if is_rotation:
            rotations.append(same)
        else:
            stills.append(experiment)
    sweeps = [
        dataclasses.replace(
            _sweep(same[:1], numbers, image_range, stride),
            indexed=tuple(
                e for e in same if e.crystal is not None and e.goniometer is not None
            ),
        )
        for same in rotations
    ]
    if stills:
        sweeps.append(_sweep(stills, numbers, image_range, stride))
    shapes = sweeps[0].source.panel_shapes
    for sweep in sweeps:
        if sweep.source.panel_shapes != shapes:
            raise different_detectors(
                sweeps[0].imagesets[0].paths()[0],
                shapes,
                sweep.imagesets[0].paths()[0],
                sweep.source.panel_shapes,
            )
    return sweeps


def _from_images(paths: Sequence[Path]) -> list[Any]:
    from dxtbx.model.experiment_list import ExperimentListFactory

    unhandled: list[str] = []
    for path in paths:
        # dxtbx would run the one, and read the masks of the other whatever their size
        refuse_pickle(path)
        check_nexus(path)
    try:
        # dxtbx prints why it begins another sweep
        with contextlib.redirect_stdout(io.StringIO()):
            experiments = list(
                ExperimentListFactory.from_filenames(
                    [str(path) for path in paths], unhandled=unhandled
                )
            )
    # What the many formats raise has nothing in common
    except Exception as e:
        faults = ((path, fault_of_image(path)) for path in paths)
        path, fault = next(
            filter(operator.itemgetter(1), faults), (paths[0], reason(e))
        )
        raise InputError(f"{path}: cannot be read as an image: {fault}") from e
    for path in unhandled:
        fault = fault_of_image(Path(path)) or "dxtbx knows no such image format"
        raise InputError(f"{path}: cannot be read as an image: {fault}")
    return experiments


def _from_list(path: Path) -> list[Any]:
    experiments = list(load_experiments(path, check_format=True))
    if any(experiment.imageset is None for experiment in experiments):
        raise InputError(f"{path}: there are no images in this experiment list")
    return experiments


def _sweep(
    experiments: Sequence[Any],
    numbers: Sequence[int] | None,
    image_range: tuple[int, int] | None,
    stride: int,
) -> Sweep:
    imagesets = [experiment.imageset for experiment in experiments]
    first = experiments[0]
    if first.detector is None or first.beam is None:
        raise InputError(
            f"{imagesets[0].paths()[0]}: its header is cut short, or says nothing of the "
            "detector or the beam"
        )
    return Sweep(
        label=_label(imagesets),
        source=open_frames(imagesets, numbers, image_range, stride),
        imagesets=tuple(imagesets),
        d_matrices=np.array([p.get_d_matrix() for p in first.detector]).reshape(
            -1, 3, 3
        ),
        pixel_sizes=np.array([p.get_pixel_size() for p in first.detector]),
        s0=np.array(first.beam.get_s0()),
    )


def _label(imagesets: Sequence[Any]) -> str:
    paths = imagesets[0].paths()
    template = ""
    if hasattr(imagesets[0], "get_template"):
        template = imagesets[0].get_template()
    name = Path(template or (paths[0] if len(paths) else "images")).name
    return name if len(imagesets) == 1 else f"{name} and {len(imagesets) - 1} more"
