"""JSON Schemas of what the programs write, for pipelines that want to be sure.

The files beside this one follow JSON Schema 2020-12. envelope.json is what all have in
common; each of the others builds on it.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

PROGRAMS = (
    "dials.pixel_histogram",
    "dials.transmission_linearity",
    "dials.find_bad_pixels",
    "dials.simulate_jungfrau",
)


def read_schema(program: str) -> dict[str, Any]:
    """The schema of a program's JSON, with the common part inside.

    Any validator of JSON Schema 2020-12 takes it without looking elsewhere, such as
    ``jsonschema.validate(content, read_schema(content["program"]))``.

    Args:
        program: The name that the JSON gives, such as dials.pixel_histogram.

    Raises:
        ValueError: No program of this package has that name.
    """
    if program not in PROGRAMS:
        raise ValueError(f"{program} is none of {', '.join(PROGRAMS)}")
    schema = read_file(program.removeprefix("dials."))
    schema.setdefault("$defs", {})["envelope"] = read_file("envelope")
    return schema


def read_file(name: str) -> dict[str, Any]:
    """One schema as its file has it, such as envelope."""
    text = (files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)
