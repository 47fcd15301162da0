"""The physics of a JUNGFRAU pixel: photons to ADC units in three gains, and back.

Every function takes bare arrays of photons of any shape, so that statistical tests
can drive the detector without a crystal, a geometry or a file.

A pixel integrates the charge of its photons. Below its first switch point it is
digitised in the high gain G0, above in G1, above the second switch point in G2, each
with a pedestal and a gain of its own, by a converter of 14 bits (Redford et al. 2018,
JINST 13 C01027). The value in photons is computed afterwards with the calibration in
use, which need not be the pixel's own: that difference is what puts a notch into the
histogram of pixel values at the switch point.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from dials_jungfrau_qc.simulation.faults import NO_FAULTS, Faults

ADC_MAXIMUM = 2**14 - 1

# Pixels are read out in bands of this many: the work of one band stays in the cache.
_BAND = 1 << 15
# Draws from a normal distribution end here, so that no pixel is impossible.
_TRUNCATION = 4.0
# The first comparator fires at least this many standard deviations of the noise
# below the ceiling of the converter.
_CEILING_MARGIN = 10.0
# ADU/photon where there is no pixel: all that the converter can say is less than one.
_NO_SIGNAL = 1e6


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
            if max(abs(value) for value in getattr(self, name)) >= 1 / _TRUNCATION:
                raise ValueError(f"{name} must be below {1 / _TRUNCATION}")
        if self.switching and self.switch_energy[0] > self._highest_first_switch():
            raise ValueError(
                "the first gain meets its ceiling before it switches: the switch energy "
                f"must be below {self._highest_first_switch():.0f} keV, "
                f"not {self.switch_energy[0]} keV"
            )

    def _highest_first_switch(self) -> float:
        """Energy in keV that still fits under the ceiling of G0, pedestal at 0."""
        level = ADC_MAXIMUM - _CEILING_MARGIN * self.noise[0]
        spread = _TRUNCATION * self.switch_spread[0] * self.photon_energy
        gain = self.gain[0] * (1 + _TRUNCATION * self.gain_spread[0])
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


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of one detector, each with its own constants.

    Attributes:
        shape: Of the detector.
        gain: Float array (3, n), ADU/photon, pixels flattened.
        pedestal: Float array (3, n), ADU.
        noise: ADU rms, one for each gain.
        switch: Float array (2, n), photons at which the pixel leaves G0 and G1.
        gain_in_use: Float array (3, n), the calibration, ADU/photon.
        pedestal_in_use: Float array (3, n), the calibration, ADU.
        adc_maximum: Highest code of the converter.
        compression: As in DetectorModel.
        faults: Bad pixels.
    """

    shape: tuple[int, ...]
    gain: np.ndarray
    pedestal: np.ndarray
    noise: tuple[float, float, float]
    switch: np.ndarray
    gain_in_use: np.ndarray
    pedestal_in_use: np.ndarray
    adc_maximum: float = ADC_MAXIMUM
    compression: float = float("inf")
    faults: Faults = field(default=NO_FAULTS)

    @property
    def size(self) -> int:
        return self.gain.shape[1]

    def ceiling(self, stage: int = 2) -> np.ndarray:
        """Highest value of each pixel in one gain.

        Args:
            stage: 0, 1 or 2.

        Returns:
            Float array (n,), photons by the calibration in use.
        """
        end = np.where(self.gain[stage] > 0, self.adc_maximum, 0.0)
        return (end - self.pedestal_in_use[stage]) / self.gain_in_use[stage]


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


def actual_gain_switch(
    pixels: Pixels, stage: int = 0, use: np.ndarray | None = None
) -> GainSwitch | None:
    """The gain switch of drawn pixels: means and standard deviations over them.

    Args:
        pixels: The detector.
        stage: The gain that is left, 0 or 1.
        use: Bool array, the pixels to look at; all by default.

    Returns:
        Position, J and their spreads; None where no pixel switches.
    """
    use = slice(None) if use is None else np.ravel(use)
    photons = pixels.switch[stage][use].astype(np.float64)
    if not photons.size or not np.isfinite(photons).all():
        return None

    def value(s: int) -> np.ndarray:
        adc = pixels.pedestal[s][use] + pixels.gain[s][use] * photons
        return (adc - pixels.pedestal_in_use[s][use]) / pixels.gain_in_use[s][use]

    position = value(stage)
    area = value(stage + 1) - position
    return GainSwitch(
        position=float(position.mean()),
        spread=float(position.std()),
        area=float(area.mean()),
        area_spread=float(area.std()),
    )


