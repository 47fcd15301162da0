from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.algorithms.resolution import resolution_at_pixels


def test_equals_the_panels_own_resolution():
    from dxtbx.model import Beam, Detector, Panel

    beam = Beam((0, 0.1, -1), 0.98)
    detector = Detector()
    for i, origin in enumerate([(-40, 40, -150), (5, 40, -160)]):
        panel = Panel()
        panel.set_frame((1, 0.01 * i, 0), (0, -1, 0.02), origin)
        panel.set_pixel_size((0.075, 0.08))
        panel.set_image_size((1030, 514))
        detector.add_panel(panel)
    rng = np.random.default_rng(1)
    panels = rng.integers(0, 2, size=40)
    xy = rng.uniform(0, 1000, size=(40, 2))
    found = resolution_at_pixels(
        np.array([p.get_d_matrix() for p in detector]).reshape(-1, 3, 3),
        np.array([p.get_pixel_size() for p in detector]),
        np.array(beam.get_s0()),
        panels,
        xy,
    )
    expected = [
        detector[int(p)].get_resolution_at_pixel(beam.get_s0(), tuple(v))
        for p, v in zip(panels, xy)
    ]
    assert found == pytest.approx(expected, rel=1e-6)
