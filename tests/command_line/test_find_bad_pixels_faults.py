"""Bad input of dials.find_bad_pixels, and of dials.pixel_histogram with pixels=frames.

Each case ends in one line that says what is wrong and leaves the log alone, or in the
right answer with a warning.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from fuzz.corpus import CANARY, Harm
from image_files import cbf_bytes, smv_bytes, write_series
from nxmx_files import geometry_of, write_nxmx

from dxtbx.model import Crystal
from dxtbx.model.experiment_list import ExperimentListFactory
from scitbx.array_family import flex

from dials_jungfrau_qc.io import predictions
from dials_jungfrau_qc.io.masks import mask_bytes

# Of a Pilatus 100K and 300K, the smallest that dxtbx knows as CBF
SMALL, LARGE = (195, 487), (619, 487)
# Rayonix detectors are square
SQUARE = (240, 240)
SHAPE = geometry_of().shape
N_IMAGES = 12
DATA = "/entry/data/data"
DEAD = (100, 200)
IMAGES = ["cbf", "img", "tif"]


def photons(shape, n=N_IMAGES):
    frames = np.random.default_rng(0).poisson(9.0, (n, *shape)).astype(np.int32)
    frames[:, *DEAD] = 0
    return frames


def list_of(paths, expt):
    """An experiment list of copies: dxtbx keeps files open, which then cannot change."""
    copies = Path("copies")
    copies.mkdir()
    for path in Path().iterdir():
        if path.is_file():
            shutil.copy(path, copies)
    experiments = ExperimentListFactory.from_filenames(
        [str(copies / Path(path).name) for path in paths]
    )
    experiments.as_file(expt)
    Path(expt).write_text(Path(expt).read_text().replace("copies/", ""))
    shutil.rmtree(copies)
    return Path(expt)


def series(suffix, width=0.1, n=N_IMAGES):
    """Small images in the folder, and their experiment list x.expt."""
    frames = photons(SQUARE if suffix == "tif" else SMALL, n)
    paths = [p.name for p in write_series(Path(), frames, suffix, width)]
    list_of(paths, "x.expt")
    return paths


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_nxmx(folder / "x.nxs", photons(SHAPE))
    write_nxmx(folder / "linked.nxs", photons(SHAPE), images_per_file=2)
    return folder


@pytest.fixture
def nxmx(in_tmp_path, files):
    """A file of all images and one that is linked to six of two, with their lists."""
    for path in files.iterdir():
        shutil.copy(path, in_tmp_path)
    for name in ("x", "linked"):
        list_of([f"{name}.nxs"], f"{name}.expt")
    return in_tmp_path


def change(expt, edit):
    tree = json.loads(Path(expt).read_text())
    edit(tree)
    Path(expt).write_text(json.dumps(tree))


def run(*args, program="find_bad_pixels"):
    module = importlib.import_module(f"dials_jungfrau_qc.command_line.{program}")
    module.run([*map(str, args), "output.html=None"])
    return json.loads(Path(f"dials.{program}.json").read_text())


def frames(*args):
    """Run dials.pixel_histogram on frames."""
    fast = ["pixels=frames", "find_features=False", "histogram.n_bins=100", "nproc=1"]
    return run(*fast, *args, program="pixel_histogram")


def ends(*args, run=run):
    """The line in which a program ends; nothing but the log is left."""
    before = set(Path().rglob("*"))
    with pytest.raises(SystemExit) as end:
        run(*args)
    # Python prints a text on standard error, with exit status 1
    message = end.value.code
    assert isinstance(message, str) and "\n" not in message
    for word in ("Traceback", "report this", "Internal Error", "object at 0x"):
        assert word not in message
    new = {path.name for path in set(Path().rglob("*")) - before}
    assert all(name.endswith(".log") for name in new), new
    return message


def unreadable(content):
    (sweep,) = content["sweeps"]
    return sweep["unreadable"]


def finds_the_dead_pixel(content):
    return [(p["slow"], p["fast"]) for p in content["pixels"]] == [DEAD]


# --- images that are not there -------------------------------------------------------


@pytest.mark.parametrize("nproc", [1, 2])
@pytest.mark.parametrize("suffix", IMAGES)
def test_image_that_is_missing_is_left_out(in_tmp_path, capsys, suffix, nproc):
    paths = series(suffix)
    Path(paths[4]).unlink()

    content = run("x.expt", f"nproc={nproc}")

    assert unreadable(content) == [5]
    assert finds_the_dead_pixel(content)
    out = capsys.readouterr().out
    # Once, though images are looked at twice
    assert out.count("1 of 12 images cannot be read and are left out") == 1
    assert f"{paths[4]}: No such file" in out


def test_more_images_missing_than_may_be(in_tmp_path):
    for path in series("cbf")[3:6]:
        Path(path).unlink()

    message = ends("x.expt", "max_unreadable=0.2")
    assert "3 of 12 images cannot be read, and max_unreadable allows 2" in message
    assert "image 4: " in message and "x_00004.cbf: No such file" in message
    assert unreadable(run("x.expt", "max_unreadable=0.25")) == [4, 5, 6]


def test_samples_of_the_background_may_be_missing(in_tmp_path):
    """Others are taken for the four that are spread over the series."""
    paths = series("cbf", n=16)
    for k in (0, 5, 10, 15):
        os.truncate(paths[k], 4000)

    content = run("x.expt", "max_unreadable=0.25")

    assert unreadable(content) == [1, 6, 11, 16]
    assert finds_the_dead_pixel(content)


@pytest.mark.parametrize("program", [run, frames])
def test_images_that_were_removed_since_they_were_imported(in_tmp_path, program):
    for path in series("cbf"):
        Path(path).unlink()

    message = ends("x.expt", run=program)
    assert "x_00001.cbf is not there" in message and "import them again" in message


def test_master_file_that_is_missing(nxmx):
    Path("linked.nxs").unlink()

    assert "linked.nxs is not there" in ends("linked.expt")


def test_data_files_that_are_all_missing(nxmx):
    for path in nxmx.glob("linked_data_*"):
        path.unlink()

    message = ends("linked.nxs")
    assert "linked_data_000001.h5: No such file" in message


# --- images that are cut short -------------------------------------------------------


@pytest.mark.parametrize("given", ["x.nxs", "x.expt"])
@pytest.mark.parametrize(
    "place,words",
    [
        ("nothing left", "the file is empty"),
        ("signature", "dxtbx knows no such image format"),
        ("superblock", "x.nxs: this HDF5 file cannot be read"),
        ("header", "it is cut short: 2000 of"),
        ("chunk", "Copy it again"),
        ("index of chunks", "Copy it again"),
    ],
)
def test_hdf5_file_that_is_cut_short(nxmx, given, place, words):
    path = Path("x.nxs")
    with h5py.File(path) as file:
        id_ = file[DATA].id
        chunks = [id_.get_chunk_info(i).byte_offset for i in range(N_IMAGES)]
    index = path.read_bytes().rindex(b"TREE")
    size = {
        "nothing left": 0,
        "signature": 5,
        "superblock": 40,
        "header": 2000,
        "chunk": chunks[6] + 1000,
        "index of chunks": index + 30,
    }[place]
    os.truncate(path, size)

    message = ends(given, run=run)
    assert words in message and "x.nxs" in message
    if given == "x.expt":
        assert words in ends(given, run=frames)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.999])
def test_data_file_behind_a_master_that_is_cut_short(nxmx, share):
    path = Path("linked_data_000003.h5")
    os.truncate(path, int(share * path.stat().st_size))

    message = ends("linked.nxs", "nproc=2")
    assert "image 5: " in message and "linked_data_000003.h5: it is" in message
    content = run("linked.expt", "nproc=2", "max_unreadable=0.2")
    assert unreadable(content) == [5, 6]
    assert finds_the_dead_pixel(content)


@pytest.mark.parametrize("size", [0, 100, 1500, -1])
@pytest.mark.parametrize("suffix", IMAGES)
def test_image_that_is_cut_short_is_left_out(in_tmp_path, suffix, size):
    """No zeros are made up for what is missing; one byte is enough."""
    path = Path(series(suffix)[4])
    os.truncate(
        path,
        size if size >= 0 else path.stat().st_size - (40 if suffix == "cbf" else 1),
    )

    content = run("x.expt")

    assert unreadable(content) == [5]
    assert finds_the_dead_pixel(content)
    assert "x_00005" in ends("x.expt", "frames.max_unreadable=0", run=frames)


@pytest.mark.parametrize("suffix", IMAGES)
def test_first_image_that_is_empty(in_tmp_path, suffix):
    path = Path(series(suffix)[0])
    path.write_bytes(b"")

    message = ends("x.expt")
    assert path.name in message and "the file is empty" in message


@pytest.mark.parametrize("suffix", IMAGES)
@pytest.mark.parametrize("size", [0, 100])
def test_the_image_that_is_at_fault_is_named(in_tmp_path, suffix, size):
    paths = series(suffix)
    os.truncate(paths[4], size)

    assert f"{paths[4]}: " in ends(*paths)


def test_exit_status_and_standard_error_of_the_program(nxmx):
    os.truncate("x.nxs", 2000)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dials_jungfrau_qc.command_line.find_bad_pixels"),
            "x.nxs",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("x.nxs: ") and "cut short" in line


def test_dispersion_leaves_no_image_out(in_tmp_path):
    os.truncate(series("cbf")[4], 4000)

    message = ends("x.expt", "method=dispersion")
    assert "method=dispersion leaves none out" in message


# --- images of another kind ----------------------------------------------------------


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("suffix", ["cbf", "img"])
def test_image_of_another_size_is_left_out(in_tmp_path, capsys, suffix, number):
    paths = series(suffix)
    pack = {"cbf": cbf_bytes, "img": smv_bytes}[suffix]
    Path(paths[number - 1]).write_bytes(pack(photons(LARGE)[0], number))

    assert unreadable(run("x.expt")) == [number]
    assert "it has 1 panel of 619 x 487 pixels" in capsys.readouterr().out
    message = ends(*paths)
    assert f"{paths[number - 1]} " in message and "619 x 487" in message
    assert "once for each detector" in message


def test_still_of_another_size(in_tmp_path):
    paths = series("cbf", width=0)
    Path(paths[4]).write_bytes(cbf_bytes(photons(LARGE)[0], 5, 0))

    message = ends(*paths)
    assert "x_00005.cbf 1 panel of 619 x 487" in message


def test_image_of_another_format_is_left_out(in_tmp_path):
    Path(series("cbf")[4]).write_bytes(smv_bytes(photons(SMALL)[4], 5))

    assert unreadable(run("x.expt")) == [5]


@pytest.mark.parametrize(
    "data,words",
    [
        (np.zeros((2, 300, 400), "i4"), "images of 1 panel of 300 x 400"),
        (np.zeros((2, 600, 1100), "i4"), "images of 1 panel of 600 x 1100"),
        (np.zeros((2, *SHAPE), "f4"), "another type than the others: float32"),
        (np.zeros((2, *SHAPE), "i8"), "another type than the others: int64"),
        ("text", "holds no images"),
        (np.zeros(5), "holds no images"),
        (None, "damaged"),
    ],
    ids=["smaller", "larger", "float", "64 bits", "text", "vector", "nothing"],
)
@pytest.mark.parametrize("program", [run, frames])
def test_data_file_of_another_kind_behind_a_master(nxmx, program, data, words):
    with h5py.File("linked_data_000003.h5", "r+") as file:
        del file["data"]
        if data is not None:
            file["data"] = data

    message = ends("linked.expt", run=program)
    assert "linked_data_000003.h5: " in message and words in message


@pytest.mark.parametrize("nproc", [1, 2])
def test_data_file_of_fewer_images_than_the_master_says(nxmx, capsys, nproc):
    with h5py.File("linked_data_000003.h5", "r+") as file:
        first = file["data"][:1]
        del file["data"]
        file["data"] = first

    assert unreadable(run("linked.nxs", f"nproc={nproc}")) == [6]
    assert "it has 1 images, and this would be number 2" in capsys.readouterr().out


def other_size(tree):
    tree["detector"][0]["panels"][0]["image_size"] = [1000, 500]


def two_panels(tree):
    tree["detector"][0]["panels"] *= 2
    tree["detector"][0]["hierarchy"]["children"].append({"panel": 1})


@pytest.mark.parametrize("edit", [other_size, two_panels])
@pytest.mark.parametrize("name", ["x", "cbf"])
def test_detector_of_the_list_is_not_that_of_the_images(nxmx, name, edit):
    if name == "cbf":
        Path("x.expt").unlink()
        series("cbf")
    change("x.expt", edit)

    message = ends("x.expt")
    assert "2 panels" in message or "500 x 1000" in message
    assert "2 panels" in ends("x.expt", run=frames) or "500 x 1000" in message


@pytest.mark.parametrize("content", ["fewer", "larger", "text", "img"])
def test_images_that_were_replaced_since_they_were_imported(nxmx, content):
    path = Path("x.nxs")
    if content == "fewer":
        write_nxmx(path, photons(SHAPE, 3))
    elif content == "larger":
        geometry = geometry_of("jungfrau_1m")
        write_nxmx(path, np.ones((N_IMAGES, *geometry.shape)), geometry)
    else:
        path.write_bytes(b"text" if content == "text" else smv_bytes(photons(SMALL)[0]))

    message = ends("x.expt")
    if content == "larger":
        assert "1066 x 1030" in message and "514 x 1030" in message
    else:
        assert "x.expt: its image" in message and "import them again" in message


def test_lists_and_files_of_different_detectors(nxmx):
    series("cbf")
    Path("x.expt").rename("small.expt")
    list_of(["x.nxs"], "x.expt")
    both = ExperimentListFactory.from_json_file("x.expt")
    both.extend(ExperimentListFactory.from_json_file("small.expt"))
    both.as_file("both.expt")

    for given in (["both.expt"], ["small.expt", "x.expt"], ["x.nxs", "x_00001.cbf"]):
        message = ends(*given)
        assert "195 x 487" in message and "514 x 1030" in message
        assert "once for each detector" in message


# --- images that do not unpack -------------------------------------------------------


@pytest.mark.parametrize("nproc", [1, 2])
@pytest.mark.parametrize("dtype", ["<i4", "<f8"], ids=["direct", "by dxtbx"])
@pytest.mark.parametrize("compression", ["gzip", "bitshuffle"])
def test_images_that_do_not_unpack(in_tmp_path, compression, dtype, nproc):
    filters = {
        "gzip": {"compression": "gzip", "compression_opts": 1},
        "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    }[compression]
    write_nxmx(Path("x.nxs"), photons(SHAPE))
    with h5py.File("x.nxs", "r+") as file:
        del file[DATA]
        data = file.create_dataset(
            DATA,
            data=photons(SHAPE).astype(dtype),
            chunks=(1, *SHAPE),
            **filters,
        )
        chunks = [data.id.get_chunk_info(i) for i in (2, 7)]
    with open("x.nxs", "r+b") as stream:
        for chunk in chunks:
            stream.seek(chunk.byte_offset + chunk.size // 2)
            stream.write(b"\xff" * 1000)

    message = ends("x.nxs", f"nproc={nproc}", "max_unreadable=0.1")
    assert "2 of 12 images cannot be read" in message
    assert "the first of them image 3: " in message and "x.nxs: " in message
    content = run("x.nxs", f"nproc={nproc}", "max_unreadable=0.17")
    assert unreadable(content) == [3, 8]
    assert finds_the_dead_pixel(content)


# --- nothing that could be judged ----------------------------------------------------


def mask_file(tree):
    Path("none.mask").write_bytes(mask_bytes([np.zeros(SHAPE, bool)]))
    tree["imageset"][0]["mask"] = "none.mask"


def rectangle(tree):
    tree["detector"][0]["panels"][0]["mask"] = [[0, 0, SHAPE[1], SHAPE[0]]]


@pytest.mark.parametrize("edit", [mask_file, rectangle])
def test_all_pixels_are_masked(nxmx, edit):
    change("x.expt", edit)

    assert "x.nxs: all pixels are masked already" in ends("x.expt")
    assert "all pixels of x.nxs are masked" in ends("x.expt", run=frames)


def test_all_pixels_are_masked_in_the_image_file(in_tmp_path):
    write_nxmx(Path("x.nxs"), photons(SHAPE), pixel_mask=np.ones(SHAPE, np.uint32))

    assert "all pixels are masked already" in ends("x.nxs")


@pytest.mark.parametrize("limits", [[1e6, 2e6], [-100, -10], [5, -5]])
def test_all_pixels_are_outside_of_the_trusted_range(nxmx, limits):
    change(
        "x.expt",
        lambda tree: tree["detector"][0]["panels"][0].update(trusted_range=limits),
    )

    message = ends("x.expt")
    assert "100.0% of the pixels" in message and "trusted range" in message


def test_all_pixels_are_saturated(in_tmp_path):
    write_nxmx(Path("x.nxs"), photons(SHAPE) + 100, saturation_value=50)

    assert "outside of the trusted range" in ends("x.nxs")


# --- image numbers -------------------------------------------------------------------


@pytest.mark.parametrize(
    "selection,words",
    [
        ("images=0", "image 0 is outside of the scan: x.nxs has images 1 to 12"),
        ("images=3,13", "image 13 is outside"),
        ("images=-1", "image -1 is outside"),
        ("image_range=0,5", "image 0 is outside"),
        ("image_range=10,15", "image 13 is outside"),
        ("image_range=20,30", "image 20 is outside"),
        ("image_range=5,3", "image_range=5,3 is empty"),
        ("image_range=-3,5", "-3 < 0"),
        ("image_range=5", "exactly 2 required"),
        ("stride=0", "0 < 1"),
        ("stride=-2", "-2 < 1"),
        ("max_unreadable=1.5", "maximum allowed value"),
    ],
)
def test_image_numbers_out_of_the_scan(nxmx, selection, words):
    assert words in ends("x.nxs", selection)
    name, _, value = selection.partition("=")
    if name != "images":
        assert words.replace("-3 < 0", "image -3") in ends(
            "x.expt", f"frames.{name}={value}", run=frames
        )


def test_images_of_stills_count_from_one(in_tmp_path):
    series("cbf", width=0)

    assert run("x.expt", "image_range=1,12")["n_images"] == 12
    assert "x_00001.cbf has images 1 to 12" in ends("x.expt", "images=13")


def test_images_of_several_experiments_are_counted_once(in_tmp_path):
    """Of stills in one imageset, and of lattices, every experiment has all images."""
    series("cbf", width=0)
    assert len(ExperimentListFactory.from_json_file("x.expt", False)) == 12

    groups = frames("x.expt")["groups"]
    assert sum(group["n_pixels"] for group in groups) == 12 * SMALL[0] * SMALL[1]


@pytest.mark.parametrize("share, n_groups", [(0.1, 11), (0.05, 0)])
def test_stills_that_cannot_be_read_are_left_out(in_tmp_path, share, n_groups):
    paths = series("cbf", width=0)
    stills = ExperimentListFactory.from_filenames(paths[:1])
    for path in paths[1:]:
        stills.extend(ExperimentListFactory.from_filenames([path]))
    stills.as_file("stills.expt")
    Path(paths[3]).write_bytes(Path(paths[3]).read_bytes()[:-500])

    command = ("stills.expt", f"frames.max_unreadable={share}")
    if n_groups:
        assert len(frames(*command)["groups"]) == n_groups
    else:
        assert paths[3] in ends(*command, run=frames)


def test_sweeps_of_different_ranges(nxmx):
    """The sweep that does not have an image is named."""
    both = ExperimentListFactory.from_json_file("x.expt")
    both.extend(ExperimentListFactory.from_json_file("linked.expt"))
    for experiment, (start, stop) in zip(both, [(0, 6), (4, 12)]):
        experiment.scan = experiment.scan[start:stop]
        experiment.imageset = experiment.imageset[start:stop]
    both.as_file("both.expt")

    assert run("both.expt", "image_range=5,6")["n_images"] == 4
    for program, name in ((run, "image_range"), (frames, "frames.image_range")):
        message = ends("both.expt", f"{name}=5,8", run=program)
        assert "image 7 is outside of the scan: x.nxs has images 1 to 6" in message
        message = ends("both.expt", f"{name}=1,6", run=program)
        assert (
            "image 1 is outside of the scan: linked.nxs has images 5 to 12" in message
        )


def test_stride_larger_than_the_series_takes_one_image(nxmx):
    content = run("x.nxs", "stride=100")

    assert content["n_images"] == 1 and content["pixels"] == []
    assert "too little" in content["verdict"]


# --- masks ---------------------------------------------------------------------------

GOOD = np.ones(SHAPE, bool)


@pytest.mark.parametrize(
    "content,words",
    [
        (mask_bytes([GOOD[:5]]), "1 panel of 5 x 1030 pixels"),
        (mask_bytes([GOOD, GOOD]), "2 panels of 514 x 1030 pixels"),
        (b"", "the file is empty"),
        (b"this is no mask", "it is no pickle, or damaged"),
        (mask_bytes([GOOD])[:-1000], "it is no pickle, or damaged"),
        (gzip.compress(mask_bytes([GOOD])), "compressed with gzip, unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        (pickle.dumps(Harm()), "mkdir, which is no mask"),
        (pickle.dumps((flex.int(flex.grid(SHAPE)),)), "which is no mask"),
        (pickle.dumps({"mask": 3}), "neither flex.bool"),
        (None, "No such file"),
    ],
    ids=[
        *("another size", "another number of panels", "empty", "text", "cut short"),
        *("gzip", "HDF5", "code", "integers", "dictionary", "missing"),
    ],
)
def test_masks_that_are_none(nxmx, content, words):
    if content is not None:
        Path("some.mask").write_bytes(content)
    change("x.expt", lambda tree: tree["imageset"][0].update(mask="some.mask"))

    for message in (
        ends("x.nxs", "previous=some.mask"),
        ends("x.expt"),
        ends("x.expt", run=frames),
    ):
        assert "some.mask: " in message and words in message
    assert not Path(CANARY).exists()


# --- predicted spots -----------------------------------------------------------------


def indexed(edge):
    """Give the crystal of the list a cubic cell of so many A."""
    experiments = ExperimentListFactory.from_json_file("x.expt")
    axes = np.eye(3) * edge
    experiments[0].crystal = Crystal(*axes.tolist(), space_group_symbol="P 1")
    experiments.as_file("x.expt")


@pytest.mark.parametrize("number", [0.0, float("nan")])
def test_crystals_that_cannot_be(nxmx, number):
    indexed(20)
    change("x.expt", lambda tree: tree["crystal"][0].update(real_space_a=[number] * 3))

    message = ends("x.expt")
    assert "x.expt: cannot be read" in message or "cannot be predicted" in message


def test_crystal_whose_spots_would_fill_memory(nxmx, monkeypatch, capsys):
    """Its spots are predicted as far as there is room for them."""
    monkeypatch.setattr(predictions, "MAX_POINTS", 100_000)
    indexed(300)

    content = run("x.expt")

    assert "spots are predicted to 10.4 A alone" in capsys.readouterr().out
    (cost,) = content["touched"]
    assert 0 < cost["n_reflections"] < 100_000


# --- promises, and places to write to ------------------------------------------------


@pytest.mark.parametrize(
    "suffix,before,after",
    [
        ("cbf", b"Fastest-Dimension: 487", b"Fastest-Dimension: 99999999"),
        ("img", b"SIZE1=487", b"SIZE1=99999999"),
    ],
)
def test_image_that_promises_terabytes_is_left_out(
    in_tmp_path, capsys, suffix, before, after
):
    path = Path(series(suffix)[4])
    content = path.read_bytes()
    path.write_bytes(content.replace(before, after))
    assert path.read_bytes() != content

    assert unreadable(run("x.expt", "nproc=2")) == [5]
    assert "which cannot be" in capsys.readouterr().out


def test_detector_that_promises_terabytes(nxmx):
    with h5py.File("x.nxs", "r+") as file:
        module = file["/entry/instrument/detector/module"]
        del module["data_size"]
        module["data_size"] = np.array([2**20, 2**20])
    message = ends("x.nxs")
    assert "1048576 x 1048576 pixels" in message and "cannot be" in message


def test_images_that_promise_terabytes(nxmx):
    with h5py.File("x.nxs", "r+") as file:
        del file[DATA]
        shape, chunks = (N_IMAGES, 2**20, 2**20), (1, 512, 1024)
        file.create_dataset(DATA, shape, "<i4", chunks=chunks, compression="gzip")
    for message in (ends("x.nxs", "nproc=2"), ends("x.expt", run=frames)):
        assert "x.nxs: " in message and "cannot be read" in message


def test_output_folder_is_made(nxmx):
    run(
        "x.nxs",
        "output.directory=new/folder",
        "output.json=../../dials.find_bad_pixels.json",
    )

    assert Path("new/folder/pixels.mask").is_file()


def test_output_folder_that_is_a_file(nxmx):
    assert "output directory x.expt: cannot be written to" in ends(
        "x.nxs", "output.directory=x.expt"
    )


@pytest.mark.parametrize("name", ["mask", "nexus", "table", "json"])
def test_output_file_that_is_a_folder(nxmx, name):
    """All of the output is there or none of it."""
    Path("taken").mkdir()

    assert "taken: cannot be written" in ends("x.nxs", f"output.{name}=taken")
