"""Sums of the intensities of like reflections, which the joint model is fitted to.

Reflections are grouped by intensity, resolution and place in the sweep. The intensity
is the pooled one, whose errors do not correlate with the share of one sweep, and
so are the variances: weights and bins taken from single observations would favour
those that came out low.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from dials_jungfrau_qc.algorithms.labels import without_gaps
from dials_jungfrau_qc.algorithms.sweep_series import SweepSeries, pooled_intensity

# Below this I/sigma of all sweeps together a reflection says nothing of linearity
_MINIMUM_SIGNIFICANCE = 1.0
_REFLECTIONS_A_GROUP = 8
_INTENSITY_BINS = (6, 32)
# A residual of so many standard deviations is an accident, not an error of counting
_OUTLIER = 7.0
# A group of fewer reflections cannot show which of them is an accident
_FEW = 3
_VARIANCE_SCALE_FLOOR = 0.25


@dataclasses.dataclass(frozen=True)
class Groups:
    """Reflections in groups, G of them, and the sums of their intensities.

    Attributes:
        rows: Reflections that are used, shape (m,).
        label: Group of each of these, shape (m,).
        pooled: Intensity of each at T = 1 from all sweeps, shape (m,).
        beam: Relative beam of each sweep that pooled is for, shape (K,).
        total: Sum of the intensities of each sweep, shape (K, G).
        variance: Of the sums, shape (K, G).
        used: Which sweeps have the group, bool, shape (K, G).
        intensity_bin: Bin by intensity of each group, shape (G,).
        variance_scale: Factor on the variances from the scatter of single reflections,
            by intensity bin.
        n_outliers: Reflections left out for a residual beyond 7 standard deviations.
    """

    rows: np.ndarray
    label: np.ndarray
    pooled: np.ndarray
    beam: np.ndarray
    total: np.ndarray
    variance: np.ndarray
    used: np.ndarray
    intensity_bin: np.ndarray
    variance_scale: np.ndarray
    n_outliers: int

    @property
    def n_groups(self) -> int:
        return self.total.shape[1]

    @property
    def n_observations(self) -> int:
        """Sums beyond those that the unknown intensities take up."""
        return int(self.used.sum()) - self.n_groups

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of a value of the used reflections over groups.

        Args:
            values: Shape (m,) or (K, m).

        Returns:
            Shape (G,) or (K, G).
        """
        if values.ndim == 1:
            return np.bincount(self.label, values, self.n_groups)
        return np.array([self.sums(row) for row in values])


def group_reflections(
    series: SweepSeries, beam: np.ndarray, keep: np.ndarray | None = None
) -> Groups:
    """Group the reflections of a series and add them up.

    Args:
        series: The sweeps.
        beam: Relative beam of each, shape (K,).
        keep: Reflections that may be used, bool, shape (n,); all if None.

    Raises:
        ValueError: Too few reflections are left.
    """
    rows, pooled = _usable(series, beam, keep)
    groups = _sum_up(series, rows, pooled, beam)
    outlying = _outliers(series, groups)
    if outlying.any():
        groups = _sum_up(series, rows[~outlying], pooled[~outlying], beam)
    return dataclasses.replace(groups, n_outliers=int(outlying.sum()))


def each_alone(
    series: SweepSeries, beam: np.ndarray, keep: np.ndarray, variance_scale: float
) -> Groups | None:
    """Groups of one reflection each, none of which is left out as an accident.

    Args:
        series: The sweeps.
        beam: Relative beam of each, shape (K,).
        keep: Reflections to use, bool, shape (n,).
        variance_scale: Factor on the variances.

    Returns:
        The groups; None if no reflection can be used.
    """
    rows, pooled = _usable(series, beam, keep)
    n = len(rows)
    if not n:
        return None
    used = series.present[:, rows]
    variance = np.where(used, series.variance[:, rows], 0)
    one_bin = np.zeros(n, dtype=np.int64)
    share = _variance_shares(variance, used, one_bin, 1)[:, one_bin] * used
    expected = share / share.sum(axis=0) * variance.sum(axis=0)
    return Groups(
        rows=rows,
        label=np.arange(n),
        pooled=pooled,
        beam=beam,
        total=np.where(used, series.intensity[:, rows], 0),
        variance=expected * variance_scale + ~used,
        used=used,
        intensity_bin=one_bin,
        variance_scale=np.array([variance_scale]),
        n_outliers=0,
    )


