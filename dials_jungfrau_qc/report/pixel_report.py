"""What dials.pixel_histogram found, as tables, JSON and a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dials_jungfrau_qc.algorithms.histogram import Histogram
from dials_jungfrau_qc.algorithms.value_counts import describe
from dials_jungfrau_qc.io.spot_pixels import SPOT_FINDING, SpotPixels
from dials_jungfrau_qc.report.html import Section, Table
from dials_jungfrau_qc.report.plots import pixel_values_plot, spot_intensities_plot

SPOT_FINDING_NOTE = (
    "These intensities are raw sums of the strong pixels of spot finding: the threshold is "
    "part of them. For a verdict on intensities run dials.pixel_histogram integrated.refl."
)


def group_name(spots: SpotPixels) -> str:
    """The name of a group, on which the names of its files are built."""
    return f"{spots.stem}{spots.group.suffix}"


def group_label(spots: SpotPixels) -> str:
    """The name of a group with that of its images or panel, for people."""
    file_name = spots.images.replace("\\", "/").rsplit("/", 1)[-1]
    images = re.sub(r"[_-]?#+", "", file_name)
    notes = [
        note
        for note in (
            file_name if images.startswith(".") else images,
            spots.panel_name,
        )
        if note
    ]
    return group_name(spots) + (f" ({', '.join(notes)})" if notes else "")


def hist_file(spots: SpotPixels) -> str | None:
    """The name of the group's pixel histogram."""
    return f"{group_name(spots)}.hist" if spots.pixels else None


def intensity_hist_file(spots: SpotPixels) -> str | None:
    """The name of the group's intensity histogram."""
    if spots.intensities is None:
        return None
    return f"{spots.stem}_intensity{spots.group.suffix}.hist"


def pixel_table(
    spots: Sequence[SpotPixels], histograms: Sequence[Histogram | None]
) -> list[list[str]]:
    """A row a group with the pixels and the statistics of their values."""
    trusted = any(group.trusted for group in spots)
    resolution = any(group.resolution for group in spots)
    edges = next((h.edges for h in histograms if h is not None), (0, 0))
    rows = [
        ["Group", "Reflections", "Pixels", "Zeros", "Mean", "Median", "99.9 %"]
        + ["Maximum", f"Below\n{edges[0]:g}", f"Above\n{edges[-1]:g}", "Not\nfinite"]
        + (
            ["Untrusted\npixels", "refl.", "At limit\npixels", "refl."]
            if trusted
            else []
        )
        + (["Resolution\n(A)"] if resolution else [])
    ]
    for group, histogram in zip(spots, histograms):
        row = [group_label(group), str(group.n_reflections)]
        if group.pixels is None:
            row += [""] * 9
        else:
            statistics = describe(group.pixels)
            row += [
                str(group.pixels.n_finite + group.pixels.n_not_finite),
                str(statistics.n_zero),
                _number(statistics.mean, ".2f"),
                _number(statistics.median, ".6g"),
                _number(statistics.p99_9, ".6g"),
                _number(statistics.maximum, ".8g"),
                str(histogram.n_below),
                str(histogram.n_above),
                str(group.pixels.n_not_finite),
            ]
        if trusted:
            counts = group.trusted
            row += (
                [
                    str(counts.n_pixels_untrusted),
                    str(counts.n_reflections_untrusted),
                    str(counts.n_pixels_at_maximum),
                    str(counts.n_reflections_at_maximum),
                ]
                if counts
                else [""] * 4
            )
        if resolution:
            row.append(
                "{:.2f} - {:.2f}".format(*group.resolution) if group.resolution else ""
            )
        rows.append(row)
    return rows


