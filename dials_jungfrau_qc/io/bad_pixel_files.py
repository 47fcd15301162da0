"""Bad pixels as lines of text and as masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.io.pixel_search import Findings

# "User defined mask" in the pixel_mask of NXmx
USER_BIT = 1 << 8


def mask_lines(findings: Findings, print_values: bool = False) -> list[str]:
    """Lines as DIALS' program prints them, with the panel where there are several.

    Args:
        findings: The bad pixels.
        print_values: Add values of the pixel in images from all over the series.
    """
    lines = []
    several = len(findings.panels) > 1
    for i, (panel, mask) in enumerate(zip(findings.panels, findings.masks)):
        prefix = f"mask: {i} " if several else "mask: "
        values = _values(findings, i) if print_values else {}
        slow, fast = np.divmod(panel.pixels.index, mask.shape[1])
        for index, s, f, bits in zip(panel.pixels.index, slow, fast, panel.pixels.bits):
            line = f"{prefix}{s} {f} {bits}"
            if print_values:
                line += " : " + " ".join(f"{v:g}" for v in values.get(int(index), ()))
            lines.append(line)
    return lines


def _values(findings: Findings, panel: int) -> dict[int, np.ndarray]:
    """Values of the suspects in the sweep that shows each best, by flat index."""
    combined = findings.panels[panel]
    values = {}
    for number, sweep in enumerate(findings.sweeps):
        look = sweep.looks[panel]
        index = combined.pixels.index[combined.sweep == number]
        values.update(zip(index.tolist(), look.at(index).values))
    return values


def bad_pixel_lines(findings: Findings) -> str:
    """The bad pixels with their evidence, a line each, for programs and people."""
    lines = [
        "# panel slow fast bits kind n_frames mean expected variance_ratio z share "
        "first_image last_image n_sweeps"
    ]
    for i, (panel, mask) in enumerate(zip(findings.panels, findings.masks)):
        bad = panel.pixels
        slow, fast = np.divmod(bad.index, mask.shape[1])
        first, last = bad_images(findings, i)
        for k in range(len(bad)):
            lines.append(
                f"{i} {slow[k]} {fast[k]} {bad.bits[k]} {bad.kind[k]} {bad.n_frames[k]} "
                f"{bad.mean[k]:.5g} {bad.expected[k]:.5g} {bad.variance_ratio[k]:.4g} "
                f"{bad.z[k]:.3g} {bad.share[k]:.3g} {first[k] or '-'} {last[k] or '-'} "
                f"{panel.n_sweeps[k]}"
            )
    return "\n".join(lines) + "\n"


def bad_images(
    findings: Findings, panel: int
) -> tuple[list[int | None], list[int | None]]:
    """Numbers of the first and last image in which each pixel of a panel is bad."""
    combined = findings.panels[panel]

    def numbers(places: np.ndarray) -> list[int | None]:
        return [
            int(findings.numbers[sweep][place]) if place >= 0 else None
            for sweep, place in zip(combined.sweep, places)
        ]

    return numbers(combined.pixels.first), numbers(combined.pixels.last)


def good_masks(
    findings: Findings, existing: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Masks as DIALS has them, True where the pixel is good.

    Args:
        findings: The bad pixels.
        existing: Masks to repeat.
    """
    good = [~bad for bad in findings.bad_masks()]
    return good if existing is None else [a & b for a, b in zip(good, existing)]


def panel_bits(
    findings: Findings, existing: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """The bits of the NXmx pixel_mask, a uint32 array [slow, fast] for each panel.

    Args:
        findings: The bad pixels.
        existing: Masks to repeat, as bit 8, which is that of the user's mask.
    """
    panels = []
    for i, (panel, mask) in enumerate(zip(findings.panels, findings.masks)):
        bits = np.zeros(mask.shape, np.uint32)
        if existing is not None:
            bits[~existing[i]] = USER_BIT
        bits.reshape(-1)[panel.pixels.index] = panel.pixels.bits
        panels.append(bits)
    return panels


def nexus_bits(panels: Sequence[np.ndarray]) -> np.ndarray:
    """The bits of all panels as one array.

    Returns:
        Array [slow, fast]; with several panels of one shape [panel, slow, fast], else
        panels below each other, filled up with 0 to the widest.
    """
    if len(panels) == 1:
        return panels[0]
    if len({bits.shape for bits in panels}) == 1:
        return np.stack(panels)
    widest = max(bits.shape[1] for bits in panels)
    return np.concatenate(
        [np.pad(bits, ((0, 0), (0, widest - bits.shape[1]))) for bits in panels]
    )
