"""Masks of pixels: DIALS' mask files, and the pixel_mask of NXmx."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.wording import panels_in_words

# How files begin that are taken for masks
_OTHER_FILES = {
    b"\x1f\x8b": "it is compressed with gzip, unpack it first",
    b"BZh": "it is compressed with bzip2, unpack it first",
    b"\x89HDF": "it is an HDF5 file; dials.generate_mask and output.mask of "
    "dials.find_bad_pixels write masks",
}


class _NoMaskError(ValueError):
    """A pickle holds something else than a mask."""


class _MaskUnpickler(pickle.Unpickler):
    """Unpickles flex.bool and tuples or lists of it; whatever else runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "scitbx_array_family_flex_ext" and name in ("bool", "grid"):
            from scitbx.array_family import flex

            return getattr(flex, name)
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise _NoMaskError(f"it holds {module}.{name}, which is no mask")


def _latin1(text: str, encoding: str) -> bytes:
    """What protocols below 3 call to make bytes; other codecs can do more."""
    if encoding != "latin1":
        raise _NoMaskError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


def mask_from_bytes(content: bytes) -> tuple[np.ndarray, ...]:
    """The mask in the content of a mask file.

    Args:
        content: A pickled flex.bool or tuple or list of them.

    Returns:
        A bool array [slow, fast] for each panel, True where the pixel is good.

    Raises:
        ValueError: It is no mask.
    """
    from dxtbx import flumpy
    from scitbx.array_family import flex

    if not content:
        raise ValueError("the file is empty")
    for start, what in _OTHER_FILES.items():
        if content.startswith(start):
            raise ValueError(what)
    try:
        mask = _MaskUnpickler(io.BytesIO(content), encoding="bytes").load()
    except _NoMaskError:
        raise
    # A damaged pickle can raise anything
    except Exception as e:
        raise ValueError(f"it is no pickle, or damaged ({e})") from e
    panels = (mask,) if isinstance(mask, flex.bool) else mask
    if not isinstance(panels, (tuple, list)) or not panels:
        raise ValueError("it holds neither flex.bool nor a tuple of flex.bool")
    if not all(isinstance(panel, flex.bool) and panel.nd() == 2 for panel in panels):
        raise ValueError("not all of it is flex.bool of two dimensions")
    return tuple(flumpy.to_numpy(panel).copy() for panel in panels)


def read_mask(
    path: Path, shapes: Sequence[tuple[int, int]] | None = None
) -> tuple[np.ndarray, ...]:
    """Read a mask file of DIALS without running what a pickle may hold.

    Args:
        path: The file.
        shapes: The shape (slow, fast) that each panel must have.

    Returns:
        A bool array [slow, fast] for each panel, True where the pixel is good.

    Raises:
        InputError: It cannot be read, is no mask, or has another shape.
    """
    try:
        masks = mask_from_bytes(path.read_bytes())
    except OSError as e:
        raise InputError(f"{path}: cannot be read: {e.strerror}") from e
    except ValueError as e:
        raise InputError(f"{path}: this is not a mask of DIALS: {e}") from e
    own = [mask.shape for mask in masks]
    if shapes is not None and own != [tuple(shape) for shape in shapes]:
        raise InputError(
            f"{path}: this mask has {panels_in_words(own)}, the detector "
            f"{panels_in_words(shapes)}"
        )
    return masks


def mask_bytes(masks: Sequence[np.ndarray]) -> bytes:
    """The content of a mask file: a tuple of flex.bool, which all of DIALS takes.

    Args:
        masks: A bool array [slow, fast] for each panel, True where the pixel is good.
    """
    from dxtbx import flumpy

    panels = tuple(
        flumpy.from_numpy(np.array(mask, dtype=bool, order="C")) for mask in masks
    )
    return pickle.dumps(panels, pickle.HIGHEST_PROTOCOL)


def hdf5_in_memory() -> Any:
    """An HDF5 file that is on no disk: HDF5 ends the process where a disk is full."""
    import h5py

    return h5py.File("mask", "w", driver="core", backing_store=False)


def content_of(file: Any) -> bytes:
    """What an HDF5 file in memory would be on a disk."""
    file.flush()
    return file.id.get_file_image()


def write_bits(group: Any, name: str, bits: np.ndarray) -> Any:
    """Write the bits of pixels into an HDF5 group, which compress well.

    Returns:
        The dataset.
    """
    return group.create_dataset(
        name,
        data=bits.astype(np.uint32),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )


def nexus_mask_bytes(bits: np.ndarray) -> bytes:
    """The content of an HDF5 file with a pixel_mask where NXmx has it.

    Args:
        bits: uint32 array of the frame, or of (panel, slow, fast); 0 where good. The bits
            are those that NXdetector defines.
    """
    with hdf5_in_memory() as file:
        file.attrs["default"] = "entry"
        group = file
        for name, nx_class in (
            ("entry", "NXentry"),
            ("instrument", "NXinstrument"),
            ("detector", "NXdetector"),
        ):
            group = group.create_group(name)
            group.attrs["NX_class"] = nx_class
        write_bits(group, "pixel_mask", bits)
        return content_of(file)
