"""What a NeXus file promises and refers to, looked at before dxtbx reads it whole.

dxtbx reads masks and axes at the size that they say they have, and follows depends_on
for as long as there is one.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.hdf5_checks import (
    check_chunk,
    check_chunk_shape,
    check_size,
)
from dials_jungfrau_qc.io.wording import reason

if TYPE_CHECKING:
    import h5py

MAGIC_HDF5 = b"\x89HDF\r\n\x1a\n"
# A mask of 32 bits for 64 million pixels; images are read one at a time
MAX_BYTES = 1 << 28
# Axes with a chunk for each of a million images
MAX_CHUNKS = 1 << 20
# No instrument has as many axes on top of each other
MAX_AXES = 1000
_IMAGES = "data"


def check_nexus(path: Path) -> None:
    """Refuse a NeXus file that would take all memory or that leads in circles.

    Files of other formats pass.

    Raises:
        InputError: A data set says that it is larger than memory, or an axis depends on
            itself.
    """
    with path.open("rb") as stream:
        if stream.read(8) != MAGIC_HDF5:
            return
    import h5py

    try:
        with h5py.File(path, "r") as file:
            datasets: list[h5py.Dataset] = []
            file.visititems(
                lambda _, item: (
                    datasets.append(item) if isinstance(item, h5py.Dataset) else None
                )
            )
            for dataset in datasets:
                _check_dataset(dataset)
                _check_dependence(file, dataset)
    # A damaged file: what HDF5 cannot open dxtbx will not read either
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: this HDF5 file cannot be read: {reason(e)}") from e
    except ValueError as e:
        raise InputError(f"{path}: {e}") from e


def _check_dataset(dataset: h5py.Dataset) -> None:
    shape = dataset.shape or ()
    name = dataset.name.rpartition("/")[2]
    if name.startswith(_IMAGES) and len(shape) > 2:
        check_chunk_shape(dataset)
        return
    check_size(dataset, MAX_BYTES)
    if dataset.chunks and dataset.id.get_storage_size():
        starts = [range(0, n, step) for n, step in zip(shape, dataset.chunks)]
        if math.prod(map(len, starts)) > MAX_CHUNKS:
            raise ValueError(f"{dataset.name} is cut into absurdly many chunks")
        for where in itertools.product(*starts):
            check_chunk(dataset, where)


def _check_dependence(file: h5py.File, dataset: h5py.Dataset) -> None:
    """Follow depends_on from an axis; raises ValueError if it comes back."""
    import h5py

    seen = {dataset.name}
    item = dataset
    while isinstance(item, h5py.Dataset):
        target = item.attrs.get("depends_on")
        if isinstance(target, bytes):
            target = target.decode(errors="replace")
        if not isinstance(target, str) or target in ("", "."):
            return
        item = item.parent.get(target) if item.parent else file.get(target)
        if item is None:
            return
        if item.name in seen or len(seen) > MAX_AXES:
            raise ValueError(f"{dataset.name} depends on itself by {target}")
        seen.add(item.name)
