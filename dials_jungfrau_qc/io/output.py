"""The only writer: files appear under their names whole and together, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dials_jungfrau_qc._version import __version__
from dials_jungfrau_qc.io.compat import dials_version
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.interruption import uninterrupted

SCHEMA = 1


class OutputFiles:
    """Files that are written aside and given their names together at the end.

    Use as a context manager: leaving it normally renames every file into place,
    leaving it by an exception removes what was written.
    """

    def __init__(self) -> None:
        self._aside: dict[Path, Path] = {}

    def __enter__(self) -> OutputFiles:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            path = None
            try:
                with uninterrupted(), alone_in({p.parent for p in self._aside}):
                    for path, aside in self._aside.items():
                        os.replace(aside, path)
            except OSError as e:
                self._remove()
                raise InputError(f"{path}: cannot be written: {e.strerror}") from e
            except BaseException:
                self._remove()
                raise
        else:
            self._remove()

    def _remove(self) -> None:
        for aside in self._aside.values():
            aside.unlink(missing_ok=True)

    def path_for(self, path: Path) -> Path:
        """A path to write to, in the folder of the final one."""
        if path in self._aside:
            raise InputError(f"{path}: two results would be written to this file")
        if path.is_dir():
            # Renaming would fail after other results have their names
            raise InputError(f"{path}: cannot be written: {os.strerror(errno.EISDIR)}")
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._aside[path] = aside
        return aside

    def write_text(self, path: Path, text: str) -> None:
        """Write a text file.

        Raises:
            InputError: It cannot be written.
        """
        aside = self.path_for(path)
        try:
            # Names of files need not be valid UTF-8
            aside.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as e:
            raise InputError(f"{path}: cannot be written: {e.strerror}") from e

    def write_bytes(self, path: Path, content: bytes) -> None:
        """Write a binary file.

        Raises:
            InputError: It cannot be written.
        """
        aside = self.path_for(path)
        try:
            aside.write_bytes(content)
        except OSError as e:
            raise InputError(f"{path}: cannot be written: {e.strerror}") from e

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write JSON; numbers that are not finite become null."""
        self.write_text(path, json.dumps(plain(content), allow_nan=False) + "\n")


def write_in_turn(
    paths: Mapping[int, Path], content: Iterable[tuple[int, bytes | memoryview]]
) -> None:
    """Write several files of OutputFiles a piece at a time.

    Args:
        paths: Where OutputFiles.path_for says that each file is to be written.
        content: Pieces, each with the key of its file.

    Raises:
        InputError: A file cannot be written.
    """
    path = None
    try:
        with contextlib.ExitStack() as stack:
            files = {}
            for key, path in paths.items():
                files[key] = stack.enter_context(path.open("wb"))
            for key, piece in content:
                path = paths[key]
                files[key].write(piece)
    # Where the disk is full, closing a file fails once more
    except OSError as e:
        raise InputError(f"{path}: cannot be written: {e.strerror}") from e


@contextlib.contextmanager
def alone_in(folders: Iterable[Path]) -> Iterator[None]:
    """Keep other runs from giving files their names in these folders meanwhile.

    Else the results of two runs that end together could be mixed.
    """
    with contextlib.ExitStack() as stack:
        for folder in sorted(folders):
            # Not every system and file system has locks; the window is milliseconds
            with contextlib.suppress(ImportError, OSError):
                import fcntl

                handle = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def prepare_directory(directory: Path) -> Path:
    """Make the output directory and see that files can be written there.

    Raises:
        InputError: It cannot be made or written to.
    """
    probe = directory / f".dials_jungfrau_qc.{os.getpid()}.part"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            probe.touch()
        finally:
            probe.unlink(missing_ok=True)
    except OSError as e:
        raise InputError(
            f"output directory {directory}: cannot be written to: {e.strerror}"
        ) from e
    return directory


def plain(value: Any) -> Any:
    """A value as JSON knows it: numpy and dataclasses resolved, NaN as None."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iub":
            return value.tolist()
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    return str(value)


def envelope(
    program: str,
    parameters: Mapping[str, Any],
    inputs: Sequence[Path],
    verdict: str,
    directory: Path,
) -> dict[str, Any]:
    """The part of the JSON that every program of the package writes.

    Args:
        program: Its name.
        parameters: All its parameters by their full name.
        inputs: The files that it read.
        verdict: The result in one sentence.
        directory: The output folder, to which paths are made relative.
    """
    return {
        "program": program,
        "version": __version__,
        "dials_version": dials_version(),
        "schema": SCHEMA,
        "parameters": dict(parameters),
        "input": [relative_path(path, directory) for path in inputs],
        "verdict": verdict,
    }


def relative_path(path: Path, directory: Path) -> str:
    """A path as seen from the output folder, with forward slashes."""
    return Path(os.path.relpath(path, directory)).as_posix()
