"""The sound files that are damaged, and the programs that are to stand it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from refl_files import dials_table, random_boxes, table_bytes

from .mutations import mutate_bytes, mutate_hdf5, mutate_json
from .oracle import BAD_PIXELS, wrong_bad_pixels, wrong_histogram, wrong_matches

if TYPE_CHECKING:
    from dials_jungfrau_qc.simulation.intensities import SimulatedIntensities

CANARY = "pickle-was-run"
Check = Callable[[Path, Path], str]


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line of one program and the file of it that is damaged.

    Attributes:
        program: Module of the program.
        files: The sound files, copied beside each other.
        target: The one that is damaged.
        kind: "bytes", "gzip", "json", "hdf5" or "none".
        arguments: The command line, or what makes one out of a source of randomness.
        check: What is wrong with the results, given the folder and the damaged file.
    """

    program: str
    files: tuple[Path, ...]
    target: Path | None
    kind: str
    arguments: Sequence[str] | Callable[[random.Random], list[str]]
    check: Check | None = None

    def prepare(self, folder: Path, rng: random.Random, other: bytes) -> list[str]:
        """Put the files into a folder, damaged; returns the arguments."""
        for file in self.files:
            shutil.copy(file, folder / file.name)
        if self.target is not None:
            path = folder / self.target.name
            path.chmod(0o644)
            damage(path, self.kind, rng, other)
        if callable(self.arguments):
            return self.arguments(rng)
        return list(self.arguments)


def damage(path: Path, kind: str, rng: random.Random, other: bytes) -> None:
    """Damage a file in place."""
    content = path.read_bytes()
    if kind == "hdf5":
        mutate_hdf5(path, rng, other)
    elif kind == "json":
        path.write_bytes(mutate_json(content, rng, other))
    elif kind == "gzip" and rng.random() < 0.6:
        inside = mutate_bytes(gzip.decompress(content), rng, other)
        path.write_bytes(gzip.compress(inside, 1))
    elif kind != "none":
        path.write_bytes(mutate_bytes(content, rng, other))


class Harm:
    """A pickle of it makes a folder when it is opened."""

    def __reduce__(self):
        import os

        return (os.mkdir, (CANARY,))


def cases(folder: Path, real: Path | None) -> list[Case]:
    """Make sound files in a folder and say what is run on them.

    Args:
        folder: Where to write them.
        real: The folder of real data, if it is there.
    """
    found = [
        *_spots(folder),
        *_frames(folder),
        *_simulations(),
        *_sweeps(folder),
        *_bad_pixels(folder),
    ]
    if real is not None:
        found += _real(real)
    return found


def _spots(folder: Path) -> list[Case]:
    program = "dials_jungfrau_qc.command_line.pixel_histogram"
    fast = "find_features=False"
    v1, v2 = folder / "v1.refl", folder / "v2.refl"
    boxes = random_boxes(60)
    v1.write_bytes(table_bytes(boxes, 1, identifiers={0: "a"}))
    v2.write_bytes(table_bytes(boxes, 2, ids=[i % 2 for i in range(60)]))
    bare = folder / "bare.refl"
    bare.write_bytes(table_bytes(boxes[:20], 1, with_bbox=False))
    flat = folder / "flat.refl"
    flat.write_bytes(table_bytes(boxes, 2, flatten=True))
    packed = folder / "packed.refl"
    packed.write_bytes(gzip.compress(v1.read_bytes(), 1))
    dials = folder / "dials.refl"
    dials_table(n=60, n_experiments=2).as_msgpack_file(str(dials))
    h5 = folder / "h5.refl"
    write_hdf5_table(h5, boxes)
    pickled = folder / "pickled.refl"
    pickled.write_bytes(pickle.dumps(Harm(), 2))
    old = folder / "old.refl"
    old.write_bytes(pickle.dumps(Harm(), 0))
    check = wrong_histogram
    found = [
        Case(program, (path,), path, kind, (path.name, fast), check)
        for path, kind in (
            *((v1, "bytes"), (v2, "bytes"), (bare, "bytes"), (flat, "bytes")),
            *((dials, "bytes"), (packed, "gzip"), (h5, "hdf5"), (h5, "hdf5")),
        )
    ]
    found.append(Case(program, (v1,), v1, "bytes", (v1.name, "group_by=panel"), check))
    found.append(Case(program, (v2,), v2, "bytes", (v2.name, "pixels=all")))
    for path in (pickled, old):
        found.append(Case(program, (path,), None, "none", (path.name, fast)))
        found.append(Case(program, (path,), path, "bytes", (path.name, fast)))
    return found