def draw_pixels(
    model: DetectorModel,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    faults: Faults = NO_FAULTS,
) -> Pixels:
    """Draw the constants of every pixel of a detector.

    Args:
        model: What is typical and how much pixels differ.
        shape: Of the detector.
        rng: Source of the differences.
        faults: Bad pixels, by flat index.

    Returns:
        The pixels.
    """
    n = int(np.prod(shape))

    def normal(mean: float, spread: float) -> np.ndarray:
        draws = rng.standard_normal(n, dtype=np.float32)
        np.clip(draws, -_TRUNCATION, _TRUNCATION, out=draws)
        draws *= spread
        draws += mean
        return draws

    gain, pedestal, gain_in_use, pedestal_in_use = (
        np.empty((3, n), dtype=np.float32) for _ in range(4)
    )
    for s, per_photon in enumerate(model.gain_per_photon):
        gain[s] = normal(per_photon, abs(per_photon) * model.gain_spread[s])
        pedestal[s] = normal(model.pedestal[s], model.pedestal_spread[s])

    first, second = model.switch_photons
    switch = np.empty((2, n), dtype=np.float32)
    adc_maximum = float(ADC_MAXIMUM)
    if model.switching:
        switch[0] = normal(first, model.switch_spread[0])
        switch[1] = normal(second, second * model.switch_spread[1])
        # A comparator at a fixed level below the ceiling makes the switch, so the
        # pedestal of a pixel that switches late must be a low one.
        room = ADC_MAXIMUM - _CEILING_MARGIN * model.noise[0]
        np.minimum(pedestal[0], room - gain[0] * switch[0], out=pedestal[0])
        # In the same way G1 is left before it has run out of codes.
        room = _CEILING_MARGIN * model.noise[1]
        np.minimum(switch[1], (room - pedestal[1]) / gain[1], out=switch[1])
    else:
        switch[:] = np.inf
        adc_maximum = model.pedestal[0] + model.gain_per_photon[0] * model.ceiling(2)

    for s in range(3):
        np.divide(
            gain[s],
            1 + normal(model.gain_error[s], model.gain_error_spread[s]),
            out=gain_in_use[s],
        )
        pedestal_in_use[s] = pedestal[s] - model.pedestal_error[s] * gain_in_use[s]
        pedestal_in_use[s] += normal(0.0, model.pedestal_error_spread[s])

    return Pixels(
        shape=tuple(shape),
        gain=gain,
        pedestal=pedestal,
        noise=model.noise,
        switch=switch,
        gain_in_use=gain_in_use,
        pedestal_in_use=pedestal_in_use,
        adc_maximum=adc_maximum,
        compression=model.compression,
        faults=faults,
    )


def tile_pixels(
    shape: tuple[int, int],
    origins: list[tuple[int, int]],
    modules: list[Pixels],
    faults: Faults = NO_FAULTS,
) -> Pixels:
    """Put the pixels of modules together to those of a detector.

    Args:
        shape: Of the detector, (slow, fast).
        origins: First pixel of each module, (slow, fast).
        modules: Pixels of each; their faults are not taken over.
        faults: Bad pixels of the detector, by flat index.

    Returns:
        The detector. What lies between modules reads zero.
    """

    def tile(name: str, between: float) -> np.ndarray:
        n = len(getattr(modules[0], name))
        tiled = np.full((n, *shape), between, dtype=np.float32)
        for (slow, fast), module in zip(origins, modules):
            height, width = module.shape
            part = getattr(module, name).reshape(n, height, width)
            tiled[:, slow : slow + height, fast : fast + width] = part
        return tiled.reshape(n, -1)

    return replace(
        modules[0],
        shape=tuple(shape),
        gain=tile("gain", _NO_SIGNAL),
        pedestal=tile("pedestal", 0.0),
        switch=tile("switch", np.inf),
        gain_in_use=tile("gain_in_use", _NO_SIGNAL),
        pedestal_in_use=tile("pedestal_in_use", 0.0),
        faults=faults,
    )


