from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dials_jungfrau_qc.algorithms.bad_pixels import (
    CLUSTER_BIT,
    KINDS,
    BadPixels,
    Look,
    classify,
    combine_sweeps,
    look_places,
)
from dials_jungfrau_qc.algorithms.pixel_statistics import (
    PixelAccumulator,
    estimate_background,
    n_blocks,
)
from dials_jungfrau_qc.algorithms.pixel_suspects import (
    Limits,
    find_suspects,
    small_regions,
)
from dials_jungfrau_qc.algorithms.pixel_tests import (
    dispersion_z,
    line_response,
    poisson_z,
    test_panel,
)

test_panel.__test__ = False
TRUSTED = (-(2.0**31) + 1, 2.0**31 - 2)
SHAPE = (192, 256)
LIMITS = Limits()


def find(frames, mask=None, limits=LIMITS, trusted=TRUSTED, centre=(300, 100)):
    """The bad pixels of frames [frame][slow, fast], as the program finds them."""
    n, *shape = frames.shape
    mask = np.ones(shape, bool) if mask is None else mask
    background = estimate_background(frames[look_places(n, 4)], mask, trusted)
    accumulator = PixelAccumulator(background, trusted)
    for block in np.array_split(np.arange(n), n_blocks(n)):
        accumulator.add([frames[k] for k in block], block)
        accumulator.end_block()
    slow, fast = np.mgrid[: shape[0], : shape[1]]
    angle = (slow - float(centre[0])) ** 2 + (fast - float(centre[1])) ** 2
    tests = test_panel(accumulator.sums, mask, angle.__getitem__)
    suspects = find_suspects(tests, limits, background.high)
    index = suspects.index
    places = look_places(n, 40)
    values = frames[places].reshape(len(places), -1)[:, index].T
    look = Look(index, places, values)
    return classify(tests, suspects, look, limits, trusted, background.negative)


def photons(n, rate=0.5, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).poisson(rate, (n, *shape)).astype(np.int32)


def kinds_at(bad, pixels, shape=SHAPE):
    kinds = dict(zip(bad.index.tolist(), bad.kind.tolist()))
    return [kinds.get(slow * shape[1] + fast) for slow, fast in pixels]


