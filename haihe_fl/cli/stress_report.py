"""``haihe stress report``: all scenarios, one through the chain, as a page or a PDF."""

from pathlib import Path
from typing import Annotated, Any

import typer

from haihe_fl.cli import stress_options as o
from haihe_fl.cli.console import JsonOption, WorkOption, out, progress, show_json, workspace
from haihe_fl.cli.options import data_title
from haihe_fl.cli.stress_store import entry_of, save_run
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.chain import run_chain
from haihe_fl.stress.chain_results import ChainSettings
from haihe_fl.stress.run import run_all
from haihe_fl.stress.settings import StressSettings


def report(
    out_: Annotated[
        Path | None, typer.Option("--out", help=tr("HTML file to write.", "要写入的 HTML 文件。"))
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option("--pdf", help=tr("PDF file to write.", "要写入的 PDF 文件。"))
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            help=tr("Scenario in detail (default: the worst).", "详示的情景(默认损失最大者)。")
        ),
    ] = None,
    overlay: o.OverlayOption = "none",
    portfolio: o.FileOption = None,
    mapping: o.MappingOption = None,
    synth: o.SynthOption = 30_000,
    seed: o.SeedOption = 2023,
    model_name: o.NameOption = "haihe-risk",
    version: o.VersionOption = None,
    scenarios: o.ScenariosOption = None,
    severity: o.SeverityOption = 1.0,
    draws: o.DrawsOption = None,
    enterprise_draws: o.EnterpriseDrawsOption = 50,
    shapley: o.ShapleyOption = False,
    insured: o.InsuredOption = 1.0,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Run all scenarios, one of them through the chain, and write the report."""
    if out_ is None and pdf is None:
        raise UserError(
            "H2619",
            en="name a file for the report: --out FILE.html, or --pdf FILE.pdf, or both",
            zh="请指定报告文件:--out FILE.html 或 --pdf FILE.pdf,也可同时给出",
        )
    catalogue = o.catalogue_of(scenarios)
    o.check_names(catalogue, [scenario] if scenario else [], overlay)
    chain = (
        o.chain_settings(True, draws, enterprise_draws, False, False, False, shapley, insured)
        or ChainSettings()
    )
    book = o.load_book(portfolio, mapping, synth, seed, model_name, version, work)
    settings = StressSettings(severity=severity)
    total = len(catalogue.scenarios)
    with progress(tr("stress", "压力测试"), total + enterprise_draws) as bar:

        def many(done: int, _: int) -> None:
            bar.update(bar.task_ids[0], completed=done)

        def one(step: str, done: int, _: int) -> None:
            if step == "contagion":
                bar.update(bar.task_ids[0], completed=total + done)

        results = run_all(
            book.portfolio, None, overlay, settings, catalogue=catalogue, on_progress=many
        )
        worst = max(results, key=lambda r: float(r.total("el").sum())).scenario_id
        detail = run_chain(
            book.inputs, scenario or worst, overlay, settings, chain, catalogue=catalogue, step=one
        )
    entries = [
        entry_of(r, detail if r.scenario_id == detail.stress["scenario"] else None) for r in results
    ]
    run_id, _ = save_run(workspace(work), entries)
    from haihe_fl.data.titles import sector_title
    from haihe_fl.reports.stress_report import StressReport, write_stress_pdf, write_stress_report

    city = book.city
    page = StressReport(
        results=results,
        chain=detail,
        data=data_title(portfolio, synth, seed),
        synthetic=city is not None,
        names={i.id: i.name for i in getattr(city, "institutions", ())},
        sectors={name: sector_title(name) for name in catalogue.sectors},
    )
    facts: dict[str, Any] = {
        "run_id": run_id,
        "chain": detail.run_id,
        "scenario": detail.stress["scenario"],
        "html": None,
        "pdf": None,
    }
    if out_ is not None:
        write_stress_report(page, out_)
        facts["html"] = str(out_)
    if pdf is not None:
        facts["pdf_language"] = write_stress_pdf(page, pdf)
        facts["pdf"] = str(pdf)
    if json:
        show_json(facts)
        return
    for path in (facts["html"], facts["pdf"]):
        if path:
            out.print(tr("Report: ", "报告:") + path, soft_wrap=True, markup=False)
