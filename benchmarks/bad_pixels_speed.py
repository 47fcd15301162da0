"""How fast dials.find_bad_pixels is, against bare reading and DIALS' own program.

Writes NXmx files of ten megapixels, gzip and bitshuffle with LZ4, by repeating a few
different frames, and runs as whole processes in turn: a bare h5py read of every frame, the
program, and, on fewer frames as it is slow, the program of DIALS.

    python benchmarks/bad_pixels_speed.py [--frames 300] [--dials-frames 8] [--repeats 3]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
from timing import Run, median, print_table, run_in_turn, run_once

from dials_jungfrau_qc.simulation.geometry import PRESETS, Geometry
from dials_jungfrau_qc.simulation.nxmx import (
    FileModel,
    ImageWriter,
    SweepHeader,
    pack,
    write_metadata,
)

# Enough that no good pixel is the same in all
N_DIFFERENT = 24

READ = """
import sys
from concurrent.futures import ProcessPoolExecutor
import h5py
import numpy as np
def read(share):
    import hdf5plugin
    with h5py.File(sys.argv[1]) as file:
        data = file["entry/data/data"]
        frame = np.empty(data.shape[1:], data.dtype)
        for k in share:
            data.read_direct(frame, np.s_[int(k)])
if __name__ == "__main__":
    n, nproc = int(sys.argv[2]), int(sys.argv[3])
    with ProcessPoolExecutor(nproc) as pool:
        list(pool.map(read, np.array_split(np.arange(n), nproc)))
"""


def write_series(path: Path, n: int, compression: str) -> None:
    """A file of n frames; each different frame is compressed once."""
    from datetime import datetime, timezone

    preset = PRESETS["jungfrau_9m"]
    geometry = Geometry(preset, preset.distance, preset.beam_center, 12.4)
    model = FileModel(compression=compression)
    header = SweepHeader(
        1.0, n, (0.0, 0.1), datetime(2024, 1, 1, tzinfo=timezone.utc), "x"
    )
    rng = np.random.default_rng(0)
    chunks: list[bytes] = []
    mask = geometry.pixel_mask()
    with ImageWriter(path, geometry.shape, n, model) as writer:
        write_metadata(writer.master, header, geometry, mask, model)
        data = writer.master["entry/data/data"]
        for k in range(N_DIFFERENT):
            frame = rng.poisson(0.5, geometry.shape).astype(np.int32)
            # Spots, of which there are about a thousand on an image
            where = rng.integers(2, np.array(geometry.shape) - 2, (1000, 2))
            for slow, fast in where:
                frame[slow - 1 : slow + 2, fast - 1 : fast + 2] += rng.poisson(
                    50, (3, 3)
                )
            writer.write(k, pack(frame, compression))
            data.flush()
            chunks.append(data.id.read_direct_chunk((k, 0, 0))[1])
        for k in range(N_DIFFERENT, n):
            data.id.write_direct_chunk((k, 0, 0), chunks[k % N_DIFFERENT])
    with h5py.File(path) as file:
        megapixels = np.prod(file["entry/data/data"].shape[1:]) / 1e6
    print(
        f"{path.name}: {n} frames of {megapixels:.1f} megapixels, "
        f"{path.stat().st_size / n / 1e6:.1f} MB each"
    )


def commands(path: Path, n: int, nproc: int) -> dict[str, list[str]]:
    python = [sys.executable]
    module = "dials_jungfrau_qc.command_line.find_bad_pixels"
    return {
        "bare h5py read": [*python, "-c", READ, str(path), str(n), str(nproc)],
        "dials.find_bad_pixels (this package)": [
            *python, "-m", module, str(path), f"nproc={nproc}", f"image_range=1,{n}",
        ],
    }  # fmt: skip


def dials_run(path: Path, n: int, nproc: int, folder: Path) -> Run:
    program = "import hdf5plugin, dials.command_line.find_bad_pixels as p; p.run()"
    return run_once(
        [
            sys.executable, "-c", program, str(path), f"nproc={nproc}",
            f"image_range=1,{n}",
        ],
        folder,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--dials-frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--compression", choices=("gzip", "bitshuffle"))
    args = parser.parse_args()
    chosen = [args.compression] if args.compression else ["bitshuffle", "gzip"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for compression in chosen:
            path = folder / f"{compression}.nxs"
            write_series(path, args.frames, compression)
            table = commands(path, args.frames, args.nproc)
            runs = run_in_turn(table, folder, args.repeats)
            print_table(runs, "bare h5py read")
            own = median(list(runs.values())[1], "cpu") / args.frames
            if args.dials_frames:
                # What start-up costs does not count for or against DIALS
                short, long = (
                    dials_run(path, n, args.nproc, folder).cpu
                    for n in (args.nproc, args.nproc + args.dials_frames)
                )
                theirs = (long - short) / args.dials_frames
                print(
                    f"CPU a frame: {own:.3f} s here, {theirs:.3f} s in DIALS' program, "
                    f"{theirs / own:.1f} times as much"
                )
            path.unlink()


if __name__ == "__main__":
    main()
