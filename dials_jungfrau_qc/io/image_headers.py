"""What the headers of image files promise, looked at before dxtbx reads the pixels.

Where a file ends early, the formats that are not compressed read zeros, which no pixel
has measured. And dxtbx makes room for whatever size a header says.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from dials_jungfrau_qc.io.experiment_json import MAX_PIXELS

_CBF_SIDES = re.compile(rb"X-Binary-Size-(?:Fastest|Second)-Dimension:\s*(\d+)")
# More than the headers of CBF files
_CBF_HEADER_BYTES = 1 << 16
_COMPRESSED = (".gz", ".bz2")


def check_image(path: str, format_class: Any) -> None:
    """See that an image file has all its pixels, and no more than any detector.

    CBF, SMV and TIFF are looked at; other formats pass.

    Args:
        path: The file.
        format_class: The class of dxtbx that reads it.

    Raises:
        ValueError: It says that it is larger than any detector, or it is cut short.
        Exception: Its header cannot be read; what dxtbx raises.
    """
    from dxtbx.format.FormatCBF import FormatCBF
    from dxtbx.format.FormatSMV import FormatSMV
    from dxtbx.format.FormatTIFF import FormatTIFF

    if issubclass(format_class, FormatCBF):
        with format_class.open_file(path, "rb") as stream:
            sides = _CBF_SIDES.findall(stream.read(_CBF_HEADER_BYTES))
        # Its compression does not go past the end
        _check_size([int(side) for side in sides])
    elif issubclass(format_class, FormatSMV):
        start, header = format_class.get_smv_header(path)
        sides = [int(header["SIZE1"]), int(header["SIZE2"])]
        _check_size(sides)
        if header.get("COMPRESSION", "None").lower() == "none":
            kind = header.get("Data_type", header.get("TYPE", ""))
            _check_length(path, start + (4 if "long" in kind else 2) * math.prod(sides))
    elif issubclass(format_class, FormatTIFF):
        width, height, depth, _, header = format_class.get_tiff_header(path)
        _check_size([width, height])
        _check_length(path, len(header) + depth * width * height)


def _check_size(sides: list[int]) -> None:
    if math.prod(sides) > MAX_PIXELS:
        size = " x ".join(map(str, sides))
        raise ValueError(f"its header says {size} pixels, which cannot be")


def _check_length(path: str, expected: int) -> None:
    # What is compressed is known to be cut short when it is unpacked
    if path.endswith(_COMPRESSED):
        return
    size = Path(path).stat().st_size
    if size < expected:
        raise ValueError(
            f"it is cut short: {size} of {expected} bytes are there. Copy it again"
        )
