from __future__ import annotations

import numpy as np
import pytest

from dials_jungfrau_qc.simulation.detector import DetectorModel, draw_pixels, expose
from dials_jungfrau_qc.simulation.faults import KINDS, draw_faults

N_FRAMES = 2000
MEAN = 4.0


def only(kind, **ranges):
    """Twenty bad pixels of one kind among a thousand, illuminated many times."""
    rng = np.random.default_rng(5)
    rates = dict.fromkeys(KINDS, 0.0) | {kind: 0.02}
    faults = draw_faults(np.arange(1000), rng, rates, **ranges)
    pixels = draw_pixels(DetectorModel(), (1000,), rng, faults)
    frames = expose(np.full((N_FRAMES, 1000), MEAN), pixels, rng)
    good = np.setdiff1d(np.arange(1000), faults.index)
    # A good pixel is untouched whatever its neighbours do.
    assert frames[:, good].mean() == pytest.approx(MEAN, abs=0.02)
    return faults, pixels, frames[:, faults.index]


def test_rates():
    rng = np.random.default_rng(1)
    rates = dict.fromkeys(KINDS, 0.001)
    faults = draw_faults(np.arange(1_000_000), rng, rates)
    assert len(np.unique(faults.index)) == len(faults)
    for kind in KINDS:
        assert np.count_nonzero(faults.kind == kind) == pytest.approx(1000, abs=130)


def test_defaults_are_one_pixel_in_a_thousand():
    assert sum(kind.rate for kind in KINDS.values()) == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize("kind", ["dead", "under_responding"])
def test_response(kind):
    faults, _, frames = only(kind)
    expected = faults.strength * MEAN
    error = 5 * np.sqrt((expected + 0.01) / N_FRAMES) + 0.02
    assert (abs(frames.mean(axis=0) - expected) < error).all()


def test_hot():
    faults, pixels, frames = only("hot", strengths={"hot": (1.0, 10.0)})
    expected = faults.strength + MEAN
    assert (
        abs(frames.mean(axis=0) - expected) < 5 * np.sqrt(expected / N_FRAMES) + 0.3
    ).all()


def test_noisy():
    faults, _, frames = only("noisy", strengths={"noisy": (1.0, 2.0)})
    expected = faults.strength**2 + MEAN
    assert frames.var(axis=0) == pytest.approx(expected, rel=0.2)
    assert frames.mean(axis=0) == pytest.approx(MEAN, abs=0.4)


def test_stuck():
    faults, _, frames = only("stuck")
    assert (frames == faults.strength.astype(np.float32)).all()


def test_flickering():
    faults, _, frames = only(
        "flickering",
        strengths={"flickering": (40.0, 50.0)},
        shares={"flickering": (0.1, 0.3)},
    )
    bad = np.mean(frames > 20, axis=0)
    assert (abs(bad - faults.share) < 5 * np.sqrt(0.25 / N_FRAMES)).all()


def test_wrong_gain_leaves_a_gap():
    faults, _, frames = only("wrong_gain", shares={"wrong_gain": (0.2, 0.8)})
    wrong = frames > 150
    # An ADC code of G0 read with the constants of G1 is worth hundreds of photons.
    assert not ((frames > 40) & ~wrong).any()
    assert (abs(wrong.mean(axis=0) - faults.share) < 5 * np.sqrt(0.25 / N_FRAMES)).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"rates": {"dead": -0.1}}, "rate of dead"),
        ({"rates": {"dead": 0.6, "hot": 0.6}}, "more than 1"),
        ({"rates": {"lame": 0.1}}, "lame"),
        ({"strengths": {"hot": (5.0, 1.0)}}, "hot"),
        ({"strengths": {"hot": (0.0, 1.0)}}, "hot"),
        ({"shares": {"flickering": (0.5, 1.5)}}, "flickering"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_faults(np.arange(100), np.random.default_rng(0), **arguments)
