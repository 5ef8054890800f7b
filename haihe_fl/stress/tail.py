"""Tail figures of a loss distribution, with the error that comes of a finite number of draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]
from scipy.stats import binom  # type: ignore[import-untyped]

from haihe_fl.stress.distribution import LossDraws
from haihe_fl.stress.losses import vasicek_quantile
from haihe_fl.stress.portfolio import Portfolio

Floats = NDArray[np.float64]
Reals = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """Value at risk and expected shortfall, in the unit of the losses.

    Attributes
    ----------
    level : float
        For instance 0.999.
    mean, mean_se : float
        Mean loss and its standard error.
    var, var_low, var_high : float
        Quantile and its confidence interval; ``var_high`` is infinite where the draws are too
        few to bound it from above.
    es, es_low, es_high : float
        Mean loss beyond the quantile, and its interval.
    tail_draws : float
        Effective number of draws beyond the quantile.
    confidence : float
        Of the intervals.
    """

    level: float
    mean: float
    mean_se: float
    var: float
    var_low: float
    var_high: float
    es: float
    es_low: float
    es_high: float
    tail_draws: float
    confidence: float


def tail(
    losses: Reals, level: float = 0.999, weights: Floats | None = None, *, confidence: float = 0.95
) -> Tail:
    """Estimate the tail of a loss distribution.

    Parameters
    ----------
    losses : ndarray, shape (draws,)
        Losses.
    level : float
        Of the quantile.
    weights : ndarray, shape (draws,), optional
        Likelihood ratios of shifted draws.
    confidence : float
        Of the intervals.

    Notes
    -----
    Without weights the interval of the quantile is that of order statistics, which covers at
    least with the confidence stated whatever the distribution. With weights it inverts the
    normal interval of the tail probability. That of the shortfall is Student's, with half as
    many degrees of freedom as there are effective tail draws, since excesses are skewed, and it
    ends no lower than that of the quantile. Measured on Vasicek's law at 95 %: see
    ``docs/stress-draws.md``.

    Examples
    --------
    >>> t = tail(np.arange(1.0, 1001.0), 0.99)
    >>> t.var, t.var_low, t.var_high, t.es
    (990.0, 983.0, 997.0, 995.5)
    """
    x = np.asarray(losses, dtype=np.float64)
    n = len(x)
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(-x, kind="stable")
    x, w = x[order], w[order]
    beyond = np.cumsum(w) / n
    var = _at(x, beyond, 1.0 - level)
    if weights is None or bool((w == 1.0).all()):
        low, high = _order_statistics(x, level, confidence)
    else:
        error = ndtri(0.5 + confidence / 2) * float(np.std(w * (x >= var))) / np.sqrt(n)
        low, high = (_at(x, beyond, 1.0 - level + side * error) for side in (1.0, -1.0))
    excess = w * np.maximum(x - var, 0.0)
    es = var + float(excess.mean()) / (1.0 - level)
    within = w[x >= var]
    effective = float(within.sum() ** 2 / (within**2).sum())
    quantile = float(stdtrit(max(effective / 2 - 1.0, 1.0), 0.5 + confidence / 2))
    half = quantile * float(np.std(excess)) / np.sqrt(n) / (1.0 - level)
    mean = float((w * x).mean())
    return Tail(
        level=level,
        mean=mean,
        mean_se=float(np.std(w * x) / np.sqrt(n)),
        var=var,
        var_low=low,
        var_high=high,
        es=es,
        es_low=max(es - half, low),
        es_high=max(es + half, high),
        tail_draws=effective,
        confidence=confidence,
    )


def tails(draws: LossDraws, level: float = 0.999, *, confidence: float = 0.95) -> dict[str, Tail]:
    """Return the tail of the network, under the name "", and of each institution."""
    weights = draws.weights if draws.settings.shift else None
    columns: dict[str, Reals] = {"": draws.network}
    columns |= {name: draws.losses[:, k] for k, name in enumerate(draws.institutions)}
    return {k: tail(v, level, weights, confidence=confidence) for k, v in columns.items()}


def _at(x: Floats, beyond: Floats, probability: float) -> float:
    """Return the loss at which the probability of more, falling with the loss, is reached."""
    if probability <= 0:
        return float("inf")
    # A little slack, so that 1 - 0.99 is a hundredth.
    k = int(np.searchsorted(beyond, probability * (1.0 + 1e-9), side="right"))
    return float(x[min(k, len(x) - 1)])


def _order_statistics(x: Floats, level: float, confidence: float) -> tuple[float, float]:
    n = len(x)
    low = int(binom.ppf((1.0 - confidence) / 2, n, level))
    high = int(binom.ppf((1.0 + confidence) / 2, n, level)) + 1
    ascending = x[::-1]
    below = float(ascending[low - 1]) if low >= 1 else 0.0
    return below, float(ascending[high - 1]) if high <= n else float("inf")


@dataclass(frozen=True)
class Concentration:
    """Herfindahl indices of exposure: 1 is a single one, 1/n is n equal ones."""

    name: float
    sector: float
    institution: float


def concentration(portfolio: Portfolio, institution: str | None = None) -> Concentration:
    """Return the concentration of exposure of the network, or of one institution.

    An entry of weight w stands for w names. Names that owe to several institutions count at
    each, so over the network ``name`` is a lower bound.

    Examples
    --------
    >>> p = Portfolio.build(pd=0.02 * np.ones(4), ead=[1, 1, 1, 1], lgd=0.45, sectors=("a", "b"),
    ...                     sector=["a", "a", "a", "b"], institution=["x", "x", "y", "y"])
    >>> concentration(p)
    Concentration(name=0.25, sector=0.625, institution=0.5)
    """
    held = np.ones(len(portfolio), dtype=bool)
    if institution is not None:
        held = portfolio.institution == portfolio.institutions.index(institution)
    ead, weight = portfolio.ead[held], portfolio.weight[held]
    total = float(ead @ weight)
    if total <= 0:
        return Concentration(float("nan"), float("nan"), float("nan"))

    def index(groups: NDArray[np.int32]) -> float:
        return float(((np.bincount(groups[held], ead * weight) / total) ** 2).sum())

    return Concentration(
        name=float((weight * ead**2).sum()) / total**2,
        sector=index(portfolio.sector),
        institution=index(portfolio.institution),
    )


def granularity_adjustment(pd: float, rho: float, level: float = 0.999) -> tuple[float, float]:
    """Return the quantile v of an infinite portfolio's default rate, and the adjustment GA.

    With n equal loans the quantile is about v + GA / n; with others, v + GA * HHI.

    References
    ----------
    R. Martin and T. Wilde, "Unsystematic credit risk", Risk, November 2002.

    Examples
    --------
    Vector T6.

    >>> v, ga = granularity_adjustment(0.03, 0.08, 0.99)
    >>> round(v, 6), round(ga, 6), round(v + ga / 200, 6)
    (0.101179, 1.955293, 0.110956)
    """
    v = float(vasicek_quantile(pd, rho, level))
    g = float(ndtri(v))
    density = np.exp(-0.5 * g * g) / np.sqrt(2.0 * np.pi)
    slope = np.sqrt((1.0 - rho) / rho) * float(ndtri(level)) - g
    return v, float(0.5 * (slope / density * v * (1.0 - v) + 2.0 * v - 1.0))
