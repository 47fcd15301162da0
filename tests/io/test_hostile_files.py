"""Files that promise more than memory, run code, or lead in circles."""

from __future__ import annotations

import gzip
import importlib
import json
import pickle
import shutil
import zlib

import h5py
import numpy as np
import pytest
from expt_files import earlier_list, write_list
from fuzz.corpus import CANARY, Harm, write_hdf5_table
from integrated_files import simulate, write_series
from nxmx_files import geometry_of, write_nxmx
from refl_files import INDEXED, random_boxes, refl_bytes, table_bytes

from dxtbx.model.experiment_list import ExperimentListFactory

from dials_jungfrau_qc.command_line import find_bad_pixels
from dials_jungfrau_qc.io import reflection_file
from dials_jungfrau_qc.io.errors import FrameError, InputError
from dials_jungfrau_qc.io.experiments import load_experiments
from dials_jungfrau_qc.io.frames import open_frames
from dials_jungfrau_qc.io.masks import mask_bytes
from dials_jungfrau_qc.io.nexus_checks import check_nexus
from dials_jungfrau_qc.io.reflection_file import open_reflection_file
from dials_jungfrau_qc.io.sweeps import open_sweeps
from dials_jungfrau_qc.io.transmissions import from_image_file

SHAPE = geometry_of().shape
MASK = "/entry/instrument/detector/pixel_mask"


@pytest.fixture
def sweep(in_tmp_path):
    """An experiment list of two images, and a way to change its content."""
    frames = np.random.default_rng(0).poisson(2.0, (2, *SHAPE)).astype(np.int32)
    write_nxmx(in_tmp_path / "x.nxs", frames)
    # Of a copy: dxtbx may keep the file open, and then nobody can damage it
    copy = shutil.copy(in_tmp_path / "x.nxs", in_tmp_path / "copy.nxs")
    path = in_tmp_path / "x.expt"
    ExperimentListFactory.from_filenames([str(copy)]).as_file(str(path))
    path.write_text(path.read_text().replace("copy.nxs", "x.nxs"))

    def change(edit):
        tree = json.loads(path.read_text())
        edit(tree)
        path.write_text(json.dumps(tree))
        return path

    return change


@pytest.mark.parametrize("key", ["mask", "gain", "pedestal", "dx", "dy"])
def test_pickles_that_an_experiment_list_names_are_not_run(sweep, in_tmp_path, key):
    (in_tmp_path / "harm").write_bytes(pickle.dumps(Harm()))
    path = sweep(lambda tree: tree["imageset"][0].update({key: "harm"}))

    if key == "mask":
        with pytest.raises(InputError, match="mkdir, which is no mask"):
            load_experiments(path, check_format=True)
    else:
        load_experiments(path, check_format=True)

    assert not (in_tmp_path / CANARY).exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_images_in_pickles_are_not_run(sweep, in_tmp_path, protocol, pack):
    (in_tmp_path / "x_01.img").write_bytes(pack(pickle.dumps({"a": Harm()}, protocol)))
    path = sweep(lambda tree: tree["imageset"][0].update(template="x_##.img"))

    with pytest.raises(InputError, match="x_01.img: this is a pickle"):
        load_experiments(path, check_format=True)

    assert not (in_tmp_path / CANARY).exists()


def test_mask_of_an_experiment_list_is_that_of_dxtbx(sweep, in_tmp_path):
    good = np.random.default_rng(1).random(SHAPE) < 0.5
    (in_tmp_path / "pixels.mask").write_bytes(mask_bytes([good]))
    path = sweep(lambda tree: tree["imageset"][0].update(mask="pixels.mask"))

    own = load_experiments(path, check_format=True)[0].imageset
    theirs = ExperimentListFactory.from_json_file(str(path))[0].imageset

    (a,), (b,) = open_frames(own).masks, open_frames(theirs).masks
    assert not a.all() and not (a != good).all()
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "edit,message",
    [
        (lambda t: t["scan"][0].update(image_range=[1, 2**30]), "cannot be"),
        (lambda t: t["scan"][0].update(image_range=[5, 1]), "cannot be"),
        (lambda t: t["scan"][0].update(image_range=None), "image_range"),
        (
            lambda t: t["detector"][0]["panels"][0].update(image_size=[10**6, 10**6]),
            "1000000000000 pixels",
        ),
        (
            lambda t: t["experiment"][0].update(imageset="other.json"),
            "a file of its own",
        ),
        (lambda t: t.update(imageset=[3]), "damaged experiment list"),
    ],
)
def test_experiment_lists_that_cannot_be(sweep, edit, message):
    with pytest.raises(InputError, match=message):
        load_experiments(sweep(edit), check_format=True)


