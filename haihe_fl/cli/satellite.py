"""``haihe satellite``: the stress test's coefficients, estimated from quarterly panels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from haihe_fl.cli.console import (
    Column,
    JsonOption,
    WorkOption,
    err,
    out,
    show_json,
    show_table,
    workspace,
)
from haihe_fl.cli.options import DeltaOption, EnterprisesOption, EpsilonOption, SeedOption
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr

if TYPE_CHECKING:
    from consortium.satellite import SatelliteRun
    from haihe_fl.stress.satellite import Satellite

app = typer.Typer(
    help=tr(
        "Estimate how defaults follow the economy, privately.",
        "以隐私保护方式估计违约随宏观经济变化的系数。",
    ),
    no_args_is_help=True,
)


@app.callback()
def group() -> None:
    """Keep ``estimate`` a subcommand."""


@app.command(
    help=tr(
        "Estimate the satellite's coefficients on the synthetic consortium's panels.",
        "在合成联合体的季度面板上估计卫星模型系数。",
    )
)
def estimate(
    enterprises: EnterprisesOption = 30_000,
    seed: SeedOption = 2023,
    epsilon: EpsilonOption = 3.0,
    delta: DeltaOption = 1e-6,
    quarters: Annotated[
        int, typer.Option(min=8, max=200, help=tr("Length of the panel.", "面板季度数。"))
    ] = 24,
    target: Annotated[
        Path | None,
        typer.Option("--out", help=tr("Satellite file to write (YAML).", "写出的卫星模型文件。")),
    ] = None,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Draw a truth about the priors and panels from it, and estimate it under mask and noise."""
    from haihe_fl.stress.run import shipped

    if target is not None:
        _writable(target)
    prior = shipped()[1]
    truth = truth_about(prior, seed)
    with err.status(tr("estimating …", "正在估计……")):
        result = _estimate(workspace(work), truth, enterprises, seed, epsilon, delta, quarters)
    facts = _facts(result, truth, f"synthetic: {enterprises} enterprises, {quarters} quarters")
    if target is not None:
        _write(target, result.estimate.satellite(prior, f"{prior.version}-{facts['run']}"), facts)
        facts["file"] = str(target)
    if json:
        show_json(facts)
    else:
        _show(facts)


def truth_about(prior: "Satellite", seed: int) -> dict[str, float]:
    """Draw coefficients about the priors, within the admissible range, for synthetic panels."""
    import numpy as np

    from haihe_fl.stress.estimation import EstimationSettings

    rng = np.random.default_rng([seed, 11])
    spread, (least, most) = EstimationSettings().prior_sd, prior.admissible
    return {
        k: float(np.clip(b * (1 + spread * rng.standard_normal()), least * b, most * b))
        for k, b in prior.beta.items()
    }


def _estimate(
    space: Any,
    truth: dict[str, float],
    enterprises: int,
    seed: int,
    epsilon: float,
    delta: float,
    quarters: int,
) -> "SatelliteRun":
    from clients.policy import NodePolicy
    from consortium.inprocess import InProcessConsortium
    from consortium.satellite import estimate_satellite
    from haihe_fl.data.synth import synthesise
    from haihe_fl.stress.panels import PanelCounts
    from haihe_fl.stress.run import shipped

    made = synthesise(enterprises=enterprises, seed=seed)
    panel = made.panel(quarters, truth)
    panels = dict(zip(panel.institutions, PanelCounts.split(panel), strict=True))
    cohorts = made.cohort.by_institution()
    consortium = InProcessConsortium.open(
        space.folder("consortium"),
        cohorts,
        NodePolicy(families=("additive", "neural", "satellite")),
        panels=panels,
    )
    try:
        return estimate_satellite(
            consortium.grid,
            panel.satellite.drivers,
            panel.z,
            panel.satellite.loading,
            shipped()[1],
            epsilon=epsilon,
            delta=delta,
            institutions=len(cohorts),
            catalogue=made.cohort.catalogue.fingerprint,
            poll_s=0.0,
        )
    finally:
        consortium.close()


