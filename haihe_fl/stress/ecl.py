"""Expected credit loss under IFRS 9: stages, twelve-month and lifetime losses."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def discounted_losses(
    hazard: ArrayLike,
    lgd: ArrayLike,
    ead: ArrayLike,
    rate: float,
    *,
    periods_per_year: int = 1,
) -> Floats:
    """Return the discounted expected loss of each period, S(t-1) h(t) LGD(t) EAD(t) D(t).

    Parameters
    ----------
    hazard, lgd, ead : array_like, periods along the last axis
        Hazard, loss given default and exposure at default of each period.
    rate : float
        Effective annual interest rate.
    """
    h = np.asarray(hazard, dtype=np.float64)
    alive = np.concatenate(
        [np.ones((*h.shape[:-1], 1)), np.cumprod(1.0 - h, axis=-1)[..., :-1]], axis=-1
    )
    periods = np.arange(1, h.shape[-1] + 1)
    discount = (1.0 + rate) ** (-periods / periods_per_year)
    return np.asarray(alive * h * np.asarray(lgd) * np.asarray(ead) * discount)


def lifetime_ecl(
    hazard: ArrayLike, lgd: ArrayLike, ead: ArrayLike, rate: float, *, periods_per_year: int = 1
) -> Floats:
    """Return the expected credit loss to maturity.

    Examples
    --------
    Vector T12: hazard 3 % a year for three years, LGD 45 %, falling exposure, 5 %.

    >>> round(float(lifetime_ecl([0.03] * 3, 0.45, [100, 70, 40], 0.05)), 6)
    2.556047
    """
    return np.asarray(
        discounted_losses(hazard, lgd, ead, rate, periods_per_year=periods_per_year).sum(axis=-1)
    )


def twelve_month_ecl(
    hazard: ArrayLike, lgd: ArrayLike, ead: ArrayLike, rate: float, *, periods_per_year: int = 1
) -> Floats:
    """Return the expected credit loss from defaults within a year.

    Examples
    --------
    >>> round(float(twelve_month_ecl([0.03] * 3, 0.45, [100, 70, 40], 0.05)), 6)
    1.285714
    """
    losses = discounted_losses(hazard, lgd, ead, rate, periods_per_year=periods_per_year)
    return np.asarray(losses[..., :periods_per_year].sum(axis=-1))


def significant_increase(
    pd_now: ArrayLike,
    pd_origin: ArrayLike,
    *,
    ratio: float = 2.5,
    margin: float = 0.005,
    past_due_days: ArrayLike = 0,
    watch_list: ArrayLike = False,
) -> NDArray[np.bool_]:
    """Say whether credit risk has risen significantly since origination (stage 2).

    Both a PD at least ``ratio`` times that at origination and a rise of at least ``margin``;
    or more than 30 days past due; or on the watch list (repair cooling-off counts as such).

    Examples
    --------
    >>> significant_increase([0.006, 0.03, 0.01], [0.002, 0.01, 0.01]).tolist()
    [False, True, False]
    """
    now, origin = np.asarray(pd_now), np.asarray(pd_origin)
    risen = (now >= ratio * origin) & (now >= origin + margin)
    return np.asarray(risen | (np.asarray(past_due_days) > 30) | np.asarray(watch_list))


def stage(
    increased: ArrayLike, past_due_days: ArrayLike = 0, bankrupt: ArrayLike = False
) -> NDArray[np.int8]:
    """Return the stage 1, 2 or 3; 90 days past due or bankrupt is stage 3.

    Examples
    --------
    >>> stage([False, True, True], [0, 0, 90]).tolist()
    [1, 2, 3]
    """
    default = (np.asarray(past_due_days) >= 90) | np.asarray(bankrupt)
    return np.where(default, 3, np.where(increased, 2, 1)).astype(np.int8)


def provision_matrix(exposure: ArrayLike, loss_rate: ArrayLike) -> float:
    """Return the provision of the simplified approach: exposure by bucket times loss rate.

    Examples
    --------
    >>> rates = [0.003, 0.016, 0.036, 0.066, 0.106]
    >>> round(provision_matrix([15e6, 7.5e6, 4e6, 2.5e6, 1e6], rates), 2)
    580000.0
    """
    return float(np.dot(np.asarray(exposure), np.asarray(loss_rate)))