PLACES = [(20 + 15 * (i // 8), 15 + 30 * (i % 8)) for i in range(80)]


def plant(frames, kind, strength, rng):
    """Spoil the pixels of PLACES in one way."""
    n = len(frames)
    for slow, fast in PLACES:
        pixel = frames[:, slow, fast]
        if kind in ("dead", "under_responding"):
            pixel[:] = rng.binomial(pixel, strength)
        elif kind == "hot":
            pixel += rng.poisson(strength, n).astype(np.int32)
        elif kind == "noisy":
            pixel[:] = np.rint(pixel + rng.normal(0, strength, n))
        elif kind == "stuck":
            pixel[:] = strength
        elif kind == "flickering":
            when = rng.random(n) < 0.1
            pixel[when] += rng.poisson(strength, when.sum()).astype(np.int32)
        elif kind == "wrong_gain":
            when = rng.random(n) < strength
            pixel[when] = np.rint(
                670 - 28.5 * pixel[when] + rng.normal(0, 1, when.sum())
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


def test_skipped_tests_are_named():
    frames = photons(12, rate=0.1)
    background = estimate_background(frames[:4], np.ones(SHAPE, bool), TRUSTED)
    accumulator = PixelAccumulator(background, TRUSTED)
    accumulator.add(list(frames), range(12))
    accumulator.end_block()
    angle = np.arange(192 * 256.0).reshape(SHAPE)

    skipped = test_panel(
        accumulator.sums, np.ones(SHAPE, bool), angle.__getitem__
    ).skipped

    assert len(skipped) == 2
    assert "24 images" in skipped[0] and "10 photons" in skipped[1]


def spot_image(positions, height, sigma=0.8):
    slow, fast = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros(SHAPE)
    for s, f in positions:
        image += height * np.exp(-((slow - s) ** 2 + (fast - f) ** 2) / 2 / sigma**2)
    return image


def rotation(height, seed=5):
    """As many spots as a protein crystal gives, each on three images."""
    rng = np.random.default_rng(seed)
    frames = photons(240)
    for k in range(0, 240, 3):
        spots = spot_image(rng.random((12, 2)) * SHAPE, height)
        for j in range(3):
            frames[k + j] += rng.poisson(spots).astype(np.int32)
    return frames, rng


@pytest.mark.parametrize("height", [5, 30, 1000])
def test_bragg_spots_are_no_faults(height):
    frames, _ = rotation(height)

    assert len(find(frames)) == 0


@pytest.mark.parametrize("height", [5, 30, 1000])
def test_spots_that_come_back(height):
    """Twenty spots on the same pixels four times, in half of the blocks of time."""
    frames, rng = rotation(height)
    spots = spot_image(rng.random((20, 2)) * SHAPE, height)
    for k in (20, 21, 80, 81, 140, 141, 200, 201):
        frames[k] += rng.poisson(spots).astype(np.int32)

    # Faint ones that hardly pass the limit for outliers can look like flickering
    assert len(find(frames)) <= (2 if height == 5 else 0)


def test_a_spot_that_stays_is_no_fault():
    rng = np.random.default_rng(6)
    frames = photons(60)
    still = spot_image(rng.random((20, 2)) * SHAPE, 40)
    frames += rng.poisson(still, frames.shape).astype(np.int32)

    assert len(find(frames)) == 0


def test_edges_and_shadows_are_no_faults():
    """A beam stop with an arm, half in the shade."""
    rng = np.random.default_rng(7)
    light = np.full(SHAPE, 2.0)
    slow, fast = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(slow - 90, fast - 120)
    light *= np.clip((distance - 18) / 5, 0, 1)
    light[90:, 116:124] *= 0.3
    frames = rng.poisson(light, (120, *SHAPE)).astype(np.int32)

    assert len(find(frames, centre=(90, 120))) <= 1


def test_double_pixels_are_no_faults():
    rng = np.random.default_rng(8)
    light = np.full(SHAPE, 1.0)
    light[:, 127:129] *= 2
    light[95] *= 2
    frames = rng.poisson(light, (120, *SHAPE)).astype(np.int32)
    frames[:, 30, 127] = 0

    bad = find(frames)

    assert bad.index.tolist() == [30 * SHAPE[1] + 127]


def test_line_response():
    response = np.random.default_rng(0).normal(1, 0.1, (300, 300)).astype(np.float32)
    response[:, 100] *= 2
    response[40:60] *= 1.5

    factors = line_response(response)

    # Twenty rows are no line
    assert factors[:, 100] == pytest.approx(2.0, abs=0.15)
    assert (np.delete(factors, 100, axis=1) == 1).all()


def test_masked_pixels_and_gaps_are_left_alone():
    frames = photons(60)
    mask = np.ones(SHAPE, bool)
    mask[50:58] = False
    frames[:, 50:58] = -(2**31)
    # A gap that nobody has masked
    frames[:, :, 60:66] = -1

    assert len(find(frames, mask)) == 0


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


@pytest.mark.parametrize("mean", [5.0, 30.0, 400.0])
def test_poisson_z_is_normal_far_out(mean):
    """One in a thousand and one in a million on either side."""
    for probability in (1e-3, 1e-6):
        for tail in (
            stats.poisson.ppf(probability, mean),
            stats.poisson.isf(probability, mean),
        ):
            if tail == 0:
                # There is nothing further out
                continue
            z = poisson_z(np.array([tail]), np.array([mean]), np.array([1.0]))[0]
            exact = stats.norm.isf(probability)
            assert abs(z) == pytest.approx(exact, abs=0.25 + 2 / np.sqrt(mean))


@pytest.mark.parametrize("rate,n", [(0.3, 300), (0.5, 60), (2.0, 40), (50.0, 40)])
def test_dispersion_z_has_the_right_tail(rate, n):
    rng = np.random.default_rng(0)
    x = rng.poisson(rate, (200_000, n)).astype(np.float32)
    mean = x.mean(axis=1)
    ratio = x.var(axis=1, ddof=1) / np.maximum(mean, 1e-6)

    z = dispersion_z(ratio, np.full(len(x), rate), n - 1)

    for limit in (2.0, 3.0, 3.7):
        expected = stats.norm.sf(limit) * len(x)
        assert (z > limit).sum() < 2.0 * expected + 4 * np.sqrt(expected)
        assert (z > limit).sum() > 0.3 * expected - 4 * np.sqrt(expected)


def test_too_few_photons_for_the_dispersion():
    assert np.isnan(dispersion_z(np.array([3.0]), np.array([0.01]), 50)).all()


def test_small_regions():
    image = np.zeros((30, 30), bool)
    image[2, 2] = True
    image[10:20, 10:20] = True
    # Connected at a corner
    image[20, 20] = True

    # The ends of neighbouring rows do not touch
    image[24:, [0, -1]] = [[True, True]]
    index = np.flatnonzero(image)

    small = index[small_regions(index, image.shape, largest=6)]

    expected = [[2, 2], *([s, f] for s in range(24, 30) for f in (0, 29))]
    np.testing.assert_array_equal(np.divmod(small, 30), np.transpose(expected))


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"false_alarms": 0},
        {"dead": 0.9},
        {"low": 1.2},
        {"high": 0.9},
        {"scatter": 1.0},
        {"share": 0.0},
    ],
)
def test_impossible_limits(wrong):
    with pytest.raises(ValueError):
        Limits(**wrong)


def test_rate_of_false_alarms_sets_the_threshold():
    assert Limits(false_alarms=0.1).z == pytest.approx(stats.norm.isf(1e-7))


def test_kinds_are_those_of_the_json():
    assert len(KINDS) == 8
