"""Masks of whole images, for programs that know no panels: CrystFEL and data acquisition."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.io.masks import content_of, hdf5_in_memory, write_bits

Slices = tuple[slice, slice]

CRYSTFEL_DATASET = "/mask"
# Tags of a plain TIFF image (TIFF 6.0, section 8 "Baseline field reference guide"; 339 is
# in section 19) and their types
_SHORT, _LONG = 3, 4


def assembled(
    panels: Sequence[np.ndarray], layout: tuple[tuple[int, int], Sequence[Slices]]
) -> np.ndarray:
    """Put the bits of panels where the panels are in the image.

    Args:
        panels: An array [slow, fast] for each panel.
        layout: Shape of the image, and the part that each panel takes.

    Returns:
        uint32 array [slow, fast]; 0 between the panels.
    """
    shape, places = layout
    image = np.zeros(shape, np.uint32)
    for bits, place in zip(panels, places):
        image[place] = bits
    return image


def crystfel_lines(name: str) -> str:
    """What a geometry file has to say for CrystFEL to use a mask.

    See crystfel_geometry(5), "Bad regions": a pixel is bad if it has any of the bad bits.
    """
    return (
        f"mask0_file = {name}\n"
        f"mask0_data = {CRYSTFEL_DATASET}\n"
        "mask0_goodbits = 0x0\n"
        "mask0_badbits = 0xffff\n"
    )


def crystfel_mask_bytes(bits: np.ndarray, name: str) -> bytes:
    """The content of an HDF5 file with a mask for CrystFEL.

    The lines for the geometry file are an attribute of the mask.

    Args:
        bits: uint32 array of the image; 0 where good.
        name: The name that the file will have.
    """
    with hdf5_in_memory() as file:
        write_bits(file, CRYSTFEL_DATASET, bits).attrs["geometry"] = crystfel_lines(
            name
        )
        return content_of(file)


def tiff_bytes(bits: np.ndarray) -> bytes:
    """A mask as a TIFF image of 32-bit unsigned integers, uncompressed.

    That is what jungfraujoch takes as a user mask, in which pixels that are not 0 are bad,
    and SIMPLON, the interface of DECTRIS' detectors, as a pixel_mask, whose bits are those of NXmx.

    Args:
        bits: Array of the image; 0 where good.
    """
    height, width = bits.shape
    content = np.ascontiguousarray(bits, "<u4").tobytes()
    tags = (
        (256, _LONG, width),
        (257, _LONG, height),
        (258, _SHORT, 32),  # bits a sample
        (259, _SHORT, 1),  # no compression
        (262, _SHORT, 1),  # 0 is black
        (273, _LONG, 8),  # where the pixels begin
        (277, _SHORT, 1),  # samples a pixel
        (278, _LONG, height),  # rows in the only strip
        (279, _LONG, len(content)),
        (339, _SHORT, 1),  # unsigned integers
    )
    header = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags
    )
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return header + content + directory
