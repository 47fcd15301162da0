"""What dials.pixel_histogram says of the gain switch and the pile-up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refl_files import INDEXED, INTEGRATED_SUM, STRONG, refl_bytes, table_bytes
from switch_data import planted_image

from dials_jungfrau_qc.command_line.pixel_histogram import run
from dials_jungfrau_qc.simulation.spot_mosaic import SpotMosaic


def read_json(folder: Path = Path()) -> dict:
    return json.loads((folder / "dials.pixel_histogram.json").read_text())


def write_image(path: Path, images: list[np.ndarray]) -> None:
    """A table whose shoeboxes are the tiles of images, an experiment for each image."""
    boxes, ids = [], []
    for id_, image in enumerate(images):
        for tile in np.array_split(image, max(1, image.shape[0] // 8)):
            boxes.append((tile[None].astype("f4"), np.full((1, *tile.shape), 5)))
            ids.append(id_)
    identifiers = {i: f"sweep-{i}" for i in range(len(images))}
    path.write_bytes(table_bytes(boxes, ids=ids, identifiers=identifiers))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Two sweeps on one detector that switches at 25 photons with J = -4."""
    return [
        planted_image(seed, SpotMosaic(), area=-4.0, position=25.0, spread=0.6)
        for seed in (1, 2)
    ]


def test_switch_is_found_in_each_sweep_and_in_all(in_tmp_path, images, capsys):
    write_image(Path("whole.refl"), images)
    run(["whole.refl", "transmission=0.5,1.0"])
    content = read_json()
    for found in (content, *content["groups"]):
        switch = found["gain_switch"]
        assert switch["position"] == pytest.approx(
            25.0, abs=max(1.0, 4 * switch["position_error"])
        )
        assert switch["area"] == pytest.approx(-4, abs=4 * switch["area_error"])
        assert switch["significance"] > 5
    assert [group["transmission"] for group in content["groups"]] == [0.5, 1.0]
    assert content["groups"][0]["gain_switch_bound_95"] is None
    assert "overlap" in content["verdict"]
    assert "Gain switch at" in capsys.readouterr().out
    page = Path("dials.pixel_histogram.html").read_text()
    assert '"switch_fit"' in page and '"switch_by_group"' in page


def test_no_switch_gives_a_bound(in_tmp_path):
    image = planted_image(5, SpotMosaic(), area=None, position=25.0, spread=0.6)
    write_image(Path("smooth.refl"), [image])
    run(["smooth.refl"])
    content = read_json()
    (group,) = content["groups"]
    assert group["gain_switch"] is None and content["gain_switch"] is None
    assert content["detector_feature"] is None
    assert 0 < group["gain_switch_bound_95"] < 2
    assert "|J| below" in content["verdict"]


def test_histograms_alone(in_tmp_path, images):
    write_image(Path("whole.refl"), images)
    run(["whole.refl", "find_features=False"])
    content = read_json()
    group = content["groups"][0]
    assert sum(group["histogram"]["counts"]) == images[0].size

    # The keys are those of a run that looks, and null is not mistaken for "none found"
    run(["whole.refl"])
    searched = read_json()
    assert content.keys() == searched.keys()
    assert group.keys() == searched["groups"][0].keys()
    for part, other in ((content, searched), (group, searched["groups"][0])):
        assert part["features_searched"] is False and other["features_searched"] is True
        names = list(part)
        found = names[names.index("features_searched") + 1 :]
        assert "gain_switch" in found and len(found) >= 4
        assert all(part[name] is None for name in found)


def test_pile_up_and_the_reflections_that_reach_it(in_tmp_path):
    rng = np.random.default_rng(3)
    n = 3000
    ceiling = rng.normal(10500, 160, size=n)
    true = 900 * (rng.pareto(1.1, size=n) + 1)
    peak = np.rint(np.minimum(true, ceiling))
    boxes = [
        (
            np.array([[[p, p * 0.4, p * 0.1, p * 0.02]]], "f4").round(),
            np.full((1, 1, 4), 5),
        )
        for p in peak
    ]
    Path("bright.refl").write_bytes(table_bytes(boxes))
    run(["bright.refl", "transmission=0.8"])
    (group,) = read_json()["groups"]
    pile_up = group["pile_up"]
    assert pile_up["edge"] == pytest.approx(10500, rel=0.02)
    clipped = int((true >= ceiling).sum())
    assert pile_up["n_reflections"] >= 0.99 * clipped
    assert 9500 < pile_up["suggested_trusted_maximum"] < 10400
    assert group["recommended_transmission"] < 0.8
    assert group["recommended_transmission_is_upper_limit"]


