from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.local_expectation import (
    ARC,
    median,
    ring_arcs,
    robust_scatter,
    scattering_angle,
)

D_MATRIX = np.array([[1.0, 0.0, -9.0], [0.0, 1.0, -13.0], [0.0, 0.0, 100.0]])
S0 = np.array([0.0, 0.0, 1.0])
PIXEL = np.array([0.075, 0.075])


def true_angle(shape):
    slow, fast = np.mgrid[: shape[0], : shape[1]] + 0.5
    x, y = fast * 0.075 - 9.0, slow * 0.075 - 13.0
    return np.arctan(np.hypot(x, y) / 100)


def test_angle_follows_the_scattering_angle():
    angle = scattering_angle(D_MATRIX, S0, (300, 200), PIXEL)

    np.testing.assert_allclose(
        angle, np.tan(true_angle((300, 200))) ** 2, rtol=1e-3, atol=1e-9
    )


def test_backward_scattering():
    behind = D_MATRIX.copy()
    behind[2, 2] = -100.0

    angle = scattering_angle(behind, S0, (300, 200), PIXEL)

    order = np.argsort(angle.reshape(-1))
    assert (np.diff(true_angle((300, 200)).reshape(-1)[order][::200]) < 1e-4).all()
    assert angle.dtype == np.float32


@pytest.mark.parametrize("shape", [(300, 200), (195, 487), (96, 96)])
def test_arcs_hold_every_good_pixel(shape):
    mask = np.random.default_rng(0).random(shape) < 0.9
    arcs = ring_arcs(mask, scattering_angle(D_MATRIX, S0, shape, PIXEL))

    inside = np.zeros(shape, bool)
    inside.reshape(-1)[arcs.members] = True
    np.testing.assert_array_equal(inside, mask)
    assert arcs.members.shape[1] == ARC
    assert all(len(set(arc)) == ARC for arc in arcs.members.tolist())


def test_arcs_are_local_and_narrow():
    shape = (400, 400)
    arcs = ring_arcs(np.ones(shape, bool), scattering_angle(D_MATRIX, S0, shape, PIXEL))

    slow, fast = np.divmod(arcs.members, shape[1])
    radius = np.tan(true_angle(shape).reshape(-1)[arcs.members]) * 100 / 0.075
    assert np.ptp(slow, axis=1).max() < 100 and np.ptp(fast, axis=1).max() < 100
    assert np.median(np.ptp(radius, axis=1)) < 1.5
    assert np.mean(np.ptp(radius, axis=1) > 3) < 0.05


def test_masked_squares_have_no_arc():
    mask = np.zeros((96, 192), bool)
    mask[:, 96:] = True
    mask[0, :40] = True
    arcs = ring_arcs(mask, scattering_angle(D_MATRIX, S0, mask.shape, PIXEL))

    image = arcs.image(np.ones((len(arcs.members), 1)))
    assert np.isnan(image[:, :96]).all() and (image[:, 96:] == 1).all()
    assert len(ring_arcs(np.zeros_like(mask), np.ones(mask.shape)).members) == 0


def test_an_ice_ring_is_expected_and_faults_are_not():
    shape = (400, 400)
    angle = scattering_angle(D_MATRIX, S0, shape, PIXEL)
    radius = 100 * np.sqrt(angle) / 0.075
    image = (1 + 5 * np.exp(-(((radius - 150) / 3) ** 2) / 2)).astype(np.float32)
    clean = image.copy()
    bad = np.random.default_rng(1).random(shape) < 0.01
    image[bad] = 1000

    arcs = ring_arcs(np.ones(shape, bool), angle)
    expected = arcs.image(median(arcs.gather(image)))

    error = np.abs(expected / clean - 1)
    assert np.median(error) < 0.01
    assert np.mean(error > 0.3) < 0.02


def test_median_and_scatter():
    shape = (192, 192)
    arcs = ring_arcs(np.ones(shape, bool), scattering_angle(D_MATRIX, S0, shape, PIXEL))
    image = np.random.default_rng(2).normal(3, 0.5, shape).astype(np.float32)

    values = arcs.gather(image)
    middle = median(values)
    scatter = robust_scatter(values - middle)

    assert middle.mean() == pytest.approx(3, abs=0.01)
    assert middle.std() == pytest.approx(1.25 * 0.5 / np.sqrt(ARC), rel=0.1)
    assert scatter.mean() == pytest.approx(0.5, rel=0.05)


def test_faults_do_not_widen_the_scatter():
    values = np.random.default_rng(3).normal(0, 1, (200, ARC))
    values[:, :4] = 1000
    values[:, 4] = np.nan

    assert robust_scatter(values).mean() == pytest.approx(1.2, abs=0.1)


def test_angles_of_some_rows_are_those_of_the_whole():
    whole = scattering_angle(D_MATRIX, S0, (300, 200), PIXEL)

    part = scattering_angle(D_MATRIX, S0, (300, 200), PIXEL, np.s_[40:90])

    np.testing.assert_array_equal(part, whole[40:90])
