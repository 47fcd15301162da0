"""Which pixels are bad, and in what way, from the tests and a second look at suspects.

The tests say that a pixel is not as its surroundings; its values in some of the frames
say what is wrong with it. What several sweeps say of a pixel is put together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.pixel_suspects import (
    WEAK_Z,
    Limits,
    Suspects,
    neighbours,
    small_regions,
)
from dials_jungfrau_qc.algorithms.pixel_tests import ALWAYS, PanelTests

KINDS = (
    "dead",
    "under_responding",
    "hot",
    "noisy",
    "stuck",
    "flickering",
    "wrong_gain",
    "untrusted",
)
# Bits of the NXmx pixel_mask (NeXus definition of NXdetector): 1 dead, 2 under-responding,
# 3 over-responding, 4 noisy, 6 part of a cluster. What the standard does not name gets the
# bit that says what the pixel does: a constant value answers to nothing, as a dead pixel.
BITS = {
    "dead": 1 << 1,
    "under_responding": 1 << 2,
    "hot": 1 << 3,
    "noisy": 1 << 4,
    "stuck": 1 << 1,
    "flickering": 1 << 4,
    "wrong_gain": 1 << 4,
    "untrusted": 1 << 3,
}
CLUSTER_BIT = 1 << 6
# Photons: misread in the second gain, an empty pixel of a JUNGFRAU shows hundreds
# (the difference of the pedestals over its gain); its first gain ends near 25
OTHER_GAIN = 100


@dataclasses.dataclass(frozen=True)
class Look:
    """Values of suspects in some of the frames.

    Attributes:
        index: Flat index of the pixels, shape (n,).
        frames: Places of the frames in the series, shape (m,).
        values: Shape (n, m).
    """

    index: np.ndarray
    frames: np.ndarray
    values: np.ndarray

    def at(self, index: np.ndarray) -> Look:
        """The same for some of its pixels, given by flat index in rising order."""
        return Look(index, self.frames, self.values[np.searchsorted(self.index, index)])


@dataclasses.dataclass(frozen=True)
class BadPixels:
    """The bad pixels of a panel, arrays of shape (n,), with the evidence.

    Attributes:
        index: Flat index.
        kind: One of KINDS each.
        bits: NXmx bits.
        n_frames: Frames in which the pixel was seen.
        mean: Photons a frame, outliers left out; for pixels that always are outliers,
            of the values of the second look.
        expected: What its arc has.
        variance_ratio: Variance over mean, relative to the arc.
        z: Standard deviations in the test that it failed most.
        share: Share of the frames in which it is bad.
        first: Place of the first bad frame in the series, if single frames are bad.
        last: That of the last one.
    """

    index: np.ndarray
    kind: np.ndarray
    bits: np.ndarray
    n_frames: np.ndarray
    mean: np.ndarray
    expected: np.ndarray
    variance_ratio: np.ndarray
    z: np.ndarray
    share: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def __len__(self) -> int:
        return len(self.index)


def classify(
    tests: PanelTests,
    suspects: Suspects,
    look: Look,
    limits: Limits,
    trusted: tuple[float, float],
    negative: float = 1.0,
) -> BadPixels:
    """Give every bad pixel its kind, and let go the suspects that are none.

    Args:
        tests: Of the panel.
        suspects: Of the panel.
        look: Values of all suspects in some frames.
        limits: What counts as a fault.
        trusted: Lowest and highest trusted value.
        negative: Share of all values that are negative.
    """
    sums, at = tests.sums, look.index
    kind = np.full(len(at), "", dtype="U16")
    if not len(at):
        return _evidence(tests, look, kind)
    values = look.values.astype(np.float64)
    low, high, scatter, outlier, constant = (
        np.isin(at, getattr(suspects, name))
        for name in ("low", "high", "scatter", "outlier", "constant")
    )
    n = sums.n_frames
    expected = np.nan_to_num(tests.expected.reshape(-1)[at])
    response = tests.response(at)
    # Spots leave photons on pixels that hardly respond
    lit = response > limits.low
    response[lit] = tests.calm_response(at[lit])
    always = sums.n_outliers.reshape(-1)[at] >= ALWAYS * n

    photons = expected * n
    # As few as a dead pixel can have, with two standard deviations
    few = limits.dead * photons + 2 * np.sqrt(limits.dead * photons)
    kind[low] = np.where(
        response[low] * photons[low] <= few[low], "dead", "under_responding"
    )
    kind[high] = "hot"
    perhaps = np.isin(at, suspects.perhaps)
    kind[perhaps & _often_negative(values, trusted, negative, limits)] = "noisy"
    unsteady = scatter | (outlier & ~always)
    kind[unsteady] = _unsteady_kinds(values, expected)[unsteady]
    above = np.median(values, axis=1) >= expected
    kind[outlier & always] = np.where(above, "hot", "under_responding")[
        outlier & always
    ]
    in_other_gain = _in_other_gain(values, expected)
    kind[outlier & in_other_gain] = "wrong_gain"

    same = (values == values[:, :1]).all(axis=1) & (constant | low)
    same &= _small(same, at, tests.mask.shape)
    dark = same & low & (values[:, 0] == 0)
    kind[dark] = "dead"
    kind[same & ~dark] = "stuck"
    outside = ~((values >= trusted[0]) & (values <= trusted[1]))
    never = outside.all(axis=1)
    never &= sums.n_untrusted.reshape(-1)[at] >= ALWAYS * n
    never &= _small(never, at, tests.mask.shape)
    kind[never & ~same] = "untrusted"
    return _evidence(tests, look, kind)


def _small(which: np.ndarray, at: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Which of some pixels are not part of a large region of such pixels."""
    small = np.zeros(len(at), bool)
    small[which] = small_regions(at[which], shape)
    return small


