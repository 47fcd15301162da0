"""Frames of photons with faults, and the search in them without files."""

from __future__ import annotations

import numpy as np

from dials_jungfrau_qc.algorithms.bad_pixels import (
    Look,
    classify,
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
)
from dials_jungfrau_qc.algorithms.pixel_tests import (
    test_panel,
)

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
