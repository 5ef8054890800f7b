"""What a warning costs, over how much dearer a missed default is than a false alert.

Unit of cost: one false alert. A default warned of and a firm left in peace cost nothing, so the
ratio is that of what a warning in time would have *saved*, not of the whole loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.evaluation.intervals import Interval, normal_interval
from haihe_fl.monitoring.warning import Confusion

Floats = NDArray[np.float64]
RATIOS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@dataclass(frozen=True)
class CostPoint:
    """Cost per 100 firms judged, in false alerts, at one ratio.

    Attributes
    ----------
    ratio : float
        Cost of a missed default over that of a false alert.
    cost, never, always : float
        Of the warning, of never warning, of always warning.
    saving : float
        Cost of the cheaper of never and always, less that of the warning; negative: whoever
        does without is better off.
    interval : Interval
        Of ``saving``, by firm.
    """

    ratio: float
    cost: float
    never: float
    always: float
    saving: float
    interval: Interval


class Worth(NamedTuple):
    """Ratios between which a warning is cheaper than both never and always warning."""

    low: float
    high: float


def worth(confusion: Confusion) -> Worth:
    """Return from which to which cost ratio the warning beats both strategies without it.

    It beats never warning where ratio x TP > FP, and always warning where TN > ratio x FN. If the
    lower end is not below the upper one there is no such ratio.

    Examples
    --------
    >>> worth(Confusion(tp=20, fp=40, fn=30, tn=910))
    Worth(low=2.0, high=30.333333333333332)
    """
    inf = float("inf")
    low = confusion.fp / confusion.tp if confusion.tp else inf
    high = confusion.tn / confusion.fn if confusion.fn else inf
    return Worth(low, high)


def threshold_for(ratio: float) -> float:
    """Return the PD from which on an alert is worth while: 1 / (1 + ratio).

    Where PD x ratio = 1 - PD both mistakes are equally dear. It is the cheapest threshold of a PD
    that is calibrated, and needs no outcomes: nothing is fitted on the quarters that are judged.

    Examples
    --------
    >>> threshold_for(19.0)
    0.05
    """
    return 1.0 / (1.0 + ratio)


def cost_curve(
    flag: ArrayLike,
    event: ArrayLike,
    firm: ArrayLike,
    *,
    ratios: Sequence[float] = RATIOS,
    level: float = 0.95,
) -> tuple[CostPoint, ...]:
    """Cost of one warning at each ratio, beside never and always warning.

    Parameters
    ----------
    flag : array_like of bool, shape (n,) or (ratios, n)
        Warned; one row for each ratio if the warning depends on it.
    event, firm : array_like, shape (n,)
        Default within the horizon, and firm, of each firm-quarter.

    Examples
    --------
    >>> p = cost_curve([1, 1, 0, 0], [1, 0, 1, 0], range(4), ratios=[4])[0]
    >>> p.cost, p.never, p.always, p.saving              # (4 + 1) / 4, 8 / 4, 2 / 4, of 100
    (125.0, 200.0, 50.0, -75.0)
    """
    e = np.asarray(event, dtype=bool)
    index = np.unique(np.asarray(firm), return_inverse=True)[1]
    flags = np.asarray(flag, dtype=bool)
    if flags.ndim == 1:
        flags = np.broadcast_to(flags, (len(ratios), flags.size))
    if flags.shape != (len(ratios), e.size) or index.shape != e.shape or not e.size:
        raise ValueError(f"flag {flags.shape}, event {e.shape}, firm {index.shape} do not match")
    if min(ratios) < 0:
        raise ValueError("a cost ratio is not negative")
    curve = []
    for ratio, f in zip(ratios, flags, strict=True):
        cost = _cost(f, e, ratio)
        never, always = _cost(np.zeros_like(f), e, ratio), _cost(np.ones_like(f), e, ratio)
        saved = (never if never.mean() <= always.mean() else always) - cost
        mean = float(saved.mean())
        # Sums by firm are independent, quarters are not (linearised variance of a ratio).
        sd = float(np.sqrt((np.bincount(index, saved - mean) ** 2).sum())) / e.size
        curve.append(
            CostPoint(
                ratio=float(ratio),
                cost=100 * float(cost.mean()),
                never=100 * float(never.mean()),
                always=100 * float(always.mean()),
                saving=100 * mean,
                interval=normal_interval(100 * mean, 100 * sd, level),
            )
        )
    return tuple(curve)


def _cost(flag: NDArray[np.bool_], event: NDArray[np.bool_], ratio: float) -> Floats:
    return np.asarray(ratio * (event & ~flag) + (flag & ~event), dtype=np.float64)
