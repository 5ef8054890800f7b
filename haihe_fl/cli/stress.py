"""``haihe stress``: scenarios, paths and stress runs on a registered model."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from haihe_fl.cli.console import (
    Column,
    JsonOption,
    WorkOption,
    err,
    out,
    progress,
    show_json,
    show_table,
    workspace,
)
from haihe_fl.cli.stress_tables import (
    show_compared,
    show_many,
    show_one,
    sparkline,
)
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.paths import driver_paths
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.results import compare as side_by_side
from haihe_fl.stress.run import run_all, shipped
from haihe_fl.stress.satellite import plausibility
from haihe_fl.stress.scenarios import grade_label
from haihe_fl.stress.settings import StressSettings

app = typer.Typer(
    help=tr("Stress tests: scenarios, losses, provisions.", "压力测试:情景、损失、拨备。"),
    no_args_is_help=True,
)
# Enterprise-quarters that take about two seconds; below it a progress bar would only flicker.
QUICK = 18_000_000

OverlayOption = Annotated[str, typer.Option("--overlay", help=tr("Policy response.", "政策叠加。"))]
FileOption = Annotated[
    Path | None, typer.Option("--portfolio", help=tr("File of borrowers.", "借款人文件。"))
]
MappingOption = Annotated[
    Path | None,
    typer.Option("--mapping", "-m", help=tr("Mapping of that file.", "该文件的映射。")),
]
SynthOption = Annotated[
    int,
    typer.Option(
        "--synth",
        help=tr(
            "Without a file: enterprises of the synthetic consortium.", "无文件时:合成企业数。"
        ),
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help=tr("Seed of it.", "合成数据种子。"))]
NameOption = Annotated[
    str, typer.Option("--model-name", help=tr("Registered model.", "已登记的模型。"))
]
VersionOption = Annotated[
    str | None,
    typer.Option("--version", help=tr("Its version (default: champion).", "版本(默认现役)。")),
]
SeverityOption = Annotated[
    float, typer.Option(min=0, max=10, help=tr("Scales the scenario.", "情景强度倍数。"))
]
FullOption = Annotated[
    bool,
    typer.Option(
        "--full-correlation",
        help=tr(
            "Full instead of residual correlation (through-the-cycle PDs only).",
            "用完整相关性而非剩余相关性(仅限跨周期 PD)。",
        ),
    ),
]


@app.command("list", help=tr("List the scenarios.", "列出全部情景。"))
def list_scenarios(json: JsonOption = False) -> None:
    """List the scenarios with evidence and plausibility."""
    catalogue, satellite = shipped()
    rows = []
    for scenario in catalogue.scenarios:
        far = plausibility(catalogue, satellite, scenario)
        rows.append((scenario, far))
    if json:
        show_json(
            [
                {
                    "id": s.id,
                    "family": s.family,
                    "name": {"en": s.name_en, "zh": s.name_zh},
                    "grade": s.grade,
                    "evidence": s.evidence,
                    "sigma": p.sigma,
                    "cumulative_pd": p.cumulative_pd,
                }
                for s, p in rows
            ]
        )
        return
    columns = (
        Column(tr("scenario", "情景")),
        Column(tr("evidence", "证据")),
        Column(tr("sigma", "σ"), right=True),
        Column(tr("3-year PD", "三年 PD"), right=True),
    )
    for family in catalogue.families:
        lines = [
            (
                f"{s.id}\n  {s.name}",
                grade_label(s.grade),
                f"{p.sigma:.1f}",
                f"{p.cumulative_pd:.1%}",
            )
            for s, p in rows
            if s.family == family
        ]
        show_table(catalogue.family_label(family), columns, lines)
    out.print(
        tr(
            "sigma, 3-year PD: a 3 % enterprise, mean over sectors, drivers only; the "
            "coefficients are expert priors. Policy overlays: ",
            "σ 与三年 PD:PD 3 % 的企业,行业平均,仅宏观驱动;系数为专家先验。政策叠加:",
        )
        + ", ".join(catalogue.policy_overlays)
    )


@app.command("show", help=tr("Show a scenario's paths.", "显示情景路径。"))
def show(
    scenario: Annotated[str, typer.Argument(metavar="ID")],
    overlay: OverlayOption = "none",
    json: JsonOption = False,
) -> None:
    """Show the paths, multipliers and evidence of a scenario."""
    catalogue, satellite = shipped()
    chosen = catalogue[scenario]
    policy = catalogue.overlay(overlay)
    paths = dict(zip(catalogue.drivers, driver_paths(catalogue, chosen, policy), strict=True))
    far = plausibility(catalogue, satellite, chosen, policy)
    if json:
        show_json(
            {
                **chosen.model_dump(mode="json", by_alias=True),
                "overlay": overlay,
                "grade": chosen.grade,
                "sigma": far.sigma,
                "paths": {name: path.tolist() for name, path in paths.items()},
            }
        )
        return
    out.print(f"[bold]{chosen.name}[/bold] ({chosen.id}; {catalogue.family_label(chosen.family)})")
    out.print(chosen.narrative)
    out.print(tr("Anchor: ", "依据:") + chosen.anchor, markup=False)
    out.print(
        f"{tr('Evidence', '证据')}: {grade_label(chosen.grade)} ({chosen.evidence})", markup=False
    )
    out.print(tr("Plausibility: ", "严重程度:") + f"{far.sigma:.2f} sigma")
    quarters = [Column(f"Q{t + 1}", right=True) for t in range(catalogue.horizon_quarters)]
    show_table(
        tr("Deviation from baseline", "相对基准的偏离"),
        (Column(tr("driver", "驱动")), Column(tr("path", "走势")), *quarters),
        [
            (name, sparkline(path), *(f"{x:.1f}" for x in path))
            for name, path in paths.items()
            if path.any()
        ],
    )
    multipliers = ", ".join(f"{s} x{m:g}" for s, m in chosen.idiosyncratic.sectors.items())
    out.print(tr("Odds multipliers at the peak: ", "峰值处违约几率乘数:") + multipliers)


@app.command("run", help=tr("Run one scenario, or all.", "运行一个或全部情景。"))
def run(
    scenario: Annotated[str, typer.Argument(metavar="[ID|all]")] = "all",
    overlay: OverlayOption = "none",
    portfolio: FileOption = None,
    mapping: MappingOption = None,
    synth: SynthOption = 30_000,
    seed: SeedOption = 2023,
    model_name: NameOption = "haihe-risk",
    version: VersionOption = None,
    severity: SeverityOption = 1.0,
    full_correlation: FullOption = False,
    chart: Annotated[
        Path | None, typer.Option(help=tr("Loss chart (.svg, .png).", "损失图(.svg、.png)。"))
    ] = None,
    heatmap: Annotated[
        Path | None, typer.Option(help=tr("Scenario by sector.", "情景与行业热力图。"))
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help=tr("Everything, as JSON.", "完整结果(JSON)。"))
    ] = None,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Run scenarios over a portfolio scored by a registered model."""
    ids = None if scenario == "all" else [scenario]
    _check(ids or [], overlay)
    loaded = _portfolio(portfolio, mapping, synth, seed, model_name, version, work)
    settings = StressSettings(severity=severity, residual=not full_correlation)
    results = _run(loaded, ids, overlay, settings)
    if save is not None:
        text = jsonlib.dumps([r.to_dict() for r in results], ensure_ascii=False)
        save.write_text(text, encoding="utf-8")
    if chart is not None or heatmap is not None:
        from haihe_fl.stress.charts import write_chart

        if chart is not None:
            write_chart(chart, "loss", results)
        if heatmap is not None:
            write_chart(heatmap, "heatmap", results)
    if json:
        show_json([{**r.summary(), **r.tables()} for r in results])
    elif len(results) == 1:
        show_one(results[0])
    else:
        show_many(results)


