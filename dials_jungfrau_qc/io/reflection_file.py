"""Open a reflection table on disk and read only the columns that are asked for.

DIALS' own reader loads every column, takes several copies of the shoeboxes, cannot
read files of later versions and unpickles what it does not recognise. The readers
here do none of that: they believe nothing of a header that they have not checked.

The layout of the msgpack file is that of
dials/array_family/reflection_table_msgpack_adapter.h.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.shoebox_blob import ShoeboxPixels, iter_shoebox_blob

MAGIC_MSGPACK = b"\x93\xbb\x64"
MAGIC_GZIP = b"\x1f\x8b"
MAGIC_HDF5 = b"\x89HDF\r\n\x1a\n"
# The first byte of a pickle of protocol 2 and later, and the first bytes that
# protocols 0 and 1 start with for the objects that DIALS pickled.
MAGIC_PICKLE = (b"\x80", b"cdials", b"ccopy_reg", b"cdials_array_family")

FILE_TYPE = "dials::af::reflection_table"
FILE_VERSIONS = (1, 2)

# dtype and number of elements a row of each column type that has a fixed size
COLUMN_TYPES = {
    "bool": ("u1", 1),
    "int": ("<i4", 1),
    "std::size_t": ("<u8", 1),
    "double": ("<f8", 1),
    "vec2<double>": ("<f8", 2),
    "vec3<double>": ("<f8", 3),
    "mat3<double>": ("<f8", 9),
    "int6": ("<i4", 6),
    "cctbx::miller::index<>": ("<i4", 3),
}
SHOEBOX_TYPE = "Shoebox<>"

# Kinds of numbers and elements a row of columns that DIALS always writes in one way
WHOLE, REAL = "iu", "f"
KNOWN_COLUMNS = {
    "flags": (WHOLE, 1),
    "id": (WHOLE, 1),
    "panel": (WHOLE, 1),
    "bbox": (WHOLE, 6),
    "miller_index": (WHOLE, 3),
    "intensity.sum.value": (REAL, 1),
    "intensity.sum.variance": (REAL, 1),
    "xyzobs.px.value": (REAL, 3),
    "xyzcal.px": (REAL, 3),
    "intensity.prf.value": (REAL, 1),
    "intensity.prf.variance": (REAL, 1),
    "entering": ("iub", 1),
    "partiality": (REAL, 1),
    "d": (REAL, 1),
    "background.mean": (REAL, 1),
    "zeta": (REAL, 1),
    "lp": (REAL, 1),
    "qe": (REAL, 1),
    "dqe": (REAL, 1),
}

# A compressed reflection table becomes larger than this only if it was made to: those of
# shoeboxes become 5 to 20 times as large
MAX_GZIP_RATIO = 200
# What may come out of a small file all the same
GZIP_ALLOWANCE = 1 << 28


class ReflectionFile(Protocol):
    """A reflection table on disk, whatever its format."""

    path: Path
    n_rows: int
    identifiers: dict[int, str]

    @property
    def column_names(self) -> set[str]: ...

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows of a column as an array of shape (n,) or (n, elements); all by default."""
        ...

    def iter_shoeboxes(
        self, rows: np.ndarray, background: bool = False
    ) -> Iterator[ShoeboxPixels]:
        """The pixels of the shoeboxes of these rows, in blocks of bounded size."""
        ...

    def close(self) -> None: ...


def open_reflection_file(path: Path, allow_pickle: bool = False) -> ReflectionFile:
    """Open a reflection table, telling its format by its first bytes.

    Args:
        path: The file: msgpack of version 1 or 2, the same compressed with gzip, or
            HDF5; a pickle only if allowed.
        allow_pickle: Unpickle a pickle. Unpickling runs whatever code the file holds.

    Raises:
        InputError: The file is missing, empty, foreign, damaged, or a pickle.
    """
    try:
        stream = path.open("rb")
        start = stream.read(16)
    except OSError as e:
        raise InputError(f"{path}: cannot be read: {e.strerror}") from e
    if not start:
        stream.close()
        raise InputError(f"{path}: the file is empty")
    if start.startswith(MAGIC_HDF5):
        stream.close()
        from dials_jungfrau_qc.io.reflection_hdf5 import Hdf5ReflectionFile

        return Hdf5ReflectionFile(path)
    try:
        if start.startswith(MAGIC_GZIP):
            stream = _decompressed(path, stream)
            start = stream.read(16)
        if start.startswith(MAGIC_MSGPACK):
            return MsgpackReflectionFile(path, stream)
        if start.startswith(MAGIC_PICKLE):
            if not allow_pickle:
                raise InputError(
                    f"{path}: this is a pickle, and opening a pickle runs whatever code "
                    "it holds. If you trust where it comes from, give "
                    "input.allow_pickle=True"
                )
            stream.close()
            return MsgpackReflectionFile(path, _unpickled(path))
        raise InputError(f"{path}: this is not a DIALS reflection table")
    except BaseException:
        stream.close()
        raise


