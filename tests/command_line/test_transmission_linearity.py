from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from integrated_files import SUM_ONLY, simulate, table, write_series

from dxtbx.model.experiment_list import ExperimentList

from dials.array_family import flex
from dials_jungfrau_qc.command_line import transmission_linearity
from dials_jungfrau_qc.io.output import OutputFiles

FLUX = "attenuator or flux of a sweep"
FOURFOLD = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])


def run(*args: str) -> dict:
    transmission_linearity.run([*args])
    return json.loads(Path("dials.transmission_linearity.json").read_text())


def refused(*args: str) -> str:
    """The line that a run ends with, which must leave nothing but its log."""
    before = {path.name for path in Path(".").iterdir()}
    with pytest.raises(SystemExit) as e:
        transmission_linearity.run([*args])
    message = str(e.value)
    assert message and "\n" not in message.strip()
    new = {path.name for path in Path(".").iterdir()} - before
    assert new <= {"dials.transmission_linearity.log"}
    return message


@pytest.fixture(scope="module")
def null():
    return simulate(seed=3, spots={"scale": 6000.0})


def test_a_perfect_detector_is_linear(in_tmp_path, null, capsys):
    files = write_series(in_tmp_path, null)

    result = run(*files)

    assert result["program"] == "dials.transmission_linearity"
    assert result["reference"] == 2
    assert result["linearity"]["linear"] is True
    assert result["linearity"]["causes"] == result["linearity"]["cannot_tell"] == []
    assert result["linearity"]["bound"] < 0.1
    for sweep, truth in zip(result["sweeps"], null.beam):
        for name in ("ratio", "york_ratio", "median_ratio"):
            assert sweep[name] == pytest.approx(truth, rel=0.02)
        assert abs(sweep["ratio"] - truth) <= 4 * sweep["ratio_error"]
        assert abs(sweep["relative_beam"] - truth) <= 4 * sweep["relative_beam_error"]
        assert sweep["transmission_source"] == "beam model"
    out = capsys.readouterr().out
    assert "The detector is linear within" in out
    page = Path("dials.transmission_linearity.html").read_text()
    assert "residual_intensity" in page and "http://" not in page.split("<script>")[0]


def test_files_for_gnuplot(in_tmp_path, null):
    result = run(*write_series(in_tmp_path, null, [0.1, 0.32, 1.0]))

    for k in (0, 1):
        pairs = np.loadtxt(f"pair{k}.dat")
        assert len(pairs) == result["sweeps"][k]["n_mean_of_ratios"]
        assert (pairs[:, 1] / pairs[:, 0]).mean() == pytest.approx(
            result["sweeps"][k]["mean_of_ratios"], rel=1e-4
        )
        matched = np.loadtxt(f"matched{k}.dat")
        assert len(matched) == result["sweeps"][k]["n_matched"]
    assert not Path("pair2.dat").exists()


def test_mean_of_ratios_is_that_of_the_script(in_tmp_path, null):
    result = run(*write_series(in_tmp_path, null))

    data = flex.reflection_table.from_file("integrated.refl")
    data = data.select(data.get_flags(data.flags.integrated))
    significance = data["intensity.prf.value"] / flex.sqrt(
        data["intensity.prf.variance"]
    )
    data = data.select(significance > 3)
    reference = data.select(data["id"] == 2)
    for k in (0, 1):
        sweep = data.select(data["id"] == k)
        own, matched, _ = sweep.match(reference)
        own, matched = (flex.size_t([int(i) for i in x]) for x in (own, matched))
        ratio = flex.mean(
            sweep["intensity.prf.value"].select(own)
            / reference["intensity.prf.value"].select(matched)
        )
        assert result["sweeps"][k]["mean_of_ratios"] == pytest.approx(ratio, rel=1e-12)


@pytest.mark.parametrize("apart", [False, True])
def test_sweeps_indexed_apart_are_reindexed(in_tmp_path, null, apart):
    settings = [FOURFOLD, np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), None]
    files = write_series(in_tmp_path, null, settings=settings, apart=apart)

    result = run(*files)

    assert [sweep["reindexed"] for sweep in result["sweeps"]] == [True, True, False]
    assert result["sweeps"][0]["setting"] == "k,-h,l"
    assert result["sweeps"][0]["n_matched"] > 1450
    assert result["sweeps"][0]["ratio"] == pytest.approx(0.1, rel=0.01)


