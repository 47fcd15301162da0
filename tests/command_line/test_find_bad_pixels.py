from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys

import h5py
import numpy as np
import pytest
from nxmx_files import geometry_of, write_nxmx

from dxtbx.model.experiment_list import ExperimentListFactory
from scitbx.array_family import flex

from dials_jungfrau_qc.command_line.find_bad_pixels import run
from dials_jungfrau_qc.io.masks import mask_bytes, read_mask

SHAPE = (514, 1030)
DEAD, HOT, STUCK = (100, 200), (101, 700), (400, 300)
PLANTED = {DEAD: ("dead", 2), HOT: ("hot", 8), STUCK: ("stuck", 2)}
OUTPUT = {
    "pixels.mask",
    "bad_pixels.h5",
    "bad_pixels.dat",
    "dials.find_bad_pixels.log",
    "dials.find_bad_pixels.html",
    "dials.find_bad_pixels.json",
}


def series(n=40, seed=0, shape=SHAPE, faults=True):
    frames = np.random.default_rng(seed).poisson(1.0, (n, *shape)).astype(np.int32)
    if faults:
        frames[:, *DEAD] = 0
        frames[:, *HOT] += np.random.default_rng(1).poisson(20, n).astype(np.int32)
        frames[:, *STUCK] = 777
    return frames


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_nxmx(tmp_path_factory.mktemp("data") / "data.nxs", series())


def results(folder="."):
    from pathlib import Path

    return json.loads((Path(folder) / "dials.find_bad_pixels.json").read_text())


def pixels_of(content):
    return {(p["slow"], p["fast"]): (p["kind"], p["bits"]) for p in content["pixels"]}


@pytest.mark.parametrize("nproc", [1, 2, 16])
def test_everything_is_written(in_tmp_path, data, capsys, nproc):
    run([str(data), f"nproc={nproc}"])

    assert {path.name for path in in_tmp_path.iterdir()} == OUTPUT
    content = results()
    assert content["program"] == "dials.find_bad_pixels"
    assert content["n_images"] == 40
    assert pixels_of(content) == PLANTED
    (panel,) = content["panels"]
    assert panel["size"] == list(SHAPE)
    assert {k: n for k, n in panel["counts"].items() if n} == {
        "dead": 1,
        "hot": 1,
        "stuck": 1,
    }
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("mask:")] == [
        f"mask: {slow} {fast} {PLANTED[slow, fast][1]}" for slow, fast in PLANTED
    ]
    assert "Wrote pixel mask to pixels.mask" in lines
    log = (in_tmp_path / "dials.find_bad_pixels.log").read_text()
    # DIALS itself asks to be cited once a process, before everything else
    assert any(x.startswith("dials_jungfrau_qc ") for x in log.splitlines()[:2])


def test_the_mask_is_a_tuple_of_flex_bool(in_tmp_path, data):
    run([str(data)])

    with open("pixels.mask", "rb") as file:
        mask = pickle.load(file)
    assert isinstance(mask, tuple) and isinstance(mask[0], flex.bool)
    (good,) = read_mask(in_tmp_path / "pixels.mask", [SHAPE])
    assert {tuple(p) for p in np.argwhere(~good).tolist()} == set(PLANTED)
    with h5py.File("bad_pixels.h5") as file:
        bits = file["/entry/instrument/detector/pixel_mask"][()]
    assert {tuple(p): int(bits[tuple(p)]) for p in np.argwhere(bits).tolist()} == {
        place: number for place, (_, number) in PLANTED.items()
    }


def test_existing_mask_can_be_repeated(in_tmp_path, data):
    run([str(data), "output.include_existing=True"])

    (good,) = read_mask(in_tmp_path / "pixels.mask")
    masked = geometry_of().pixel_mask() != 0
    np.testing.assert_array_equal(np.count_nonzero(~good), masked.sum() + 3)


def test_dials_takes_the_mask(in_tmp_path, data):
    """dials.import and dials.apply_mask read it, and it has its effect."""
    from dials.command_line import apply_mask, dials_import

    run([str(data), "output.html=None"])
    dials_import.do_import(
        [str(data), "mask=pixels.mask"], phil=dials_import.phil_scope
    )
    mask = ExperimentListFactory.from_json_file("imported.expt")[0].imageset.get_mask(0)
    assert not mask[0][DEAD] and not mask[0][STUCK] and mask[0][300, 300]
    dials_import.do_import(
        [str(data), "output.experiments=plain.expt"], phil=dials_import.phil_scope
    )
    apply_mask.run(["plain.expt", "input.mask=pixels.mask"])
    mask = ExperimentListFactory.from_json_file("masked.expt")[0].imageset.get_mask(0)
    assert not mask[0][HOT] and mask[0][300, 300]


