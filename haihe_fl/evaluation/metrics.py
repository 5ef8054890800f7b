"""How well a probability of default ranks borrowers, and whether its level is right.

Ranking: AUC, KS, average precision. Level: Brier score and its skill over the base rate,
calibration intercept and slope, expected calibration error (ECE). Figures that the data cannot
give, an AUC without a default for instance, are NaN and never an error: a small institution is
allowed to have no default in its held-out part.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit  # type: ignore[import-untyped]

from haihe_fl.evaluation.calibration import calibration_fit, calibration_table, ece_of
from haihe_fl.evaluation.intervals import Interval, delong, normal_interval, wilson

Floats = NDArray[np.float64]
NAN = float("nan")


@dataclass(frozen=True)
class Metrics:
    """Figures of one model on one population.

    Attributes
    ----------
    records, defaults : float
        Sum of weights, and of the weights of defaults (noisy when they come from noisy sums).
    auc, ks, average_precision : float
        Area under the ROC curve, Kolmogorov-Smirnov distance between the two score
        distributions, area under the precision-recall curve (step rule).
    brier, brier_skill : float
        Mean squared error of the PD; 1 minus its ratio to that of the base rate.
    calibration_intercept : float
        Calibration in the large: shift in log-odds that makes the mean PD equal the default
        rate, slope held at 1. Positive: risk is under-stated. Ideal 0.
    calibration_slope : float
        Slope of the logistic regression of the label on the log-odds. Below 1: PDs are too
        extreme. Ideal 1.
    ece : float
        Expected calibration error over ten groups of equal size.
    intervals : dict of str to Interval
        Confidence intervals of those figures that have one, by name of the figure.
    """

    records: float
    defaults: float
    auc: float
    ks: float
    average_precision: float
    brier: float
    brier_skill: float
    calibration_intercept: float
    calibration_slope: float
    ece: float
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def base_rate(self) -> float:
        """Share of defaults; NaN without records."""
        return self.defaults / self.records if self.records > 0 else NAN


def _sklearn() -> Any:
    # Imported where it is wanted: a node agent counts scores, and 15 MB are much to it.
    import sklearn.metrics  # type: ignore[import-untyped]

    return sklearn.metrics


class _Sample(NamedTuple):
    label: NDArray[np.int8]
    score: Floats
    weight: Floats

    @property
    def one_class(self) -> bool:
        bad = float(self.weight[self.label == 1].sum())
        return not 0.0 < bad < float(self.weight.sum())


def _sample(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None) -> _Sample:
    y, s = np.asarray(label), np.asarray(score, dtype=np.float64)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not y.shape == s.shape == w.shape or y.ndim != 1:
        raise ValueError(f"label {y.shape}, score {s.shape} and weight {w.shape} do not match")
    if not np.isin(y, (0, 1)).all() or not np.isfinite(s).all() or (w < 0).any():
        raise ValueError("labels are 0 or 1, scores finite, weights not negative")
    return _Sample(y.astype(np.int8), s, w)


def auc(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the ROC curve; a tie counts one half.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    s = _sample(label, score, weight)
    if s.one_class:
        return NAN
    return float(_sklearn().roc_auc_score(s.label, s.score, sample_weight=s.weight))


def ks(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Largest distance between the score distributions of defaults and non-defaults.

    Examples
    --------
    >>> ks([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.5
    """
    s = _sample(label, score, weight)
    if s.one_class:
        return NAN
    fpr, tpr, _ = _sklearn().roc_curve(
        s.label, s.score, sample_weight=s.weight, drop_intermediate=False
    )
    return float(np.abs(tpr - fpr).max())