def write_hdf5_table(path: Path, boxes: Sequence[tuple[np.ndarray, np.ndarray]]):
    """A table in the HDF5 format of DIALS, uncompressed so that bytes can be edited."""
    import h5py

    shapes = np.array([data.shape for data, _ in boxes])
    low = np.zeros_like(shapes)
    bbox = np.stack([low, shapes], axis=2)[:, ::-1].reshape(len(boxes), 6)
    with h5py.File(path, "w") as file:
        group = file.create_group("dials/processing/group_0")
        group.attrs["experiment_ids"] = [0]
        group.attrs["identifiers"] = ["a"]
        group["flags"] = np.full(len(boxes), 36, np.uint64)
        group["id"] = np.zeros(len(boxes), np.int32)
        group["panel"] = np.zeros(len(boxes), np.uint64)
        group["bbox"] = bbox.astype(np.int32)
        shoebox = group.create_group("shoebox")
        shoebox["bbox"] = bbox.astype(np.int32)
        shoebox["panel"] = np.zeros(len(boxes), np.uint32)
        shoebox["shoebox_data"] = np.concatenate([d.ravel() for d, _ in boxes])
        mask = np.concatenate([m.ravel() for _, m in boxes])
        shoebox.create_dataset(
            "shoebox_mask", data=mask.astype(np.uint8), compression="gzip"
        )
        shoebox["shoebox_background"] = np.zeros(len(mask), np.float32)


def _frames(folder: Path) -> list[Case]:
    from nxmx_files import geometry_of, write_nxmx

    from dxtbx.model.experiment_list import ExperimentListFactory

    from dials_jungfrau_qc.io.masks import mask_bytes

    program = "dials_jungfrau_qc.command_line.pixel_histogram"
    shape = geometry_of().shape
    frames = np.random.default_rng(0).poisson(2.0, (3, *shape)).astype(np.int32)
    found = []
    for name, model in (
        ("one", {"compression": "gzip"}),
        ("two", {"compression": "off", "images_per_file": 2}),
    ):
        nxs = write_nxmx(folder / f"{name}.nxs", frames, **model)
        expt = folder / f"{name}.expt"
        experiments = ExperimentListFactory.from_filenames([str(nxs)])
        experiments.as_file(str(expt))
        tree = json.loads(expt.read_text())
        mask = folder / f"{name}.mask"
        mask.write_bytes(mask_bytes([frames[0] < 8]))
        tree["imageset"][0].update(template=nxs.name, mask=mask.name)
        expt.write_text(json.dumps(tree))
        harmful = folder / f"{name}_harmful.expt"
        tree["imageset"][0].update(mask="harm.pickle", gain="harm.pickle")
        harmful.write_text(json.dumps(tree))
        (folder / "harm.pickle").write_bytes(pickle.dumps(Harm()))
        files = (nxs, *folder.glob(f"{name}_data_*.h5"), expt, mask)
        arguments = (expt.name, "pixels=frames", "find_features=False", "nproc=1")
        for target, kind in (
            *((expt, "json"), (expt, "json"), (nxs, "hdf5"), (nxs, "hdf5")),
            (mask, "bytes"),
        ):
            found.append(
                Case(program, files, target, kind, arguments, wrong_frames(expt.name))
            )
        files = (*files, folder / "harm.pickle", harmful)
        found.append(Case(program, files, None, "none", (harmful.name, *arguments[1:])))
    return found