def test_nexus_file_that_promises_terabytes(sweep, in_tmp_path):
    with h5py.File("x.nxs", "r+") as file:
        del file[MASK]
        file.create_dataset(MASK, (2**20, 2**21), "<u4", chunks=(512, 512))

    with pytest.raises(InputError, match="8.8 TB, which cannot be"):
        load_experiments(in_tmp_path / "x.expt", check_format=True)


@pytest.mark.parametrize("name", ["depends_on of itself", "a circle of two"])
def test_axes_that_depend_on_themselves(sweep, in_tmp_path, name):
    omega = "/entry/sample/transformations/omega"
    with h5py.File("x.nxs", "r+") as file:
        other = f"{omega}_increment_set" if "two" in name else omega
        file[omega].attrs["depends_on"] = other
        file[other].attrs["depends_on"] = omega

    with pytest.raises(InputError, match="depends on itself"):
        check_nexus(in_tmp_path / "x.nxs")


def deflate_bomb(n_bytes: int) -> bytes:
    """Zeros without end, packed as HDF5 does."""
    stream = zlib.compressobj(9)
    piece = bytes(1 << 20)
    return b"".join(
        [*(stream.compress(piece) for _ in range(n_bytes >> 20)), stream.flush()]
    )


def test_chunk_of_a_frame_that_unpacks_to_gigabytes(sweep, in_tmp_path):
    bomb = deflate_bomb(1 << 30)
    with h5py.File("x.nxs", "r+") as file:
        file["/entry/data/data"].id.write_direct_chunk((1, 0, 0), bomb)
    (experiment,) = load_experiments(in_tmp_path / "x.expt", check_format=True)
    source = open_frames(experiment.imageset)

    with source.open() as reader:
        reader.read(0)
        with pytest.raises(FrameError, match="a chunk holds more than"):
            reader.read(1)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("rows", [64, 514])
def test_frames_in_several_chunks_and_bombs_in_them(sweep, in_tmp_path, shuffle, rows):
    frames = np.random.default_rng(3).poisson(2.0, (2, *SHAPE)).astype(np.int32)
    with h5py.File("x.nxs", "r+") as file:
        del file["/entry/data/data"]
        data = file.create_dataset(
            "/entry/data/data",
            data=frames,
            chunks=(1, rows, SHAPE[1]),
            compression="gzip",
            shuffle=shuffle,
        )
        data.id.write_direct_chunk((1, 0, 0), deflate_bomb(1 << 29))
    (experiment,) = load_experiments(in_tmp_path / "x.expt", check_format=True)

    with open_frames(experiment.imageset).open() as reader:
        np.testing.assert_array_equal(reader.read(0)[0], frames[0])
        with pytest.raises(FrameError, match="a chunk"):
            reader.read(1)


def test_chunk_of_a_mask_that_unpacks_to_gigabytes(sweep, in_tmp_path):
    with h5py.File("x.nxs", "r+") as file:
        del file[MASK]
        mask = file.create_dataset(
            MASK, SHAPE, "<u4", chunks=SHAPE, compression="gzip", shuffle=True
        )
        mask.id.write_direct_chunk((0, 0), deflate_bomb(1 << 29))

    with pytest.raises(InputError, match="unpacks to"):
        check_nexus(in_tmp_path / "x.nxs")


def test_gzip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(reflection_file, "GZIP_ALLOWANCE", 1 << 22)
    path = tmp_path / "x.refl"
    start = table_bytes(random_boxes(5))
    path.write_bytes(gzip.compress(start + bytes(1 << 26)))

    with pytest.raises(InputError, match="unpack to more than"):
        open_reflection_file(path)


