"""Ways to damage a file: of bytes, of JSON and of HDF5."""

from __future__ import annotations

import contextlib
import json
import math
import random
import re
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# Where readers go wrong: signs, widths, and what does not fit into memory
NUMBERS = (
    *(0, 1, -1, 2, 127, 255, 256, 2**15, 2**16, 2**24 + 1),
    *(2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1),
)
VALUES = (
    *(None, True, 0, 1, -1, 7, 0.5, -0.0, 1e-300, 1e300, 10**6, 10**12, 2**31, 2**64),
    *(math.nan, math.inf, -math.inf, "", "x", "a" * 5000, "../..", "\x00", "<script>"),
    *([], [[]], [0], [1, 2, 3], [math.nan] * 3, {}, {"a": 1}),
)
# In front of these in a reflection table there are lengths
NAMES = (
    b"nrows",
    b"bbox",
    b"shoebox",
    b"Shoebox<>",
    b"flags",
    b"panel",
    b"identifiers",
)


def mutate_bytes(content: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Damage bytes in one to three ways; other is what is spliced in."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(BYTE_MUTATIONS)(content, rng, other)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """Somewhere, and every other time near the beginning, where headers are."""
    end = min(len(content), 2048) if rng.random() < 0.5 else len(content)
    return rng.randrange(max(end, 1))


def _flip(content: bytes, rng: random.Random, _: bytes) -> bytes:
    raw = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if raw:
            raw[_place(raw, rng)] ^= 1 << rng.randrange(8)
    return bytes(raw)


def _overwrite(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at, length = _place(content, rng), rng.choice((1, 4, 64, 4096))
    filling = rng.choice((b"\0", b"\xff", b"\x80")) * length
    return content[:at] + filling[: len(content) - at] + content[at + length :]


def _truncate(content: bytes, rng: random.Random, _: bytes) -> bytes:
    return content[: _place(content, rng)]


def _append(content: bytes, rng: random.Random, _: bytes) -> bytes:
    return content + rng.randbytes(rng.choice((1, 29, 5000)))


def _remove(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 29, 1000)) :]


def _repeat(content: bytes, rng: random.Random, _: bytes) -> bytes:
    at = _place(content, rng)
    return content[: at + rng.choice((1, 4, 29, 1000))] + content[at:]


def _splice(content: bytes, rng: random.Random, other: bytes) -> bytes:
    return content[: _place(content, rng)] + other[_place(other, rng) :]


def _edit_number(content: bytes, rng: random.Random, _: bytes) -> bytes:
    """Another number somewhere, often close to a name that lengths stand next to."""
    at = _place(content, rng)
    hits = [m.end() for m in re.finditer(re.escape(rng.choice(NAMES)), content)]
    if hits and rng.random() < 0.7:
        at = rng.choice(hits) + rng.randrange(40)
    kind = rng.choice(("B", "<I", ">I", "<Q", ">Q", ">H", "<f", "<d"))
    if kind[-1] in "fd":
        value = rng.choice((math.nan, math.inf, -1.0, 3e38, 0.25))
    else:
        value = rng.choice(NUMBERS) % (1 << 8 * struct.calcsize(kind))
    raw = struct.pack(kind, value)
    return content[:at] + raw + content[at + len(raw) :]


BYTE_MUTATIONS = (
    *(_flip, _overwrite, _truncate, _append, _remove, _repeat, _splice),
    # Lengths are where readers trust a file
    *(_edit_number, _edit_number, _edit_number),
)


def mutate_json(content: bytes, rng: random.Random, other: bytes = b"") -> bytes:
    """Damage values of a JSON file, or now and then its text."""
    if rng.random() < 0.2:
        return mutate_bytes(content, rng, other)
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _edit_tree(tree, rng)
    return json.dumps(tree).encode()


def _edit_tree(tree: Any, rng: random.Random) -> None:
    parent, key = None, None
    here = tree
    while isinstance(here, (dict, list)) and here:
        if parent is not None and rng.random() < 0.15:
            break
        parent = here
        key = (
            rng.choice(list(here))
            if isinstance(here, dict)
            else rng.randrange(len(here))
        )
        here = parent[key]
    if parent is None:
        return
    kind = rng.randrange(6)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, list):
        parent.insert(key, parent[key])
    elif kind == 2 and isinstance(here, (int, float)) and not isinstance(here, bool):
        parent[key] = rng.choice((-here, here + 1, here * 1e6, here * 1e-9, 2))
    elif kind == 3 and isinstance(here, str):
        parent[key] = rng.choice((here + "#", here[1:], here * 3, f"/{here}"))
    else:
        parent[key] = rng.choice(VALUES)


def mutate_hdf5(path: Path, rng: random.Random, other: bytes = b"") -> None:
    """Damage an HDF5 file in place: what it says, or now and then its bytes."""
    if rng.random() < 0.3:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng, other))
        return
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 2, 4))):
            names = ["/"]
            file.visit(names.append)
            name = rng.choice(names)
            if name not in file:
                continue
            # Some edits do not fit what is there
            with contextlib.suppress(TypeError, ValueError, OSError, KeyError):
                if rng.random() < 0.4:
                    _edit_attribute(file[name], rng)
                elif name != "/":
                    _edit_object(file, name, rng)


def _edit_attribute(item: Any, rng: random.Random) -> None:
    names = list(item.attrs)
    if not names:
        return
    name = rng.choice(names)
    if rng.random() < 0.3:
        del item.attrs[name]
        return
    item.attrs[name] = rng.choice(
        (
            *("", "x", ".", item.name, "/entry", "/nowhere", b"\xff\xfe"),
            *(0, -1, math.nan, math.inf, 2**63 - 1),
            *(np.zeros(0), np.zeros(3), np.full(3, np.nan), np.arange(7.0), "é" * 999),
        )
    )


def _edit_object(file: h5py.File, name: str, rng: random.Random) -> None:
    item = file[name]
    old = item[()] if isinstance(item, h5py.Dataset) and item.size < 1e7 else None
    attributes = dict(item.attrs)
    kind = rng.randrange(9)
    if kind == 0 or old is None:
        del file[name]
        link = rng.choice((None, "/" + name, "/", "/nowhere", "external"))
        if link == "external":
            file[name] = h5py.ExternalLink("nowhere.h5", "/data")
        elif link is not None:
            file[name] = h5py.SoftLink(link)
        return
    del file[name]
    if kind == 1:
        file.create_group(name)
    elif kind == 2:
        file[name] = rng.choice((0, -1, math.nan, 1e300, 2**62, "x", "", "/" + name))
    elif kind == 3:
        _promise_much(file, name, np.asarray(old), rng)
    elif kind == 4:
        file[name] = np.asarray(old).astype(rng.choice(("S4", "f2", "i1", "u8", "f8")))
    elif kind == 5:
        file[name] = np.asarray(old)[np.newaxis]
    elif kind == 6:
        file[name] = np.asarray(old).ravel()[: rng.choice((0, 1, 7))]
    elif kind == 7:
        file.create_dataset(name, dtype=getattr(old, "dtype", "f8"), shape=None)
    else:
        numbers = np.array(old, copy=True)
        if numbers.dtype.kind in "iuf" and numbers.size:
            flat = numbers.reshape(-1)
            info = np.iinfo if numbers.dtype.kind in "iu" else np.finfo
            flat[rng.randrange(flat.size)] = rng.choice(
                (info(numbers.dtype).max, info(numbers.dtype).min, 0)
            )
        file[name] = numbers
    if rng.random() < 0.8:
        for key, value in attributes.items():
            file[name].attrs[key] = value


def _promise_much(
    file: h5py.File, name: str, old: np.ndarray, rng: random.Random
) -> None:
    """A data set that says it is huge and takes no room."""
    dtype = old.dtype if old.dtype.kind in "iuf" else np.float64
    n = rng.choice((2**26, 2**32, 2**40))
    shape = (n, *old.shape[1:]) if old.ndim else (n,)
    file.create_dataset(
        name, shape=shape, dtype=dtype, chunks=tuple(min(s, 1 << 12) for s in shape)
    )
