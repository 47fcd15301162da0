"""In what order sweeps were taken."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.sweep_experiments import SweepExperiment


def collection_order(
    experiments: Sequence[SweepExperiment], given: Sequence[int] | None
) -> tuple[np.ndarray, str]:
    """The order of collection, and how it is known.

    Args:
        experiments: Of the sweeps.
        given: The order by the user, if any.

    Returns:
        Indices of the sweeps, and "command line", "time stamps" or "order of the files".

    Raises:
        InputError: What was given is no order of the sweeps.
    """
    n = len(experiments)
    if given is not None:
        if sorted(given) != list(range(n)):
            raise InputError(
                f"order: give every experiment from 0 to {n - 1} once, such as "
                f"order={','.join(map(str, range(n)))}"
            )
        return np.array(given), "command line"
    times = np.array([experiment.start_time for experiment in experiments])
    if np.isfinite(times).all() and len(np.unique(times)) == n:
        return np.argsort(times), "time stamps"
    return np.arange(n), "order of the files"


def parse_numbers(name: str, given: Sequence[str] | None) -> list[int] | None:
    """Whole numbers from the command line, with commas or blanks between.

    Args:
        name: Of the parameter.
        given: Its words.

    Raises:
        InputError: They are no whole numbers.
    """
    if given is None:
        return None
    items = [item for text in given for item in re.split(r"[,\s]+", text) if item]
    try:
        return [int(item) for item in items]
    except ValueError:
        raise InputError(f"{name}: {' '.join(given)!r} are no whole numbers") from None
