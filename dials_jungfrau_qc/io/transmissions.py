"""The transmission of each sweep, and where it is recorded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.hdf5_checks import check_chunk, check_chunk_shape
from dials_jungfrau_qc.io.sweep_experiments import SweepExperiment

COMMAND_LINE = "command line"
BEAM = "beam model"
FILE = "image file (NXattenuator)"
NAME = "name of the images"
# The standard's place for it
_NEXUS_PATH = "/entry/instrument/attenuator/attenuator_transmission"
_NEXUS_SUFFIXES = (".nxs", ".h5", ".hdf5", ".cxi")
DEFAULT_PATTERN = r"(\d*\.?\d+)_?transmission"
# Sources that differ by more than this disagree
_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class Transmission:
    """The recorded transmission of a sweep.

    Attributes:
        value: Above 0.
        source: Where it comes from.
        others: What other sources say.
    """

    value: float
    source: str
    others: dict[str, float]

    @property
    def disagreements(self) -> dict[str, float]:
        """Other sources that say something else."""
        return {
            source: value
            for source, value in self.others.items()
            if abs(value / self.value - 1) > _TOLERANCE
        }


def find_transmissions(
    experiments: Sequence[SweepExperiment],
    given: Sequence[str] | None = None,
    pattern: str = DEFAULT_PATTERN,
) -> list[Transmission]:
    """Find the transmission of every sweep, by the first source that has it.

    The sources are the command line, the beam model if it is not 1, NXattenuator in the
    image file if that is there, and the name of the images. A beam model of 1 is what
    one has that nobody set, and is believed only where another sweep's was set.

    Args:
        experiments: Of the sweeps.
        given: From the command line: values in order, or id:value.
        pattern: Regular expression for the name, with the value as its first group.

    Raises:
        InputError: A sweep has no transmission, or what was given does not fit.
    """
    from_user = parse_given(given or (), len(experiments))
    try:
        expression = re.compile(pattern)
    except re.error as e:
        raise InputError(f"transmission_pattern: {pattern!r}: {e}") from e
    if expression.groups < 1:
        raise InputError(
            f"transmission_pattern: {pattern!r} has no group in brackets for the value"
        )
    beams_are_set = any(experiment.transmission != 1 for experiment in experiments)
    found = []
    for index, experiment in enumerate(experiments):
        sources = {
            COMMAND_LINE: from_user.get(index),
            BEAM: experiment.transmission if experiment.transmission != 1 else None,
            FILE: from_image_file(experiment.template),
            NAME: from_name(experiment.template, expression),
        }
        known = {
            source: value for source, value in sources.items() if value is not None
        }
        if not known and beams_are_set:
            known = {BEAM: experiment.transmission}
        if not known:
            name = Path(experiment.template).name or "without images"
            raise InputError(
                f"experiment {index} ({name}) has no transmission: give "
                f"transmission={','.join(['T'] * len(experiments))} in the order of the "
                f"experiments, or transmission={index}:T for this one"
            )
        source = next(iter(known))
        value = known.pop(source)
        if not 0 < value <= 1.0001:
            raise InputError(
                f"experiment {index}: a transmission lies above 0 and up to 1, and "
                f"{value:g} ({source}) does not"
            )
        found.append(Transmission(value, source, known))
    return found


def transmission_warnings(found: Sequence[Transmission]) -> list[str]:
    """What the user should know of the transmissions of all sweeps."""
    warnings = [
        f"experiment {index}: the {item.source} says that the transmission is "
        f"{item.value:g}, the {source} says {value:g}; the former is used"
        for index, item in enumerate(found)
        for source, value in item.disagreements.items()
    ]
    if all(item.value == 1 for item in found):
        warnings.append(
            "the transmission of every sweep is exactly 1: are they recorded? Linearity "
            "shows between different transmissions only"
        )
    return warnings


def parse_given(given: Sequence[str], n_sweeps: int) -> dict[int, float]:
    """Read transmissions from the command line.

    Args:
        given: Values in the order of the experiments, or id:value.
        n_sweeps: Number of sweeps.

    Returns:
        Transmission by sweep.

    Raises:
        InputError: They are no numbers, of the wrong number, or for no sweep.
    """
    items = [item for text in given for item in re.split(r"[,\s]+", text) if item]
    if not items:
        return {}
    named = [":" in item for item in items]
    if any(named) and not all(named):
        raise InputError(
            "transmission: give either a value for each experiment or id:value, not both"
        )
    values: dict[int, float] = {}
    for position, item in enumerate(items):
        key, _, text = item.rpartition(":")
        try:
            index, value = int(key) if key else position, float(text)
        except ValueError:
            raise InputError(f"transmission: {item!r} is no number") from None
        if key and not 0 <= index < n_sweeps:
            raise InputError(
                f"transmission: there is no experiment {index}; there are {n_sweeps}, "
                "numbered from 0"
            )
        if not 0 < value <= 1:
            raise InputError(
                f"transmission: {text} does not lie above 0 and up to 1 (1 is all of the "
                "beam)"
            )
        if index in values:
            raise InputError(f"transmission: experiment {index} is given twice")
        values[index] = value
    if not any(named) and len(values) != n_sweeps:
        raise InputError(
            f"transmission: {len(values)} value{'s' * (len(values) != 1)} for {n_sweeps} "
            "experiments: give one for each, or id:value"
        )
    return values


def from_image_file(template: str) -> float | None:
    """Transmission of NXattenuator in an image file, if both are there."""
    if not template.endswith(_NEXUS_SUFFIXES) or not Path(template).is_file():
        return None
    import h5py

    try:
        with h5py.File(template, "r") as file:
            if _NEXUS_PATH not in file:
                return None
            dataset = file[_NEXUS_PATH]
            first = (0,) * dataset.ndim
            if dataset.chunks:
                check_chunk_shape(dataset)
                check_chunk(dataset, first)
            # A value for each image would be read as large as the file says that it is
            value = float(dataset[first])
    # What a damaged file raises has nothing in common
    except Exception:
        return None
    return value if value > 0 else None


def from_name(template: str, expression: re.Pattern[str]) -> float | None:
    """Transmission in the name of the images or of their folder, if it is there."""
    path = Path(template)
    for name in (path.name, path.parent.name):
        match = expression.search(name)
        if match:
            try:
                value = float(match.group(1))
            except (TypeError, ValueError):
                continue
            if 0 < value <= 1:
                return value
    return None
