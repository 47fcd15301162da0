"""Pixel values of whole frames, which no threshold of spot finding has touched."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.algorithms.value_counts import (
    ValueCounts,
    count_values,
    merge_counts,
)
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiments import (
    experiment_info,
    images_of,
    load_experiments,
)
from dials_jungfrau_qc.io.frame_sharing import (
    TooFewFramesError,
    map_frames,
    most_unreadable,
)
from dials_jungfrau_qc.io.frames import FrameReader, open_frames
from dials_jungfrau_qc.io.reflection_groups import Group, group_suffix
from dials_jungfrau_qc.io.spot_pixels import SpotPixels, recorded_transmission

logger = logging.getLogger("dials.jungfrau_qc.frame_pixels")

# Merging counts costs a sort of the distinct values: not for each frame
_MERGE_EVERY = 16


def read_frame_pixels(
    path: Path,
    group_by: str = "experiment",
    image_range: tuple[int, int] | None = None,
    stride: int = 1,
    nproc: int = 1,
    max_unreadable: float = 0.1,
    progress: Callable[[str, int], Callable[[int], object]] | None = None,
) -> list[SpotPixels]:
    """Count the pixel values of the images of an experiment list, masks applied.

    The static mask is applied and the trusted range is not, so that a pile-up above it
    can be seen.

    Args:
        path: The experiment list.
        group_by: "experiment", "panel" or "none".
        image_range: First and last image of each experiment; all by default.
        stride: Take every stride-th of them.
        nproc: Number of processes.
        max_unreadable: Largest share of the images of an experiment that may be
            unreadable, or of the stills of a list; they are left out.
        progress: Given a name and a number of frames, returns what is to be called with
            the number of frames done since its last call.

    Returns:
        A group for each experiment, each panel of each, or one for all. Images that
        several experiments share, such as the lattices of one crystal, are in the first.

    Raises:
        InputError: The images are not there or cannot be read.
    """
    experiments = load_experiments(path, check_format=True)
    groups: list[SpotPixels] = []
    # Of stills, each an experiment of its own; one at least has to be read
    n_lost = 0
    may_be_lost = most_unreadable(len(experiments), max_unreadable)
    may_be_lost = min(may_be_lost, len(experiments) - 1)
    counted: dict[Hashable, int] = {}
    for id_, experiment in enumerate(experiments):
        if experiment.imageset is None or not len(experiment.imageset):
            raise InputError(f"{path}: experiment {id_} has no images")
        first = counted.setdefault(images_of(experiment.imageset), id_)
        if first != id_:
            logger.info(
                "Experiment %d has the images of experiment %d, which are counted once",
                id_,
                first,
            )
            continue
        info = experiment_info(experiment)
        suffix = group_suffix(id_, len(experiments))
        source = open_frames(
            experiment.imageset, image_range=image_range, stride=stride
        )
        name = Path(info.template).name or f"experiment {id_}"
        if not any(mask.any() for mask in source.masks):
            raise InputError(f"{path}: all pixels of {name} are masked")
        done = progress(name, source.n_frames) if progress else None
        by_panel = group_by == "panel"
        try:
            parts, _ = map_frames(
                source,
                functools.partial(_count_frames, by_panel=by_panel),
                nproc,
                max_unreadable=max_unreadable,
                progress=done,
            )
        except TooFewFramesError as e:
            n_lost += 1
            if source.n_frames > 1 or n_lost > may_be_lost:
                raise
            logger.warning("%s: experiment %d is left out: %s", path, id_, e)
            continue
        for panel in range(len(info.panel_names) if by_panel else 1):
            limit = info.trusted_ranges[panel if by_panel else slice(None), ..., 1]
            groups.append(
                _group(
                    path,
                    Group(
                        id_,
                        info.identifier,
                        panel if by_panel else None,
                        suffix + (f"_panel{panel}" if by_panel else ""),
                    ),
                    info.template,
                    info.panel_names[panel] if by_panel else "",
                    merge_counts(part[panel] for part in parts if part),
                    float(np.max(limit)),
                    recorded_transmission(info),
                )
            )
    if group_by == "none":
        return [_all_together(path, groups)]
    return groups


def _count_frames(
    frames: Iterator[tuple[int, FrameReader, list[np.ndarray]]], by_panel: bool
) -> list[ValueCounts]:
    """Count the values of frames, for each panel or for all of them."""
    parts: list[list[ValueCounts]] = []
    for _, reader, panels in frames:
        own = [
            count_values(values[reader.mask(panel)])
            for panel, values in enumerate(panels)
        ]
        parts.append(own if by_panel else [merge_counts(own)])
        if len(parts) >= _MERGE_EVERY:
            parts = [[merge_counts(each) for each in zip(*parts)]]
    return [merge_counts(each) for each in zip(*parts)]


def _group(
    path: Path,
    group: Group,
    images: str,
    panel_name: str,
    counted: ValueCounts,
    trusted_maximum: float | None,
    transmission: float | None,
) -> SpotPixels:
    return SpotPixels(
        group=group,
        stem=path.stem,
        images=images,
        panel_name=panel_name,
        selection="frames",
        n_reflections=0,
        pixels=counted,
        intensities=None,
        quantity="",
        trusted=None,
        trusted_maximum=trusted_maximum,
        resolution=None,
        maximum=None,
        image=None,
        transmission=transmission,
        thresholded=False,
    )


def _all_together(path: Path, groups: Sequence[SpotPixels]) -> SpotPixels:
    limits = [g.trusted_maximum for g in groups if g.trusted_maximum is not None]
    return _group(
        path,
        Group(None, "", None, ""),
        groups[0].images + (", ..." if len(groups) > 1 else ""),
        "",
        merge_counts(group.pixels for group in groups),
        max(limits, default=None),
        groups[0].transmission if len(groups) == 1 else None,
    )
