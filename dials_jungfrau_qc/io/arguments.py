"""The command line of the programs, on top of DIALS' own parser."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dials_jungfrau_qc._version import __version__
from dials_jungfrau_qc.io.compat import dials_version
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.interruption import Stopped, stoppable
from dials_jungfrau_qc.io.output import prepare_directory

logger = logging.getLogger("dials.jungfrau_qc")

PHIL_SUFFIXES = (".phil", ".param", ".params", ".eff", ".def")
EXPERIMENT_SUFFIXES = (".expt", ".json")
# Parameters of the programs that read reflection files
INPUT_PHIL = """
    input {
      allow_pickle = False
        .type = bool
        .help = "Open reflection files that are pickles. Opening a pickle runs whatever "
                "code it holds: allow it only for files that you trust."
        .expert_level = 1
    }
"""
# Loggers with the handlers that the last run in this process gave them
_of_last_run: list[tuple[logging.Logger, logging.Handler]] = []
# Options of DIALS' parser that are followed by a value
OPTIONS_WITH_VALUE = {"-a", "--attributes-level", "-e", "--expert-level", "--phil"}


def output_phil(program: str, more: str = "") -> str:
    """The parameters of the output, which all programs but the simulation share.

    Args:
        program: Its name, on which the names of files are built.
        more: Those of this program alone.
    """
    return f"""
    output {{
      directory = .
        .type = path
        .help = "Folder for all the output; made if it is not there."
      log = {program}.log
        .type = path
        .help = "The log file."
      html = {program}.html
        .type = path
        .help = "The report; None writes none."
      json = {program}.json
        .type = path
        .help = "The results for programs; None writes none."
{more}
    }}
"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A command line, parsed.

    Attributes:
        params: The parameters, as PHIL extracts them.
        all_parameters: Every parameter by its full name.
        changed: The parameters that the user changed, as PHIL text.
        verbosity: How often -v was given.
        command_line: The arguments as they would be typed.
        reflections: The reflection files, in order.
        experiments: The experiment lists, in order.
    """

    params: Any
    all_parameters: dict[str, Any]
    changed: str
    verbosity: int
    command_line: str
    reflections: list[Path]
    experiments: list[Path]


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """End the program with one line where the input is at fault or it is stopped.

    The exit status is 1 for the input, 130 for Ctrl-C and 143 for SIGTERM.
    """
    try:
        with stoppable():
            yield
    except InputError as e:
        sys.exit(str(e))
    except Stopped as e:
        print(f"Stopped by {e.signal.name}", file=sys.stderr)
        sys.exit(e.exit_status)


def parse_arguments(
    args: Sequence[str] | None, phil: Any, usage: str, epilog: str
) -> Arguments:
    """Parse a command line of parameters, reflection files and experiment lists.

    The files are taken out first. DIALS' parser would open them, and would unpickle
    what it does not recognise.

    Args:
        args: The arguments; those of the process if None.
        phil: The program's PHIL scope.
        usage: The line that shows how the program is called.
        epilog: The program's help text.

    Raises:
        InputError: An argument is not understood.
    """
    from libtbx.utils import Sorry

    from dials.util.options import ArgumentParser

    args = sys.argv[1:] if args is None else args
    rest, paths = split_paths(args)
    parser = ArgumentParser(usage=usage, phil=phil, epilog=epilog)

    def refuse(message: str) -> None:
        raise InputError(message)

    # Later versions of DIALS end here with a usage message before the error
    parser.error = refuse
    try:
        params, options = parser.parse_args(args=rest)
    # Numbers that PHIL cannot convert, such as an infinite int, are OverflowErrors
    except (Sorry, RuntimeError, OSError, OverflowError, ValueError) as e:
        raise InputError(str(e)) from e
    _check_set(phil, params)
    is_experiment = [path.suffix in EXPERIMENT_SUFFIXES for path in paths]
    return Arguments(
        params=params,
        all_parameters={
            definition.path: definition.object.extract()
            for definition in parser.phil.all_definitions()
        },
        changed=parser.diff_phil.as_str().strip(),
        verbosity=options.verbose,
        command_line=_printable(shlex.join(args)),
        reflections=[p for p, is_expt in zip(paths, is_experiment) if not is_expt],
        experiments=[p for p, is_expt in zip(paths, is_experiment) if is_expt],
    )


def _printable(text: str) -> str:
    """A text with backslashes for what of a file name is not valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _check_set(phil: Any, params: Any) -> None:
    """See that numbers are set; PHIL takes None and Auto for any parameter.

    Raises:
        InputError: A parameter is None or Auto whose default is neither.
    """
    from libtbx import Auto

    values = {
        definition.path: definition.object.extract()
        for definition in phil.format(params).all_definitions()
    }
    for definition in phil.all_definitions():
        default, value = definition.object.extract(), values[definition.path]
        if definition.object.type.phil_type == "choice" or default is Auto:
            continue
        # A name may be None, for nothing to be written
        missing = value is None and not (default is None or isinstance(default, str))
        if value is Auto or missing:
            raise InputError(
                f"{definition.path}={value}: this parameter needs a value of its own"
            )


