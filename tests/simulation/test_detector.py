from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dials_jungfrau_qc.simulation.detector import (
    DetectorModel,
    actual_gain_switch,
    draw_pixels,
    expose,
    planned_gain_switch,
    read_out,
    shifted,
    tile_pixels,
    to_counts,
    with_notch,
)
from dials_jungfrau_qc.simulation.detector_model import ADC_MAXIMUM

N = 200_000
# Every pixel the same, so that expectations are exact.
UNIFORM = DetectorModel(
    gain_spread=(0, 0, 0),
    pedestal_spread=(0, 0, 0),
    switch_spread=(0, 0),
    gain_error_spread=(0, 0, 0),
    pedestal_error=(0, 0, 0),
    pedestal_error_spread=(0, 0, 0),
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("stage, mean", [(0, 8.0), (1, 300.0), (2, 3000.0)])
@pytest.mark.parametrize("gain_error, offset", [(0.0, 0.0), (0.05, -2.0)])
def test_mean_and_variance_of_flat_illumination(stage, mean, gain_error, offset):
    errors, offsets = [0.0] * 3, [0.0] * 3
    errors[stage], offsets[stage] = gain_error, offset
    model = replace(UNIFORM, gain_error=tuple(errors), pedestal_error=tuple(offsets))
    values = expose(np.full(N, mean), draw_pixels(model, (N,), rng(1)), rng(2))

    # Noise and rounding of the converter, in photons
    electronic = (model.noise[stage] ** 2 + 1 / 12) / model.gain_per_photon[stage] ** 2
    variance = (1 + gain_error) ** 2 * (mean + electronic)
    expected = (1 + gain_error) * mean + offset
    assert values.mean() == pytest.approx(expected, abs=4 * np.sqrt(variance / N))
    # The variance of a variance, with the fourth moment of a Poisson distribution
    error = variance * np.sqrt((2 + 1 / mean) / N)
    assert values.var() == pytest.approx(variance, abs=4 * error)


@pytest.mark.parametrize("photons", [12, 400, 4000])
def test_readout_is_unbiased(photons):
    # Known photons: only noise and rounding are left, and half an ADC unit would show.
    values = read_out(np.full(N, photons), draw_pixels(UNIFORM, (N,), rng(1)), rng(2))
    stage = np.searchsorted(UNIFORM.switch_photons, photons)
    unit = 1 / abs(UNIFORM.gain_per_photon[stage])
    error = np.hypot(UNIFORM.noise[stage], 0.3) * unit / np.sqrt(N)
    assert values.mean() == pytest.approx(photons, abs=5 * error + 1e-5 * photons)


def measured_area(model, seed, upper=60.0):
    """J from a flat spectrum: how many values are missing below a high count."""
    n = 2_000_000
    photons = rng(seed).integers(0, 100, n)
    values = read_out(photons, draw_pixels(model, (n,), rng(seed + 1)), rng(seed + 2))
    # Below upper lie the counts 0 to (upper - d1) / (1 + e1), half of the last one.
    below = np.count_nonzero(values < upper) / n * 100
    offset = upper - (below - 0.5) * (1 + model.gain_error[1])
    return offset + model.gain_error[1] * model.switch_photons[0]


@pytest.mark.parametrize("area", [-6.0, -2.0, 0.0, 0.7, 2.0])
@pytest.mark.parametrize("spread", [0.6, 2.0])
def test_area_of_the_notch_in_a_flat_spectrum(area, spread):
    model = with_notch(DetectorModel(), area, position=22.0, spread=spread)
    # 2 million photon counts out of 100: a share of 0.6 has an error of 0.035 counts.
    assert measured_area(model, 5) == pytest.approx(area, abs=0.14)


def test_position_of_the_notch_in_read_values():
    model = with_notch(DetectorModel(), -5.0, position=23.0, spread=1.0)
    pixels = draw_pixels(model, (N,), rng(3))
    read = np.array(
        [np.median(read_out(np.full(N, q), pixels, rng(4))) for q in range(18, 29)]
    )
    # At 23 photons half of the pixels have left G0: the median falls between both.
    photons = np.arange(18, 29)
    assert read[photons < 22] == pytest.approx(photons[photons < 22], abs=0.1)
    assert read[photons > 24] == pytest.approx(photons[photons > 24] - 5, abs=0.1)
    switched = read_out(np.full(N, 23), pixels, rng(4)) < 20.5
    assert switched.mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(N))


@pytest.mark.parametrize(
    "model",
    [
        DetectorModel(),
        DetectorModel(gain_error=(0.02, -0.05, 0.03), pedestal_error=(0.2, 1.0, -7.0)),
        with_notch(DetectorModel(photon_energy=20.0), 1.3, 14.0, 0.4),
    ],
)
@pytest.mark.parametrize("stage", [0, 1])
def test_planned_switch_is_that_of_the_pixels(model, stage):
    planned = planned_gain_switch(model, stage)
    actual = actual_gain_switch(draw_pixels(model, (N,), rng(7)), stage)
    for name in ("position", "area"):
        error = getattr(
            planned, f"{'area_' if name == 'area' else ''}spread"
        ) / np.sqrt(N)
        assert getattr(actual, name) == pytest.approx(
            getattr(planned, name), abs=5 * error + 1e-3
        )
    assert actual.spread == pytest.approx(planned.spread, rel=0.02)
    assert actual.area_spread == pytest.approx(planned.area_spread, rel=0.02)


