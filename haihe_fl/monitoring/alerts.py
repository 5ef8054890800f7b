"""Alerts: any red, several ambers within 60 days, or a PD that doubled within 90 days."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.errors import UserError
from haihe_fl.i18n import Text
from haihe_fl.monitoring.indicators import AMBER, RED, Grades, IndicatorCatalogue

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Rule = Literal["red", "ambers", "pd"]
Outcome = Literal["open", "default", "no default", "mended"]


@dataclass(frozen=True)
class AlertStates:
    """Which rule holds where, each of shape (firms, periods)."""

    red: Flags
    ambers: Flags
    pd: Flags

    @property
    def any(self) -> Flags:
        """Whether any rule holds."""
        return np.asarray(self.red | self.ambers | self.pd)


@dataclass(frozen=True)
class Alert:
    """One alert, at the first period in which its rule holds.

    Attributes
    ----------
    firm, period : int
        Positions in the panel.
    day : int
        Day on which it was raised.
    reason : Text
        In words, with the indicators or the PDs.
    owner : Text
        Kind of person who has to act.
    due : int
        Day by which.
    outcome : str
        What became of it; "open" until somebody says so. Needed to judge the rules later.
    """

    firm: int
    period: int
    day: int
    rule: Rule
    reason: Text
    indicators: tuple[str, ...]
    owner: Text
    due: int
    outcome: Outcome = "open"


def alert_states(
    catalogue: IndicatorCatalogue, grades: Grades, pd: ArrayLike, days: ArrayLike
) -> AlertStates:
    """Apply the three rules to every firm and period.

    Parameters
    ----------
    grades : ndarray of int8, shape (firms, periods, indicators)
        From ``catalogue.grade``.
    pd : array_like, shape (firms, periods)
        Point-in-time PD; NaN where none was made.
    days : array_like, shape (periods,)
        Day of each period, increasing.

    Raises
    ------
    UserError
        H2593 if the shapes do not match or the days do not increase.

    Examples
    --------
    >>> from haihe_fl.monitoring.indicators import load_indicators
    >>> c = load_indicators()
    >>> g = np.zeros((1, 4, 32), dtype=np.int8)
    >>> g[0, 0, 0] = g[0, 1, 1] = g[0, 2, 2] = 1          # three ambers, a month apart
    >>> s = alert_states(c, g, [[0.02, 0.03, 0.03, 0.05]], [0, 30, 59, 91])
    >>> s.red.any(), s.ambers[0].tolist(), s.pd[0].tolist()
    (np.False_, [False, False, True, False], [False, False, False, False])
    """
    p, day = np.asarray(pd, dtype=np.float64), np.asarray(days, dtype=np.int64)
    if grades.ndim != 3 or p.shape != grades.shape[:2] or day.shape != p.shape[1:]:
        _refuse(f"grades {grades.shape}, PD {p.shape} and days {day.shape} do not match")
    if (np.diff(day) <= 0).any():
        _refuse("days must increase")
    rules = catalogue.alerts
    red = np.asarray((grades >= RED).any(-1), dtype=np.bool_)
    ambers, doubled = np.zeros_like(red), np.zeros_like(red)
    for t in range(len(day)):
        near = (day <= day[t]) & (day > day[t] - rules.ambers.within_days)
        seen = (grades[:, near] >= AMBER).any(1).sum(-1)
        ambers[:, t] = seen >= rules.ambers.count
        before = (day < day[t]) & (day >= day[t] - rules.pd.within_days)
        if before.any():
            least = np.where(np.isnan(p[:, before]), np.inf, p[:, before]).min(1)
            doubled[:, t] = p[:, t] >= rules.pd.factor * least
    return AlertStates(red, ambers, doubled)


def raise_alerts(
    catalogue: IndicatorCatalogue, grades: Grades, pd: ArrayLike, days: ArrayLike
) -> list[Alert]:
    """Return the alerts: one each time a rule begins to hold, in order of days and firms."""
    states = alert_states(catalogue, grades, pd, days)
    p, day, rules = np.asarray(pd, dtype=np.float64), np.asarray(days), catalogue.alerts
    found = []
    for rule, flags in (("red", states.red), ("ambers", states.ambers), ("pd", states.pd)):
        begun = flags.copy()
        begun[:, 1:] &= ~flags[:, :-1]
        settings = {"red": rules.red, "ambers": rules.ambers, "pd": rules.pd}[rule]
        for firm, t in np.argwhere(begun).tolist():
            if rule == "pd":
                near = (day < day[t]) & (day >= day[t] - rules.pd.within_days)
                names: tuple[str, ...] = ()
                least = float(np.nanmin(p[firm, near]))
                reason = Text(
                    en=f"PD rose from {100 * least:.2f} % to {100 * p[firm, t]:.2f} % within "
                    f"{rules.pd.within_days} days",
                    zh=f"{rules.pd.within_days} 天内违约概率由 {100 * least:.2f}% 升至 "
                    f"{100 * p[firm, t]:.2f}%",
                )
            else:
                level = RED if rule == "red" else AMBER
                width = 1 if rule == "red" else rules.ambers.within_days
                near = (day <= day[t]) & (day > day[t] - width)
                hit = (grades[firm, near] >= level).any(0)
                which = [catalogue.indicators[k] for k in np.flatnonzero(hit)]
                names = tuple(i.id for i in which)
                reason = Text(
                    en=f"{rule}: " + "; ".join(i.name.en for i in which),
                    zh=("红色" if rule == "red" else "黄色")
                    + ":"
                    + "、".join(i.name.zh for i in which),
                )
            found.append(
                Alert(
                    firm=firm,
                    period=t,
                    day=int(day[t]),
                    rule=rule,  # type: ignore[arg-type]
                    reason=reason,
                    indicators=names,
                    owner=settings.owner,
                    due=int(day[t]) + settings.deadline_days,
                )
            )
    return sorted(found, key=lambda a: (a.day, a.firm))


def _refuse(what: str) -> None:
    raise UserError(
        "H2593",
        en=f"{what}; give grades as firms x periods x indicators, PDs as firms x periods and "
        "one day for each period",
        zh=f"监测面板不符({what});等级应为 企业×期×指标,违约概率为 企业×期,每期一个日期",
    )