def test_generate_mask_combines_the_mask_with_its_own(in_tmp_path, data):
    from dials.command_line import dials_import, generate_mask

    if (
        "existing_masks"
        not in inspect.signature(generate_mask.generate_mask).parameters
    ):
        pytest.skip("dials.generate_mask of this DIALS reads no masks")
    run([str(data), "output.html=None"])
    dials_import.do_import([str(data)], phil=dials_import.phil_scope)

    generate_mask.run(
        ["imported.expt", "pixels.mask", "border=3", "output.mask=both.mask"]
    )
    (both,) = read_mask(in_tmp_path / "both.mask", [SHAPE])
    assert not any(both[place] for place in PLANTED)
    assert not both[:3].any() and not both[:, -3:].any()
    assert both[300, 310]

    good = np.ones(SHAPE, bool)
    good[7, 8] = False
    (in_tmp_path / "other.mask").write_bytes(mask_bytes([good]))
    generate_mask.run(["pixels.mask", "other.mask", "output.mask=combined.mask"])
    (combined,) = read_mask(in_tmp_path / "combined.mask", [SHAPE])
    assert {tuple(p) for p in np.argwhere(~combined).tolist()} == {*PLANTED, (7, 8)}


def test_masked_already_is_not_found_again(in_tmp_path, data):
    from dials.command_line import dials_import

    run([str(data), "output.html=None"])
    dials_import.do_import(
        [str(data), "mask=pixels.mask"], phil=dials_import.phil_scope
    )
    run(["imported.expt", "output.html=None", "output.mask=again.mask"])

    assert results()["pixels"] == []
    assert "No bad pixels" in results()["verdict"]


def test_previous_mask(in_tmp_path, data):
    good = np.ones(SHAPE, bool)
    good[DEAD] = good[300, 301] = False
    (in_tmp_path / "old.mask").write_bytes(mask_bytes([good]))

    run([str(data), "previous=old.mask"])

    log = (in_tmp_path / "dials.find_bad_pixels.log").read_text()
    assert "2 new, 1 gone, 1 remaining" in log


def test_several_panels(in_tmp_path, capsys):
    geometry = geometry_of("jungfrau_1m", panel_per_module=True)
    frames = series(shape=geometry.shape, faults=False)
    frames[:, 100, 200] = 0
    frames[:, 514 + 38 + 7, 33] = 0
    write_nxmx(in_tmp_path / "data.nxs", frames, geometry)

    run(["data.nxs"])

    content = results()
    found = [(p["panel"], p["slow"], p["fast"]) for p in content["pixels"]]
    assert found == [(0, 100, 200), (1, 7, 33)]
    out = capsys.readouterr().out
    assert "mask: 0 100 200 2\n" in out and "mask: 1 7 33 2\n" in out
    with h5py.File("bad_pixels.h5") as file:
        assert file["/entry/instrument/detector/pixel_mask"].shape == (2, 514, 1030)


@pytest.mark.parametrize("rule", ["any", "all", "majority"])
def test_several_sweeps(in_tmp_path, rule):
    for i in range(3):
        frames = series(seed=i, faults=False)
        frames[:, *DEAD] = 0
        if i == 1:
            frames[:, *STUCK] = 900
        write_nxmx(in_tmp_path / f"sweep_{i}.nxs", frames)

    run([f"sweep_{i}.nxs" for i in range(3)] + [f"combine={rule}", "output.html=None"])

    content = results()
    sweeps = {
        (p["slow"], p["fast"]): p["evidence"]["n_sweeps"] for p in content["pixels"]
    }
    assert sweeps[DEAD] == 3
    assert sweeps.get(STUCK) == (1 if rule == "any" else None)
    # The three sweeps have 0.5 false alarms together
    assert len(sweeps) <= (4 if rule == "any" else 1)


def test_selection_of_images(in_tmp_path, data):
    run([str(data), "image_range=5,34", "stride=2", "output.html=None"])

    assert results()["n_images"] == 15
    assert "24 images" in results()["sweeps"][0]["skipped"][0]


def test_one_image_flags_nothing(in_tmp_path, data):
    run([str(data), "image_range=3,3"])

    assert results()["pixels"] == []
    assert "too little" in results()["verdict"]


