# LIBTBX_SET_DISPATCHER_NAME dials.simulate_jungfrau
"""
Simulate a transmission series on a JUNGFRAU detector, with faults that are known.

One crystal in one orientation is rotated in front of the detector, sweep after sweep, at
one transmission after the other. Every photon goes through the three gains of its pixel
and back through the calibration in use: the discontinuity where pixels switch from the
first to the second gain, and the pile-up where their converter ends, come out of that.

Writes a folder with an NXmx file for each transmission, to be read by dials.import, and
truth.json with everything that was put in: all parameters, every bad pixel, the position
and the area J of the gain switch, the true transmissions. The same seed gives the same
pixel data.

Images can be compressed by bitshuffle with LZ4 (compression=bitshuffle), which needs the
Python package hdf5plugin here and where they are read.

Examples::

  dials.simulate_jungfrau

  dials.simulate_jungfrau detector=module n_images=20 transmission=0.1,1.0

  dials.simulate_jungfrau seed=7 notch.area=1.5 notch.position=22

  dials.simulate_jungfrau reference_scale=0.92 b_decay=0.3

  dials.simulate_jungfrau faults.dead.rate=0.001 faults.flickering.rate=0

  dials.simulate_jungfrau detector=jungfrau_4m panels=module compression=bitshuffle
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

import libtbx.phil

import dials.util
from dials_jungfrau_qc.io.arguments import (
    Arguments,
    begin_log,
    parse_arguments,
    user_errors,
)
from dials_jungfrau_qc.io.compat import available_cores
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.output import OutputFiles, envelope
from dials_jungfrau_qc.io.output_folder import CONTENTS, new_folder
from dials_jungfrau_qc.simulation.nxmx import FileModel
from dials_jungfrau_qc.simulation.parameters import PHIL, build_models, is_auto
from dials_jungfrau_qc.simulation.series import Simulation, prepare
from dials_jungfrau_qc.simulation.sweep_files import sweep_path, write_sweep
from dials_jungfrau_qc.simulation.truth import describe, verdict

logger = logging.getLogger("dials.jungfrau_qc.simulate_jungfrau")


phil_scope = libtbx.phil.parse(PHIL)

USAGE = "dials.simulate_jungfrau [options]"


@dials.util.show_mail_handle_errors()
def run(args: Sequence[str] | None = None, phil=phil_scope) -> None:
    """Run dials.simulate_jungfrau as from the command line.

    Args:
        args: The arguments; those of the process if None.
        phil: The program's PHIL scope.
    """
    with user_errors():
        arguments = parse_arguments(args, phil, USAGE, __doc__)
        if arguments.reflections or arguments.experiments:
            raise InputError(f"Usage: {USAGE}\nThis program reads no files")
        params = arguments.params
        try:
            models = build_models(params)
            _simulate(arguments, models)
        except ValueError as e:
            raise InputError(str(e)) from e
        except OSError as e:
            raise InputError(
                f"{params.output.directory}: cannot be written: {e.strerror or e}"
            ) from e


def _simulate(arguments: Arguments, models: dict[str, Any]) -> None:
    """Make the series in a folder aside and give it its name."""
    params = arguments.params
    directory = Path(params.output.directory)
    files = models.pop("files")
    with new_folder(directory, params.output.overwrite) as aside:
        begin_log(arguments, aside)
        simulation = prepare(**models)
        paths = _write_sweeps(simulation, params, files, aside)
        results = describe(simulation, models["detector"])
        truth = {
            **envelope(
                "dials.simulate_jungfrau",
                arguments.all_parameters,
                [],
                verdict(results),
                aside,
            ),
            "models": {name: asdict(model) for name, model in models.items()},
            **results,
        }
        for sweep, path in zip(truth["sweeps"], paths):
            sweep["file"] = path.as_posix()
        with OutputFiles() as output:
            output.write_json(aside / CONTENTS, truth)
        _log_results(simulation, truth, directory)


def _write_sweeps(
    simulation: Simulation, params: Any, files: FileModel, directory: Path
) -> list[Path]:
    """Write every sweep; returns the paths of their files in the folder."""
    nproc = available_cores() if is_auto(params.nproc) else params.nproc
    paths = [
        sweep_path(params.sample, sweep.transmission, params.first_number + i)
        for i, sweep in enumerate(simulation.sweeps)
    ]
    n_images = len(paths) * simulation.series.n_images
    with (
        ThreadPoolExecutor(nproc) as executor,
        tqdm(total=n_images, unit="image", disable=None) as progress,
    ):
        for i, path in enumerate(paths):
            (directory / path).parent.mkdir()
            write_sweep(
                simulation,
                i,
                directory / path,
                files,
                params.sample,
                executor,
                # One more than there are workers, to be written while they work.
                nproc + 1,
                progress.update,
            )
    return paths


def _log_results(
    simulation: Simulation, truth: dict[str, Any], directory: Path
) -> None:
    logger.info(
        "%d images in %d sweeps, %d reflections, %d bad pixels",
        simulation.series.n_images * len(simulation.sweeps),
        len(simulation.sweeps),
        len(simulation.reflections),
        len(simulation.pixels.faults),
    )
    logger.info(truth["verdict"])
    for sweep in truth["sweeps"]:
        logger.info("Written: %s", directory / sweep["file"])
    logger.info("What was put in: %s", directory / CONTENTS)


if __name__ == "__main__":
    run()
