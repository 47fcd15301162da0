"""The JSON that the programs write keeps to its schemas, and damaged JSON does not."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integrated_files import simulate, write_series
from nxmx_files import geometry_of, write_nxmx
from refl_files import dials_table

from dxtbx.model.experiment_list import ExperimentListFactory

from dials_jungfrau_qc.schemas import PROGRAMS, read_file, read_schema

jsonschema = pytest.importorskip("jsonschema")

# What other programs were promised, by program and place
PROMISED = {
    "dials.pixel_histogram": {
        "": "groups gain_switch detector_feature intensity_discontinuity",
        "groups": "id panel n_pixels n_zero maximum gain_switch gain_switch_bound_95 "
        "pile_up recommended_transmission",
        "groups.gain_switch": "position position_error area area_error significance spread",
        "groups.pile_up": "edge edge_error excess n_pixels n_reflections "
        "suggested_trusted_maximum",
        "intensity_discontinuity": "found bound_95",
    },
    "dials.transmission_linearity": {
        "": "reference sweeps model linearity",
        "sweeps": "id transmission transmission_source n_matched ratio ratio_error "
        "york_ratio median_ratio mean_of_ratios background_ratio relative_beam "
        "relative_beam_error",
        "model.b_decay": "value error supported",
        "linearity": "linear bound causes cannot_tell",
    },
    "dials.find_bad_pixels": {
        "": "n_images panels pixels",
        "panels": "panel size counts",
        "pixels": "panel slow fast bits kind evidence",
        "pixels.evidence": "n_frames mean expected variance_ratio z share first_image "
        "last_image",
    },
    "dials.simulate_jungfrau": {
        "": "models sweeps gain_switch ceiling bad_pixels",
        "gain_switch": "position area spread",
        "bad_pixels": "panel slow fast kind strength",
    },
}
ENVELOPE = "program version dials_version schema parameters input verdict".split()
# Objects whose keys are names of things and not of the format
FREE = {"parameters", "models", "counts", "n_rejected", "transmission_others"}
FREE |= {"sentinels", "bad_pixel_strengths"}


def run(program: str, *arguments: str | Path) -> None:
    module = importlib.import_module(f"dials_jungfrau_qc.command_line.{program}")
    module.run([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """JSON files that the programs wrote in all their ways, by a name for each."""
    folder = tmp_path_factory.mktemp("schemas")
    found = {}

    def keep(name: str, program: str, *arguments: str | Path) -> None:
        output = folder / name
        run(program, *arguments, f"output.directory={output}", "output.html=None")
        found[name] = output / f"dials.{program}.json"

    table = dials_table(n=400, n_experiments=2, n_panels=2)
    table.as_file(str(folder / "strong.refl"))
    del table["shoebox"]
    table.as_file(str(folder / "bare.refl"))
    refl = folder / "strong.refl"
    keep("spots", "pixel_histogram", refl)
    keep("panels", "pixel_histogram", refl, "group_by=panel", "pixels=all")
    keep("files", "pixel_histogram", refl, "group_by=none")
    keep("histograms", "pixel_histogram", refl, "find_features=False")

    frames = np.random.default_rng(0).poisson(2.0, (24, *geometry_of().shape))
    frames[:, 100, 200] = 0
    frames[:, 400, 300] = 777
    frames[:, 50, 50:60] = -1
    nxs = write_nxmx(folder / "data.nxs", frames.astype(np.int32))
    expt = folder / "imported.expt"
    ExperimentListFactory.from_filenames([str(nxs)]).as_file(str(expt))
    keep("frames", "pixel_histogram", expt, "pixels=frames", "frames.stride=6")
    bare = folder / "box.refl"
    dials_table(n=50).as_file(str(bare))
    keep("bad pixels", "find_bad_pixels", nxs, bare, "output.mask=None")
    keep("one image", "find_bad_pixels", expt, "images=3")
    keep("dispersion", "find_bad_pixels", nxs, "method=dispersion")

    files = [folder / name for name in write_series(folder, simulate(n=400))]
    keep("sweeps", "transmission_linearity", *files)
    keep("sums", "transmission_linearity", *files, "intensity=sum", "match=symmetry")
    refl = folder / "integrated.refl"
    keep("intensities", "pixel_histogram", refl, folder / "integrated.expt")

    small = ["detector=module", "n_images=2", "crystal.d_min=4", "nproc=1"]
    for name, more in (("series", []), ("one gain", ["readout.switching=False"])):
        output = folder / name
        run("simulate_jungfrau", *small, *more, f"output.directory={output}")
        found[name] = output / "truth.json"
    return found


def errors(content: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft202012Validator(read_schema(content["program"]))
    return [f"{e.json_path}: {e.message[:200]}" for e in validator.iter_errors(content)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_schemas_are_schemas_that_need_nothing_else(program):
    schema = read_schema(program)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    # Nothing is looked for outside
    text = json.dumps(schema)
    for part in text.split('"$ref": "')[1:]:
        target = part.partition('"')[0]
        assert target.startswith("#/$defs/") or target == read_file("envelope")["$id"]


def test_other_programs_have_no_schema():
    with pytest.raises(ValueError, match="dials.integrate is none of"):
        read_schema("dials.integrate")


def test_every_key_is_described():
    missing = []

    def look(node: Any, path: str) -> None:
        if isinstance(node, list):
            for i, item in enumerate(node):
                look(item, f"{path}[{i}]")
        if not isinstance(node, dict):
            return
        for key, item in node.get("properties", {}).items():
            if "description" not in item and key != "program":
                missing.append(f"{path}.{key}")
        for key, item in node.items():
            # What depends on other keys narrows what is described elsewhere
            if key not in ("if", "then", "else"):
                look(item, f"{path}.{key}")

    for program in PROGRAMS:
        look(read_schema(program), program)
    assert missing == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_promised_keys_are_in_the_schema(program):
    schema = read_schema(program)
    assert set(ENVELOPE) == set(schema["$defs"]["envelope"]["required"])
    for place, names in PROMISED[program].items():
        node = schema
        for key in filter(None, place.split(".")):
            node = resolved(schema, node["properties"][key])
        assert set(names.split()) <= set(node["properties"]), place


def resolved(schema: dict, node: dict) -> dict:
    """A part of a schema, or of the items of a list."""
    node = node.get("items", node)
    reference = node.get("$ref", "")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node


def test_what_was_not_looked_for_is_told_from_what_was_not_found(written):
    for name, searched in (("histograms", False), ("spots", True)):
        content = json.loads(written[name].read_text())
        assert content["features_searched"] is searched
        for group in content["groups"]:
            assert group["features_searched"] is searched
            assert errors(content) == []
            group["features_searched"] = not searched
            assert errors(content)
            group["features_searched"] = searched


NAMES = (
    *("spots", "panels", "files", "histograms", "frames", "intensities"),
    *("bad pixels", "one image", "dispersion", "sweeps", "sums", "series", "one gain"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_programs_write_keeps_to_the_schema(written, name):
    assert errors(json.loads(written[name].read_text())) == []


def test_what_the_tutorial_writes_keeps_to_the_schema(small_tutorial):
    folder, _ = small_tutorial
    files = [*folder.rglob("dials.*.json"), *folder.rglob("truth.json")]
    contents = [json.loads(file.read_text()) for file in files]
    assert {content["program"] for content in contents} == set(PROGRAMS)
    assert [errors(content) for content in contents] == [[]] * len(files)


def shortened(node: Any) -> Any:
    """The same content with lists of two items at most, and free objects as they are."""
    if isinstance(node, dict):
        return {key: shortened(value) for key, value in node.items()}
    if isinstance(node, list):
        fixed = len(node) in (3, 6, 9) and all(isinstance(x, float) for x in node)
        return [shortened(item) for item in (node if fixed else node[:2])]
    return node


def places(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every key that belongs to the format."""
    if isinstance(node, list):
        for i, item in enumerate(node[:1]):
            yield from places(item, (*path, i))
    elif isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            if key not in FREE:
                yield from places(value, (*path, key))


def at(content: Any, path: tuple) -> Any:
    for key in path:
        content = content[key]
    return content


@pytest.mark.parametrize("name", ["spots", "frames", "bad pixels", "sweeps", "series"])
def test_damaged_json_does_not_keep_to_the_schema(written, name):
    """A key that is missing, renamed or of another type is noticed, wherever it is."""
    content = shortened(json.loads(written[name].read_text()))
    schema = read_schema(content["program"])
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(content)
    n_damaged = 0
    for *path, key in places(content):
        for damage in ("removed", "renamed", "another type"):
            damaged = copy.deepcopy(content)
            parent = at(damaged, path)
            value = parent.pop(key)
            if damage == "renamed":
                parent[f"{key}s"] = value
            elif damage == "another type":
                other = {str: 1.5, type(None): {"text": 1.5}}
                parent[key] = other.get(type(value), "text")
            elif key in ("d_max", "d_min", "images") and path[-1:] == ["touched"]:
                continue
            assert not validator.is_valid(damaged), (damage, *path, key)
            n_damaged += 1
    assert n_damaged > 60


def test_schemas_are_installed():
    setup = (Path(__file__).resolve().parent.parent / "setup.py").read_text()
    assert '"schemas/*.json"' in setup
