# LIBTBX_SET_DISPATCHER_NAME dials.pixel_histogram
"""
Histogram the pixel values under the spots, and measure what the detector did to them.

The first question about data from a JUNGFRAU detector is what the pixel values under
the spots look like. Is there a discontinuity at 19 to 25 counts, where pixels switch
from their first to their second gain? Do pixels pile up near 10 000 counts, where the
buckets are full? Does any of it show in the spot intensities?

The answers are measured: position and area of the discontinuity with their errors, or a
bound where there is none; the ceiling of the pixels and the reflections that reach it; how
far the beam can be opened. Sweeps at different transmissions tell the detector, whose
switch stays at the same counts, from the sample.

Takes strong, indexed, refined or integrated reflections with shoeboxes: one file or
many, with one experiment or many in each. Writes a histogram for each experiment that
gnuplot can plot (lines of bin centre and count), all of them as JSON, and a report as
HTML that opens without a network. Reflections without shoeboxes, such as integrated.refl,
give the histogram of their intensities alone.

Experiment lists are not needed. When given, they add the trusted range, the resolution,
the transmission and the names of the images.

With pixels=frames and experiment lists alone, the images themselves are histogrammed. They
have no threshold of spot finding, which can hide a gain switch or look like one.

Examples::

  dials.pixel_histogram indexed.refl

  dials.pixel_histogram indexed.refl indexed.expt

  dials.pixel_histogram split_*.refl histogram.maximum=100 histogram.n_bins=100

  dials.pixel_histogram strong.refl group_by=panel pixels=all

  dials.pixel_histogram imported.expt pixels=frames frames.stride=10
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import libtbx.phil

import dials.util
from dials.util import tabulate
from dials_jungfrau_qc.algorithms.histogram import (
    Histogram,
    bin_edges,
    logarithmic_edges,
    logarithmic_histogram,
    pixel_histogram,
)
from dials_jungfrau_qc.algorithms.pixel_verdict import pixel_verdict
from dials_jungfrau_qc.io.arguments import (
    INPUT_PHIL,
    Arguments,
    output_phil,
    parse_arguments,
    start_program,
    user_errors,
)
from dials_jungfrau_qc.io.compat import available_cores
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.experiments import match_experiments, read_experiments
from dials_jungfrau_qc.io.frame_pixels import read_frame_pixels
from dials_jungfrau_qc.io.hist_files import hist_text, intensity_hist_text
from dials_jungfrau_qc.io.output import OutputFiles, envelope
from dials_jungfrau_qc.io.pixel_analysis import analyse
from dials_jungfrau_qc.io.pixel_values import NO_SHOEBOXES
from dials_jungfrau_qc.io.reflection_file import ReflectionFile, open_reflection_file
from dials_jungfrau_qc.io.reflection_groups import Selection, file_stem
from dials_jungfrau_qc.io.spot_pixels import SpotPixels, read_spot_pixels
from dials_jungfrau_qc.io.transmissions import parse_given
from dials_jungfrau_qc.report.html import render_report, run_info
from dials_jungfrau_qc.report.pixel_report import (
    PixelReport,
    hist_file,
    intensity_hist_file,
)

logger = logging.getLogger("dials.jungfrau_qc.pixel_histogram")

PROGRAM = "dials.pixel_histogram"

phil_scope = libtbx.phil.parse(
    INPUT_PHIL
    + """
    reflections = *Auto indexed strong integrated all
      .type = choice
      .help = "Which reflections to look at. Auto takes the indexed ones if there are "
              "any, else the strong ones; integrated takes those with a summation "
              "intensity. Auto in a file without shoeboxes takes the integrated ones."

    pixels = *foreground valid all frames
      .type = choice
      .help = "Which pixels of a shoebox to count, by its mask. In shoeboxes made by spot "
              "finding only foreground pixels are measurements: the others hold 0. frames "
              "takes the images of the experiment lists instead, masks applied."

    frames {
      image_range = None
        .type = ints(size=2)
        .help = "First and last image of each experiment for pixels=frames; all if None."
      stride = 1
        .type = int(value_min=1)
        .help = "Take every so many images for pixels=frames."
      max_unreadable = 0.1
        .type = float(value_min=0, value_max=1)
        .help = "Largest share of the images of an experiment, or of the stills of a list, "
                "that may be unreadable; they are left out."
    }

    nproc = Auto
      .type = int(value_min=1)
      .help = "Number of processes; Auto takes all processors."

    transmission = None
      .type = strings
      .help = "Transmission of the beam, above 0 and up to 1: a value for each experiment "
              "in the order of the files, or id:value. Taken from the experiment lists, the "
              "image files or their names where it is not given."

    find_features = True
      .type = bool
      .help = "Look for the gain switches and the pile-up and measure them. Otherwise only "
              "the histograms are made, which is faster."

    pile_up {
      share = 0.001
        .type = float(value_min=1e-6, value_max=0.5)
        .help = "Share of the reflections that may reach the ceiling of the pixels at the "
                "transmission that is recommended."
    }

    group_by = *experiment panel none
      .type = choice
      .help = "Make a histogram for each experiment, for each panel of each experiment, "
              "or one for each file."

    histogram {
      minimum = 0
        .type = float
        .help = "Lower end of the pixel histogram, in counts."
      maximum = 12000
        .type = float
        .help = "Upper end of the pixel histogram, in counts."
      n_bins = 12000
        .type = int(value_min=1, value_max=10000000)
        .help = "Number of bins of the pixel histogram."
    }

    intensity {
      bins_per_decade = 20
        .type = int(value_min=1, value_max=1000)
        .help = "Bins of the intensity histogram for each factor of 10 in intensity."
      minimum = None
        .type = float(value_min=0)
        .help = "Lower end of the intensity histogram, in counts; that of the data if None."
        .expert_level = 1
      maximum = None
        .type = float(value_min=0)
        .help = "Upper end of the intensity histogram, in counts; that of the data if None."
        .expert_level = 1
    }
    """
    + output_phil(PROGRAM)
)

USAGE = f"{PROGRAM} [options] indexed.refl [...] [indexed.expt ...]"


@dials.util.show_mail_handle_errors()
def run(args: Sequence[str] | None = None, phil=phil_scope) -> None:
    """Run dials.pixel_histogram as from the command line.

    Args:
        args: The arguments; those of the process if None.
        phil: The program's PHIL scope.
    """
    with user_errors():
        arguments = parse_arguments(args, phil, USAGE, __doc__)
        _check_input(arguments)
        directory = start_program(arguments)
        params = arguments.params

        if params.pixels == "frames":
            spots = _read_frames(arguments)
        else:
            spots = _read_spots(arguments)
        spots = _with_transmissions(spots, params.transmission)
        histograms = [
            group.pixels
            and pixel_histogram(
                group.pixels,
                params.histogram.minimum,
                params.histogram.maximum,
                params.histogram.n_bins,
            )
            for group in spots
        ]
        intensities = _intensity_histograms(spots, params.intensity)
        analysis = None
        verdict = "Nothing was looked for (find_features=False)."
        if params.find_features:
            analysis = analyse(spots, params.pile_up.share, _nproc(params))
            verdict = pixel_verdict(
                [found for found in analysis.features if found is not None],
                analysis.joint,
                analysis.intensities,
            )
        report = PixelReport(spots, histograms, intensities, analysis)

        with OutputFiles() as output:
            for group, histogram, intensity in zip(spots, histograms, intensities):
                if histogram:
                    output.write_text(
                        directory / hist_file(group), hist_text(histogram)
                    )
                if intensity:
                    output.write_text(
                        directory / intensity_hist_file(group),
                        intensity_hist_text(intensity, group.quantity),
                    )
            if params.output.json:
                content = envelope(
                    PROGRAM,
                    arguments.all_parameters,
                    [*arguments.reflections, *arguments.experiments],
                    verdict,
                    directory,
                )
                output.write_json(
                    directory / params.output.json, content | report.as_json()
                )
            if params.output.html:
                page = render_report(
                    "Pixel values",
                    verdict,
                    report.sections(),
                    run_info(PROGRAM, arguments, directory),
                )
                output.write_text(directory / params.output.html, page)
        _log_results(arguments, directory, report, verdict)


def _check_input(arguments: Arguments) -> None:
    """Find what is wrong with the command line before anything is read.

    Raises:
        InputError: No file, two files with the same names for their output, or a range
            that makes no sense.
    """
    frames = arguments.params.pixels == "frames"
    if frames and not arguments.experiments:
        raise InputError(
            "pixels=frames reads the images of experiment lists: give at least one .expt"
        )
    if frames and arguments.reflections:
        raise InputError(
            "pixels=frames reads whole images and no reflections: give experiment lists "
            f"alone, without {arguments.reflections[0]}"
        )
    if not frames and not arguments.reflections:
        raise InputError(
            f"Usage: {USAGE}\nGive at least one reflection file, such as indexed.refl"
        )
    by_stem: dict[str, Path] = {}
    for path in arguments.experiments if frames else arguments.reflections:
        other = by_stem.setdefault(file_stem(path), path)
        if other is not path:
            raise InputError(
                f"{other} and {path} would write files of the same names. Run the program "
                "once for each, with an output.directory of its own"
            )
    histogram, intensity = arguments.params.histogram, arguments.params.intensity
    try:
        bin_edges(histogram.minimum, histogram.maximum, histogram.n_bins)
    except ValueError as e:
        raise InputError(f"histogram: {e}") from e
    try:
        logarithmic_edges(
            np.empty(0), intensity.bins_per_decade, intensity.minimum, intensity.maximum
        )
    except ValueError as e:
        raise InputError(f"intensity: {e}") from e


def _read_spots(arguments: Arguments) -> list[SpotPixels]:
    """Read all the reflection files, with the experiments that belong to them."""
    params = arguments.params
    experiment_lists = [
        (path, read_experiments(path)) for path in arguments.experiments
    ]
    spots: list[SpotPixels] = []
    with contextlib.ExitStack() as stack:
        tables = []
        for path in arguments.reflections:
            table = open_reflection_file(path, params.input.allow_pickle)
            stack.callback(table.close)
            tables.append(table)
        for table, experiments in zip(
            tables, match_experiments(tables, experiment_lists)
        ):
            with dials.util.progress(
                total=table.n_rows, desc=table.path.name, unit=" rows", delay=1
            ) as bar:
                selection, found = read_spot_pixels(
                    table,
                    experiments,
                    str(params.reflections),
                    params.pixels,
                    # PHIL takes the word none for None
                    params.group_by or "none",
                    bar.update,
                )
            _log_selection(table, selection)
            spots += found
    return spots


def _log_selection(table: ReflectionFile, selection: Selection) -> None:
    logger.info(
        "%s: %d of %d reflections, those that are %s",
        table.path,
        len(selection.rows),
        table.n_rows,
        selection.kind if selection.kind != "all" else "of an experiment",
    )
    if selection.n_unassigned:
        logger.info(
            "  %d more belong to no experiment (id -1) and are left out",
            selection.n_unassigned,
        )
    if "shoebox" not in table.column_names:
        logger.warning(
            "%s: no shoeboxes, so the intensities alone are looked at: %s",
            table.path,
            NO_SHOEBOXES,
        )


def _read_frames(arguments: Arguments) -> list[SpotPixels]:
    """Read the images of all the experiment lists."""
    params = arguments.params
    frames = params.frames
    spots: list[SpotPixels] = []
    with contextlib.ExitStack() as stack:

        def progress(name: str, n_frames: int):
            return stack.enter_context(
                dials.util.progress(total=n_frames, desc=name, unit=" images", delay=1)
            ).update

        for path in arguments.experiments:
            spots += read_frame_pixels(
                path,
                params.group_by or "none",
                frames.image_range and tuple(frames.image_range),
                frames.stride,
                _nproc(params),
                frames.max_unreadable,
                progress,
            )
    return spots


def _nproc(params) -> int:
    return available_cores() if params.nproc is libtbx.Auto else params.nproc


def _with_transmissions(
    spots: list[SpotPixels], given: Sequence[str] | None
) -> list[SpotPixels]:
    """Put in the transmissions that the user gave."""
    if not given:
        return spots
    experiments = list(dict.fromkeys((group.stem, group.group.id) for group in spots))
    values = parse_given(given, len(experiments))
    return [
        dataclasses.replace(
            group,
            transmission=values.get(
                experiments.index((group.stem, group.group.id)), group.transmission
            ),
        )
        for group in spots
    ]


def _intensity_histograms(
    spots: Sequence[SpotPixels], intensity
) -> list[Histogram | None]:
    """Histograms of the intensities, all in the same bins."""
    values = [group.intensities.values for group in spots if group.intensities]
    edges = logarithmic_edges(
        np.concatenate(values) if values else np.empty(0),
        intensity.bins_per_decade,
        intensity.minimum,
        intensity.maximum,
    )
    return [
        group.intensities and logarithmic_histogram(group.intensities.values, edges)
        for group in spots
    ]


def _log_results(
    arguments: Arguments, directory: Path, report: PixelReport, verdict: str
) -> None:
    for heading, rows in report.tables():
        logger.info("\n%s", heading)
        align = ["left"] + ["right"] * (len(rows[0]) - 1)
        logger.info(
            tabulate(rows, headers="firstrow", disable_numparse=True, colalign=align)
        )
    for paragraph in report.paragraphs():
        logger.info("\n%s", paragraph)
    output = arguments.params.output
    written = [name for name in (output.html, output.json) if name]
    n_files = report.n_files
    logger.info(
        "\nWritten to %s: %d %s (*.hist)%s\n",
        directory.resolve(),
        n_files,
        "histogram" if n_files == 1 else "histograms",
        "".join(f", {name}" for name in written),
    )
    logger.info("%s", verdict)


if __name__ == "__main__":
    run()
