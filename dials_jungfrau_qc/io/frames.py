"""Image frames of any format as numpy arrays.

A FrameSource says which frames there are, with what is the same for all of them: shapes,
static masks, trusted ranges. Frames come from FrameSource.open or, spread over processes,
from dials_jungfrau_qc.io.frame_sharing.map_frames::

    source = open_frames(experiments.imagesets(), stride=10)
    with source.open() as reader:
        for k in range(source.n_frames):
            for panel, values in enumerate(reader.read(k)):
                good = reader.valid(panel, values)
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dials_jungfrau_qc.io.compat import trusted_range_is_inclusive
from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.experiment_json import MAX_PIXELS
from dials_jungfrau_qc.io.image_headers import check_image
from dials_jungfrau_qc.io.nxmx_frames import (
    NXmxLayout,
    Slices,
    check_frame,
    nxmx_layout,
)
from dials_jungfrau_qc.io.wording import panels_in_words, reason


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
        layout: Where frames lie that HDF5 unpacks, if that is known.
    """

    imageset: Any
    shapes: tuple[tuple[int, int], ...]
    layout: NXmxLayout | None = None

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

        path = self.imageset.get_path(index)
        try:
            check_image(path, self.imageset.get_format_class())
            if self.layout:
                check_frame(self.layout, int(self.imageset.indices()[index]))
            data = self.imageset.get_raw_data(index)
        # What the many formats raise has nothing in common
        except Exception as e:
            raise FrameError(f"{path}: {reason(e)}") from e
        panels = [flumpy.to_numpy(panel) for panel in data]
        shapes = tuple(panel.shape for panel in panels)
        if shapes != self.shapes:
            raise FrameError(
                f"{path}: it has {panels_in_words(shapes)}, the detector "
                f"{panels_in_words(self.shapes)}"
            )
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

    def image_layout(self) -> tuple[tuple[int, int], tuple[Slices, ...]]:
        """Shape (slow, fast) of the image that holds all panels, and where each is in it.

        The image is that of the file where panels are parts of one; otherwise panels lie
        below each other, in their order.
        """
        part = self.parts[0]
        if isinstance(part, NXmxLayout):
            return part.frame_shape, part.panels
        ends = np.cumsum([slow for slow, _ in self.panel_shapes])
        places = tuple(
            (slice(int(end) - slow, int(end)), slice(0, fast))
            for end, (slow, fast) in zip(ends, self.panel_shapes)
        )
        return (int(ends[-1]), max(fast for _, fast in self.panel_shapes)), places

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
            raise FrameError(f"no mask of its shadow: {reason(e)}") from e

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
    if sum(slow * fast for slow, fast in shapes) > MAX_PIXELS:
        raise InputError(
            f"{imagesets[0].paths()[0]}: a detector of {panels_in_words(shapes)} cannot "
            "be: the file is damaged"
        )
    parts: list[NXmxLayout | DxtbxFrames] = []
    shadows: list[Any] = []
    frames: list[tuple[int, int]] = []
    positions: list[int] = []
    numbers: list[int] = []
    part_of_file: dict[str, int] = {}
    for imageset in imagesets:
        own = imageset.get_detector()
        path = imageset.paths()[0]
        if own is None or tuple(map(_shape, own)) != shapes:
            raise different_detectors(
                imagesets[0].paths()[0], shapes, path, [_shape(p) for p in own or ()]
            )
        part = None if imageset.has_dynamic_mask() else part_of_file.get(path)
        if part is None:
            layout = _checked_layout(imageset, shapes)
            part = len(parts)
            parts.append(
                layout
                or DxtbxFrames(imageset, shapes, nxmx_layout(imageset, wide=True))
            )
            shadows.append(imageset if imageset.has_dynamic_mask() else None)
            if layout and not imageset.has_dynamic_mask():
                part_of_file[path] = part
        by_dxtbx = isinstance(parts[part], DxtbxFrames)
        indices = range(len(imageset)) if by_dxtbx else imageset.indices()
        frames += [(part, int(index)) for index in indices]
        positions += range(len(imageset))
        first = _first_number(imageset) if len(imagesets) == 1 else len(numbers) + 1
        numbers += range(first, first + len(imageset))
    name = Path(imagesets[0].paths()[0]).name
    chosen = _select(np.array(numbers), images, image_range, stride, name)
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


def different_detectors(
    first: str, shapes: Sequence[Any], other: str, other_shapes: Sequence[Any]
) -> InputError:
    """What to say of images that cannot be judged together."""
    return InputError(
        f"{first} has {panels_in_words(shapes)} and {other} "
        f"{panels_in_words(other_shapes)}: run the program once for each detector"
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
    name: str,
) -> np.ndarray:
    """Indices of the images that the user wants, in the user's order."""
    if stride < 1:
        raise InputError(f"stride={stride} must be at least 1")
    if images is None and image_range is not None:
        first, last = image_range
        if first > last:
            raise InputError(
                f"image_range={first},{last} is empty: the first image comes first"
            )
        images = range(first, last + 1)
    if images is None:
        return np.arange(len(numbers))[::stride]
    first, last = int(numbers[0]), int(numbers[-1])
    wrong = [image for image in images if not first <= image <= last]
    if wrong:
        raise InputError(
            f"image {wrong[0]} is outside of the scan: {name} has images {first} to {last}"
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
        name = imageset.external_lookup.mask.filename
        image = imageset.paths()[0]
        raise InputError(
            f"the mask {name or f'in {image}'} has "
            f"{panels_in_words([t.shape for t in tiles])}, the detector of the images "
            f"{panels_in_words([m.shape for m in masks])}"
            + ("" if name else ". Import the images again if they have changed")
        )
    return tuple(mask & tile for mask, tile in zip(masks, tiles))
