"""Reflection tables in DIALS' HDF5 format (written with DIALS_USE_H5).

Layout: dials/util/table_as_hdf5_file.py of DIALS 3.28 and later.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.hdf5_checks import check_chunk, check_size
from dials_jungfrau_qc.io.reflection_file import check_column
from dials_jungfrau_qc.io.shoebox_blob import (
    BLOCK_BYTES,
    ShoeboxPixels,
    bbox_sizes,
)


class Hdf5ReflectionFile:
    """A reflection table in DIALS' HDF5 format; see ReflectionFile."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as e:
            raise InputError(f"{path}: damaged HDF5 file ({e})") from e
        try:
            self._group = self._latest_group()
            self.identifiers = {
                int(i): str(name)
                for i, name in zip(
                    self._group.attrs["experiment_ids"],
                    self._group.attrs["identifiers"],
                )
            }
            self.n_rows = self._count_rows()
        # A damaged file can hold groups where data sets should be, and the reverse
        except (
            *(KeyError, OSError, RuntimeError, ValueError),
            *(AttributeError, TypeError, IndexError),
        ) as e:
            self._file.close()
            if isinstance(e, InputError):
                raise
            raise InputError(
                f"{path}: this HDF5 file is not a DIALS reflection table ({e})"
            ) from e

    def _latest_group(self) -> h5py.Group:
        steps = self._file["dials"]
        tables = steps[list(steps)[-1]]
        if len(tables) != 1:
            raise InputError(
                f"{self.path}: the file holds {len(tables)} reflection tables; split it "
                "into one table a file"
            )
        return tables[list(tables)[0]]

    def _count_rows(self) -> int:
        columns = [i for i in self._group.values() if isinstance(i, h5py.Dataset)]
        if any(not column.shape for column in columns):
            raise InputError(
                f"{self.path}: damaged reflection table: a column is empty"
            )
        lengths = {column.shape[0] for column in columns}
        if len(lengths) > 1:
            raise InputError(
                f"{self.path}: the columns have different lengths: {sorted(lengths)}"
            )
        return lengths.pop() if lengths else 0

    @property
    def column_names(self) -> set[str]:
        return set(self._group)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows of a column; see ReflectionFile."""
        column = self._group.get(name)
        if not isinstance(column, h5py.Dataset):
            raise InputError(f"{self.path}: the table has no column {name!r}")
        values = self._read_checked(column, slice(start, stop))
        check_column(self.path, name, values)
        return values

    def iter_shoeboxes(
        self, rows: np.ndarray, background: bool = False
    ) -> Iterator[ShoeboxPixels]:
        """Read shoeboxes in blocks; see ReflectionFile."""
        group = self._group.get("shoebox")
        if not isinstance(group, h5py.Group):
            raise InputError(f"{self.path}: the table has no shoeboxes")
        data, mask = self._pixels(group, "data", "f"), self._pixels(group, "mask", "iu")
        values = self._pixels(group, "background", "f") if background else None
        bbox = group.get("bbox")
        if not isinstance(bbox, h5py.Dataset) or not bbox.shape:
            raise InputError(f"{self.path}: damaged shoeboxes: they have no bbox")
        bbox = self._read_checked(bbox)
        check_column(self.path, "bbox", bbox)
        sizes = bbox_sizes(bbox)
        if sizes.sum() != len(data) and bbox_sizes(bbox, True).sum() == len(data):
            sizes = bbox_sizes(bbox, True)
        if len(data) == 0:
            sizes = np.zeros(len(bbox), dtype=np.int64)
        if (
            len(bbox) != self.n_rows
            or sizes.min(initial=0) < 0
            or sizes.sum() != len(data)
            or len(mask) != len(data)
            or (values is not None and len(values) != len(data))
        ):
            raise InputError(
                f"{self.path}: the shoeboxes do not agree with their bounding boxes: the "
                "file is damaged"
            )
        return self._iter_blocks(data, mask, values, np.cumsum(sizes), sizes, rows)

    def _pixels(self, group: h5py.Group, name: str, kinds: str) -> h5py.Dataset:
        """A data set of the pixels of all shoeboxes, known to be readable piece by piece."""
        dataset = group.get(f"shoebox_{name}")
        if (
            not isinstance(dataset, h5py.Dataset)
            or dataset.ndim != 1
            or dataset.dtype.kind not in kinds
        ):
            raise InputError(f"{self.path}: damaged shoeboxes: {name} is missing")
        try:
            check_size(dataset)
        except (ValueError, OSError, RuntimeError) as e:
            raise InputError(f"{self.path}: the file is damaged: {e}") from e
        return dataset

    def _iter_blocks(self, data, mask, values, ends, sizes, rows):
        first = 0
        while first < len(rows):
            begin = int(ends[rows[first]] - sizes[rows[first]])
            limit = begin + BLOCK_BYTES // 12
            last = max(first + 1, int(np.searchsorted(ends[rows], limit, "right")))
            piece = slice(begin, int(ends[rows[last - 1]]))
            block = rows[first:last]
            keep = np.zeros(int(rows[last - 1]) - int(rows[first]) + 1, dtype=bool)
            keep[block - rows[first]] = True
            pixels = np.repeat(keep, sizes[rows[first] : rows[last - 1] + 1])
            yield ShoeboxPixels(
                block,
                sizes[block],
                self._read_data(data, piece)[pixels].astype("<f4", copy=False),
                self._read_data(mask, piece)[pixels].astype(np.uint8),
                None
                if values is None
                else self._read_data(values, piece)[pixels].astype("<f4", copy=False),
            )
            first = last

    def _read_checked(
        self, dataset: h5py.Dataset, piece: slice = slice(None)
    ) -> np.ndarray:
        """Read of a data set that can be as large as it says."""
        try:
            check_size(dataset)
        except (ValueError, OSError, RuntimeError) as e:
            raise InputError(f"{self.path}: the file is damaged: {e}") from e
        return self._read_data(dataset, piece)

    def _read_data(self, dataset: h5py.Dataset, piece: slice = slice(None)):
        # Registers the LZ4 filter with which DIALS compresses shoeboxes
        import hdf5plugin  # noqa: F401

        try:
            self._check_chunks(dataset, piece)
            return dataset[piece]
        except (OSError, RuntimeError, ValueError, TypeError) as e:
            raise InputError(
                f"{self.path}: {dataset.name} cannot be read: the file is damaged ({e})"
            ) from e

    @staticmethod
    def _check_chunks(dataset: h5py.Dataset, piece: slice) -> None:
        """See that no chunk of a piece unpacks to more than it should; ValueError if so."""
        if not dataset.chunks or not dataset.size:
            return
        first, last, _ = piece.indices(dataset.shape[0])
        starts = [range(0, n, s) for n, s in zip(dataset.shape, dataset.chunks)]
        step = dataset.chunks[0]
        starts[0] = range(first - first % step, last, step)
        for where in itertools.product(*starts):
            check_chunk(dataset, where)

    def close(self) -> None:
        self._file.close()
