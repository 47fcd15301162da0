"""NXmx files as beamlines with a JUNGFRAU write them, readable by dxtbx unaided."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dials_jungfrau_qc.simulation.geometry import (
    GAP_VALUE,
    PIXEL_SIZE,
    SENSOR_THICKNESS,
    Geometry,
)

if TYPE_CHECKING:
    import h5py

# PHIL would take "none" for None.
COMPRESSIONS = ("gzip", "bitshuffle", "off")

# Higher levels take twice the time and save a tenth.
_GZIP_LEVEL = 1
_DETECTOR = "/entry/instrument/detector"


@dataclass(frozen=True)
class FileModel:
    """How files are laid out.

    Attributes:
        compression: One of COMPRESSIONS.
        saturation_value: Highest valid value; None leaves it out, as real files do.
        underload_value: Lowest valid value; None leaves it out.
        instrument: Its name, which decides the dxtbx format class.
        images_per_file: None for one file; else a master with links to data files of so
            many images.
        frame_time: Seconds.
    """

    compression: str = "gzip"
    saturation_value: int | None = None
    underload_value: int | None = None
    instrument: str = "SIMULATED JUNGFRAU BEAMLINE"
    images_per_file: int | None = None
    frame_time: float = 0.01

    def __post_init__(self) -> None:
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"no compression is called {self.compression}: {', '.join(COMPRESSIONS)}"
            )
        if self.images_per_file is not None and self.images_per_file < 1:
            raise ValueError("images_per_file must be at least 1")
        for name in ("saturation_value", "underload_value"):
            value = getattr(self, name)
            if value is not None and not -(2**31) <= value < 2**31:
                raise ValueError(f"{name}={value} is no value of 32 bits")
        if self.compression == "bitshuffle":
            _bitshuffle()


@dataclass(frozen=True)
class SweepHeader:
    """What a file says about its sweep.

    Attributes:
        transmission: Nominal.
        n_images: Number of images.
        oscillation: Start and width, degrees.
        start_time: UTC.
        sample: Its name.
    """

    transmission: float
    n_images: int
    oscillation: tuple[float, float]
    start_time: datetime
    sample: str


def _bitshuffle() -> dict:
    """The h5py options of bitshuffle with LZ4.

    Raises:
        ValueError: If hdf5plugin is not installed.
    """
    try:
        import hdf5plugin
    except ImportError as e:
        raise ValueError(
            "compression=bitshuffle needs the Python package hdf5plugin, which is not "
            "installed"
        ) from e
    return dict(hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))


def pack(image: np.ndarray, compression: str) -> np.ndarray | bytes:
    """Do the part of the compression that needs no HDF5, so that threads can share it.

    Args:
        image: Int32 array (slow, fast).
        compression: One of COMPRESSIONS.

    Returns:
        The chunk as bytes for gzip, else the image.
    """
    if compression != "gzip":
        return image
    planes = np.ascontiguousarray(image, dtype="<i4").view(np.uint8).reshape(-1, 4)
    # HDF5's shuffle filter puts equal bytes of neighbours side by side.
    return zlib.compress(np.ascontiguousarray(planes.T), _GZIP_LEVEL)


class _GuardedFile(io.FileIO):
    """A file that keeps its errors from HDF5, which does not survive them.

    HDF5 that has met a full disk cannot close its file, and brings Python down at exit.

    Attributes:
        error: The first error; nothing is written after it.
    """

    error: OSError | None = None

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while self.error is None and len(view):
                view = view[super().write(view) :]
        except OSError as e:
            self.error = e
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as e:
            self.error = self.error or e
            return size or 0


class ImageWriter:
    """Images of one sweep, in one file or several."""

    def __init__(
        self, path: Path, shape: tuple[int, int], n_images: int, model: FileModel
    ) -> None:
        """Create the data sets.

        Args:
            path: Of the NXmx file; data files get names after it.
            shape: Of an image, (slow, fast).
            n_images: In the sweep.
            model: Layout.
        """
        import h5py

        self._model = model
        self._per_file = model.images_per_file or n_images
        self._guards: list[_GuardedFile] = []
        self._files: list[h5py.File] = []
        data = self._open(path).create_group("entry/data")
        data.attrs["NX_class"] = "NXdata"
        data.attrs["signal"] = "data"
        if model.images_per_file is None:
            self._data = [self._create(data, "data", n_images, shape)]
            return

        layout = h5py.VirtualLayout((n_images, *shape), dtype="<i4")
        self._data = []
        for i, start in enumerate(range(0, n_images, self._per_file)):
            n = min(self._per_file, n_images - start)
            name = f"{path.stem}_data_{i + 1:06d}.h5"
            file = self._open(path.with_name(name))
            self._data.append(self._create(file, "data", n, shape))
            data[f"data_{i + 1:06d}"] = h5py.ExternalLink(name, "/data")
            layout[start : start + n] = h5py.VirtualSource(name, "data", (n, *shape))
        data.create_virtual_dataset("data", layout, fillvalue=GAP_VALUE)

    def _open(self, path: Path) -> h5py.File:
        import h5py

        self._guards.append(_GuardedFile(path, "w+"))
        self._files.append(h5py.File(self._guards[-1], "w"))
        return self._files[-1]

    def _create(
        self, parent: h5py.Group, name: str, n: int, shape: tuple[int, int]
    ) -> h5py.Dataset:
        options = {
            "gzip": {
                "compression": "gzip",
                "compression_opts": _GZIP_LEVEL,
                "shuffle": True,
            },
            "off": {},
        }.get(self._model.compression)
        if options is None:
            options = _bitshuffle()
        return parent.create_dataset(
            name,
            (n, *shape),
            dtype="<i4",
            chunks=(1, *shape),
            # A frame that was never written reads as one without valid pixels.
            fillvalue=GAP_VALUE,
            **options,
        )

    def write(self, index: int, chunk: np.ndarray | bytes) -> None:
        """Write one image.

        Args:
            index: Of the image, from 0.
            chunk: From pack.

        Raises:
            OSError: If it cannot be written.
        """
        file, index = divmod(index, self._per_file)
        if isinstance(chunk, bytes):
            self._data[file].id.write_direct_chunk((index, 0, 0), chunk)
        else:
            self._data[file][index] = chunk
        self._check()

    def _check(self) -> None:
        for guard in self._guards:
            if guard.error is not None:
                raise guard.error

    @property
    def master(self) -> h5py.File:
        return self._files[0]

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, *_) -> None:
        for file, guard in zip(self._files, self._guards):
            file.close()
            guard.close()
        self._check()


def write_metadata(
    file: h5py.File,
    header: SweepHeader,
    geometry: Geometry,
    pixel_mask: np.ndarray,
    model: FileModel,
) -> None:
    """Write everything but the images.

    Args:
        file: Open for writing.
        header: Of the sweep.
        geometry: Of the detector.
        pixel_mask: Uint32 array (slow, fast), NXmx bits.
        model: Layout.
    """
    entry = _group(file, "/entry", "NXentry")
    entry["definition"] = "NXmx"
    duration = timedelta(seconds=header.n_images * model.frame_time)
    for name, time in (
        ("start_time", header.start_time),
        ("end_time", header.start_time + duration),
        ("end_time_estimated", header.start_time + duration),
    ):
        entry[name] = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    source = _group(file, "/entry/source", "NXsource")
    source["name"] = model.instrument
    instrument = _group(file, "/entry/instrument", "NXinstrument")
    instrument["name"] = model.instrument
    beam = _group(file, "/entry/instrument/beam", "NXbeam")
    _number(beam, "incident_wavelength", geometry.wavelength, "angstrom")
    attenuator = _group(file, "/entry/instrument/attenuator", "NXattenuator")
    _number(attenuator, "attenuator_transmission", header.transmission, "")

    _write_sample(file, header)
    _write_detector(file, geometry, pixel_mask, model)


def _write_sample(file: h5py.File, header: SweepHeader) -> None:
    sample = _group(file, "/entry/sample", "NXsample")
    sample["name"] = header.sample
    axis = "/entry/sample/transformations/omega"
    sample["depends_on"] = axis
    _group(file, "/entry/sample/transformations", "NXtransformations")
    start, width = header.oscillation
    angles = start + width * np.arange(header.n_images + 1)
    _axis(file, axis, angles[:-1], "deg", "rotation", (-1, 0, 0), ".")
    # One image has no difference from which a reader could learn its width.
    _axis(file, f"{axis}_end", angles[1:], "deg", "rotation", (-1, 0, 0), ".")
    _number(file, f"{axis}_increment_set", width, "deg")


def _write_detector(
    file: h5py.File, geometry: Geometry, pixel_mask: np.ndarray, model: FileModel
) -> None:
    detector = _group(file, _DETECTOR, "NXdetector")
    detector["description"] = "JUNGFRAU, simulated"
    detector["type"] = "PIXEL"
    detector["sensor_material"] = "Si"
    detector["bit_depth_image"] = 32
    _number(detector, "sensor_thickness", SENSOR_THICKNESS, "mm")
    _number(detector, "distance", geometry.distance, "mm")
    _number(detector, "beam_center_x", geometry.beam_center[0], "pixel")
    _number(detector, "beam_center_y", geometry.beam_center[1], "pixel")
    _number(detector, "count_time", model.frame_time, "s")
    _number(detector, "frame_time", model.frame_time, "s")
    if model.saturation_value is not None:
        detector["saturation_value"] = model.saturation_value
    if model.underload_value is not None:
        detector["underload_value"] = model.underload_value
    detector.create_dataset(
        "pixel_mask", data=pixel_mask, compression="gzip", shuffle=True
    )

    distance = f"{_DETECTOR}/transformations/det_z"
    detector["depends_on"] = distance
    _group(file, f"{_DETECTOR}/transformations", "NXtransformations")
    z = np.array([geometry.distance])
    _axis(file, distance, z, "mm", "translation", (0, 0, 1), ".")

    panels = geometry.panels()
    for i, (origin, size) in enumerate(panels):
        name = "module" if len(panels) == 1 else f"module_{i:02d}"
        path = f"{_DETECTOR}/{name}"
        module = _group(file, path, "NXdetector_module")
        module["data_origin"] = np.array(origin, dtype=np.int64)
        module["data_size"] = np.array(size, dtype=np.int64)
        offset = f"{path}/module_offset"
        _axis(file, offset, np.zeros(1), "mm", "translation", (1, 0, 0), distance)
        # NeXus looks along the beam the other way round than dxtbx.
        fast, slow = (
            (center - start) * PIXEL_SIZE
            for center, start in zip(geometry.beam_center, origin[::-1])
        )
        file[offset].attrs["offset"] = (fast, slow, 0.0)
        file[offset].attrs["offset_units"] = "mm"
        pixel = np.array([PIXEL_SIZE])
        for direction, vector in (("fast", (-1, 0, 0)), ("slow", (0, -1, 0))):
            _axis(
                file,
                f"{path}/{direction}_pixel_direction",
                pixel,
                "mm",
                "translation",
                vector,
                offset,
            )
            attributes = file[f"{path}/{direction}_pixel_direction"].attrs
            attributes["offset"] = (0.0, 0.0, 0.0)
            attributes["offset_units"] = "mm"


def _group(file: h5py.File, path: str, nx_class: str) -> h5py.Group:
    group = file.require_group(path)
    group.attrs["NX_class"] = nx_class
    return group


def _number(group: h5py.Group, name: str, value: float, units: str) -> None:
    group[name] = float(value)
    group[name].attrs["units"] = units


def _axis(
    file: h5py.File,
    path: str,
    values: np.ndarray,
    units: str,
    kind: str,
    vector: tuple[int, int, int],
    depends_on: str,
) -> None:
    """Write an axis of a chain of transformations."""
    file[path] = np.asarray(values, dtype=np.float64)
    file[path].attrs.update(
        {
            "units": units,
            "transformation_type": kind,
            "vector": np.array(vector, dtype=np.float64),
            "depends_on": depends_on,
        }
    )
