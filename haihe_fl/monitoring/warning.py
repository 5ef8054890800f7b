"""How good an early warning is, said honestly.

Event: default within twelve months. Unit: a firm-quarter of a firm performing at its start, with
twelve months of follow-up. Thresholds are fixed on earlier quarters than those that are judged.
Accuracy stands only beside that of never warning, for with few defaults it says nothing.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.evaluation.intervals import Interval, wilson
from haihe_fl.evaluation.metrics import auc, average_precision, bootstrap, brier_skill, ks

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
NAN = float("nan")
HORIZON = 4  # quarters


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else NAN


@dataclass(frozen=True)
class Confusion:
    """Warnings against events; counts or shares.

    Examples
    --------
    Why an accuracy of 92.3 % proves nothing: it is what a prevalence of 5 %, a sensitivity of
    60 % and a specificity of 94 % give, with two false alarms for each true one; and never
    warning gives 95 %.

    >>> c = Confusion.from_rates(prevalence=0.05, sensitivity=0.60, specificity=0.94)
    >>> round(c.accuracy, 12), round(c.precision, 3), round(c.mcc, 3), round(c.null_accuracy, 3)
    (0.923, 0.345, 0.418, 0.95)
    """

    tp: float
    fp: float
    fn: float
    tn: float

    @classmethod
    def from_rates(cls, prevalence: float, sensitivity: float, specificity: float) -> "Confusion":
        """Return the shares that these rates amount to."""
        tp, tn = prevalence * sensitivity, (1 - prevalence) * specificity
        return cls(tp, 1 - prevalence - tn, prevalence - tp, tn)

    @classmethod
    def of(cls, flag: ArrayLike, event: ArrayLike) -> "Confusion":
        """Count warnings against events."""
        f, e = np.asarray(flag, dtype=bool), np.asarray(event, dtype=bool)
        tp, fp, fn = (f & e).sum(), (f & ~e).sum(), (~f & e).sum()
        return cls(float(tp), float(fp), float(fn), float(f.size - tp - fp - fn))

    @property
    def total(self) -> float:
        """Units counted."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def base_rate(self) -> float:
        """Share of units with an event."""
        return _ratio(self.tp + self.fn, self.total)

    @property
    def precision(self) -> float:
        """Share of warnings that an event followed."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of events that were warned of."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Share of units without event that were left in peace."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def accuracy(self) -> float:
        """Share of units judged rightly; look at ``null_accuracy`` first."""
        return _ratio(self.tp + self.tn, self.total)

    @property
    def null_accuracy(self) -> float:
        """Accuracy of whoever never warns, or always, whichever is more."""
        return max(self.base_rate, 1 - self.base_rate)

    @property
    def f2(self) -> float:
        """F score with recall twice as weighty as precision."""
        return _ratio(5 * self.tp, 5 * self.tp + 4 * self.fn + self.fp)

    @property
    def mcc(self) -> float:
        """Matthews correlation; 0 for whoever never warns."""
        product = (self.tp + self.fp) * (self.tp + self.fn)
        product *= (self.tn + self.fp) * (self.tn + self.fn)
        return (self.tp * self.tn - self.fp * self.fn) / math.sqrt(product) if product > 0 else 0.0

    @property
    def alerts_per_100(self) -> float:
        """Warnings per hundred units."""
        return 100 * _ratio(self.tp + self.fp, self.total)


FIGURES = (
    *("base_rate", "precision", "recall", "specificity", "accuracy", "null_accuracy"),
    *("f2", "mcc", "alerts_per_100"),
)


@dataclass(frozen=True)
class WarningReport:
    """Figures of one warning on one population.

    Attributes
    ----------
    confusion : Confusion
        Firm-quarters.
    firms, defaults : int
        Firms judged, and those of them with an event.
    auc, ks, average_precision, brier_skill : float
        Of the probability, NaN without one. Skill is against always saying the base rate.
    lead_days : float
        Median days from a defaulting firm's first warning (of the last twelve months before it)
        to its default; over those that were warned of.
    intervals : dict of str to Interval
        95 % intervals by figure, drawn by firm: quarters of one firm are not independent. Where
        every firm stands once, Wilson's for the rates.
    """

    confusion: Confusion
    firms: int
    defaults: int
    auc: float
    ks: float
    average_precision: float
    brier_skill: float
    lead_days: float
    intervals: dict[str, Interval] = field(default_factory=dict)


def events(default_period: ArrayLike, periods: int, horizon: int = HORIZON) -> tuple[Flags, Flags]:
    """Return event and population, each of shape (firms, periods).

    Parameters
    ----------
    default_period : array_like of int, shape (firms,)
        Period of the default, -1 for none.

    Returns
    -------
    event : ndarray of bool
        Default in one of the next ``horizon`` periods, this one not included.
    judged : ndarray of bool
        Performing at the period's end, and followed up for the whole horizon. Leaving the rest in
        would count the future's silence as health.

    Examples
    --------
    >>> event, judged = events([3, -1], periods=6, horizon=2)
    >>> event[0].astype(int).tolist(), judged.astype(int).tolist()
    ([0, 1, 1, 0, 0, 0], [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]])
    """
    when = np.asarray(default_period)[:, None]
    t = np.arange(periods)[None, :]
    fails = when >= 0
    event = fails & (when > t) & (when <= t + horizon)
    judged = ~(fails & (when <= t)) & (t + horizon < periods)
    return np.asarray(event & judged), np.asarray(judged)


def out_of_time(periods: int, cut: int, horizon: int = HORIZON) -> tuple[Flags, Flags]:
    """Return the periods to fit on and those to judge, each of shape (periods,).

    A period is fit on only if its outcome was known before ``cut``: the ``horizon`` periods before
    the cut are in neither part.

    Examples
    --------
    >>> [part.astype(int).tolist() for part in out_of_time(8, cut=5, horizon=2)]
    [[1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1]]
    """
    t = np.arange(periods)
    return t + horizon < cut, t >= cut


def choose_threshold(probability: ArrayLike, event: ArrayLike, least_precision: float) -> float:
    """Return the lowest threshold with that precision, on the fitting sample only.

    Infinity if none has it: a warning that cannot be precise enough is not given.

    Examples
    --------
    >>> choose_threshold([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], 0.6)
    0.2
    """
    p, e = np.asarray(probability, dtype=np.float64), np.asarray(event, dtype=bool)
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(e[order])
    last = np.append(np.diff(p[order]) < 0, True)  # a tie is taken whole
    good = last & (hits >= least_precision * np.arange(1, len(p) + 1))
    return float(p[order][np.flatnonzero(good)[-1]]) if good.any() else math.inf


def evaluate_warning(
    flag: ArrayLike,
    event: ArrayLike,
    firm: ArrayLike,
    *,
    probability: ArrayLike | None = None,
    lead_days: ArrayLike | None = None,
    draws: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> WarningReport:
    """Judge a warning on firm-quarters.

    Parameters
    ----------
    flag, event : array_like of bool, shape (n,)
        Warned by a rule fixed beforehand; default within the horizon.
    firm : array_like, shape (n,)
        Firm of each unit.
    probability : array_like, shape (n,), optional
        Of the event.
    lead_days : array_like, optional
        One entry for each default that was warned of.
    draws : int
        Of the bootstrap by firm; a tenth of it for the ranking figures, which are slow.
    """
    f, e = np.asarray(flag, dtype=bool), np.asarray(event, dtype=bool)
    names, index = np.unique(np.asarray(firm), return_inverse=True)
    if not f.shape == e.shape == index.shape or f.ndim != 1 or not f.size:
        raise ValueError(f"flag {f.shape}, event {e.shape} and firm {index.shape} do not match")
    whole = Confusion.of(f, e)
    cells = np.stack([f & e, f & ~e, ~f & e, ~f & ~e], axis=1).astype(np.float64)
    by_firm = np.stack([np.bincount(index, c, len(names)) for c in cells.T], axis=1)
    rng = np.random.default_rng(seed)
    drawn = [
        Confusion(*(np.bincount(pick, minlength=len(names)) @ by_firm).tolist())
        for pick in (rng.integers(0, len(names), len(names)) for _ in range(draws))
    ]
    ends = ((1 - level) / 2, (1 + level) / 2)
    intervals = {}
    for name in FIGURES:
        kept = [v for c in drawn if math.isfinite(v := getattr(c, name))]
        if kept:
            low, high = np.quantile(kept, ends)
            intervals[name] = Interval(float(low), float(high))
    if len(names) == f.size:
        intervals["base_rate"] = wilson(whole.tp + whole.fn, whole.total, level)
        intervals["precision"] = wilson(whole.tp, whole.tp + whole.fp, level)
        intervals["recall"] = wilson(whole.tp, whole.tp + whole.fn, level)
    ranking = dict.fromkeys(("auc", "ks", "average_precision", "brier_skill"), NAN)
    if probability is not None:
        p = np.asarray(probability, dtype=np.float64)
        measures = (auc, ks, average_precision, brier_skill)
        for name, measure in zip(ranking, measures, strict=True):
            ranking[name] = measure(e, p)
            if draws and 0 < whole.tp + whole.fn < whole.total:
                intervals[name] = bootstrap(
                    measure, e, p, group=index, draws=max(draws // 10, 20), level=level, seed=seed
                )
    lead = np.asarray([] if lead_days is None else lead_days, dtype=np.float64)
    return WarningReport(
        confusion=whole,
        firms=len(names),
        defaults=len(np.unique(index[e])),
        lead_days=float(np.median(lead)) if lead.size else NAN,
        intervals=intervals,
        **ranking,
    )


def lead_times(
    raised: ArrayLike, days: ArrayLike, default_day: ArrayLike, within: int = 365
) -> Floats:
    """Return days from the first warning of the last year to the default, where there was one.

    Parameters
    ----------
    raised : array_like of bool, shape (firms, periods)
        Whether the firm was under warning.
    days : array_like, shape (periods,)
        Day of each period.
    default_day : array_like, shape (firms,)
        Day of the default; NaN for none.

    Examples
    --------
    >>> lead_times([[0, 1, 1, 0], [1, 0, 0, 0]], [0, 30, 60, 90], [100, np.nan]).tolist()
    [70.0]
    """
    day = np.asarray(days, dtype=np.float64)[None, :]
    when = np.asarray(default_day, dtype=np.float64)[:, None]
    with np.errstate(invalid="ignore"):
        near = np.asarray(raised, dtype=bool) & (day < when) & (day >= when - within)
    warned = near.any(1)
    first = day[0][near.argmax(1)]
    return np.asarray((when[:, 0] - first)[warned])
