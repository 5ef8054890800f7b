"""``haihe monitor``: the indicators of early warning, and a demonstration on invented firms."""

from typing import Annotated, Any

import typer

from haihe_fl.cli.console import Column, JsonOption, out, show_json, show_table
from haihe_fl.i18n import tr

app = typer.Typer(
    help=tr("Monitoring after the loan, early warning.", "贷后监测与预警。"), no_args_is_help=True
)
SHOWN = ("precision", "recall", "specificity", "mcc", "alerts_per_100", "auc", "brier_skill")
FIT_QUARTERS, QUARTERS = 12, 20


@app.command("show", help=tr("The 32 indicators and their thresholds.", "列出 32 项指标及其阈值。"))
def show(json: JsonOption = False) -> None:
    """Show every indicator with amber and red, and the rules of alerts."""
    from haihe_fl.monitoring.indicators import load_indicators

    catalogue = load_indicators()
    if json:
        show_json(catalogue.model_dump(mode="json"))
        return
    for key, label in catalogue.dimensions.items():
        columns = [
            Column(tr("no.", "序号"), right=True),
            Column(tr("indicator", "指标")),
            Column(tr("Chinese", "英文")),
            Column(tr("amber", "黄色"), right=True),
            Column(tr("red", "红色"), right=True),
        ]
        rows = [
            (
                i.number,
                str(i.name),
                tr(i.name.zh, i.name.en),
                _threshold(i, i.amber),
                _threshold(i, i.red),
            )
            for i in catalogue.indicators
            if i.dimension == key
        ]
        show_table(f"{label} / {tr(label.zh, label.en)}", columns, rows)
    rules = catalogue.alerts
    for what, rule in (
        (tr("any red", "任一红色"), rules.red),
        (
            tr(
                f"{rules.ambers.count} ambers within {rules.ambers.within_days} days",
                f"{rules.ambers.within_days} 天内 {rules.ambers.count} 项黄色",
            ),
            rules.ambers,
        ),
        (
            tr(
                f"PD times {rules.pd.factor:g} within {rules.pd.within_days} days",
                f"{rules.pd.within_days} 天内违约概率达 {rules.pd.factor:g} 倍",
            ),
            rules.pd,
        ),
    ):
        out.print(
            tr(
                f"{what}: {rule.owner} acts within {rule.deadline_days} days",
                f"{what}:{rule.owner}须在 {rule.deadline_days} 天内处理",
            )
        )
    out.print(
        tr(
            f"Every threshold is an expert start, none is fitted. {catalogue.source}",
            f"全部阈值均为专家初始值,未经拟合。{catalogue.source}",
        )
    )


def _threshold(indicator: Any, value: float | None) -> str:
    if value is None:
        return "–"
    ends = {("up", True): "≥", ("up", False): ">", ("down", True): "≤", ("down", False): "<"}
    unit = {"ratio": "", "count": "", "z": " sd"}.get(indicator.unit, f" {indicator.unit}")
    return f"{ends[indicator.direction, indicator.inclusive]} {value:g}{unit}"


@app.command(
    "demo",
    help=tr(
        "Alerts on invented firms, and how good they are.", "在虚构企业上演示预警及其真实效果。"
    ),
)
def demo(
    firms: Annotated[
        int, typer.Option(min=200, max=50_000, help=tr("Invented firms.", "虚构企业数。"))
    ] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help=tr("Seed.", "随机种子。"))] = 1,
    latest: Annotated[
        int, typer.Option(min=0, max=100, help=tr("Alerts to show.", "显示的预警条数。"))
    ] = 8,
    json: JsonOption = False,
) -> None:
    """Judge the shipped rules, a PD threshold and silence on the same firm-quarters."""
    facts = _judge(firms, seed, latest)
    if json:
        show_json(facts)
    else:
        _print(facts)


