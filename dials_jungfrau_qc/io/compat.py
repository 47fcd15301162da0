"""All differences between versions of DIALS that concern this package."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any


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


@functools.cache
def scans_have_properties() -> bool:
    """Whether a scan holds a table of properties, as in later versions.

    In DIALS 3.12 it holds one oscillation, exposure times and epochs.
    """
    from dxtbx.model import Scan

    return hasattr(Scan, "has_property")


def readable_experiments(content: Any) -> Any:
    """An experiment list as the DIALS that runs wants it.

    Args:
        content: What the JSON of an experiment list holds.

    Returns:
        The same, or a translation if a later DIALS wrote it.

    Raises:
        ValueError: The list holds what the DIALS that runs does not have.
    """
    if scans_have_properties() or not _written_later(content):
        return content
    return experiments_without_properties(content, trusted_range_is_inclusive())


def experiments_without_properties(
    content: Mapping[str, Any], inclusive: bool
) -> dict[str, Any]:
    """Translate an experiment list for a DIALS whose scans have no properties.

    The result is what such a DIALS writes when it imports the same images.

    Args:
        content: What the JSON of a later DIALS holds.
        inclusive: Whether the limits of a trusted range are themselves trusted by the
            DIALS that is to read it; by the one that wrote it they are. Where they are
            not, dxtbx puts the lowest trusted value minus 1 for the lower limit and
            leaves the upper one.

    Raises:
        ValueError: A scan is not one of rotations or stills.
    """
    translated = dict(content)
    translated["scan"] = [_plain_scan(scan) for scan in content.get("scan", [])]
    if not inclusive:
        translated["detector"] = [
            _exclusive_detector(detector) for detector in content.get("detector", [])
        ]
    return translated


def _written_later(content: Any) -> bool:
    """Whether a later DIALS wrote the list.

    Stills have no scan that could tell. Their beam has a probe, and the list a history;
    both came after trusted ranges became inclusive.
    """
    if not isinstance(content, dict):
        return False
    return (
        "history" in content
        or any("properties" in scan for scan in _dicts(content.get("scan")))
        or any("probe" in beam for beam in _dicts(content.get("beam")))
    )


def _dicts(models: Any) -> list[dict[str, Any]]:
    """The models of a kind that stand in the list itself and not in files."""
    if not isinstance(models, list):
        return []
    return [model for model in models if isinstance(model, dict)]


def _plain_scan(scan: Any) -> Any:
    """A scan with one oscillation, exposure times and epochs in place of properties."""
    if not isinstance(scan, dict) or "properties" not in scan:
        return scan
    properties = scan["properties"] or {}
    if "time_of_flight" in properties:
        raise ValueError("it is of a time-of-flight experiment, for a later DIALS")
    first, last = scan["image_range"]
    unknown = [0.0] * (last - first + 1)
    plain = {name: value for name, value in scan.items() if name != "properties"}
    plain["oscillation"] = _oscillation(properties)
    plain["exposure_time"] = properties.get("exposure_time", unknown)
    plain["epochs"] = properties.get("epochs", unknown)
    return plain


def _oscillation(properties: Mapping[str, list[float]]) -> list[float]:
    """Start of the first image and width of each, in degrees; 0 and 0 for stills."""
    starts = properties.get("oscillation", [0.0])
    if "oscillation_width" in properties:
        return [starts[0], properties["oscillation_width"][0]]
    # Over all images, as the difference of two starts has lost digits
    return [starts[0], (starts[-1] - starts[0]) / max(len(starts) - 1, 1)]


def _exclusive_detector(detector: Any) -> Any:
    if not isinstance(detector, dict):
        return detector
    panels = []
    for panel in detector.get("panels", []):
        low, high = panel["trusted_range"]
        panels.append({**panel, "trusted_range": [low - 1, high]})
    return {**detector, "panels": panels}
