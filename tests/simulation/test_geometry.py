from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.simulation.geometry import (
    MODULE_SHAPE,
    PRESETS,
    Geometry,
)
from dials_jungfrau_qc.simulation.scene import SceneModel, background, shadow


def geometry(name="jungfrau_1m", **changes):
    preset = PRESETS[name]
    return Geometry(preset, preset.distance, preset.beam_center, 12.4, **changes)


@pytest.mark.parametrize(
    "name, shape, modules",
    [
        ("module", (514, 1030), 1),
        ("jungfrau_1m", (1066, 1030), 2),
        ("jungfrau_4m", (2164, 2068), 8),
        ("jungfrau_9m", (3274, 3114), 18),
    ],
)
def test_presets(name, shape, modules):
    this = geometry(name)
    assert this.shape == shape
    assert len(this.module_origins()) == modules
    mask = this.pixel_mask()
    assert mask.shape == shape
    n = MODULE_SHAPE[0] * MODULE_SHAPE[1]
    edges = 4 * 1030 + 12 * 514 - 4 * 12
    assert np.count_nonzero(mask == 0) == modules * (n - edges)
    assert np.count_nonzero(mask == 1 << 31) == modules * edges
    assert np.count_nonzero(mask == 1) == mask.size - modules * n
    # The beam hits a module, so that the beam stop is seen.
    fast, slow = this.beam_center
    assert mask[int(slow), int(fast)] != 1


def test_position_on_panels():
    this = geometry("jungfrau_4m", panel_per_module=True)
    slow, fast = np.nonzero(this.pixel_mask() != 1)
    panel, on_slow, on_fast = this.panel_position(slow, fast)
    origins = np.array([origin for origin, _ in this.panels()])
    assert np.array_equal(origins[panel, 0] + on_slow, slow)
    assert np.array_equal(origins[panel, 1] + on_fast, fast)
    assert (on_slow < MODULE_SHAPE[0]).all() and (on_fast < MODULE_SHAPE[1]).all()


def test_scattering_angle_and_polarisation_agree_with_dxtbx():
    this = geometry()
    beam, detector = this.models()
    two_theta, polarisation = this.two_theta(), this.polarisation()
    for slow, fast in ((10, 20), (700, 900), (1000, 5)):
        # The middle of the pixel's surface, before light enters the sensor
        x, y = (c * 0.075 for c in (fast + 0.5, slow + 0.5))
        s1 = np.array(detector[0].get_lab_coord((x, y)))
        s1 /= np.linalg.norm(s1)
        s0 = np.array(beam.get_unit_s0())
        assert two_theta[slow, fast] == pytest.approx(np.arccos(s0 @ s1), rel=1e-4)
        expected = 0.999 * (1 - s1[0] ** 2) + 0.001 * (1 - s1[1] ** 2)
        assert polarisation[slow, fast] == pytest.approx(expected, rel=1e-5)


def test_background_and_shadow():
    this = geometry()
    scene = SceneModel(background=6.0)
    light, passes = background(scene, this), shadow(scene, this)
    assert light.max() == pytest.approx(6.0, rel=1e-5)
    assert light.min() > 0.3
    fast, slow = (int(c) for c in this.beam_center)
    assert passes[slow, fast] == 0
    assert passes[slow + 100, fast] == pytest.approx(scene.arm_transmission, rel=1e-4)
    assert passes[slow - 100, fast] == 1
    assert (shadow(SceneModel(beam_stop=0.0), this) == 1).all()


def test_ice_rings_lie_where_ice_diffracts():
    this = geometry()
    ice = background(SceneModel(ice=10.0), this) - background(SceneModel(), this)
    d = this.wavelength / (2 * np.sin(this.two_theta() / 2))
    assert ice[(d > 2.75) & (d < 3.3)].max() < 0.01
    # Along the slow axis, where polarisation takes nothing away
    slow = int(np.argmax(ice[:514, 500]))
    assert d[slow, 500] == pytest.approx(3.897, abs=0.02)


@pytest.mark.parametrize("distance", [0.0, -5.0, float("nan")])
def test_impossible_distance(distance):
    with pytest.raises(ValueError, match="distance"):
        Geometry(PRESETS["module"], distance, (1.0, 1.0), 12.4)


@pytest.mark.parametrize("changes", [{"background": -1.0}, {"arm_transmission": 1.5}])
def test_impossible_scene(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        SceneModel(**changes)
