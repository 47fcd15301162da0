"""The criterion of DIALS' own dials.find_bad_pixels, for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.frames import FrameSource
from dials_jungfrau_qc.io.processes import run_in_processes
from dials_jungfrau_qc.io.sweeps import Sweep
from dials_jungfrau_qc.io.wording import reason


def signal_counts(sweep: Sweep, nproc: int) -> np.ndarray:
    """In how many images each pixel is signal to spot finding.

    The threshold is that of the DIALS that runs, taken from its own program: versions
    differ in it.

    Args:
        sweep: A rotation series.
        nproc: Number of processes.

    Returns:
        Int array [slow, fast].

    Raises:
        InputError: DIALS' program does not know such a detector, or cannot read.
    """
    from dxtbx import flumpy

    from dials.command_line.find_bad_pixels import find_constant_signal_pixels

    source = sweep.source
    if len(source.panel_shapes) != 1 or len(sweep.imagesets) != 1:
        raise InputError(
            "method=dispersion is for rotation series of detectors with one panel; "
            "use method=statistics"
        )
    images = image_indices(source)
    try:
        shares = np.array_split(images, min(nproc, len(images)))
        items = [(sweep.imagesets[0], share.tolist()) for share in shares]
        found = run_in_processes(find_constant_signal_pixels, items, len(items))
        parts = [flumpy.to_numpy(part) for part in found]
    except InputError:
        raise
    # What the many formats raise has nothing in common
    except Exception as e:
        raise InputError(
            f"{sweep.label}: the images cannot be read, and method=dispersion leaves none "
            f"out: {reason(e)}"
        ) from e
    return np.sum(parts, axis=0).reshape(source.panel_shapes[0])


def image_indices(source: FrameSource) -> Sequence[int]:
    """The places of images in their imageset as DIALS' program counts them, from 1."""
    return [int(position) + 1 for position in source.positions]


def constant_signal(counts: np.ndarray, n_images: int) -> np.ndarray:
    """Pixels that are signal in half of the images, as DIALS' program rounds half."""
    return counts >= max(1, n_images // 2)
