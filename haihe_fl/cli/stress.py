"""``haihe stress``: scenarios, paths and stress runs on a registered model."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from haihe_fl.cli import stress_options as o
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
from haihe_fl.cli.stress_chain_tables import show_chain, show_chains, show_models
from haihe_fl.cli.stress_federated import federated
from haihe_fl.cli.stress_report import report
from haihe_fl.cli.stress_reverse import reverse
from haihe_fl.cli.stress_store import compare_runs, entry_of, load_run, save_run
from haihe_fl.cli.stress_tables import show_compared, show_many, show_one, sparkline
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.chain import run_chain
from haihe_fl.stress.chain_inputs import ChainInputs
from haihe_fl.stress.chain_results import ChainResult, ChainSettings
from haihe_fl.stress.export import write_results
from haihe_fl.stress.paths import driver_paths
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.results import compare as side_by_side
from haihe_fl.stress.run import run_all
from haihe_fl.stress.satellite import plausibility
from haihe_fl.stress.scenarios import ScenarioCatalogue, grade_label
from haihe_fl.stress.settings import StressSettings
from haihe_fl.stress.tiles import Spread
from haihe_fl.stress.workers import loss_workers

app = typer.Typer(
    help=tr("Stress tests: scenarios, losses, provisions.", "压力测试:情景、损失、拨备。"),
    no_args_is_help=True,
)
# Enterprise-quarters that take about two seconds; below it a progress bar would only flicker.
QUICK = 18_000_000


@app.command("list", help=tr("List the scenarios.", "列出全部情景。"))
def list_scenarios(scenarios: o.ScenariosOption = None, json: JsonOption = False) -> None:
    """List the scenarios with evidence and plausibility."""
    catalogue = o.catalogue_of(scenarios)
    satellite = o.satellite_of(catalogue)
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
    overlay: o.OverlayOption = "none",
    scenarios: o.ScenariosOption = None,
    json: JsonOption = False,
) -> None:
    """Show the paths, multipliers and evidence of a scenario."""
    catalogue = o.catalogue_of(scenarios)
    satellite = o.satellite_of(catalogue)
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
    overlay: o.OverlayOption = "none",
    portfolio: o.FileOption = None,
    mapping: o.MappingOption = None,
    synth: o.SynthOption = 30_000,
    seed: o.SeedOption = 2023,
    model_name: o.NameOption = "haihe-risk",
    version: o.VersionOption = None,
    scenarios: o.ScenariosOption = None,
    severity: o.SeverityOption = 1.0,
    full_correlation: o.FullOption = False,
    chain: o.ChainOption = False,
    draws: o.DrawsOption = None,
    enterprise_draws: o.EnterpriseDrawsOption = 50,
    contagion: o.ContagionOption = False,
    pool: o.PoolOption = False,
    capital: o.CapitalOption = False,
    shapley: o.ShapleyOption = False,
    insured: o.InsuredOption = 1.0,
    workers: o.WorkersOption = "threads",
    chart: Annotated[
        Path | None, typer.Option(help=tr("Loss chart (.svg, .png).", "损失图(.svg、.png)。"))
    ] = None,
    heatmap: Annotated[
        Path | None, typer.Option(help=tr("Scenario by sector.", "情景与行业热力图。"))
    ] = None,
    save: o.SaveOption = None,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Run scenarios over a portfolio scored by a registered model."""
    catalogue = o.catalogue_of(scenarios)
    ids = [s.id for s in catalogue.scenarios] if scenario == "all" else [scenario]
    o.check_names(catalogue, ids, overlay)
    steps = o.chain_settings(
        chain, draws, enterprise_draws, contagion, pool, capital, shapley, insured
    )
    book = o.load_book(portfolio, mapping, synth, seed, model_name, version, work)
    settings = StressSettings(severity=severity, residual=not full_correlation)
    chains: list[ChainResult] = []
    if steps is not None:
        inputs = book.inputs
        named = (("contagion", contagion), ("capital", capital))
        o.check_inputs(inputs, *(name for name, asked in named if asked))
    results = _run(book.portfolio, ids, overlay, settings, catalogue)
    if steps is not None:
        with loss_workers(workers) as spread:
            chains = _chains(inputs, ids, overlay, settings, steps, catalogue, spread)
    links: list[ChainResult | None] = [*chains] or [None] * len(results)
    entries = [entry_of(r, c) for r, c in zip(results, links, strict=True)]
    run_id, path = save_run(workspace(work), entries)
    if save is not None:
        write_results(save, results, links)
    if chart is not None or heatmap is not None:
        from haihe_fl.stress.charts import write_chart

        if chart is not None:
            write_chart(chart, "loss", results)
        if heatmap is not None:
            write_chart(heatmap, "heatmap", results)
    if json:
        show_json(entries)
        return
    if len(results) == 1:
        show_one(results[0])
    else:
        show_many(results)
    if len(chains) == 1:
        show_chain(chains[0])
    elif chains:
        show_chains(chains)
    err.print(tr(f"stored as {run_id}: {path}", f"已存为 {run_id}:{path}"), soft_wrap=True)


