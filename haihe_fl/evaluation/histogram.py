"""The same figures from score histograms by label: what a secure sum can carry.

The histograms may be noisy. Noise of a known standard deviation widens the intervals, and counts
are first brought back to what counts can be: not negative, with their noisy sum kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.evaluation.calibration import CalibrationBin, calibration_fit, ece_of, equal_groups
from haihe_fl.evaluation.intervals import Interval, normal_interval, wilson
from haihe_fl.evaluation.metrics import Metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Counts of good and bad borrowers by score.

    Attributes
    ----------
    edges : ndarray, shape (B - 1,)
        Inner edges in log-odds, increasing; bin i holds edges[i - 1] <= score < edges[i], the
        first and the last bin are open.
    good, bad : ndarray, shape (B,)
        Counts of non-defaults and defaults, possibly noisy.
    noise_sd : float
        Standard deviation of the noise on every count, in records.
    """

    edges: Floats
    good: Floats
    bad: Floats
    noise_sd: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.good) == len(self.bad) == len(self.edges) + 1:
            raise ValueError("a histogram has one bin more than inner edges")
        if len(self.edges) < 2 or not (np.diff(self.edges) > 0).all():
            raise ValueError("edges must be increasing, and at least two")

    @property
    def centres(self) -> Floats:
        """Middle of each bin in log-odds; the open ones are taken as wide as their neighbours."""
        e = self.edges
        outer = np.concatenate([[2 * e[0] - e[1]], e, [2 * e[-1] - e[-2]]])
        return np.asarray((outer[:-1] + outer[1:]) / 2, dtype=np.float64)

    @property
    def cleaned(self) -> "ScoreHistogram":
        """The nearest histogram without negative counts, each label's sum kept."""
        return ScoreHistogram(self.edges, nearest_counts(self.good), nearest_counts(self.bad))

    @property
    def auc_bound(self) -> float:
        """How far binning can move the AUC: half the share of (bad, good) pairs in one bin."""
        h = self.cleaned
        return float(h.good @ h.bad / (2 * h.good.sum() * h.bad.sum()))


def histogram(label: ArrayLike, score: ArrayLike, edges: ArrayLike) -> ScoreHistogram:
    """Count exact records into a histogram.

    Examples
    --------
    >>> histogram([0, 1, 1], [-1.0, 0.0, 3.0], [-2.0, 0.0, 2.0]).bad
    array([0., 0., 1., 1.])
    """
    e = np.asarray(edges, dtype=np.float64)
    cell = np.searchsorted(e, np.asarray(score, dtype=np.float64), side="right")
    bad = np.asarray(label) == 1
    counts = [np.bincount(cell[m], minlength=len(e) + 1).astype(np.float64) for m in (~bad, bad)]
    return ScoreHistogram(e, counts[0], counts[1])


def nearest_counts(noisy: ArrayLike) -> Floats:
    """Project counts, shape (..., B), onto those that are not negative and have the same sum.

    Plain clipping at zero would add a positive bias for every empty bin. Source: Duchi et al.,
    ICML 2008 (projection onto the simplex). A sum that is not positive gives zeros.

    Examples
    --------
    >>> nearest_counts([4.0, 2.0, -1.0, -1.0])
    array([3., 1., 0., 0.])
    """
    c = np.asarray(noisy, dtype=np.float64)
    total = c.sum(-1, keepdims=True)
    ordered = -np.sort(-c, axis=-1)
    surplus = (np.cumsum(ordered, axis=-1) - total) / np.arange(1, c.shape[-1] + 1)
    kept = np.maximum((ordered > surplus).sum(-1, keepdims=True), 1)
    shift = np.take_along_axis(surplus, kept - 1, axis=-1)
    return np.where(total > 0, np.maximum(c - shift, 0.0), 0.0)


def _populated(h: ScoreHistogram) -> slice:
    """Run of bins around the fullest one whose counts stand out of the noise (2 sd).

    Far bins that hold noise and no borrowers would otherwise swing the calibration slope.
    """
    low = h.good + h.bad < 2 * np.sqrt(2.0) * h.noise_sd
    peak = int(np.argmax(h.good + h.bad))
    left, right = np.flatnonzero(low[:peak]), np.flatnonzero(low[peak + 1 :])
    return slice(
        int(left[-1]) + 1 if left.size else 0,
        peak + 1 + int(right[0]) if right.size else len(low),
    )


def _figures(centres: Floats, good: Floats, bad: Floats, where: slice) -> dict[str, Floats]:
    """Compute all figures for counts of shape (..., B); NaN where a label is missing.

    Figures that are sums over the bins take the counts as they come: noise averages out of them,
    and mending counts first would bias the calibration through the sparse ends of the scale, which
    the calibration fit leaves out (``where``). Those
    that follow a curve (KS, average precision) take the nearest proper counts.
    """
    with np.errstate(all="ignore"):
        n, d = (good + bad).sum(-1), bad.sum(-1)
        g = n - d
        p = 1.0 / (1.0 + np.exp(-centres))
        brier = (bad @ (1 - p) ** 2 + good @ p**2) / n
        rate = d / n
        fit = calibration_fit(centres[where], bad[..., where], (good + bad)[..., where])
        auc = (bad * (np.cumsum(good, -1) - good / 2)).sum(-1) / (d * g)
        # From the riskiest bin down: what a cut-off below each bin would catch.
        down_bad, down_good = nearest_counts(bad)[..., ::-1], nearest_counts(good)[..., ::-1]
        up_bad, up_good = np.cumsum(down_bad, -1), np.cumsum(down_good, -1)
        figures = {
            "base_rate": rate,
            "auc": auc,
            "ks": np.abs(up_bad / d[..., None] - up_good / g[..., None]).max(-1),
            "average_precision": _average_precision(down_bad, down_good),
            "brier": brier,
            "brier_skill": 1 - brier / (rate * (1 - rate)),
            "calibration_intercept": fit.intercept,
            "calibration_slope": fit.slope,
        }
    empty = ~((d > 0) & (g > 0))
    return {name: np.where(empty, np.nan, value) for name, value in figures.items()}


