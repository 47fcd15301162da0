"""Compare what dials.simulate_jungfrau put into a series with what was found in it.

    python tools/planted_and_found.py FOLDER

FOLDER is where tools/tutorial.py ran.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from dxtbx.model.experiment_list import ExperimentListFactory

from dials.array_family import flex
from dials.util import tabulate

Rows = list[list[str]]


def crystal(folder: Path, truth: dict) -> Rows:
    """Cell, space group and indexed spots."""
    experiments = ExperimentListFactory.from_json_file(
        str(folder / "refined.expt"), check_format=False
    )
    cell = experiments[0].crystal.get_unit_cell().parameters()
    strong = flex.reflection_table.from_file(str(folder / "strong.refl"))
    indexed = flex.reflection_table.from_file(str(folder / "indexed.refl"))
    n_indexed = indexed.get_flags(indexed.flags.indexed).count(True)
    return [
        [
            "unit cell (A)",
            ", ".join(f"{a:.2f}" for a in truth["crystal"]["unit_cell"][:3]),
            ", ".join(f"{a:.2f}" for a in cell[:3]),
        ],
        ["sweeps, and lattices", len(truth["sweeps"]), len(experiments)],
        ["spots, and indexed", len(strong), f"{100 * n_indexed / len(strong):.1f} %"],
    ]


def linearity(folder: Path, truth: dict) -> Rows:
    """The beam of each sweep relative to the strongest, and the fault of the second gain."""
    path = folder / "linearity" / "dials.transmission_linearity.json"
    content = json.loads(path.read_text())
    reference = content["reference"]
    planted = [sweep["relative_beam"] for sweep in truth["sweeps"]]
    rows = []
    for sweep in content["sweeps"]:
        if sweep["id"] == reference:
            continue
        value, error = sweep["model_beam"], sweep["model_beam_error"]
        expected = planted[sweep["id"]] / planted[reference]
        rows.append(
            [
                f"beam of sweep {sweep['id']} relative to {reference}",
                f"{expected:.4f}",
                f"{value:.4f} +- {error:.4f}",
            ]
        )
    model = truth["models"]["detector"]
    for name, label, expected, digits in (
        ("g1_offset", "offset of the second gain (photons)", "pedestal_error", 2),
        ("g1_gain", "gain of the second gain", "gain_error", 4),
    ):
        term = content["model"][name]
        rows.append(
            [
                label,
                f"{model[expected][1] - model[expected][0]:.{digits}f}",
                f"{term['value']:.{digits}f} +- {term['error']:.{digits}f}",
            ]
        )
    return rows


def bad_pixels(folder: Path, truth: dict) -> Rows:
    """Bad pixels by kind: those that the files do not mask, and how many were found."""
    path = folder / "bad_pixels" / "dials.find_bad_pixels.json"
    found = {
        (pixel["panel"], pixel["slow"], pixel["fast"])
        for pixel in json.loads(path.read_text())["pixels"]
    }
    planted: dict[str, set] = {}
    for pixel in truth["bad_pixels"]:
        if not pixel["masked"]:
            place = (pixel["panel"], pixel["slow"], pixel["fast"])
            planted.setdefault(pixel["kind"], set()).add(place)
    rows = [
        [f"bad pixels: {kind.replace('_', ' ')}", len(places), len(places & found)]
        for kind, places in sorted(planted.items())
    ]
    other = found - set().union(*planted.values())
    return rows + [["bad pixels: called, and nothing was put there", 0, len(other)]]


def pixels(folder: Path, truth: dict) -> Rows:
    """The gain switch of each sweep and of all, and the ceiling of the pixels."""
    path = folder / "pixels" / "dials.pixel_histogram.json"
    content = json.loads(path.read_text())
    planted = truth["gain_switch"]
    planted = f"{planted['position']:.2f}, {planted['area']:.2f}" if planted else "none"
    rows = [
        [f"gain switch, J: sweep {group['id']} (photons)", planted, _switch(group)]
        for group in content["groups"]
    ]
    rows.append(["gain switch, J: all sweeps (photons)", planted, _switch(content)])
    edges = [
        group["pile_up"]["edge"] for group in content["groups"] if group["pile_up"]
    ]
    rows.append(
        [
            "ceiling of the pixels (counts)",
            f"{truth['ceiling']['median']:.0f}",
            f"{np.median(edges):.0f}" if edges else "none",
        ]
    )
    return rows


def _switch(found: dict) -> str:
    switch = found["gain_switch"]
    if switch is None:
        bound = found.get("gain_switch_bound_95")
        return "none" if bound is None else f"none, |J| < {bound:.2g}"
    return (
        f"{switch['position']:.2f} +- {switch['position_error']:.2f}, "
        f"{switch['area']:.2f} +- {switch['area_error']:.2f}"
    )


def main() -> None:
    folder = Path(sys.argv[1])
    truth = json.loads((folder / "data" / "truth.json").read_text())
    rows = [
        row
        for part in (crystal, pixels, linearity, bad_pixels)
        for row in part(folder, truth)
    ]
    print(tabulate(rows, headers=["", "put in", "found"], disable_numparse=True))


if __name__ == "__main__":
    main()
