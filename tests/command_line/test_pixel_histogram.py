from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refl_files import (
    INDEXED,
    INTEGRATED_SUM,
    STRONG,
    dials_table,
    random_boxes,
    refl_bytes,
    table_bytes,
    write_table,
)

from dials_jungfrau_qc.command_line.pixel_histogram import run


def tutorial_script(table) -> str:
    """What the script of the DIALS tutorial writes for a table's indexed reflections."""
    from dials.array_family import flex

    table = table.select(table.get_flags(table.flags.indexed))
    total = flex.histogram(flex.double(), data_min=0, data_max=12000, n_slots=12000)
    for shoebox in table["shoebox"]:
        values = shoebox.data.as_double().as_1d()
        total.update(flex.histogram(values, data_min=0, data_max=12000, n_slots=12000))
    return "".join(f"{c} {n}\n" for c, n in zip(total.slot_centers(), total.slots()))


def read_json(folder: Path = Path()) -> dict:
    return json.loads((folder / "dials.pixel_histogram.json").read_text())


def outputs(folder: Path = Path()) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".refl"}


@pytest.fixture
def fails(capsys):
    """Run with arguments that must end in one clear message and leave no output."""

    def check(args, message, folder=Path()):
        before = outputs(folder)
        with pytest.raises(SystemExit) as stop:
            run([str(arg) for arg in args])
        assert isinstance(stop.value.code, str), "the exit status would be 0"
        assert message in stop.value.code
        assert "Traceback" not in stop.value.code
        assert "report this error" not in stop.value.code
        assert outputs(folder) - before <= {"dials.pixel_histogram.log"}

    return check


@pytest.mark.parametrize("name", ["ssx_CuNiR_test_data", "quartz_processed"])
def test_real_data_equal_the_tutorials_script(in_tmp_path, real_data, name):
    from dials.array_family import flex

    path = real_data / name / "indexed.refl"
    run([str(path), "group_by=none", "pixels=all"])
    table = flex.reflection_table.from_file(str(path))
    assert Path("indexed.hist").read_text() == tutorial_script(table)


@pytest.mark.parametrize("mean", [40.0, 6000.0])
def test_small_table_equals_the_tutorials_script(in_tmp_path, mean):
    write_table(Path("indexed.refl"), n=120, mean=mean)
    run(["indexed.refl", "group_by=none", "pixels=all"])
    expected = tutorial_script(dials_table(n=120, mean=mean))
    assert Path("indexed.hist").read_text() == expected


@pytest.mark.parametrize("n_experiments", [3, 12])
def test_each_group_equals_the_script_on_what_split_experiments_splits_off(
    in_tmp_path, n_experiments
):
    from dxtbx.model import Beam, Crystal, Detector, Experiment, ExperimentList

    from dials.array_family import flex
    from dials.command_line import split_experiments

    write_table(Path("indexed.refl"), n=150, n_experiments=n_experiments)
    experiments = ExperimentList()
    for i in range(n_experiments):
        crystal = Crystal((1, 0, 0), (0, 1, 0), (0, 0, 1), "P1")
        experiments.append(
            Experiment(
                beam=Beam((0, 0, -1), 1.0),
                detector=Detector(),
                crystal=crystal,
                identifier=f"experiment-{i}",
            )
        )
    experiments.as_file("indexed.expt")
    if hasattr(split_experiments, "Script"):
        split_experiments.Script().run(["indexed.expt", "indexed.refl"])
    else:
        split_experiments.run(["indexed.expt", "indexed.refl"])
    split = sorted(Path().glob("split_*.refl"))
    assert len(split) == n_experiments
    run(["indexed.refl", "pixels=all", "output.directory=whole"])
    run([*map(str, split), "pixels=all", "output.directory=parts"])
    for path in split:
        number = path.stem.removeprefix("split_")
        expected = tutorial_script(flex.reflection_table.from_file(str(path)))
        assert Path(f"whole/indexed_{number}.hist").read_text() == expected
        assert Path(f"parts/split_{number}.hist").read_text() == expected


def test_foreground_is_what_the_mask_says(in_tmp_path):
    boxes = random_boxes(50)
    Path("strong.refl").write_bytes(table_bytes(boxes))
    for pixels, bit in (("foreground", 4), ("valid", 1), ("all", None)):
        run(["strong.refl", f"pixels={pixels}", f"output.directory={pixels}"])
        values = np.concatenate(
            [d.ravel() if bit is None else d[m & bit != 0] for d, m in boxes]
        )
        (group,) = read_json(Path(pixels))["groups"]
        assert group["n_pixels"] == len(values)
        assert group["n_zero"] == np.count_nonzero(values == 0)
        assert group["mean"] == pytest.approx(values.astype(float).mean())
        assert group["median"] == np.median(values)
        assert group["p99_9"] == pytest.approx(
            np.percentile(values.astype(float), 99.9)
        )
        assert group["maximum"] == values.max()
        assert sum(group["histogram"]["counts"]) == len(values)