@pytest.mark.parametrize("name", ["flags", "shoebox/shoebox_data", "shoebox/bbox"])
def test_hdf5_table_that_promises_terabytes(tmp_path, name):
    path = tmp_path / "x.refl"
    write_hdf5_table(path, random_boxes(5))
    with h5py.File(path, "r+") as file:
        table = file["dials/processing/group_0"]
        for key in ("flags", "id", "panel", "bbox") if name == "flags" else (name,):
            shape = (2**40, *table[key].shape[1:])
            dtype = table[key].dtype
            del table[key]
            table.create_dataset(key, shape, dtype, chunks=True)

    with pytest.raises(InputError, match="TB, which cannot be"):
        table = open_reflection_file(path)
        table.read("flags")
        list(table.iter_shoeboxes(np.arange(5)))


@pytest.mark.parametrize(
    "name,kind,blob",
    [
        ("flags", "double", np.full(3, float(INDEXED))),
        ("id", "std::size_t", None),
        ("bbox", "vec2<double>", np.zeros(6)),
        ("xyzobs.px.value", "int", np.zeros(3, "<i4")),
    ],
)
def test_columns_of_another_type(tmp_path, name, kind, blob):
    path = tmp_path / "x.refl"
    ok = blob is None
    path.write_bytes(refl_bytes({name: (kind, np.zeros(3, "<u8") if ok else blob)}, 3))
    table = open_reflection_file(path)

    if ok:
        assert len(table.read(name)) == 3
    else:
        with pytest.raises(InputError, match=f"column '{name}' holds"):
            table.read(name)


def test_hdf5_table_whose_index_of_chunks_is_damaged(tmp_path):
    path = tmp_path / "x.refl"
    write_hdf5_table(path, random_boxes(5))
    head, _, tail = path.read_bytes().rpartition(b"TREE")
    path.write_bytes(head + b"TREX" + tail)

    with pytest.raises(InputError, match="damaged"):
        list(open_reflection_file(path).iter_shoeboxes(np.arange(5)))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_among_images_are_not_run(in_tmp_path, protocol):
    path = in_tmp_path / "x_01.img"
    path.write_bytes(pickle.dumps({"a": Harm()}, protocol))

    with pytest.raises(InputError, match="x_01.img: this is a pickle"):
        open_sweeps([path], [])

    assert not (in_tmp_path / CANARY).exists()


def test_images_without_a_list_are_looked_at_first(sweep, in_tmp_path):
    """A mask of terabytes, and one whose chunk unpacks to gigabytes."""
    path = in_tmp_path / "x.nxs"
    for edit, message in (
        (lambda f: f.create_dataset(MASK, (2**20, 2**21), "<u4", chunks=(9, 9)), "TB"),
        (packed_mask, "unpacks to"),
    ):
        with h5py.File(path, "r+") as file:
            del file[MASK]
            edit(file)
        with pytest.raises(InputError, match=message):
            open_sweeps([path], [])


def packed_mask(file):
    mask = file.create_dataset(MASK, SHAPE, "<u4", chunks=SHAPE, compression="gzip")
    mask.id.write_direct_chunk((0, 0), deflate_bomb(1 << 29))


ATTENUATOR = "/entry/instrument/attenuator/attenuator_transmission"


@pytest.mark.parametrize("chunks", [(1 << 10,), (1 << 26,)])
def test_transmissions_of_terabytes_are_not_read(tmp_path, chunks):
    path = tmp_path / "x.nxs"
    with h5py.File(path, "w") as file:
        file.create_dataset(ATTENUATOR, (2**40,), "f8", chunks=chunks, fillvalue=0.25)

    # The first of many small chunks is as good as that of a file of the right size
    assert from_image_file(str(path)) == (0.25 if chunks[0] < 1 << 20 else None)


def test_transmission_in_a_chunk_that_unpacks_to_gigabytes(tmp_path):
    path = tmp_path / "x.nxs"
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            ATTENUATOR, (64,), "f8", chunks=(64,), compression="gzip"
        )
        data.id.write_direct_chunk((0,), deflate_bomb(1 << 29))

    assert from_image_file(str(path)) is None


