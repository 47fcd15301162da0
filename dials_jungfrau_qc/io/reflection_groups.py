"""Which reflections are looked at, and which histogram each of them goes into."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.reflection_file import ReflectionFile

# Bits of the flags column (dials/array_family/reflection_table.h)
FLAGS = {
    "indexed": 1 << 2,
    "strong": 1 << 5,
    "integrated_sum": 1 << 8,
    "integrated_prf": 1 << 9,
}
CHOICES = {
    "indexed": "indexed",
    "strong": "strong",
    "integrated": "integrated_sum",
}


@dataclasses.dataclass(frozen=True)
class Selection:
    """The reflections of a table that are looked at.

    Attributes:
        kind: "indexed", "strong", "integrated" or "all".
        rows: Their rows, ascending, shape (n,).
        n_unassigned: How many more have the flag and belong to no experiment (id -1).
    """

    kind: str
    rows: np.ndarray
    n_unassigned: int


def select_reflections(table: ReflectionFile, choice: str) -> Selection:
    """Select reflections by their flags.

    Args:
        table: The reflection table.
        choice: "Auto", "indexed", "strong", "integrated" or "all". Auto takes the
            indexed reflections if there are any, else the strong ones; in a table of
            integrated intensities without shoeboxes, the integrated ones.

    Raises:
        InputError: There are none.
    """
    flags = (
        table.read("flags")
        if "flags" in table.column_names
        else np.zeros(table.n_rows, dtype=np.uint64)
    )
    if choice == "Auto":
        candidates = ["indexed", "strong"]
        if "shoebox" not in table.column_names:
            candidates.insert(0, "integrated")
    else:
        candidates = [choice]
    ids = _ids(table)
    for kind in candidates:
        chosen = (
            np.ones(table.n_rows, dtype=bool)
            if kind == "all"
            else flags & FLAGS[CHOICES[kind]] != 0
        )
        assigned = chosen & (ids >= 0)
        if assigned.any():
            rows = np.flatnonzero(assigned)
            n_unassigned = int(np.count_nonzero(chosen)) - len(rows)
            return Selection(kind, rows, n_unassigned)
    wanted = " or ".join(candidates)
    present = [
        f"{int(np.count_nonzero(flags & bit))} {name}" for name, bit in FLAGS.items()
    ]
    raise InputError(
        f"{table.path}: no reflection of an experiment is {wanted} "
        f"({table.n_rows} reflections: {', '.join(present)}, "
        f"{int(np.count_nonzero(ids < 0))} without an experiment). "
        "Choose others with reflections=indexed, strong, integrated or all"
    )


@dataclasses.dataclass(frozen=True)
class Group:
    """One histogram.

    Attributes:
        id: The experiment's id in its file, or None if experiments are not told apart.
        identifier: The experiment's identifier; empty if unknown.
        panel: The panel, or None if panels are not told apart.
        suffix: What tells its files from those of the other groups.
    """

    id: int | None
    identifier: str
    panel: int | None
    suffix: str


def make_groups(
    table: ReflectionFile,
    rows: np.ndarray,
    group_by: str,
    n_experiments: int | None = None,
) -> tuple[list[Group], np.ndarray]:
    """Divide reflections into groups.

    Files are numbered as dials.split_experiments numbers them: from 0, with as many
    digits as the last number needs.

    Args:
        table: The reflection table.
        rows: The reflections that are looked at.
        group_by: "experiment", "panel" (of each experiment) or "none".
        n_experiments: The number of experiments if it is known from elsewhere.

    Returns:
        The groups, and the group of each reflection as an index into them.
    """
    if group_by == "none":
        return [Group(None, "", None, "")], np.zeros(len(rows), dtype=np.int64)
    all_ids = _ids(table)
    ids = all_ids[rows]
    present = sorted({*np.unique(all_ids[all_ids >= 0]).tolist(), *table.identifiers})
    n_experiments = max(n_experiments or 0, present[-1] + 1)
    several = len(present) > 1

    def group(id_: int, panel: int | None) -> Group:
        suffix = group_suffix(id_, n_experiments) if several else ""
        if panel is not None:
            suffix += f"_panel{panel}"
        return Group(id_, table.identifiers.get(id_, ""), panel, suffix)

    if group_by == "experiment":
        groups = [group(id_, None) for id_ in present]
        return groups, np.searchsorted(present, ids)
    panels = (
        table.read("panel")[rows].astype(np.int64)
        if "panel" in table.column_names
        else np.zeros(len(rows), dtype=np.int64)
    )
    keys, index = np.unique(
        np.stack([ids, panels], axis=1), axis=0, return_inverse=True
    )
    return [group(int(i), int(p)) for i, p in keys], index.ravel()


def group_suffix(id_: int, n_experiments: int) -> str:
    """The number of an experiment in file names, as dials.split_experiments writes it."""
    if n_experiments == 1:
        return ""
    return f"_{id_:0{len(str(n_experiments - 1))}d}"


def file_stem(path: Path) -> str:
    """The name of a file without .refl, on which the names of the output are built."""
    name = path.name.removesuffix(".gz")
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


def _ids(table: ReflectionFile) -> np.ndarray:
    if "id" in table.column_names:
        return table.read("id").astype(np.int64)
    return np.zeros(table.n_rows, dtype=np.int64)
