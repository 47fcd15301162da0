"""Images of a series, taken in parallel and written to one NXmx file a sweep."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from dials_jungfrau_qc.simulation.nxmx import (
    FileModel,
    ImageWriter,
    SweepHeader,
    pack,
    write_metadata,
)
from dials_jungfrau_qc.simulation.series import Simulation

# A fixed date, so that the same parameters give the same files.
_START = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
_BETWEEN_SWEEPS = timedelta(minutes=10)


def sweep_path(sample: str, transmission: float, number: int) -> Path:
    """Folder and name of a sweep's file, with the transmission in both."""
    name = f"{sample}_{transmission}transmission"
    return Path(f"{number:05d}_{name}") / f"{name}.nxs"


def write_sweep(
    simulation: Simulation,
    sweep: int,
    path: Path,
    files: FileModel,
    sample: str,
    executor: Executor,
    n_ahead: int,
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Take the images of a sweep and write them.

    Args:
        simulation: The series; threads share it.
        sweep: Which of its sweeps, from 0.
        path: Of the NXmx file, in a folder that exists.
        files: Layout.
        sample: Name of the sample.
        executor: Takes and packs the images.
        n_ahead: Images in memory at a time.
        progress: Called after each image.

    Raises:
        OSError: If the file cannot be written.
    """
    header = SweepHeader(
        transmission=simulation.sweeps[sweep].transmission,
        n_images=simulation.series.n_images,
        oscillation=simulation.series.oscillation,
        start_time=_START + sweep * _BETWEEN_SWEEPS,
        sample=sample,
    )
    geometry = simulation.geometry

    def take(image: int) -> np.ndarray | bytes | None:
        counts = simulation.image(sweep, image)
        return None if counts is None else pack(counts, files.compression)

    with ImageWriter(path, geometry.shape, header.n_images, files) as writer:
        write_metadata(writer.master, header, geometry, simulation.pixel_mask, files)
        for image, chunk in _in_order(executor, take, header.n_images, n_ahead):
            if chunk is not None:
                writer.write(image, chunk)
            progress()


def _in_order(
    executor: Executor, take: Callable, n_images: int, n_ahead: int
) -> Iterator[tuple[int, np.ndarray | bytes | None]]:
    """Results of take in rising order, no more than n_ahead of them waiting."""
    waiting: deque = deque()
    try:
        for image in range(n_images):
            waiting.append((image, executor.submit(take, image)))
            if len(waiting) >= n_ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