def test_nothing_is_dropped_silently(in_tmp_path, capsys):
    values = np.array([-5, 0, 7, 12000, 13000, np.nan, np.inf, -1e9], "f4")
    boxes = [(values.reshape(1, 2, 4), np.full((1, 2, 4), 5))]
    Path("strong.refl").write_bytes(table_bytes(boxes))
    run(["strong.refl"])
    (group,) = read_json()["groups"]
    assert (group["n_below"], group["n_above"], group["n_not_finite"]) == (2, 1, 2)
    assert group["n_pixels"] == 8
    assert sum(group["histogram"]["counts"]) == 3
    assert group["histogram"]["counts"][-1] == 1
    assert "2 pixels are negative" in capsys.readouterr().out


def test_groups_by_panel(in_tmp_path):
    write_table(Path("strong.refl"), n=200, n_experiments=2, n_panels=3)
    run(["strong.refl", "group_by=panel", "reflections=all"])
    groups = read_json()["groups"]
    assert [(g["id"], g["panel"]) for g in groups] == [
        (i, p) for i in (0, 1) for p in (0, 1, 2)
    ]
    assert {g["hist_file"] for g in groups} <= outputs()
    assert "strong_1_panel2.hist" in outputs()
    assert "strong_intensity_1_panel2.hist" in outputs()
    run(["strong.refl", "group_by=none", "reflections=all", "output.directory=whole"])
    (whole,) = read_json(Path("whole"))["groups"]
    assert whole["n_pixels"] == sum(g["n_pixels"] for g in groups)
    total = np.sum([g["histogram"]["counts"] for g in groups], axis=0)
    assert whole["histogram"]["counts"] == total.tolist()


def test_which_reflections(in_tmp_path, capsys):
    flags = [INDEXED | STRONG] * 5 + [STRONG] * 3 + [INTEGRATED_SUM] * 2 + [0]
    ids = [0] * 10 + [-1]
    boxes = random_boxes(11)
    Path("some.refl").write_bytes(table_bytes(boxes, flags=flags, ids=ids))
    for choice, expected in {
        "Auto": 5,
        "indexed": 5,
        "strong": 8,
        "integrated": 2,
        "all": 10,
    }.items():
        run(["some.refl", f"reflections={choice}", f"output.directory=of_{choice}"])
        (group,) = read_json(Path(f"of_{choice}"))["groups"]
        assert group["n_reflections"] == expected
        kind = "indexed" if choice == "Auto" else choice
        assert group["reflections"] == kind
    assert "1 more belong to no experiment (id -1)" in capsys.readouterr().out


def test_intensities_of_a_table_that_has_no_sums(in_tmp_path):
    boxes = random_boxes(30, mean=500)
    Path("strong.refl").write_bytes(table_bytes(boxes))
    run(["strong.refl", "intensity.bins_per_decade=5"])
    (group,) = read_json()["groups"]
    assert "foreground minus background" in group["intensity"]["quantity"]
    expected = np.array([((d - 0.5) * (m & 4 != 0)).sum() for d, m in boxes])
    edges = np.array(group["intensity"]["edges"])
    assert group["intensity"]["counts"] == np.histogram(expected, edges)[0].tolist()
    assert group["intensity"]["n_not_positive"] == np.count_nonzero(expected <= 0)
    assert np.loadtxt("strong_intensity.hist")[:, 1].sum() == np.sum(expected > 0)


def test_integrated_reflections_without_shoeboxes(in_tmp_path, real_data, capsys):
    run([str(real_data / "quartz_processed" / "integrated.refl")])
    (group,) = read_json()["groups"]
    assert group["hist_file"] is None and group["n_pixels"] is None
    assert group["n_reflections"] == 1653
    assert group["intensity"]["quantity"] == "summation intensity from integration"
    assert "integrated_intensity.hist" in outputs()
    assert "integrated.hist" not in outputs()
    assert "no shoeboxes" in capsys.readouterr().out


def test_experiments_add_trusted_range_and_resolution(in_tmp_path, real_data):
    folder = real_data / "ssx_CuNiR_test_data"
    run([str(folder / "indexed.refl"), str(folder / "indexed.expt")])
    for group in read_json()["groups"]:
        assert group["trusted_range"]["n_pixels_untrusted"] == 0
        assert group["resolution"]["d_max"] > group["resolution"]["d_min"] > 1.5
        assert "merlin0047" in group["label"]