def intensity_table(
    spots: Sequence[SpotPixels], histograms: Sequence[Histogram]
) -> list[list[str]]:
    """A row a group with the intensities in its histogram, and the others where there are any."""
    columns = {
        "Reflections": [group.n_reflections for group in spots],
        "In the\nhistogram": [int(h.counts.sum()) for h in histograms],
        "Zero or\nnegative": [group.intensities.n_not_positive for group in spots],
        "Below": [
            h.n_below - group.intensities.n_not_positive
            for group, h in zip(spots, histograms)
        ],
        "Above": [h.n_above for h in histograms],
        "Not\nfinite": [group.intensities.n_not_finite for group in spots],
        "Not\nintegrated": [group.intensities.n_not_integrated for group in spots],
    }
    shown = {
        name: values
        for index, (name, values) in enumerate(columns.items())
        if index < 3 or any(values)
    }
    rows = [["Group", *shown]]
    for group, *values in zip(spots, *shown.values()):
        rows.append([group_label(group), *map(str, values)])
    return rows


def quantities(spots: Sequence[SpotPixels]) -> str:
    """What the intensities of all groups are, in words."""
    return "; ".join(dict.fromkeys(group.quantity for group in spots))


def group_results(
    spots: Sequence[SpotPixels],
    histograms: Sequence[Histogram | None],
    intensity_histograms: Sequence[Histogram],
) -> list[dict[str, Any]]:
    """The groups as they stand in the JSON."""
    return [
        _group_result(*group) for group in zip(spots, histograms, intensity_histograms)
    ]


def _group_result(
    spots: SpotPixels, histogram: Histogram | None, intensity: Histogram
) -> dict[str, Any]:
    result = {
        "id": spots.group.id,
        "identifier": spots.group.identifier,
        "panel": spots.group.panel,
        "panel_name": spots.panel_name or None,
        "label": group_label(spots),
        "images": spots.images or None,
        "reflections": spots.selection,
        "hist_file": hist_file(spots),
        "intensity_hist_file": intensity_hist_file(spots),
        "n_reflections": spots.n_reflections,
    }
    if spots.pixels is None:
        keys = ("n_pixels", "n_below", "n_above", "n_not_finite", "n_zero")
        result |= dict.fromkeys((*keys, "mean", "median", "p99_9", "maximum"))
        result["histogram"] = None
    else:
        statistics = describe(spots.pixels)
        result |= {
            "n_pixels": statistics.n + spots.pixels.n_not_finite,
            "n_below": histogram.n_below,
            "n_above": histogram.n_above,
            "n_not_finite": spots.pixels.n_not_finite,
            "n_zero": statistics.n_zero,
            "mean": statistics.mean,
            "median": statistics.median,
            "p99_9": statistics.p99_9,
            "maximum": statistics.maximum,
            "histogram": {
                "minimum": histogram.edges[0],
                "maximum": histogram.edges[-1],
                "counts": histogram.counts,
            },
        }
    result["trusted_range"] = spots.trusted
    result["resolution"] = (
        dict(zip(("d_max", "d_min"), spots.resolution)) if spots.resolution else None
    )
    result["intensity"] = {
        "quantity": spots.quantity,
        "n_below": intensity.n_below - spots.intensities.n_not_positive,
        "n_above": intensity.n_above,
        "n_not_positive": spots.intensities.n_not_positive,
        "n_not_finite": spots.intensities.n_not_finite,
        "n_not_integrated": spots.intensities.n_not_integrated,
        "edges": intensity.edges,
        "counts": intensity.counts,
    }
    return result


def report_sections(
    spots: Sequence[SpotPixels],
    histograms: Sequence[Histogram | None],
    intensity_histograms: Sequence[Histogram],
) -> list[Section]:
    """The parts of the page."""
    sections = []
    drawn = [(group_label(g), h) for g, h in zip(spots, histograms) if h is not None]
    if drawn:
        sections.append(
            Section(
                "Pixel values",
                plots=pixel_values_plot(*zip(*drawn)),
                tables=[Table(pixel_table(spots, histograms))],
            )
        )
    quantity = quantities(spots)
    sections.append(
        Section(
            "Spot intensities",
            plots=spot_intensities_plot(
                [group_label(g) for g in spots], intensity_histograms, quantity
            ),
            tables=[Table(intensity_table(spots, intensity_histograms))],
            text=[SPOT_FINDING_NOTE] if SPOT_FINDING in quantity else [],
        )
    )
    return sections


def _number(value: float, form: str) -> str:
    return "" if value != value else format(value, form)
