"""A folder of results that appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.interruption import uninterrupted
from dials_jungfrau_qc.io.output import alone_in

CONTENTS = "truth.json"


@contextlib.contextmanager
def new_folder(directory: Path, overwrite: bool) -> Iterator[Path]:
    """Fill a folder aside; it gets its name when all went well.

    Args:
        directory: The folder that will be there in the end.
        overwrite: It may be there already with results of an earlier run: these are
            replaced, other files in it stay.

    Yields:
        The folder to write to, on the same file system.

    Raises:
        InputError: The folder is there and not empty, or cannot be written.
    """
    # abspath and not resolve: a link to another disk must stay a link.
    directory = Path(os.path.abspath(directory))
    try:
        if directory.is_dir():
            _check_free(directory, overwrite)
        elif directory.exists():
            raise InputError(f"{directory}: this is a file, not a folder")
        made = _make(directory.parent)
    except OSError as e:
        raise InputError(f"{directory}: cannot be made: {e.strerror}") from e
    aside = None
    try:
        try:
            aside = Path(
                tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent)
            )
            # mkdtemp lets nobody else in; results are for everybody.
            aside.chmod(0o777 & ~_umask())
        except OSError as e:
            raise InputError(f"{directory}: cannot be made: {e.strerror}") from e
        yield aside
        try:
            # A run that ends at the same moment would mix its files with these
            with uninterrupted(), alone_in([directory.parent]):
                _check_free(directory, overwrite)
                _put_in_place(aside, directory)
        except OSError as e:
            raise InputError(f"{directory}: cannot be written: {e.strerror}") from e
    except BaseException:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _check_free(directory: Path, overwrite: bool) -> None:
    if not overwrite and directory.is_dir() and any(directory.iterdir()):
        raise InputError(
            f"{directory}: this folder exists and is not empty. Give another "
            "output.directory, or overwrite=True"
        )


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, the deepest first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


def _put_in_place(aside: Path, directory: Path) -> None:
    if not directory.exists():
        os.replace(aside, directory)
        return
    for name in {*_earlier_results(directory), *(p.name for p in aside.iterdir())}:
        old = directory / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    for new in aside.iterdir():
        os.replace(new, directory / new.name)
    aside.rmdir()


def _earlier_results(directory: Path) -> list[str]:
    """Folders that an earlier run says it has written."""
    try:
        truth = json.loads((directory / CONTENTS).read_text(encoding="utf-8"))
        names = [Path(sweep["file"]).parts[0] for sweep in truth["sweeps"]]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return []
    # A name that leads out of the folder is none that a run has written.
    return [name for name in names if name not in ("..", os.sep)]