def _unsteady_kinds(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Noisy, flickering or hot, from the values of pixels that scatter too much.

    Noise goes both ways, and photons are never negative; a flickering pixel is normal in
    many frames, a hot one in none.
    """
    spread = np.sqrt(expected)
    below = (values < np.maximum(0, expected - 2.2 * spread)[:, None]).sum(axis=1)
    above = (values > (expected + 3 * spread + 1)[:, None]).sum(axis=1)
    normal = (values <= np.ceil(expected)[:, None]).mean(axis=1)
    kinds = np.full(len(values), "flickering", dtype="U16")
    kinds[(normal < 0.15) & (above > 0.5 * values.shape[1])] = "hot"
    kinds[(below >= 2) & (below >= 0.2 * above)] = "noisy"
    return kinds


def _often_negative(
    values: np.ndarray, trusted: tuple[float, float], share: float, limits: Limits
) -> np.ndarray:
    """Which pixels have more negative values than any good one is likely to have.

    Args:
        values: Shape (n, m).
        trusted: Lowest and highest trusted value.
        share: Share of all values that are negative.
        limits: What counts as a fault.

    Returns:
        Bool array (n,), for pixels that scatter by at least WEAK_Z.
    """
    from scipy.stats import binom, norm

    n = values.shape[1]
    # Of a megapixel, as many scatter so much by chance
    rate = limits.false_alarms / (1e6 * norm.sf(WEAK_Z))
    least = max(2, int(binom.isf(min(rate, 0.5), n, min(share, 1.0))) + 1)
    below = ((values < 0) & (values >= trusted[0])).sum(axis=1)
    return below >= least


def _in_other_gain(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Pixels whose values lie partly where only another gain reaches, nothing between.

    A pixel that is always there must show the steps of that gain as well, for a hot
    pixel can be as bright.
    """
    limit = (expected + OTHER_GAIN)[:, None]
    other = values > limit
    between = (values > limit - 0.5 * OTHER_GAIN) & ~other
    n_other = other.sum(axis=1)
    clear = (n_other >= 2) & ~between.any(axis=1)
    ordered = np.sort(np.where(other, values, np.nan), axis=1)
    steps = np.diff(ordered, axis=1)
    # A photon is a step of 28 counts in the second gain, blurred by one; the values of a
    # hot pixel leave gaps of all sizes
    with np.errstate(invalid="ignore"):
        stepped = (steps > 15).any(axis=1) & ~((steps > 4) & (steps <= 15)).any(axis=1)
    sometimes = n_other < ALWAYS * values.shape[1]
    return clear & (sometimes | stepped)


def _evidence(tests: PanelTests, look: Look, kind: np.ndarray) -> BadPixels:
    """Collect the evidence of the pixels that have a kind."""
    keep = np.flatnonzero(kind != "")
    keep = keep[np.argsort(look.index[keep])]
    at, kind, sums = look.index[keep], kind[keep], tests.sums
    values = look.values[keep].astype(np.float64)
    n = sums.n_frames

    def of(image: np.ndarray) -> np.ndarray:
        return image.reshape(-1)[at]

    n_outliers = of(sums.n_outliers).astype(np.int64)
    seen = n - n_outliers
    mean = np.where(
        n_outliers >= ALWAYS * n,
        values.mean(axis=1) if values.size else np.nan,
        of(sums.total) / np.maximum(seen, 1),
    )
    z = np.stack([of(tests.z_low), of(tests.z_high), of(tests.z_scatter)])
    z = np.where(np.isfinite(z), z, 0)
    worst = np.abs(z).argmax(axis=0)
    expected = of(tests.expected)
    in_frames = np.isin(kind, ("flickering", "wrong_gain", "untrusted"))
    above = values > (expected + 3 * np.sqrt(expected) + 1)[:, None]
    shown = above.mean(axis=1) if values.size else np.zeros(len(at))
    share = np.where(in_frames, np.maximum(n_outliers / max(n, 1), shown), 1.0)
    isolated = in_frames & (of(sums.first_outlier) >= 0)
    bits = np.array([BITS[k] for k in kind], np.uint32)
    image = np.zeros(tests.mask.shape, bool)
    image.reshape(-1)[at] = True
    in_cluster = np.nansum(neighbours(image, np.divmod(at, image.shape[1])), axis=0) > 0
    bits[in_cluster] |= CLUSTER_BIT
    return BadPixels(
        index=at,
        kind=kind,
        bits=bits,
        n_frames=np.full(len(at), n),
        mean=mean,
        expected=expected,
        variance_ratio=tests.scatter(at),
        z=np.take_along_axis(z, worst[None], 0)[0],
        share=share,
        first=np.where(isolated, of(sums.first_outlier), -1),
        last=np.where(isolated, of(sums.last_outlier), -1),
    )


def look_places(n_frames: int, n_looks: int) -> np.ndarray:
    """Places of frames for the second look, evenly over the series."""
    n = min(n_frames, n_looks)
    return np.unique(np.linspace(0, n_frames - 1, n).round().astype(int))


def signal_pixels(index: np.ndarray, counts: np.ndarray, n_frames: int) -> BadPixels:
    """Pixels that are signal to spot finding in many frames, which is all known of them.

    Args:
        index: Flat indices.
        counts: Frames in which each pixel of the panel is signal.
        n_frames: Number of frames.
    """
    unknown = np.full(len(index), np.nan)
    return BadPixels(
        index=index,
        kind=np.full(len(index), "signal", dtype="U16"),
        bits=np.full(len(index), BITS["noisy"], np.uint32),
        n_frames=np.full(len(index), n_frames),
        mean=unknown,
        expected=unknown,
        variance_ratio=unknown,
        z=np.zeros(len(index)),
        share=counts.reshape(-1)[index] / n_frames,
        first=np.full(len(index), -1),
        last=np.full(len(index), -1),
    )


@dataclasses.dataclass(frozen=True)
class CombinedPixels:
    """The bad pixels of a panel in several sweeps.

    Attributes:
        pixels: With the evidence of the sweep that shows each of them best.
        sweep: Number of that sweep, from 0.
        n_sweeps: In how many sweeps each is bad.
    """

    pixels: BadPixels
    sweep: np.ndarray
    n_sweeps: np.ndarray


def combine_sweeps(sweeps: Sequence[BadPixels], rule: str) -> CombinedPixels:
    """Combine what several sweeps say of a panel.

    Args:
        sweeps: The bad pixels in each.
        rule: Bad in any, all or the majority of the sweeps.

    Raises:
        ValueError: No such rule.
    """
    least = {"any": 1, "all": len(sweeps), "majority": len(sweeps) // 2 + 1}
    if rule not in least:
        raise ValueError(f"there is no rule {rule}: {', '.join(least)}")
    index = np.concatenate([bad.index for bad in sweeps])
    sweep = np.repeat(np.arange(len(sweeps)), [len(bad) for bad in sweeps])
    badness = np.concatenate([np.abs(bad.z) + 100 * bad.share for bad in sweeps])
    # The best evidence of a pixel comes first among its own
    order = np.lexsort((-badness, index))
    _, first, n_sweeps = np.unique(index[order], return_index=True, return_counts=True)
    chosen = order[first][n_sweeps >= least[rule]]
    pixels = BadPixels(
        **{
            field.name: np.concatenate([getattr(bad, field.name) for bad in sweeps])[
                chosen
            ]
            for field in dataclasses.fields(BadPixels)
        }
    )
    return CombinedPixels(pixels, sweep[chosen], n_sweeps[n_sweeps >= least[rule]])
