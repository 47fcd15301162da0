"""What dials.find_bad_pixels found, as tables, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_jungfrau_qc.algorithms.bad_pixels import KINDS
from dials_jungfrau_qc.algorithms.pixel_suspects import Limits
from dials_jungfrau_qc.io.bad_pixel_files import bad_images
from dials_jungfrau_qc.io.pixel_search import Findings
from dials_jungfrau_qc.io.sweeps import Sweep
from dials_jungfrau_qc.io.touched import PREDICTIONS, REFLECTIONS, Touched
from dials_jungfrau_qc.report.bad_pixel_plots import (
    detector_plot,
    distribution_plots,
    trace_plots,
)
from dials_jungfrau_qc.report.html import Section
from dials_jungfrau_qc.report.tables import Table, narrow_table

WORDS = {
    "dead": "dead",
    "under_responding": "under-responding",
    "hot": "over-responding or hot",
    "noisy": "noisy",
    "stuck": "stuck at one value",
    "flickering": "flickering",
    "wrong_gain": "in the wrong gain",
    "untrusted": "always outside the trusted range",
    "signal": "signal in half of the images",
}
COST_SOURCES = {
    REFLECTIONS: "reflections of the file",
    PREDICTIONS: "spots predicted from the crystals",
}


def shown_kinds(findings: Findings) -> tuple[str, ...]:
    """The kinds that the method can find."""
    return KINDS if findings.method == "statistics" else ("signal",)


def kind_counts(findings: Findings, panel: int | None = None) -> dict[str, int]:
    """How many pixels are bad in each way, on one panel or all."""
    panels = findings.panels if panel is None else [findings.panels[panel]]
    kinds = np.concatenate([combined.pixels.kind for combined in panels])
    return {kind: int((kinds == kind).sum()) for kind in shown_kinds(findings)}


def verdict_of(findings: Findings) -> str:
    """The result in one sentence."""
    n_pixels = sum(int(mask.sum()) for mask in findings.masks)
    counts = {kind: n for kind, n in kind_counts(findings).items() if n}
    images = _counted(findings.n_read, "image")
    if not counts:
        if any(findings.skipped):
            return f"No bad pixels called in {images}: too little to test all kinds."
        return f"No bad pixels among {n_pixels} in {images}."
    kinds = ", ".join(f"{n} {WORDS[kind]}" for kind, n in counts.items())
    share = 1e6 * findings.n_bad / max(n_pixels, 1)
    return (
        f"{_counted(findings.n_bad, 'bad pixel')} among {n_pixels} in {images} "
        f"({share:.0f} a megapixel): {kinds}."
    )


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def count_table(findings: Findings) -> list[list[str]]:
    """Counts by kind, and by panel where there are several with bad pixels."""
    kinds = shown_kinds(findings)
    several = len(findings.panels) > 1
    rows = [["Panel", *(WORDS[kind] for kind in kinds), "all"]]
    if several:
        for i, (name, panel) in enumerate(zip(findings.panel_names, findings.panels)):
            if len(panel.pixels):
                counts = kind_counts(findings, i)
                rows.append(
                    [f"{i} {name}", *map(str, counts.values()), str(len(panel.pixels))]
                )
    counts = kind_counts(findings)
    rows.append(["all", *map(str, counts.values()), str(findings.n_bad)])
    return rows


def changes_text(findings: Findings, previous: Sequence[np.ndarray]) -> str:
    """What is new, gone and remaining since an earlier mask.

    Args:
        findings: The bad pixels.
        previous: Earlier masks, True where good.
    """
    new = gone = remaining = 0
    for bad, good, known in zip(findings.bad_masks(), previous, findings.masks):
        new += int((bad & good).sum())
        remaining += int((bad & ~good).sum())
        # What is masked by other means could not be found again
        gone += int((~bad & ~good & known).sum())
    return f"Since the previous mask: {new} new, {gone} gone, {remaining} remaining"


def results(
    findings: Findings, sweeps: Sequence[Sweep], touched: Sequence[Touched]
) -> dict[str, Any]:
    """The results for the JSON."""
    return {
        "n_images": findings.n_images,
        "sweeps": [
            {
                "images": sweep.label,
                "n_images": sweep.source.n_frames,
                "skipped": list(skipped),
                "unreadable": list(result.unreadable.numbers) if result else [],
            }
            for sweep, skipped, result in zip(
                sweeps,
                findings.skipped,
                findings.sweeps or [None] * len(sweeps),
            )
        ],
        "panels": [
            {
                "panel": i,
                "name": name,
                "size": list(mask.shape),
                "counts": kind_counts(findings, i),
            }
            for i, (name, mask) in enumerate(zip(findings.panel_names, findings.masks))
        ],
        "pixels": [
            pixel for i in range(len(findings.panels)) for pixel in _pixels(findings, i)
        ],
        "touched": [
            {
                "file": cost.name,
                "source": cost.source,
                "n_reflections": cost.n_reflections,
                "n_box": cost.n_box,
                "n_spot": cost.n_spot,
            }
            for cost in touched
        ],
    }


def _pixels(findings: Findings, panel: int) -> list[dict[str, Any]]:
    combined, bad = findings.panels[panel], findings.panels[panel].pixels
    slow, fast = np.divmod(bad.index, findings.masks[panel].shape[1])
    first, last = bad_images(findings, panel)
    return [
        {
            "panel": panel,
            "slow": int(slow[k]),
            "fast": int(fast[k]),
            "bits": int(bad.bits[k]),
            "kind": str(bad.kind[k]),
            "evidence": {
                "n_frames": int(bad.n_frames[k]),
                "mean": _short(bad.mean[k]),
                "expected": _short(bad.expected[k]),
                "variance_ratio": _short(bad.variance_ratio[k]),
                "z": _short(bad.z[k]),
                "share": _short(bad.share[k]),
                "first_image": first[k],
                "last_image": last[k],
                "n_sweeps": int(combined.n_sweeps[k]),
            },
        }
        for k in range(len(bad))
    ]


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def sections(
    findings: Findings,
    sweeps: Sequence[Sweep],
    touched: Sequence[Touched],
    limits: Limits,
) -> list[Section]:
    """The parts of the page."""
    where: dict[str, list[str]] = {}
    for sweep, skipped in zip(sweeps, findings.skipped):
        for reason in skipped:
            where.setdefault(reason, []).append(sweep.label)
    text = [f"{', '.join(names)}: {reason}." for reason, names in where.items()]
    counts = narrow_table(count_table(findings), "Bad pixels by kind")
    parts = [
        Section("What to do", points=_advice(findings)),
        Section(
            "Bad pixels",
            detector_plot(findings, shown_kinds(findings), WORDS),
            [*([counts] if findings.n_bad else []), *_cost_table(touched)],
            text,
        ),
    ]
    if findings.sweeps:
        parts.append(
            Section(
                "Evidence",
                distribution_plots(findings, limits),
                [_worst_table(findings)] if findings.n_bad else [],
            )
        )
        parts.append(Section("The worst pixels", trace_plots(findings, WORDS)))
    return [
        part for part in parts if part.plots or part.tables or part.text or part.points
    ]


def _advice(findings: Findings) -> list[str]:
    """What to do with the mask."""
    if not findings.n_bad and any(findings.skipped):
        return ["Give more images, or more strongly exposed ones: see below for which."]
    if not findings.n_bad:
        return ["There is nothing to mask beyond what is masked already."]
    return [
        "Images to be processed: give the mask to dials.import, mask=pixels.mask.",
        "Data that are imported or refined already: dials.apply_mask refined.expt "
        "input.mask=pixels.mask, and integrate masked.expt again.",
        "See below what each pixel was called for, and that the map looks like pixels and "
        "not like diffraction.",
    ]


def cost_text(cost: Touched) -> str:
    """What the mask costs, in one sentence."""
    n = max(cost.n_reflections, 1)
    return (
        f"{cost.name}: of {cost.n_reflections} {COST_SOURCES[cost.source]} "
        f"{cost.n_spot} ({100 * cost.n_spot / n:.2f} %) have a masked pixel in the spot"
    )


def _cost_table(touched: Sequence[Touched]) -> list[Table]:
    if not touched:
        return []
    rows = [["File", "What", "Reflections", "Masked pixel in the box", "in the spot"]]
    for cost in touched:
        n = max(cost.n_reflections, 1)
        rows.append(
            [
                cost.name,
                COST_SOURCES[cost.source],
                str(cost.n_reflections),
                *(
                    "not known" if k is None else f"{k} ({100 * k / n:.2f} %)"
                    for k in (cost.n_box, cost.n_spot)
                ),
            ]
        )
    return [Table(rows, "What the mask costs")]


def _cell(value: float) -> str:
    """A number for a table; empty where it is not known."""
    if not np.isfinite(value):
        return ""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _worst_table(findings: Findings, n: int = 3) -> Table:
    """The worst pixels of each kind with their numbers."""
    rows = [
        ["Kind", "Panel", "Slow", "Fast", "Mean\n(photons)", "Expected\n(photons)"]
        + ["Variance\nratio", "Deviation\n(sigma)", "Bad\nimages"]
    ]
    for kind in shown_kinds(findings):
        worst = []
        for i, panel in enumerate(findings.panels):
            for k in np.flatnonzero(panel.pixels.kind == kind):
                badness = abs(panel.pixels.z[k]) + 100 * panel.pixels.share[k]
                worst.append((badness, i, k))
        for _, i, k in sorted(worst, reverse=True)[:n]:
            bad = findings.panels[i].pixels
            slow, fast = divmod(int(bad.index[k]), findings.masks[i].shape[1])
            rows.append(
                [WORDS[kind], str(i), str(slow), str(fast)]
                + [_cell(x[k]) for x in (bad.mean, bad.expected)]
                + [_cell(x[k]) for x in (bad.variance_ratio, bad.z)]
                + [f"{100 * bad.share[k]:.0f} %"]
            )
    return Table(rows, "The worst of each kind")
