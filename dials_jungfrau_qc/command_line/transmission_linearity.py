# LIBTBX_SET_DISPATCHER_NAME dials.transmission_linearity
"""
Compare sweeps taken at different transmissions: is the detector linear, and if not, why?

Takes the integrated reflections of sweeps of one crystal, measured in the same orientation
at different transmissions, and compares the same reflections between them. Gives the ratio
of every sweep to a reference by estimators that can be trusted, the relative beam of each
from all pairs, residuals against what could explain them, and a joint model of beam, decay,
integration and the detector's second gain. Says whether the detector is linear and within
what bound, names the causes that the data support, and says which it cannot tell apart.

One multi-experiment pair of files or several pairs; the images need not be there. The
transmission of each sweep is taken from the command line, the beam model, NXattenuator in
the image file or the name of the images, whichever is there first.

Sweeps that were indexed apart are brought to one setting of the lattice. Sweeps in other
orientations can be compared in the asymmetric unit with match=symmetry.

Examples::

  dials.transmission_linearity integrated.expt integrated.refl

  dials.transmission_linearity integrated.expt integrated.refl transmission=0.06,0.13,0.25,0.5,1

  dials.transmission_linearity low.expt low.refl high.expt high.refl reference=1

  dials.transmission_linearity integrated.expt integrated.refl transmission=2:0.26 order=4,3,2,1,0
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import libtbx.phil

import dials.util
from dials.util import tabulate
from dials_jungfrau_qc.algorithms.linearity import compare, explain
from dials_jungfrau_qc.algorithms.spot_pixel_curves import switch_at
from dials_jungfrau_qc.algorithms.sweep_series import dose_before
from dials_jungfrau_qc.io.arguments import (
    INPUT_PHIL,
    Arguments,
    output_phil,
    parse_arguments,
    start_program,
    user_errors,
)
from dials_jungfrau_qc.io.collection_order import collection_order, parse_numbers
from dials_jungfrau_qc.io.errors import InputError
from dials_jungfrau_qc.io.integrated_reflections import SUM
from dials_jungfrau_qc.io.linearity_input import (
    choose_reference,
    read_sweeps,
    with_peaks,
)
from dials_jungfrau_qc.io.output import OutputFiles, envelope
from dials_jungfrau_qc.io.pair_files import write_matched, write_pairs
from dials_jungfrau_qc.io.processes import in_background
from dials_jungfrau_qc.io.reflection_file import ReflectionFile, open_reflection_file
from dials_jungfrau_qc.io.sweep_experiments import check_comparable
from dials_jungfrau_qc.io.sweep_matching import match_by_index, match_by_symmetry
from dials_jungfrau_qc.io.transmissions import find_transmissions, transmission_warnings
from dials_jungfrau_qc.report.html import render_report, run_info
from dials_jungfrau_qc.report.linearity_report import (
    LinearityResults,
    json_results,
    matching_table,
    model_table,
    report_sections,
    residual_table,
    selection_note,
    sweep_table,
    verdict_sentence,
)

logger = logging.getLogger("dials.jungfrau_qc.transmission_linearity")

PROGRAM = "dials.transmission_linearity"

phil_scope = libtbx.phil.parse(
    INPUT_PHIL
    + r"""
    transmission = None
      .type = strings
      .help = "Transmission of each sweep, above 0 and up to 1, in the order of the "
              "experiments, or id:value for some of them. None takes it from the beam "
              "model, the image file or the name of the images."

    transmission_pattern = "(\\d*\\.?\\d+)_?transmission"
      .type = str
      .help = "Regular expression that finds the transmission in the name of the images or "
              "of their folder, as its first group."
      .expert_level = 1

    reference = Auto
      .type = int(value_min=0)
      .help = "Experiment that the others are compared with. Auto takes the highest "
              "transmission."

    order = None
      .type = strings
      .help = "Experiments in the order of their collection, which decides the dose. None "
              "takes the time stamps, else the order of the files."

    match = *hkl symmetry
      .type = choice
      .help = "hkl matches Miller index, entering flag and image, for one crystal in one "
              "orientation; symmetry matches in the asymmetric unit, for others."

    intensity = *profile sum
      .type = choice
      .help = "Profile-fitted or summation intensities."

    gain_switch = Auto
      .type = float(value_min=1)
      .help = "Photons at which pixels leave their first gain. Auto takes 310 keV divided "
              "by the photon energy, 25 at 12.4 keV."

    seed = 0
      .type = int(value_min=0)
      .help = "Seed of the bootstrap."
      .expert_level = 1
    """
    + output_phil(
        PROGRAM,
        """
      pairs = True
        .type = bool
        .help = "Write pair<id>.dat and matched<id>.dat for every sweep."
        """,
    )
)

USAGE = f"{PROGRAM} [options] integrated.expt integrated.refl [...]"


@dials.util.show_mail_handle_errors()
def run(args: Sequence[str] | None = None, phil=phil_scope) -> None:
    """Run dials.transmission_linearity as from the command line.

    Args:
        args: The arguments; those of the process if None.
        phil: The program's PHIL scope.
    """
    with user_errors():
        arguments = parse_arguments(args, phil, USAGE, __doc__)
        if not arguments.reflections or not arguments.experiments:
            raise InputError(
                f"Usage: {USAGE}\nGive integrated reflections and their experiments, such "
                "as integrated.expt integrated.refl"
            )
        directory = start_program(arguments)
        with OutputFiles() as output:
            try:
                results = _analyse(arguments, output, directory)
            except ValueError as e:
                raise InputError(str(e)) from e
            verdict = verdict_sentence(results)
            _write(output, arguments, directory, results, verdict)
        _log_results(arguments, directory, results, verdict)


def _analyse(
    arguments: Arguments, output: OutputFiles, directory: Path
) -> LinearityResults:
    """Read, match and analyse, and write the matched intensities meanwhile."""
    params = arguments.params
    with contextlib.ExitStack() as stack:
        tables: list[ReflectionFile] = []
        for path in arguments.reflections:
            tables.append(open_reflection_file(path, params.input.allow_pickle))
            stack.callback(tables[-1].close)
        sweeps, kind, warnings = read_sweeps(
            tables, arguments.experiments, params.intensity, params.match == "symmetry"
        )
        experiments = [sweep.experiment for sweep in sweeps]
        transmissions = find_transmissions(
            experiments, params.transmission, params.transmission_pattern
        )
        warnings += transmission_warnings(transmissions)
        values = np.array([item.value for item in transmissions])
        reference = choose_reference(_given(params.reference), values)
        check_comparable(experiments, reference)
        order, order_source = collection_order(
            experiments, parse_numbers("order", params.order)
        )
        match = match_by_index if params.match == "hkl" else match_by_symmetry
        matched = match(sweeps, reference, values, dose_before(values, order))
        warnings += matched.warnings
        matched = with_peaks(matched, sweeps[reference], tables)
    switch = switch_at(experiments[reference].photon_energy, _given(params.gain_switch))
    others = [k for k in range(len(sweeps)) if k != reference]
    pairs, matches = (
        {k: output.path_for(directory / f"{name}{k}.dat") for k in others}
        if params.output.pairs
        else {}
        for name in ("pair", "matched")
    )
    with in_background(sweeps, matched) as submit:
        tutorial = submit(write_pairs, pairs)
        comparison = compare(matched.series, switch, params.seed)
        submit(write_matched, matches, comparison.pairs.beam)
        analysis = explain(comparison, switch)
        return LinearityResults(
            analysis=analysis,
            matched=matched,
            sweeps=sweeps,
            transmissions=transmissions,
            tutorial=tutorial.result(),
            kind=kind,
            order=order.tolist(),
            order_source=order_source,
            warnings=warnings,
        )


def _given(value: Any) -> Any:
    """A parameter, None if it is Auto."""
    return None if value is libtbx.Auto else value


def _write(
    output: OutputFiles,
    arguments: Arguments,
    directory: Path,
    results: LinearityResults,
    verdict: str,
) -> None:
    names = arguments.params.output
    if names.json:
        content = envelope(
            PROGRAM,
            arguments.all_parameters,
            [*arguments.reflections, *arguments.experiments],
            verdict,
            directory,
        )
        output.write_json(directory / names.json, content | json_results(results))
    if names.html:
        page = render_report(
            "Linearity against transmission",
            verdict,
            report_sections(results),
            run_info(PROGRAM, arguments, directory),
        )
        output.write_text(directory / names.html, page)


def _log_results(
    arguments: Arguments, directory: Path, results: LinearityResults, verdict: str
) -> None:
    for k, item in enumerate(results.transmissions):
        logger.info(
            "Experiment %d: transmission %g from the %s", k, item.value, item.source
        )
    logger.info("Order of collection, by %s: %s", results.order_source, results.order)
    if results.kind == SUM:
        logger.info("Summation intensities")
    for k, changed in enumerate(results.matched.reindexed):
        if changed:
            logger.info(
                "Experiment %d is indexed in another setting of the lattice: reindexed as %s",
                k,
                results.matched.settings[k],
            )
    for warning in results.warnings:
        logger.warning("Warning: %s", warning)
    for title, table in (
        ("Reflections", matching_table(results)),
        ("Ratios to the reference", sweep_table(results)),
        ("The joint model", model_table(results)),
        ("Residuals", residual_table(results)),
    ):
        logger.info("\n%s", title)
        logger.info(tabulate(table, headers="firstrow", disable_numparse=True))
    note = selection_note(results)
    if note:
        logger.info("\n%s", note)
    names = arguments.params.output
    written = [name for name in (names.html, names.json) if name]
    if names.pairs:
        written.append("pair<id>.dat, matched<id>.dat")
    logger.info("\nWritten to %s: %s\n", directory.resolve(), ", ".join(written))
    logger.info("%s", verdict)


if __name__ == "__main__":
    run()
