"""What dials.transmission_linearity found, as sentences, tables, JSON and a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.linearity import LinearityAnalysis
from dials_jungfrau_qc.algorithms.linearity_terms import DETECTOR, SATURATION
from dials_jungfrau_qc.algorithms.linearity_verdict import (
    DETECTOR_CAUSES,
    FLUX,
    LARGEST_BOUND,
    SELECTION,
)
from dials_jungfrau_qc.algorithms.pixel_verdict import two_digits
from dials_jungfrau_qc.io.integrated_reflections import IntegratedSweep
from dials_jungfrau_qc.io.sweep_matching import MatchedSweeps
from dials_jungfrau_qc.io.transmissions import Transmission
from dials_jungfrau_qc.io.tutorial_ratio import TutorialPair
from dials_jungfrau_qc.report.html import Section
from dials_jungfrau_qc.report.linearity_advice import linearity_advice
from dials_jungfrau_qc.report.linearity_plots import (
    background_plot,
    pair_scatter_plot,
    ratio_over_nominal_plot,
    residual_plots,
)
from dials_jungfrau_qc.report.tables import Table, narrow_table

# The mean of ratios is worth a word if it is off by more than this
_SELECTION_WORTH_SAYING = 0.005
_TERM_NAMES = {
    "additive_offset": "offset of integration or background",
    "uniform_decay": "uniform decay",
    "b_decay": "decay in B",
    "g1_gain": "gain of the second gain stage",
    "g1_offset": "offset of the second gain stage",
    "compression": "compression",
    "saturation": "saturation",
}


@dataclasses.dataclass(frozen=True)
class LinearityResults:
    """All that a report needs.

    Attributes:
        analysis: The numbers.
        matched: How the sweeps were matched.
        sweeps: As they were read.
        transmissions: Of each sweep.
        tutorial: Pairs by the tutorial's selection; None for the reference.
        kind: "profile" or "sum".
        order: Sweeps in order of collection.
        order_source: How the order is known.
        warnings: What the user should know.
    """

    analysis: LinearityAnalysis
    matched: MatchedSweeps
    sweeps: Sequence[IntegratedSweep]
    transmissions: Sequence[Transmission]
    tutorial: Sequence[TutorialPair | None]
    kind: str
    order: Sequence[int]
    order_source: str
    warnings: Sequence[str]

    @property
    def reference(self) -> int:
        return self.analysis.series.reference

    @property
    def nominal(self) -> np.ndarray:
        """Recorded ratios to the reference, shape (K,)."""
        transmission = self.analysis.series.transmission
        return transmission / transmission[self.reference]

    @property
    def others(self) -> list[int]:
        """All sweeps but the reference."""
        return [k for k in range(len(self.sweeps)) if k != self.reference]


def label(results: LinearityResults, sweep: int) -> str:
    """Name of a sweep for people."""
    text = f"{sweep} (T = {results.transmissions[sweep].value:g})"
    return text + (" reference" if sweep == results.reference else "")


def verdict_sentence(results: LinearityResults) -> str:
    """The answer in one sentence."""
    found = results.analysis.verdict
    limit = (
        f"up to {two_digits(found.highest_intensity)} photons a reflection and "
        f"{'' if found.peak_measured else 'about '}{two_digits(found.highest_peak)} photons "
        "a pixel"
    )
    if found.linear:
        start = (
            f"The detector is linear within {100 * found.bound:.2g} % (95 %) {limit}"
        )
    elif found.linear is None and found.unexplained:
        start = (
            "Whether the detector is linear cannot be told: the ratios vary with "
            f"{' and '.join(found.unexplained)} in a way that no term explains"
        )
    elif found.linear is None and not found.bound < 0.5:
        start = (
            "Whether the detector is linear cannot be told: the transmissions are too "
            "much alike, or the data too weak, for a departure to show"
        )
    elif found.linear is None:
        start = (
            "Whether the detector is linear cannot be told; departures beyond "
            f"{100 * found.bound:.2g} % (95 %) are excluded {limit}"
        )
    elif _only_saturates(results):
        start = (
            "The detector is not linear: it saturates; below saturation it is linear "
            f"within {100 * found.bound:.2g} % (95 %) {limit}"
        )
    else:
        start = (
            f"The detector is not linear: it departs by up to {100 * found.bound:.2g} % "
            f"(95 %) {limit}"
        )
    parts = [start]
    if found.causes:
        parts.append(
            "supported: " + ", ".join(_with_value(results, c) for c in found.causes)
        )
    elif not found.cannot_tell:
        parts.append("no cause of any other ratio is supported")
    for question in found.cannot_tell:
        parts.append(
            f"the data cannot tell {question[0]} from {' or '.join(question[1:])}"
        )
    return "; ".join(parts) + "."


def _only_saturates(results: LinearityResults) -> bool:
    """Whether saturation is all that is wrong with the detector."""
    found, model = results.analysis.verdict, results.analysis.model
    of_detector = {term for term in DETECTOR if model.terms[term].supported}
    suspects = {c for question in found.cannot_tell for c in question}
    return (
        of_detector == {SATURATION}
        and not suspects & DETECTOR_CAUSES
        and found.bound < LARGEST_BOUND
    )


def _with_value(results: LinearityResults, cause: str) -> str:
    """A cause with its size."""
    model, found = results.analysis.model, results.analysis.verdict
    if cause == FLUX:
        off = found.sweeps_off
        if len(off) == 1:
            beam = model.relative_beam / results.nominal
            if off[0] == results.reference:
                size = 1 / np.exp(np.mean(np.log(beam[results.others])))
            else:
                size = beam[off[0]]
            return f"{cause} (sweep {off[0]}: {100 * (size - 1):+.2g} %)"
        return f"{cause} (which sweep is not known)" if len(off) == 2 else cause
    if cause == SELECTION:
        numbers = ", ".join(map(str, found.selected))
        return (
            f"{cause} (weak reflections of sweep {numbers} were taken out beforehand)"
        )
    terms = {
        "uniform decay": ("uniform_decay", 100, " % a sweep at T = 1"),
        "decay in B": ("b_decay", 1, " A^2 a sweep at T = 1"),
        "gain-stage gain": ("g1_gain", 100, " % in the second gain"),
        "gain-stage offset": ("g1_offset", 1, " photons a pixel in the second gain"),
        "integration or background offset": (
            "additive_offset",
            1,
            " photons a reflection",
        ),
    }
    if cause not in terms:
        return cause
    name, factor, unit = terms[cause]
    term = model.terms[name]
    return f"{cause} ({factor * term.value:+.3g} +- {factor * term.error:.2g}{unit})"


def selection_note(results: LinearityResults) -> str:
    """What the tutorial's number does, if it is worth a word."""
    excess = {}
    for k in results.others:
        pair, ratios = results.tutorial[k], results.analysis.ratios[k]
        if pair is not None and ratios is not None:
            excess[k] = pair.mean_of_ratios / ratios.sums.ratio - 1
    finite = {k: v for k, v in excess.items() if np.isfinite(v)}
    worst = max(finite, key=lambda k: abs(finite[k]), default=None)
    if worst is None or abs(finite[worst]) < _SELECTION_WORTH_SAYING:
        return ""
    return (
        f"The mean of ratios of the tutorial is {100 * finite[worst]:+.1f} % from the ratio "
        f"of sums for sweep {worst}: it selects reflections at I/sigma > 3 by their own "
        "errors, which is no property of the detector."
    )


