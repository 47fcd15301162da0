from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dials_jungfrau_qc.simulation.crystal import CrystalModel
from dials_jungfrau_qc.simulation.detector import DetectorModel, planned_gain_switch
from dials_jungfrau_qc.simulation.faults import KINDS
from dials_jungfrau_qc.simulation.geometry import GAP_VALUE, PRESETS, Geometry
from dials_jungfrau_qc.simulation.scene import SceneModel
from dials_jungfrau_qc.simulation.series import (
    FaultModel,
    ModuleModel,
    SeriesModel,
    plan_sweeps,
    prepare,
)
from dials_jungfrau_qc.simulation.truth import describe

NO_RATES = dict.fromkeys(KINDS, 0.0)


def geometry(name, **changes):
    preset = PRESETS[name]
    return Geometry(preset, preset.distance, preset.beam_center, 12.4, **changes)


def simulation(name="module", detector=DetectorModel(), **changes):
    models = {
        "series": SeriesModel(transmissions=(0.1, 1.0), n_images=4, seed=3),
        "crystal": CrystalModel(d_min=2.5),
        "scene": SceneModel(),
        "faults": FaultModel(NO_RATES),
    }
    return prepare(geometry=geometry(name), detector=detector, **(models | changes))


def test_sweeps():
    series = SeriesModel(
        transmissions=(0.5, 1.0, 0.25),
        n_images=10,
        attenuator_error=(0.02, 0.0, -0.04),
        reference_scale=0.92,
    )
    sweeps = plan_sweeps(series)
    assert [s.true_transmission for s in sweeps] == pytest.approx([0.51, 1.0, 0.24])
    assert [s.beam for s in sweeps] == pytest.approx([0.51, 0.92, 0.24])
    assert [s.dose_start for s in sweeps] == pytest.approx([0.0, 0.51, 1.43])
    assert [s.dose_per_image for s in sweeps] == pytest.approx([0.051, 0.092, 0.024])
    assert not any(s.lost.any() or s.blank.any() for s in sweeps)


def test_expected_photons_scale_with_the_beam():
    this = simulation()
    assert this.expected(0, 2) == pytest.approx(0.1 * this.expected(1, 2), rel=1e-4)


def test_decay():
    plain = simulation()
    series = plain.series
    uniform = simulation(series=replace(series, uniform_decay=0.5))
    growing = simulation(series=replace(series, b_decay=2.0))
    background = plain.background * plain.shadow

    def bragg(this, image):
        return this.expected(1, image) - background

    before = bragg(plain, 3)
    strong = before > 20
    # A tenth of a dose before it, and three images and a half
    dose = 0.1 + 3.5 / 4
    ratio = bragg(uniform, 3)[strong] / before[strong]
    assert ratio == pytest.approx(np.exp(-0.5 * dose), rel=1e-3)
    d = plain.geometry.wavelength / (2 * np.sin(plain.geometry.two_theta() / 2))
    ratio = bragg(growing, 3)[strong] / before[strong]
    # A spot has one d, that of its middle, whereas pixels have each their own.
    assert ratio == pytest.approx(np.exp(-2.0 * dose / (2 * d[strong] ** 2)), rel=0.02)


@pytest.mark.parametrize("name", ["module", "jungfrau_1m"])
def test_sentinels_only_where_the_mask_says(name):
    this = simulation(name)
    image = this.image(1, 0)
    assert image.dtype == np.int32
    mask = this.pixel_mask
    assert np.array_equal(image == GAP_VALUE, mask == 1)
    assert (image[mask == 1 << 31] == -1).all()
    # The overlap takes 5 photons off pixels that have counted at least 20.
    assert image[mask == 0].min() >= 0


def test_same_seed_same_images():
    first, second = simulation(), simulation()
    assert np.array_equal(first.image(1, 2), second.image(1, 2))
    assert not np.array_equal(first.image(1, 2), first.image(1, 3))
    other = simulation(series=replace(first.series, seed=4))
    assert not np.allclose(other.crystal.get_A(), first.crystal.get_A())


def test_other_faults_leave_the_rest_as_it_was():
    good = simulation()
    bad = simulation(faults=FaultModel(NO_RATES | {"dead": 0.01}, masked=0.0))
    assert np.array_equal(good.crystal.get_A(), bad.crystal.get_A())
    assert np.array_equal(good.pixels.gain, bad.pixels.gain)
    assert np.array_equal(good.expected(1, 0), bad.expected(1, 0))


def test_masked_share_of_bad_pixels():
    this = simulation(faults=FaultModel({"hot": 0.005, "dead": 0.005}, masked=0.5))
    truth = describe(this, DetectorModel())["bad_pixels"]
    for pixel in truth:
        bits = this.pixel_mask[pixel["slow"], pixel["fast"]]
        assert bits == (pixel["masked"] << KINDS[pixel["kind"]].mask_bit)
    assert np.mean([p["masked"] for p in truth]) == pytest.approx(0.5, abs=0.05)


def test_lost_and_blank_images():
    series = SeriesModel(
        transmissions=(1.0,), n_images=200, lost_images=0.2, blank_images=0.1
    )
    this = simulation(series=series)
    sweep = this.sweeps[0]
    assert 20 < sweep.lost.sum() < 60
    assert 5 < sweep.blank.sum() < 35
    assert this.image(0, int(np.flatnonzero(sweep.lost)[0])) is None
    blank = this.image(0, int(np.flatnonzero(sweep.blank)[0]))
    assert abs(blank[this.pixel_mask == 0]).max() <= 1


def test_modules_differ():
    model = DetectorModel()
    this = simulation("jungfrau_1m", modules=ModuleModel(1.0, 2.0))
    planned = [planned_gain_switch(m) for m in this.module_models]
    assert planned[0].area != planned[1].area
    truth = describe(this, model)["gain_switch"]
    for found, expected in zip(truth["modules"], planned):
        assert found["position"] == pytest.approx(expected.position, abs=0.01)
        assert found["area"] == pytest.approx(expected.area, abs=0.01)


def test_truth():
    model = DetectorModel(switching=False)
    truth = describe(simulation(detector=model), model)
    assert truth["gain_switch"] is None
    truth = describe(simulation(), DetectorModel())
    assert truth["gain_switch"]["area"] == pytest.approx(-5.0, abs=0.02)
    assert truth["gain_switch"]["position"] == pytest.approx(25.0, abs=0.02)
    assert truth["ceiling"]["median"] == pytest.approx(10565, rel=1e-3)
    assert [s["transmission"] for s in truth["sweeps"]] == [0.1, 1.0]


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"transmissions": (0.0,)}, "0.0 does not"),
        ({"transmissions": (0.5, 1.2)}, "1.2 does not"),
        ({"transmissions": (float("nan"),)}, "nan does not"),
        ({"transmissions": ()}, "one transmission"),
        ({"n_images": 0}, "n_images"),
        ({"oscillation": (0.0, 0.0)}, "oscillation"),
        ({"seed": -1}, "seed"),
        ({"attenuator_error": (0.1,)}, "give one for each"),
        ({"attenuator_error": (-1.0,) * 5}, "above -1"),
        ({"b_decay": -0.1}, "b_decay"),
        ({"lost_images": 1.5}, "lost_images"),
    ],
)
def test_impossible_series(parameters, message):
    with pytest.raises(ValueError, match=message):
        SeriesModel(**parameters)
