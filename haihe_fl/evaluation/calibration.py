"""Calibration: the two-number fit, the table behind the plot, the expected error."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.evaluation.intervals import Interval, wilson

Floats = NDArray[np.float64]


class CalibrationFit(NamedTuple):
    """Intercept (slope held at 1) and slope (free intercept), with standard errors, shape (...)."""

    intercept: Floats
    intercept_sd: Floats
    slope: Floats
    slope_sd: Floats


@dataclass(frozen=True)
class CalibrationBin:
    """One point of the calibration plot.

    Attributes
    ----------
    records : float
        Records in the group (noisy when it comes from noisy sums).
    predicted, observed : float
        Mean PD, and share that defaulted.
    interval : Interval
        Confidence interval of ``observed``, with the known noise included.
    """

    records: float
    predicted: float
    observed: float
    interval: Interval


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), dtype=np.float64)


def calibration_fit(score: ArrayLike, bad: ArrayLike, total: ArrayLike) -> CalibrationFit:
    """Fit label ~ a + score and label ~ a + b score by maximum likelihood (Newton).

    Parameters
    ----------
    score : array_like, shape (m,)
        Log-odds.
    bad, total : array_like, shape (..., m)
        Weight of defaults and of all records at each score; leading axes are fitted one by one.

    Returns
    -------
    CalibrationFit
        NaN where one class is missing or the classes separate perfectly.

    Examples
    --------
    >>> f = calibration_fit([-2.0, 0.0, 2.0], [12.0, 50.0, 90.0], [100.0, 100.0, 100.0])
    >>> round(float(f.intercept), 3), round(float(f.slope), 3)
    (0.043, 1.046)
    """
    s = np.asarray(score, dtype=np.float64)
    b, n = np.asarray(bad, dtype=np.float64), np.asarray(total, dtype=np.float64)
    zero = np.zeros(b.shape[:-1])
    shift, shift_sd, _, _ = _newton(s, b, n, zero, zero + 1.0, free=False)
    _, _, slope, slope_sd = _newton(s, b, n, zero, zero + 1.0, free=True)
    undefined = ~((b.sum(-1) > 0) & (b.sum(-1) < n.sum(-1)))
    # A fit that runs away (separation) has no slope to report.
    bad_slope = undefined | ~np.isfinite(slope_sd) | (np.abs(slope) > 40) | (slope_sd > 40)
    nan = float("nan")
    return CalibrationFit(
        np.where(undefined, nan, shift),
        np.where(undefined, nan, shift_sd),
        np.where(bad_slope, nan, slope),
        np.where(bad_slope, nan, slope_sd),
    )


def _newton(
    s: Floats, b: Floats, n: Floats, a: Floats, k: Floats, *, free: bool
) -> tuple[Floats, Floats, Floats, Floats]:
    with np.errstate(all="ignore"):
        # About the mean score the 2 x 2 system is well conditioned.
        centre = np.nan_to_num((n * s).sum(-1) / n.sum(-1))
        x = s - centre[..., None]
        a = a + centre * k
        for _ in range(50):
            p = _sigmoid(a[..., None] + k[..., None] * x)
            h = n * p * (1 - p)
            r = b - n * p
            g0, h00 = r.sum(-1), h.sum(-1)
            if not free:
                da, dk = g0 / h00, np.zeros_like(k)
            else:
                g1, h01, h11 = (r * x).sum(-1), (h * x).sum(-1), (h * x * x).sum(-1)
                det = h00 * h11 - h01**2
                da, dk = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
            da, dk = np.clip(np.nan_to_num(da), -2, 2), np.clip(np.nan_to_num(dk), -2, 2)
            a, k = a + da, k + dk
            if max(np.abs(da).max(initial=0), np.abs(dk).max(initial=0)) < 1e-9:
                break
        h = n * (p := _sigmoid(a[..., None] + k[..., None] * x)) * (1 - p)
        h00, h01, h11 = h.sum(-1), (h * x).sum(-1), (h * x * x).sum(-1)
        if not free:
            return a - centre * k, h00**-0.5, k, k
        return a - centre * k, h00**-0.5, k, (h00 / (h00 * h11 - h01**2)) ** 0.5


def calibration_table(
    label: ArrayLike,
    pd: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    groups: int = 10,
    level: float = 0.95,
) -> tuple[CalibrationBin, ...]:
    """Group records by PD into parts of about equal weight.

    Equal PDs stay in one group, so there may be fewer groups than asked for.
    """
    y, p = np.asarray(label, dtype=np.float64), np.asarray(pd, dtype=np.float64)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    values, inverse = np.unique(p, return_inverse=True)
    n: Floats = np.bincount(inverse, weights=w, minlength=len(values)).astype(np.float64)
    b = np.bincount(inverse, weights=w * y, minlength=len(values))
    squares = np.bincount(inverse, weights=w * w, minlength=len(values))
    table = []
    for part in equal_groups(n, groups):
        total, bad = float(n[part].sum()), float(b[part].sum())
        effective = total**2 / float(squares[part].sum())
        table.append(
            CalibrationBin(
                records=total,
                predicted=float(n[part] @ values[part]) / total,
                observed=bad / total,
                interval=wilson(bad / total * effective, effective, level),
            )
        )
    return tuple(table)


def equal_groups(mass: Floats, groups: int) -> list[NDArray[np.intp]]:
    """Cut a row of cells into at most ``groups`` runs of about equal mass, none of them empty."""
    total = float(mass.sum())
    if not total > 0:
        return []
    middle = (np.cumsum(mass) - mass / 2) / total
    which = np.minimum((middle * groups).astype(int), groups - 1)
    runs = [np.flatnonzero(which == g) for g in range(groups)]
    return [run for run in runs if run.size and float(mass[run].sum()) > 0]


def ece_of(table: tuple[CalibrationBin, ...]) -> float:
    """Return the expected calibration error: mean distance of observed from predicted."""
    total = sum(b.records for b in table)
    if not total > 0:
        return float("nan")
    return sum(b.records * abs(b.observed - b.predicted) for b in table) / total
