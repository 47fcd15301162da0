"""Pixel values and intensities of the spots in a reflection table, by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.resolution import resolution_at_pixels
from dials_jungfrau_qc.algorithms.spot_intensities import (
    IntensityCounts,
    count_intensities,
)
from dials_jungfrau_qc.algorithms.value_counts import ValueCounts
from dials_jungfrau_qc.io.compat import trusted_range_is_inclusive
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiments import ExperimentInfo
from dials_jungfrau_qc.io.pixel_values import (
    NO_SHOEBOXES,
    PixelValues,
    TrustedLimits,
    read_pixel_values,
)
from dials_jungfrau_qc.io.reflection_file import ReflectionFile
from dials_jungfrau_qc.io.reflection_groups import (
    FLAGS,
    Group,
    Selection,
    file_stem,
    make_groups,
    select_reflections,
)
from dials_jungfrau_qc.io.transmissions import find_transmissions

INTEGRATED = "summation intensity from integration"
SPOT_FINDING = "raw sum of the strong pixels, from spot finding"
FROM_SHOEBOXES = "foreground minus background of the shoeboxes"


@dataclasses.dataclass(frozen=True)
class TrustedCounts:
    """Pixels and reflections outside the trusted range, and at its upper limit."""

    n_pixels_untrusted: int
    n_reflections_untrusted: int
    n_pixels_at_maximum: int
    n_reflections_at_maximum: int


@dataclasses.dataclass(frozen=True)
class SpotPixels:
    """The spots of one group: those of an experiment, a panel or a file.

    Attributes:
        group: Which group it is.
        stem: The name of the file without suffix.
        images: Template or name of the images, if it is known.
        panel_name: Name of the panel, if the group is that of a panel and it is known.
        selection: Which of the group's reflections these are, such as "indexed".
        n_reflections: How many there are.
        pixels: Their counted pixel values; None if there are no shoeboxes.
        intensities: Their intensities; None if there are none.
        quantity: What the intensities are, in words.
        trusted: Counts against the trusted range, if it and the pixels are known.
        trusted_maximum: Highest upper limit of the trusted range of its panels, if known.
        resolution: Resolution of each reflection in A, shape (n,), if the geometry is known.
        maximum: Highest pixel of each reflection, shape (n,), if there are pixels.
        image: Image number of each reflection from 0, shape (n,), if known.
        transmission: Transmission of the beam, if it is known.
        thresholded: Whether the pixels are only those above the threshold of spot finding.
    """

    group: Group
    stem: str
    images: str
    panel_name: str
    selection: str
    n_reflections: int
    pixels: ValueCounts | None
    intensities: IntensityCounts | None
    quantity: str
    trusted: TrustedCounts | None
    trusted_maximum: float | None
    resolution: np.ndarray | None
    maximum: np.ndarray | None
    image: np.ndarray | None
    transmission: float | None
    thresholded: bool


def read_spot_pixels(
    table: ReflectionFile,
    experiments: Sequence[ExperimentInfo] | None = None,
    reflections: str = "Auto",
    pixels: str = "foreground",
    group_by: str = "experiment",
    progress: Callable[[int], object] = lambda n_rows: None,
) -> tuple[Selection, list[SpotPixels]]:
    """Read the pixel values and intensities of the spots of a table.

    Args:
        table: The reflection table.
        experiments: Its experiments by id, if known.
        reflections: "Auto", "indexed", "strong", "integrated" or "all".
        pixels: "foreground", "valid" or "all", by the shoebox mask.
        group_by: "experiment", "panel" or "none".
        progress: Called with the number of rows done since the last call.

    Returns:
        Which reflections were taken, and what was found in each group.

    Raises:
        InputError: The table has neither shoeboxes nor integrated intensities, no
            reflection of the kind that is wanted, or is damaged.
    """
    selection = select_reflections(table, reflections)
    rows = selection.rows
    groups, group_of_row = make_groups(
        table, rows, group_by, len(experiments) if experiments else None
    )
    has_sums = "intensity.sum.value" in table.column_names
    integrated = _integrated(table, rows)
    integrated_any = bool(integrated.any())
    limits = _trusted_limits(table, rows, experiments)
    values = None
    if "shoebox" in table.column_names:
        values = read_pixel_values(
            table,
            rows,
            group_of_row,
            len(groups),
            pixels,
            limits,
            sum_shoeboxes=not has_sums,
            progress=progress,
        )
    elif not has_sums or not integrated_any:
        raise InputError(
            f"{table.path}: the reflections have no shoeboxes, so there are no pixels to "
            f"look at: {NO_SHOEBOXES}"
        )

    if not has_sums:
        intensities, quantity, integrated = values.shoebox_sum, FROM_SHOEBOXES, None
    else:
        intensities = table.read("intensity.sum.value")[rows]
        quantity = INTEGRATED if integrated_any else SPOT_FINDING
        integrated = integrated if integrated_any else None

    resolution = _resolution(table, rows, experiments)
    image = _image_numbers(table, rows)
    images = _images(experiments, groups)
    transmissions = _transmissions(experiments, groups)
    order = np.argsort(group_of_row, kind="stable")
    ends = np.cumsum(np.bincount(group_of_row, minlength=len(groups)))
    results = []
    for index, group in enumerate(groups):
        members = order[ends[index - 1] if index else 0 : ends[index]]
        results.append(
            SpotPixels(
                group=group,
                stem=file_stem(table.path),
                images=images[index],
                panel_name=_panel_name(experiments, group),
                selection=selection.kind,
                n_reflections=len(members),
                pixels=values.counts[index] if values else None,
                intensities=count_intensities(
                    intensities[members],
                    None if integrated is None else integrated[members],
                ),
                quantity=quantity,
                trusted=_trusted_counts(values, index, members),
                trusted_maximum=_trusted_maximum(limits, members),
                resolution=None if resolution is None else resolution[members],
                maximum=values.maximum[members] if values else None,
                image=None if image is None else image[members],
                transmission=transmissions[index],
                thresholded=not integrated_any,
            )
        )
    return selection, results


def _integrated(table: ReflectionFile, rows: np.ndarray) -> np.ndarray:
    if "flags" not in table.column_names:
        return np.zeros(len(rows), dtype=bool)
    return table.read("flags")[rows] & FLAGS["integrated_sum"] != 0


def _ids_and_panels(
    table: ReflectionFile,
    rows: np.ndarray,
    experiments: Sequence[ExperimentInfo],
) -> tuple[np.ndarray, np.ndarray]:
    """Experiment and panel of each reflection, known to exist.

    Raises:
        InputError: A reflection lies on a panel that its experiment does not have.
    """
    names = table.column_names
    ids = table.read("id")[rows] if "id" in names else np.zeros(len(rows), int)
    panels = (
        table.read("panel")[rows].astype(np.int64)
        if "panel" in names
        else np.zeros(len(rows), int)
    )
    n_panels = np.array([len(experiment.panel_names) for experiment in experiments])
    # Unsigned in the file, so that the largest are negative here
    absurd = (panels < 0).any()
    if absurd or (ids >= len(experiments)).any() or (panels >= n_panels[ids]).any():
        highest = int(panels.astype(np.uint64).max())
        raise InputError(
            f"{table.path}: reflections lie on panel {highest}, which the "
            "detector of their experiment does not have: give the .expt that was written "
            "with this file"
        )
    return ids, panels


def _trusted_limits(
    table: ReflectionFile,
    rows: np.ndarray,
    experiments: Sequence[ExperimentInfo] | None,
) -> TrustedLimits | None:
    if not experiments:
        return None
    ids, panels = _ids_and_panels(table, rows, experiments)
    limits = np.concatenate([experiment.trusted_ranges for experiment in experiments])
    first = _first_panels(experiments)
    low, high = limits[first[ids] + panels].T
    return TrustedLimits(low, high, trusted_range_is_inclusive())


def _first_panels(experiments: Sequence[ExperimentInfo]) -> np.ndarray:
    """Index of each experiment's first panel when all panels stand in one row."""
    sizes = [len(experiment.panel_names) for experiment in experiments]
    return np.cumsum([0, *sizes])[:-1]