def _usable(
    series: SweepSeries, beam: np.ndarray, keep: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Reflections that say something, and their pooled intensities, shape (m,)."""
    pooled, sigma = pooled_intensity(series, beam)
    usable = (series.present.sum(axis=0) > 1) & (pooled > _MINIMUM_SIGNIFICANCE * sigma)
    if keep is not None:
        usable &= keep
    rows = np.flatnonzero(usable)
    return rows, pooled[rows]


def _sum_up(
    series: SweepSeries, rows: np.ndarray, pooled: np.ndarray, beam: np.ndarray
) -> Groups:
    n = len(rows)
    if n < 2 * _REFLECTIONS_A_GROUP:
        raise ValueError(
            f"only {n} reflections are strong enough and in two sweeps or more: too few "
            "to look at linearity"
        )
    present = series.present[:, rows]
    n_cells = max(1, n // _REFLECTIONS_A_GROUP)
    # Few data keep enough bins along the sweep to see a drift, and in resolution
    wanted = np.sqrt(n_cells / 30)
    n_d, n_position = int(np.clip(wanted, 3, 5)), int(np.clip(wanted, 4, 5))
    n_bins = int(np.clip(n_cells / (n_d * n_position), *_INTENSITY_BINS))
    intensity_bin = quantile_bins(pooled, n_bins)
    cell = intensity_bin
    for values, n_own in ((series.d[rows], n_d), (series.position[rows], n_position)):
        cell = cell * n_own + quantile_bins(values, n_own)
    # Reflections that are in the same sweeps go together
    powers = 1 << np.arange(series.n_sweeps, dtype=np.int64)
    cell = cell * (1 << series.n_sweeps) + powers @ present
    label, n_groups = without_gaps(cell)
    cells = np.empty(n_groups, dtype=np.int64)
    cells[label] = cell

    def sums(values: np.ndarray) -> np.ndarray:
        return np.array([np.bincount(label, row, n_groups) for row in values])

    groups = Groups(
        rows=rows,
        label=label,
        pooled=pooled,
        beam=beam,
        total=sums(np.where(present, series.intensity[:, rows], 0)),
        variance=np.empty((series.n_sweeps, n_groups)),
        used=sums(present.astype(float)) > 0,
        intensity_bin=(cells >> series.n_sweeps) // (n_d * n_position),
        variance_scale=np.ones(n_bins),
        n_outliers=0,
    )
    return with_scatter(series, groups)


def with_scatter(
    series: SweepSeries, groups: Groups, factor: np.ndarray | None = None
) -> Groups:
    """The groups with the variances that the scatter inside them asks for.

    Args:
        series: The sweeps.
        groups: Their groups.
        factor: What is known to differ between the reflections of a group, such as how
            far they have decayed, as a factor on their intensities, shape (K, m); 1 if
            None.
    """
    rows, label, n_bins = groups.rows, groups.label, len(groups.variance_scale)
    intensity_bin = groups.intensity_bin[label]
    present = series.present[:, rows]
    intensity = np.where(present, series.intensity[:, rows], 0)
    variance = np.where(present, series.variance[:, rows], 0)
    share = _variance_shares(variance, present, intensity_bin, n_bins)
    own = share[:, intensity_bin] * present
    own /= own.sum(axis=0)
    expected = own * variance.sum(axis=0)
    scale = _variance_scale(
        intensity,
        expected,
        present,
        label,
        groups.n_groups,
        intensity_bin,
        n_bins,
        factor,
    )
    summed = groups.sums(expected) * scale[groups.intensity_bin] + ~groups.used
    return dataclasses.replace(groups, variance=summed, variance_scale=scale)


def quantile_bins(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin of each value, bins holding equal numbers, shape (n,)."""
    edges = np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _variance_shares(
    variance: np.ndarray, present: np.ndarray, intensity_bin: np.ndarray, n_bins: int
) -> np.ndarray:
    """Typical variance of each sweep in each intensity bin, shape (K, bins)."""
    share = np.empty((len(variance), n_bins))
    for k, (values, there) in enumerate(zip(variance, present)):
        count = np.bincount(intensity_bin[there], minlength=n_bins)
        total = np.bincount(intensity_bin[there], values[there], n_bins)
        share[k] = total / np.maximum(count, 1)
        share[k, count == 0] = values[there].mean() if there.any() else 1.0
    return share


def _residuals(
    intensity: np.ndarray,
    expected: np.ndarray,
    present: np.ndarray,
    label: np.ndarray,
    n_groups: int,
    factor: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """How far each observation is from its group's way of dividing reflections.

    Returns:
        The residuals and their expected variances, shapes (K, m).
    """
    sums = np.array([np.bincount(label, row, n_groups) for row in intensity])
    with np.errstate(invalid="ignore", divide="ignore"):
        share = sums / sums.sum(axis=0)
    share = np.nan_to_num(share)[:, label]
    if factor is not None:
        total = intensity.sum(axis=0)
        usual = np.array([np.bincount(label, f * total, n_groups) for f in factor])
        usual /= np.bincount(label, total, n_groups)
        share = share * factor / usual[:, label]
        share /= share.sum(axis=0)
    return _departure(intensity, expected, present, share)


def _departure(
    intensity: np.ndarray, expected: np.ndarray, present: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Departures from a given division among sweeps and their expected variances.

    Args:
        intensity: Shape (K, m).
        expected: Variances, shape (K, m).
        present: Shape (K, m).
        share: Of each sweep in the sum of all, shape (K, m).
    """
    # In place: for many reflections the time goes into getting memory
    residual = share * -intensity.sum(axis=0)
    residual += intensity
    residual[~present] = 0
    variance = share**2
    variance *= expected.sum(axis=0)
    variance += (1 - 2 * share) * expected
    np.maximum(variance, 0, out=variance)
    variance[~present] = 0
    return residual, variance


def _variance_scale(
    intensity: np.ndarray,
    expected: np.ndarray,
    present: np.ndarray,
    label: np.ndarray,
    n_groups: int,
    intensity_bin: np.ndarray,
    n_bins: int,
    factor: np.ndarray | None = None,
) -> np.ndarray:
    """Factor by which the scatter exceeds the variances, in each intensity bin."""
    residual, variance = _residuals(
        intensity, expected, present, label, n_groups, factor
    )
    # A group's own mean takes one reflection's worth of scatter out of each
    size = np.bincount(label, minlength=n_groups)
    correction = 1 - 1 / np.maximum(size, 2)[label]
    found = np.bincount(intensity_bin, (residual**2).sum(axis=0), n_bins)
    foreseen = np.bincount(intensity_bin, (variance * correction).sum(axis=0), n_bins)
    alone = size[label] < 2
    if alone.any():
        found -= np.bincount(
            intensity_bin[alone], (residual[:, alone] ** 2).sum(axis=0), n_bins
        )
        foreseen -= np.bincount(
            intensity_bin[alone],
            (variance * correction)[:, alone].sum(axis=0),
            n_bins,
        )
    scale = np.where(foreseen > 0, found / np.where(foreseen > 0, foreseen, 1), 1.0)
    return np.maximum(scale, _VARIANCE_SCALE_FLOOR)


def _outliers(series: SweepSeries, groups: Groups) -> np.ndarray:
    """Reflections whose division among sweeps is impossible for their group."""
    present = series.present[:, groups.rows]
    intensity = np.where(present, series.intensity[:, groups.rows], 0)
    variance = np.where(present, series.variance[:, groups.rows], 0)
    label = groups.label
    residual, foreseen = _residuals(
        intensity, variance, present, label, groups.n_groups
    )
    bins = groups.intensity_bin[label]
    few = np.bincount(label, minlength=groups.n_groups)[label] < _FEW

    def compare_with_medians(which: np.ndarray, classes: np.ndarray) -> None:
        """Departures of some reflections from the medians of their class."""
        alike = np.isin(classes, classes[which])
        rate = np.zeros((series.n_sweeps, len(label)))
        for k, there in enumerate(present & alike):
            rates = intensity[k, there] / groups.pooled[there]
            rate[k, there] = _class_medians(rates, classes[there])
        share = rate[:, which]
        total = share.sum(axis=0)
        share = share / np.where(total > 0, total, 1)
        residual[:, which], foreseen[:, which] = _departure(
            intensity[:, which], variance[:, which], present[:, which], share
        )

    def squares() -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(foreseen > 0, residual**2 / foreseen, 0)

    if few.any():
        compare_with_medians(few, bins)
    found = squares()
    limit = _limits(found, bins, len(groups.variance_scale))[bins]
    worst = found.max(axis=0)
    # One accident moves the sums of its group and makes its neighbours look wrong
    together = np.zeros(groups.n_groups, dtype=bool)
    together[label[worst > limit]] = True
    again = together[label] & ~few
    if again.any():
        compare_with_medians(again, label)
        worst = squares().max(axis=0)
    return worst > limit


def _limits(squares: np.ndarray, bins: np.ndarray, n_bins: int) -> np.ndarray:
    """Squares from which on a departure is an accident, shape (bins,).

    Args:
        squares: Departures over their errors, squared, shape (K, m).
        bins: Bin of each reflection, shape (m,).
        n_bins: Number of bins.
    """
    limit = np.empty(n_bins)
    by_bin = squares[:, np.argsort(bins, kind="stable")]
    ends = np.cumsum(np.bincount(bins, minlength=n_bins))
    for b, (begin, end) in enumerate(zip([0, *ends], ends)):
        own = by_bin[:, begin:end]
        own = own[own > 0]
        # The median of squares of a normal distribution is 0.455 of its variance
        limit[b] = _OUTLIER**2 * max(np.median(own) / 0.455, 1.0) if own.size else 1e9
    return limit


def _class_medians(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The median of its class for every value.

    Args:
        values: Shape (m,).
        classes: Whole numbers, shape (m,).
    """
    classes, n_classes = without_gaps(classes)
    in_order = values[np.lexsort((values, classes))]
    count = np.bincount(classes, minlength=n_classes)
    start = np.cumsum(count) - count
    median = (in_order[start + (count - 1) // 2] + in_order[start + count // 2]) / 2
    return median[classes]
