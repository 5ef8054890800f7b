"""``haihe stress federated``: network totals from masked sums, beside the pooled check."""

import shutil
from typing import Annotated, Any

import numpy as np
import typer

from haihe_fl.cli import stress_options as o
from haihe_fl.cli.console import (
    Column,
    JsonOption,
    WorkOption,
    out,
    progress,
    show_json,
    show_table,
    workspace,
)
from haihe_fl.cli.options import institutions_of
from haihe_fl.cli.stress_chain_tables import money
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.run import shipped
from haihe_fl.stress.settings import StressSettings

LEAST = 4
"""Institutions: exact sums need three honest ones in every sum."""


def federated(
    scenarios: Annotated[list[str], typer.Argument(metavar="ID ID ...")],
    draws: Annotated[
        int, typer.Option(min=0, max=10_000, help=tr("Joint draws.", "联合抽样次数。"))
    ] = 1000,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0.1, help=tr("Noise on the cells (default: exact).", "单元格噪声(默认无噪声)。")
        ),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(min=1.0, help=tr("Cap of an exposure, CNY.", "单笔敞口上限(元)。")),
    ] = None,
    severity: o.SeverityOption = 1.0,
    overlay: o.OverlayOption = "none",
    portfolio: o.FileOption = None,
    mapping: o.MappingOption = None,
    synth: o.SynthOption = 30_000,
    seed: o.SeedOption = 2023,
    model_name: o.NameOption = "haihe-risk",
    version: o.VersionOption = None,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Run a federated stress test in this process, one node agent an institution."""
    ids = list(dict.fromkeys(scenarios))
    o.check_names(shipped()[0], ids, overlay)
    if noise is not None and clip is None:
        raise UserError(
            "H2616",
            en="--noise needs --clip: noise hides a record only where its exposure has a bound",
            zh="--noise 须与 --clip 同时给出:敞口有上限,噪声才能掩盖单条记录",
        )
    book = o.load_book(portfolio, mapping, synth, seed, model_name, version, work)
    count = institutions_of(book.cohort)
    if count < LEAST:
        raise UserError(
            "H2617",
            en=f"{count} institutions: a federated stress test needs {LEAST} at least, so that "
            "each figure hides among three others",
            zh=f"只有 {count} 家机构:联邦压力测试至少需要 {LEAST} 家,使每家的数字隐于其余三家之中",
        )
    facts = _rehearse(book, ids, overlay, severity, draws, noise, clip, count, work)
    if json:
        show_json(facts)
    else:
        _show(facts)


def _rehearse(
    book: o.Book,
    ids: list[str],
    overlay: str,
    severity: float,
    draws: int,
    noise: float | None,
    clip: float | None,
    count: int,
    work: Any,
) -> dict[str, Any]:
    from clients.policy import NodePolicy
    from consortium.inprocess import InProcessConsortium
    from consortium.stress import run_federated_stress
    from haihe_fl.stress.centre import StressQuestion, pooled_sums
    from haihe_fl.stress.federated import CELLS, DRAWS

    folder = workspace(work).root / "stress" / "federated"
    if book.city is not None:
        # Made-up borrowers have no budget to protect: each rehearsal starts a new consortium.
        shutil.rmtree(folder, ignore_errors=True)
    members = book.cohort.by_institution()
    policy = NodePolicy(families=("stress",), exact_stress_sums=True)
    choices: dict[str, Any] = {"draws": 0 if noise else draws}
    if noise is not None:
        choices |= {"clip": clip, "measures": ("el", "defaults")}
    with progress(tr("federated stress", "联邦压力测试"), None) as bar:

        def shown(name: str, done: int, total: int) -> None:
            bar.update(bar.task_ids[0], completed=done, total=total, description=name)

        consortium = InProcessConsortium.open(folder, members, policy)
        try:
            result = run_federated_stress(
                consortium.grid,
                book.model,
                ids,
                overlay,
                StressSettings(severity=severity),
                institutions=count,
                cells_noise=noise,
                poll_s=0.0,
                progress=shown,
                **choices,
            )
        finally:
            consortium.close()
        bar.update(bar.task_ids[0], description=tr("pooled check", "集中核对"))
        question = StressQuestion(result.spec, book.model, shipped()[1])
        rows = [members[name] for name in result.survivors]
        pooled = None
        if noise is None:
            pooled = pooled_sums(question, rows, (result.counts, result.counts_sd))
    equal = None
    if pooled is not None:
        equal = bool((result.integers.ravel() == pooled[CELLS]).all())
        equal = equal and (
            DRAWS not in pooled or bool((result.draws.ravel() == pooled[DRAWS]).all())
        )
    lines = []
    for name in ["baseline", *ids]:
        line: dict[str, Any] = {"scenario": name}
        for measure in result.spec.measures:
            line[measure] = result.total(name, measure).tolist()
        if name != "baseline" and result.draws.shape[1]:
            line["value_at_risk_99"] = result.value_at_risk(name, 0.99)
            line["expected_shortfall_99"] = result.expected_shortfall(name, 0.99)
        if pooled is not None:
            row = ["baseline", *ids].index(name)
            column = result.spec.measures.index("el")
            cells = pooled[CELLS].reshape(result.spec.shape)[row, :, :, column]
            line["pooled_el"] = float(cells.sum() / result.unit[column])
        lines.append(line)
    return {
        "fingerprint": result.fingerprint,
        "institutions": len(result.survivors),
        "cells": {name: list(members_) for name, members_ in result.groups.items()},
        "epsilon": result.epsilon,
        "delta": result.delta,
        "unit": "record",
        "noise_sd_el": result.sd("el"),
        "equal_to_pooled": equal,
        "smallest_noisy_count": float(np.min(result.counts)),
        "scenarios": lines,
    }


def _show(facts: dict[str, Any]) -> None:
    names = {s.id: s.name for s in shipped()[0].scenarios}
    names["baseline"] = tr("quiet economy", "平静经济")
    exact = facts["equal_to_pooled"] is not None

    def tail(line: dict[str, Any]) -> str:
        if "value_at_risk_99" not in line:
            return "–"
        return f"{money(line['value_at_risk_99'])}; {money(line['expected_shortfall_99'])}"

    show_table(
        tr(
            f"Network of {facts['institutions']} institutions, masked sums, CNY 100m",
            f"{facts['institutions']} 家机构的网络,加掩码求和(亿元)",
        ),
        (
            Column(tr("scenario", "情景")),
            Column(tr("expected loss", "预期损失"), right=True),
            Column(tr("pooled check", "集中核对"), right=True),
            Column(tr("99 %: value at risk; shortfall", "99%:VaR;ES"), right=True),
        ),
        [
            (
                names[line["scenario"]],
                money(sum(line["el"])),
                money(line["pooled_el"]) if exact else "–",
                tail(line),
            )
            for line in facts["scenarios"]
        ],
    )
    if exact:
        verdict = (
            tr("every integer equals the pooled one", "与集中计算逐个整数一致")
            if facts["equal_to_pooled"]
            else tr("NOT equal to the pooled sums", "与集中计算不一致")
        )
        out.print(tr("Check: ", "核对:") + verdict)
        out.print(
            tr(
                "Sums without noise: the mask hides an institution, and no epsilon covers them.",
                "无噪声求和:掩码隐藏单家机构,但没有 ε 保证。",
            )
        )
    else:
        sd = money(facts["noise_sd_el"])
        out.print(tr(f"Noise on a cell and quarter: sd {sd}", f"每单元格每季度噪声标准差 {sd}"))
    out.print(
        tr(
            f"Charged: epsilon {facts['epsilon']:.2f}, delta {facts['delta']:g}, per record; "
            "threat model: honest but curious centre (docs/stress-federated.md)",
            f"隐私支出:ε {facts['epsilon']:.2f},δ {facts['delta']:g},单位:记录;"
            "威胁模型:诚实但好奇的中心(docs/stress-federated.md)",
        )
    )
