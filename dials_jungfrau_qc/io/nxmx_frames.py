"""Frames of NXmx files, read with h5py alone.

dxtbx takes several times as long as the decompression to hand out a frame and its mask.
The layout of the file is asked of dxtbx's own format class, once; what is read
afterwards is the data set itself, into memory that is used again for every frame.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dials_jungfrau_qc.io.chunk_unpacking import Unpacker, unpacker
from dials_jungfrau_qc.io.errors import FrameError
from dials_jungfrau_qc.io.hdf5_checks import (
    MAX_CHUNK_BYTES,
    check_chunk,
    check_chunk_shape,
)
from dials_jungfrau_qc.io.wording import panels_in_words, reason

if TYPE_CHECKING:
    import h5py

Slices = tuple[slice, slice]


@dataclasses.dataclass(frozen=True)
class Segment:
    """Consecutive frames that lie in one data set of one file.

    Attributes:
        start: Number of its first frame in the series.
        stop: Number after that of its last frame.
        file: Path of the file.
        dataset: Name of the data set in it.
        source_start: Index of the first frame in that data set.
    """

    start: int
    stop: int
    file: str
    dataset: str
    source_start: int = 0


@dataclasses.dataclass(frozen=True)
class NXmxLayout:
    """Where the frames of an NXmx file lie; can be sent to other processes.

    Attributes:
        segments: The data sets in order; more than one where the data set is virtual.
        frame_shape: Of a whole frame, (slow, fast).
        panels: The part of a frame that each panel takes, as slices (slow, fast).
        kinds: The kinds of numbers (numpy.dtype.kind) that make one series with them.
        bit_depth: Of the readout; its two highest values then mean -1 and -2.
    """

    segments: tuple[Segment, ...]
    frame_shape: tuple[int, int]
    panels: tuple[Slices, ...]
    kinds: str
    bit_depth: int | None = None

    @contextlib.contextmanager
    def open(self, depth: int = 1) -> Iterator[NXmxReader]:
        """Open the files for reading.

        Args:
            depth: A frame holds until so many more have been read.
        """
        reader = NXmxReader(self, depth)
        try:
            yield reader
        finally:
            reader.close()


class NXmxReader:
    """Reads frames of one NXmx file; made by NXmxLayout.open.

    Memory is used again after as many frames as the reader's depth.
    """

    def __init__(self, layout: NXmxLayout, depth: int = 1) -> None:
        register_filters()
        self._layout = layout
        self._starts = [segment.start for segment in layout.segments]
        self._files: dict[str, h5py.File] = {}
        self._datasets: dict[Segment, _Dataset] = {}
        self._buffers: deque[np.ndarray] = deque(maxlen=depth)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._datasets.clear()

    def read(self, index: int) -> list[np.ndarray]:
        """Read one frame.

        Args:
            index: Its number in the file, from 0.

        Returns:
            An array [slow, fast] for each panel, as dxtbx would give it: int32 or
            float32. They are views of memory that a later frame takes.

        Raises:
            FrameError: It is not there or cannot be decompressed.
        """
        segment = self._segment(index)
        try:
            dataset = self._dataset(segment)
            frame = self._fill(dataset, index - segment.start + segment.source_start)
        except (OSError, KeyError, ValueError, RuntimeError) as e:
            raise FrameError(f"{segment.file}: {reason(e)}") from e
        if self._layout.bit_depth:
            _mark_masking_values(frame, self._layout.bit_depth)
        return [frame[panel] for panel in self._layout.panels]

    def _segment(self, index: int) -> Segment:
        position = bisect.bisect_right(self._starts, index) - 1
        if position >= 0:
            segment = self._layout.segments[position]
            if index < segment.stop:
                return segment
        raise FrameError(f"frame {index} is in none of the files")

    def _dataset(self, segment: Segment) -> _Dataset:
        if segment not in self._datasets:
            handle = self._file(segment.file)[segment.dataset]
            self._check_frames(handle)
            self._datasets[segment] = _Dataset.of(handle)
        return self._datasets[segment]

    def _check_frames(self, handle: Any) -> None:
        """See that a data set holds frames as the layout has them; else a ValueError."""
        import h5py

        if not isinstance(handle, h5py.Dataset) or len(handle.shape or ()) != 3:
            raise ValueError(f"{handle.name} holds no images")
        if handle.shape[1:] != tuple(self._layout.frame_shape):
            raise ValueError(
                f"images of {panels_in_words([handle.shape[1:]])} where the detector has "
                f"{panels_in_words([self._layout.frame_shape])}"
            )
        if handle.dtype.kind not in self._layout.kinds or handle.dtype.itemsize > 4:
            raise ValueError(f"images of another type than the others: {handle.dtype}")

    def _file(self, path: str) -> h5py.File:
        import h5py

        if path not in self._files:
            self._files[path] = h5py.File(path, "r", swmr=True)
        return self._files[path]

    def _fill(self, dataset: _Dataset, index: int) -> np.ndarray:
        handle = dataset.handle
        if not 0 <= index < handle.shape[0]:
            raise ValueError(
                f"it has {handle.shape[0]} images, and this would be number {index + 1}"
            )
        if (
            dataset.has_holes
            and not handle.id.get_chunk_info_by_coord((index, 0, 0))[3]
        ):
            raise ValueError(f"frame {index} was never written")
        packed = dataset.packed(index) if dataset.unpack else None
        if packed is None:
            dataset.check(index)
        buffer = self._buffer(handle.dtype)
        try:
            if packed is None:
                handle.read_direct(buffer, np.s_[index])
            else:
                dataset.unpack(packed, buffer)
        except BaseException:
            # No frame was read: those before hold as long as they did
            self._buffers.appendleft(self._buffers.pop())
            raise
        return _as_dxtbx(buffer)

    def _buffer(self, dtype: np.dtype) -> np.ndarray:
        """Memory for a frame: that of the oldest where enough are held."""
        buffer = None
        if len(self._buffers) == self._buffers.maxlen:
            buffer = self._buffers.popleft()
        if buffer is None or buffer.dtype != dtype:
            buffer = np.empty(self._layout.frame_shape, dtype)
        self._buffers.append(buffer)
        return buffer


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """An open data set.

    Attributes:
        handle: The data set.
        has_holes: Whether frames were never written; HDF5 would read them as zeros.
        unpack: How to unpack a frame that is one chunk without HDF5, which takes longer
            and makes room for whatever comes out of it. None where HDF5 has to.
    """

    handle: h5py.Dataset
    has_holes: bool
    unpack: Unpacker | None

    @classmethod
    def of(cls, handle: h5py.Dataset) -> _Dataset:
        check_chunk_shape(handle)
        frame = handle.dtype.itemsize * math.prod(handle.shape[1:])
        if frame > MAX_CHUNK_BYTES:
            raise ValueError(f"{handle.name} says that a frame has {frame} bytes")
        has_holes = False
        if handle.chunks and handle.chunks[0] == 1:
            per_frame = np.prod(
                [-(-n // c) for n, c in zip(handle.shape[1:], handle.chunks[1:])]
            )
            has_holes = handle.id.get_num_chunks() < handle.shape[0] * per_frame
        is_whole = handle.chunks == (1, *handle.shape[1:])
        return cls(handle, has_holes, unpacker(handle) if is_whole else None)

    def packed(self, index: int) -> bytes | None:
        """The chunk of a frame as it is in the file; None if it went through no filter."""
        try:
            skipped, packed = self.handle.id.read_direct_chunk((index, 0, 0))
        # HDF5 says so of a chunk that was never written, which holds the fill value
        except (OSError, RuntimeError):
            return None
        return None if skipped else packed

    def check(self, index: int) -> None:
        """See that the chunks of a frame hold what they should; raises ValueError."""
        _check_chunks(self.handle, index)


def _check_chunks(handle: h5py.Dataset, index: int) -> None:
    if not handle.chunks or handle.is_virtual:
        return
    steps = handle.chunks
    starts = [range(index - index % steps[0], index + 1, steps[0])]
    starts += [range(0, n, s) for n, s in zip(handle.shape[1:], steps[1:])]
    for where in itertools.product(*starts):
        check_chunk(handle, where)


def check_frame(layout: NXmxLayout, index: int) -> None:
    """See that HDF5 can read a frame: its filters crash on some that are damaged.

    Args:
        layout: Where it lies.
        index: Its number in the file, from 0.

    Raises:
        Exception: It is damaged; what h5py raises, or a ValueError.
    """
    import h5py

    for segment in layout.segments:
        if segment.start <= index < segment.stop:
            with h5py.File(segment.file, "r", swmr=True) as file:
                handle = file[segment.dataset]
                check_chunk_shape(handle)
                _check_chunks(handle, index - segment.start + segment.source_start)


def nxmx_layout(imageset: Any, wide: bool = False) -> NXmxLayout | None:
    """The layout of the NXmx file behind an imageset.

    Args:
        imageset: A dxtbx imageset.
        wide: Also where values have 64 bits, of which only dxtbx can read the frames.

    Returns:
        None where dxtbx itself has to read: the file is of another format, or its
        format class reads frames in a way of its own, or data have more dimensions.
    """
    import h5py

    from dxtbx.format.FormatNXmx import FormatNXmx

    format_class = imageset.get_format_class()
    if not (isinstance(format_class, type) and issubclass(format_class, FormatNXmx)):
        return None
    if format_class.get_raw_data is not FormatNXmx.get_raw_data:
        return None
    path = imageset.paths()[0]
    register_filters()
    try:
        instance = format_class.get_instance(path)
        with h5py.File(path, "r", swmr=True) as file:
            entry = instance._get_nxmx(file).entries[0]
            modules = entry.instruments[0].detectors[0].modules
            panels = tuple(
                tuple(
                    slice(int(start), int(start) + int(size))
                    for start, size in zip(module.data_origin, module.data_size)
                )
                for module in modules
            )
            data = entry.data[0]
            name = data.signal if data.signal in data else next(iter(data))
            dataset = data[name]
            if dataset.ndim != 3 or any(len(panel) != 2 for panel in panels):
                return None
            # Versions of dxtbx differ in what they make of 64 bits
            if dataset.dtype.kind not in "iuf" or (
                dataset.dtype.itemsize > 4 and not wide
            ):
                return None
            return NXmxLayout(
                segments=_segments(dataset),
                frame_shape=tuple(dataset.shape[1:]),
                panels=panels,
                kinds="f" if dataset.dtype.kind == "f" else "iu",
                bit_depth=instance._bit_depth_readout or None,
            )
    except (
        *(AttributeError, KeyError, IndexError, StopIteration, OSError),
        *(TypeError, ValueError, RuntimeError),
    ):
        # What is amiss will be said by dxtbx when it reads
        return None


def _segments(dataset: h5py.Dataset) -> tuple[Segment, ...]:
    """Where the frames of a data set really lie.

    HDF5 reads what a missing source of a virtual data set should hold as zeros, so its
    sources are opened one by one wherever each holds whole frames.
    """
    import h5py

    whole = Segment(0, dataset.shape[0], dataset.file.filename, dataset.name)
    if not dataset.is_virtual:
        return (whole,)
    folder = Path(dataset.file.filename).parent
    segments = []
    for source in dataset.virtual_sources():
        target = _frames_selected(source.vspace)
        if target is None:
            return (whole,)
        origin = (0, target[1] - target[0])
        # A source that is taken as a whole does not say how large it is
        if source.src_space.get_select_type() != h5py.h5s.SEL_ALL:
            origin = _frames_selected(source.src_space)
        if origin is None or origin[1] - origin[0] != target[1] - target[0]:
            return (whole,)
        here = source.file_name == "."
        file = dataset.file.filename if here else str(folder / source.file_name)
        segments.append(Segment(*target, file, source.dset_name, origin[0]))
    return tuple(sorted(segments, key=lambda segment: segment.start))


def _frames_selected(space: h5py.h5s.SpaceID) -> tuple[int, int] | None:
    """The frames that a selection covers if it covers them whole and in one block."""
    shape = space.get_simple_extent_dims()
    try:
        first, last = space.get_select_bounds()
    except (ValueError, RuntimeError):
        return None
    if len(shape) != 3 or tuple(first[1:]) != (0, 0):
        return None
    if tuple(n + 1 for n in last[1:]) != tuple(shape[1:]):
        return None
    n = last[0] + 1 - first[0]
    if space.get_select_npoints() != n * shape[1] * shape[2]:
        return None
    return int(first[0]), int(first[0] + n)


def _as_dxtbx(frame: np.ndarray) -> np.ndarray:
    """A frame in the types that dxtbx knows."""
    if frame.dtype.kind in "iu":
        if frame.dtype.itemsize == 4 and frame.dtype.isnative:
            return frame.view(np.int32)
        return frame.astype(np.int32)
    if frame.dtype.itemsize < 4:
        return frame.astype(np.float32)
    return frame


def _mark_masking_values(frame: np.ndarray, bit_depth: int) -> None:
    """Mark, as FormatNXmx does, the two values that mean masked pixels."""
    top = 2**31 if bit_depth == 32 else 2**bit_depth
    special = frame >= top - 2
    if special.any():
        frame[special & (frame == top - 1)] = -1
        frame[special & (frame == top - 2)] = -2


def register_filters() -> None:
    """Let HDF5 find the filters of hdf5plugin, such as bitshuffle, where it is there."""
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401
