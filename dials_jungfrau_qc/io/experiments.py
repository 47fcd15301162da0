"""What the programs need to know of experiments, as plain values."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dials_jungfrau_qc.io.compat import readable_experiments
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiment_json import (
    check_images,
    read_experiment_json,
    take_out_pickles,
)
from dials_jungfrau_qc.io.masks import read_mask
from dials_jungfrau_qc.io.nexus_checks import check_nexus
from dials_jungfrau_qc.io.reflection_file import ReflectionFile
from dials_jungfrau_qc.io.wording import reason

if TYPE_CHECKING:
    from dxtbx.model.experiment_list import ExperimentList


@dataclasses.dataclass(frozen=True)
class ExperimentInfo:
    """One experiment.

    Attributes:
        identifier: The identifier that the reflection table knows it by; may be empty.
        template: Template or first path of its images; empty if there are none.
        transmission: Of the beam model; 1 where nobody said otherwise.
        panel_names: Shape (p,).
        trusted_ranges: Lower and upper limit of each panel, shape (p, 2).
        d_matrices: The panels' d matrices in mm, shape (p, 3, 3).
        pixel_size: Fast and slow pixel size in mm, shape (p, 2).
        s0: Incident beam vector of length 1 / wavelength in 1/A, shape (3,).
    """

    identifier: str
    template: str
    transmission: float
    panel_names: tuple[str, ...]
    trusted_ranges: np.ndarray
    d_matrices: np.ndarray
    pixel_size: np.ndarray
    s0: np.ndarray


def read_experiments(path: Path) -> list[ExperimentInfo]:
    """Read what the programs need of an experiment list.

    Raises:
        InputError: As for load_experiments.
    """
    return [experiment_info(experiment) for experiment in load_experiments(path)]


def load_experiments(path: Path, check_format: bool = False) -> ExperimentList:
    """Read an experiment list, of an earlier or a later DIALS than the one that runs.

    Args:
        path: The file.
        check_format: Whether the images have to be there.

    Raises:
        InputError: The file is missing or is no experiment list that this DIALS reads.
    """
    from dxtbx.model.experiment_list import ExperimentListFactory

    tree = read_experiment_json(path)
    mask_files = take_out_pickles(path, tree)
    first_images = check_images(path, tree) if check_format else []
    for image in first_images:
        check_nexus(image)
    try:
        experiments = ExperimentListFactory.from_dict(
            readable_experiments(tree),
            check_format=check_format,
            directory=os.fspath(path.parent.absolute()),
        )
    except InputError:
        raise
    # The models and formats of dxtbx raise whatever a damaged value leads to
    except Exception as e:
        if check_format:
            _blame_images(path, first_images, e)
        if isinstance(e, KeyError):
            raise InputError(
                f"{path}: this DIALS cannot read the experiment list: {e} is missing. "
                "Was it written by a later version?"
            ) from e
        raise InputError(
            f"{path}: cannot be read as an experiment list: {reason(e)[:300]}"
        ) from e
    if not len(experiments):
        raise InputError(f"{path}: the experiment list is empty")
    if any(e.detector is None or e.beam is None for e in experiments):
        raise InputError(f"{path}: an experiment has no detector or no beam")
    if check_format:
        _apply_masks(path, experiments, tree, mask_files)
    return experiments


def _blame_images(path: Path, first_images: Sequence[Path], error: Exception) -> None:
    """See whether images are at fault where an experiment list cannot be read.

    Args:
        path: The experiment list.
        first_images: The files that dxtbx opens, as far as they are there.
        error: What dxtbx raised.

    Raises:
        InputError: Images are missing, cannot be read, or are others than before.
    """
    again = "If its images have moved or changed, import them again"
    if isinstance(error, FileNotFoundError) and error.filename:
        raise InputError(
            f"{path}: its image {error.filename} is not there. {again}"
        ) from error
    for image in first_images:
        fault = fault_of_image(image)
        if fault:
            raise InputError(
                f"{path}: its image {image} cannot be read: {fault}. {again}"
            ) from error
    if "# of images" in str(error):
        raise InputError(
            f"{path}: its images are not as many as when they were imported. {again}"
        ) from error


def fault_of_image(path: Path) -> str:
    """Why dxtbx cannot open a file as an image; empty if it can."""
    from dxtbx.format.Registry import get_format_class_for_file

    try:
        if not path.stat().st_size:
            return "the file is empty"
        format_class = get_format_class_for_file(str(path))
        if format_class is None:
            return "dxtbx knows no such image format"
        instance = format_class.get_instance(str(path))
        if instance.get_detector() is None or instance.get_beam() is None:
            return "no detector or no beam is known"
    # What the many formats raise has nothing in common
    except Exception as e:
        return reason(e)
    return ""


def _apply_masks(
    path: Path,
    experiments: ExperimentList,
    tree: Mapping[str, Any],
    mask_files: Mapping[int, str],
) -> None:
    """Give imagesets the masks that dxtbx would have unpickled, with its own combined.

    Raises:
        InputError: A mask cannot be read or does not fit the detector.
    """
    from dxtbx import flumpy
    from dxtbx.format.image import ImageBool
    from dxtbx.serialize.filename import resolve_path

    done = set()
    for experiment, entry in zip(experiments, tree["experiment"]):
        index = entry.get("imageset")
        if index in done or index not in mask_files or experiment.imageset is None:
            continue
        done.add(index)
        mask_path = Path(resolve_path(mask_files[index], str(path.parent.absolute())))
        shapes = [panel.get_image_size()[::-1] for panel in experiment.detector]
        masks = read_mask(mask_path, shapes)
        lookup = experiment.imageset.external_lookup.mask
        if not lookup.data.empty():
            own = [lookup.data.tile(i).data() for i in range(lookup.data.n_tiles())]
            own = [flumpy.to_numpy(mask) for mask in own]
            if [mask.shape for mask in own] != [mask.shape for mask in masks]:
                raise InputError(
                    f"{path}: the mask in the image files does not fit the detector"
                )
            masks = tuple(a & b for a, b in zip(masks, own))
        lookup.data = ImageBool(tuple(flumpy.from_numpy(mask) for mask in masks))
        lookup.filename = os.fspath(mask_path)


def experiment_info(experiment) -> ExperimentInfo:
    """What the programs need to know of a dxtbx experiment."""
    panels = list(experiment.detector)
    return ExperimentInfo(
        identifier=experiment.identifier,
        template=image_template(experiment.imageset),
        transmission=experiment.beam.get_transmission(),
        panel_names=tuple(panel.get_name() for panel in panels),
        trusted_ranges=np.array([panel.get_trusted_range() for panel in panels]),
        d_matrices=np.array([panel.get_d_matrix() for panel in panels]).reshape(
            -1, 3, 3
        ),
        pixel_size=np.array([panel.get_pixel_size() for panel in panels]),
        s0=np.array(experiment.beam.get_s0()),
    )


def images_of(imageset: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """What the imagesets of experiments of the same images have in common."""
    return tuple(imageset.paths()), tuple(imageset.indices())


def image_template(imageset) -> str:
    """Template or first path of the images of an imageset; empty if there are none."""
    if imageset is None:
        return ""
    if hasattr(imageset, "get_template"):
        return imageset.get_template()
    return imageset.paths()[0] if len(imageset) else ""


def match_experiments(
    tables: Sequence[ReflectionFile],
    experiment_lists: Sequence[tuple[Path, list[ExperimentInfo]]],
) -> list[list[ExperimentInfo] | None]:
    """Find the experiments of each reflection table.

    By identifier where a table has identifiers that the lists know; else a table and
    a list go together in the order in which they were given.

    Returns:
        For each table its experiments indexed by id, or None if no list was given.

    Raises:
        InputError: The files do not go together.
    """
    if not experiment_lists:
        return [None] * len(tables)
    known = {
        experiment.identifier: experiment
        for _, experiments in experiment_lists
        for experiment in experiments
        if experiment.identifier
    }
    matched: list[list[ExperimentInfo] | None] = []
    for index, table in enumerate(tables):
        wanted = table.identifiers
        if wanted and all(identifier in known for identifier in wanted.values()):
            by_id = [known[wanted[i]] if i in wanted else None for i in _ids(wanted)]
            if None not in by_id:
                matched.append(by_id)
                continue
        if len(experiment_lists) == len(tables):
            path, experiments = experiment_lists[index]
        elif len(experiment_lists) == 1 and len(tables) == 1:
            path, experiments = experiment_lists[0]
        else:
            raise InputError(
                f"{table.path}: none of the experiment lists has its experiments. Give "
                "one .expt for each .refl, in the same order"
            )
        needed = _n_experiments(table)
        if needed > len(experiments):
            raise InputError(
                f"{table.path} has reflections of {needed} experiments and {path} holds "
                f"{len(experiments)}: give the .expt that was written with it"
            )
        if wanted and any(e.identifier for e in experiments):
            raise InputError(
                f"{table.path} and {path} do not belong together: their experiment "
                "identifiers differ"
            )
        matched.append(experiments)
    return matched


def _ids(identifiers: dict[int, str]) -> range:
    return range(max(identifiers) + 1)


def _n_experiments(table: ReflectionFile) -> int:
    ids = table.read("id") if "id" in table.column_names else np.zeros(1, int)
    highest = int(ids.max()) if len(ids) else -1
    return max([highest, *table.identifiers]) + 1
