"""Reports: one HTML file that opens from disk, with everything it needs inside."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dials_jungfrau_qc._version import __version__
from dials_jungfrau_qc.io.arguments import Arguments
from dials_jungfrau_qc.io.compat import dials_version
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.report.plots import Plots
from dials_jungfrau_qc.report.tables import Table


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page that can be folded away.

    Attributes:
        title: Its heading.
        plots: Plotly dictionaries by key.
        tables: Tables below the plots.
        text: Paragraphs above them.
        points: Items of a list below the paragraphs.
    """

    title: str
    plots: Plots = dataclasses.field(default_factory=dict)
    tables: Sequence[Table] = ()
    text: Sequence[str] = ()
    points: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """How a report came about."""

    program: str
    version: str
    dials_version: str
    command_line: str
    directory: str
    date: str
    inputs: Sequence[str]
    changed_parameters: str


def run_info(program: str, arguments: Arguments, directory: Path) -> RunInfo:
    """How this run came about.

    Args:
        program: The program's name.
        arguments: Its command line.
        directory: The output folder.
    """
    return RunInfo(
        program=program,
        version=__version__,
        dials_version=dials_version(),
        command_line=f"{program} {arguments.command_line}",
        directory=str(directory.resolve()),
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z"),
        inputs=[str(path) for path in (*arguments.reflections, *arguments.experiments)],
        changed_parameters=arguments.changed,
    )


def render_report(
    title: str, verdict: str, sections: Sequence[Section], run: RunInfo
) -> str:
    """Render a page in the style of DIALS' reports.

    DIALS' own base template takes its scripts from the network or from absolute paths;
    here the block that names them is replaced, so that the page works at a beamline
    without either.

    Args:
        title: Heading of the page.
        verdict: The result in one sentence.
        sections: The parts of the page in order.
        run: How the report came about.
    """
    import jinja2

    environment = jinja2.Environment(
        finalize=printable,
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("dials_jungfrau_qc", "report/templates"),
                jinja2.PackageLoader("dials", "templates"),
            ]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["typeset"] = typeset
    environment.filters["for_plotly"] = for_plotly
    return environment.get_template("jungfrau_report.html").render(
        title=title,
        verdict=verdict,
        sections=sections,
        run=run,
        plotly=environment.filters["safe"](plotly_script()),
    )


def typeset(text: object) -> str:
    """Numbers and units as they are printed, for what is written plainly on a console."""
    text = re.sub(r"(?<=\d) \+- (?=\d)", " ± ", str(text))
    text = re.sub(r"(?<=[\d)])e([+-]\d+)\b", _power_of_ten, text)
    text = re.sub(r"\bA\^2\b", "Å²", text)
    return text.replace("(A)", "(Å)")


def _power_of_ten(match: re.Match) -> str:
    digits = str(int(match[1])).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f" × 10{digits}"


def printable(value: Any) -> Any:
    """Text with what has no shape of its own written out, such as control characters.

    File names may hold them, and names that are no UTF-8 hold surrogates, which no page
    can. Line breaks and tabs are left to where they stand.
    """
    # What is markup already has gone through here
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(
        c if c.isprintable() or c in "\n\t" else _written_out(c) for c in value
    )


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def for_plotly(value: Any, key: str = "") -> Any:
    """A plot with its text as text, which plotly would else take for markup.

    Templates for hovering are the program's own and are left alone.
    """
    if isinstance(value, dict):
        return {k: for_plotly(v, k) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_plotly(v, key) for v in value]
    if not isinstance(value, str) or key == "hovertemplate":
        return value
    value = "".join(c if c.isprintable() else _written_out(c) for c in value)
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def plotly_script() -> str:
    """The text of plotly.min.js, from the Python package plotly.

    The package is located without being imported, which would take longer than writing
    the whole report.

    Raises:
        InputError: The package is missing, or is Debian's, which lacks the script.
    """
    spec = importlib.util.find_spec("plotly")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        script = Path(folder) / "package_data" / "plotly.min.js"
        if script.is_file():
            return script.read_text(encoding="utf-8")
    raise InputError(
        "the report needs the Python package plotly as PyPI has it, version 6 or later: "
        "pip install --ignore-installed 'plotly>=6', or do without the report with "
        "output.html=None"
    )
