"""Frames spread over processes, each of which has a share of them."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Any, TypeVar

import numpy as np

from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.frames import FrameReader, FrameSource
from dials_jungfrau_qc.io.processes import WORKER_DIED, collect, run_in_processes

logger = logging.getLogger("dials.jungfrau_qc.frame_sharing")

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Share:
    """What one process is to do: some frames of a source, so many at a time."""

    source: FrameSource
    frames: np.ndarray
    depth: int = 1


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """Frames that could not be read: their numbers, and why the first could not."""

    numbers: tuple[int, ...] = ()
    reason: str = ""

    def __add__(self, other: Unreadable) -> Unreadable:
        return Unreadable(
            tuple(sorted(self.numbers + other.numbers)), self.reason or other.reason
        )


def map_frames(
    source: FrameSource,
    work: Callable[[Iterator[tuple[int, FrameReader, list[np.ndarray]]]], Result],
    nproc: int = 1,
    frames: Sequence[int] | None = None,
    groups: Sequence[np.ndarray] | None = None,
    depth: int = 1,
    max_unreadable: float = 0.1,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
    merge: Callable[[Result, Result], Result] | None = None,
) -> tuple[list[Result], Unreadable]:
    """Run work over frames, in consecutive shares of equal size, one for each process.

    Args:
        source: The frames.
        work: Called once in each process with an iterator over its share, which gives
            (k, reader, panels): the frame's place in the source, the reader that has
            just read it, and its arrays as FrameReader.read returns them. Its results
            are returned in the order of the frames. It must be possible to pickle it: a
            function of a module, or functools.partial of one.
        nproc: Number of processes; 1 reads in this process.
        frames: Places in the source to read, in order; all by default.
        groups: The same in groups that no two processes may share.
        depth: How many frames hold at a time, for work that takes several at once.
        max_unreadable: Largest share of frames that may be unreadable; they are skipped.
        executor: Where the shares run; by default a new pool of nproc processes.
        progress: Called with the number of frames done since its last call.
        merge: Makes one of the results so far and that of the next share, at once, so
            that large results are never all in memory; the one result is returned.

    Raises:
        TooFewFramesError: Too many frames cannot be read.
        InputError: A process died.
    """
    if groups is None:
        places = np.arange(source.n_frames) if frames is None else np.asarray(frames)
        groups = places[:, None]
    nproc = max(1, min(nproc, len(groups)))
    shares = [
        Share(source, np.concatenate([groups[i] for i in part]), depth)
        for part in np.array_split(np.arange(len(groups)), nproc)
    ]
    n_frames = sum(map(len, groups))
    limit = most_unreadable(n_frames, max_unreadable)
    if nproc == 1 and executor is None:
        done = [_run_share(shares[0], work, limit, progress)]
    else:
        done = _run_in_processes(shares, work, limit, executor, progress, merge)
    unreadable = sum((lost for _, lost in done), Unreadable())
    if unreadable.numbers:
        check_unreadable(unreadable, n_frames, limit)
        logger.warning(
            "%d of %d images cannot be read and are left out, the first of them image %d: %s",
            len(unreadable.numbers),
            n_frames,
            unreadable.numbers[0],
            unreadable.reason,
        )
    return [result for result, _ in done], unreadable


def most_unreadable(n_frames: int, share: float) -> int:
    """How many frames may be unreadable, given the largest share."""
    # A share that is meant to be a whole number of frames is that number
    return math.floor(share * n_frames + 1e-9)


class TooFewFramesError(InputError):
    """More frames of a source cannot be read than may be left out."""


def check_unreadable(unreadable: Unreadable, n_frames: int, limit: int) -> None:
    """Refuse to go on with too few frames.

    Args:
        unreadable: Those that cannot be read; above the limit no more are looked for.
        n_frames: All that should be read.
        limit: How many of them may be unreadable.

    Raises:
        TooFewFramesError: More than limit frames are unreadable, or all.
    """
    n = len(unreadable.numbers)
    if n < n_frames and n <= limit:
        return
    first = f"the first of them image {unreadable.numbers[0]}: {unreadable.reason}"
    if n == n_frames:
        raise TooFewFramesError(f"{n} of {n_frames} images cannot be read, {first}")
    raise TooFewFramesError(
        f"at least {n} of {n_frames} images cannot be read, and max_unreadable allows "
        f"{limit}; {first}"
    )


def _run_in_processes(
    shares: Sequence[Share],
    work: Callable,
    limit: int,
    executor: Executor | None,
    progress: Callable[[int], None] | None,
    merge: Callable | None,
) -> list[tuple[Any, Unreadable]]:
    def share_done(index: int) -> None:
        if progress:
            progress(len(shares[index].frames))

    def fold(before: tuple, after: tuple) -> tuple:
        return merge(before[0], after[0]), before[1] + after[1]

    items = [(share, work, limit) for share in shares]
    if executor is None:
        return run_in_processes(
            _run_share, items, len(shares), share_done, fold if merge else None
        )
    waiting = deque(executor.submit(_run_share, *item) for item in items)
    try:
        return collect(waiting, share_done, fold if merge else None)
    except BrokenExecutor as e:
        raise InputError(WORKER_DIED) from e
    finally:
        for future in waiting:
            future.cancel()


def _run_share(
    share: Share,
    work: Callable,
    limit: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[Any, Unreadable]:
    lost: list[int] = []
    reasons: list[str] = []

    def frames(reader: FrameReader) -> Iterator[tuple[int, FrameReader, list]]:
        for k in map(int, share.frames):
            try:
                panels = reader.read(k)
            except FrameError as e:
                lost.append(int(share.source.numbers[k]))
                reasons.append(str(e))
                # No need to go through all of a series that is not there
                if len(lost) > limit:
                    return
                continue
            yield k, reader, panels
            if progress:
                progress(1)

    with share.source.open(share.depth) as reader:
        result = work(frames(reader))
    return result, Unreadable(tuple(lost), reasons[0] if reasons else "")
