"""DIALS programs that look at the pixels of JUNGFRAU detectors."""

from __future__ import annotations

import importlib.util

from dials_jungfrau_qc._version import __version__

__all__ = ["__version__"]

if importlib.util.find_spec("dials") is None:
    raise ImportError(
        "dials_jungfrau_qc needs DIALS, which this Python does not have. Get it with "
        "'conda install -c conda-forge dials' or, on Debian, 'apt-get install dials' "
        "and use /usr/bin/python3."
    )
