"""The gain switch with smooth models of several orders.

Which order describes the histogram best is not known beforehand, and a position or an area that
holds for one order alone is not found: all orders that are about as good are believed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dials_jungfrau_qc.algorithms.smooth_histogram import Window
from dials_jungfrau_qc.algorithms.switch_model import Shape, SwitchFit, fit_switch
from dials_jungfrau_qc.algorithms.switch_scan import SwitchScan

# Orders of the smooth model within this of the best Akaike criterion are all believed.
AIC_TOLERANCE = 4.0

OrderFit = tuple[Window, SwitchFit]


def fit_smooth(windows: Sequence[Window]) -> list[OrderFit]:
    """The smooth model alone, at every order.

    Args:
        windows: The same counts with smooth models of ascending order.
    """
    fits: list[OrderFit] = []
    for window in windows:
        start = [_raise_order(fits[-1], window)] if fits else None
        fits.append((window, fit_switch([window], None, start)))
    return fits


def _raise_order(fitted: OrderFit, window: Window) -> np.ndarray:
    """The same curve as coefficients of a window of higher order."""
    lower, fit = fitted
    more = np.zeros(window.order - lower.order)
    return np.insert(fit.coefficients[0], lower.order + 1, more)


def akaike(fitted: OrderFit) -> float:
    """Akaike's criterion of the smooth model alone, up to a constant."""
    window, fit = fitted
    return fit.deviance / fit.dispersion[0] + 2.0 * window.order


def fit_orders(smooth_fits: Sequence[OrderFit], scan: SwitchScan) -> list[OrderFit]:
    """Full fits at every order worth believing, the best first.

    Args:
        smooth_fits: Of the smooth model alone, in ascending order.
        scan: Where to begin.
    """
    position, area = scan.best()
    limits = (float(scan.positions[0]), float(scan.positions[-1]))
    start = Shape(position, area if area else 0.1)
    fits: list[OrderFit] = []
    for i, (window, smooth) in enumerate(smooth_fits):
        starts = []
        if fits:
            # From the fit of lower order, so that a higher one is never worse.
            starts.append((fits[-1][1].shape, _raise_order(fits[-1], window)))
        if i in (0, len(smooth_fits) // 2):
            starts.append((start, smooth.coefficients[0]))
        tries = [
            fit_switch([window], s, [c], position_limits=limits) for s, c in starts
        ]
        fits.append((window, min(tries, key=lambda fit: fit.deviance)))
    dispersion = min(f.dispersion[0] for _, f in fits)
    scores = [f.deviance / dispersion + 2.0 * w.order for w, f in fits]
    ranked = [fits[i] for i in np.argsort(scores, kind="stable")]
    scores.sort()
    return [f for f, score in zip(ranked, scores) if score < scores[0] + AIC_TOLERANCE]


def least_significance(
    smooth_fits: Sequence[OrderFit],
    fits: Sequence[OrderFit],
    scan: SwitchScan,
    call_significance: float,
) -> float:
    """Least significance of the area, over the orders that are believed.

    It is taken against the better of no switch and of a switch with J = 0, which only blurs.

    Args:
        smooth_fits: Of the smooth model alone.
        fits: Those with a switch that are believed, the best first.
        scan: For the number of trials.
        call_significance: Where it is less the second comparison is left out.
    """
    alone = {w.order: f.deviance for w, f in smooth_fits}
    dispersion = fits[0][1].dispersion[0]
    against_none = min(
        significance_of(alone[w.order] - f.deviance, dispersion, scan.trials)
        for w, f in fits
    )
    if against_none < call_significance:
        return against_none
    smooth = {w.order: f for w, f in smooth_fits}
    limits = (float(scan.positions[0]), float(scan.positions[-1]))
    found = [against_none]
    for window, fit in fits:
        blurred = fit_switch(
            [window],
            Shape(fit.shape.position, 0.0),
            list(smooth[window.order].coefficients),
            fixed_area=0.0,
            position_limits=limits,
        )
        gain = blurred.deviance - fit.deviance
        found.append(significance_of(gain, dispersion, scan.trials))
    return min(found)


def significance_of(gain: float, dispersion: float, trials: float) -> float:
    """Standard deviations, two-sided, of a drop in deviance after all trials."""
    from scipy.special import log_ndtr, ndtri_exp

    if gain <= 0:
        return 0.0
    log_p = log_ndtr(-math.sqrt(gain / dispersion)) + math.log(trials)
    # Two-sided p is twice the tail; its equivalent deviation halves it again.
    return float(-ndtri_exp(log_p)) if log_p < math.log(0.5) else 0.0
