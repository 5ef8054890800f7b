"""Early warning on a synthetic panel with known leads: the shipped rules, a PD threshold, nobody.

Synthetic: the figures show that the measures work, not that any warning does. The threshold is
fixed on the quarters before the cut; all figures are of the quarters after it.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.harness import parser, publish
from haihe_fl.monitoring.alerts import alert_states, raise_alerts
from haihe_fl.monitoring.indicators import load_indicators
from haihe_fl.monitoring.synthetic import synthetic_panel
from haihe_fl.monitoring.warning import (
    WarningReport,
    choose_threshold,
    evaluate_warning,
    events,
    lead_times,
    out_of_time,
)


def _row(name: str, report: WarningReport, warned: int, failed: int) -> dict[str, object]:
    c = report.confusion

    def span(figure: str) -> str:
        value = getattr(c, figure) if hasattr(c, figure) else getattr(report, figure)
        low, high = report.intervals.get(figure, (float("nan"), float("nan")))
        return f"{value:.3f} ({low:.3f}-{high:.3f})"

    return {
        "warning": name,
        "accuracy": f"{c.accuracy:.3f}",
        "of nobody": f"{c.null_accuracy:.3f}",
        "precision": span("precision"),
        "recall": span("recall"),
        "F2": f"{c.f2:.3f}",
        "MCC": span("mcc"),
        "per 100": f"{c.alerts_per_100:.2f}",
        "defaults warned": f"{warned} of {failed}",
        "lead, days": f"{report.lead_days:.0f}",
        "AUC": span("auc"),
        "KS": f"{report.ks:.3f}",
        "PR-AUC": f"{report.average_precision:.3f}",
        "Brier skill": f"{report.brier_skill:.3f}",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the table."""
    options = parser(__doc__, seed=1)
    options.add_argument("--firms", type=int, default=5_000)
    args = options.parse_args(argv)
    firms, months, cut = (400 if args.quick else args.firms), 60, 12
    catalogue = load_indicators()
    panel = synthetic_panel(firms, months, seed=args.seed)
    grades = catalogue.grade(panel.values)
    states = alert_states(catalogue, grades, panel.pd, panel.days)
    quarters = np.arange(2, months, 3)
    failed = panel.default_month >= 0
    event, judged = events(np.where(failed, panel.default_month // 3, -1), len(quarters))
    fit, test = out_of_time(len(quarters), cut)
    pd = panel.pd[:, quarters]
    threshold = choose_threshold(pd[judged & fit], event[judged & fit], 0.30)
    late = failed & (panel.default_month >= 3 * cut)
    day = np.where(late, 30.0 * panel.default_month, np.nan)
    firm = np.repeat(np.arange(firms)[:, None], len(quarters), axis=1)
    here = judged & test
    with np.errstate(invalid="ignore"):
        over = panel.pd >= threshold
    warnings = {
        "shipped rules": states.any,
        f"PD above {threshold:.3f}": over,
        "nobody": np.zeros_like(over),
    }
    rows = []
    for name, raised in warnings.items():
        leads = lead_times(raised, panel.days, day)
        report = evaluate_warning(
            raised[:, quarters][here],
            event[here],
            firm[here],
            probability=None if name == "nobody" else pd[here],
            lead_days=leads,
            draws=100 if args.quick else 500,
            seed=args.seed,
        )
        rows.append(_row(name, report, len(leads), int(late.sum())))
    raised_alerts = raise_alerts(catalogue, grades, panel.pd, panel.days)
    by_rule = [
        {"rule": rule, "alerts": sum(a.rule == rule for a in raised_alerts)}
        for rule in ("red", "ambers", "pd")
    ]
    title = (
        f"{firms} synthetic firms, quarters {cut} to 15 of 20, base rate {event[here].mean():.4f}"
    )
    publish(args, "warning", {title: rows, "Alerts raised in the whole panel": by_rule})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
