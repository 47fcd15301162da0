from __future__ import annotations

from types import SimpleNamespace

import pytest

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitch
from dials_jungfrau_qc.algorithms.gain_switch_joint import JointGainSwitch
from dials_jungfrau_qc.algorithms.linearity_verdict import (
    CAUSE_OF_TERM,
    FLUX,
    ORIENTATION,
    SELECTION,
    Linearity,
)
from dials_jungfrau_qc.algorithms.pile_up import (
    PileUp,
    PileUpSearch,
    RecommendedTransmission,
)
from dials_jungfrau_qc.algorithms.sentinels import Sentinels
from dials_jungfrau_qc.report.linearity_advice import linearity_advice
from dials_jungfrau_qc.report.pixel_advice import pixel_advice

LOW = GainSwitch(25.0, 0.1, -5.0, 0.1, 30.0, 0.6, 0.1)
CEILING = PileUp(10500.0, 20.0, 100.0, 50.0, 8.0, 60, 10024.0)


def advice(
    switch=None,
    detector_feature=None,
    bound_range=None,
    pile_ups=(None,),
    cut=None,
    beams=(None,),
    markers=(),
) -> str:
    """What is advised for groups with these pile-ups and (transmission, advice)."""
    n = max(len(pile_ups), len(beams))
    groups = [
        SimpleNamespace(transmission=beam and beam[0])
        for beam in [*beams, *[None] * (n - len(beams))]
    ]
    found = [
        SimpleNamespace(
            switch=SimpleNamespace(switch=switch, bound_range=bound_range),
            pile_up=PileUpSearch(pile_up, cut, 0.0, 100.0),
            recommended=beam and beam[1],
            sentinels=Sentinels(markers, (3,) * len(markers), 0),
        )
        for pile_up, beam in zip(
            [*pile_ups, *[None] * (n - len(pile_ups))],
            [*beams, *[None] * (n - len(beams))],
        )
    ]
    analysis = SimpleNamespace(
        features=found,
        joint=JointGainSwitch(switch, detector_feature, 0.0),
        intensities=None,
    )
    return " ".join(pixel_advice(groups, analysis))


@pytest.mark.parametrize("area, way", [(-5.0, "low"), (5.0, "high")])
def test_a_switch_asks_for_pedestals(area, way):
    switch = GainSwitch(25.0, 0.1, area, 0.1, 30.0, 0.6, 0.1)

    words = advice(switch, detector_feature=True)

    # 5 photons of 12.4 keV at 1.439 ADU/keV
    assert f"reads 5 photons too {way}, which is 89 ADU" in words
    assert "20 % if it is its gain" in words


def test_one_sweep_cannot_tell_the_detector_from_the_sample():
    assert "another transmission" in advice(LOW)
    assert "another transmission" not in advice(LOW, detector_feature=True)


def test_a_feature_of_the_sample_needs_nothing():
    words = advice(detector_feature=False)

    assert "pedestals" not in words and "the sample" in words


@pytest.mark.parametrize(
    "bound_range, words", [((12, 40), "keep the bound"), ((30, 40), "pixels=frames")]
)
def test_without_a_switch_the_reach_of_the_data_matters(bound_range, words):
    assert words in advice(bound_range=bound_range)


def test_the_lowest_ceiling_ends_the_trusted_range():
    higher = PileUp(10600.0, 20.0, 100.0, 50.0, 8.0, 60, 10100.0)

    words = advice(pile_ups=(higher, CEILING))

    assert "trusted range to 10024" in words and "Attenuate the beam." in words


def test_a_cut_hides_the_pile_up():
    assert "pixels=frames" in advice(bound_range=(12, 40), cut=8000.0)


def test_the_beam_is_judged_by_the_strongest_sweep_that_is_not_clipped():
    words = advice(
        beams=(
            (0.1, RecommendedTransmission(0.46, False, 0.001, 0.0)),
            (0.25, RecommendedTransmission(0.44, False, 0.001, 0.0)),
            (1.0, RecommendedTransmission(0.93, True, 0.001, 0.006)),
        )
    )

    assert "Attenuate: at a transmission of 0.44 or less at most 0.1 %" in words
    assert "0.6 % at 1" in words


def test_the_beam_of_clipped_sweeps_alone_has_an_upper_limit():
    words = advice(beams=((1.0, RecommendedTransmission(0.93, True, 0.001, 0.006)),))

    assert "Attenuate: somewhere below a transmission of 0.93" in words


def test_a_weak_beam_needs_no_attenuation():
    words = advice(beams=((0.1, RecommendedTransmission(0.4, False, 0.001, 0.0)),))

    assert "asks for no attenuation" in words and "0.4 or less" in words


def test_markers_ask_for_a_mask():
    assert "with a mask" in advice(markers=(-1,))


def test_no_pixels():
    analysis = SimpleNamespace(features=[None], joint=None, intensities=None)

    assert "shoeboxes" in " ".join(pixel_advice([None], analysis))


def linearity(linear, causes=(), cannot_tell=(), unexplained=()) -> list[str]:
    return linearity_advice(
        Linearity(
            linear, 0.01, 1e4, 1e3, True, causes, cannot_tell, (), unexplained, ()
        )
    )


@pytest.mark.parametrize("cause", [FLUX, SELECTION, *set(CAUSE_OF_TERM.values())])
def test_every_cause_has_its_advice(cause):
    (words,) = linearity(False, causes=(cause,))

    assert len(words) > 50


def test_two_causes_of_one_kind_are_advised_on_once():
    assert len(linearity(False, causes=("gain-stage gain", "gain-stage offset"))) == 1


def test_a_linear_detector_needs_nothing():
    assert "needs nothing" in linearity(True)[0]


def test_what_cannot_be_told_says_how_to_tell():
    (words,) = linearity(None, cannot_tell=((FLUX, "uniform decay"),))
    assert "repeat the first sweep" in words and "uniform decay" in words

    (words,) = linearity(None, cannot_tell=(("gain-stage gain", "gain-stage offset"),))
    assert words.startswith("If it is gain-stage gain or gain-stage offset: take new")

    one, other = linearity(None, cannot_tell=((SELECTION, FLUX),))
    assert SELECTION in one and FLUX in other

    (words,) = linearity(None, cannot_tell=((FLUX, ORIENTATION),))
    assert "same orientation" in words

    (words,) = linearity(None)
    assert "differ more" in words


def test_unexplained_residuals_are_pointed_at():
    assert any(
        "the brightest pixel" in words
        for words in linearity(None, unexplained=("peak",))
    )