def _trusted_counts(
    values: PixelValues | None, index: int, members: np.ndarray
) -> TrustedCounts | None:
    if values is None or values.n_untrusted is None:
        return None
    return TrustedCounts(
        int(values.n_untrusted[index]),
        int(np.count_nonzero(values.untrusted[members])),
        int(values.n_at_maximum[index]),
        int(np.count_nonzero(values.at_maximum[members])),
    )


def _resolution(
    table: ReflectionFile,
    rows: np.ndarray,
    experiments: Sequence[ExperimentInfo] | None,
) -> np.ndarray | None:
    """Resolution of each reflection in A, shape (n,), if the geometry is known."""
    if not experiments or "xyzobs.px.value" not in table.column_names:
        return None
    ids, panels = _ids_and_panels(table, rows, experiments)
    xy = table.read("xyzobs.px.value")[rows, :2]
    d = np.empty(len(rows))
    for id_ in np.unique(ids):
        own = ids == id_
        experiment = experiments[id_]
        d[own] = resolution_at_pixels(
            experiment.d_matrices,
            experiment.pixel_size,
            experiment.s0,
            panels[own],
            xy[own],
        )
    return d


def _trusted_maximum(limits: TrustedLimits | None, members: np.ndarray) -> float | None:
    if limits is None or not len(members):
        return None
    return float(limits.high[members].max())


def _image_numbers(table: ReflectionFile, rows: np.ndarray) -> np.ndarray | None:
    if "xyzobs.px.value" not in table.column_names:
        return None
    return table.read("xyzobs.px.value")[rows, 2]


def _transmissions(
    experiments: Sequence[ExperimentInfo] | None, groups: Sequence[Group]
) -> list[float | None]:
    """Transmission of each group as far as something records it."""
    if not experiments:
        return [None] * len(groups)
    known = [recorded_transmission(experiment) for experiment in experiments]
    return [None if group.id is None else known[group.id] for group in groups]


def recorded_transmission(experiment: ExperimentInfo) -> float | None:
    """Transmission by the beam model, the image file or its name; None if none says."""
    try:
        return find_transmissions([experiment])[0].value
    except InputError:
        return None


def _images(
    experiments: Sequence[ExperimentInfo] | None, groups: Sequence[Group]
) -> list[str]:
    if not experiments:
        return [""] * len(groups)
    templates = list(dict.fromkeys(e.template for e in experiments))
    return [
        experiments[group.id].template
        if group.id is not None
        else ", ".join(templates[:3]) + (", ..." if len(templates) > 3 else "")
        for group in groups
    ]


def _panel_name(experiments: Sequence[ExperimentInfo] | None, group: Group) -> str:
    if not experiments or group.panel is None:
        return ""
    return experiments[group.id].panel_names[group.panel]