def _judge(firms: int, seed: int, latest: int) -> dict[str, Any]:
    """Return alerts and measures; the threshold is fixed on quarters before the judged ones."""
    import numpy as np

    from haihe_fl.monitoring.alerts import alert_states, raise_alerts
    from haihe_fl.monitoring.indicators import load_indicators
    from haihe_fl.monitoring.synthetic import synthetic_panel
    from haihe_fl.monitoring.warning import (
        choose_threshold,
        evaluate_warning,
        events,
        lead_times,
        out_of_time,
    )

    catalogue = load_indicators()
    panel = synthetic_panel(firms, 3 * QUARTERS, seed=seed)
    grades = catalogue.grade(panel.values)
    states = alert_states(catalogue, grades, panel.pd, panel.days)
    raised = raise_alerts(catalogue, grades, panel.pd, panel.days)
    ends = np.arange(2, 3 * QUARTERS, 3)
    failed = panel.default_month >= 0
    event, judged = events(np.where(failed, panel.default_month // 3, -1), QUARTERS)
    fit, test = out_of_time(QUARTERS, FIT_QUARTERS)
    pd, here = panel.pd[:, ends], judged & test
    threshold = choose_threshold(pd[judged & fit], event[judged & fit], 0.30)
    with np.errstate(invalid="ignore"):
        over = panel.pd >= threshold
    late = failed & (panel.default_month >= 3 * FIT_QUARTERS)
    day = np.where(late, 30.0 * panel.default_month, np.nan)
    firm = np.repeat(np.arange(firms)[:, None], QUARTERS, axis=1)
    reports = {}
    for name, flags in (("rules", states.any), ("pd", over), ("nobody", np.zeros_like(over))):
        leads = lead_times(flags, panel.days, day)
        report = evaluate_warning(
            flags[:, ends][here],
            event[here],
            firm[here],
            probability=None if name == "nobody" else pd[here],
            lead_days=leads,
            seed=seed,
        )
        values = {f: _value(report, f) for f in ("accuracy", "null_accuracy", "base_rate", *SHOWN)}
        spans = {f: tuple(i) for f, i in report.intervals.items() if f in values}
        reports[name] = {
            **values,
            "intervals": spans,
            "warned": len(leads),
            "defaults": int(late.sum()),
            "lead_days": _finite(report.lead_days),
        }
    return {
        "synthetic": True,
        "firms": firms,
        "seed": seed,
        "firm_quarters": int(here.sum()),
        "pd_threshold": _finite(threshold),
        "alerts": {r: sum(a.rule == r for a in raised) for r in ("red", "ambers", "pd")},
        "latest": [
            {
                "firm": a.firm,
                "day": a.day,
                "rule": a.rule,
                "reason": a.reason.model_dump(),
                "owner": a.owner.model_dump(),
                "due": a.due,
                "outcome": a.outcome,
            }
            for a in raised[len(raised) - latest :]
        ],
        "warnings": reports,
    }


def _value(report: Any, figure: str) -> float | None:
    return _finite(getattr(report if hasattr(report, figure) else report.confusion, figure))


def _finite(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None


def _print(facts: dict[str, Any]) -> None:
    show_table(
        tr("Latest alerts (invented firms)", "最近的预警(虚构企业)"),
        [
            Column(tr("day", "日"), right=True),
            Column(tr("firm", "企业"), right=True),
            Column(tr("reason", "原因")),
            Column(tr("who acts", "处理人")),
            Column(tr("by day", "截止日"), right=True),
        ],
        [
            (a["day"], a["firm"], tr(**a["reason"]), tr(**a["owner"]), a["due"])
            for a in facts["latest"]
        ],
    )
    reports = facts["warnings"]
    some = reports["rules"]
    shown = {
        "accuracy": tr("accuracy", "准确率"),
        "base_rate": tr("base rate", "基准违约率"),
        "precision": tr("precision", "精确率"),
        "recall": tr("recall", "召回率"),
        "specificity": tr("specificity", "特异度"),
        "mcc": "MCC",
        "alerts_per_100": tr("warnings per 100", "每百户季预警数"),
        "auc": "AUC",
        "brier_skill": tr("Brier skill", "Brier 技巧分"),
    }
    rows: list[tuple[str, ...]] = [
        (label, *(_cell(reports[w], figure) for w in reports)) for figure, label in shown.items()
    ]
    rows += [
        (
            tr("defaults warned of", "事先预警的违约"),
            *(f"{r['warned']} / {r['defaults']}" for r in reports.values()),
        ),
        (
            tr("median lead, days", "中位提前天数"),
            *(_number(r["lead_days"], ".0f") for r in reports.values()),
        ),
    ]
    limit = _number(facts["pd_threshold"], ".3f")
    show_table(
        tr(
            f"How good? {facts['firm_quarters']} quarters of {facts['firms']} SYNTHETIC firms; "
            "default within twelve months; 95 % intervals by firm",
            f"效果如何?{facts['firms']} 家合成企业的 {facts['firm_quarters']} 个季度;"
            "十二个月内违约;95% 区间按企业抽样",
        ),
        [
            Column(""),
            Column(tr("shipped rules", "内置规则")),
            Column(tr(f"PD from {limit} on", f"违约概率 ≥ {limit}")),
            Column(tr("never warning", "从不预警")),
        ],
        rows,
    )
    out.print(
        tr(
            f"Never warning has an accuracy of {some['null_accuracy']:.1%}: accuracy says nothing "
            "here; read precision, recall and MCC. All figures are of invented firms.",
            f"从不预警的准确率即为 {some['null_accuracy']:.1%}:此处准确率没有意义,"
            "请看精确率、召回率和 MCC。全部数字均来自虚构企业。",
        )
    )


def _cell(report: dict[str, Any], figure: str) -> str:
    value, span = report[figure], report["intervals"].get(figure)
    if value is None:
        return "–"
    if span is None:
        return _number(value, ".3f")
    return f"{value:.3f} ({span[0]:.3f}–{span[1]:.3f})"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
