"""What dials.transmission_linearity finds of faults that are known.

Simulates the intensities of a transmission series many times for each fault, analyses
each series and prints a line a fault: the largest mean error of a relative beam and how
many of its 68 % intervals cover the truth, the mean and the calibration of the terms
that were planted, and what was named.

    python benchmarks/linearity_truth.py [--seeds 50] [--reflections 12000] [CASE ...]
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.linearity import LinearityAnalysis, analyse
from dials_jungfrau_qc.algorithms.spot_pixel_curves import switch_at
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries, dose_before
from dials_jungfrau_qc.simulation.detector import DetectorModel
from dials_jungfrau_qc.simulation.intensities import (
    SimulatedIntensities,
    SpotModel,
    simulate_intensities,
)
from dials_jungfrau_qc.simulation.series import SeriesModel

FLUX = "attenuator or flux of a sweep"
B = "decay in B"
UNIFORM = "uniform decay"
GAIN, OFFSET = "gain-stage gain", "gain-stage offset"
COMPRESSION = "saturation or compression"
ADDITIVE = "integration or background offset"


@dataclasses.dataclass(frozen=True)
class Case:
    """A fault or several, and what is to be named.

    Attributes:
        causes: What has to be named, and nothing else.
        terms: True parameters of terms of the model.
        series: What differs in the series.
        spots: In the reflections.
        detector: In the detector.
    """

    causes: tuple[str, ...] = ()
    terms: dict[str, float] = dataclasses.field(default_factory=dict)
    series: dict[str, Any] = dataclasses.field(default_factory=dict)
    spots: dict[str, Any] = dataclasses.field(default_factory=dict)
    detector: dict[str, Any] = dataclasses.field(default_factory=dict)


def g1_gain(error: float) -> Case:
    return Case((GAIN,), {"g1_gain": error}, detector={"gain_error": (0, error, 0)})


def g1_offset(error: float) -> Case:
    return Case(
        (OFFSET,), {"g1_offset": error}, detector={"pedestal_error": (0, error, 0)}
    )


# A third gain whose end no pixel of these reflections reaches: nothing saturates
NO_END = (41.0, -1.439, -0.03)
ONE_OFF = {"attenuator_error": (0, 0, 0.02, 0, 0)}
WEAK = {"scale": 2300.0}
CASES = {
    "nothing, strong": Case(),
    "nothing, weak": Case(spots=WEAK),
    "reference 8 % low": Case((FLUX,), series={"reference_scale": 0.92}),
    "attenuator +2 %": Case((FLUX,), series=ONE_OFF),
    "B 0.3 A^2": Case((B,), {"b_decay": 0.3}, {"b_decay": 0.3}),
    "B 1 A^2": Case((B,), {"b_decay": 1.0}, {"b_decay": 1.0}),
    "uniform decay": Case(
        (UNIFORM,), {"uniform_decay": 0.0615}, {"uniform_decay": 0.0615}
    ),
    "G1 gain -5 %": g1_gain(-0.05),
    "G1 gain +5 %": g1_gain(0.05),
    "G1 offset -1": g1_offset(-1.0),
    "G1 offset +1": g1_offset(1.0),
    "G1 offset -5.9": g1_offset(-5.9),
    "compression 3000": Case((COMPRESSION,), detector={"compression": 3000.0}),
    "saturation": Case(
        (COMPRESSION,),
        spots={"scale": 80000.0},
        detector={"gain": DetectorModel().gain},
    ),
    # 147 pixels are added up for a reflection
    "background 0.01 low": Case(
        (ADDITIVE,), {"additive_offset": 1.47}, spots={"background_bias": 0.01}
    ),
    "B 0.3, G1 gain -5 %": Case(
        (B, GAIN),
        {"b_decay": 0.3, "g1_gain": -0.05},
        {"b_decay": 0.3},
        detector={"gain_error": (0, -0.05, 0)},
    ),
    "reference, G1 offset -1": Case(
        (FLUX, OFFSET),
        {"g1_offset": -1.0},
        {"reference_scale": 0.92},
        detector={"pedestal_error": (0, -1, 0)},
    ),
    "G1 gain -5 %, offset -1": Case(
        (GAIN, OFFSET),
        {"g1_gain": -0.05, "g1_offset": -1.0},
        detector={"gain_error": (0, -0.05, 0), "pedestal_error": (0, -1, 0)},
    ),
    "decay, attenuator": Case(
        (FLUX, UNIFORM),
        {"uniform_decay": 0.0615},
        {"uniform_decay": 0.0615, **ONE_OFF},
    ),
    "background, reference": Case(
        (FLUX, ADDITIVE),
        {"additive_offset": 1.47},
        {"reference_scale": 0.92},
        {"background_bias": 0.01},
    ),
}


def as_series(simulated: SimulatedIntensities) -> SweepSeries:
    """Simulated intensities as the analysis takes them; the last sweep is the reference."""
    n_sweeps, n = simulated.intensity.shape
    return SweepSeries(
        intensity=simulated.intensity,
        variance=simulated.variance,
        transmission=simulated.transmission,
        reference=n_sweeps - 1,
        dose_start=dose_before(simulated.transmission, np.arange(n_sweeps)),
        d=simulated.d,
        position=simulated.position,
        unit=np.arange(n),
        sigma_pixels=simulated.sigma_pixels,
        sigma_images=simulated.sigma_images,
        background=simulated.background,
        panel=np.zeros(n, dtype=np.int64),
    )


@dataclasses.dataclass(frozen=True)
class Trial:
    """One series: the true relative beams and what was found."""

    truth: np.ndarray
    found: LinearityAnalysis


def run_case(case: Case, seed: int, n_reflections: int) -> Trial:
    """Simulate and analyse one series."""
    series = SeriesModel(seed=seed, **case.series)
    spots = SpotModel(n_reflections=n_reflections, **{"scale": 16000.0, **case.spots})
    detector = DetectorModel(
        **{"pedestal_error": (0.0, 0.0, 0.0), "gain": NO_END, **case.detector}
    )
    simulated = simulate_intensities(series, spots, detector)
    found = analyse(as_series(simulated), switch_at(detector.photon_energy), seed)
    return Trial(simulated.beam / simulated.beam[-1], found)


def describe(name: str, case: Case, trials: Sequence[Trial]) -> list[str]:
    """The lines of one case."""
    truth = np.array([trial.truth[:-1] for trial in trials])
    lines = [f"{name} ({len(trials)} series)"]
    for label, values, errors in (
        (
            "ratio of sums",
            [[r.sums.ratio for r in t.found.ratios[:-1]] for t in trials],
            [[r.sums.error for r in t.found.ratios[:-1]] for t in trials],
        ),
        (
            "all pairs",
            [t.found.pairs.beam[:-1] for t in trials],
            [t.found.pairs.beam_error[:-1] for t in trials],
        ),
        (
            "joint model",
            [t.found.model.relative_beam[:-1] for t in trials],
            [t.found.model.relative_beam_error[:-1] for t in trials],
        ),
    ):
        relative = np.array(values) / truth - 1
        covered = np.abs(relative) < np.array(errors) / truth
        means = ", ".join(f"{100 * m:+.3f}" for m in relative.mean(axis=0))
        lines.append(
            f"  {label:14} mean error {means} %; 68 % intervals cover "
            f"{100 * covered.mean():.0f} %"
        )
    for term, true in case.terms.items():
        found = [t.found.model.terms[term] for t in trials]
        values, errors = (
            np.array([getattr(f, a) for f in found]) for a in ("value", "error")
        )
        known = np.isfinite(values)
        covered = np.abs(values[known] - true) < errors[known]
        lines.append(
            f"  {term:14} {true:g} found as {values[known].mean():.4g} +- "
            f"{values[known].std():.2g} (stated {errors[known].mean():.2g}); 68 % intervals "
            f"cover {100 * covered.mean():.0f} %"
        )
    outcomes = collections.Counter(outcome(case, trial) for trial in trials)
    lines.append("  " + "; ".join(f"{text}: {n}" for text, n in outcomes.most_common()))
    return lines


def outcome(case: Case, trial: Trial) -> str:
    """Whether a series was called rightly, in words."""
    verdict = trial.found.verdict
    found, wanted = set(verdict.causes), set(case.causes)
    open_ones = {cause for question in verdict.cannot_tell for cause in question}
    detector = {GAIN, OFFSET, COMPRESSION}
    linear = not wanted & detector
    if found == wanted and not open_ones:
        text = "named" if wanted else "no cause"
    elif found <= wanted and wanted <= found | open_ones:
        text = "ambiguity stated"
    elif found > wanted:
        text = "too much named (" + ", ".join(sorted(found - wanted)) + ")"
    else:
        text = (
            f"wrong ({', '.join(sorted(found))}; open {', '.join(sorted(open_ones))})"
        )
    if verdict.linear is not linear:
        text += f", linear = {verdict.linear}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--reflections", type=int, default=12000)
    parser.add_argument("cases", nargs="*", help=", ".join(CASES).replace("%", "%%"))
    options = parser.parse_args()
    for name in options.cases or CASES:
        case = CASES[name]
        trials = [
            run_case(case, options.first_seed + i, options.reflections)
            for i in range(options.seeds)
        ]
        print("\n".join(describe(name, case, trials)), flush=True)


if __name__ == "__main__":
    main()
