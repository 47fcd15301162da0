"""Reports: one HTML file that opens from disk, with everything it needs inside."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from dials_jungfrau_qc._version import __version__
from dials_jungfrau_qc.io.arguments import Arguments
from dials_jungfrau_qc.io.compat import dials_version
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.report.plots import Plots


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first row is its heading."""

    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page that can be folded away.

    Attributes:
        title: Its heading.
        plots: Plotly dictionaries by key.
        tables: Tables below the plots.
        text: Paragraphs above them.
    """

    title: str
    plots: Plots = dataclasses.field(default_factory=dict)
    tables: Sequence[Table] = ()
    text: Sequence[str] = ()


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
    return environment.get_template("jungfrau_report.html").render(
        title=title, verdict=verdict, sections=sections, run=run, plotly=plotly_script()
    )


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
