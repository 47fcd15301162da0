# LIBTBX_SET_DISPATCHER_NAME dials.jungfrau_bad_pixels
"""
Find the bad pixels of a detector, each with the reason, from ordinary images.

Every pixel is compared, over all images, with the pixels near it at the same scattering
angle. Pixels can be dead, under-responding, over-responding or hot, noisy, stuck at one
value, flickering, read with the constants of the wrong gain, or always outside the
trusted range. Bragg spots, ice rings, the beam stop and shadows are not bad pixels and
are left alone, and so are pixels that are masked already. With an indexed experiment
list the predicted spots are known, and faint ones that come back are left alone as well.

Takes what the program of the same name in DIALS takes, images of any format or an
experiment list, and prints the same lines: with several panels the panel comes first.
It is also installed as dials.jungfrau_bad_pixels, a name that is nobody else's.

  mask: slow fast bits

The bits are those of the NXmx pixel_mask, as a decimal number: 2 dead or stuck, 4
under-responding, 8 over-responding, 16 noisy or flickering, 64 next to another bad pixel.

The mask goes to dials.import mask=pixels.mask or dials.apply_mask, and with output.crystfel
and output.tiff to CrystFEL and to what writes the images, jungfraujoch or SIMPLON. Rotation
series and stills will do; several sweeps are judged one by one. What a mask costs is said for
the reflections of integrated.refl, or for the spots predicted from an indexed experiment list.

Examples::

  dials.find_bad_pixels data_master.h5 nproc=8

  dials.find_bad_pixels imported.expt image_range=1,20 output.mask=pixels.mask

  dials.find_bad_pixels indexed.expt nproc=8

  dials.find_bad_pixels sweep_*.nxs combine=majority integrated.refl

  dials.find_bad_pixels data_master.h5 previous=old.mask output.nexus=bad_pixels.h5

  dials.find_bad_pixels data_master.h5 output.crystfel=mask.h5 output.tiff=mask.tiff
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import libtbx.phil

import dials.util
from dials.util import tabulate
from dials_jungfrau_qc.algorithms.pixel_suspects import Limits
from dials_jungfrau_qc.algorithms.predicted_spots import PredictedSpots
from dials_jungfrau_qc.io.arguments import (
    Arguments,
    output_phil,
    parse_arguments,
    start_program,
    user_errors,
)
from dials_jungfrau_qc.io.bad_pixel_files import (
    bad_pixel_lines,
    good_masks,
    mask_lines,
    nexus_bits,
    panel_bits,
)
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.image_masks import (
    assembled,
    crystfel_mask_bytes,
    tiff_bytes,
)
from dials_jungfrau_qc.io.masks import mask_bytes, nexus_mask_bytes, read_mask
from dials_jungfrau_qc.io.output import OutputFiles, envelope
from dials_jungfrau_qc.io.pixel_search import Findings, search
from dials_jungfrau_qc.io.predictions import predict_spots
from dials_jungfrau_qc.io.sweeps import Sweep, open_sweeps
from dials_jungfrau_qc.io.touched import (
    Touched,
    touched_predictions,
    touched_reflections,
)
from dials_jungfrau_qc.report.bad_pixel_report import (
    changes_text,
    cost_text,
    count_table,
    results,
    sections,
    verdict_of,
)
from dials_jungfrau_qc.report.html import render_report, run_info

logger = logging.getLogger("dials.jungfrau_qc.find_bad_pixels")

PROGRAM = "dials.find_bad_pixels"

phil_scope = libtbx.phil.parse(
    """
    images = None
      .type = ints
      .help = "Images on which to perform the analysis (otherwise use all images)."
    image_range = None
      .type = ints(value_min=0, size=2)
      .help = "Image range for analysis, first and last, e.g. 1,1800."
    stride = 1
      .type = int(value_min=1)
      .help = "Take every so many images of those."
    nproc = 1
      .type = int(value_min=1)
      .help = "The number of processes to use; up to eight are of use to statistics."
    method = *statistics dispersion
      .type = choice
      .help = "statistics: compare pixels with their neighbours and say what is wrong."
              "dispersion: the criterion of DIALS' own program, pixels that are signal to"
              "spot finding in half of the images; for comparison."
    combine = *any all majority
      .type = choice
      .help = "Which pixels to mask where several sweeps are given: those that are bad in"
              "any of them, in all, or in more than half."
    previous = None
      .type = path
      .help = "A mask of an earlier date, to be told what is new, gone and remaining."
    max_unreadable = 0.1
      .type = float(value_min=0, value_max=1)
      .help = "Largest share of the images that may be unreadable; they are left out."
    limits
      .help = "What counts as a fault."
    {
      false_alarms = 0.1
        .type = float(value_min=0.000001)
        .help = "Expected number of false alarms a megapixel, of each test. It sets how many"
                "standard deviations a pixel may deviate: 5.2 for 0.1."
      dead = 0.05
        .type = float(value_min=0)
        .help = "Largest response of a dead pixel, relative to its neighbours."
      low = 0.8
        .type = float(value_min=0)
        .help = "Largest response of an under-responding pixel."
      high = 1.25
        .type = float(value_min=1)
        .help = "Smallest response of an over-responding pixel."
      scatter = 1.4
        .type = float(value_min=1)
        .help = "Smallest variance of a noisy pixel, relative to its neighbours."
      share = 0.03
        .type = float(value_min=0, value_max=1)
        .help = "Smallest share of the images in which a flickering pixel is bad."
    }
    predicted
      .help = "Spots that the crystals of an indexed experiment list put on the images: "
              "what is bright there is no fault."
    {
      radius = 3
        .type = float(value_min=0)
        .help = "Pixels around a predicted position that may be part of the spot; 0 leaves "
                "predictions out of account."
      images = 1
        .type = float(value_min=0)
        .help = "Images before and after the predicted one that may show the spot."
    }
    """
    + output_phil(
        PROGRAM,
        """
      mask = pixels.mask
        .type = path
        .help = "Output mask file name; None writes none."
      include_existing = False
        .type = bool
        .help = "Repeat in the mask the pixels that were masked already."
      print_values = False
        .type = bool
        .help = "Print bad pixel values: those in some images from all over the series."
      print_limit = 1000
        .type = int(value_min=0)
        .help = "Most pixels to print on a terminal; elsewhere all are."
      nexus = bad_pixels.h5
        .type = path
        .help = "The pixel_mask of NXmx in an HDF5 file; None writes none."
      crystfel = None
        .type = path
        .help = "A mask for CrystFEL, HDF5 with the data set /mask of the size of an image;"
                "its attribute has the lines for the geometry file."
      tiff = None
        .type = path
        .help = "A mask for jungfraujoch (/config/user_mask.tiff) or SIMPLON (pixel_mask): a"
                "TIFF image of 32-bit integers of the size of an image, 0 where good."
      table = bad_pixels.dat
        .type = path
        .help = "The pixels with their evidence as text; None writes none."
        """,
    )
)

USAGE = f"{PROGRAM} [options] (imported.expt | data_master.h5 | data_*.cbf)"


@dials.util.show_mail_handle_errors()
def run(args: Sequence[str] | None = None, phil=phil_scope) -> None:
    """Run dials.find_bad_pixels as from the command line.

    Args:
        args: The arguments; those of the process if None.
        phil: The program's PHIL scope.
    """
    with user_errors():
        arguments = parse_arguments(args, phil, USAGE, __doc__)
        limits = _limits(arguments)
        reflections = [p for p in arguments.reflections if p.suffix == ".refl"]
        images = [p for p in arguments.reflections if p.suffix != ".refl"]
        if not images and not arguments.experiments:
            raise InputError(
                f"Usage: {USAGE}\nPlease pass an experiment list or image data"
            )
        params = arguments.params
        directory = start_program(arguments)
        sweeps = open_sweeps(
            images,
            arguments.experiments,
            params.images,
            params.image_range,
            params.stride,
        )
        shapes = sweeps[0].source.panel_shapes
        previous = params.previous and read_mask(Path(params.previous), shapes)
        predicted = _predict(sweeps, arguments)
        findings = _search(sweeps, limits, arguments, predicted)
        touched = _costs(reflections, sweeps, predicted, findings)
        verdict = verdict_of(findings)
        with OutputFiles() as output:
            _write(output, arguments, directory, sweeps, findings, touched, verdict)
        _print_pixels(findings, params.output)
        if params.output.mask:
            print(f"Wrote pixel mask to {params.output.mask}")
        _log_results(findings, previous, touched, verdict)


def _limits(arguments: Arguments) -> Limits:
    limits = arguments.params.limits
    try:
        return Limits(
            limits.false_alarms,
            limits.dead,
            limits.low,
            limits.high,
            limits.scatter,
            limits.share,
        )
    except ValueError as e:
        raise InputError(f"limits: {e}") from e


def _predict(
    sweeps: Sequence[Sweep], arguments: Arguments
) -> list[list[PredictedSpots]] | None:
    spots = arguments.params.predicted
    if arguments.params.method != "statistics" or spots.radius == 0:
        return None
    return [predict_spots(s, spots.radius, spots.images) for s in sweeps]


def _costs(
    reflections: Sequence[Path],
    sweeps: Sequence[Sweep],
    predicted: Sequence[Sequence[PredictedSpots]] | None,
    findings: Findings,
) -> list[Touched]:
    """What the mask costs, in reflections that there are or else that are predicted."""
    bad = findings.bad_masks()
    if reflections:
        return [touched_reflections(path, bad) for path in reflections]
    return [
        touched_predictions(sweep.label, spots, bad)
        for sweep, spots in zip(sweeps, predicted or ())
        if spots
    ]


def _search(
    sweeps: Sequence[Sweep],
    limits: Limits,
    arguments: Arguments,
    predicted: Sequence[Sequence[PredictedSpots]] | None,
) -> Findings:
    params = arguments.params
    n_images = sum(sweep.source.n_frames for sweep in sweeps)
    for sweep in sweeps:
        logger.info("%s: %d images", sweep.label, sweep.source.n_frames)
    with dials.util.progress(total=n_images, unit=" images", delay=1) as bar:
        findings = search(
            sweeps,
            limits,
            params.method,
            params.combine,
            params.nproc,
            params.max_unreadable,
            bar.update,
            predicted,
        )
    for sweep, skipped in zip(sweeps, findings.skipped):
        for reason in skipped:
            logger.warning("%s: %s", sweep.label, reason)
    return findings


def _write(
    output: OutputFiles,
    arguments: Arguments,
    directory: Path,
    sweeps: Sequence[Sweep],
    findings: Findings,
    touched: Sequence[Touched],
    verdict: str,
) -> None:
    names = arguments.params.output
    existing = findings.masks if names.include_existing else None
    if names.mask:
        output.write_bytes(
            directory / names.mask, mask_bytes(good_masks(findings, existing))
        )
    bits = panel_bits(findings, existing)
    image = assembled(bits, sweeps[0].source.image_layout())
    if names.nexus:
        output.write_bytes(directory / names.nexus, nexus_mask_bytes(nexus_bits(bits)))
    if names.crystfel:
        path = directory / names.crystfel
        output.write_bytes(path, crystfel_mask_bytes(image, path.name))
    if names.tiff:
        output.write_bytes(directory / names.tiff, tiff_bytes(image))
    if names.table:
        output.write_text(directory / names.table, bad_pixel_lines(findings))
    if names.json:
        content = envelope(
            PROGRAM,
            arguments.all_parameters,
            [*arguments.reflections, *arguments.experiments],
            verdict,
            directory,
        )
        content.update(results(findings, sweeps, touched))
        output.write_json(directory / names.json, content)
    if names.html:
        page = render_report(
            "Bad pixels",
            verdict,
            sections(findings, sweeps, touched, _limits(arguments)),
            run_info(PROGRAM, arguments, directory),
        )
        output.write_text(directory / names.html, page)


def _print_pixels(findings: Findings, output) -> None:
    lines = mask_lines(findings, output.print_values)
    limit = output.print_limit if sys.stdout.isatty() else len(lines)
    sys.stdout.writelines(line + "\n" for line in lines[:limit])
    if len(lines) > limit:
        print(f"and {len(lines) - limit} more, which the files written have")


def _log_results(
    findings: Findings,
    previous: Sequence[np.ndarray] | None,
    touched: Sequence[Touched],
    verdict: str,
) -> None:
    logger.info("\nBad pixels by kind")
    logger.info(tabulate(count_table(findings), headers="firstrow"))
    if previous:
        logger.info("%s", changes_text(findings, previous))
    for cost in touched:
        logger.info("%s", cost_text(cost))
    logger.info("%s", verdict)


if __name__ == "__main__":
    run()