@app.command(
    "compare", help=tr("Compare scenarios, or two stored runs.", "比较情景,或两次已存的运行。")
)
def compare(
    scenarios: Annotated[list[str] | None, typer.Argument(metavar="ID ID ...")] = None,
    results: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--results",
            metavar="A B",
            help=tr("Two stored runs: ids or files.", "两次已存运行:编号或文件。"),
        ),
    ] = None,
    overlay: o.OverlayOption = "none",
    portfolio: o.FileOption = None,
    mapping: o.MappingOption = None,
    synth: o.SynthOption = 30_000,
    seed: o.SeedOption = 2023,
    model_name: o.NameOption = "haihe-risk",
    version: o.VersionOption = None,
    own: o.ScenariosOption = None,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Run scenarios and show them side by side, or two models' stored runs of the same."""
    chosen = list(dict.fromkeys(scenarios or []))
    if results is not None:
        space = workspace(work)
        first, second = (load_run(space, name) for name in results)
        rows = compare_runs(first, second, chosen)
        if json:
            show_json(rows)
        else:
            show_models(rows)
        return
    if not chosen:
        raise UserError(
            "H2613",
            en="name scenarios to compare, or two stored runs with --results A B",
            zh="请给出要比较的情景,或用 --results A B 指定两次已存的运行",
        )
    catalogue = o.catalogue_of(own)
    o.check_names(catalogue, chosen, overlay)
    book = o.load_book(portfolio, mapping, synth, seed, model_name, version, work)
    found = _run(book.portfolio, chosen, overlay, StressSettings(), catalogue)
    if json:
        show_json(side_by_side(found))
    else:
        show_compared(found)


app.command("report", help=tr("Write the stress report.", "生成压力测试报告。"))(report)
app.command("reverse", help=tr("Which shock costs so much?", "多大冲击会造成如此损失?"))(reverse)
app.command(
    "federated", help=tr("Sums over all institutions, masked.", "跨机构联邦压力测试(加掩码)。")
)(federated)


def _run(
    portfolio: Portfolio,
    ids: list[str],
    overlay: str,
    settings: StressSettings,
    catalogue: ScenarioCatalogue,
) -> list[StressResult]:
    total = len(ids)
    quick = len(portfolio) * catalogue.horizon_quarters * (total + 1) < QUICK
    with nullcontext() if quick else progress(tr("stress", "压力测试"), total) as bar:

        def shown(done: int, _: int) -> None:
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)

        return run_all(portfolio, ids, overlay, settings, catalogue=catalogue, on_progress=shown)


def _chains(
    inputs: ChainInputs,
    ids: list[str],
    overlay: str,
    settings: StressSettings,
    steps: ChainSettings,
    catalogue: ScenarioCatalogue,
    spread: Spread | None,
) -> list[ChainResult]:
    each = steps.enterprise_draws
    one = partial(run_chain, catalogue=catalogue, spread_over=spread)
    with progress(tr("chain", "链条"), each * len(ids)) as bar:
        found = []
        for number, name in enumerate(ids):

            def shown(step: str, done: int, _: int, first: int = each * number) -> None:
                if step == "contagion":
                    bar.update(bar.task_ids[0], completed=first + done)

            found.append(one(inputs, name, overlay, settings, steps, step=shown))
            bar.update(bar.task_ids[0], completed=each * (number + 1))
    return found