def sweep_table(results: LinearityResults) -> list[list[str]]:
    """A row a sweep with every estimate of its ratio to the reference."""
    rows = [
        ["Sweep", "Transmission", "Source", "Matched", "Ratio of\nsums"]
        + ["Over\nrecorded", "York", "Median", "Mean of\nratios"]
        + ["Background\nover recorded", "All pairs\nover recorded"]
        + ["Joint model\nover recorded"]
    ]
    analysis, nominal = results.analysis, results.nominal
    for k in range(len(results.sweeps)):
        transmission = results.transmissions[k]
        row = [label(results, k), f"{transmission.value:g}", transmission.source]
        ratios, pair = analysis.ratios[k], results.tutorial[k]
        if ratios is None or pair is None:
            rows.append(row + [""] * 9)
            continue
        pairs, model = analysis.pairs, analysis.model
        rows.append(
            [
                *row,
                str(ratios.n_matched),
                value_and_error(ratios.sums.ratio, ratios.sums.error),
                value_and_error(
                    ratios.sums.ratio / nominal[k], ratios.sums.error / nominal[k]
                ),
                value_and_error(ratios.york.ratio, ratios.york.error),
                value_and_error(ratios.median.ratio, ratios.median.error),
                value_and_error(pair.mean_of_ratios, pair.error),
                value_and_error(
                    ratios.background.ratio / nominal[k],
                    ratios.background.error / nominal[k],
                ),
                value_and_error(
                    pairs.beam[k] / nominal[k], pairs.beam_error[k] / nominal[k]
                ),
                value_and_error(
                    model.relative_beam[k] / nominal[k],
                    model.relative_beam_error[k] / nominal[k],
                ),
            ]
        )
    return rows


