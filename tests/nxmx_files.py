"""Small NXmx files with values that tests choose."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

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