@pytest.mark.parametrize("inclusive", [True, False])
def test_trusted_range_by_the_rule_of_the_dials_that_runs(
    in_tmp_path, monkeypatch, inclusive
):
    from dials_jungfrau_qc.io import spot_pixels
    from dials_jungfrau_qc.io.pixel_values import TrustedLimits, read_pixel_values
    from dials_jungfrau_qc.io.reflection_file import open_reflection_file

    values = np.array([[[0, 1, 5, 10, 11]], [[3, 3, 3, 3, 10]]], "f4")
    boxes = [(v[None], np.full((1, 1, 5), 5)) for v in values]
    Path("strong.refl").write_bytes(table_bytes(boxes))
    table = open_reflection_file(Path("strong.refl"))
    limits = TrustedLimits(np.zeros(2), np.full(2, 10.0), inclusive)
    assert spot_pixels.trusted_range_is_inclusive() in (True, False)
    found = read_pixel_values(table, np.arange(2), np.array([0, 1]), 2, trusted=limits)
    assert found.n_at_maximum.tolist() == [1, 1]
    assert found.n_untrusted.tolist() == ([1, 0] if inclusive else [3, 1])
    assert found.untrusted.tolist() == ([True, False] if inclusive else [True, True])


def test_output_goes_where_it_is_told(in_tmp_path):
    write_table(Path("a.refl"), n=20)
    run(["a.refl", "output.directory=deep/down", "output.html=None", "output.json=j"])
    assert outputs(Path("deep/down")) == {
        "a.hist",
        "a_intensity.hist",
        "dials.pixel_histogram.log",
        "j",
    }
    content = json.loads(Path("deep/down/j").read_text())
    assert content["input"] == ["../../a.refl"]
    assert content["program"] == "dials.pixel_histogram"
    assert content["schema"] == 1
    assert content["dials_version"].startswith("DIALS")
    assert content["parameters"]["histogram.n_bins"] == 12000
    assert content["verdict"]


def test_every_file_of_the_json_is_there(in_tmp_path):
    write_table(Path("a.refl"), n=40, n_experiments=2)
    write_table(Path("b.refl"), n=40, seed=1)
    run(["a.refl", "b.refl"])
    names = [
        g[key]
        for g in read_json()["groups"]
        for key in ("hist_file", "intensity_hist_file")
    ]
    assert names == [
        "a_0.hist",
        "a_intensity_0.hist",
        "a_1.hist",
        "a_intensity_1.hist",
        "b.hist",
        "b_intensity.hist",
    ]
    assert set(names) <= outputs()


def test_files_of_the_other_version_are_read(in_tmp_path):
    boxes = random_boxes(40)
    for version in (1, 2):
        Path("x.refl").write_bytes(table_bytes(boxes, version=version))
        run(["x.refl", f"output.directory=v{version}"])
    assert Path("v1/x.hist").read_text() == Path("v2/x.hist").read_text()


def test_phil_file_and_options(in_tmp_path, capsys):
    write_table(Path("a.refl"), n=20)
    Path("mine.phil").write_text("histogram { maximum = 100\n n_bins = 50 }\n")
    run(["mine.phil", "a.refl", "-v"])
    (group,) = read_json()["groups"]
    assert len(group["histogram"]["counts"]) == 50
    for options in (["-h"], ["-c"], ["-c", "-e", "2", "-a", "2"]):
        with pytest.raises(SystemExit) as stop:
            run(options)
        assert not stop.value.code
    assert "n_bins = 12000" in capsys.readouterr().out


def test_silent_where_standard_error_is_no_terminal(in_tmp_path, capsys):
    write_table(Path("a.refl"), n=20)
    run(["a.refl"])
    assert capsys.readouterr().err == ""


# Bad input, line by line


def test_no_file_at_all(in_tmp_path, fails):
    fails([], "Give at least one reflection file")


def test_missing_file(in_tmp_path, fails):
    fails(["nowhere.refl"], "nowhere.refl: no such file")


def test_empty_file(in_tmp_path, fails):
    Path("a.refl").touch()
    fails(["a.refl"], "empty")


def test_foreign_file(in_tmp_path, fails):
    Path("a.refl").write_text("not reflections\n")
    fails(["a.refl"], "not a DIALS reflection table")


def test_folder(in_tmp_path, fails):
    Path("a.refl").mkdir()
    fails(["a.refl"], "folder")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file(in_tmp_path, fails, share):
    content = table_bytes(random_boxes(20))
    Path("a.refl").write_bytes(content[: int(len(content) * share)])
    fails(["a.refl"], "truncated")


