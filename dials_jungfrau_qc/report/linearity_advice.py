"""What to do about what a transmission series shows."""

from __future__ import annotations

from dials_jungfrau_qc.algorithms.linearity_terms import (
    B_DECAY,
    COMPRESSION,
    G1_GAIN,
    G1_OFFSET,
    OFFSET,
    UNIFORM,
)
from dials_jungfrau_qc.algorithms.linearity_verdict import (
    CAUSE_OF_TERM,
    FLUX,
    ORIENTATION,
    SELECTION,
    Linearity,
)

_NAMES = {"peak": "the brightest pixel"}
_RECALIBRATE = (
    "Take new pedestals and gains of the second gain (forced G1) at the exposure time of "
    "the data. Until then keep strong spots in the first gain, below some 25 photons a "
    "pixel at 12.4 keV, by attenuating the beam."
)
_DECAY = (
    "The crystal decays, which is no fault of the detector: let dials.scale model it, and "
    "begin with the weakest beam."
)
_OF_CAUSE = {
    FLUX: (
        "Trust the relative beam below and not the recorded transmission, and have the "
        "attenuators calibrated: the detector is not to blame for this part."
    ),
    SELECTION: (
        "Integrate without a cut on I/sigma: choosing reflections by their own errors makes "
        "weak sweeps look too strong."
    ),
    CAUSE_OF_TERM[UNIFORM]: _DECAY,
    CAUSE_OF_TERM[B_DECAY]: _DECAY,
    CAUSE_OF_TERM[G1_GAIN]: _RECALIBRATE,
    CAUSE_OF_TERM[G1_OFFSET]: _RECALIBRATE,
    CAUSE_OF_TERM[COMPRESSION]: (
        "Attenuate, so that no pixel comes near its ceiling, and set the trusted range: "
        "dials.pixel_histogram indexed.refl says where it should end."
    ),
    CAUSE_OF_TERM[OFFSET]: (
        "Look at the background model of integration: the offset matters for the weakest "
        "reflections of the most attenuated sweeps only."
    ),
    ORIENTATION: (
        "To tell the detector from the orientation, measure all transmissions in the same "
        "orientation of one crystal."
    ),
}


def linearity_advice(found: Linearity) -> list[str]:
    """What to do, in the order of the causes.

    Args:
        found: The answer.
    """
    advice = [_OF_CAUSE[cause] for cause in found.causes if cause in _OF_CAUSE]
    for question in found.cannot_tell:
        advice += _to_tell(question)
    if found.unexplained:
        names = " and ".join(_NAMES.get(name, name) for name in found.unexplained)
        advice.append(
            f"Look at the residuals against {names} below: no term describes them."
        )
    if found.linear:
        advice.append(
            "The detector needs nothing: intensities of these sweeps may be compared and "
            "scaled together."
        )
    elif found.linear is None and not advice:
        advice.append(
            "Measure again with transmissions that differ more, or with more or stronger "
            "reflections."
        )
    return list(dict.fromkeys(advice))


def _to_tell(question: tuple[str, ...]) -> list[str]:
    """What to do about causes that the data do not tell apart."""
    if ORIENTATION in question:
        return [_OF_CAUSE[ORIENTATION]]
    if any(_OF_CAUSE.get(cause) == _DECAY for cause in question):
        return [
            f"To tell {' and '.join(question)} apart, repeat the first sweep at the end of "
            "the series: decay changes it and a detector or an attenuator does not."
        ]
    same: dict[str, list[str]] = {}
    for cause in question:
        same.setdefault(_OF_CAUSE[cause], []).append(cause)
    return [
        f"If it is {' or '.join(causes)}: {words[0].lower()}{words[1:]}"
        for words, causes in same.items()
    ]