def test_default_overlaps_by_several_photons():
    switch = planned_gain_switch(DetectorModel())
    assert switch.position == pytest.approx(25.0)
    assert switch.area == pytest.approx(-5.0)


def test_notch_of_a_miscalibrated_gain():
    model = DetectorModel(gain_error=(0.0, 0.04, 0.0), pedestal_error=(0.0, 0.0, 0.0))
    assert planned_gain_switch(model).area == pytest.approx(0.04 * 25)
    assert planned_gain_switch(shifted(model, 0.5, -1.0)).area == pytest.approx(0.0)
    assert planned_gain_switch(shifted(model, 0.5, -1.0)).position == pytest.approx(
        25.5
    )


def test_ceiling_of_every_pixel():
    model = DetectorModel()
    assert [round(model.ceiling(s) - model.pedestal_error[s], 1) for s in range(3)] == [
        26.3,
        840.6,
        10564.9,
    ]
    pixels = draw_pixels(model, (N,), rng(8))
    values = expose(np.full(N, 40_000.0), pixels, rng(9))
    assert values == pytest.approx(pixels.ceiling(), rel=1e-5)
    assert np.median(values) == pytest.approx(model.ceiling(2), rel=1e-3)
    # The pedestal and two gains, that of the pixel and that in use, spread it.
    assert values.std() / values.mean() == pytest.approx(
        np.hypot(100 / 15000, 0.01 * 2**0.5), rel=0.1
    )


def test_no_pixel_meets_the_ceiling_of_a_gain_before_it_switches():
    model = with_notch(DetectorModel(), 0.0, 24.0, 1.5)
    pixels = draw_pixels(model, (N,), rng(10))
    for stage in (0, 1):
        adc = pixels.pedestal[stage] + pixels.gain[stage] * pixels.switch[stage]
        assert adc.max() < ADC_MAXIMUM
        assert adc.min() > 0


def test_a_detector_that_does_not_switch():
    model = replace(UNIFORM, switching=False)
    pixels = draw_pixels(model, (N,), rng(11))
    assert planned_gain_switch(model) is None
    assert actual_gain_switch(pixels) is None
    for photons in (0, 24, 26, 1000, 9000):
        values = read_out(np.full(N, photons), pixels, rng(12))
        assert to_counts(values) == pytest.approx(photons)
    assert read_out(np.full(N, 20_000), pixels, rng(12)).max() == pytest.approx(
        model.ceiling(2), rel=1e-4
    )


def test_frames_are_added_before_rounding():
    # 40 photons switch in one frame and not in two halves.
    model = with_notch(UNIFORM, -5.0)
    pixels = draw_pixels(model, (N,), rng(13))
    mean = np.full(N, 20.0)
    assert expose(2 * mean, pixels, rng(14)).mean() == pytest.approx(35.0, abs=0.1)
    in_g1 = np.mean(rng(15).poisson(mean) >= 25)
    expected = 40.0 - 2 * 5 * in_g1
    assert expose(2 * mean, pixels, rng(14), n_sum=2).mean() == pytest.approx(
        expected, abs=0.1
    )


def test_compression():
    model = replace(UNIFORM, compression=3000.0)
    pixels = draw_pixels(model, (N,), rng(16))
    for photons in (10.0, 1500.0, 6000.0):
        values = read_out(np.full(N, photons), pixels, rng(17))
        assert values.mean() == pytest.approx(photons / (1 + photons / 3000), rel=1e-3)


def test_shapes_and_reproducibility():
    pixels = draw_pixels(DetectorModel(), (40, 50), rng(18))
    mean = np.full((3, 40, 50), 5.0)
    frames = expose(mean, pixels, rng(19))
    assert frames.shape == (3, 40, 50)
    assert frames.dtype == np.float32
    assert np.array_equal(frames, expose(mean, pixels, rng(19)))
    assert not np.array_equal(frames, expose(mean, pixels, rng(20)))
    with pytest.raises(ValueError, match=r"\(50, 40\) do not fit .* \(40, 50\)"):
        expose(np.zeros((50, 40)), pixels, rng())


def test_pixels_of_a_module_keep_their_constants_in_a_detector():
    modules = [draw_pixels(DetectorModel(), (4, 6), rng(i)) for i in (1, 2)]
    pixels = tile_pixels((10, 6), [(0, 0), (6, 0)], modules)
    gain = pixels.gain.reshape(3, 10, 6)
    assert np.array_equal(gain[:, :4], modules[0].gain.reshape(3, 4, 6))
    assert np.array_equal(gain[:, 6:], modules[1].gain.reshape(3, 4, 6))
    values = read_out(np.full((10, 6), 100), pixels, rng(3))
    assert (to_counts(values[4:6]) == 0).all()


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"photon_energy": 0.0}, "photon energy"),
        ({"photon_energy": float("nan")}, "photon energy"),
        ({"gain": (41.0, 1.4, -0.1)}, "must be positive and those"),
        ({"switch_energy": (400.0, 8700.0)}, "ceiling"),
        ({"switch_energy": (310.0, 200.0)}, "rise"),
        ({"noise": (-1.0, 0.0, 0.0)}, "noise"),
        ({"compression": 0.0}, "compression"),
        ({"gain_error_spread": (0.5, 0.0, 0.0)}, "gain_error_spread"),
    ],
)
def test_impossible_models(parameters, message):
    with pytest.raises(ValueError, match=message):
        DetectorModel(**parameters)