def test_a_low_reference_is_named(in_tmp_path):
    simulated = simulate(
        seed=5, n=4000, transmissions=(0.1, 0.2, 0.5, 1.0), reference_scale=0.92
    )

    result = run(*write_series(in_tmp_path, simulated))

    assert result["linearity"]["causes"] == [FLUX]
    assert result["linearity"]["linear"] is True
    assert result["linearity"]["sweeps_off"] == [3]
    assert "sweep 3: -8" in result["verdict"]


def test_a_gain_error_is_named(in_tmp_path):
    simulated = simulate(seed=6, n=4000, detector={"gain_error": (0, -0.05, 0)})

    result = run(*write_series(in_tmp_path, simulated))

    assert result["linearity"]["causes"] == ["gain-stage gain"]
    assert result["linearity"]["linear"] is False
    term = result["model"]["g1_gain"]
    assert term["supported"] and abs(term["value"] + 0.05) < 4 * term["error"] < 0.03


def test_two_sweeps_cannot_tell_decay_from_flux(in_tmp_path):
    simulated = simulate(
        seed=9,
        n=600,
        transmissions=(0.5, 1.0),
        spots={"scale": 700.0},
        reference_scale=0.93,
    )

    result = run(*write_series(in_tmp_path, simulated))

    assert [FLUX, "uniform decay"] in result["linearity"]["cannot_tell"]
    assert result["linearity"]["causes"] == []
    assert result["linearity"]["linear"] is True


def test_transmission_on_the_command_line(in_tmp_path, null):
    files = write_series(in_tmp_path, null, [None, None, None])

    result = run(*files, "transmission=0.1,0.32,1")
    assert {s["transmission_source"] for s in result["sweeps"]} == {"command line"}
    result = run(*files, "transmission=0:0.1 1:0.32 2:1.0")
    assert [s["transmission"] for s in result["sweeps"]] == [0.1, 0.32, 1.0]


def test_sources_that_disagree_are_a_warning(in_tmp_path, null, capsys):
    result = run(*write_series(in_tmp_path, null), "transmission=0.1,0.35,1")

    assert any("0.32" in warning for warning in result["warnings"])
    assert "Warning: experiment 1" in capsys.readouterr().out


def test_1_for_all_is_a_warning(in_tmp_path, null, capsys):
    run(*write_series(in_tmp_path, null), "transmission=1,1,1")
    assert "of every sweep is exactly 1" in capsys.readouterr().out


def test_scans_that_start_elsewhere_match_by_angle(in_tmp_path, null):
    files = write_series(in_tmp_path, null)
    shifted = flex.reflection_table.from_file("integrated.refl")
    shifted_by = 50
    x, y, z = shifted["xyzcal.px"].parts()
    own = shifted["id"] == 0
    z.set_selected(own, (z + shifted_by).select(own))
    shifted["xyzcal.px"] = flex.vec3_double(x, y, z)
    shifted.as_file("integrated.refl")
    message = refused(*files, "transmission=0.1,0.32,1", "reference=0")
    assert "sweep" in message

    files = write_series(in_tmp_path, null, start_angle=[-0.4 * shifted_by, 0.0, 0.0])
    shifted.as_file("integrated.refl")
    assert run(*files)["sweeps"][0]["n_matched"] > 1450


def test_order_from_time_stamps_or_the_user(in_tmp_path, null):
    files = write_series(in_tmp_path, null, epoch=[1.7e9 + 500, 1.7e9 + 100, 1.7e9])

    result = run(*files)
    assert result["order"] == [2, 1, 0] and result["order_source"] == "time stamps"
    result = run(*files, "order=1,0,2")
    assert result["order"] == [1, 0, 2] and result["order_source"] == "command line"


def test_without_profiles_sums_are_taken(in_tmp_path, null):
    files = write_series(in_tmp_path, null)
    reflections = flex.reflection_table.from_file("integrated.refl")
    reflections["flags"] = flex.size_t(len(reflections), SUM_ONLY)
    reflections["intensity.prf.variance"] = flex.double(len(reflections), -1.0)
    reflections.as_file("integrated.refl")

    result = run(*files)

    assert result["intensity"] == "sum"
    assert any("summation" in warning for warning in result["warnings"])


