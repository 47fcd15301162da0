"""Image frames of any format as numpy arrays, read by one process or several.

A FrameSource says which frames there are, with what is the same for all of them: shapes,
static masks, trusted ranges. Frames come from FrameSource.open or, spread over processes,
from map_frames::

    source = open_frames(experiments.imagesets(), stride=10)
    with source.open() as reader:
        for k in range(source.n_frames):
            for panel, values in enumerate(reader.read(k)):
                good = reader.valid(panel, values)
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Any, TypeVar

import numpy as np

from dials_jungfrau_qc.io.compat import trusted_range_is_inclusive
from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.nxmx_frames import NXmxLayout, nxmx_layout
from dials_jungfrau_qc.io.processes import WORKER_DIED, collect, run_in_processes

logger = logging.getLogger("dials.jungfrau_qc.frames")

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class TrustedRange:
    """The values of a panel that are trusted, by the rule of the DIALS that runs.

    Attributes:
        low: Lower limit.
        high: Upper limit.
        inclusive: Whether the limits themselves are trusted.
    """

    low: float
    high: float
    inclusive: bool

    def limits(self, dtype: np.dtype) -> tuple[Any, Any]:
        """Lowest and highest trusted value of a type, both inclusive."""
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return self._float_limits(dtype)
        if self.inclusive:
            low, high = math.ceil(self.low), math.floor(self.high)
        else:
            low, high = math.floor(self.low) + 1, math.ceil(self.high) - 1
        info = np.iinfo(dtype)
        if low > info.max or high < info.min:
            # Nothing is trusted: no value is at least 1 and at most 0
            return dtype.type(1), dtype.type(0)
        return dtype.type(max(low, info.min)), dtype.type(min(high, info.max))

    def _float_limits(self, dtype: np.dtype) -> tuple[Any, Any]:
        # The limits are doubles; rounded to the type they may fall on either side
        low, high = dtype.type(self.low), dtype.type(self.high)
        infinity = dtype.type(np.inf)
        while not (low >= self.low if self.inclusive else float(low) > self.low):
            low = np.nextafter(low, infinity)
        while not (
            float(high) <= self.high if self.inclusive else float(high) < self.high
        ):
            high = np.nextafter(high, -infinity)
        return low, high

    def valid(self, values: np.ndarray) -> np.ndarray:
        """Which values are trusted, a bool array of their shape; NaN is not."""
        low, high = self.limits(values.dtype)
        good = values >= low
        good &= values <= high
        return good


@dataclasses.dataclass(frozen=True)
class DxtbxFrames:
    """Frames of an imageset, read by dxtbx; can be sent to other processes.

    Attributes:
        imageset: The dxtbx imageset.
        shapes: Shape (slow, fast) of each panel.
    """

    imageset: Any
    shapes: tuple[tuple[int, int], ...]

    @contextlib.contextmanager
    def open(self, depth: int = 1) -> Iterator[DxtbxFrames]:
        """Nothing to open; every frame has memory of its own."""
        yield self

    def read(self, index: int) -> list[np.ndarray]:
        """Read one frame: an array [slow, fast] for each panel.

        Raises:
            FrameError: dxtbx cannot read it, or it has another shape.
        """
        from dxtbx import flumpy

        try:
            data = self.imageset.get_raw_data(index)
        # What the many formats raise has nothing in common
        except Exception as e:
            lines = str(e).strip().splitlines()
            raise FrameError(lines[0] if lines else type(e).__name__) from e
        panels = [flumpy.to_numpy(panel) for panel in data]
        shapes = tuple(panel.shape for panel in panels)
        if shapes != self.shapes:
            raise FrameError(f"panels of {shapes} where the detector has {self.shapes}")
        return panels


@dataclasses.dataclass(frozen=True)
class FrameSource:
    """Frames of one detector; can be sent to other processes.

    Attributes:
        parts: What reads them: NXmx files or imagesets.
        frames: Each frame by part and number in it, int array (n, 2).
        numbers: The number of each frame as the user counts, int array (n,): that of
            the scan, or from 1 where there is none.
        panel_names: Name of each panel.
        panel_shapes: Shape (slow, fast) of each panel.
        masks: Static masks, a bool array [slow, fast] for each panel, True where the
            pixel is good: mask files, the format's own mask, untrusted rectangles.
        trusted: The trusted range of each panel.
        shadows: An imageset for each frame's part whose mask changes from image to
            image with the goniometer's shadow, else None.
        positions: Each frame's index in that imageset, int array (n,).
    """

    parts: tuple[NXmxLayout | DxtbxFrames, ...]
    frames: np.ndarray
    numbers: np.ndarray
    panel_names: tuple[str, ...]
    panel_shapes: tuple[tuple[int, int], ...]
    masks: tuple[np.ndarray, ...]
    trusted: tuple[TrustedRange, ...]
    shadows: tuple[Any, ...]
    positions: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.frames)

    @contextlib.contextmanager
    def open(self, depth: int = 1) -> Iterator[FrameReader]:
        """Open the files for reading.

        Args:
            depth: A frame holds until so many more have been read.
        """
        with contextlib.ExitStack() as stack:
            yield FrameReader(self, stack, depth)


class FrameReader:
    """Reads the frames of a FrameSource; made by FrameSource.open."""

    def __init__(
        self, source: FrameSource, stack: contextlib.ExitStack, depth: int = 1
    ) -> None:
        self.source = source
        self._depth = depth
        self._stack = stack
        self._open_parts: dict[int, Any] = {}
        self._shadow: list[np.ndarray] | None = None

    def read(self, k: int) -> list[np.ndarray]:
        """Read one frame.

        Args:
            k: Its place in the source, from 0.

        Returns:
            An array [slow, fast] for each panel: int32, float32 or float64, as dxtbx
            has it. They hold until as many more frames as the reader's depth are read,
            which may take their memory.

        Raises:
            FrameError: It cannot be read.
        """
        part, index = self.source.frames[k]
        if part not in self._open_parts:
            self._open_parts[part] = self._stack.enter_context(
                self.source.parts[part].open(self._depth)
            )
        frame = self._open_parts[part].read(int(index))
        self._shadow = None
        if self.source.shadows[part] is not None:
            self._shadow = self._dynamic_mask(
                self.source.shadows[part], int(self.source.positions[k])
            )
        return frame

    @staticmethod
    def _dynamic_mask(imageset: Any, position: int) -> list[np.ndarray]:
        from dxtbx import flumpy

        try:
            return [flumpy.to_numpy(mask) for mask in imageset.get_mask(position)]
        except Exception as e:
            raise FrameError(f"no mask of its shadow: {e}") from e

    def mask(self, panel: int) -> np.ndarray:
        """What is good in a panel of the frame just read, its values apart.

        The static mask, with the goniometer's shadow on this frame where there is one.
        """
        if self._shadow is None:
            return self.source.masks[panel]
        return self._shadow[panel]

    def valid(self, panel: int, values: np.ndarray) -> np.ndarray:
        """Which pixels of a panel of the frame just read are good and trusted."""
        good = self.source.trusted[panel].valid(values)
        good &= self.mask(panel)
        return good


def open_frames(
    imagesets: Any,
    images: Sequence[int] | None = None,
    image_range: tuple[int, int] | None = None,
    stride: int = 1,
) -> FrameSource:
    """Find the frames of imagesets of one detector.

    Args:
        imagesets: A dxtbx imageset, or several that are read one after the other, such
            as the stills of a grid scan.
        images: Numbers of the images to take; all by default.
        image_range: First and last number instead.
        stride: Take every stride-th of them.

    Raises:
        InputError: No image, an image that is not there, or different detectors.
    """
    if hasattr(imagesets, "get_raw_data"):
        imagesets = [imagesets]
    imagesets = list(imagesets)
    if not imagesets:
        raise InputError("there are no images")
    detector = imagesets[0].get_detector()
    shapes = tuple(_shape(panel) for panel in detector)
    parts: list[NXmxLayout | DxtbxFrames] = []
    shadows: list[Any] = []
    frames: list[tuple[int, int]] = []
    positions: list[int] = []
    numbers: list[int] = []
    part_of_file: dict[str, int] = {}
    for imageset in imagesets:
        own = imageset.get_detector()
        if own is None or tuple(map(_shape, own)) != shapes:
            raise InputError("the images are of detectors of different shape")
        path = imageset.paths()[0]
        part = None if imageset.has_dynamic_mask() else part_of_file.get(path)
        if part is None:
            layout = _checked_layout(imageset, shapes)
            part = len(parts)
            parts.append(layout or DxtbxFrames(imageset, shapes))
            shadows.append(imageset if imageset.has_dynamic_mask() else None)
            if layout and not imageset.has_dynamic_mask():
                part_of_file[path] = part
        by_dxtbx = isinstance(parts[part], DxtbxFrames)
        indices = range(len(imageset)) if by_dxtbx else imageset.indices()
        frames += [(part, int(index)) for index in indices]
        positions += range(len(imageset))
        first = _first_number(imageset) if len(imagesets) == 1 else len(numbers) + 1
        numbers += range(first, first + len(imageset))
    chosen = _select(np.array(numbers), images, image_range, stride)
    inclusive = trusted_range_is_inclusive()
    return FrameSource(
        parts=tuple(parts),
        frames=np.array(frames)[chosen],
        numbers=np.array(numbers)[chosen],
        panel_names=tuple(panel.get_name() for panel in detector),
        panel_shapes=shapes,
        masks=static_masks(imagesets[0]),
        trusted=tuple(
            TrustedRange(*map(float, panel.get_trusted_range()), inclusive)
            for panel in detector
        ),
        shadows=tuple(shadows),
        positions=np.array(positions)[chosen],
    )


def _shape(panel: Any) -> tuple[int, int]:
    fast, slow = panel.get_image_size()
    return int(slow), int(fast)


def _first_number(imageset: Any) -> int:
    scan = imageset.get_scan() if hasattr(imageset, "get_array_range") else None
    return scan.get_image_range()[0] if scan else 1


def _checked_layout(imageset: Any, shapes: Sequence[tuple[int, int]]):
    """The NXmx layout if its panels are those of the detector."""
    layout = nxmx_layout(imageset)
    if layout is None:
        return None
    own = [(s.stop - s.start, f.stop - f.start) for s, f in layout.panels]
    inside = all(
        s.stop <= layout.frame_shape[0] and f.stop <= layout.frame_shape[1]
        for s, f in layout.panels
    )
    return layout if inside and own == list(shapes) else None


def _select(
    numbers: np.ndarray,
    images: Sequence[int] | None,
    image_range: tuple[int, int] | None,
    stride: int,
) -> np.ndarray:
    """Indices of the images that the user wants, in the user's order."""
    if stride < 1:
        raise InputError(f"stride={stride} must be at least 1")
    if images is None and image_range is not None:
        first, last = image_range
        if first > last:
            raise InputError(f"image_range={first},{last} is empty")
        images = range(first, last + 1)
    if images is None:
        return np.arange(len(numbers))[::stride]
    first, last = int(numbers[0]), int(numbers[-1])
    wrong = [image for image in images if not first <= image <= last]
    if wrong:
        raise InputError(
            f"image {wrong[0]} is outside of the scan: it has images {first} to {last}"
        )
    return np.array(list(dict.fromkeys(images)), dtype=int)[::stride] - first