def test_markers_are_left_out(in_tmp_path, images):
    image = images[0].copy()
    image.ravel()[:200] = 32767
    image.ravel()[200:300] = -1
    write_image(Path("marked.refl"), [image])
    run(["marked.refl"])
    content = read_json()
    assert content["groups"][0]["sentinels"] == {"-1": 100, "32767": 200}
    assert content["groups"][0]["gain_switch"]["area"] == pytest.approx(-4, abs=1.5)
    assert "300 pixels hold values that mark invalid pixels" in content["verdict"]


def test_integrated_intensities_without_a_fault_give_a_bound(in_tmp_path):
    rng = np.random.default_rng(8)
    n = 20000
    values = np.exp(rng.normal(6, 1.5, size=n))
    columns = {
        "flags": ("std::size_t", np.full(n, INTEGRATED_SUM, "<u8")),
        "id": ("int", np.zeros(n, "<i4")),
        "intensity.sum.value": ("double", values),
    }
    Path("integrated.refl").write_bytes(refl_bytes(columns, n))
    run(["integrated.refl"])
    found = read_json()["intensity_discontinuity"]
    assert not found["found"]
    assert 0 < found["bound_95"] < 50


def test_spot_finding_gives_no_verdict_on_intensities(in_tmp_path, images):
    write_image(Path("whole.refl"), images)
    run(["whole.refl"])
    assert read_json()["intensity_discontinuity"] is None


@pytest.mark.parametrize("name", ["ssx_CuNiR_test_data", "quartz_processed"])
def test_other_detectors_are_not_accused(in_tmp_path, real_data, name):
    folder = real_data / name
    run([str(folder / "indexed.refl"), str(folder / "indexed.expt")])
    content = read_json()
    assert content["gain_switch"] is None
    assert content["detector_feature"] is None
    assert all(group["gain_switch"] is None for group in content["groups"])


@pytest.fixture(scope="module")
def module(real_data, tmp_path_factory) -> Path:
    """The real JUNGFRAU module, imported and with its spots found."""
    from dials_jungfrau_qc.io.reflection_file import open_reflection_file

    folder = tmp_path_factory.mktemp("module")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        from dials.command_line import dials_import, find_spots

        image = real_data / "jungfrau_module" / "module5.nxs"
        dials_import.run([str(image)]) if hasattr(
            dials_import, "run"
        ) else dials_import.ImageImporter().import_image([str(image)])
        find_spots.run(["imported.expt", "nproc=1"])
    assert open_reflection_file(folder / "strong.refl").n_rows > 500
    return folder


@pytest.mark.parametrize(
    "arguments",
    [["imported.expt", "pixels=frames"], ["strong.refl", "imported.expt"]],
    ids=["frames", "strong"],
)
def test_the_real_module_switches(module, in_tmp_path, arguments):
    run([str(module / a) if "=" not in a else a for a in arguments])
    content = read_json()
    (group,) = content["groups"]
    switch = group["gain_switch"]
    assert switch["position"] == pytest.approx(20, abs=2)
    assert switch["area"] < -3
    assert group["sentinels"]["32678"] > 0
    assert group["pile_up"] is None


def test_frames_are_those_that_were_asked_for(module, in_tmp_path, real_data):
    import h5py

    run(
        [
            str(module / "imported.expt"),
            "pixels=frames",
            "frames.image_range=3,12",
            "frames.stride=2",
            "find_features=False",
            "nproc=2",
        ]
    )
    (group,) = read_json()["groups"]
    assert group["hist_file"] == "imported.hist"
    assert group["n_reflections"] == 0 and group["intensity"] is None
    with h5py.File(real_data / "jungfrau_module" / "module5.nxs") as file:
        data = file["/entry/data/data"][2:12:2]
    assert group["n_pixels"] == data.size
    expected = np.bincount(data[(data >= 0) & (data < 12000)], minlength=12000)
    # The last bin also holds 12000 itself, which no pixel here has
    assert group["histogram"]["counts"] == expected.tolist()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["pixels=frames"], "give at least one .expt"),
        (["a.refl", "a.expt", "pixels=frames"], "give experiment lists alone"),
        (["a.refl", "transmission=0.5,0.7"], "2 values for 1"),
        (["a.refl", "transmission=1.5"], "above 0 and up to 1"),
    ],
)
def test_bad_input(in_tmp_path, arguments, message):
    boxes = [(np.full((1, 2, 2), 9, "f4"), np.full((1, 2, 2), 5))] * 3
    Path("a.refl").write_bytes(table_bytes(boxes, flags=[INDEXED | STRONG] * 3))
    Path("a.expt").write_text("{}")
    with pytest.raises(SystemExit) as stop:
        run(arguments)
    assert message in stop.value.code
    assert not list(Path().glob("*.hist"))


def test_frames_that_are_not_there(in_tmp_path, real_data):
    expt = real_data / "quartz_processed" / "imported.expt"
    with pytest.raises(SystemExit) as stop:
        run([str(expt), "pixels=frames"])
    assert isinstance(stop.value.code, str)
    assert "imported.expt" in stop.value.code
    assert not list(Path().glob("*.hist"))