def check_column(path: Path, name: str, values: np.ndarray) -> None:
    """See that a column holds what a column of its name always holds.

    Raises:
        InputError: It has another shape or another kind of numbers.
    """
    kinds, elements = KNOWN_COLUMNS.get(name, ("biuf", None))
    width = values.size // max(len(values), 1) if values.ndim else 0
    if (
        values.dtype.kind not in kinds
        or values.ndim not in (1, 2)
        or (elements is not None and len(values) and width != elements)
    ):
        raise InputError(
            f"{path}: damaged reflection table: column {name!r} holds {values.dtype} of "
            f"shape {values.shape}"
        )


def _decompressed(path: Path, stream: BinaryIO) -> BinaryIO:
    """The content of a gzip file, in a temporary file that has no name."""
    import gzip
    import tempfile
    import zlib

    packed = os.fstat(stream.fileno()).st_size
    limit = max(GZIP_ALLOWANCE, MAX_GZIP_RATIO * packed)
    content = tempfile.TemporaryFile()
    stream.seek(0)
    try:
        with stream, gzip.GzipFile(fileobj=stream) as source:
            while piece := source.read(1 << 20):
                content.write(piece)
                if content.tell() > limit:
                    raise InputError(
                        f"{path}: {packed} bytes unpack to more than {limit}: this is no "
                        "reflection table. If it is, unpack it with gunzip"
                    )
        content.flush()
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        content.close()
        raise InputError(
            f"{path}: the gzip file is truncated or damaged ({e})"
        ) from None
    except OSError as e:
        content.close()
        raise InputError(f"{path}: cannot be decompressed: {e.strerror}") from e
    except BaseException:
        content.close()
        raise
    content.seek(0)
    return content


def _unpickled(path: Path) -> BinaryIO:
    """The table of a pickle, written again as msgpack in a temporary file."""
    import tempfile

    from dials.array_family import flex

    try:
        table = flex.reflection_table.from_pickle(os.fspath(path))
    except Exception as e:
        raise InputError(f"{path}: the pickle holds no reflection table ({e})") from e
    with tempfile.NamedTemporaryFile(suffix=".refl") as aside:
        table.as_msgpack_file(aside.name)
        return open(aside.name, "rb")


@dataclasses.dataclass(frozen=True)
class Column:
    """Where a column lies in the file: offset and length in bytes."""

    type: str
    offset: int
    n_bytes: int