def test_unusable_reflections_are_counted(in_tmp_path, null):
    files = write_series(in_tmp_path, null)
    reflections = flex.reflection_table.from_file("integrated.refl")
    for name, rows, value in (
        ("intensity.prf.variance", range(0, 5), 0.0),
        ("intensity.prf.value", range(5, 9), float("nan")),
        ("partiality", range(9, 12), 0.5),
    ):
        column = reflections[name]
        for row in rows:
            column[row] = value
        reflections[name] = column
    flags = reflections["flags"]
    flags[20] = flags[20] | (1 << 10)
    reflections["flags"] = flags
    reflections.as_file("integrated.refl")

    rejected = run(*files)["sweeps"][0]["n_rejected"]

    assert rejected["with a variance of 0 or less"] == 5
    assert rejected["not finite"] == 4
    assert rejected["partial"] == 3
    assert rejected["overloaded"] == 1


def test_reflections_selected_beforehand_are_found_out(in_tmp_path):
    simulated = simulate(seed=8, n=6000, spots={"scale": 800.0})
    files = write_series(in_tmp_path, simulated)
    reflections = flex.reflection_table.from_file("integrated.refl")
    significance = reflections["intensity.prf.value"] / flex.sqrt(
        reflections["intensity.prf.variance"]
    )
    reflections.select(significance > 3).as_file("integrated.refl")

    result = run(*files)

    assert "selection" in result["linearity"]["causes"]


@pytest.mark.parametrize(
    "options, words",
    [
        ((), "experiment 0 (without images) has no transmission"),
        (("transmission=0.1,0.3",), "2 values for 3 experiments"),
        (("transmission=0.1,0.3,1.5",), "above 0 and up to 1"),
        (("transmission=0.1,0.3,x",), "is no number"),
        (("transmission=0.1,nan,1",), "above 0 and up to 1"),
        (("transmission=7:0.1",), "there is no experiment 7"),
        (("transmission=0.1,0.3,1", "reference=3"), "there is no experiment 3"),
        (("transmission=0.1,0.3,1", "order=0,1"), "every experiment from 0 to 2"),
        (("transmission=0.1,0.3,1", "gain_switch=5000"), "the gain switch must lie"),
        (("transmission_pattern=(",), "transmission_pattern"),
    ],
)
def test_wrong_parameters(in_tmp_path, null, options, words):
    files = write_series(in_tmp_path, null, [None, None, None])

    assert words in refused(*files, *options)


def test_one_sweep(in_tmp_path, null):
    files = write_series(in_tmp_path, null, apart=True)

    assert "two at least" in refused(*files[:2])


def test_different_crystals(in_tmp_path, null):
    files = write_series(
        in_tmp_path, null, cell=[(90.0,) * 3, (78.0,) * 3, (78.0,) * 3]
    )

    message = refused(*files)

    assert "90.00" in message and "78.00" in message


def test_cells_that_do_not_go_with_the_space_group(in_tmp_path, null):
    files = write_series(in_tmp_path, null)
    tree = json.loads((in_tmp_path / "integrated.expt").read_text())
    for crystal in tree["crystal"]:
        crystal["real_space_a"] = [1.3 * x for x in crystal["real_space_a"]]
    (in_tmp_path / "integrated.expt").write_text(json.dumps(tree))

    message = refused(*files, "match=symmetry")
    assert "the cell does not go with the space group: 101.40, 78.00" in message


def test_different_orientations(in_tmp_path, null):
    files = write_series(in_tmp_path, null, tilt=[10.0, 0.0, 0.0])

    message = refused(*files)

    assert "match=symmetry" in message and "experiments 2 and 0" in message


def test_different_detectors(in_tmp_path, null):
    files = write_series(
        in_tmp_path, null, image_size=[(1030, 514), (1030, 1066), (1030, 514)]
    )

    assert "different detectors" in refused(*files)


