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

from dials_jungfrau_qc.simulation.detector_model import (
    ADC_MAXIMUM,
    CEILING_MARGIN,
    TRUNCATION,
    DetectorModel,
    GainSwitch,
    planned_gain_switch,
    shifted,
    with_notch,
)
from dials_jungfrau_qc.simulation.faults import NO_FAULTS, Faults

__all__ = [
    "DetectorModel",
    "GainSwitch",
    "Pixels",
    "actual_gain_switch",
    "draw_pixels",
    "expose",
    "planned_gain_switch",
    "read_out",
    "shifted",
    "tile_pixels",
    "to_counts",
    "with_notch",
]

# Pixels are read out in bands of this many: the work of one band stays in the cache.
_BAND = 1 << 15
# ADU/photon where there is no pixel: all that the converter can say is less than one.
_NO_SIGNAL = 1e6


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
        np.clip(draws, -TRUNCATION, TRUNCATION, out=draws)
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
        room = ADC_MAXIMUM - CEILING_MARGIN * model.noise[0]
        np.minimum(pedestal[0], room - gain[0] * switch[0], out=pedestal[0])
        # In the same way G1 is left before it has run out of codes.
        room = CEILING_MARGIN * model.noise[1]
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
