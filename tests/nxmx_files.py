"""Small NXmx files with values that tests choose."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import h5py
import numpy as np

from dials_jungfrau_qc.simulation.geometry import PRESETS, Geometry
from dials_jungfrau_qc.simulation.nxmx import (
    FileModel,
    ImageWriter,
    SweepHeader,
    pack,
    write_metadata,
)


def geometry_of(preset: str = "module", panel_per_module: bool = False) -> Geometry:
    layout = PRESETS[preset]
    return Geometry(layout, layout.distance, layout.beam_center, 12.4, panel_per_module)


def write_nxmx(
    path: Path,
    frames: np.ndarray,
    geometry: Geometry | None = None,
    pixel_mask: np.ndarray | None = None,
    **model,
) -> Path:
    """Write int32 frames [frame][slow, fast] as the simulator does."""
    geometry = geometry or geometry_of()
    files = FileModel(**model)
    header = SweepHeader(
        1.0, len(frames), (0.0, 0.1), datetime(2024, 1, 1, tzinfo=timezone.utc), "x"
    )
    mask = geometry.pixel_mask() if pixel_mask is None else pixel_mask
    with ImageWriter(path, geometry.shape, len(frames), files) as writer:
        write_metadata(writer.master, header, geometry, mask, files)
        for i, frame in enumerate(frames):
            writer.write(i, pack(np.asarray(frame, np.int32), files.compression))
    return path


def frames_of(shape: tuple[int, int], n: int = 5, seed: int = 0) -> np.ndarray:
    """Photons, with every value in them that somebody uses as a sentinel."""
    rng = np.random.default_rng(seed)
    frames = rng.poisson(2.0, (n, *shape)).astype(np.int32)
    sentinels = [-1, -2, 0, 32767, 2**31 - 1, 2**31 - 2, -(2**31), -(2**31) + 1, 100]
    frames[:, 3, : len(sentinels)] = sentinels
    return frames


def spoil(path: Path, index: int) -> None:
    """Overwrite the middle of a frame's compressed chunk."""
    with h5py.File(path) as file:
        chunk = file["/entry/data/data"].id.get_chunk_info_by_coord((index, 0, 0))
    with open(path, "r+b") as stream:
        stream.seek(chunk.byte_offset + chunk.size // 2)
        stream.write(b"\xff" * 1000)


def imageset_of(*paths: Path):
    """The dxtbx imageset of the first experiment in image files."""
    from dxtbx.model.experiment_list import ExperimentListFactory

    experiments = ExperimentListFactory.from_filenames([str(path) for path in paths])
    return experiments[0].imageset