def matching_table(results: LinearityResults) -> list[list[str]]:
    """A row a sweep with what became of its reflections."""
    reasons = [
        reason
        for reason in results.sweeps[0].n_rejected
        if any(sweep.n_rejected[reason] for sweep in results.sweeps)
    ]
    matched = results.matched
    rows = [
        ["Sweep", "Reflections", *(reason.capitalize() for reason in reasons)]
        + ["Duplicates", "Displaced", "Alone", "Matched", "Setting"]
    ]
    for k, sweep in enumerate(results.sweeps):
        rows.append(
            [
                label(results, k),
                str(sweep.n_reflections),
                *(str(sweep.n_rejected[reason]) for reason in reasons),
                str(int(matched.n_duplicates[k])),
                str(int(matched.n_displaced[k])),
                str(int(matched.n_alone[k])),
                str(int(np.count_nonzero(results.analysis.series.present[k]))),
                matched.settings[k],
            ]
        )
    return rows


def model_table(results: LinearityResults) -> list[list[str]]:
    """A row a term of the joint model."""
    rows = [["Term", "Value", "Unit", "Supported"]]
    for name, term in results.analysis.model.terms.items():
        known = np.isfinite(term.value)
        rows.append(
            [
                _TERM_NAMES[name],
                value_and_error(term.value, term.error) if known else "out of reach",
                term.unit,
                "yes" if term.supported else "no",
            ]
        )
    return rows


def residual_table(results: LinearityResults) -> list[list[str]]:
    """A row a sweep and quantity with chi-squared."""
    rows = [["Sweep", "Against", "Bins", "chi²/dof, constant", "chi²/dof, model"]]
    for k in results.others:
        for result in results.analysis.residuals:
            freedom = int(result.degrees_of_freedom[k])
            if freedom < 1:
                continue
            rows.append(
                [
                    label(results, k),
                    result.quantity,
                    str(freedom + 1),
                    f"{result.chi_squared[k] / freedom:.2f}",
                    f"{result.chi_squared_model[k] / freedom:.2f}",
                ]
            )
    return rows


def value_and_error(value: float, error: float) -> str:
    """A value with its error in brackets, to two digits of the error."""
    if not np.isfinite(value):
        return ""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.5g}"
    digits = int(max(0, 1 - np.floor(np.log10(error))))
    if digits > 6:
        power = digits - 1
        return f"{value_and_error(value * 10**power, error * 10**power)}e-{power:02d}"
    scaled = round(error * 10**digits)
    if digits == 0:
        return f"{value:.0f}({error:.0f})"
    return f"{value:.{digits}f}({scaled})"


