"""What an experiment list names and promises, looked at before dxtbx acts on it.

dxtbx unpickles the mask, gain, pedestal and distortion files that an experiment list
names, and images that look like a pickle; a pickle runs whatever code it holds. It also
makes lists as long as a scan says and arrays as large as a panel says.
"""

from __future__ import annotations

import bz2
import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dials_jungfrau_qc.io.errors import InputError

# Files that dxtbx unpickles. Only the mask concerns pixel values as they are read.
PICKLES = ("mask", "gain", "pedestal", "dx", "dy")
MODELS = ("beam", "detector", "goniometer", "scan", "imageset")
# Far more than any experiment: 17 minutes at 1 kHz, and 16 detectors of 16 million pixels
MAX_IMAGES = 1 << 20
MAX_PIXELS = 1 << 28
# How a pickle of a dictionary starts, which dxtbx takes for an image
_PICKLED_DICTIONARY = (b"(d", b"}q", b"\x80")


def read_experiment_json(path: Path) -> dict[str, Any]:
    """Read the JSON of an experiment list, known to promise nothing absurd.

    Raises:
        InputError: It cannot be read, is no experiment list, or says that it has more
            images or pixels than any experiment.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise InputError(f"{path}: cannot be read: {e.strerror}") from e
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: this is not an experiment list ({e})") from e
    if not isinstance(tree, dict) or tree.get("__id__") != "ExperimentList":
        raise InputError(f"{path}: this is not an experiment list")
    for key in ("experiment", *MODELS):
        items = tree.get(key, [])
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
            raise InputError(f"{path}: damaged experiment list: {key!r}")
    for experiment in tree.get("experiment", []):
        for key in MODELS:
            if isinstance(experiment.get(key), str):
                raise InputError(
                    f"{path}: the {key} is in a file of its own ({experiment[key]}), "
                    "which only very old versions of DIALS wrote. Import the images again"
                )
    _check_sizes(path, tree)
    return tree


def _check_sizes(path: Path, tree: Mapping[str, Any]) -> None:
    for scan in tree.get("scan", []):
        first, last = _whole_numbers(path, "image_range", scan.get("image_range"))
        if not 0 <= last - first < MAX_IMAGES:
            raise InputError(f"{path}: a scan from image {first} to {last} cannot be")
    for detector in tree.get("detector", []):
        panels = detector.get("panels", [])
        if not isinstance(panels, list) or not all(isinstance(p, dict) for p in panels):
            raise InputError(f"{path}: damaged experiment list: 'panels'")
        n_pixels = 0
        for panel in panels:
            fast, slow = _whole_numbers(path, "image_size", panel.get("image_size"))
            if min(fast, slow) < 0:
                raise InputError(f"{path}: a panel of {fast} x {slow} pixels cannot be")
            n_pixels += fast * slow
        if n_pixels > MAX_PIXELS:
            raise InputError(
                f"{path}: a detector of {n_pixels} pixels cannot be: the file is damaged"
            )


def _whole_numbers(path: Path, name: str, value: Any) -> tuple[int, int]:
    if (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(isinstance(v, int) and abs(v) < 1 << 31 for v in value)
    ):
        return value[0], value[1]
    raise InputError(f"{path}: damaged experiment list: {name!r} is {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def take_out_pickles(path: Path, tree: dict[str, Any]) -> dict[int, str]:
    """Take the names of pickled files out of an experiment list, for us to read.

    Args:
        path: The experiment list.
        tree: Its content, which is changed.

    Returns:
        The mask file of each imageset that has one, by the imageset's index.

    Raises:
        InputError: A name is not a text.
    """
    masks = {}
    for index, imageset in enumerate(tree.get("imageset", [])):
        names = {key: imageset.pop(key, None) or "" for key in PICKLES}
        for key, name in names.items():
            if not isinstance(name, str) or "\0" in name:
                raise InputError(
                    f"{path}: damaged experiment list: {key!r} is {_short(name)}"
                )
        if names["mask"]:
            masks[index] = names["mask"]
    return masks


def check_images(path: Path, tree: Mapping[str, Any]) -> list[Path]:
    """See that the images of an experiment list are no pickles.

    Returns:
        The first file of each imageset, as far as it is there.

    Raises:
        InputError: One is a pickle, or its name cannot be that of a file.
    """
    from dxtbx.serialize.filename import resolve_path

    numbers = sorted({scan["image_range"][0] for scan in tree.get("scan", [])})
    first = []
    for imageset in tree.get("imageset", []):
        names = imageset.get("images") or [imageset.get("template")]
        if not isinstance(names, list):
            raise InputError(f"{path}: damaged experiment list: 'images'")
        names = list(dict.fromkeys(n for n in names if isinstance(n, str) and n))
        for name in names:
            if "\0" in name:
                raise InputError(f"{path}: no file can be called {_short(name)}")
            template = Path(resolve_path(name, str(path.parent.absolute())))
            for file in _first_files(template, numbers):
                refuse_pickle(file)
                if name == names[0]:
                    first.append(file)
    return first


def refuse_pickle(file: Path) -> None:
    """See that a file which is to be read as an image is none that dxtbx unpickles.

    Raises:
        InputError: It is a pickle.
    """
    if _start(file).startswith(_PICKLED_DICTIONARY):
        raise InputError(
            f"{file}: this is a pickle, and opening a pickle runs whatever code it holds. "
            "Images in pickles are not read"
        )


def _first_files(template: Path, numbers: Sequence[int]) -> list[Path]:
    """The file that a template names, or the files that scans can begin with.

    By the first file of a series dxtbx decides how to read all of them.
    """
    try:
        if "#" not in template.name:
            return [template] if template.is_file() else []
        digits = re.search("#+", template.name)[0]
        if numbers:
            names = {
                template.name.replace(digits, f"{n:0{len(digits)}d}") for n in numbers
            }
        else:
            pattern = re.compile(re.escape(template.name).replace(r"\#", r"\d"))
            files = template.parent.iterdir()
            names = sorted(f.name for f in files if pattern.fullmatch(f.name))[:1]
        files = [template.with_name(name) for name in names]
        return [file for file in files if file.is_file()]
    except OSError:
        # No such folder, or a name that is too long: dxtbx says that images are missing
        return []


def _start(file: Path) -> bytes:
    """The first bytes of a file, decompressed as dxtbx would."""
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(file) as stream:
                return stream.read(4)
        if start.startswith(b"BZh"):
            with bz2.open(file) as stream:
                return stream.read(4)
        return start
    except (OSError, EOFError, zlib.error):
        return b""