class MsgpackReflectionFile:
    """A reflection table in DIALS' msgpack format.

    The file is read with explicit offsets rather than mapped: a mapped file that
    shrinks under the reader kills the process.
    """

    def __init__(self, path: Path, stream: BinaryIO):
        self.path = path
        self._stream = stream
        header = _HeaderReader(path, stream)
        self.version, self.n_rows, self.identifiers, self._columns = header.table()

    @property
    def column_names(self) -> set[str]:
        return set(self._columns)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows of a column of fixed element size.

        Args:
            name: The column.
            start: First row.
            stop: Row before which to end; all that are left if None.

        Returns:
            Array of shape (n,), or (n, elements) for vectors and matrices.

        Raises:
            InputError: No such column, or not of a fixed size.
        """
        column = self._columns.get(name)
        if column is None:
            raise InputError(f"{self.path}: the table has no column {name!r}")
        if column.type not in COLUMN_TYPES:
            raise InputError(
                f"{self.path}: column {name!r} has the unexpected type {column.type!r}"
            )
        dtype, elements = COLUMN_TYPES[column.type]
        start, stop, _ = slice(start, stop).indices(self.n_rows)
        n_rows, width = max(stop - start, 0), elements * np.dtype(dtype).itemsize
        raw = self._pread(column.offset + start * width, n_rows * width)
        values = raw.view(dtype)
        values = values if elements == 1 else values.reshape(n_rows, elements)
        check_column(self.path, name, values)
        return values

    def iter_shoeboxes(
        self, rows: np.ndarray, background: bool = False
    ) -> Iterator[ShoeboxPixels]:
        """Read the pixels of shoeboxes, in blocks of bounded size.

        Args:
            rows: The rows wanted, shape (n,), ascending.
            background: Read the background values as well.

        Raises:
            InputError: The column is not there or its records do not add up.
        """
        column = self._columns.get("shoebox")
        if column is None or column.type != SHOEBOX_TYPE:
            raise InputError(f"{self.path}: the table has no shoeboxes")
        bbox = self.read("bbox") if "bbox" in self._columns else None
        return iter_shoebox_blob(
            self.path,
            self._pread,
            column.offset,
            column.n_bytes,
            bbox,
            self.n_rows,
            rows,
            background,
        )

    def close(self) -> None:
        self._stream.close()

    def _pread(self, offset: int, n_bytes: int) -> np.ndarray:
        """Bytes of the file, shape (n_bytes,) uint8."""
        buffer = np.empty(n_bytes, dtype=np.uint8)
        self._stream.seek(offset)
        view = memoryview(buffer)
        done = 0
        while done < n_bytes:
            n = self._stream.readinto(view[done:])
            if not n:
                raise InputError(
                    f"{self.path}: the file ended {n_bytes - done} bytes early: it is "
                    "truncated or still being written"
                )
            done += n
        return buffer


class _HeaderReader:
    """Read the msgpack items that a reflection table is made of, skipping the blobs."""

    # Names and identifiers are short; anything longer is a damaged file.
    max_text = 1 << 16

    def __init__(self, path: Path, stream: BinaryIO):
        self._path = path
        self._stream = stream
        stream.seek(0, os.SEEK_END)
        self._size = stream.tell()
        stream.seek(0)

    def table(self) -> tuple[int, int, dict[int, str], dict[str, Column]]:
        """The version, number of rows, identifiers and columns."""
        self._expect(self._container("array") == 3, "it is not an array of 3")
        self._expect(self._text() == FILE_TYPE, "it is not a reflection table")
        version = self._uint()
        if version not in FILE_VERSIONS:
            raise InputError(
                f"{self._path}: the file has format version {version}; versions "
                f"{' and '.join(map(str, FILE_VERSIONS))} can be read"
            )
        n_rows, identifiers, columns = None, {}, None
        for _ in range(self._container("map")):
            key = self._text()
            if key == "identifiers":
                identifiers = {
                    self._uint(): self._text() for _ in range(self._container("map"))
                }
            elif key == "nrows":
                n_rows = self._uint()
            elif key == "data":
                columns = dict(self._column() for _ in range(self._container("map")))
            else:
                self._expect(False, f"unknown key {key!r} in the header")
        self._expect(n_rows is not None, "the number of rows is missing")
        self._expect(columns is not None, "the columns are missing")
        for name, (n, column) in columns.items():
            self._expect(
                n == n_rows, f"column {name!r} has {n} rows and the table {n_rows}"
            )
            self._check_length(name, column, n_rows)
        # A table without any column of known size cannot have more rows than bytes
        self._expect(n_rows <= self._size, f"{n_rows} rows in {self._size} bytes")
        return version, n_rows, identifiers, {k: c for k, (_, c) in columns.items()}

    def _check_length(self, name: str, column: Column, n_rows: int) -> None:
        if column.type not in COLUMN_TYPES:
            return
        dtype, elements = COLUMN_TYPES[column.type]
        expected = n_rows * elements * np.dtype(dtype).itemsize
        self._expect(
            column.n_bytes == expected,
            f"column {name!r} holds {column.n_bytes} bytes where {n_rows} rows of "
            f"{column.type} need {expected}",
        )

    def _column(self) -> tuple[str, tuple[int, Column]]:
        name = self._text()
        self._expect(self._container("array") == 2, f"column {name!r} has no type")
        kind = self._text()
        self._expect(self._container("array") == 2, f"column {name!r} has no data")
        n_rows = self._uint()
        n_bytes = self._bin_length()
        offset = self._stream.tell()
        if offset + n_bytes > self._size:
            raise InputError(
                f"{self._path}: column {name!r} should end at byte {offset + n_bytes} "
                f"and the file has {self._size}: it is truncated or still being written"
            )
        self._stream.seek(n_bytes, os.SEEK_CUR)
        return name, (n_rows, Column(kind, offset, n_bytes))

    def _container(self, kind: str) -> int:
        fix, wide = {"array": (0x90, (0xDC, 0xDD)), "map": (0x80, (0xDE, 0xDF))}[kind]
        tag = self._byte()
        if tag & 0xF0 == fix:
            return tag & 0x0F
        if tag == wide[0]:
            return self._number(">H")
        if tag == wide[1]:
            return self._number(">I")
        self._expect(False, f"expected a msgpack {kind}, found byte 0x{tag:02x}")

    def _text(self) -> str:
        tag = self._byte()
        if tag & 0xE0 == 0xA0:
            length = tag & 0x1F
        elif tag in (0xD9, 0xDA, 0xDB):
            length = self._number({0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}[tag])
        else:
            self._expect(False, f"expected a text, found byte 0x{tag:02x}")
        self._expect(length <= self.max_text, "a name is unreasonably long")
        return self._bytes(length).decode("utf-8", errors="replace")

    def _uint(self) -> int:
        tag = self._byte()
        if tag < 0x80:
            return tag
        formats = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
        self._expect(tag in formats, f"expected a number, found byte 0x{tag:02x}")
        return self._number(formats[tag])

    def _bin_length(self) -> int:
        tag = self._byte()
        formats = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
        self._expect(tag in formats, f"expected a blob, found byte 0x{tag:02x}")
        return self._number(formats[tag])

    def _number(self, fmt: str) -> int:
        return struct.unpack(fmt, self._bytes(struct.calcsize(fmt)))[0]

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, n: int) -> bytes:
        data = self._stream.read(n)
        if len(data) != n:
            raise InputError(
                f"{self._path}: the file ends inside its header: it is truncated or "
                "still being written"
            )
        return data

    def _expect(self, condition: bool, what: str) -> None:
        if not condition:
            raise InputError(f"{self._path}: damaged reflection table: {what}")
