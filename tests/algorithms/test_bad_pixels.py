from __future__ import annotations

import numpy as np
import pytest
from faulty_frames import (
    PLACES,
    SHAPE,
    find,
    kinds_at,
    photons,
    plant,
)

from dials_jungfrau_qc.algorithms.bad_pixels import (
    CLUSTER_BIT,
    KINDS,
    BadPixels,
    combine_sweeps,
)
from dials_jungfrau_qc.algorithms.pixel_suspects import (
    Limits,
)


@pytest.mark.parametrize(
    "kind,strength",
    [
        ("dead", 0.0),
        ("under_responding", 0.3),
        ("hot", 1.0),
        ("hot", 10.0),
        ("hot", 300.0),
        ("noisy", 1.0),
        ("noisy", 8.0),
        ("stuck", 1),
        ("stuck", 3),
        ("stuck", 10500),
        ("stuck", -7),
        ("flickering", 6.0),
        ("flickering", 40.0),
        ("wrong_gain", 0.3),
        ("wrong_gain", 1.0),
    ],
)
def test_every_kind_is_found_and_named(kind, strength):
    frames = photons(300)
    plant(frames, kind, strength, np.random.default_rng(1))

    bad = find(frames)

    found = kinds_at(bad, PLACES)
    assert sum(k is not None for k in found) >= 79
    assert found.count(kind) >= 74
    assert len(bad) - sum(k is not None for k in found) <= 1


@pytest.mark.parametrize("kind,strength", [("dead", 0.0), ("hot", 2.0), ("stuck", 9)])
def test_short_series(kind, strength):
    frames = photons(60, rate=1.0)
    plant(frames, kind, strength, np.random.default_rng(1))

    found = kinds_at(find(frames), PLACES)

    assert found.count(kind) >= 76


@pytest.mark.parametrize("rate", [0.1, 0.5, 5.0, 100.0])
@pytest.mark.parametrize("n", [24, 60, 240])
def test_false_alarms(rate, n):
    """A perfect detector, about two megapixels in all: 0.1 a megapixel for each test."""
    limits = Limits(false_alarms=2.0)
    frames = photons(n, rate, seed=n, shape=(500, 400))
    bad = find(frames, limits=limits)

    # Three tests of 2 a megapixel on 0.2 megapixels: 1.2; more than 6 in 1 of 5000 runs
    assert len(bad) <= 6


def test_false_alarms_over_many_seeds():
    n_false = sum(
        len(find(photons(48, 0.8, seed), limits=Limits(false_alarms=20.0)))
        for seed in range(40)
    )

    # Three tests at 20 a megapixel on 2 megapixels: 118; two of them need a deviation
    # as well that so few photons make likely
    assert n_false < 160


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_few_images_flag_nothing(n):
    frames = photons(n)
    plant(frames, "hot", 50.0, np.random.default_rng(0))

    assert len(find(frames)) == 0


def test_no_light_flags_nothing():
    assert len(find(np.zeros((60, *SHAPE), np.int32))) == 0


def test_never_trusted():
    frames = photons(60)
    rng = np.random.default_rng(0)
    frames[:, 40, 50] = rng.integers(2000, 3000, 60)
    frames[:, 40, 80] = 2500

    bad = find(frames, trusted=(0.0, 1000.0))

    assert kinds_at(bad, [(40, 50), (40, 80)]) == ["untrusted", "stuck"]


def test_negative_pixels_do_not_respond():
    frames = photons(60)
    frames[:, 40, 50] = np.random.default_rng(0).integers(-20, -10, 60)

    assert kinds_at(find(frames), [(40, 50)]) == ["under_responding"]


def test_evidence():
    frames = photons(300)
    rng = np.random.default_rng(3)
    frames[100:200:5, 30, 40] += 60
    frames[:, 90, 100] = 0
    frames[:, 120, 100] += rng.poisson(3, 300).astype(np.int32)

    bad = find(frames)

    flickering, dead, hot = range(3)
    assert bad.kind.tolist() == ["flickering", "dead", "hot"]
    assert bad.bits.tolist() == [16, 2, 8]
    assert bad.n_frames.tolist() == [300] * 3
    assert bad.share[flickering] == pytest.approx(20 / 300, abs=0.01)
    assert (bad.first[flickering], bad.last[flickering]) == (100, 195)
    assert bad.first[dead] == -1
    assert bad.mean[dead] == 0 and bad.z[dead] < -10
    assert bad.expected == pytest.approx(0.5, abs=0.05)
    assert bad.mean[hot] == pytest.approx(3.5, abs=0.4) and bad.z[hot] > 20


def test_clusters():
    frames = photons(120, rate=1.0)
    frames[:, 60:62, 70:72] = 0

    bad = find(frames)

    assert bad.kind.tolist() == ["dead"] * 4
    assert all(bits == 2 | CLUSTER_BIT for bits in bad.bits.tolist())


def bad_of(index, z):
    n = len(index)
    zeros = np.zeros(n)
    return BadPixels(
        np.array(index, int),
        np.array(["hot"] * n, dtype="U16"),
        np.full(n, 8, np.uint32),
        np.full(n, 10),
        zeros,
        zeros,
        zeros,
        np.array(z, float),
        np.ones(n),
        np.full(n, -1),
        np.full(n, -1),
    )


@pytest.mark.parametrize(
    "rule,index", [("any", [1, 5, 7]), ("majority", [1, 5]), ("all", [5])]
)
def test_combination(rule, index):
    combined = combine_sweeps(
        [bad_of([1, 5], [9, 6]), bad_of([5, 7], [20, 8]), bad_of([1, 5], [12, 7])], rule
    )

    assert combined.pixels.index.tolist() == index
    votes = {1: 2, 5: 3, 7: 1}
    best = {1: (2, 12), 5: (1, 20), 7: (1, 8)}
    assert combined.n_sweeps.tolist() == [votes[i] for i in index]
    assert combined.sweep.tolist() == [best[i][0] for i in index]
    assert combined.pixels.z.tolist() == [best[i][1] for i in index]


def test_nothing_to_combine():
    assert len(combine_sweeps([bad_of([], [])], "any").pixels) == 0
    with pytest.raises(ValueError, match="majority"):
        combine_sweeps([bad_of([1], [5])], "some")


def test_kinds_are_those_of_the_json():
    assert len(KINDS) == 8