def _convert(
    photons: np.ndarray,
    noise: np.ndarray,
    gain: np.ndarray,
    pedestal: np.ndarray,
    gain_in_use: np.ndarray,
    pedestal_in_use: np.ndarray,
    adc_maximum: float,
) -> np.ndarray:
    """Photons to ADC codes to photons in one gain; noise in ADU is overwritten."""
    adc = noise
    adc += gain * photons
    adc += pedestal
    np.rint(adc, out=adc)
    np.clip(adc, 0, adc_maximum, out=adc)
    adc -= pedestal_in_use
    adc /= gain_in_use
    return adc


def _read_band(
    photons: np.ndarray, pixels: Pixels, band: slice, rng: np.random.Generator
) -> np.ndarray:
    """Read out neighbouring pixels of one frame; arguments as in read_out."""
    noise = rng.standard_normal(photons.size, dtype=np.float32)
    switched = np.flatnonzero(photons >= pixels.switch[0, band])
    where = switched + band.start
    stage = 1 + (photons[switched] >= pixels.switch[1, where])
    sigma = np.asarray(pixels.noise, dtype=np.float32)
    high = _convert(
        photons[switched],
        noise[switched] * sigma[stage],
        pixels.gain[stage, where],
        pixels.pedestal[stage, where],
        pixels.gain_in_use[stage, where],
        pixels.pedestal_in_use[stage, where],
        pixels.adc_maximum,
    )
    noise *= sigma[0]
    values = _convert(
        photons,
        noise,
        pixels.gain[0, band],
        pixels.pedestal[0, band],
        pixels.gain_in_use[0, band],
        pixels.pedestal_in_use[0, band],
        pixels.adc_maximum,
    )
    values[switched] = high
    return values


def read_out(
    photons: np.ndarray, pixels: Pixels, rng: np.random.Generator
) -> np.ndarray:
    """Read photons with the detector.

    Args:
        photons: Photons that hit each pixel, an array of the detector's shape or of
            several frames of it (n_frames, *shape).
        pixels: The detector.
        rng: Source of the noise.

    Returns:
        Float32 array of the same shape: photons by the calibration in use, before
        rounding.

    Raises:
        ValueError: If the shape of photons is not that of the detector.
    """
    photons = np.asarray(photons)
    n_dim = len(pixels.shape)
    if photons.shape[photons.ndim - n_dim :] != pixels.shape:
        raise ValueError(
            f"photons of shape {photons.shape} do not fit a detector of shape "
            f"{pixels.shape}"
        )
    values = np.array(photons, dtype=np.float32, order="C")
    for frame in values.reshape(-1, pixels.size):
        _read_frame(frame, pixels, rng)
    return values


def _read_frame(frame: np.ndarray, pixels: Pixels, rng: np.random.Generator) -> None:
    """Replace the photons of one flat frame by what is read."""
    faults = pixels.faults
    faults.add_charge(frame, rng)
    if np.isfinite(pixels.compression):
        frame /= 1 + frame / np.float32(pixels.compression)
    misread = faults.misread(frame, pixels, rng)
    for start in range(0, pixels.size, _BAND):
        band = slice(start, min(start + _BAND, pixels.size))
        frame[band] = _read_band(frame[band], pixels, band, rng)
    faults.replace_values(frame, misread)


def expose(
    mean: np.ndarray, pixels: Pixels, rng: np.random.Generator, n_sum: int = 1
) -> np.ndarray:
    """Illuminate the detector and read it.

    Args:
        mean: Expected photons of each pixel in the exposure, as for read_out.
        pixels: The detector.
        rng: Source of the photons and of the noise.
        n_sum: Frames that the exposure is divided into; they are added before rounding.

    Returns:
        Float32 array of the same shape: photons by the calibration in use.

    Raises:
        ValueError: If a mean is negative or the shape is not that of the detector.
    """
    mean = np.asarray(mean)
    total = np.zeros(mean.shape, dtype=np.float32)
    for _ in range(n_sum):
        total += read_out(_draw_photons(mean, n_sum, rng), pixels, rng)
    return total


def _draw_photons(mean: np.ndarray, n_sum: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson photons of one frame out of n_sum, in bands, as float32."""
    flat = np.ascontiguousarray(mean).reshape(-1)
    photons = np.empty(flat.size, dtype=np.float32)
    for start in range(0, flat.size, _BAND):
        band = slice(start, start + _BAND)
        photons[band] = rng.poisson(flat[band] / n_sum)
    return photons.reshape(mean.shape)


def to_counts(values: np.ndarray) -> np.ndarray:
    """Round photons to the integers that a file holds, as int32."""
    return np.rint(values).astype(np.int32)