def json_results(results: LinearityResults) -> dict[str, Any]:
    """The results as they stand in the JSON, beside the envelope."""
    analysis = results.analysis
    model, found, pairs = analysis.model, analysis.verdict, analysis.pairs
    return {
        "reference": results.reference,
        "intensity": results.kind,
        "order": list(results.order),
        "order_source": results.order_source,
        "warnings": list(results.warnings),
        "sweeps": [_sweep_json(results, k) for k in range(len(results.sweeps))],
        "all_pairs": {
            "beam": pairs.beam,
            "beam_error": pairs.beam_error,
            "log_covariance": pairs.covariance,
            "pairs": [
                {"first": int(i), "second": int(j), "log_ratio": r, "error": e}
                for (i, j), r, e in zip(
                    pairs.pairs.tolist(), pairs.log_ratio, pairs.log_ratio_error
                )
            ],
            "chi_squared": pairs.chi_squared,
        },
        "model": {
            name: {
                "value": term.value,
                "error": term.error,
                "supported": term.supported,
                "unit": term.unit,
            }
            for name, term in model.terms.items()
        },
        "model_fit": {
            "criterion": (
                "chi-squared falls by more than the penalty for each parameter: the "
                "logarithm of the number of observations, or 10"
            ),
            "penalty": model.penalty,
            "chi_squared": model.fit.chi_squared,
            "degrees_of_freedom": model.fit.degrees_of_freedom,
            "n_reflections": len(model.groups.rows),
            "n_outliers": model.groups.n_outliers,
            "n_above_ceiling": model.n_above_ceiling,
            "n_bright": analysis.n_bright,
            "variance_scale": model.groups.variance_scale,
            "parameters": list(model.correlated),
            "correlations": model.correlations,
            "log_beam_covariance": model.over_nominal_covariance,
        },
        "residuals": [_residual_json(result) for result in analysis.residuals],
        "linearity": {
            "linear": found.linear,
            "bound": found.bound,
            "highest_intensity": found.highest_intensity,
            "highest_peak": found.highest_peak,
            "peak_source": "shoeboxes" if found.peak_measured else "profile model",
            "causes": list(found.causes),
            "cannot_tell": [list(question) for question in found.cannot_tell],
            "sweeps_off": list(found.sweeps_off),
            "unexplained": list(found.unexplained),
        },
    }


def _sweep_json(results: LinearityResults, k: int) -> dict[str, Any]:
    sweep, transmission = results.sweeps[k], results.transmissions[k]
    analysis, matched = results.analysis, results.matched
    ratios, pair, nominal = analysis.ratios[k], results.tutorial[k], results.nominal[k]
    pairs, model = analysis.pairs, analysis.model
    content: dict[str, Any] = {
        "id": k,
        "identifier": sweep.experiment.identifier,
        "images": sweep.experiment.template or None,
        "transmission": transmission.value,
        "transmission_source": transmission.source,
        "transmission_others": transmission.others,
        "n_reflections": sweep.n_reflections,
        "n_rejected": sweep.n_rejected,
        "n_duplicates": int(matched.n_duplicates[k]),
        "n_displaced": int(matched.n_displaced[k]),
        "n_alone": int(matched.n_alone[k]),
        "setting": matched.settings[k],
        "reindexed": matched.reindexed[k],
        "relative_beam": pairs.beam[k],
        "relative_beam_error": pairs.beam_error[k],
        "model_beam": model.relative_beam[k],
        "model_beam_error": model.relative_beam_error[k],
    }
    if ratios is None or pair is None:
        n = int(np.count_nonzero(analysis.series.present[k]))
        return content | {
            "n_matched": n,
            "ratio": 1.0,
            "ratio_error": 0.0,
            "ratio_over_recorded": 1.0,
            "york_ratio": 1.0,
            "median_ratio": 1.0,
            "mean_of_ratios": 1.0,
            "background_ratio": 1.0,
        }
    return content | {
        "n_matched": ratios.n_matched,
        "ratio": ratios.sums.ratio,
        "ratio_error": ratios.sums.error,
        "ratio_interval": ratios.sums.interval,
        "ratio_over_recorded": ratios.sums.ratio / nominal,
        "ratio_n_used": ratios.sums.n_used,
        "ratio_cut": ratios.sums.cut,
        "ratio_bias": ratios.sums.bias,
        "york_ratio": ratios.york.ratio,
        "york_error": ratios.york.error,
        "median_ratio": ratios.median.ratio,
        "median_error": ratios.median.error,
        "mean_of_ratios": pair.mean_of_ratios,
        "n_mean_of_ratios": len(pair.x),
        "background_ratio": ratios.background.ratio,
        "background_error": ratios.background.error,
    }


