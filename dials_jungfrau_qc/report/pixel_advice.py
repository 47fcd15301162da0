"""What to do about what the pixel values show."""

from __future__ import annotations

from collections.abc import Sequence

from dials_jungfrau_qc.algorithms.gain_switch import GainSwitch
from dials_jungfrau_qc.algorithms.pixel_features import PixelFeatures
from dials_jungfrau_qc.algorithms.pixel_verdict import SWITCH_COUNTS
from dials_jungfrau_qc.io.pixel_analysis import PixelAnalysis
from dials_jungfrau_qc.io.spot_pixels import SpotPixels

# One photon of 12.4 keV in the second gain, -1.439 ADU/keV (defaults of jungfraujoch)
ADU_PER_PHOTON = 12.4 * 1.439


def pixel_advice(spots: Sequence[SpotPixels], analysis: PixelAnalysis) -> list[str]:
    """What to do, most important first.

    Args:
        spots: The groups.
        analysis: What was found in them.
    """
    found = [
        (group, features)
        for group, features in zip(spots, analysis.features)
        if features is not None
    ]
    if not found:
        return [
            "Look at the pixels as well: give a file with shoeboxes, such as indexed.refl."
        ]
    advice = _switch_advice(found, analysis)
    advice += _ceiling_advice(found)
    if any(features.sentinels.n_pixels for _, features in found):
        advice.append(
            "Import the images with a mask: pixels that hold marks of invalid readings "
            "were taken for measurements."
        )
    return advice


def _switch_advice(
    found: Sequence[tuple[SpotPixels, PixelFeatures]], analysis: PixelAnalysis
) -> list[str]:
    joint, switch = analysis.joint, analysis.joint.switch
    if joint.detector_feature is False:
        return [
            "The gain switch needs nothing: what moves with the beam is the sample."
        ]
    if switch is not None:
        advice = [_recalibrate(switch)]
        if joint.detector_feature is None and len(found) < 2:
            advice.append(
                "To be sure that it is the detector, compare a sweep at another "
                "transmission: a gain switch stays at the same counts."
            )
        if analysis.intensities is None:
            advice.append(
                "To see whether it reaches the intensities, run dials.pixel_histogram "
                "integrated.refl and, with several transmissions, "
                "dials.transmission_linearity."
            )
        return advice
    if any(features.switch.switch for _, features in found):
        return [
            "Look at the fit of each histogram below: they do not agree on a gain switch."
        ]
    reaching = [
        features.switch
        for _, features in found
        if features.switch.bound_range
        and features.switch.bound_range[0] <= SWITCH_COUNTS[0]
    ]
    if reaching:
        return [
            "The gain switch needs nothing: keep the bound with the data. More pixels "
            "would bring it down."
        ]
    return [
        "To see the gain switch, histogram the images themselves (pixels=frames with the "
        "experiment list), or take more images at a higher transmission."
    ]


def _recalibrate(switch: GainSwitch) -> str:
    way = "low" if switch.area < 0 else "high"
    size = abs(switch.area)
    return (
        f"Take new pedestals of the second gain (forced G1) at the exposure time of the "
        f"data: against the first gain it reads {size:.2g} photons too {way}, which is "
        f"{ADU_PER_PHOTON * size:.0f} ADU if it is its pedestal and the photons have "
        f"12.4 keV, or {100 * size / switch.position:.0f} % if it is its gain."
    )


def _ceiling_advice(found: Sequence[tuple[SpotPixels, PixelFeatures]]) -> list[str]:
    advice = []
    ceilings = [f.pile_up.pile_up for _, f in found if f.pile_up.pile_up]
    if ceilings:
        lowest = min(c.suggested_trusted_maximum for c in ceilings)
        advice.append(
            f"Set the upper limit of the trusted range to {lowest:.0f}, so that integration "
            "rejects the reflections with pixels that pile up: they are measured too weak."
        )
    elif any(f.pile_up.cut is not None for _, f in found):
        advice.append(
            "To see the pile-up, histogram the images themselves (pixels=frames), which "
            "have no upper limit."
        )
    advice += _beam_advice(found) or ["Attenuate the beam."] * bool(ceilings)
    return advice


def _beam_advice(found: Sequence[tuple[SpotPixels, PixelFeatures]]) -> list[str]:
    known = [(g, f.recommended) for g, f in found if f.recommended and g.transmission]
    if not known:
        return []
    brightest, now = max(known, key=lambda pair: pair[0].transmission)
    # Clipped spots cannot tell by how much; else the strongest beam, as the nearest
    telling = [pair for pair in known if not pair[1].is_upper_limit]
    if telling:
        _, limit = max(telling, key=lambda pair: pair[0].transmission)
        place = f"at a transmission of {limit.transmission:.2g} or less"
    else:
        limit = min((limit for _, limit in known), key=lambda x: x.transmission)
        place = f"somewhere below a transmission of {limit.transmission:.2g}"
    goal = (
        f"{place} at most {100 * limit.share:g} % of the reflections reach the ceiling"
    )
    if limit.transmission < brightest.transmission:
        share = f"{100 * now.share_now:.2g} % at {brightest.transmission:.3g}"
        return [f"Attenuate: {goal} ({share})."]
    return [f"The ceiling asks for no attenuation: {goal}."]