def average_precision(label: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the precision-recall curve by the step rule (no interpolation)."""
    s = _sample(label, score, weight)
    if s.one_class:
        return NAN
    return float(_sklearn().average_precision_score(s.label, s.score, sample_weight=s.weight))


def brier(label: ArrayLike, pd: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared difference between the PD and the label."""
    s = _sample(label, pd, weight)
    if not s.weight.sum() > 0:
        return NAN
    return float(_sklearn().brier_score_loss(s.label, s.score, sample_weight=s.weight, pos_label=1))


def brier_skill(label: ArrayLike, pd: ArrayLike, weight: ArrayLike | None = None) -> float:
    """1 - Brier / Brier of always saying the base rate; at most 1, 0 is no better than that."""
    s = _sample(label, pd, weight)
    if s.one_class:
        return NAN
    rate = float(np.average(s.label, weights=s.weight))
    return 1.0 - brier(s.label, s.score, s.weight) / (rate * (1.0 - rate))


def psi(expected: ArrayLike, actual: ArrayLike, floor: float = 0.5) -> float:
    """Return the population stability index of two count vectors over the same bins.

    Parameters
    ----------
    expected, actual : array_like, shape (B,)
        Counts, possibly noisy. Counts below ``floor`` are raised to it, so that an empty bin
        does not make the index infinite.

    Returns
    -------
    float
        Below .10 stable, above .25 shifted, by the usual bands.

    Examples
    --------
    >>> round(psi([50, 50], [60, 40]), 4)
    0.0405
    """
    e = np.maximum(np.asarray(expected, dtype=np.float64), floor)
    a = np.maximum(np.asarray(actual, dtype=np.float64), floor)
    if e.shape != a.shape:
        raise ValueError(f"bins do not match: {e.shape} and {a.shape}")
    e, a = e / e.sum(), a / a.sum()
    return float(((a - e) * np.log(a / e)).sum())


def bootstrap(
    statistic: Callable[[NDArray[np.int8], Floats, Floats], float],
    label: ArrayLike,
    pd: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    group: ArrayLike | None = None,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of any statistic ``f(label, pd, weight)``.

    Parameters
    ----------
    group : array_like, shape (n,), optional
        Borrower of each record: whole borrowers are drawn, so that several records of one
        borrower do not pass for independent ones.
    """
    s = _sample(label, pd, weight)
    n = len(s.label)
    blocks = np.arange(n) if group is None else np.unique(np.asarray(group), return_inverse=True)[1]
    size = int(blocks.max()) + 1 if n else 0
    rng = np.random.default_rng(seed)
    # Drawing blocks with replacement is the same as multiplying weights by how often each came.
    values = [
        statistic(s.label, s.score, s.weight * np.bincount(pick, minlength=size)[blocks])
        for pick in (rng.integers(0, size, size) for _ in range(draws if n else 0))
    ]
    kept = [v for v in values if np.isfinite(v)]
    if not kept:
        return Interval(NAN, NAN)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def evaluate(
    label: ArrayLike,
    pd: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    level: float = 0.95,
    draws: int = 0,
    seed: int = 0,
) -> Metrics:
    """Compute all figures on exact records.

    Intervals come with it for the AUC (DeLong), the base rate (Wilson, Kish's effective number
    of records if weighted), the Brier score and the calibration (large sample), and with
    ``draws > 0`` for KS and average precision (bootstrap).

    Examples
    --------
    >>> m = evaluate([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> m.auc, m.ks, round(m.brier, 3)
    (0.75, 0.5, 0.158)
    """
    s = _sample(label, pd, weight)
    total = float(s.weight.sum())
    bad = float(s.weight[s.label == 1].sum())
    if not total > 0:
        return Metrics(0.0, 0.0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN)
    pdf = np.clip(s.score, 1e-12, 1 - 1e-12)
    fit = calibration_fit(logit(pdf), s.weight * s.label, s.weight)
    loss = (s.score - s.label) ** 2
    mean = float(np.average(loss, weights=s.weight))
    effective = total**2 / float((s.weight**2).sum())
    spread = np.sqrt(float(np.average((loss - mean) ** 2, weights=s.weight)) / effective)
    intervals = {
        "base_rate": wilson(bad / total * effective, effective, level),
        "brier": normal_interval(mean, float(spread), level),
    }
    if not s.one_class:
        intervals["auc"] = delong(s.label, s.score, s.weight, level=level).interval
        # Robust to the scale of the weights: the fit's variance is for records of weight 1.
        scale = total / effective
        intervals["calibration_intercept"] = normal_interval(
            float(fit.intercept), float(fit.intercept_sd) * scale**0.5, level
        )
        intervals["calibration_slope"] = normal_interval(
            float(fit.slope), float(fit.slope_sd) * scale**0.5, level
        )
        if draws:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a draw without a default is dropped
                for name, f in {"ks": ks, "average_precision": average_precision}.items():
                    intervals[name] = bootstrap(
                        f, s.label, s.score, s.weight, draws=draws, level=level, seed=seed
                    )
    return Metrics(
        records=total,
        defaults=bad,
        auc=auc(s.label, s.score, s.weight),
        ks=ks(s.label, s.score, s.weight),
        average_precision=average_precision(s.label, s.score, s.weight),
        brier=mean,
        brier_skill=brier_skill(s.label, s.score, s.weight),
        calibration_intercept=float(fit.intercept),
        calibration_slope=float(fit.slope),
        ece=ece_of(calibration_table(s.label, s.score, s.weight, level=level)),
        intervals=intervals,
    )
