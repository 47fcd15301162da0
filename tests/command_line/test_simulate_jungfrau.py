from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dxtbx.model.experiment_list import ExperimentListFactory

from dials_jungfrau_qc.command_line.simulate_jungfrau import run
from dials_jungfrau_qc.simulation.geometry import PRESETS

SMALL = ["detector=module", "n_images=2", "crystal.d_min=3", "transmission=0.127,1.0"]
FILE = "00661_insulin_0.127transmission/insulin_0.127transmission.nxs"


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(path):
    (experiment,) = ExperimentListFactory.from_filenames([str(path)])
    return experiment


def test_files_and_truth(tmp_path):
    run([*SMALL, "seed=5", "output.directory=series"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["series"]
    assert sorted(p.name for p in (tmp_path / "series").iterdir()) == [
        "00661_insulin_0.127transmission",
        "00662_insulin_1.0transmission",
        "dials.simulate_jungfrau.log",
        "truth.json",
    ]
    truth = json.loads((tmp_path / "series/truth.json").read_text())
    assert truth["parameters"]["seed"] == 5
    assert truth["models"]["detector"]["pedestal_error"] == [0, -5, 0]
    for sweep, transmission in zip(truth["sweeps"], (0.127, 1.0)):
        assert sweep["true_transmission"] == transmission
        with h5py.File(tmp_path / "series" / sweep["file"]) as file:
            attenuator = file["entry/instrument/attenuator"]
            assert attenuator.attrs["NX_class"] == "NXattenuator"
            assert attenuator["attenuator_transmission"][()] == transmission
    log = (tmp_path / "series/dials.simulate_jungfrau.log").read_text()
    assert "J = -5.0" in log


@pytest.mark.parametrize("layout", ["single", "master"])
@pytest.mark.parametrize("panels", ["single", "module"])
def test_read_by_dials(tmp_path, layout, panels):
    run(
        [
            "detector=jungfrau_1m",
            "transmission=0.127",
            "n_images=3",
            "oscillation=10,0.3",
            "crystal.d_min=4",
            f"panels={panels}",
            f"file_layout={layout}",
            "images_per_file=2",
            "faults.masked=1",
            "output.directory=series",
        ]
    )
    experiment = load(tmp_path / "series" / FILE)
    format_class = experiment.imageset.get_format_class()
    assert format_class.__name__ == "FormatNXmx"

    assert experiment.scan.get_image_range() == (1, 3)
    assert experiment.scan.get_oscillation() == pytest.approx((10.0, 0.3))
    assert experiment.goniometer.get_rotation_axis() == pytest.approx((1, 0, 0))
    assert experiment.beam.get_wavelength() == pytest.approx(12.39842 / 12.4, rel=1e-6)
    assert experiment.beam.get_unit_s0() == pytest.approx((0, 0, -1))

    preset = PRESETS["jungfrau_1m"]
    detector = experiment.detector
    origins = [0] if panels == "single" else [0, 552]
    assert len(detector) == len(origins)
    for panel, slow in zip(detector, origins):
        x, y = panel.get_beam_centre_px(experiment.beam.get_s0())
        assert (x, y + slow) == pytest.approx(preset.beam_center, abs=0.01)
        assert panel.get_distance() == pytest.approx(preset.distance)
        assert panel.get_pixel_size() == pytest.approx((0.075, 0.075))
        assert panel.get_fast_axis() == pytest.approx((1, 0, 0))
        assert panel.get_slow_axis() == pytest.approx((0, -1, 0))
        low, high = panel.get_trusted_range()
        # As in real files nothing but the gap value, -2^31, is outside.
        assert low in (-(2**31), -(2**31) + 1)
        assert high == 2**31 - 1

    truth = json.loads((tmp_path / "series/truth.json").read_text())
    good = [panel.as_numpy_array() for panel in experiment.imageset.get_mask(0)]
    data = [panel.as_numpy_array() for panel in experiment.imageset.get_raw_data(2)]
    assert [mask.shape for mask in good] == [panel.shape for panel in data]
    for mask, values in zip(good, data):
        assert values[mask].min() >= -1
        assert (values[values == -(2**31)]).size == np.count_nonzero(
            ~mask & (values == -(2**31))
        )
        assert set(np.unique(values[~mask])) >= {-1}
    for pixel in truth["bad_pixels"]:
        assert not good[pixel["panel"]][pixel["slow"], pixel["fast"]]
    n_good = 2 * (514 * 1030 - (4 * 1030 + 12 * 514 - 48)) - len(truth["bad_pixels"])
    assert sum(np.count_nonzero(mask) for mask in good) == n_good


def test_panels_cut_the_same_image(tmp_path):
    for panels in ("single", "module"):
        run(
            [
                *SMALL,
                "detector=jungfrau_1m",
                f"panels={panels}",
                f"output.directory={panels}",
            ]
        )
    (whole,) = load(tmp_path / "single" / FILE).imageset.get_raw_data(1)
    first, second = load(tmp_path / "module" / FILE).imageset.get_raw_data(1)
    whole = whole.as_numpy_array()
    assert np.array_equal(whole[:514], first.as_numpy_array())
    assert np.array_equal(whole[552:], second.as_numpy_array())


@pytest.mark.parametrize(
    "options",
    [
        ["nproc=3"],
        ["compression=off", "nproc=2"],
        ["file_layout=master", "images_per_file=1"],
    ],
)
def test_same_pixel_data(tmp_path, options):
    run([*SMALL, "nproc=1", "output.directory=one"])
    run([*SMALL, *options, "output.directory=other"])
    with h5py.File(tmp_path / "one" / FILE) as one:
        with h5py.File(tmp_path / "other" / FILE) as other:
            assert np.array_equal(one["entry/data/data"], other["entry/data/data"])


def test_bitshuffle(tmp_path):
    pytest.importorskip("hdf5plugin")
    run([*SMALL, "output.directory=one"])
    run([*SMALL, "compression=bitshuffle", "output.directory=other"])
    with h5py.File(tmp_path / "one" / FILE) as one:
        with h5py.File(tmp_path / "other" / FILE) as other:
            data = other["entry/data/data"]
            assert "32008" in data._filters
            assert np.array_equal(one["entry/data/data"], data)


def test_bitshuffle_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(SystemExit, match="hdf5plugin"):
        run([*SMALL, "compression=bitshuffle"])


def test_diamond_format_and_limits(tmp_path):
    run([*SMALL, "diamond=True", "saturation_value=9000", "output.directory=series"])
    experiment = load(tmp_path / "series" / FILE)
    format_class = experiment.imageset.get_format_class()
    assert format_class.__name__ == "FormatNXmxDLS"
    low, high = experiment.detector[0].get_trusted_range()
    assert low in (-1, 0)
    assert high == 9000


def test_lost_images_read_as_no_data(tmp_path):
    run([*SMALL, "n_images=12", "lost_images=0.3", "output.directory=series"])
    truth = json.loads((tmp_path / "series/truth.json").read_text())
    lost = truth["sweeps"][0]["lost_images"]
    assert lost
    with h5py.File(tmp_path / "series" / FILE) as file:
        empty = [bool((image == -(2**31)).all()) for image in file["entry/data/data"]]
    assert [i + 1 for i, is_empty in enumerate(empty) if is_empty] == lost


@pytest.mark.parametrize(
    "options, message",
    [
        (["crystal.unit_cell=78,78,78,90,90,200"], "no cell has the parameters"),
        (["crystal.unit_cell=70,78,78,90,90,90"], "does not have the symmetry"),
        (["crystal.space_group=X"], "no space group"),
        (["transmission=0,1"], "0.0 does not"),
        (["transmission=1.5"], "1.5 does not"),
        (["faults.dead.rate=-0.1"], "rate of dead"),
        (["faults.hot.strength=5,1"], "hot"),
        (["detector=eiger"], "detector"),
        (["compression=zip"], "compression"),
        (["no_such_parameter=1"], "no_such_parameter"),
        (["notch.position=40"], "ceiling"),
        (["attenuator_error=0.1,0.2,0.3"], "one for each"),
        (["n_images=0"], "n_images"),
        (["n_images=2147483648"], "n_images must be at most"),
        (["sample=../up"], "plain name"),
        (["output.directory=/proc/nowhere/series"], "cannot be made"),
    ],
)
def test_bad_input(tmp_path, options, message):
    with pytest.raises(SystemExit, match=message) as e:
        run([*SMALL, *options])
    first, *others = str(e.value).strip().splitlines()
    assert re.search(message, first)
    # PHIL lists the choices below it.
    assert not others or "choices" in others[0]
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_refused_and_overwritten(tmp_path):
    run([*SMALL, "output.directory=series"])
    (tmp_path / "series/mine.txt").write_text("keep")
    before = (tmp_path / "series/truth.json").read_bytes()
    with pytest.raises(SystemExit, match="overwrite=True"):
        run([*SMALL, "seed=9", "output.directory=series"])
    assert (tmp_path / "series/truth.json").read_bytes() == before

    run([*SMALL, "transmission=0.5", "output.directory=series", "overwrite=True"])
    # The sweeps of the earlier run would not belong to the new truth.
    assert sorted(p.name for p in (tmp_path / "series").iterdir()) == [
        "00661_insulin_0.5transmission",
        "dials.simulate_jungfrau.log",
        "mine.txt",
        "truth.json",
    ]


def test_an_empty_folder_is_used(tmp_path):
    (tmp_path / "series").mkdir()
    run([*SMALL, "output.directory=series"])
    assert (tmp_path / "series" / FILE).is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["series"]


def test_no_room_on_the_disk(tmp_path):
    program = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))\n"
        "from dials_jungfrau_qc.command_line.simulate_jungfrau import run\n"
        f"run({[*SMALL, 'n_images=5', 'output.directory=a/series']!r})\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 1
    assert "a/series: cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "edit,message",
    [
        ("underload_value=1e308", "is no value of 32 bits"),
        ("readout.n_sum=1e12", "n_sum"),
        ("nproc=-inf", "infinity"),
        ("crystal.spot_size=2147483648", "spot_size"),
        ("attenuator_error=Auto", "needs a value of its own"),
        ("faults.masked=Auto", "needs a value of its own"),
        ("faults.flickering.share=Auto", "needs a value of its own"),
    ],
)
def test_parameters_that_cannot_be(edit, message):
    with pytest.raises(SystemExit, match=message):
        run([*SMALL, edit])
