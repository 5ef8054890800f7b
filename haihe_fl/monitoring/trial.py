"""The out-of-time trial on the synthetic panel that the demonstration and the benchmark share.

**Synthetic**: it shows that the measures work, not that any warning does. The PD threshold is
fixed on quarters whose outcome was known before the judged ones begin.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from haihe_fl.monitoring.alerts import Alert, alert_states, raise_alerts
from haihe_fl.monitoring.breakdown import GroupFigures, breakdown
from haihe_fl.monitoring.costs import RATIOS, CostPoint, Worth, cost_curve, threshold_for, worth
from haihe_fl.monitoring.indicators import load_indicators
from haihe_fl.monitoring.score import ScoreCalibration, Stability, calibrate_score, stability
from haihe_fl.monitoring.synthetic import MonitoringPanel, synthetic_panel
from haihe_fl.monitoring.warning import (
    Confusion,
    WarningReport,
    choose_threshold,
    evaluate_warning,
    events,
    lead_times,
    out_of_time,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
QUARTERS, FIT_QUARTERS, LEAST_PRECISION = 20, 12, 0.30
RULES, PD, NOBODY = "rules", "pd", "nobody"


@dataclass(frozen=True, eq=False)
class Trial:
    """Warnings on one panel, and which of its firm-quarters judge them.

    Attributes
    ----------
    alerts : list of Alert
        All alerts of the panel.
    threshold : float
        PD threshold, fixed on the ``fixing`` firm-quarters.
    warnings : dict of str to ndarray of bool, shape (firms, months)
        Under warning by the shipped rules, by the PD threshold, by nobody.
    event, fixing, judged : ndarray of bool, shape (firms, quarters)
        Default within twelve months; firm-quarters of the two windows.
    pd : ndarray, shape (firms, quarters)
        PD at the end of each quarter.
    """

    panel: MonitoringPanel
    alerts: list[Alert]
    threshold: float
    warnings: dict[str, Flags]
    event: Flags
    fixing: Flags
    judged: Flags
    pd: Floats

    @cached_property
    def firm(self) -> NDArray[np.int64]:
        """Firm of each judged firm-quarter."""
        return np.asarray(np.nonzero(self.judged)[0], dtype=np.int64)

    @cached_property
    def default_day(self) -> Floats:
        """Day of each default in or after the judged window's first quarter; NaN for none."""
        month = self.panel.default_month
        return np.where(month >= 3 * FIT_QUARTERS, 30.0 * month, np.nan)

    @property
    def defaults(self) -> int:
        """Defaults that could have been warned of."""
        return int(np.isfinite(self.default_day).sum())

    def flag(self, name: str) -> Flags:
        """Return a warning on the judged firm-quarters."""
        return self.warnings[name][:, 2::3][self.judged]

    def leads(self, name: str) -> Floats:
        """Return the days between first warning and default, for each default warned of."""
        return lead_times(self.warnings[name], self.panel.days, self.default_day)

    def report(self, name: str, *, draws: int = 500, seed: int = 0) -> WarningReport:
        """Return the measures of one warning."""
        return evaluate_warning(
            self.flag(name),
            self.event[self.judged],
            self.firm,
            probability=None if name == NOBODY else self.pd[self.judged],
            lead_days=self.leads(name),
            draws=draws,
            seed=seed,
        )

    def calibration(self, *, draws: int = 200, seed: int = 0) -> ScoreCalibration:
        """Return the calibration of the PD on the judged firm-quarters."""
        event = self.event[self.judged]
        return calibrate_score(self.pd[self.judged], event, self.firm, draws=draws, seed=seed)

    def stability(self) -> Stability:
        """Return the stability of the PD from the fixing to the judged window."""
        firms = int(self.fixing.any(1).sum()), int(self.judged.any(1).sum())
        return stability(self.pd[self.fixing], self.pd[self.judged], firms=firms)

    def costs(self) -> dict[str, tuple[CostPoint, ...]]:
        """Return cost curves: rules, fixed PD threshold, and PD from 1 / (1 + ratio) on."""
        event = self.event[self.judged]
        moving = np.stack([self.pd[self.judged] >= threshold_for(r) for r in RATIOS])
        flags = {RULES: self.flag(RULES), PD: self.flag(PD), "pd_by_ratio": moving}
        return {name: cost_curve(f, event, self.firm) for name, f in flags.items()}

    def worth(self, name: str) -> Worth:
        """Return between which cost ratios one warning beats never and always warning."""
        return worth(Confusion.of(self.flag(name), self.event[self.judged]))

    def breakdown(self, name: str) -> dict[str, tuple[GroupFigures, ...]]:
        """Return one warning by sector, size and district."""
        flag, event = self.flag(name), self.event[self.judged]
        groups = self.panel.groups.items()
        return {k: breakdown(flag, event, self.firm, g[self.firm]) for k, g in groups}


def run_trial(firms: int = 2_000, seed: int = 1) -> Trial:
    """Draw a panel of five years, fix the threshold on its first part, and warn.

    Examples
    --------
    >>> t = run_trial(firms=300)
    >>> t.judged.shape, bool((t.fixing & t.judged).any()), sorted(t.warnings)
    ((300, 20), False, ['nobody', 'pd', 'rules'])
    """
    catalogue, panel = load_indicators(), synthetic_panel(firms, 3 * QUARTERS, seed=seed)
    grades = catalogue.grade(panel.values)
    failed = panel.default_month >= 0
    event, followed = events(np.where(failed, panel.default_month // 3, -1), QUARTERS)
    fit, test = out_of_time(QUARTERS, FIT_QUARTERS)
    pd = panel.pd[:, 2::3]
    fixing, judged = followed & fit, followed & test
    threshold = choose_threshold(pd[fixing], event[fixing], LEAST_PRECISION)
    with np.errstate(invalid="ignore"):
        over = panel.pd >= threshold
    rules = alert_states(catalogue, grades, panel.pd, panel.days).any
    return Trial(
        panel=panel,
        alerts=raise_alerts(catalogue, grades, panel.pd, panel.days),
        threshold=threshold,
        warnings={RULES: rules, PD: over, NOBODY: np.zeros_like(over)},
        event=event,
        fixing=fixing,
        judged=judged,
        pd=pd,
    )