def test_no_common_reflections(in_tmp_path, null):
    files = write_series(in_tmp_path, null, apart=True)
    for k in (0, 1):
        other = table(null, k)
        other["panel"] = flex.size_t(len(other), 0)
        x, y, z = other["xyzcal.px"].parts()
        other["xyzcal.px"] = flex.vec3_double(x + 50 * (k + 1), y, z)
        other.experiment_identifiers()[0] = f"sweep-{k}"
        other.as_file(f"sweep{k}.refl")

    message = refused(*files)

    assert "no common reflections" in message and "2 pixels apart" in message


def edited(folder: Path, simulated, edit) -> list[str]:
    """Files of a series whose reflection table is changed in place."""
    files = write_series(folder, simulated)
    reflections = flex.reflection_table.from_file("integrated.refl")
    edit(reflections)
    reflections.as_file("integrated.refl")
    return files


def setting(name: str, value: float, rows: slice = slice(None)):
    """An edit that sets a column, or some of its rows, to one value."""

    def edit(reflections):
        column = reflections[name]
        values = np.array(column, dtype=float)
        values[rows] = value
        if isinstance(column, flex.vec3_double):
            parts = [flex.double(np.ascontiguousarray(part)) for part in values.T]
            reflections[name] = flex.vec3_double(*parts)
        elif isinstance(column, flex.size_t):
            reflections[name] = flex.size_t(values.astype(int).tolist())
        else:
            reflections[name] = flex.double(values)

    return edit


def without(name: str):
    def edit(reflections):
        del reflections[name]

    return edit


NAN = float("nan")


@pytest.mark.parametrize(
    "edit, words",
    [
        (setting("flags", 4), "none of the 4500 reflections is integrated"),
        (
            setting("intensity.prf.value", NAN),
            "no usable reflection among 1500 (1500 not",
        ),
        (
            setting("xyzcal.px", NAN),
            "no usable reflection among 1500 (1500 not finite)",
        ),
        (setting("intensity.prf.variance", 0), "1500 with a variance of 0 or less"),
        (setting("intensity.prf.variance", -5), "1500 with a variance of 0 or less"),
        (setting("partiality", NAN), "1500 partial"),
        (setting("intensity.prf.value", -5), "add up to nothing"),
        (setting("panel", 3), "reflections on panel 3, and its detector has 1"),
        (without("xyzcal.px"), "no column 'xyzcal.px'"),
        (without("flags"), "there are no integrated intensities here"),
        (without("intensity.sum.value"), "run dials.integrate first"),
    ],
)
def test_reflections_that_cannot_be_used(in_tmp_path, null, edit, words):
    message = refused(*edited(in_tmp_path, null, edit))

    assert words in message
    assert message.startswith("integrated.refl: ") or words == "add up to nothing"


@pytest.mark.parametrize(
    "name",
    "xyzcal.px xyzobs.px.value d background.mean zeta intensity.prf.value".split(),
)
def test_some_numbers_that_are_none(in_tmp_path, null, name, recwarn):
    result = run(*edited(in_tmp_path, null, setting(name, NAN, slice(0, 100))))

    sweep = result["sweeps"][0]
    assert abs(sweep["ratio"] - 0.1) <= 4 * sweep["ratio_error"]
    lost = 100 if name in ("xyzcal.px", "intensity.prf.value") else 0
    assert sweep["n_rejected"]["not finite"] == lost
    assert sweep["n_matched"] >= 1450 - lost
    assert result["linearity"]["linear"] is True
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_resolutions_that_are_missing_are_worked_out(in_tmp_path, null):
    files = write_series(in_tmp_path, null)
    reflections = flex.reflection_table.from_file("integrated.refl")
    experiments = ExperimentList.from_file("integrated.expt", check_format=False)
    cell = experiments[0].crystal.get_unit_cell()
    expected = [cell.d(h) for h in reflections["miller_index"][:1500]]
    for edit in (without("d"), setting("d", 0)):
        run(*edited(in_tmp_path, null, edit))
        d = np.loadtxt("matched0.dat")[:, 9]
        assert np.sort(d) == pytest.approx(np.sort(expected), abs=2e-4)
    assert len(files) == 2