@app.command("compare", help=tr("Run scenarios side by side.", "并列比较情景。"))
def compare(
    scenarios: Annotated[list[str], typer.Argument(metavar="ID ID ...")],
    overlay: OverlayOption = "none",
    portfolio: FileOption = None,
    mapping: MappingOption = None,
    synth: SynthOption = 30_000,
    seed: SeedOption = 2023,
    model_name: NameOption = "haihe-risk",
    version: VersionOption = None,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Run scenarios and show them side by side, worst first."""
    _check(scenarios, overlay)
    loaded = _portfolio(portfolio, mapping, synth, seed, model_name, version, work)
    results = _run(loaded, list(dict.fromkeys(scenarios)), overlay, StressSettings())
    if json:
        show_json(side_by_side(results))
    else:
        show_compared(results)


def _check(ids: list[str], overlay: str) -> None:
    """Refuse unknown names before anything slow is done."""
    catalogue, _ = shipped()
    catalogue.overlay(overlay)
    for identifier in ids:
        _ = catalogue[identifier]


def _portfolio(
    file: Path | None,
    mapping: Path | None,
    synth: int,
    seed: int,
    model_name: str,
    version: str | None,
    work: Path | None,
) -> Portfolio:
    if (file is None) != (mapping is None):
        raise UserError(
            "H2530",
            en="--portfolio and --mapping go together; give both, or neither for --synth",
            zh="--portfolio 与 --mapping 须同时给出;或都不给而用 --synth",
        )
    from server.registry import load_model

    with err.status(tr("loading model and portfolio …", "正在读取模型和组合……")):
        model, info = load_model(workspace(work), model_name, version)
        if file is not None and mapping is not None:
            from haihe_fl.data.mapping import load_mapping
            from haihe_fl.data.readers import read_cohort

            cohort = read_cohort(file, load_mapping(mapping))
        else:
            from haihe_fl.data.synth.consortium import synthesise

            cohort = synthesise(enterprises=synth, seed=seed).cohort
        label = f"{info.name} v{info.version}"
        return Portfolio.from_cohort(cohort, model, model_name=label)


def _run(
    portfolio: Portfolio, ids: list[str] | None, overlay: str, settings: StressSettings
) -> list[StressResult]:
    catalogue, _ = shipped()
    total = len(ids) if ids is not None else len(catalogue.scenarios)
    if len(portfolio) * catalogue.horizon_quarters * (total + 1) < QUICK:
        return run_all(portfolio, ids, overlay, settings)
    with progress(tr("stress", "压力测试"), total) as bar:
        return run_all(
            portfolio,
            ids,
            overlay,
            settings,
            on_progress=lambda done, _: bar.update(bar.task_ids[0], completed=done),
        )