def test_no_shoeboxes(in_tmp_path, fails):
    table = dials_table(n=10)
    del table["shoebox"]
    table.as_file("a.refl")
    fails(["a.refl"], "dials.find_spots writes them")


def test_shoeboxes_without_pixels(in_tmp_path, fails):
    table = dials_table(n=10)
    for shoebox in table["shoebox"]:
        shoebox.deallocate()
    table.as_file("a.refl")
    fails(["a.refl"], "the shoeboxes hold no pixels")


def test_no_reflection_with_the_flag(in_tmp_path, fails):
    write_table(Path("a.refl"), n=10, indexed=0)
    fails(["a.refl", "reflections=indexed"], "0 indexed, 10 strong, 0 integrated_sum")


def test_empty_table(in_tmp_path, fails):
    Path("a.refl").write_bytes(table_bytes([]))
    fails(["a.refl"], "0 reflections")


def test_more_experiments_than_the_list_has(in_tmp_path, fails, real_data):
    folder = real_data / "ssx_CuNiR_test_data"
    fails(
        [folder / "indexed.refl", real_data / "quartz_processed" / "indexed.expt"],
        "5 experiments",
    )


def test_experiments_of_something_else(in_tmp_path, fails, real_data):
    folder = real_data / "quartz_processed"
    expt = real_data / "ssx_CuNiR_test_data" / "indexed.expt"
    fails([folder / "indexed.refl", expt], "do not belong together")


@pytest.mark.parametrize("content", ["", "{}", "[1, 2", '{"__id__": "nonsense"}'])
def test_bad_experiment_list(in_tmp_path, fails, content):
    write_table(Path("a.refl"), n=10)
    Path("a.expt").write_text(content)
    fails(["a.refl", "a.expt"], "a.expt: ")


@pytest.mark.parametrize(
    "parameter",
    [
        "histogram.n_bins=0",
        "histogram.n_bins=many",
        "histogram.maximum=-1",
        "histogram.minimum=12000",
        "histogram.maximum=nan",
        "intensity.maximum=0",
        "pixels=some",
        "no.such.parameter=1",
        "group_by",
    ],
)
def test_parameters_that_make_no_sense(in_tmp_path, fails, parameter):
    write_table(Path("a.refl"), n=10)
    fails(["a.refl", parameter], "")


def test_output_directory_that_cannot_be_written(in_tmp_path, fails):
    write_table(Path("a.refl"), n=10)
    Path("file").touch()
    fails(["a.refl", "output.directory=file/deeper"], "output directory file/deeper")


def test_output_that_cannot_be_written_leaves_nothing(in_tmp_path, fails):
    write_table(Path("a.refl"), n=10)
    fails(["a.refl", "output.html=nowhere/x.html"], "nowhere/x.html: cannot be written")


def test_two_inputs_of_one_stem(in_tmp_path, fails):
    for folder in ("one", "two"):
        Path(folder).mkdir()
        write_table(Path(folder) / "indexed.refl", n=10)
    fails(["one/indexed.refl", "two/indexed.refl"], "output.directory")


def test_two_groups_of_one_name(in_tmp_path, fails):
    write_table(Path("a.refl"), n=30, n_experiments=2)
    write_table(Path("a_0.refl"), n=10)
    fails(["a.refl", "a_0.refl"], "a_0.hist")


class Trap:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_in_disguise(in_tmp_path, fails):
    Path("a.refl").write_bytes(pickle.dumps(Trap(Path("sprung"))))
    fails(["a.refl"], "input.allow_pickle=True")
    assert not Path("sprung").exists()


def test_a_pickle_that_is_allowed(in_tmp_path):
    dials_table(n=10).as_pickle("a.refl")
    run(["a.refl", "input.allow_pickle=True"])
    assert read_json()["groups"][0]["n_reflections"]


def test_header_that_promises_too_much(in_tmp_path, fails):
    columns = {
        "id": ("int", np.zeros(4, "<i4")),
        "shoebox": ("Shoebox<>", b"\0" * 40),
    }
    Path("a.refl").write_bytes(refl_bytes(columns, 1 << 40))
    fails(["a.refl", "reflections=all"], "damaged")


def test_installed_script(in_tmp_path):
    script = shutil.which("dials.pixel_histogram") or (
        Path(sys.executable).parent / "dials.pixel_histogram"
    )
    if not Path(script).exists():
        pytest.skip("the package is not installed")
    write_table(Path("a.refl"), n=20)
    done = subprocess.run([str(script), "a.refl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "a.hist" in outputs()
    Path("b.refl").write_text("nonsense")
    done = subprocess.run([str(script), "b.refl"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "b.refl: this is not a DIALS reflection table\n"