def test_reflections_of_sweeps_may_lie_in_any_order(in_tmp_path, null):
    result = run(*write_series(in_tmp_path, null))
    mixed = flex.reflection_table.from_file("integrated.refl")
    order = np.random.default_rng(0).permutation(len(mixed)).tolist()
    mixed.select(flex.size_t(order)).as_file("integrated.refl")

    again = run("integrated.refl", "integrated.expt")

    for one, other in zip(result["sweeps"], again["sweeps"]):
        assert other["n_matched"] == one["n_matched"]
        assert other["york_ratio"] == pytest.approx(one["york_ratio"], rel=1e-9)
        assert other["mean_of_ratios"] == pytest.approx(one["mean_of_ratios"], rel=1e-9)


@pytest.mark.parametrize("intensity", ["profile", "sum"])
def test_saturation_and_what_holds_below_it(in_tmp_path, intensity):
    simulated = simulate(seed=4, n=4000, spots={"scale": 60000.0})

    result = run(*write_series(in_tmp_path, simulated), f"intensity={intensity}")

    assert result["linearity"]["causes"] == ["saturation or compression"]
    assert result["linearity"]["linear"] is False
    bound = result["linearity"]["bound"]
    assert 0 < bound < 0.1
    sentence = f"it saturates; below saturation it is linear within {100 * bound:.2g} %"
    assert f"The detector is not linear: {sentence} (95 %) up to" in result["verdict"]
    assert result["linearity"]["highest_peak"] < 5300


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_positions_that_are_none_match_nothing(in_tmp_path, null, value):
    files = write_series(in_tmp_path, null)
    before = run(*files)["sweeps"][0]["n_matched"]
    reflections = flex.reflection_table.from_file("integrated.refl")
    positions = reflections["xyzcal.px"]
    for row in range(3):
        positions[row] = (*positions[row][:2], value)
    reflections["xyzcal.px"] = positions
    reflections.as_file("integrated.refl")

    assert run(*files)["sweeps"][0]["n_matched"] == before - 3


@pytest.mark.parametrize("options", [[], ["match=symmetry"]])
def test_panels_that_the_detector_does_not_have(in_tmp_path, null, options):
    files = write_series(in_tmp_path, null)
    reflections = flex.reflection_table.from_file("integrated.refl")
    panels = reflections["panel"]
    panels[3] = 7
    reflections["panel"] = panels
    reflections.as_file("integrated.refl")

    message = refused(*files, *options)
    assert "reflections on panel 7, and its detector has 1" in message


@pytest.mark.parametrize(
    "name,column",
    [
        ("partiality", flex.vec3_double),
        ("entering", flex.double),
        ("intensity.prf.value", flex.int),
        ("zeta", flex.size_t),
    ],
)
def test_columns_of_another_type(in_tmp_path, null, name, column):
    files = write_series(in_tmp_path, null)
    reflections = flex.reflection_table.from_file("integrated.refl")
    del reflections[name]
    reflections[name] = column(len(reflections))
    reflections.as_file("integrated.refl")

    assert f"column '{name}' holds" in refused(*files)


def test_nothing_is_left_half_written(in_tmp_path, null, monkeypatch):
    files = write_series(in_tmp_path, null)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OutputFiles, "write_json", fail)
    before = {path.name for path in in_tmp_path.iterdir()}
    with pytest.raises(OSError):
        transmission_linearity.run([*files])
    new = {path.name for path in in_tmp_path.iterdir()} - before
    assert new == {"dials.transmission_linearity.log"}


def test_real_sweeps_in_different_orientations(in_tmp_path, real_data):
    folder = real_data / "l_cysteine_4_sweeps_scaled"
    files = [
        str(folder / f"scaled_{n}.{s}") for n in (30, 35) for s in ("expt", "refl")
    ]

    result = run(
        *files, "transmission=1,1", "match=symmetry", "input.allow_pickle=True"
    )

    sweep = result["sweeps"][1]
    # The mean of DIALS' inverse_scale_factor over the reflections in common
    expected = 0.957
    assert abs(sweep["relative_beam"] - expected) < 2 * sweep["relative_beam_error"]
    assert sweep["relative_beam_error"] < 0.02
    assert any("exactly 1" in warning for warning in result["warnings"])
    assert result["linearity"]["linear"] is None
    assert result["linearity"]["causes"] == []