def _facts(result: "SatelliteRun", truth: dict[str, float], label: str) -> dict[str, Any]:
    found = result.estimate
    return {
        "run": result.plan.run,
        "data": label,
        "synthetic": True,
        "epsilon": result.plan.epsilon,
        "delta": result.plan.delta,
        "unit": "borrower-quarter record",
        "borrower_epsilon": result.borrower_epsilon,
        "institutions": len(result.survivors),
        "left_out": result.left_out,
        "private": result.private,
        "dispersion": found.dispersion,
        "coefficients": [
            {
                "driver": c.driver,
                "prior": c.prior,
                "estimate": c.value,
                "se": c.se,
                "low": c.interval[0],
                "high": c.interval[1],
                "source": c.source,
                "truth": truth[c.driver],
            }
            for c in found.coefficients
        ],
    }


def _write(target: Path, satellite: "Satellite", facts: dict[str, Any]) -> None:
    import yaml

    note = (
        f"Estimated in run {facts['run']} on data {facts['data']}: epsilon {facts['epsilon']:g}, "
        f"delta {facts['delta']:g} per {facts['unit']}, {facts['institutions']} institutions. "
        "Loadings, cap and range are the expert priors'. A synthetic panel says nothing of Tianjin."
    )
    labelled = satellite.model_copy(
        update={"evidence": f"{satellite.evidence} (synthetic panel)", "note": note}
    )
    text = yaml.safe_dump(labelled.model_dump(mode="json"), allow_unicode=True, sort_keys=False)
    try:
        target.write_text(f"# {facts['data']}; no coefficient here was observed.\n{text}", "utf-8")
    except OSError as error:
        raise _unwritable(target, error.strerror or "") from None


def _writable(target: Path) -> None:
    """Refuse a file that cannot be written before any budget is spent on what goes into it."""
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise _unwritable(target, "no such folder, or a folder itself")


def _unwritable(target: Path, why: str) -> UserError:
    return UserError(
        "H2620",
        en=f"cannot write {target}: {why}; name a file in a folder that exists",
        zh=f"无法写入 {target}:{why};请指定已存在目录中的文件",
    )


def _show(facts: dict[str, Any]) -> None:
    labels = {"estimated": tr("estimated", "估计"), "prior": tr("prior", "先验")}
    show_table(
        tr(
            "Log-odds of default per adverse standard deviation (synthetic data)",
            "每一不利标准差的违约对数几率(合成数据)",
        ),
        [
            Column(tr("driver", "驱动因子")),
            Column(tr("prior", "先验"), right=True),
            Column(tr("estimate", "估计值"), right=True),
            Column(tr("95 % interval", "95% 区间"), right=True),
            Column(tr("source", "来源")),
            Column(tr("truth", "真值"), right=True),
        ],
        [
            (
                c["driver"],
                f"{c['prior']:.3f}",
                f"{c['estimate']:.3f}",
                f"{c['low']:.3f} – {c['high']:.3f}",
                labels[c["source"]],
                f"{c['truth']:.3f}",
            )
            for c in facts["coefficients"]
        ],
    )
    eps, delta, whole = facts["epsilon"], facts["delta"], facts["borrower_epsilon"]
    out.print(
        tr(
            f"Privacy: epsilon {eps:g}, delta {delta:g} for one borrower-quarter record; "
            f"{whole:.2f} for a borrower in all quarters at one lender. Against: a curious centre "
            "and colluding institutions up to the run's tolerance.",
            f"隐私:单条借款人-季度记录 epsilon {eps:g},delta {delta:g};"
            f"在一家机构全部季度均有记录的借款人为 {whole:.2f}。"
            "防范对象:好奇的中心,以及不超过容忍数的合谋机构。",
        )
    )
    count = facts["institutions"]
    out.print(
        tr(
            f"{count} institutions in the sum; dispersion {facts['dispersion']:.2f}",
            f"参与求和的机构 {count} 家;离散度 {facts['dispersion']:.2f}",
        )
    )
    for name, why in facts["left_out"].items():
        out.print(tr(f"left out: {name} ({why})", f"未参与:{name}({why})"))
    if "file" in facts:
        out.print(tr(f"Written: {facts['file']}", f"已写入:{facts['file']}"))