def start_program(arguments: Arguments) -> Path:
    """Make the output directory and begin the log.

    Returns:
        The output directory.

    Raises:
        InputError: It cannot be written to.
    """
    output = arguments.params.output
    directory = prepare_directory(Path(output.directory or "."))
    begin_log(arguments, directory)
    return directory


def begin_log(arguments: Arguments, directory: Path) -> None:
    """Begin the log with the version and the parameters that the user changed.

    Raises:
        InputError: The log cannot be written.
    """
    import dials.util.log

    output = arguments.params.output
    logfile = directory / output.log if output.log else None
    _escape_what_cannot_be_printed(sys.stdout)
    try:
        if logfile and logfile.is_file() and not logfile.is_symlink():
            # Another run may be writing to it: that keeps its file, this gets a new one
            logfile.unlink()
        _end_log()
        before = _handlers()
        dials.util.log.config(
            verbosity=arguments.verbosity, logfile=logfile and str(logfile)
        )
        _of_last_run.extend(pair for pair in _handlers() if pair not in before)
        for _, handler in _of_last_run:
            _escape_what_cannot_be_printed(getattr(handler, "stream", None))
    except OSError as e:
        raise InputError(f"{logfile}: cannot be written: {e.strerror}") from e
    logger.info("dials_jungfrau_qc %s, %s", __version__, dials_version())
    if arguments.changed:
        logger.info(
            "The following parameters have been modified:\n%s\n", arguments.changed
        )


def _escape_what_cannot_be_printed(stream: Any) -> None:
    """Print file names that are not valid UTF-8 with backslashes, as errors are."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _handlers() -> list[tuple[logging.Logger, logging.Handler]]:
    """The handlers of the loggers that DIALS configures."""
    loggers = map(logging.getLogger, ("dials", "dxtbx", "py.warnings"))
    return [(own, handler) for own in loggers for handler in own.handlers]


def _end_log() -> None:
    """Take away the handlers of an earlier run in this process.

    DIALS leaves them: what a second run says would be printed twice, and would go into
    the log of the first as well.
    """
    while _of_last_run:
        own, handler = _of_last_run.pop()
        own.removeHandler(handler)
        handler.close()


def split_paths(args: Sequence[str]) -> tuple[list[str], list[Path]]:
    """Separate the files among the arguments from options and parameters.

    Raises:
        InputError: Something that can only be a file is not there.
    """
    rest: list[str] = []
    paths: list[Path] = []
    for previous, arg in zip(["", *args], args):
        is_file = (
            not arg.startswith("-")
            and previous not in OPTIONS_WITH_VALUE
            and not arg.endswith(PHIL_SUFFIXES)
            and ("=" not in arg or Path(arg).is_file())
        )
        if not is_file:
            rest.append(arg)
            continue
        path = Path(arg)
        if path.is_dir():
            raise InputError(f"{arg}: this is a folder, not a file")
        if not path.exists():
            raise InputError(f"{arg}: no such file")
        paths.append(path)
    return rest, paths
