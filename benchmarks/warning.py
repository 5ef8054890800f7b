"""Early warning on a synthetic panel with known leads: the shipped rules, a PD threshold, nobody.

Synthetic: the figures show that the measures work, not that any warning does. The threshold is
fixed on the quarters before the cut; all figures are of the quarters after it.
"""

from collections.abc import Sequence

from benchmarks.harness import parser, publish
from haihe_fl.monitoring.breakdown import Rate
from haihe_fl.monitoring.facts import trial_facts
from haihe_fl.monitoring.trial import FIT_QUARTERS, NOBODY, PD, QUARTERS, RULES, Trial, run_trial
from haihe_fl.monitoring.warning import HORIZON, WarningReport


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


def _score_row(trial: Trial, seed: int) -> dict[str, object]:
    score, stable = trial.calibration(seed=seed), trial.stability()

    def span(name: str) -> str:
        low, high = score.intervals.get(name, (float("nan"), float("nan")))
        return f"{getattr(score, name):.3f} ({low:.3f}-{high:.3f})"

    return {
        "mean PD": f"{score.predicted:.4f}",
        "defaults": f"{score.observed:.4f}",
        "slope": span("slope"),
        "intercept": span("intercept"),
        "ECE": f"{score.ece:.4f}",
        "ECE by chance": f"{score.ece_chance:.4f}",
        "PSI": f"{stable.psi:.4f}",
        "PSI by chance": f"{stable.chance:.4f}",
        "band": stable.band,
    }


def _cost_rows(trial: Trial, names: dict[str, str]) -> list[dict[str, object]]:
    rows = []
    for points in zip(*(curves := trial.costs()).values(), strict=True):
        row: dict[str, object] = {"ratio": f"{points[0].ratio:g}"}
        for name, p in zip(curves, points, strict=True):
            row[names.get(name, "PD above 1/(1+ratio)")] = f"{p.cost:.1f}"
        row |= {"never": f"{points[0].never:.1f}", "always": f"{points[0].always:.1f}"}
        low, high = points[0].interval
        row["rules save"] = f"{points[0].saving:.1f} ({low:.1f} to {high:.1f})"
        rows.append(row)
    return rows


def _group_rows(trial: Trial) -> list[dict[str, object]]:
    def span(rate: Rate) -> str:
        low, high = rate.interval
        return f"{rate.hits}/{rate.trials} {rate.value:.3f} ({low:.3f}-{high:.3f})"

    return [
        {
            "by": by,
            "group": g.group,
            "firms": g.firms,
            "firm-quarters": g.units,
            "recall": span(g.recall),
            "precision": span(g.precision),
            "": "small" if g.small else "",
        }
        for by, groups in trial.breakdown(RULES).items()
        for g in groups
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the table."""
    options = parser(__doc__, seed=1)
    options.add_argument("--firms", type=int, default=5_000)
    args = options.parse_args(argv)
    firms = 400 if args.quick else args.firms
    trial = run_trial(firms, args.seed)
    names = {RULES: "shipped rules", PD: f"PD above {trial.threshold:.3f}", NOBODY: "nobody"}
    rows = []
    for name, title in names.items():
        report = trial.report(name, draws=100 if args.quick else 500, seed=args.seed)
        rows.append(_row(title, report, len(trial.leads(name)), trial.defaults))
    by_rule = [
        {"rule": rule, "alerts": sum(a.rule == rule for a in trial.alerts)}
        for rule in ("red", "ambers", "pd")
    ]
    rate = trial.event[trial.judged].mean()
    title = (
        f"{firms} synthetic firms, quarters {FIT_QUARTERS} to {QUARTERS - HORIZON - 1} of "
        f"{QUARTERS}, base rate {rate:.4f}"
    )
    low, high = trial.worth(RULES)
    tables = {
        title: rows,
        "PD as a score, 95 % by firm; stability from the fixing window": [
            _score_row(trial, args.seed)
        ],
        "Cost per 100 firms judged, in false alerts; ratio is missed default to false alert. "
        f"Rules beat never and always from {low:.1f} to {high:.1f}": _cost_rows(trial, names),
        "Shipped rules by group; groups are drawn at random": _group_rows(trial),
        "Alerts raised in the whole panel": by_rule,
    }
    publish(args, "warning", tables, trial_facts(trial, seed=args.seed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
