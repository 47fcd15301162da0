"""What is typical for the pixels of a JUNGFRAU, and the gain switches that follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

# All are 14 bits.
ADC_MAXIMUM = 2**14 - 1
# Draws from a normal distribution end here, so that no pixel is impossible.
TRUNCATION = 4.0
# A comparator fires at least this many standard deviations of the noise before the
# converter runs out of codes.
CEILING_MARGIN = 10.0


@dataclass(frozen=True)
class DetectorModel:
    """What is typical for the pixels of a detector, and how much they differ.

    Triples are for the gains G0, G1, G2; spreads are standard deviations between
    pixels.

    Attributes:
        photon_energy: keV.
        gain: ADU/keV (defaults of jungfraujoch).
        gain_spread: Relative.
        pedestal: ADU.
        pedestal_spread: ADU.
        noise: Electronic noise, ADU rms.
        switch_energy: Energy in a pixel at which it leaves G0 and G1, keV.
        switch_spread: Photons for the first switch; the second is a fraction.
        gain_error: Relative error of the calibration in use: a value is read
            (1 + gain_error) times too high.
        gain_error_spread: Relative.
        pedestal_error: Photons by which a value is read too high.
        pedestal_error_spread: ADU.
        compression: Photons q are seen as q / (1 + q / compression); infinite for none.
        switching: False for a detector that never leaves its first gain and whose
            converter has bits enough to reach the same ceiling.
    """

    photon_energy: float = 12.4
    gain: tuple[float, float, float] = (41.0, -1.439, -0.1145)
    gain_spread: tuple[float, float, float] = (0.01, 0.01, 0.01)
    pedestal: tuple[float, float, float] = (3000.0, 15000.0, 15000.0)
    pedestal_spread: tuple[float, float, float] = (100.0, 450.0, 100.0)
    noise: tuple[float, float, float] = (13.0, 4.8, 4.8)
    switch_energy: tuple[float, float] = (310.0, 8700.0)
    switch_spread: tuple[float, float] = (0.6, 0.05)
    gain_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gain_error_spread: tuple[float, float, float] = (0.01, 0.01, 0.01)
    # Real detectors overlap at the first switch: their G1 reads several photons low.
    pedestal_error: tuple[float, float, float] = (0.0, -5.0, 0.0)
    pedestal_error_spread: tuple[float, float, float] = (5.0, 5.0, 5.0)
    compression: float = float("inf")
    switching: bool = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.photon_energy) and self.photon_energy > 0):
            raise ValueError(
                f"the photon energy must be positive, not {self.photon_energy} keV"
            )
        if not self.gain[0] > 0 > max(self.gain[1:]):
            raise ValueError(
                "the gain of G0 must be positive and those of G1 and G2 negative, "
                f"not {self.gain}"
            )
        if not 0 < self.switch_energy[0] < self.switch_energy[1]:
            raise ValueError(
                f"the switch energies must be positive and rise, not {self.switch_energy}"
            )
        if not self.compression > 0:
            raise ValueError(f"compression must be positive, not {self.compression}")
        for name in (
            "gain_spread",
            "pedestal_spread",
            "noise",
            "switch_spread",
            "gain_error_spread",
            "pedestal_error_spread",
        ):
            if min(getattr(self, name)) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("gain_spread", "gain_error_spread", "gain_error"):
            if max(abs(value) for value in getattr(self, name)) >= 1 / TRUNCATION:
                raise ValueError(f"{name} must be below {1 / TRUNCATION}")
        if self.switching and self.switch_energy[0] > self._highest_first_switch():
            raise ValueError(
                "the first gain meets its ceiling before it switches: the switch energy "
                f"must be below {self._highest_first_switch():.0f} keV, "
                f"not {self.switch_energy[0]} keV"
            )

    def _highest_first_switch(self) -> float:
        """Energy in keV that still fits under the ceiling of G0, pedestal at 0."""
        level = ADC_MAXIMUM - CEILING_MARGIN * self.noise[0]
        spread = TRUNCATION * self.switch_spread[0] * self.photon_energy
        gain = self.gain[0] * (1 + TRUNCATION * self.gain_spread[0])
        return level / gain - spread

    @property
    def gain_per_photon(self) -> tuple[float, float, float]:
        """ADU/photon."""
        return tuple(gain * self.photon_energy for gain in self.gain)

    @property
    def switch_photons(self) -> tuple[float, float]:
        """True photons at which the typical pixel leaves G0 and G1."""
        return tuple(energy / self.photon_energy for energy in self.switch_energy)

    def value(self, photons: float, stage: int) -> float:
        """What the typical pixel reads in one gain, without noise.

        Args:
            photons: Charge in the pixel, photons.
            stage: 0, 1 or 2.

        Returns:
            Photons by the calibration in use.
        """
        return (1 + self.gain_error[stage]) * photons + self.pedestal_error[stage]

    def ceiling(self, stage: int) -> float:
        """Highest value that the typical pixel can give in one gain.

        Args:
            stage: 0, 1 or 2.

        Returns:
            Photons by the calibration in use.
        """
        gain, pedestal = self.gain_per_photon[stage], self.pedestal[stage]
        end = ADC_MAXIMUM if gain > 0 else 0
        return self.value((end - pedestal) / gain, stage)


@dataclass(frozen=True)
class GainSwitch:
    """A gain switch as the histogram of pixel values shows it.

    Attributes:
        position: n_sw, the value at which the typical pixel leaves the lower stage,
            photons.
        spread: Standard deviation of the position between pixels, photons.
        area: J, photons by which values jump at the switch: a deficit from n_sw to
            n_sw + J where positive, an overlap where negative.
        area_spread: Standard deviation of J between pixels, photons.
    """

    position: float
    spread: float
    area: float
    area_spread: float


def with_notch(
    model: DetectorModel,
    area: float | None = None,
    position: float | None = None,
    spread: float | None = None,
) -> DetectorModel:
    """Plan a gain switch of given looks through the pedestal error of G1.

    Args:
        model: Everything else.
        area: J, photons; the model's own by default.
        position: n_sw, photons; the model's own by default.
        spread: Of the position between pixels, photons; the model's own by default.

    Returns:
        The model with a first switch of that position, spread and area.

    Raises:
        ValueError: If the converter's ceiling lies below such a switch.
    """
    if area is None:
        slope = model.gain_error[1] - model.gain_error[0]
        offset = model.pedestal_error[1] - model.pedestal_error[0]
        area = slope * model.switch_photons[0] + offset
    if position is not None:
        photons = (position - model.pedestal_error[0]) / (1 + model.gain_error[0])
        model = replace(
            model,
            switch_energy=(photons * model.photon_energy, model.switch_energy[1]),
        )
    if spread is not None:
        model = replace(model, switch_spread=(spread, model.switch_spread[1]))
    photons = model.switch_photons[0]
    offset = model.value(photons, 0) + area - (1 + model.gain_error[1]) * photons
    errors = (model.pedestal_error[0], offset, model.pedestal_error[2])
    return replace(model, pedestal_error=errors)


def shifted(model: DetectorModel, position: float, area: float) -> DetectorModel:
    """Move the first gain switch, as one module's may lie beside another's.

    Args:
        model: Of the detector.
        position: To be added to n_sw, photons.
        area: To be added to J, photons.

    Returns:
        The model with that switch; as it was if it does not switch at all.

    Raises:
        ValueError: If the converter's ceiling lies below such a switch.
    """
    switch = planned_gain_switch(model)
    if switch is None or (position == 0 and area == 0):
        return model
    return with_notch(model, switch.area + area, switch.position + position)


def planned_gain_switch(model: DetectorModel, stage: int = 0) -> GainSwitch | None:
    """The gain switch that a model leads to, from its parameters alone.

    Args:
        model: Of the detector.
        stage: The gain that is left, 0 or 1.

    Returns:
        Position, J and their spreads; None for a detector that does not switch.
    """
    if not model.switching:
        return None
    photons = model.switch_photons[stage]
    spread = model.switch_spread[stage] * (1.0 if stage == 0 else photons)
    below, above = stage, stage + 1
    errors = [
        np.hypot(
            model.gain_error_spread[s] * photons,
            model.pedestal_error_spread[s] / model.gain_per_photon[s],
        )
        for s in (below, above)
    ]
    slope = model.gain_error[above] - model.gain_error[below]
    return GainSwitch(
        position=model.value(photons, below),
        spread=float(np.hypot((1 + model.gain_error[below]) * spread, errors[0])),
        area=model.value(photons, above) - model.value(photons, below),
        area_spread=float(
            np.sqrt(errors[0] ** 2 + errors[1] ** 2 + (slope * spread) ** 2)
        ),
    )
