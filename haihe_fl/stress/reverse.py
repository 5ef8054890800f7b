"""Reverse stress: how bad must it get? Searches over any function, and adapters to the engine.

A scalar that makes a measure cross a threshold (severity, PD multiplier), and the smallest set of
enterprises or institutions whose failure does. Most plausible paths are in
:mod:`haihe_fl.stress.plausible`.
"""

import heapq
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import brentq  # type: ignore[import-untyped]

from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.kernel import PD_RANGE, Shock, simulate
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import baseline, run, shipped, shock_of
from haihe_fl.stress.settings import StressSettings

Breach = Literal["above", "below"]
MOST_SEVERE = 10.0
"""Largest severity of a scenario; ``StressSettings`` allows no more."""
POOL_CNY = 1e9
"""Capital of the credit insurance pool."""
POOL_SHARE = 0.8
"""Share of each loss that the pool pays."""


@dataclass(frozen=True)
class Crossing:
    """Where a measure crosses a threshold.

    Attributes
    ----------
    at : float or None
        Smallest argument at which the threshold is breached; None if it is not up to ``limit``.
    measure : float
        The measure there, or at ``limit``.
    limit : float
        Largest argument that was tried.
    evaluations : int
        Calls of the measure.
    """

    at: float | None
    measure: float
    threshold: float
    limit: float
    evaluations: int

    @property
    def reached(self) -> bool:
        """Whether the threshold is breached at all."""
        return self.at is not None

    def __str__(self) -> str:
        if self.at is None:
            return tr(
                f"not reached within {self.limit:g}: {self.measure:.6g} there, "
                f"threshold {self.threshold:.6g}",
                f"在 {self.limit:g} 以内未触及:此时为 {self.measure:.6g},阈值 {self.threshold:.6g}",
            )
        return tr(
            f"reached at {self.at:.6g}: {self.measure:.6g}",
            f"在 {self.at:.6g} 处触及:{self.measure:.6g}",
        )


def smallest_crossing(
    measure: Callable[[float], float],
    threshold: float,
    breach: Breach = "above",
    *,
    low: float = 0.0,
    limit: float = MOST_SEVERE,
    tolerance: float = 1e-9,
) -> Crossing:
    """Return the smallest argument at which a monotone measure breaches a threshold.

    Brackets by doubling from ``low`` up to ``limit``, then Brent. What is returned is breached
    itself, also where the measure jumps.

    Parameters
    ----------
    measure : callable
        Monotone in the direction of the breach; else some crossing is found, perhaps not the
        first.
    breach : {"above", "below"}
        The threshold is breached at or above it (losses), or at or below it (capital ratios).
    tolerance : float
        Of the argument, absolute.

    Raises
    ------
    UserError
        H2563 if the measure is no number somewhere, or the limits are none.

    Examples
    --------
    >>> str(smallest_crossing(lambda s: 0.12 - 0.015 * s, 0.09, "below"))
    'reached at 2: 0.09'
    >>> str(smallest_crossing(lambda s: 1 - 2.0 ** -s, 1.5))
    'not reached within 10: 0.999023 there, threshold 1.5'
    """
    if not low < limit < math.inf:
        raise _no_search(f"limits {low:g} to {limit:g}", f"区间 {low:g} 至 {limit:g}")
    sign = 1.0 if breach == "above" else -1.0
    seen: dict[float, float] = {}

    def gap(x: float) -> float:
        if x not in seen:
            seen[x] = float(measure(x))
            if not math.isfinite(seen[x]):
                raise _no_search(f"the measure at {x:g} is {seen[x]}", f"{x:g} 处为 {seen[x]}")
        return sign * (seen[x] - threshold)

    def crossing(at: float | None) -> Crossing:
        return Crossing(at, seen[limit if at is None else at], threshold, limit, len(seen))

    if gap(low) >= 0:
        return crossing(low)
    inside = low
    for halving in range(6, -1, -1):
        outside = low + (limit - low) / 2**halving
        if gap(outside) >= 0:
            break
        inside = outside
    else:
        return crossing(None)
    brentq(gap, inside, outside, xtol=tolerance, rtol=8.9e-16)
    return crossing(min(x for x in seen if x > inside and gap(x) >= 0))


@dataclass(frozen=True)
class SeedSet:
    """A set whose failure breaches a threshold.

    Attributes
    ----------
    chosen : tuple
        Its members; leaving out any one no longer breaches (if ``reached``).
    value : float
        The function of the set.
    lower_bound : int
        No smaller set can do, if the function is submodular: so many of the largest single
        effects are needed to add up to the threshold.
    evaluations : int
        Calls of the function.
    """

    chosen: tuple[Hashable, ...]
    value: float
    reached: bool
    lower_bound: int
    evaluations: int


