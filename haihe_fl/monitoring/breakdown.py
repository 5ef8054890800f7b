"""Figures of a warning by sector, size, district: counts, recall and precision of each group.

The quarters of a firm are not independent, so Wilson's interval is given the number of quarters
divided by the design effect of firms. Where each firm stands once that is Wilson's own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.evaluation.intervals import Interval, wilson

Flags = NDArray[np.bool_]
NAN = float("nan")
LEAST_FIRMS = 10
"""Firms that a rate should rest on; with fewer a group is marked small."""


@dataclass(frozen=True)
class Rate:
    """A share of firm-quarters with its interval.

    Attributes
    ----------
    hits, trials : int
        Firm-quarters.
    firms : int
        Firms that the trials come from.
    interval : Interval
        Wilson's, on ``trials`` divided by the design effect of firms.
    """

    hits: int
    trials: int
    firms: int
    interval: Interval

    @property
    def value(self) -> float:
        """The share; NaN without trials."""
        return self.hits / self.trials if self.trials else NAN


@dataclass(frozen=True)
class GroupFigures:
    """One group of firms.

    Attributes
    ----------
    units, firms : int
        Firm-quarters and firms judged.
    recall, precision : Rate
        Over the firm-quarters with an event, and over those under warning.
    small : bool
        Whether either rate rests on fewer than ``LEAST_FIRMS`` firms.
    """

    group: str
    units: int
    firms: int
    recall: Rate
    precision: Rate
    small: bool


def design_effect(hit: ArrayLike, firm: ArrayLike) -> float:
    """Return by how much the firms multiply the variance of a share, at least 1.

    Squares of the firms' sums of deviations, over the squares of the deviations themselves
    (linearised variance of a ratio; Kish, Survey Sampling, 1965). If all or none were hit nothing
    can be seen of it, and quarters of a firm count as one: quarters over firms.

    Examples
    --------
    >>> design_effect([1, 0, 1, 0], [0, 1, 2, 3]), design_effect([1, 1, 0, 0], [0, 0, 1, 1])
    (1.0, 2.0)
    """
    y = np.asarray(hit, dtype=np.float64)
    index = np.unique(np.asarray(firm), return_inverse=True)[1]
    if not y.size:
        return 1.0
    deviation = y - y.mean()
    within = float(deviation @ deviation)
    if not within > 0:
        return y.size / (int(index.max()) + 1)
    return max(1.0, float((np.bincount(index, deviation) ** 2).sum()) / within)


def rate_by_firm(hit: ArrayLike, firm: ArrayLike, level: float = 0.95) -> Rate:
    """Return a share of firm-quarters with Wilson's interval on the effective number of them.

    Examples
    --------
    Twelve quarters of each of eight firms say no more than eight firms:

    >>> once = rate_by_firm([1, 0, 0, 0, 1, 0, 0, 0], range(8))
    >>> copied = rate_by_firm(np.repeat([1, 0, 0, 0, 1, 0, 0, 0], 12), np.repeat(range(8), 12))
    >>> [round(v, 3) for v in once.interval], [round(v, 3) for v in copied.interval]
    ([0.071, 0.591], [0.071, 0.591])
    """
    h = np.asarray(hit, dtype=bool)
    effective = h.size / design_effect(h, firm)
    share = float(h.mean()) if h.size else 0.0
    return Rate(
        hits=int(h.sum()),
        trials=int(h.size),
        firms=len(np.unique(np.asarray(firm))),
        interval=wilson(share * effective, effective, level),
    )


def breakdown(
    flag: ArrayLike,
    event: ArrayLike,
    firm: ArrayLike,
    group: ArrayLike,
    *,
    least: int = LEAST_FIRMS,
    level: float = 0.95,
) -> tuple[GroupFigures, ...]:
    """Judge a warning group by group, in alphabetical order.

    Parameters
    ----------
    flag, event : array_like of bool, shape (n,)
        Warned by a rule fixed beforehand; default within the horizon.
    firm, group : array_like, shape (n,)
        Firm of each firm-quarter, and its sector, size or district.
    least : int
        A group is small if fewer firms than this had an event, or fewer were warned of.

    Examples
    --------
    >>> a, b = breakdown([1, 1, 0, 0], [1, 0, 1, 0], [1, 2, 3, 4], ["a", "a", "a", "b"], least=2)
    >>> a.group, a.recall.value, a.precision.value, a.small
    ('a', 0.5, 0.5, False)
    >>> b.units, b.recall.trials, b.recall.interval.high, b.small
    (1, 0, 1.0, True)
    """
    f, e = np.asarray(flag, dtype=bool), np.asarray(event, dtype=bool)
    who, names = np.asarray(firm), np.asarray(group)
    if not f.shape == e.shape == who.shape == names.shape or f.ndim != 1:
        raise ValueError(f"{f.shape}, {e.shape}, {who.shape} and {names.shape} do not match")
    found = []
    for name in np.unique(names):
        here = names == name
        recall = rate_by_firm(f[here & e], who[here & e], level)
        precision = rate_by_firm(e[here & f], who[here & f], level)
        found.append(
            GroupFigures(
                group=str(name),
                units=int(here.sum()),
                firms=len(np.unique(who[here])),
                recall=recall,
                precision=precision,
                small=min(recall.firms, precision.firms) < least,
            )
        )
    return tuple(found)
