"""What dials.pixel_histogram found, as tables, JSON and a page."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from dials_jungfrau_qc.algorithms.histogram import Histogram
from dials_jungfrau_qc.algorithms.pixel_features import PixelFeatures
from dials_jungfrau_qc.algorithms.pixel_verdict import intensity_words
from dials_jungfrau_qc.algorithms.value_counts import describe
from dials_jungfrau_qc.io.pixel_analysis import PixelAnalysis
from dials_jungfrau_qc.io.spot_pixels import SPOT_FINDING, SpotPixels
from dials_jungfrau_qc.report.feature_plots import (
    peakogram,
    switch_by_group_plot,
    switch_fit_plot,
)
from dials_jungfrau_qc.report.feature_report import (
    SOUGHT_TOGETHER,
    features_json,
    group_paragraph,
    intensity_json,
    joint_json,
    pile_up_table,
    switch_table,
)
from dials_jungfrau_qc.report.html import Section
from dials_jungfrau_qc.report.pixel_advice import pixel_advice
from dials_jungfrau_qc.report.plots import (
    pixel_values_log_plot,
    pixel_values_plot,
    spot_intensities_plot,
)
from dials_jungfrau_qc.report.tables import narrow_table

SPOT_FINDING_NOTE = (
    "These intensities are raw sums of the strong pixels of spot finding: the threshold is "
    "part of them. For a verdict on intensities run dials.pixel_histogram integrated.refl."
)


@dataclasses.dataclass(frozen=True)
class PixelReport:
    """The results of dials.pixel_histogram in every form.

    Attributes:
        spots: The groups.
        histograms: Pixel histogram of each; None without pixels.
        intensities: Intensity histogram of each; None without intensities.
        analysis: What was found; None if nothing was looked for.
    """

    spots: Sequence[SpotPixels]
    histograms: Sequence[Histogram | None]
    intensities: Sequence[Histogram | None]
    analysis: PixelAnalysis | None

    @property
    def n_files(self) -> int:
        """The number of histogram files."""
        return sum(h is not None for h in (*self.histograms, *self.intensities))

    @property
    def _with_pixels(self) -> list[tuple[SpotPixels, PixelFeatures]]:
        if self.analysis is None:
            return []
        return [
            (group, found)
            for group, found in zip(self.spots, self.analysis.features)
            if found is not None
        ]

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """Tables with their headings, for the console."""
        tables = []
        if any(h is not None for h in self.histograms):
            tables.append(
                ("Pixel values (counts)", pixel_table(self.spots, self.histograms))
            )
        with_intensities = self._intensity_groups()
        if with_intensities[0]:
            heading = f"Spot intensities: {quantities(self.spots)}"
            tables.append((heading, intensity_table(*with_intensities)))
        return tables

    def paragraphs(self) -> list[str]:
        """What was found in each group, and in all of them."""
        paragraphs = [
            f"{group_label(group)}\n{group_paragraph(group, found)}"
            for group, found in self._with_pixels
        ]
        if self.analysis is None:
            return paragraphs
        paragraphs += self._different_panels()
        if any(group.intensities for group in self.spots):
            paragraphs.append(intensity_words(self.analysis.intensities))
        return paragraphs

    def _different_panels(self) -> list[str]:
        panels = self.analysis.panels
        if panels is None or not panels.different:
            return []
        names = [group_label(group) for group, _ in self._with_pixels]
        return [
            "Panels whose gain switch differs from the others: "
            + ", ".join(names[i] for i in panels.different)
        ]

    def as_json(self) -> dict[str, Any]:
        """The part of the JSON that is this program's."""
        features = self.analysis.features if self.analysis else [None] * len(self.spots)
        groups = [
            _group_result(group, histogram, intensity) | features_json(group, found)
            for group, histogram, intensity, found in zip(
                self.spots, self.histograms, self.intensities, features
            )
        ]
        result = {"groups": groups, "features_searched": self.analysis is not None}
        if self.analysis is None:
            return result | dict.fromkeys(SOUGHT_TOGETHER)
        names = [group_label(group) for group, _ in self._with_pixels]
        return {
            **result,
            **joint_json(self.analysis.joint, self.analysis.panels, names),
            "intensity_discontinuity": intensity_json(self.analysis.intensities),
        }

    def sections(self) -> list[Section]:
        """The parts of the page."""
        sections = []
        if self.analysis is not None:
            advice = pixel_advice(self.spots, self.analysis)
            sections.append(Section("What to do", points=advice))
        drawn = [(g, h) for g, h in zip(self.spots, self.histograms) if h is not None]
        if drawn:
            labels = [group_label(group) for group, _ in drawn]
            sections.append(
                Section(
                    "Pixel values",
                    plots=pixel_values_plot(
                        labels,
                        [h for _, h in drawn],
                        all(spots.selection == "frames" for spots, _ in drawn),
                    )
                    | pixel_values_log_plot(labels, [g.pixels for g, _ in drawn]),
                    tables=[
                        narrow_table(
                            _with_whole_headings(
                                pixel_table(self.spots, self.histograms)
                            ),
                            "Pixel values (counts)",
                        )
                    ],
                )
            )
        if self._with_pixels:
            sections.append(self._switch_section())
        groups, histograms = self._intensity_groups()
        if groups:
            quantity = quantities(self.spots)
            sections.append(
                Section(
                    "Spot intensities",
                    plots=spot_intensities_plot(
                        [group_label(g) for g in groups], histograms, quantity
                    ),
                    tables=[
                        narrow_table(
                            intensity_table(groups, histograms),
                            "Reflections by intensity",
                        )
                    ],
                    text=[SPOT_FINDING_NOTE] if SPOT_FINDING in quantity else [],
                )
            )
        return sections

    def _switch_section(self) -> Section:
        groups, features = zip(*self._with_pixels)
        labels = [group_label(group) for group in groups]
        joint = self.analysis.joint
        return Section(
            "Gain switch and pile-up",
            text=self._different_panels(),
            plots=switch_fit_plot(labels, features)
            | switch_by_group_plot(
                [group_name(group) for group in groups], features, joint
            )
            | peakogram(labels, groups, features, joint),
            tables=[
                narrow_table(switch_table(labels, features), "Gain switch"),
                narrow_table(
                    pile_up_table(labels, groups, features),
                    "Pile-up, and how far the beam can be opened",
                ),
            ],
        )

    def _intensity_groups(self) -> tuple[list[SpotPixels], list[Histogram]]:
        found = [(g, h) for g, h in zip(self.spots, self.intensities) if h is not None]
        return [g for g, _ in found], [h for _, h in found]


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
    resolution = any(group.resolution is not None for group in spots)
    edges = next((h.edges for h in histograms if h is not None), (0, 0))
    rows = [
        ["Group", "Reflections", "Pixels", "Zeros", "Mean", "Median", "99.9 %"]
        + ["Maximum", f"Below\n{edges[0]:g}", f"Above\n{edges[-1]:g}", "Not\nfinite"]
        + (
            [
                "Untrusted\npixels",
                "Untrusted\nrefl.",
                "At limit\npixels",
                "At limit\nrefl.",
            ]
            if trusted
            else []
        )
        + (["Resolution\n(A)"] if resolution else [])
    ]
    for group, histogram in zip(spots, histograms):
        row = [group_label(group), str(group.n_reflections or "")]
        if group.pixels is None:
            row += [""] * 9
        else:
            statistics = describe(group.pixels)
            row += [
                str(group.pixels.n_finite + group.pixels.n_not_finite),
                str(statistics.n_zero),
                _number(statistics.mean, ".2f"),
                _number(statistics.median, ".6g"),
                _number(statistics.p99_9, ".4g" if statistics.p99_9 < 1000 else ".0f"),
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
            row.append(_resolution_range(group))
        rows.append(row)
    return rows


def _with_whole_headings(rows: list[list[str]]) -> list[list[str]]:
    """A table whose headings can stand alone, where the one before is left out."""
    heading = [
        f"{before.splitlines()[0]}\n{name}" if name == "refl." else name
        for before, name in zip(["", *rows[0]], rows[0])
    ]
    return [heading, *rows[1:]]


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
    return "; ".join(dict.fromkeys(g.quantity for g in spots if g.quantity))


def _group_result(
    spots: SpotPixels, histogram: Histogram | None, intensity: Histogram | None
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
    result["resolution"] = None
    if spots.resolution is not None and len(spots.resolution):
        result["resolution"] = {
            "d_max": spots.resolution.max(),
            "d_min": spots.resolution.min(),
        }
    result["intensity"] = intensity and {
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


def _resolution_range(spots: SpotPixels) -> str:
    if spots.resolution is None or not len(spots.resolution):
        return ""
    return f"{spots.resolution.max():.2f} - {spots.resolution.min():.2f}"


def _number(value: float, form: str) -> str:
    return "" if value != value else format(value, form)