def smallest_seed_set(
    value: Callable[[frozenset[Hashable]], float],
    candidates: Sequence[Hashable],
    threshold: float,
    *,
    most: int | None = None,
    lazy: bool = True,
) -> SeedSet:
    """Return a small set of candidates at which a monotone function reaches a threshold.

    Greedy: the largest gain first, then members that turn out not to be needed are dropped. For
    a submodular function it is at most about 1 + ln(largest gain / smallest step) times the
    smallest (Wolsey 1982), and lazy evaluation changes nothing (Minoux 1978): gains only fall, so
    an old one is a bound. Contagion is not submodular where two failures do together what
    neither does alone; ``lazy=False`` then looks at every gain again, and the result is a set
    that breaches, not a proof that no smaller one does.

    Parameters
    ----------
    value : callable
        Monotone: more failures, no smaller value. Of a frozenset of candidates.
    most : int, optional
        Largest set to try.

    Raises
    ------
    UserError
        H2563 if a candidate stands twice.

    Examples
    --------
    >>> losses = {"a": 5.0, "b": 3.0, "c": 3.0, "d": 1.0}
    >>> smallest_seed_set(lambda s: sum(losses[i] for i in s), list(losses), 8.0).chosen
    ('a', 'b')
    """
    if len(set(candidates)) != len(candidates):
        raise _no_search("a candidate stands twice", "候选重复")
    calls = 0

    def evaluate(members: Sequence[Hashable]) -> float:
        nonlocal calls
        calls += 1
        return float(value(frozenset(members)))

    start = current = evaluate([])
    chosen: list[Hashable] = []
    gains = [evaluate([c]) - start for c in candidates] if current < threshold else []
    totals = np.cumsum(sorted(gains, reverse=True))
    bound = int(np.searchsorted(totals, (threshold - start) * (1 - 1e-12))) + 1 if gains else 0
    heap = [(-gain, i, 0) for i, gain in enumerate(gains)]
    heapq.heapify(heap)
    while current < threshold and heap and len(chosen) < (most or len(candidates)):
        if not lazy and chosen:
            heap = [(current - evaluate([*chosen, candidates[i]]), i, len(chosen))
                    for _, i, _ in heap]  # fmt: skip
            heapq.heapify(heap)
        gain, i, age = heapq.heappop(heap)
        if age < len(chosen):
            fresh = current - evaluate([*chosen, candidates[i]])
            heapq.heappush(heap, (fresh, i, len(chosen)))
            continue
        chosen.append(candidates[i])
        current -= gain
    if current >= threshold:
        for member in chosen[::-1]:
            rest = [c for c in chosen if c != member]
            if (without := evaluate(rest)) >= threshold:
                chosen, current = rest, without
    return SeedSet(tuple(chosen), current, current >= threshold, bound, calls)


def loss_rate_by_severity(
    portfolio: Portfolio,
    scenario: str,
    overlay: str = "none",
    settings: StressSettings | None = None,
) -> Callable[[float], float]:
    """Return expected loss over opening exposure after all quarters, as a function of severity."""
    settings = settings or StressSettings()
    quiet = baseline(portfolio, settings, shipped()[0].horizon_quarters)

    def rate(severity: float) -> float:
        scaled = settings.model_copy(update={"severity": float(severity)})
        return float(run(portfolio, scenario, overlay, scaled, quiet=quiet).loss_rate()[-1])

    return rate


def pool_claims_by_multiplier(
    portfolio: Portfolio,
    scenario: str | None = None,
    settings: StressSettings | None = None,
    *,
    share: float = POOL_SHARE,
) -> Callable[[float], float]:
    """Return expected claims on the pool over all quarters, as a function of a PD multiplier.

    The multiplier is on every enterprise's annual PD before the scenario, which is capped below 1.
    Every loss is taken to be insured.
    """
    settings = settings or StressSettings()
    catalogue, satellite = shipped()
    shock = Shock.none(len(catalogue.sectors), catalogue.horizon_quarters)
    if scenario is not None:
        none = catalogue.overlay("none")
        shock = shock_of(catalogue, satellite, catalogue[scenario], none, settings.severity)

    def claims(multiplier: float) -> float:
        pd = np.clip(multiplier * portfolio.pd, *PD_RANGE)
        cells = simulate(replace(portfolio, pd=pd), shock, settings)
        return share * float(cells.sums["el"].sum())

    return claims


def pool_multiplier(
    claims: Callable[[float], float], capital: float = POOL_CNY, *, limit: float = 100.0
) -> Crossing:
    """Return the smallest PD multiplier at which claims exhaust the pool.

    Examples
    --------
    >>> pool_multiplier(lambda m: m * 0.8 * 250e6).at  # gross loss 1.25bn exhausts 1bn
    5.0
    """
    return smallest_crossing(claims, capital, "above", limit=limit, tolerance=1e-9)


def _no_search(en: str, zh: str) -> UserError:
    return UserError(
        "H2563",
        en=f"no reverse stress can be found: {en}; check the measure and the limits",
        zh=f"无法进行反向压力测试:{zh};请检查指标与区间",
    )