def test_print_values(in_tmp_path, data, capsys):
    run([str(data), "print_values=True", "output.html=None"])

    assert f"mask: {STUCK[0]} {STUCK[1]} 2 : 777 777" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args,message",
    [
        ([], "Usage"),
        (["missing.nxs"], "no such file"),
        (["DATA", "image_range=1,41"], "outside of the scan"),
        (["DATA", "limits.low=2"], "limits"),
        (["DATA", "previous=old.mask"], "1 panel of 3 x 3"),
        (["DATA", "nonsense=3"], "nonsense"),
        (["text.cbf"], "text.cbf"),
        (["broken.expt"], "broken.expt"),
    ],
)
def test_user_errors_are_one_line_and_leave_nothing(in_tmp_path, data, args, message):
    (in_tmp_path / "old.mask").write_bytes(mask_bytes([np.ones((3, 3), bool)]))
    (in_tmp_path / "text.cbf").write_text("this is no image")
    (in_tmp_path / "broken.expt").write_text("{}")
    before = {path.name for path in in_tmp_path.iterdir()}

    with pytest.raises(SystemExit) as end:
        run([str(data) if arg == "DATA" else arg for arg in args])

    assert message in str(end.value)
    after = {path.name for path in in_tmp_path.iterdir()} - before
    assert after <= {"dials.find_bad_pixels.log"}


def test_missing_data_files(in_tmp_path):
    # With the other seed the 36 images left have one pixel that is low by chance
    write_nxmx(in_tmp_path / "data.nxs", series(seed=7), images_per_file=4)
    (in_tmp_path / "data_data_000003.h5").unlink()

    run(["data.nxs", "output.html=None"])
    assert results()["sweeps"][0]["unreadable"] == [9, 10, 11, 12]
    assert "in 36 images" in results()["verdict"]
    assert pixels_of(results()) == PLANTED
    with pytest.raises(SystemExit, match="cannot be read"):
        run(["data.nxs", "max_unreadable=0.05"])


def test_everything_masked(in_tmp_path):
    mask = np.ones(SHAPE, np.uint32)
    write_nxmx(in_tmp_path / "data.nxs", series(12), pixel_mask=mask)

    with pytest.raises(SystemExit, match="all pixels are masked"):
        run(["data.nxs"])


def test_dispersion_equals_the_program_of_dials(in_tmp_path, capsys):
    import dials.command_line.find_bad_pixels as theirs

    write_nxmx(in_tmp_path / "data.nxs", series(6))
    run(["data.nxs", "method=dispersion", "nproc=2"])
    own = [x for x in capsys.readouterr().out.splitlines() if x.startswith("mask")]
    theirs.run(["data.nxs"])
    dials = [x for x in capsys.readouterr().out.splitlines() if x.startswith("mask")]

    assert own == dials
    assert len(own) >= 2


def test_real_module(in_tmp_path, real_data):
    """Twenty images with peaks that stay: certain are pixels that say one thing only."""
    path = real_data / "jungfrau_module" / "module5.nxs"
    run([str(path)])

    with h5py.File(path) as file:
        values = file["entry/data/data"][()].astype(float)
    kinds = pixels_of(results())
    marked = np.argwhere((values == 32678).all(axis=0)).tolist()
    assert len(marked) == 2
    assert all(kinds[tuple(place)][0] == "stuck" for place in marked)
    mean = values.mean(axis=0)
    for (slow, fast), (kind, _) in kinds.items():
        if kind == "dead":
            around = mean[max(slow - 3, 0) : slow + 4, max(fast - 3, 0) : fast + 4]
            assert np.median(around) > 0.8
            assert mean[slow, fast] < 0.15 * np.median(around)
    assert not any(kind in ("noisy", "flickering") for kind, _ in kinds.values())
    # Bad pixels of JUNGFRAUs are about 1000 a megapixel at most
    assert 5 <= len(kinds) <= 500


def test_one_real_image_of_24_panels_flags_nothing(in_tmp_path, real_data):
    run([str(real_data / "image_examples" / "DLS_I23_P12M_thau_00001.cbf.gz")])

    content = results()
    assert content["pixels"] == [] and len(content["panels"]) == 24
    assert len(read_mask(in_tmp_path / "pixels.mask")) == 24


