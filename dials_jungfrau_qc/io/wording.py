"""Why a file cannot be used, in words for whoever gave it.

HDF5 and the formats of dxtbx raise whatever a damaged file leads them to: assertions,
the names of missing keys, objects of their own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

_DAMAGED = "it is damaged, cut short or of another format"
_CUT_SHORT = re.compile(r"truncated file: eof = (\d+),.*stored_eof = (\d+)")
# What DIALS says of a condition in its C++ code that does not hold
_ASSERTION = re.compile(r"\w+ (?:Internal )?Error: \S+\(\d+\): (.*?)(?: failure)?\.?$")


def reason(error: BaseException) -> str:
    """Say in one line why a file cannot be read.

    Args:
        error: What HDF5, dxtbx or this package raised while it read the file.
    """
    from dxtbx import IncorrectFormatError

    lines = str(error).strip().splitlines()
    message = lines[0].strip() if lines else ""
    if isinstance(error, IncorrectFormatError):
        return "it is empty, cut short or of another format"
    if isinstance(error, UnicodeEncodeError):
        return "its name is not valid UTF-8, and dxtbx opens no such files: rename it"
    if isinstance(error, OSError):
        return _of_system(error, message)
    assertion = _ASSERTION.match(message)
    if assertion:
        return f"{_DAMAGED} ({assertion[1]})"
    if isinstance(error, KeyError):
        # Its text is its argument in quotes
        message = str(error.args[0]) if error.args else ""
    elif message and isinstance(error, (RuntimeError, ValueError)):
        return _with_hint(message)
    if message.startswith("Unable to"):
        return f"{_DAMAGED} ({message})"
    detail = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{_DAMAGED} ({detail})"


def _of_system(error: OSError, message: str) -> str:
    """What HDF5 or the operating system says."""
    if error.errno:
        # HDF5 has its own words there, over several lines
        return os.strerror(error.errno)
    cut = _CUT_SHORT.search(message)
    if cut:
        return f"it is cut short: {cut[1]} of {cut[2]} bytes are there. Copy it again"
    if "file signature not found" in message:
        return "it is no HDF5 file, or its beginning is missing"
    if "plugin" in message or "filter" in message:
        return _with_hint(message)
    return f"{_DAMAGED} ({message})" if message else _DAMAGED


def _with_hint(message: str) -> str:
    if "plugin" in message or "filter" in message:
        message += " (is the Python package hdf5plugin installed?)"
    return message


def panels_in_words(shapes: Sequence[Sequence[int]]) -> str:
    """How many panels there are and of what size.

    Args:
        shapes: Shape (slow, fast) of each panel.
    """
    distinct = {tuple(shape) for shape in shapes}
    sizes = " or ".join(f"{slow} x {fast}" for slow, fast in sorted(distinct))
    n = len(shapes)
    return f"{n} {'panel' if n == 1 else 'panels'} of {sizes} pixels (slow x fast)"
