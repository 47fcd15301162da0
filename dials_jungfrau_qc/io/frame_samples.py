"""A few frames of a series, to keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.frame_sharing import (
    Unreadable,
    check_unreadable,
    most_unreadable,
)
from dials_jungfrau_qc.io.frames import FrameSource

# Of the pixels that are not masked; where fewer are trusted there is nothing to compare
MIN_TRUSTED = 0.01


def read_samples(
    source: FrameSource, places: np.ndarray, max_unreadable: float = 0.1
) -> list[list[np.ndarray]]:
    """Read a few frames to keep.

    Args:
        source: The frames.
        places: Those to read; others where they cannot be read.
        max_unreadable: Largest share of frames that may be unreadable.

    Returns:
        As many as there are places, unless fewer can be read: the arrays of each frame,
        as FrameReader.read returns them.

    Raises:
        InputError: Too many of them cannot be read.
    """
    samples: list[list[np.ndarray]] = []
    reasons: dict[int, str] = {}
    limit = most_unreadable(source.n_frames, max_unreadable)
    others = np.setdiff1d(np.arange(source.n_frames), places)
    with source.open(len(places)) as reader:
        for k in map(int, np.concatenate([places, others])):
            try:
                samples.append(reader.read(k))
            except FrameError as e:
                reasons[int(source.numbers[k])] = str(e)
            if len(samples) == len(places) or len(reasons) > limit:
                break
    if reasons:
        numbers = tuple(sorted(reasons))
        lost = Unreadable(numbers, reasons[numbers[0]])
        check_unreadable(lost, source.n_frames, limit)
    return samples


def check_trusted(
    source: FrameSource, samples: Sequence[Sequence[np.ndarray]], name: str
) -> None:
    """See that a detector is not, as a whole, outside of its trusted range.

    Args:
        source: What the samples are of.
        samples: The arrays of each frame.
        name: What to call the source.

    Raises:
        InputError: Hardly any pixel that is not masked is trusted in any of the frames.
    """
    n_good = sum(map(np.count_nonzero, source.masks))
    n_trusted = max(
        sum(
            np.count_nonzero(mask & trusted.valid(values))
            for mask, trusted, values in zip(source.masks, source.trusted, frame)
        )
        for frame in samples
    )
    if n_trusted < MIN_TRUSTED * n_good:
        low, high = source.trusted[0].low, source.trusted[0].high
        raise InputError(
            f"{name}: {1 - n_trusted / n_good:.1%} of the pixels that are not masked are "
            "outside of the trusted range. See that it is right: it is from "
            f"{low:.10g} to {high:.10g}"
        )