def static_masks(imageset: Any) -> tuple[np.ndarray, ...]:
    """What dxtbx masks on every image of an imageset, a bool array for each panel.

    Raises:
        InputError: The mask file of the imageset has another shape than the detector.
    """
    from dxtbx import flumpy

    masks = [
        flumpy.to_numpy(panel.get_untrusted_rectangle_mask()).copy()
        for panel in imageset.get_detector()
    ]
    external = imageset.external_lookup.mask.data
    if external.empty():
        return tuple(masks)
    tiles = [
        flumpy.to_numpy(external.tile(i).data()) for i in range(external.n_tiles())
    ]
    if [tile.shape for tile in tiles] != [mask.shape for mask in masks]:
        raise InputError(
            f"the mask of the images ({imageset.external_lookup.mask.filename or 'static'}) "
            f"has panels of {[t.shape for t in tiles]}, the detector "
            f"{[m.shape for m in masks]}"
        )
    return tuple(mask & tile for mask, tile in zip(masks, tiles))


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
        InputError: Too many frames cannot be read, or a process died.
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
    limit = math.floor(max_unreadable * n_frames)
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


def check_unreadable(unreadable: Unreadable, n_frames: int, limit: int) -> None:
    """Refuse to go on with too few frames.

    Raises:
        InputError: More than limit frames are unreadable.
    """
    n = len(unreadable.numbers)
    if n > limit or n == n_frames:
        raise InputError(
            f"{n} of {n_frames} images cannot be read, the first of them image "
            f"{unreadable.numbers[0]}: {unreadable.reason}"
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
