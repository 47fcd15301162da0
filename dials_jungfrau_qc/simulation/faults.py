"""Bad pixels: which ones, of what kind and how bad, and what they do to a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dials_jungfrau_qc.simulation.detector import Pixels


@dataclass(frozen=True)
class FaultKind:
    """One kind of bad pixel.

    Attributes:
        strength: What the number called strength means for this kind.
        rate: Default share of the pixels.
        range: Default range of the strength.
        logarithmic: Strengths are drawn uniformly in the logarithm.
        share: Default range of the share of frames in which the pixel is bad.
        mask_bit: Bit of the NXmx pixel_mask that describes such a pixel.
    """

    strength: str
    rate: float
    range: tuple[float, float]
    logarithmic: bool = False
    share: tuple[float, float] = (1.0, 1.0)
    mask_bit: int = 4


KINDS: Mapping[str, FaultKind] = {
    "dead": FaultKind("response, 1 is normal", 2.5e-4, (0.0, 0.05), mask_bit=1),
    "under_responding": FaultKind(
        "response, 1 is normal", 2.5e-4, (0.05, 0.7), mask_bit=2
    ),
    "hot": FaultKind("photons a frame too many", 1e-4, (1.0, 50.0), True, mask_bit=3),
    "noisy": FaultKind("extra noise, photons rms", 2e-4, (1.0, 10.0), True),
    "stuck": FaultKind("the constant value, photons", 1e-4, (1.0, 10500.0), True),
    "wrong_gain": FaultKind(
        "1: G0 read with the constants of G1", 5e-5, (1.0, 1.0), share=(0.1, 1.0)
    ),
    "flickering": FaultKind(
        "photons a frame too many when bad", 5e-5, (5.0, 50.0), True, share=(0.1, 0.5)
    ),
}


@dataclass(frozen=True, eq=False)
class Faults:
    """The bad pixels of a detector; a pixel has one fault at most.

    Attributes:
        index: Int array (n,), flat index of the pixel.
        kind: String array (n,), a key of KINDS.
        strength: Float array (n,), see KINDS.
        share: Float array (n,), share of frames in which the pixel is bad, drawn anew
            for each frame.
    """

    index: np.ndarray
    kind: np.ndarray
    strength: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def _bad(self, *kinds: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.kind, kinds))

    def _bad_now(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        pixels = self._bad(kind)
        return pixels[rng.random(len(pixels)) < self.share[pixels]]

    def add_charge(self, frame: np.ndarray, rng: np.random.Generator) -> None:
        """Change the photons of a flat frame where a fault acts before the readout.

        Args:
            frame: Float array, photons; changed in place.
            rng: Source of randomness.
        """
        if not len(self):
            return
        low = self._bad("dead", "under_responding")
        where = self.index[low]
        photons = np.maximum(frame[where], 0).astype(np.int64)
        frame[where] = rng.binomial(photons, self.strength[low])
        for high in (self._bad("hot"), self._bad_now("flickering", rng)):
            frame[self.index[high]] += rng.poisson(self.strength[high])
        noisy = self._bad("noisy")
        frame[self.index[noisy]] += rng.normal(0, self.strength[noisy])

    def misread(
        self, frame: np.ndarray, pixels: Pixels, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """What pixels in G0 read whose gain bits claim that they are in G1.

        Args:
            frame: Float array, photons, flat.
            pixels: The detector.
            rng: Source of randomness.

        Returns:
            Flat indices of the pixels and their values in photons.
        """
        if not len(self):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        where = self.index[self._bad_now("wrong_gain", rng)]
        where = where[frame[where] < pixels.switch[0, where]]
        adc = pixels.pedestal[0, where] + pixels.gain[0, where] * frame[where]
        adc = np.clip(
            np.rint(adc + rng.normal(0, pixels.noise[0], len(where))),
            0,
            pixels.adc_maximum,
        )
        return where, (adc - pixels.pedestal_in_use[1, where]) / pixels.gain_in_use[
            1, where
        ]

    def replace_values(
        self, frame: np.ndarray, misread: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Put in the values that faults make after the readout.

        Args:
            frame: Float array, values in photons, flat; changed in place.
            misread: From the method of that name.
        """
        if not len(self):
            return
        where, values = misread
        frame[where] = values
        stuck = self._bad("stuck")
        frame[self.index[stuck]] = self.strength[stuck]


NO_FAULTS = Faults(
    index=np.empty(0, dtype=np.int64),
    kind=np.empty(0, dtype="U16"),
    strength=np.empty(0),
    share=np.empty(0),
)


def draw_faults(
    candidates: np.ndarray,
    rng: np.random.Generator,
    rates: Mapping[str, float] | None = None,
    strengths: Mapping[str, tuple[float, float]] | None = None,
    shares: Mapping[str, tuple[float, float]] | None = None,
) -> Faults:
    """Draw bad pixels at given rates.

    Args:
        candidates: Int array, flat indices of the pixels that can be bad.
        rng: Source of randomness.
        rates: Share of the candidates, by kind; kinds left out get the rate of KINDS.
        strengths: Range of the strength, by kind, as rates.
        shares: Range of the share of frames, by kind, as rates.

    Returns:
        The bad pixels, in rising order of index.

    Raises:
        ValueError: If a kind does not exist, a rate is outside 0 to 1, the rates add
            up to more than 1, or a range is impossible.
    """
    rates, strengths, shares = (
        dict(rates or {}),
        dict(strengths or {}),
        dict(shares or {}),
    )
    for name in {*rates, *strengths, *shares} - set(KINDS):
        raise ValueError(f"no kind of bad pixel is called {name}: {', '.join(KINDS)}")
    rates = {kind: rates.get(kind, KINDS[kind].rate) for kind in KINDS}
    for kind, rate in rates.items():
        if not 0 <= rate <= 1:
            raise ValueError(
                f"the rate of {kind} pixels must be from 0 to 1, not {rate}"
            )
    if sum(rates.values()) > 1:
        raise ValueError("the rates of bad pixels add up to more than 1")

    # A rate says how many on average: the number itself is not rounded to an integer
    # that is the same for every seed.
    numbers = {
        kind: rng.poisson(rate * len(candidates)) for kind, rate in rates.items()
    }
    total = min(sum(numbers.values()), len(candidates))
    index = rng.choice(candidates, total, replace=False)
    kind = np.repeat(list(numbers), list(numbers.values()))[:total].astype("U16")
    strength, share = np.empty(total), np.empty(total)
    for name, description in KINDS.items():
        of_kind = np.flatnonzero(kind == name)
        low, high = strengths.get(name, description.range)
        if low > high or (description.logarithmic and low <= 0):
            raise ValueError(
                f"strengths of {name} pixels cannot go from {low} to {high}"
            )
        fraction = rng.random(len(of_kind))
        if description.logarithmic:
            strength[of_kind] = low * (high / low) ** fraction
        else:
            strength[of_kind] = low + (high - low) * fraction
        low, high = shares.get(name, description.share)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"shares of frames of {name} pixels must lie in 0 to 1")
        share[of_kind] = low + (high - low) * rng.random(len(of_kind))
    order = np.argsort(index)
    return Faults(index[order], kind[order], strength[order], share[order])
