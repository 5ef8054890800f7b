"""How ``haihe stress`` prints results."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.cli.console import Column, out, show_table
from haihe_fl.i18n import tr
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.results import compare as side_by_side
from haihe_fl.stress.scenarios import grade_label

BARS = "▁▂▃▄▅▆▇█"
Figure = tuple[str, str, Callable[[Any], str]]


def sparkline(path: NDArray[np.float64]) -> str:
    """Draw a path in one line of block characters, zero at the foot if it is never negative.

    Examples
    --------
    >>> sparkline(np.array([0.0, 1.0, 0.5]))
    '▁█▅'
    """
    low, high = min(float(path.min()), 0.0), max(float(path.max()), 0.0)
    steps = (path - low) / (high - low or 1.0) * (len(BARS) - 1)
    return "".join(BARS[int(np.floor(s + 0.5))] for s in steps)


def show_compared(results: Sequence[StressResult]) -> None:
    """Print results side by side, worst first."""
    rows = side_by_side(results)
    lines = [(label, *(form(r[key]) for r in rows)) for label, key, form in _figures()]
    names = {r.scenario_id: r.name for r in results}
    heads = [Column(names[r["scenario"]], right=True) for r in rows]
    show_table(_title(results[0], run=False), (Column(""), *heads), lines)


def _title(result: StressResult, *, run: bool = True) -> str:
    parts = [result.model_name, f"{tr('overlay', '政策叠加')} {result.overlay}"]
    return ", ".join([*parts, f"{tr('run', '运行编号')} {result.run_id}"] if run else parts)


def _money(value: float) -> str:
    return f"{value / 1e8:,.2f}"


def _figures() -> tuple[Figure, ...]:
    yi = tr("CNY 100m", "亿元")

    def share(value: float) -> str:
        return f"{value:.2%}"

    return (
        (tr("run id", "运行编号"), "run_id", str),
        (tr("evidence", "证据"), "grade", grade_label),
        (tr("sigma", "σ"), "sigma", lambda v: f"{v:.2f}"),
        (tr("mean PD at start", "期初平均 PD"), "pd_start", share),
        (tr("worst mean PD", "最差平均 PD"), "pd_peak", share),
        (tr("in quarter", "所在季度"), "peak_quarter", str),
        (tr("default rate, 12 quarters", "12 季度累计违约率"), "default_rate", share),
        (tr("expected loss", "预期损失") + f" ({yi})", "expected_loss", _money),
        (tr("of it, added by the scenario", "其中情景增量") + f" ({yi})", "excess_loss", _money),
        (tr("loss over exposure", "损失率"), "loss_rate", share),
        (
            tr("worst one-year tail loss", "一年期尾部损失峰值") + f" ({yi})",
            "loss_tail_peak",
            _money,
        ),
        (tr("unexpected loss", "非预期损失峰值") + f" ({yi})", "unexpected_loss_peak", _money),
        (tr("RWA at start", "期初 RWA") + f" ({yi})", "rwa_start", _money),
        (tr("highest RWA", "RWA 峰值") + f" ({yi})", "rwa_peak", _money),
        (tr("allowance at start", "期初拨备") + f" ({yi})", "ecl_start", _money),
        (tr("allowance built", "拨备增加") + f" ({yi})", "ecl_change", _money),
        (tr("highest stage 2 share", "阶段二占比峰值"), "stage2_share_peak", share),
    )


def show_one(result: StressResult) -> None:
    """Print one result: headline, then by quarter, sector and institution."""
    summary = result.summary()
    lines = [(label, form(summary[key])) for label, key, form in _figures()]
    show_table(f"{result.name}\n{_title(result)}", (Column(""), Column("", right=True)), lines)
    rows = result.tables()["by_quarter"]
    show_table(
        tr("By quarter (CNY 100m)", "按季度(亿元)"),
        (
            Column("Q", right=True),
            Column("PD", right=True),
            Column(tr("expected loss", "预期损失"), right=True),
            Column(tr("one-year tail", "一年期尾部"), right=True),
            Column("RWA", right=True),
            *(Column(f"ECL {k}", right=True) for k in (1, 2, 3)),
        ),
        [
            (
                t + 1,
                f"{rows['mean_pd'][t]:.2%}",
                *(_money(rows[k][t]) for k in ("expected_loss", "loss_tail", "rwa")),
                *(_money(rows[f"ecl_stage{k}"][t]) for k in (1, 2, 3)),
            )
            for t in range(result.quarters)
        ],
    )
    for title, part in (
        (tr("sector", "行业"), "by_sector"),
        (tr("institution", "机构"), "by_institution"),
    ):
        show_table(
            tr("By ", "按") + title,
            (
                Column(title),
                *(
                    Column(h, right=True)
                    for h in (
                        tr("borrowers", "户数"),
                        tr("exposure", "敞口"),
                        tr("PD start", "期初 PD"),
                        tr("PD worst", "最差 PD"),
                        tr("expected loss", "预期损失"),
                    )
                ),
            ),
            [
                (
                    name,
                    f"{row['borrowers']:,.0f}",
                    _money(row["exposure"]),
                    f"{row['pd_start']:.2%}",
                    f"{row['pd_peak']:.2%}",
                    _money(row["expected_loss"]),
                )
                for name, row in result.tables()[part].items()
                if row["borrowers"]
            ],
        )
    out.print(
        f"{tr('Evidence', '证据')}: {grade_label(result.grade)} ({result.evidence})", markup=False
    )
    if result.not_applied:
        out.print(
            tr("Carried but not computed: ", "情景中尚未计算的部分:")
            + ", ".join(result.not_applied)
        )


def show_many(results: Sequence[StressResult]) -> None:
    """Print one line a scenario, worst expected loss first."""
    heads = (
        tr("sigma", "σ"),
        tr("PD worst", "最差 PD"),
        tr("defaults", "累计违约率"),
        tr("expected loss", "预期损失"),
        tr("added", "情景增量"),
        tr("one-year tail", "一年期尾部"),
        tr("allowance built", "拨备增加"),
    )
    lines = []
    for r in sorted(results, key=lambda r: -float(r.total("el").sum())):
        s = r.summary()
        money = ("expected_loss", "excess_loss", "loss_tail_peak", "ecl_change")
        lines.append(
            (
                r.name,
                grade_label(r.grade),
                f"{s['sigma']:.1f}",
                f"{s['pd_peak']:.2%}",
                f"{s['default_rate']:.2%}",
                *(_money(s[k]) for k in money),
                r.run_id,
            )
        )
    columns = (
        Column(tr("scenario", "情景")),
        Column(tr("evidence", "证据")),
        *(Column(h, right=True) for h in heads),
        Column(tr("run id", "运行编号")),
    )
    show_table(
        tr("Stress test, CNY 100m: ", "压力测试(亿元):")
        + f"{results[0].model_name}, {results[0].overlay}",
        columns,
        lines,
    )
