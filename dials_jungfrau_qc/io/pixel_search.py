"""The search for bad pixels in a sweep: reads its frames, once and a little more."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.bad_pixels import (
    BadPixels,
    CombinedPixels,
    Look,
    classify,
    combine_sweeps,
    look_places,
    signal_pixels,
)
from dials_jungfrau_qc.algorithms.local_expectation import scattering_angle
from dials_jungfrau_qc.algorithms.pixel_statistics import (
    Background,
    PixelAccumulator,
    PixelSums,
    estimate_background,
    n_blocks,
)
from dials_jungfrau_qc.algorithms.pixel_suspects import (
    Limits,
    find_suspects,
    worst_and_neighbours,
)
from dials_jungfrau_qc.algorithms.pixel_tests import (
    PixelSample,
    sample_pixels,
    test_panel,
)
from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots
from dials_jungfrau_qc.io.dispersion import constant_signal, signal_counts
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.frame_samples import check_trusted, read_samples
from dials_jungfrau_qc.io.frame_sharing import Unreadable, map_frames
from dials_jungfrau_qc.io.frames import FrameReader, FrameSource
from dials_jungfrau_qc.io.processes import FORKS, shared_lock, shared_zeros
from dials_jungfrau_qc.io.sweeps import Sweep

# Frames for the background and for the second look
N_SAMPLES = 4
N_LOOKS = 40
# Frames that are added up together, at most, and those that all processes hold: adding them one
# by one takes a tenth longer, but eight processes with four each would hold 1.3 GB
DEPTH = 4
FRAMES_HELD = 7
# Pixels of a panel that make its distributions
MAX_SAMPLED = 500_000

Frames = Iterator[tuple[int, FrameReader, list[np.ndarray]]]
Trusted = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """What was found in one sweep.

    Attributes:
        bad: The bad pixels of each panel.
        sampled: The statistics of some pixels of each panel.
        looks: Values in some frames of the suspects of each panel, and of the
            neighbours of the worst.
        skipped: The tests that were left out, in words.
        unreadable: Frames that could not be read.
    """

    bad: list[BadPixels]
    sampled: list[PixelSample]
    looks: list[Look]
    skipped: tuple[str, ...]
    unreadable: Unreadable


def search_sweep(
    sweep: Sweep,
    limits: Limits,
    nproc: int = 1,
    max_unreadable: float = 0.1,
    progress: Callable[[int], None] | None = None,
    predicted: Sequence[PredictedSpots] = (),
) -> SweepResult:
    """Find the bad pixels of a sweep.

    Args:
        sweep: Where its frames are.
        limits: What counts as a fault.
        nproc: Number of processes; more than there are blocks of time are of no use.
        max_unreadable: Largest share of frames that may be unreadable.
        progress: Called with numbers of frames done.
        predicted: Spots on each panel, if any are known.

    Raises:
        InputError: The frames cannot be read, or all pixels are masked.
    """
    source = sweep.source
    if not any(mask.any() for mask in source.masks):
        raise InputError(f"{sweep.label}: all pixels are masked already")
    samples = read_samples(
        source, look_places(source.n_frames, N_SAMPLES), max_unreadable
    )
    check_trusted(source, samples, sweep.label)
    trusted = [
        tuple(map(float, limit.limits(panel.dtype)))
        for limit, panel in zip(source.trusted, samples[0])
    ]
    with ThreadPoolExecutor(nproc) as pool:
        backgrounds = [
            estimate_background(
                [sample[i] for sample in samples], mask, trusted[i], pool.map
            )
            for i, mask in enumerate(source.masks)
        ]
    del samples
    sums, unreadable = add_up(
        source, backgrounds, trusted, nproc, max_unreadable, progress, predicted
    )
    with ThreadPoolExecutor(nproc) as pool:
        tests = [
            test_panel(own, mask, functools.partial(_angle, sweep, i), pool.map)
            for i, (own, mask) in enumerate(zip(sums, source.masks))
        ]
    suspects = [
        find_suspects(test, limits, background.high, spots and spots.frame_counts())
        for test, background, spots in itertools.zip_longest(
            tests, backgrounds, predicted
        )
    ]
    looks = second_look(
        source,
        [
            np.union1d(suspect.index, worst_and_neighbours(test, suspect))
            for test, suspect in zip(tests, suspects)
        ],
        nproc,
        unreadable,
    )
    bad = [
        classify(test, suspect, look.at(suspect.index), limits, limit, ground.negative)
        for test, suspect, look, limit, ground in zip(
            tests, suspects, looks, trusted, backgrounds
        )
    ]
    # The statistics of all pixels take more memory than there is for several sweeps
    sampled = [sample_pixels(test, MAX_SAMPLED) for test in tests]
    skipped = tuple(dict.fromkeys(r for test in tests for r in test.skipped))
    return SweepResult(bad, sampled, looks, skipped, unreadable)


@dataclasses.dataclass(frozen=True)
class Findings:
    """The bad pixels of a detector.

    Attributes:
        method: statistics or dispersion.
        panel_names: Name of each panel.
        masks: What was masked already, a bool array [slow, fast] for each panel, True
            where the pixel is good.
        panels: The bad pixels of each panel, of all sweeps together.
        sweeps: What was found in each sweep; empty for dispersion.
        numbers: The image numbers of each sweep.
        skipped: The tests that were left out in each sweep, in words.
    """

    method: str
    panel_names: tuple[str, ...]
    masks: tuple[np.ndarray, ...]
    panels: list[CombinedPixels]
    sweeps: list[SweepResult]
    numbers: list[np.ndarray]
    skipped: list[tuple[str, ...]]

    @property
    def n_images(self) -> int:
        """Images that were looked at, those that could not be read included."""
        return sum(map(len, self.numbers))

    @property
    def n_read(self) -> int:
        """Images that could be read."""
        return self.n_images - sum(len(s.unreadable.numbers) for s in self.sweeps)

    @property
    def n_bad(self) -> int:
        return sum(len(panel.pixels) for panel in self.panels)

    def bad_masks(self) -> list[np.ndarray]:
        """The bad pixels as bool arrays [slow, fast], True where bad."""
        masks = []
        for mask, panel in zip(self.masks, self.panels):
            bad = np.zeros(mask.shape, bool)
            bad.reshape(-1)[panel.pixels.index] = True
            masks.append(bad)
        return masks


def search(
    sweeps: Sequence[Sweep],
    limits: Limits,
    method: str = "statistics",
    rule: str = "any",
    nproc: int = 1,
    max_unreadable: float = 0.1,
    progress: Callable[[int], None] | None = None,
    predicted: Sequence[Sequence[PredictedSpots]] | None = None,
) -> Findings:
    """Find the bad pixels of a detector in one sweep or several.

    Args:
        sweeps: Of the same detector.
        limits: What counts as a fault.
        method: statistics, or dispersion as in DIALS' own program.
        rule: Bad in any, all or the majority of the sweeps.
        nproc: Number of processes.
        max_unreadable: Largest share of frames that may be unreadable.
        progress: Called with numbers of frames done.
        predicted: Spots on each panel in each sweep, if any are known.

    Raises:
        InputError: Images cannot be read, or the method is not for such a detector.
    """
    found: list[SweepResult] = []
    if method == "dispersion":
        bad = [[_signal_pixels(sweep, nproc)] for sweep in sweeps]
    else:
        if rule == "any":
            # So that they are not as many times as there are sweeps
            limits = dataclasses.replace(
                limits, false_alarms=limits.false_alarms / len(sweeps)
            )
        found = [
            search_sweep(sweep, limits, nproc, max_unreadable, progress, spots)
            for sweep, spots in zip(sweeps, predicted or [()] * len(sweeps))
        ]
        bad = [result.bad for result in found]
    source = sweeps[0].source
    return Findings(
        method=method,
        panel_names=source.panel_names,
        masks=source.masks,
        panels=[combine_sweeps(panel, rule) for panel in zip(*bad)],
        sweeps=found,
        numbers=[sweep.source.numbers for sweep in sweeps],
        skipped=[result.skipped for result in found] or [() for _ in sweeps],
    )


def _signal_pixels(sweep: Sweep, nproc: int) -> BadPixels:
    n = sweep.source.n_frames
    counts = signal_counts(sweep, nproc)
    return signal_pixels(np.flatnonzero(constant_signal(counts, n)), counts, n)


def _angle(sweep: Sweep, panel: int, rows: slice) -> np.ndarray:
    """What grows with the scattering angle of the pixels of some rows of a panel."""
    return scattering_angle(
        sweep.d_matrices[panel],
        sweep.s0,
        sweep.source.panel_shapes[panel],
        sweep.pixel_sizes[panel],
        rows,
    )


def add_up(
    source: FrameSource,
    backgrounds: Sequence[Background],
    trusted: Sequence[Trusted],
    nproc: int = 1,
    max_unreadable: float = 0.1,
    progress: Callable[[int], None] | None = None,
    predicted: Sequence[PredictedSpots] = (),
) -> tuple[list[PixelSums], Unreadable]:
    """Add up all frames of a source.

    Args:
        source: The frames.
        backgrounds: Of each panel.
        trusted: Lowest and highest trusted value of each panel.
        nproc: Number of processes, which take blocks of time.
        max_unreadable: Largest share of frames that may be unreadable.
        progress: Called with numbers of frames done.
        predicted: Spots on each panel, if any are known.

    Returns:
        The sums of each panel, and the frames that could not be read.

    Raises:
        InputError: Too many frames cannot be read.
    """
    blocks = np.array_split(np.arange(source.n_frames), n_blocks(source.n_frames))
    shared = lock = None
    if FORKS or nproc == 1:
        zeros = np.zeros if nproc == 1 else shared_zeros
        shared = [PixelSums.empty(shape, zeros) for shape in source.panel_shapes]
        lock = shared_lock()
    depth = max(1, min(DEPTH, FRAMES_HELD // nproc))
    parts, unreadable = map_frames(
        source,
        functools.partial(
            _add_blocks, shared, lock, backgrounds, trusted, blocks, predicted, depth
        ),
        nproc,
        groups=blocks,
        depth=depth,
        max_unreadable=max_unreadable,
        progress=progress,
        merge=_merged,
    )
    (added,) = parts
    if shared is None:
        return added.sums, unreadable
    for sums in shared:
        sums.n_frames, sums.n_blocks = added.n_frames, added.n_blocks
    return shared, unreadable


@dataclasses.dataclass
class _Added:
    """What a process has added up; the sums of each panel unless they are shared."""

    n_frames: int
    n_blocks: int
    sums: list[PixelSums] | None


def _add_blocks(
    shared: Sequence[PixelSums] | None,
    lock: Any,
    backgrounds: Sequence[Background],
    trusted: Sequence[Trusted],
    blocks: Sequence[np.ndarray],
    predicted: Sequence[PredictedSpots],
    depth: int,
    frames: Frames,
) -> _Added:
    """Work of one process: sums over its frames, block by block."""
    longest = max(map(len, blocks))
    accumulators = [
        PixelAccumulator(background, limit, spots, longest, sums, lock)
        for background, limit, spots, sums in itertools.zip_longest(
            backgrounds, trusted, predicted, shared or ()
        )
    ]
    last = np.array([block[-1] for block in blocks])
    waiting: list[tuple[int, list[np.ndarray]]] = []
    block = -1

    def add_waiting() -> None:
        places = [k for k, _ in waiting]
        for i, accumulator in enumerate(accumulators):
            accumulator.add([panels[i] for _, panels in waiting], places)
        waiting.clear()

    for k, _, panels in frames:
        own = int(np.searchsorted(last, k))
        if waiting and own != block:
            add_waiting()
        if own != block and block >= 0:
            for accumulator in accumulators:
                accumulator.end_block()
        block = own
        waiting.append((k, panels))
        # The next frame takes the memory of the first of them
        if len(waiting) == depth:
            add_waiting()
    if waiting:
        add_waiting()
    for accumulator in accumulators:
        accumulator.end_block()
    sums = [accumulator.sums for accumulator in accumulators]
    return _Added(sums[0].n_frames, sums[0].n_blocks, None if shared else sums)


def _merged(added: _Added, later: _Added) -> _Added:
    """What two processes have added up, in the memory of the first."""
    for own, other in zip(added.sums or (), later.sums or ()):
        own.merge(other)
    added.n_frames += later.n_frames
    added.n_blocks += later.n_blocks
    return added


def second_look(
    source: FrameSource,
    pixels: Sequence[np.ndarray],
    nproc: int,
    unreadable: Unreadable = Unreadable(),
) -> list[Look]:
    """Read the values of some pixels in frames from all over the series.

    Args:
        source: The frames.
        pixels: Flat indices for each panel.
        nproc: Number of processes.
        unreadable: Frames that are known to be unreadable.
    """
    readable = np.flatnonzero(~np.isin(source.numbers, unreadable.numbers))
    places = readable[look_places(len(readable), N_LOOKS)]
    if not any(map(len, pixels)):
        return [Look(index, places[:0], np.empty((len(index), 0))) for index in pixels]
    parts, _ = map_frames(
        source,
        functools.partial(_values_at, pixels),
        nproc,
        frames=places,
    )
    seen = np.array([k for part in parts for k, _ in part], dtype=int)
    frames = [values for part in parts for _, values in part]
    return [
        Look(index, seen, np.stack([values[i] for values in frames], axis=1))
        for i, index in enumerate(pixels)
    ]


def _values_at(
    pixels: Sequence[np.ndarray], frames: Frames
) -> list[tuple[int, list[np.ndarray]]]:
    """Work of one process: values of pixels in each of its frames."""
    return [
        (
            k,
            [
                panel.reshape(-1)[index]
                if panel.flags.c_contiguous
                else panel[np.unravel_index(index, panel.shape)]
                for panel, index in zip(panels, pixels)
            ],
        )
        for k, _, panels in frames
    ]