def _residual_json(result) -> dict[str, Any]:
    return {
        "against": result.quantity,
        "centre": result.centre,
        "ratio": result.ratio,
        "error": result.error,
        "model": result.model,
        "chi_squared": result.chi_squared,
        "chi_squared_model": result.chi_squared_model,
        "degrees_of_freedom": result.degrees_of_freedom,
    }


def report_sections(results: LinearityResults) -> list[Section]:
    """The parts of the page."""
    analysis, nominal, others = results.analysis, results.nominal, results.others
    labels = [label(results, k) for k in range(len(results.sweeps))]
    transmissions = [results.transmissions[k].value for k in others]
    note = selection_note(results)
    pairs = [results.tutorial[k] for k in others]
    ratios = [analysis.ratios[k] for k in others]
    beams = analysis.model.relative_beam / nominal
    beam_errors = analysis.model.relative_beam_error / nominal
    sections = [Section("What to do", points=linearity_advice(analysis.verdict))]
    if results.warnings:
        sections.append(Section("Warnings", text=list(results.warnings)))
    sections.append(
        Section(
            "Ratios",
            plots={
                **ratio_over_nominal_plot(
                    transmissions, _estimates(results, beams, beam_errors)
                ),
                **pair_scatter_plot(
                    [labels[k] for k in others], pairs, [r.sums.ratio for r in ratios]
                ),
            },
            tables=[
                narrow_table(sweep_table(results), "Ratios to the reference"),
                narrow_table(matching_table(results), "Reflections"),
            ],
            text=[note] if note else [],
        )
    )
    sections.append(
        Section(
            "The joint model",
            tables=[Table(model_table(results), "Terms of the joint model")],
            text=[
                "All sweeps are fitted together: the beam of each, decay, an offset, and the "
                "second gain stage. A term is supported if chi-squared falls by more than "
                f"{analysis.model.penalty:.1f} for it. Values are fitted with all beams free."
            ],
        )
    )
    sections.append(
        Section(
            "Residuals",
            plots=residual_plots(labels, analysis.residuals),
            tables=[
                Table(residual_table(results), "How well a constant and the model fit")
            ],
        )
    )
    backgrounds = [r.background for r in ratios]
    if any(np.isfinite(b.ratio) for b in backgrounds):
        sections.append(
            Section(
                "Background",
                plots=background_plot(
                    transmissions,
                    [b.ratio / nominal[k] for b, k in zip(backgrounds, others)],
                    [b.error / nominal[k] for b, k in zip(backgrounds, others)],
                    beams[others].tolist(),
                    beam_errors[others].tolist(),
                ),
            )
        )
    return sections


def _estimates(
    results: LinearityResults, beams: np.ndarray, beam_errors: np.ndarray
) -> list[tuple[str, list[float], list[float]]]:
    """Every estimator over nominal, for the plot."""
    others, nominal = results.others, results.nominal
    ratios = [results.analysis.ratios[k] for k in others]
    pairs = [results.tutorial[k] for k in others]
    columns = {
        "ratio of sums": [(r.sums.ratio, r.sums.error) for r in ratios],
        "all pairs": list(
            zip(
                results.analysis.pairs.beam[others],
                results.analysis.pairs.beam_error[others],
            )
        ),
        "York slope": [(r.york.ratio, r.york.error) for r in ratios],
        "median ratio": [(r.median.ratio, r.median.error) for r in ratios],
        "mean of ratios (tutorial)": [(p.mean_of_ratios, p.error) for p in pairs],
    }
    estimates = [
        (
            name,
            [float(value / nominal[k]) for (value, _), k in zip(values, others)],
            [float(error / nominal[k]) for (_, error), k in zip(values, others)],
        )
        for name, values in columns.items()
    ]
    estimates.append(
        (
            "beam of the joint model",
            beams[others].tolist(),
            beam_errors[others].tolist(),
        )
    )
    return estimates