def _average_precision(bad: Floats, good: Floats) -> Floats:
    """Average precision of counts from the riskiest bin down, shape (..., B).

    Borrowers of a bin are taken as spread evenly through it (Davis and Goadrich, ICML 2006): the
    step rule on whole bins would read low by several hundredths.
    """
    n = bad + good
    n0, b0 = np.cumsum(n, -1) - n, np.cumsum(bad, -1) - bad
    share = bad / np.maximum(n, 1e-12)
    # The integral over t in 0..1 of (b0 + t bad) / (n0 + t n).
    curve = (b0 - share * n0) / np.maximum(n, 1e-12) * np.log1p(n / np.maximum(n0, 1e-12))
    precision = share + np.where((n0 > 1e-9) & (n > 1e-9), curve, 0.0)
    return np.asarray((bad * precision).sum(-1) / bad.sum(-1), dtype=np.float64)


UNIT_RANGE = ("base_rate", "auc", "ks", "brier", "average_precision")


def histogram_metrics(
    h: ScoreHistogram, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Metrics:
    """Compute all figures from a histogram, with intervals for sampling and noise together.

    The nearest proper counts are taken for the truth, redrawn (Poisson, which for ratios of counts
    is the same as resampling borrowers) and given noise of the same size; what that does to a
    figure is what may have happened to ours, so its upward pull on KS is taken off the ends too.
    The generator serves this simulation only and protects nothing.

    By simulation (4000 records, 10 % defaults) 95 % intervals cover 92 to 97 % of the time at noise
    of a few records a count; that of the average precision, which follows a curve through sparse
    bins, covers 88 % at noise sd 1.4 and 78 % at 6.

    Binning puts every borrower at the middle of its bin: the AUC moves by at most
    ``h.auc_bound``, a PD by a factor of at most exp(half a bin width).
    """
    clean, where = h.cleaned, _populated(h)
    at = {k: float(v) for k, v in _figures(h.centres, h.good, h.bad, where).items()}
    intervals: dict[str, Interval] = {}
    if draws:
        rng = np.random.default_rng(seed)
        size = (draws, len(h.good))
        good, bad = (
            rng.poisson(c, size) + h.noise_sd * rng.standard_normal(size)
            for c in (clean.good, clean.bad)
        )
        truth = _figures(clean.centres, clean.good, clean.bad, where)
        for name, values in _figures(clean.centres, good, bad, where).items():
            error = values[np.isfinite(values)] - truth[name]
            if np.isfinite(at[name]) and np.isfinite(truth[name]) and len(error) >= draws / 2:
                low, high = np.quantile(error, [(1 - level) / 2, (1 + level) / 2])
                ends = np.array([at[name] - high, at[name] - low])
                if name in UNIT_RANGE:
                    ends = ends.clip(0.0, 1.0)
                intervals[name] = Interval(float(ends[0]), float(ends[1]))
    return Metrics(
        records=max(float(h.good.sum() + h.bad.sum()), 0.0),
        defaults=max(float(h.bad.sum()), 0.0),
        auc=min(max(at["auc"], 0.0), 1.0),
        ks=at["ks"],
        average_precision=at["average_precision"],
        brier=at["brier"],
        brier_skill=at["brier_skill"],
        calibration_intercept=at["calibration_intercept"],
        calibration_slope=at["calibration_slope"],
        ece=ece_of(histogram_calibration(h, level=level)),
        intervals=intervals,
    )


def histogram_calibration(
    h: ScoreHistogram, *, groups: int = 10, level: float = 0.95
) -> tuple[CalibrationBin, ...]:
    """Calibration table by groups of neighbouring bins; its intervals include the noise.

    Bins at the ends that do not stand out of the noise are left out.
    """
    where = _populated(h)
    n = h.cleaned.good[where] + h.cleaned.bad[where]
    pd = 1.0 / (1.0 + np.exp(-h.centres[where]))
    all_raw, bad_raw = (h.good + h.bad)[where], h.bad[where]
    table = []
    for part in equal_groups(n, groups):
        # Groups and mean PD from mended counts; rates from the counts as they came, which unlike
        # the mended ones are unbiased where defaults are rare.
        total = max(float(all_raw[part].sum()), 1.0)
        rate = float(bad_raw[part].sum()) / total
        inside = min(max(rate, 0.0), 1.0)
        ends = wilson(inside * total, total, level)
        # Sampling is skewed and noise is not: their distances add up in squares, end by end.
        noise = h.noise_sd * np.sqrt(len(part) * ((1 - inside) ** 2 + inside**2)) / total
        wide = normal_interval(0.0, float(noise), level).high
        table.append(
            CalibrationBin(
                records=total,
                predicted=float(np.average(pd[part], weights=n[part])),
                observed=inside,
                interval=Interval(
                    max(0.0, inside - float(np.hypot(inside - ends.low, wide))),
                    min(1.0, inside + float(np.hypot(ends.high - inside, wide))),
                ),
            )
        )
    return tuple(table)
