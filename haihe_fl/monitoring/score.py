"""Whether the level of the warning score is right, and its distribution that of the fixing."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit  # type: ignore[import-untyped]

from haihe_fl.evaluation.calibration import calibration_fit, calibration_table, ece_of
from haihe_fl.evaluation.intervals import Interval
from haihe_fl.evaluation.metrics import bootstrap, psi

Floats = NDArray[np.float64]
NAN = float("nan")
STABLE, SHIFTED = 0.10, 0.25
"""The usual bands of the PSI."""


@dataclass(frozen=True)
class ScoreCalibration:
    """Calibration of the probability that a warning is made from.

    Attributes
    ----------
    predicted, observed : float
        Mean probability, and share of events.
    intercept, slope : float
        Shift in log-odds with the slope held at 1 (ideal 0; positive: risk is under-stated), and
        slope of the label on the log-odds (ideal 1; below: the score is too extreme).
    ece : float
        Mean distance of observed from predicted over ten groups of equal size.
    ece_chance : float
        What a perfectly calibrated score would show by chance if firm-quarters were independent;
        they are not, so it would show more.
    intervals : dict of str to Interval
        Of intercept and slope, drawn by firm.
    """

    predicted: float
    observed: float
    intercept: float
    slope: float
    ece: float
    ece_chance: float
    intervals: dict[str, Interval] = field(default_factory=dict)


def calibrate_score(
    probability: ArrayLike,
    event: ArrayLike,
    firm: ArrayLike,
    *,
    draws: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> ScoreCalibration:
    """Judge the level of a probability on firm-quarters; NaN without both outcomes.

    Parameters
    ----------
    probability, event, firm : array_like, shape (n,)
        Of the event, whether it came, and of which firm.
    draws : int
        Of the bootstrap by firm; 0 for no intervals.

    Examples
    --------
    A score of log-odds +-2 where the events have +-1 is twice too extreme:

    >>> p = np.repeat([0.11920292, 0.88079708], 10_000)
    >>> y = np.concatenate([np.arange(10_000) < 2_689, np.arange(10_000) < 7_311])
    >>> c = calibrate_score(p, y, np.arange(20_000), draws=0)
    >>> round(c.slope, 3), round(c.ece, 3), round(c.predicted, 3), c.observed
    (0.5, 0.15, 0.5, 0.5)
    """
    p, e = np.asarray(probability, dtype=np.float64), np.asarray(event, dtype=bool)
    who = np.unique(np.asarray(firm), return_inverse=True)[1]
    if not p.shape == e.shape == who.shape or p.ndim != 1 or not p.size:
        raise ValueError(f"probability {p.shape}, event {e.shape}, firm {who.shape} do not match")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a probability lies between 0 and 1")
    if not 0 < e.sum() < e.size:
        return ScoreCalibration(float(p.mean()), float(e.mean()), NAN, NAN, NAN, NAN)

    table = calibration_table(e, p)
    chance = [
        b.records * np.sqrt(2 / np.pi * b.predicted * (1 - b.predicted) / b.records) for b in table
    ]
    intervals = {
        name: bootstrap(figure, e, p, group=who, draws=draws, level=level, seed=seed)
        for name, figure in (("intercept", _intercept), ("slope", _slope))
        if draws
    }
    ones = np.ones(p.size)
    return ScoreCalibration(
        predicted=float(p.mean()),
        observed=float(e.mean()),
        intercept=_intercept(e, p, ones),
        slope=_slope(e, p, ones),
        ece=ece_of(table),
        ece_chance=float(sum(chance)) / p.size,
        intervals=intervals,
    )


def _intercept(label: ArrayLike, probability: Floats, weight: Floats) -> float:
    x = logit(np.clip(probability, 1e-12, 1 - 1e-12))
    return float(calibration_fit(x, weight * np.asarray(label), weight).intercept)


def _slope(label: ArrayLike, probability: Floats, weight: Floats) -> float:
    x = logit(np.clip(probability, 1e-12, 1 - 1e-12))
    return float(calibration_fit(x, weight * np.asarray(label), weight).slope)


@dataclass(frozen=True)
class Stability:
    """Whether the score is still distributed as where its threshold was fixed.

    Attributes
    ----------
    psi : float
        Below .10 stable, from .25 on shifted, by the usual bands.
    chance : float
        Mean PSI of two samples of as many *firms* from one distribution,
        ``(bins - 1) (1/n + 1/m)``. A PSI that is not well above it shows nothing.
    edges : tuple of float
        Quantiles of the fixing window between the bins.
    fixing, judged : tuple of float
        Share of each window in each bin.
    """

    psi: float
    chance: float
    edges: tuple[float, ...]
    fixing: tuple[float, ...]
    judged: tuple[float, ...]

    @property
    def band(self) -> str:
        """Return "stable", "watch" or "shifted"."""
        if self.psi < STABLE:
            return "stable"
        return "watch" if self.psi < SHIFTED else "shifted"


def stability(
    fixing: ArrayLike,
    judged: ArrayLike,
    *,
    firms: tuple[int, int] | None = None,
    bins: int = 10,
) -> Stability:
    """Compare the score where the threshold was fixed with the score out of time.

    Parameters
    ----------
    fixing, judged : array_like, shape (n,) and (m,)
        Scores of the two windows. The bins are deciles of the first one only: bins made from
        both would move with the shift that they should show.
    firms : tuple of int, optional
        Firms in each window; without them every unit counts as independent.

    Raises
    ------
    ValueError
        If a window is empty or a score is not finite.

    Examples
    --------
    Half of the firms above the old median become three quarters: .25 ln 3.

    >>> s = stability([1, 2, 3, 4], [1, 3, 4, 4], bins=2)
    >>> round(s.psi, 4), s.edges, s.judged, s.band
    (0.2747, (2.5,), (0.25, 0.75), 'shifted')
    """
    before = np.asarray(fixing, dtype=np.float64)
    after = np.asarray(judged, dtype=np.float64)
    if not (before.size and after.size and np.isfinite(before).all() and np.isfinite(after).all()):
        raise ValueError("both windows need scores, and finite ones")
    # Equal scores stay in one bin, so there may be fewer bins than asked for.
    edges = np.unique(np.quantile(before, np.arange(1, bins) / bins))
    edges = edges[(edges > before.min()) & (edges <= before.max())]
    counts = [
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1)
        for x in (before, after)
    ]
    n, m = firms or (before.size, after.size)
    return Stability(
        psi=psi(counts[0], counts[1]),
        chance=len(edges) * (1 / n + 1 / m),
        edges=tuple(edges.tolist()),
        fixing=tuple((counts[0] / before.size).tolist()),
        judged=tuple((counts[1] / after.size).tolist()),
    )