def wrong_frames(expt: str) -> Check:
    """Compare with what dxtbx reads, the mask of the experiment list apart."""

    def check(folder: Path, _: Path) -> str:
        content = json.loads((folder / "dials.pixel_histogram.json").read_text())
        tree = json.loads((folder / expt).read_text())
        for group in content["groups"]:
            n = group["n_pixels"]
            image_range = tree["scan"][0]["image_range"] if tree.get("scan") else (1, 3)
            limit = image_range[1] - image_range[0] + 1
            sizes = [
                panel["image_size"]
                for detector in tree["detector"]
                for panel in detector["panels"]
            ]
            limit *= max(sum(a * b for a, b in sizes), 514 * 1030)
            if not 0 <= n <= limit:
                return f"{n} pixels where there are at most {limit}"
        return ""

    return check


def _simulations() -> list[Case]:
    from dials_jungfrau_qc.command_line.simulate_jungfrau import phil_scope

    names = [
        d.path for d in phil_scope.all_definitions() if not d.path.startswith("output.")
    ]
    values = (
        *("nan", "inf", "-inf", "-1", "0", "1e308", "-1e308", "1e-300", "", "x", "1,2"),
        *("None", "Auto", '"', "2147483648", "18446744073709551616", "0.5", "3,-1,x"),
        *("1e12", "-0", "a/b", "..", "\x01", "é", "True"),
    )

    def arguments(rng: random.Random) -> list[str]:
        small = ["detector=module", "n_images=1", "crystal.d_min=4", "transmission=1"]
        edits = [
            f"{rng.choice(names)}={rng.choice(values)}"
            for _ in range(rng.choice((1, 1, 1, 2)))
        ]
        return [*small, "nproc=1", "output.directory=series", *edits]

    program = "dials_jungfrau_qc.command_line.simulate_jungfrau"
    return [Case(program, (), None, "none", arguments)] * 3


def _sweeps(folder: Path) -> list[Case]:
    """Integrated sweeps, in one pair of files and in a pair for each."""
    from integrated_files import simulate, write_series

    program = "dials_jungfrau_qc.command_line.transmission_linearity"
    series = simulate(n=300)
    together, apart = folder / "together", folder / "apart"
    for place in (together, apart):
        place.mkdir()
    write_series(together, series)
    write_series(apart, series, apart=True)
    refl, expt = together / "integrated.refl", together / "integrated.expt"
    packed = together / "packed.refl"
    packed.write_bytes(gzip.compress(refl.read_bytes(), 1))
    found = []
    for target, kind in (
        *((refl, "bytes"), (refl, "bytes"), (expt, "json"), (expt, "json")),
        (packed, "gzip"),
    ):
        files = (expt, packed if target is packed else refl)
        arguments = [path.name for path in files]
        found.append(Case(program, files, target, kind, arguments, wrong_matches))
    files = tuple(sorted(apart.iterdir()))
    arguments = [path.name for path in files]
    symmetry = [*arguments, "match=symmetry", "intensity=sum"]
    for target in (apart / "sweep1.refl", apart / "sweep2.expt"):
        kind = "json" if target.suffix == ".expt" else "bytes"
        found.append(Case(program, files, target, kind, arguments, wrong_matches))
        found.append(Case(program, files, target, kind, symmetry))
    found.append(_with_image_file(folder / "images", series))
    pickled = together / "pickled.refl"
    pickled.write_bytes(pickle.dumps(Harm(), 2))
    names = (expt.name, pickled.name)
    found.append(Case(program, (expt, pickled), None, "none", names))
    return found


