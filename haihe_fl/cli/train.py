"""``haihe train``: one training run, in process or on a running consortium."""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from haihe_fl.cli.options import (
    DataOption,
    DeltaOption,
    EnterprisesOption,
    EpsilonOption,
    FamilyOption,
    HoldoutOption,
    MappingOption,
    SeedOption,
    check_family,
    data_label,
    institutions_of,
    read_rows,
)
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr

if TYPE_CHECKING:
    from haihe_fl.workspace import Workspace
    from server.job import TrainingJob

HELP = tr(
    "Train a model over the institutions, privately, and register it.",
    "在各机构间以隐私保护方式训练模型并登记。",
)


def train(
    family: FamilyOption = "additive",
    epsilon: EpsilonOption = 3.0,
    delta: DeltaOption = 1e-5,
    holdout: HoldoutOption = 0.2,
    name: Annotated[
        str, typer.Option(help=tr("Name in the registry.", "模型登记名称。"))
    ] = "haihe-risk",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help=tr("Setting of the family, KEY=VALUE.", "模型设置,格式为 键=值。")
        ),
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(help=tr("Fewest institutions that must stay.", "最少存续机构数。")),
    ] = None,
    colluders: Annotated[
        int | None,
        typer.Option(help=tr("Colluding institutions to allow for.", "容忍的合谋机构数。")),
    ] = None,
    data: DataOption = None,
    mapping: MappingOption = None,
    enterprises: EnterprisesOption = 30_000,
    seed: SeedOption = 2023,
    deployed: Annotated[
        bool,
        typer.Option(
            "--deployed",
            help=tr("Run on the consortium started with `up`.", "在已启动的联合体上运行。"),
        ),
    ] = False,
    deadline: Annotated[
        float, typer.Option(help=tr("Longest wait for one answer, s.", "单次应答的最长等待(秒)。"))
    ] = 120.0,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Train a model and register it."""
    from server.job import TrainingJob

    space = workspace(work)
    job = TrainingJob(
        name=name,
        family="neural" if check_family(family) == "neural" else "additive",
        epsilon=epsilon,
        delta=delta,
        minimum=minimum,
        colluders=colluders,
        settings=_settings(setting or []),
        holdout_share=holdout,
        deadline_s=deadline,
        data_label=data_label(data, enterprises, seed),
        synthetic=data is None,
    )
    if deployed:
        result = _deployed(space, job)
    else:
        result = _in_process(space, job, data, mapping, enterprises, seed)
    if json:
        show_json(result)
    else:
        show(result)


def _settings(pairs: list[str]) -> dict[str, Any]:
    import yaml

    chosen = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(
                "H2603",
                en=f"--set wants KEY=VALUE, not {pair!r}; docs/training.md lists the keys",
                zh=f"--set 的格式为 键=值,不能是 {pair!r};可用的键见 docs/training.md",
            )
        chosen[key] = yaml.safe_load(value)
    return chosen


def _in_process(
    space: "Workspace",
    job: "TrainingJob",
    data: Path | None,
    mapping: Path | None,
    enterprises: int,
    seed: int,
) -> dict[str, Any]:
    from consortium.inprocess import InProcessConsortium
    from server.recording import summary
    from server.training import run_training

    with err.status(tr("reading rows …", "正在读取数据……")):
        cohort, _ = read_rows(data, mapping, enterprises, seed)
        count, members = institutions_of(cohort), cohort.by_institution()
        consortium = InProcessConsortium.open(space.folder("consortium"), members)
    try:
        with progress(tr("training", "训练"), 1) as bar:
            report = run_training(
                consortium.grid,
                job.model_copy(update={"institutions": count}),
                cohort.catalogue,
                space,
                lambda what, done, total: bar.update(
                    bar.task_ids[0], completed=done, total=total, description=what
                ),
                poll_s=0.0,
            )
    finally:
        consortium.close()
    return summary(report)


def _deployed(space: "Workspace", job: "TrainingJob") -> dict[str, Any]:
    from consortium.local import Deployment, follow, submit
    from haihe_fl.data.catalogue import FeatureCatalogue
    from server.app import JobFile

    running = Deployment.load(space.folder("deployment"))
    catalogue = FeatureCatalogue.model_validate_json(
        (space.folder("deployment") / "catalogue.json").read_bytes()
    )
    folder = space.folder("jobs", uuid.uuid4().hex[:12])
    asked = job.model_copy(update={"institutions": len(running.institutions)})
    (folder / "job.json").write_text(
        JobFile(job=asked, catalogue=catalogue, workspace=space.root).model_dump_json()
    )
    with progress(tr("training", "训练"), 1) as bar:
        submit(running, folder)
        result = follow(
            folder,
            lambda what, done, total: bar.update(
                bar.task_ids[0], completed=done, total=total, description=what
            ),
            deadline_s=100 * job.deadline_s,
        )
    return result


def show(result: dict[str, Any]) -> None:
    """Print what came out of a run."""
    figures = result["validation"]
    interval = (
        f" [{figures['auc_low']:.3f}, {figures['auc_high']:.3f}]" if "auc_low" in figures else ""
    )
    rows = [
        (tr("model", "模型"), f"{result['model']} v{result['version']}"),
        (tr("fingerprint", "指纹"), result["fingerprint"][:16]),
        (tr("family, mode", "模型族、模式"), f"{result['family']}, {result['mode']}"),
        (
            tr("privacy of one record", "单条记录的隐私"),
            f"epsilon {result['epsilon']:g}, delta {result['delta']:g}",
        ),
        (tr("institutions", "机构数"), str(result["institutions"] - len(result["left_out"]))),
        (tr("releases", "发布次数"), str(result["releases"])),
        (
            tr("sent by an institution", "每家机构上传"),
            f"{result['bytes_up_per_institution'] / 1e6:.2f} MB",
        ),
        (tr("seconds", "耗时(秒)"), f"{result['seconds']:.1f}"),
    ]
    if figures:
        rows += [
            (
                tr("held-out AUC (noisy sum)", "留出 AUC(加噪求和)"),
                f"{figures['auc']:.4f}{interval}",
            ),
            ("KS", f"{figures['ks']:.4f}"),
            ("PR-AUC", f"{figures['average_precision']:.4f}"),
            (tr("calibration slope", "校准斜率"), f"{figures['calibration_slope']:.3f}"),
        ]
    show_table(
        tr("Training run", "训练结果"),
        [Column(tr("what", "项目")), Column(tr("value", "值"))],
        rows,
    )
    for name, code in result["left_out"].items():
        out.print(tr(f"left out: {name} ({code})", f"未参与:{name}({code})"))
    if not result["private"]:
        out.print(
            tr(
                "[bold red]NOT PRIVATE: the noise of this run was seeded for a test.[/]",
                "[bold red]不具备隐私保护:本次运行的噪声使用了测试种子。[/]",
            )
        )
