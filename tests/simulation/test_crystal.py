from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.simulation.crystal import (
    CrystalModel,
    add_spots,
    partiality,
    predict,
    random_crystal,
    wilson_intensities,
)
from dials_jungfrau_qc.simulation.geometry import PRESETS, Geometry


@pytest.fixture(scope="module")
def reflections():
    model = CrystalModel(d_min=2.5)
    preset = PRESETS["jungfrau_1m"]
    geometry = Geometry(preset, preset.distance, preset.beam_center, 12.4)
    crystal = random_crystal(model, np.random.default_rng(1))
    return predict(model, crystal, geometry, (0.0, 30.0), np.random.default_rng(2))


def all_indices(d_min, a=78.0):
    n = int(a / d_min)
    grid = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1].reshape(3, -1).T
    square = (grid**2).sum(axis=1)
    allowed = (grid.sum(axis=1) % 2 == 0) & (square > 0) & (square <= (a / d_min) ** 2)
    return grid[allowed]


def test_symmetry_mates_have_equal_intensities():
    hkl = all_indices(8.0)
    intensity = wilson_intensities(CrystalModel(), hkl, 8.0, np.random.default_rng(3))
    found = {tuple(i): value for i, value in zip(hkl, intensity)}
    for h, k, l in hkl:
        # Cyclic permutation, two twofold axes and Friedel's law of I 2_1 3
        for mate in ((k, l, h), (-h, -k, l), (h, -k, -l), (-h, -k, -l)):
            assert found[h, k, l] == found[mate]
    # The fourfold axis of the lattice is none of the crystal.
    assert any(found[h, k, l] != found[k, h, l] for h, k, l in hkl)


def test_wilson_distribution():
    model = CrystalModel(b_factor=0.0)
    hkl = all_indices(4.0)
    # One of each set of mates, and no centric ones
    unique = hkl[(hkl > 0).all(axis=1) & (hkl.argmax(axis=1) == 0)]
    unique = unique[(unique[:, 0] > unique[:, 1]) & (unique[:, 0] > unique[:, 2])]
    draws = np.concatenate(
        [
            wilson_intensities(model, unique, 4.0, np.random.default_rng(seed))
            for seed in range(30)
        ]
    )
    error = 4 / np.sqrt(len(draws))
    assert draws.mean() == pytest.approx(1.0, abs=error)
    assert (draws**2).mean() / draws.mean() ** 2 == pytest.approx(2.0, abs=4 * error)


def test_b_factor():
    hkl = all_indices(3.0)
    flat = wilson_intensities(
        CrystalModel(b_factor=0.0), hkl, 3.0, np.random.default_rng(4)
    )
    with_b = wilson_intensities(
        CrystalModel(b_factor=30.0), hkl, 3.0, np.random.default_rng(4)
    )
    d = 78.0 / np.linalg.norm(hkl, axis=1)
    assert with_b == pytest.approx(flat * np.exp(-30 / (2 * d**2)))


def test_predictions(reflections):
    r = reflections
    assert len(r) > 5000
    assert (np.diff(r.phi) > -1e-6).all()
    assert r.d.min() >= 2.5
    # I-centred: the sum of the indices is even
    assert (r.miller_index.sum(axis=1) % 2 == 0).all()
    assert (r.phi_width >= 0.08 * 0.999).all()
    # Some lie outside the rotation, and reach into it.
    assert r.phi.min() < 0 and r.phi.max() > 30


def test_partialities_add_up(reflections):
    total = np.zeros(len(reflections))
    for image in range(-200, 500):
        which, share = partiality(reflections, 0.1 * image, 0.1 * (image + 1))
        total[which] += share
    assert total == pytest.approx(1.0, abs=2e-4)


def test_spots_keep_their_photons_and_their_place():
    image = np.zeros((60, 80), dtype=np.float32)
    add_spots(image, np.array([30.2]), np.array([20.9]), np.array([1000.0]), 0.8)
    assert image.sum() == pytest.approx(1000.0, rel=1e-3)
    slow, fast = np.indices(image.shape) + 0.5
    # Pixel 30 reaches from 30 to 31.
    assert (image * fast).sum() / image.sum() == pytest.approx(30.2, abs=1e-3)
    assert (image * slow).sum() / image.sum() == pytest.approx(20.9, abs=1e-3)
    variance = (image * (fast - 30.2) ** 2).sum() / image.sum()
    # Of the profile and of a pixel
    assert variance == pytest.approx(0.8**2 + 1 / 12, rel=0.01)


def test_spots_on_one_another_and_beyond_the_edge():
    image = np.zeros((20, 20), dtype=np.float32)
    where = np.array([10.0, 10.0, 0.0, 100.0])
    add_spots(image, where, where, np.full(4, 100.0), 0.8)
    assert image.sum() == pytest.approx(225.0, rel=1e-3)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"unit_cell": (78, 78, 78, 90, 90, 200)}, "no cell has the parameters"),
        ({"unit_cell": (0, 78, 78, 90, 90, 90)}, "no cell has the parameters"),
        ({"unit_cell": (-78, 78, 78, 90, 90, 90)}, "no cell has the parameters"),
        ({"unit_cell": (78, 78, 78, 60, 60, 170)}, "no cell has the parameters"),
        ({"unit_cell": (70, 78, 78, 90, 90, 90)}, "does not have the symmetry"),
        ({"space_group": "I 2 17"}, "no space group is called"),
        ({"mosaicity": 0.0}, "mosaicity"),
        ({"scale": -1.0}, "scale"),
        ({"d_min": 0.0}, "d_min"),
    ],
)
def test_impossible_crystals(parameters, message):
    with pytest.raises(ValueError, match=message):
        CrystalModel(**parameters)
