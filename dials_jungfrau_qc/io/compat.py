"""All differences between versions of DIALS that concern this package."""

from __future__ import annotations

import functools


@functools.cache
def trusted_range_is_inclusive() -> bool:
    """Whether the limits of the trusted range are themselves trusted.

    They are not in DIALS 3.12 (low < pixel < high), and they are in later versions
    (low <= pixel <= high). Version numbers do not tell, as installed metadata lags
    behind: a panel of four pixels does.
    """
    from dxtbx.model import Panel
    from scitbx.array_family import flex

    panel = Panel()
    panel.set_image_size((2, 2))
    panel.set_trusted_range((0, 2))
    values = flex.int([0, 1, 2, 3])
    values.reshape(flex.grid(2, 2))
    return bool(panel.get_trusted_range_mask(values)[0])


def dials_version() -> str:
    """The version that runs, such as "DIALS 3.12"."""
    from dials.util.version import dials_version

    return dials_version()


def available_cores() -> int:
    """The number of processors that this process may use."""
    try:
        from dials.util.system import CPU_COUNT
    except ImportError:
        from dials.util.mp import available_cores

        return available_cores()
    return CPU_COUNT
