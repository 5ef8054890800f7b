"""From the opening ratio to the closing one, step by step.

In order, each step is what it changes after those before it; that depends on the order. Shapley's
value is the mean over all orders, and adds up to the whole as well.

References
----------
L. S. Shapley, "A value for n-person games", Contributions to the Theory of Games II, 1953.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Value = Callable[[frozenset[str]], ArrayLike]

#: Steps of the capital waterfall in the order of the report.
STEPS = ("ppnr", "first_round", "lgd_downturn", "contagion", "pool_relief", "rwa")


@dataclass(frozen=True, eq=False)
class Waterfall:
    """Start, what each step adds, end.

    Attributes
    ----------
    start, end : ndarray
        Without and with all steps, of whatever shape the value has.
    steps : dict of str to ndarray
        In the order of the report; ``start`` plus their sum is ``end``.
    method : {"order", "shapley"}
        How they were found.
    """

    start: Floats
    steps: dict[str, Floats]
    end: Floats
    method: Literal["order", "shapley"]


def waterfall(
    value: Value, steps: Sequence[str] = STEPS, method: Literal["order", "shapley"] = "order"
) -> Waterfall:
    """Attribute the change of a value to steps.

    Parameters
    ----------
    value : callable
        From the set of steps that are on to a number or array. It is asked once for each set it
        is needed for: for each step in turn, or for all 2^n sets.
    steps : sequence of str
        Names, each once; at most 16 for Shapley.
    method : {"order", "shapley"}
        One after the other as named, or the mean over all orders.

    Raises
    ------
    ValueError
        If a step is named twice, or there are too many.

    Examples
    --------
    Two effects that multiply: in order, the second gets all that they have in common.

    >>> def area(on):
    ...     return (1 + ("a" in on)) * (1 + 2 * ("b" in on))
    >>> {k: float(v) for k, v in waterfall(area, "ab").steps.items()}
    {'a': 1.0, 'b': 4.0}
    >>> {k: float(v) for k, v in waterfall(area, "ab", "shapley").steps.items()}
    {'a': 2.0, 'b': 3.0}
    """
    names = tuple(steps)
    if len(set(names)) < len(names) or (method == "shapley" and len(names) > 16):
        raise ValueError(f"steps must differ, and be at most 16 for Shapley: {names}")
    known: dict[frozenset[str], Floats] = {}

    def at(on: frozenset[str]) -> Floats:
        if on not in known:
            known[on] = np.asarray(value(on), dtype=np.float64)
        return known[on]

    found = {}
    for i, name in enumerate(names):
        if method == "order":
            before = frozenset(names[:i])
            found[name] = np.asarray(at(before | {name}) - at(before))
            continue
        others = [other for other in names if other != name]
        total: Floats = np.zeros_like(at(frozenset()))
        for size in range(len(names)):
            weight = 1.0 / (len(names) * math.comb(len(names) - 1, size))
            for group in combinations(others, size):
                without = frozenset(group)
                total = total + weight * (at(without | {name}) - at(without))
        found[name] = total
    return Waterfall(at(frozenset()), found, at(frozenset(names)), method)


@dataclass(frozen=True, eq=False)
class CapitalParts:
    """What moves a CET1 ratio over a horizon; arrays of one shape, CNY.

    Attributes
    ----------
    cet1, rwa : array_like
        At the start.
    ppnr : array_like
        Revenue before provisions.
    first_round, lgd_downturn, contagion : array_like
        Losses: at the LGD of quiet times, more by its downturn, more by contagion; at least 0.
    pool_share : array_like
        Part of all losses that the pool pays: its relief grows with the losses that are on.
    rwa_change : array_like
        Change of risk-weighted assets.
    tax_rate : array_like
        On what profit there is.
    """

    cet1: ArrayLike
    rwa: ArrayLike
    ppnr: ArrayLike
    first_round: ArrayLike
    lgd_downturn: ArrayLike
    contagion: ArrayLike
    pool_share: ArrayLike
    rwa_change: ArrayLike
    tax_rate: ArrayLike = 0.0

    def ratio(self, on: frozenset[str]) -> Floats:
        """Return the CET1 ratio with these steps on.

        Examples
        --------
        >>> parts = CapitalParts(12.0, 100.0, 1.2, 2.0, 0.5, 0.5, 0.0, 8.0)
        >>> round(100 * float(parts.ratio(frozenset(STEPS))), 3)
        9.444
        """
        named = ("first_round", "lgd_downturn", "contagion")
        losses = sum((np.asarray(getattr(self, n)) for n in named if n in on), np.zeros(()))
        if "pool_relief" in on:
            losses = losses * (1.0 - np.asarray(self.pool_share))
        profit = (np.asarray(self.ppnr) if "ppnr" in on else 0.0) - losses
        kept = profit - np.asarray(self.tax_rate) * np.maximum(profit, 0.0)
        assets = np.asarray(self.rwa) + (np.asarray(self.rwa_change) if "rwa" in on else 0.0)
        return np.asarray((np.asarray(self.cet1) + kept) / assets)
