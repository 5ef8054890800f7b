"""``haihe monitor``: the indicators of early warning, and a demonstration on invented firms."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from haihe_fl.cli.console import Column, JsonOption, out, show_json, show_table
from haihe_fl.i18n import tr

app = typer.Typer(
    help=tr("Monitoring after the loan, early warning.", "贷后监测与预警。"), no_args_is_help=True
)


class Grouping(StrEnum):
    """What the figures of the demonstration may be divided by."""

    SECTOR = "sector"
    SIZE = "size"
    DISTRICT = "district"


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
    by: Annotated[
        Grouping,
        typer.Option(help=tr("Groups to show; JSON has all.", "显示的分组;JSON 含全部分组。")),
    ] = Grouping.SECTOR,
    json: JsonOption = False,
) -> None:
    """Judge the shipped rules, a PD threshold and silence on the same firm-quarters."""
    from haihe_fl.monitoring.facts import trial_facts
    from haihe_fl.monitoring.trial import run_trial

    facts = trial_facts(run_trial(firms, seed), seed=seed, latest=latest)
    if json:
        show_json(facts)
        return
    _print(facts)
    _print_score(facts)
    _print_costs(facts)
    _print_groups(facts, "size_class" if by is Grouping.SIZE else by.value)
    out.print(
        tr(
            "Never warning has an accuracy of "
            f"{facts['warnings']['rules']['null_accuracy']:.1%}: accuracy says nothing "
            "here; read precision, recall and MCC. All figures are of invented firms.",
            "从不预警的准确率即为 "
            f"{facts['warnings']['rules']['null_accuracy']:.1%}:此处准确率没有意义,"
            "请看精确率、召回率和 MCC。全部数字均来自虚构企业。",
        )
    )


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
            *(_number(r["lead_days"], 0) for r in reports.values()),
        ),
    ]
    limit = _number(facts["pd_threshold"])
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


def _print_score(facts: dict[str, Any]) -> None:
    score, stable = facts["calibration"], facts["stability"]
    slope, shift = _cell(score, "slope"), _cell(score, "intercept")
    ece, chance = _number(score["ece"]), _number(score["ece_chance"])
    psi, expected = _number(stable["psi"]), _number(stable["chance"])
    band = tr(
        stable["band"],
        {"stable": "稳定", "watch": "需关注", "shifted": "已漂移"}[stable["band"]],
    )
    out.print(
        tr(
            f"PD as a score: calibration slope {slope}, ideal 1; intercept {shift}, ideal 0; "
            f"ECE {ece}, at least {chance} by chance. PSI from the fixing to the judged "
            f"quarters {psi}, {band}, {expected} by chance.",
            f"违约概率评分:校准斜率 {slope}(理想 1),截距 {shift}(理想 0);ECE {ece}"
            f"(偶然至少 {chance})。定阈期至评判期 PSI {psi},{band}(偶然 {expected})。",
        ),
        highlight=False,
    )


def _print_costs(facts: dict[str, Any]) -> None:
    costs, limit = facts["costs"], _number(facts["pd_threshold"])
    rows = []
    for points in zip(*costs.values(), strict=True):
        ours = [p["cost"] for p in points]
        values = [*ours, points[0]["never"], points[0]["always"]]
        cells = [f"{'*' if v == min(values) else ''}{v:.1f}" for v in values]
        rows.append((f"{points[0]['ratio']:g}", *cells))
    show_table(
        tr(
            "Cost per 100 firms judged, in false alerts, by ratio r of the cost of a missed "
            "default to that of a false alert (* cheapest)",
            "每百户次成本(以误报计),按漏报与误报成本之比 r(* 最低)",
        ),
        [
            Column("r", right=True),
            Column(tr("rules", "规则"), right=True),
            Column(f"PD ≥ {limit}", right=True),
            Column("PD ≥ 1/(1+r)", right=True),
            Column(tr("never", "从不"), right=True),
            Column(tr("always", "总是"), right=True),
        ],
        rows,
    )
    low, high = facts["worth"]["rules"]
    if low is not None and (high is None or low < high):
        most = "∞" if high is None else f"{high:.1f}"
        out.print(
            tr(
                f"The shipped rules beat never and always warning for r from {low:.1f} to {most}.",
                f"r 在 {low:.1f} 至 {most} 之间时,内置规则优于从不预警和总是预警。",
            ),
            highlight=False,
        )
    else:
        out.print(
            tr(
                "The shipped rules beat never and always warning at no r.",
                "无论 r 为何值,内置规则都不优于从不预警或总是预警。",
            )
        )


def _print_groups(facts: dict[str, Any], by: str) -> None:
    from haihe_fl.data.titles import value_title
    from haihe_fl.monitoring.breakdown import LEAST_FIRMS

    name = {
        "sector": tr("sector", "行业"),
        "size_class": tr("size", "规模"),
        "district": tr("district", "区"),
    }[by]
    show_table(
        tr(f"Shipped rules by {name}, firm-quarters", f"内置规则,按{name},户季"),
        [
            Column(name),
            Column(tr("firms", "企业"), right=True),
            Column(tr("recall, Wilson 95 %", "召回率,Wilson 95%")),
            Column(tr("precision, 95 %", "精确率,95%")),
        ],
        [
            (
                f"{value_title(by, g['group'])}{'*' if g['small'] else ''}",
                g["firms"],
                _rate(g["recall"]),
                _rate(g["precision"]),
            )
            for g in facts["breakdown"]["rules"][by]
        ],
    )
    out.print(
        tr(
            f"* A rate rests on fewer than {LEAST_FIRMS} firms. The groups are drawn at random: "
            "what differs is chance.",
            f"* 某比率所依据的企业不足 {LEAST_FIRMS} 家。分组随机抽取,差异均属偶然。",
        ),
        highlight=False,
    )


def _rate(rate: dict[str, Any]) -> str:
    if rate["value"] is None:
        return "–"
    low, high = rate["interval"]
    return (
        f"{rate['hits']}/{rate['trials']} {_number(rate['value'], 2)} "
        f"{_number(low, 2)}–{_number(high, 2)}"
    )


def _cell(report: dict[str, Any], figure: str) -> str:
    value, span = report[figure], report["intervals"].get(figure)
    places = 1 if figure == "alerts_per_100" else 3
    if value is None or span is None or span[0] == span[1]:
        return _number(value, places)
    return f"{_number(value, places)} ({_number(span[0], places)}–{_number(span[1], places)})"


def _number(value: float | None, places: int = 3) -> str:
    """Write a number without the zero before its point, so that tables fit 80 columns."""
    if value is None:
        return "–"
    text = f"{value:.{places}f}"
    short = places > 1 and text.lstrip("-").startswith("0.")
    return text.replace("0.", ".", 1) if short else text
