"""Confidence intervals: Wilson, normal, DeLong for one AUC and for the gain between two models."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm  # type: ignore[import-untyped]

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """Lower and upper end."""

    low: float
    high: float


def normal_interval(value: float, sd: float, level: float = 0.95) -> Interval:
    """Return value -+ z sd."""
    z = float(norm.ppf((1 + level) / 2))
    return Interval(value - z * sd, value + z * sd)


def wilson(events: float, trials: float, level: float = 0.95) -> Interval:
    """Wilson score interval of a rate; numbers need not be whole (effective or noisy counts).

    Source: E. B. Wilson, JASA 22 (1927). SciPy's ``proportion_ci`` gives the same for whole
    numbers and refuses others.

    Examples
    --------
    >>> [round(v, 4) for v in wilson(5, 100)]
    [0.0215, 0.1118]
    """
    if not trials > 0:
        return Interval(0.0, 1.0)
    z = float(norm.ppf((1 + level) / 2))
    p = min(max(events / trials, 0.0), 1.0)
    middle = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials**2))
    return Interval(max(0.0, float(middle - half)), min(1.0, float(middle + half)))


@dataclass(frozen=True)
class AucEstimate:
    """An AUC, or a difference of two, with its standard error and interval."""

    value: float
    sd: float
    interval: Interval


class _Placements(NamedTuple):
    bad: Floats  # per default: weighted share of non-defaults below it, ties one half
    good: Floats  # per non-default: weighted share of defaults above it, ties one half


def _share_below(points: Floats, others: Floats, weight: Floats) -> Floats:
    order = np.argsort(others, kind="stable")
    ranked = others[order]
    mass = np.concatenate([[0.0], np.cumsum(weight[order])])
    below = mass[np.searchsorted(ranked, points, side="left")]
    upto = mass[np.searchsorted(ranked, points, side="right")]
    return np.asarray((below + upto) / (2 * mass[-1]), dtype=np.float64)


def _placements(bad: NDArray[np.bool_], score: Floats, weight: Floats) -> _Placements:
    return _Placements(
        bad=_share_below(score[bad], score[~bad], weight[~bad]),
        good=1.0 - _share_below(score[~bad], score[bad], weight[bad]),
    )


def _estimate(
    at_bad: Floats, at_good: Floats, w_bad: Floats, w_good: Floats, level: float
) -> AucEstimate:
    """Mean of placements with the sum of the two components' variances."""
    value = float(np.average(at_bad, weights=w_bad))
    variance = 0.0
    for v, w in ((at_bad, w_bad), (at_good, w_good)):
        share = w / w.sum()
        spread = float((share**2 * (v - share @ v) ** 2).sum())
        concentration = float((share**2).sum())
        # n/(n-1) for equal weights; with a single record nothing is known of the spread.
        variance += spread / (1 - concentration) if concentration < 1 else 0.25
    sd = variance**0.5
    return AucEstimate(value, sd, normal_interval(value, sd, level))


def delong(
    label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None, *, level: float = 0.95
) -> AucEstimate:
    """AUC with DeLong's interval, in n log n by sorting, ties and weights included.

    Source: DeLong et al., Biometrics 44 (1988); Sun and Xu, IEEE SPL 21 (2014).

    Examples
    --------
    >>> e = delong([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> e.value, round(e.sd, 4)
    (0.75, 0.3536)
    """
    bad, s = np.asarray(label) == 1, np.asarray(score, dtype=np.float64)
    w = np.ones(len(s)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not w[bad].sum() > 0 or not w[~bad].sum() > 0:
        nan = float("nan")
        return AucEstimate(nan, nan, Interval(nan, nan))
    p = _placements(bad, s, w)
    e = _estimate(p.bad, p.good, w[bad], w[~bad], level)
    low, high = e.interval
    return AucEstimate(e.value, e.sd, Interval(max(0.0, low), min(1.0, high)))


def delong_gain(
    label: ArrayLike, score: ArrayLike, other: ArrayLike, *, level: float = 0.95
) -> AucEstimate:
    """AUC of ``score`` less that of ``other`` on the same records, with the paired interval.

    Examples
    --------
    >>> delong_gain([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0.1, 0.4, 0.35, 0.8]).value
    0.25
    """
    bad = np.asarray(label) == 1
    if bad.all() or not bad.any():
        nan = float("nan")
        return AucEstimate(nan, nan, Interval(nan, nan))
    w = np.ones(len(bad))
    a = _placements(bad, np.asarray(score, dtype=np.float64), w)
    b = _placements(bad, np.asarray(other, dtype=np.float64), w)
    return _estimate(a.bad - b.bad, a.good - b.good, w[bad], w[~bad], level)