def test_predicted_spots_are_no_faults(in_tmp_path):
    """A narrow spot comes back in each of three turns, just like a flickering pixel."""
    from dxtbx.model import Crystal, Scan

    from dials.array_family import flex as dials_flex

    n = 60
    frames = series(n, faults=False)
    write_nxmx(in_tmp_path / "data.nxs", frames)
    experiments = ExperimentListFactory.from_filenames(["data.nxs"])
    (experiment,) = experiments
    scan = Scan((1, n), (0.0, 18.0))
    experiment.scan = scan
    experiment.imageset.set_scan(scan)
    experiment.crystal = Crystal(
        (15, 3, 0), (-2, 14, 5), (1, -4, 17), space_group_symbol="P 1"
    )
    table = dials_flex.reflection_table.from_predictions(experiment, dmin=1.5)
    fast, slow, z = table["xyzcal.px"].as_double().as_numpy_array().reshape(-1, 3).T
    pixels = np.stack([slow, fast], axis=1).astype(int)
    # The first that is well inside and comes back in all turns
    inside = (pixels > 20).all(axis=1) & (pixels < np.array(SHAPE) - 20).all(axis=1)
    for spot in pixels[inside]:
        when = np.unique(np.floor(z[(pixels == spot).all(axis=1)]).astype(int))
        if len(when) >= 3 and np.ptp(when) >= n // 2:
            break
    else:
        pytest.fail("no spot comes back")
    frames[when, *spot] += 30
    far = next(
        place
        for place in np.random.default_rng(2).integers(20, 490, (1000, 2))
        if np.abs(pixels - place).max(axis=1).min() > 6
    )
    frames[when, *far] += 30
    write_nxmx(in_tmp_path / "data.nxs", frames)
    experiments.as_file("indexed.expt")

    def flickering(*args):
        run([*args, "output.html=None"])
        return {p for p, (kind, _) in pixels_of(results()).items() if kind != "dead"}

    assert flickering("indexed.expt", "nproc=2") == {tuple(far)}
    # What the mask costs is not known from integration
    (cost,) = results()["touched"]
    assert cost["source"] == "predictions" and cost["n_box"] is None
    assert cost["n_spot"] == 0
    assert cost["n_reflections"] == pytest.approx(len(pixels), rel=0.01)
    log = (in_tmp_path / "dials.find_bad_pixels.log").read_text()
    assert "spots predicted from the crystals" in log
    both = {tuple(far), tuple(spot)}
    assert flickering("indexed.expt", "predicted.radius=0") == both
    assert flickering("data.nxs") == both


def test_cost_of_the_mask(in_tmp_path, data):
    from dials.array_family import flex as dials_flex

    table = dials_flex.reflection_table()
    boxes = [(198, 203, 98, 103), (190, 215, 95, 105), (500, 510, 200, 210)]
    table["panel"] = flex.size_t([0, 0, 0])
    table["bbox"] = dials_flex.int6([(*box, 0, 3) for box in boxes])
    table["xyzcal.px"] = flex.vec3_double(
        [((b[0] + b[1]) / 2, (b[2] + b[3]) / 2, 1.5) for b in boxes]
    )
    table.as_file("integrated.refl")

    run([str(data), "integrated.refl"])

    (cost,) = results()["touched"]
    assert (cost["n_reflections"], cost["n_box"], cost["n_spot"]) == (3, 2, 2)
    assert (cost["file"], cost["source"]) == ("integrated.refl", "reflections")
    log = (in_tmp_path / "dials.find_bad_pixels.log").read_text()
    assert "of 3 reflections of the file 2 (66.67 %)" in log


def test_masks_for_other_programs(in_tmp_path, data):
    image_module = pytest.importorskip("PIL.Image")

    run([str(data), "output.crystfel=crystfel.h5", "output.tiff=user_mask.tiff"])

    expected = np.zeros(SHAPE, np.uint32)
    for place, (_, bits) in PLANTED.items():
        expected[place] = bits
    with h5py.File("crystfel.h5") as file:
        np.testing.assert_array_equal(file["mask"][()], expected)
        assert "mask0_file = crystfel.h5\n" in file["mask"].attrs["geometry"]
    with image_module.open("user_mask.tiff") as image:
        np.testing.assert_array_equal(np.array(image), expected)


def test_masks_of_several_panels_have_the_image_of_the_file(in_tmp_path):
    """Two modules with a gap between them, as panels of their own."""
    geometry = geometry_of("jungfrau_1m", panel_per_module=True)
    frames = np.random.default_rng(3).poisson(1.0, (40, *geometry.shape))
    place = (geometry.shape[0] - 100, 300)
    frames[:, *place] = 777
    write_nxmx(in_tmp_path / "data.nxs", frames, geometry)

    run(["data.nxs", "output.crystfel=crystfel.h5", "output.tiff=m.tiff"])

    (pixel,) = results()["pixels"]
    assert pixel["panel"] == 1 and pixel["slow"] < place[0]
    with h5py.File("crystfel.h5") as file:
        mask = file["mask"][()]
    assert mask.shape == geometry.shape
    assert np.argwhere(mask).tolist() == [list(place)]


def test_existing_mask_is_the_user_mask_of_others(in_tmp_path):
    mask = geometry_of().pixel_mask()
    mask[30, 40] = 1
    write_nxmx(in_tmp_path / "data.nxs", series(), pixel_mask=mask)

    for repeat, bits in ((False, 0), (True, 1 << 8)):
        run(["data.nxs", "output.crystfel=c.h5", f"output.include_existing={repeat}"])
        for name in ("c.h5:mask", "bad_pixels.h5:entry/instrument/detector/pixel_mask"):
            path, dataset = name.split(":")
            with h5py.File(path) as file:
                assert file[dataset][30, 40] == bits
                assert file[dataset][STUCK] == 2


def test_help():
    done = subprocess.run(
        [sys.executable, "-m", "dials_jungfrau_qc.command_line.find_bad_pixels", "-h"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "dials.find_bad_pixels [options]" in done.stdout