# --- whole programs ----------------------------------------------------------------


def refused(program, *arguments):
    """The message with which a program ends."""
    module = importlib.import_module(f"dials_jungfrau_qc.command_line.{program}")
    with pytest.raises(SystemExit) as stop:
        module.run(list(arguments))
    assert "\n" not in str(stop.value.code)
    return str(stop.value.code)


def write_gzip_bomb(path):
    path.write_bytes(gzip.compress(table_bytes(random_boxes(5)) + bytes(1 << 26)))


def write_promises(path):
    write_hdf5_table(path, random_boxes(5))
    with h5py.File(path, "r+") as file:
        table = file["dials/processing/group_0"]
        table["xyzcal.px"] = np.zeros((5, 3))
        for key in ("flags", "id", "panel", "bbox", "xyzcal.px"):
            shape, dtype = (2**40, *table[key].shape[1:]), table[key].dtype
            del table[key]
            table.create_dataset(key, shape, dtype, chunks=True)


def write_harm(path):
    path.write_bytes(pickle.dumps(Harm(), 2))


@pytest.mark.parametrize(
    "write,words",
    [
        (write_gzip_bomb, "unpack to more than"),
        (write_promises, "TB, which cannot be"),
        (write_harm, "pickle"),
    ],
    ids=["gzip bomb", "terabytes", "pickle"],
)
@pytest.mark.parametrize(
    "program", ["pixel_histogram", "transmission_linearity", "find_bad_pixels"]
)
def test_programs_refuse_hostile_reflections(
    sweep, in_tmp_path, monkeypatch, program, write, words
):
    monkeypatch.setattr(reflection_file, "GZIP_ALLOWANCE", 1 << 22)
    files = ["hostile.refl"]
    if program == "transmission_linearity":
        files += write_series(in_tmp_path, simulate(n=100), apart=True)[1:2]
        files += ["sweep1.refl", "sweep1.expt"]
    elif program == "find_bad_pixels":
        files.append("x.nxs")
    write(in_tmp_path / "hostile.refl")
    before = {path.name for path in in_tmp_path.iterdir()}

    message = refused(program, *files)

    assert words in message and "hostile.refl" in message
    left = {path.name for path in in_tmp_path.iterdir()} - before
    assert left <= {f"dials.{program}.log"}


@pytest.mark.parametrize("panel", [1, 2**63, 2**64 - 1])
def test_panels_that_no_detector_has(in_tmp_path, panel):
    """The largest numbers are negative to whoever takes them for signed ones."""
    expt = write_list(in_tmp_path / "x.expt", earlier_list())
    boxes = random_boxes(3)
    (in_tmp_path / "x.refl").write_bytes(table_bytes(boxes, panels=[0, panel, 0]))

    message = refused("pixel_histogram", "x.refl", expt.name)

    assert f"reflections lie on panel {panel}, which the detector" in message


@pytest.mark.parametrize("program", ["pixel_histogram", "find_bad_pixels"])
def test_programs_refuse_images_that_promise_terabytes(sweep, in_tmp_path, program):
    with h5py.File("x.nxs", "r+") as file:
        del file[MASK]
        file.create_dataset(MASK, (2**20, 2**21), "<u4", chunks=(512, 512))

    frames = ["pixels=frames"] if program == "pixel_histogram" else []
    assert "8.8 TB, which cannot be" in refused(program, "x.expt", *frames)


def test_images_that_unpack_without_end_are_left_out(in_tmp_path):
    """By the search for bad pixels, which says so."""
    frames = np.random.default_rng(0).poisson(2.0, (24, *SHAPE)).astype(np.int32)
    write_nxmx(in_tmp_path / "x.nxs", frames)
    with h5py.File("x.nxs", "r+") as file:
        bomb = deflate_bomb(1 << 29)
        file["/entry/data/data"].id.write_direct_chunk((7, 0, 0), bomb)

    find_bad_pixels.run(["x.nxs"])

    content = json.loads((in_tmp_path / "dials.find_bad_pixels.json").read_text())
    assert content["sweeps"][0]["unreadable"] == [8]
    assert content["pixels"] == []
