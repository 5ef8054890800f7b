"""Exact accounting for the Gaussian mechanism.

A release with noise of standard deviation z S on a vector of L2 sensitivity S is mu-GDP with
mu = 1 / z; releases compose as mu^2 = sum 1 / z_i^2, and

    delta(epsilon) = Phi(-epsilon / mu + mu / 2) - exp(epsilon) Phi(-epsilon / mu - mu / 2).

Nothing is lost in the composition, so these are equalities, not bounds.

References
----------
Dong, Roth, Su (2022), Gaussian differential privacy, JRSS-B. Balle and Wang (2018),
Improving the Gaussian mechanism for differential privacy, ICML.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq  # type: ignore[import-untyped]
from scipy.special import erfcx, log_ndtr  # type: ignore[import-untyped]

Unit = Literal["record", "borrower"]


def log_delta(mu: float, epsilon: float) -> float:
    """Return the natural logarithm of ``delta_for(mu, epsilon)``, which may underflow.

    Below the median the two terms are scaled complementary error functions times the same
    factor, because the exponents differ by exactly epsilon; that keeps their difference exact
    to rounding where both are tiny.
    """
    if not 0.0 < mu < math.inf or not 0.0 <= epsilon < math.inf:
        raise ValueError(f"mu {mu} must be positive and epsilon {epsilon} not negative")
    upper = -epsilon / mu + mu / 2
    lower = -epsilon / mu - mu / 2
    if upper < 0.0:
        gap = float(erfcx(-upper / math.sqrt(2))) - float(erfcx(-lower / math.sqrt(2)))
        return math.log(gap / 2) - upper * upper / 2 if gap > 0.0 else -math.inf
    ratio = epsilon + float(log_ndtr(lower)) - float(log_ndtr(upper))
    return float(log_ndtr(upper)) + math.log(-math.expm1(min(ratio, -5e-324)))


def delta_for(mu: float, epsilon: float) -> float:
    """Return the smallest delta at which mu-GDP is (epsilon, delta)-DP.

    Parameters
    ----------
    mu : float
        Gaussian DP parameter, not negative.
    epsilon : float
        Not negative.

    Examples
    --------
    >>> round(delta_for(1.0, 1.0), 6)
    0.126937
    """
    return 0.0 if mu == 0.0 else math.exp(log_delta(mu, epsilon))


def epsilon_for(mu: float, delta: float) -> float:
    """Return the smallest epsilon at which mu-GDP is (epsilon, delta)-DP.

    Parameters
    ----------
    mu : float
        Gaussian DP parameter, not negative.
    delta : float
        In (0, 1).

    Examples
    --------
    >>> round(epsilon_for(1.0, 1e-5), 3)
    4.377
    >>> round(epsilon_for(200.0, 1e-300), 1)  # large epsilon, tiny delta
    27408.5
    """
    _check_delta(delta)
    if mu == 0.0 or log_delta(mu, 0.0) <= math.log(delta):
        return 0.0
    high = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1e-12
    root = brentq(lambda e: log_delta(mu, e) - math.log(delta), 0.0, high, xtol=1e-13, rtol=1e-14)
    return float(root)


def mu_for(epsilon: float, delta: float) -> float:
    """Return the largest mu at which mu-GDP is (epsilon, delta)-DP.

    Parameters
    ----------
    epsilon : float
        Positive.
    delta : float
        In (0, 1).

    Examples
    --------
    >>> [round(mu_for(epsilon, 1e-5), 3) for epsilon in (1.0, 3.0, 8.0)]
    [0.268, 0.719, 1.666]
    """
    _check_delta(delta)
    if not 0.0 < epsilon < math.inf:
        raise ValueError(f"epsilon {epsilon} must be positive and finite")
    low = high = 1.0
    while log_delta(high, epsilon) < math.log(delta):
        high *= 2.0
    while log_delta(low, epsilon) > math.log(delta):
        low /= 2.0
    root = brentq(lambda m: log_delta(m, epsilon) - math.log(delta), low, high, rtol=1e-14)
    return float(root)


def compose(noise_multipliers: Iterable[float]) -> float:
    """Return the mu of Gaussian releases on the same records.

    Parameters
    ----------
    noise_multipliers : iterable of float
        One z a release, positive: standard deviation of its noise over its L2 sensitivity.

    Examples
    --------
    >>> compose([2.0, 2.0, 2.0, 2.0])
    1.0
    """
    return math.sqrt(math.fsum(1.0 / (z * z) for z in noise_multipliers))


def _check_delta(delta: float) -> None:
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta {delta} must lie between 0 and 1")


@dataclass(frozen=True)
class Budget:
    """A privacy budget with its unit.

    Attributes
    ----------
    epsilon, delta : float
        The guarantee; epsilon is positive and delta lies in (0, 1).
    unit : {"record", "borrower"}
        What is added or removed: one record, or all records of one borrower.

    Examples
    --------
    >>> budget = Budget(3.0, 1e-5)
    >>> [round(budget.for_borrower(k).epsilon, 1) for k in (1, 2, 3)]
    [3.0, 6.7, 11.0]
    """

    epsilon: float
    delta: float
    unit: Unit = "record"

    def __post_init__(self) -> None:
        _check_delta(self.delta)
        if not 0.0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon {self.epsilon} must be positive and finite")

    @property
    def mu(self) -> float:
        """Gaussian DP parameter at which the guarantee just holds, in the budget's own unit."""
        return mu_for(self.epsilon, self.delta)

    def for_borrower(self, records: int) -> "Budget":
        """Return what a record-level budget means for a borrower with so many records."""
        if self.unit != "record" or records < 1:
            raise ValueError(f"no borrower budget from {self} and {records} records")
        return Budget(epsilon_for(self.mu * records, self.delta), self.delta, "borrower")

    def for_record(self, records: int) -> "Budget":
        """Return the record-level budget that keeps this one for borrowers of so many records.

        Examples
        --------
        >>> round(Budget(6.7, 1e-5, "borrower").for_record(2).epsilon, 1)
        3.0
        """
        if self.unit != "borrower" or records < 1:
            raise ValueError(f"no record budget from {self} and {records} records")
        return Budget(epsilon_for(self.mu / records, self.delta), self.delta, "record")