def _with_image_file(folder: Path, series: SimulatedIntensities) -> Case:
    """Sweeps whose transmission is in the file of their images alone."""
    import h5py
    from integrated_files import write_series

    folder.mkdir()
    write_series(folder, series, transmissions=[None] * len(series.beam))
    nxs, expt = folder / "images.nxs", folder / "integrated.expt"
    with h5py.File(nxs, "w") as file:
        file["/entry/instrument/attenuator/attenuator_transmission"] = np.full(9, 0.5)
    tree = json.loads(expt.read_text())
    tree["imageset"] = [{"__id__": "ImageSequence", "template": nxs.name}]
    tree["imageset"][0]["single_file_indices"] = list(range(100))
    for experiment in tree["experiment"]:
        experiment["imageset"] = 0
    expt.write_text(json.dumps(tree))
    refl = folder / "integrated.refl"
    return Case(
        "dials_jungfrau_qc.command_line.transmission_linearity",
        (nxs, expt, refl),
        nxs,
        "hdf5",
        (expt.name, refl.name),
        wrong_matches,
    )


def _bad_pixels(folder: Path) -> list[Case]:
    """Images with a dead, a hot and a stuck pixel, a mask and reflections on them."""
    from nxmx_files import geometry_of, write_nxmx

    from dxtbx.model.experiment_list import ExperimentListFactory

    from dials_jungfrau_qc.io.masks import mask_bytes

    program = "dials_jungfrau_qc.command_line.find_bad_pixels"
    folder = folder / "bad"
    folder.mkdir()
    shape = geometry_of().shape
    frames = np.random.default_rng(0).poisson(2.0, (12, *shape)).astype(np.int32)
    for (slow, fast), value in BAD_PIXELS.items():
        frames[:, slow, fast] = value
    frames[:, 60, 60] += 300
    nxs = write_nxmx(folder / "bad.nxs", frames, compression="gzip")
    master = write_nxmx(
        folder / "master.nxs", frames, compression="gzip", images_per_file=5
    )
    expt = folder / "bad.expt"
    ExperimentListFactory.from_filenames([str(nxs)]).as_file(str(expt))
    mask = folder / "known.mask"
    mask.write_bytes(mask_bytes([frames[0] < 9]))
    tree = json.loads(expt.read_text())
    tree["imageset"][0].update(template=nxs.name, mask=mask.name)
    expt.write_text(json.dumps(tree))
    refl = folder / "box.refl"
    dials_table(n=60).as_file(str(refl))
    harm = folder / "harm.img"
    harm.write_bytes(pickle.dumps({"a": Harm()}, 2))
    html = "output.html=None"
    files = (nxs, expt, mask)
    found = []
    for target, kind in ((expt, "json"), (expt, "json"), (mask, "bytes")):
        found.append(
            Case(program, files, target, kind, (expt.name, html), wrong_bad_pixels)
        )
    found += [
        # With damaged images nothing is known of what is bad
        Case(program, files, nxs, "hdf5", (expt.name, html), wrong_bad_pixels),
        Case(program, (nxs,), nxs, "hdf5", (nxs.name, html), wrong_bad_pixels),
        Case(
            program,
            (master, *sorted(folder.glob("master_data_*.h5"))),
            master,
            "hdf5",
            (master.name, html, "nproc=2"),
            wrong_bad_pixels,
        ),
        Case(
            program,
            (nxs, mask),
            mask,
            "bytes",
            (nxs.name, html, f"previous={mask.name}"),
            wrong_bad_pixels,
        ),
        Case(
            program,
            (nxs, refl),
            refl,
            "bytes",
            (nxs.name, refl.name, html),
            wrong_bad_pixels,
        ),
        Case(program, files, expt, "json", (expt.name, html, "method=dispersion")),
        Case(program, (harm,), None, "none", (harm.name, html)),
        Case(program, (harm,), harm, "bytes", (harm.name, html)),
    ]
    return found


def _real(real: Path) -> list[Case]:
    program = "dials_jungfrau_qc.command_line.pixel_histogram"
    found = []
    for name, stem in (
        ("ssx_CuNiR_test_data", "indexed"),
        ("quartz_processed", "integrated"),
    ):
        refl, expt = real / name / f"{stem}.refl", real / name / f"{stem}.expt"
        if not (refl.is_file() and expt.is_file()):
            continue
        arguments = (refl.name, expt.name, "find_features=False")
        found.append(Case(program, (refl, expt), refl, "bytes", arguments))
        found.append(Case(program, (refl, expt), expt, "json", arguments))
    return found
