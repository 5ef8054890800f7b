"""``haihe demo``: the whole chain on one machine."""

import shutil
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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
    data_title,
    institutions_of,
    read_rows,
)
from haihe_fl.i18n import tr

HELP = tr(
    "From nothing to a trained model, 30 stress scenarios and a report.",
    "从零开始:训练模型、运行 30 个压力情景并生成报告。",
)


def stages() -> dict[str, str]:
    """Return the stages of a demo, as they are shown."""
    return {
        "read": tr("rows of the institutions", "读取机构数据"),
        "open": tr("one node agent an institution", "启动各机构节点代理"),
        "train": tr("private federated training", "联邦隐私训练"),
        "compare": tr("local-only and pooled models", "本地与集中模型对照"),
        "stress": tr("30 stress scenarios", "30 个压力情景"),
        "report": tr("report", "生成报告"),
    }


def demo(
    data: DataOption = None,
    mapping: MappingOption = None,
    enterprises: EnterprisesOption = 30_000,
    seed: SeedOption = 2023,
    family: FamilyOption = "additive",
    epsilon: EpsilonOption = 3.0,
    delta: DeltaOption = 1e-5,
    holdout: HoldoutOption = 0.2,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Train, register, compare, stress-test and report."""
    from consortium.demo import run_demo
    from haihe_fl.data.mapping import load_mapping
    from server.job import TrainingJob

    space = workspace(work)
    kind = check_family(family)
    if data is None:
        # Made-up borrowers have no budget to protect: each demo starts a new consortium.
        shutil.rmtree(space.root / "consortium", ignore_errors=True)
    shown = stages()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=err,
    ) as bars:
        tasks = {name: bars.add_task(text, total=1, start=False) for name, text in shown.items()}
        order = list(tasks)

        def step(name: str, done: int, total: int) -> None:
            """Close the stages before, and move this one."""
            if name == "no stress":
                bars.update(tasks["stress"], description=tr("no stress test", "无压力测试"))
                return
            position = order.index(name) if name in order else len(order)
            for earlier in order[:position]:
                task = bars.tasks[tasks[earlier]]
                bars.start_task(task.id) if task.start_time is None else None
                bars.update(task.id, completed=task.total)
            if name in tasks:
                bars.start_task(tasks[name])
                bars.update(tasks[name], completed=done, total=total)

        step("read", 0, 1)
        cohort, made = read_rows(data, mapping, enterprises, seed)
        result = run_demo(
            cohort,
            space,
            TrainingJob(
                family="neural" if kind == "neural" else "additive",
                epsilon=epsilon,
                delta=delta,
                holdout_share=holdout,
                institutions=institutions_of(cohort),
                data_label=data_label(data, enterprises, seed),
                synthetic=data is None,
            ),
            seed=seed,
            names={i.id: (i.name, i.kind_title) for i in made.institutions} if made else None,
            step=step,
            data_title=data_title(data, enterprises, seed),
            data_note=load_mapping(mapping).note if mapping else None,
        )
    facts: dict[str, Any] = {
        "report": str(result.report),
        "run": result.training.plan.run,
        "model_fingerprint": result.training.model.fingerprint,
        "epsilon": epsilon,
        "delta": delta,
        "unit": "record",
        "auc": result.auc,
        "scenarios": [r.summary() for r in result.stress],
        "note": str(result.note or ""),
        "seconds": result.seconds,
    }
    if json:
        show_json(facts)
        return
    _show(facts)


def _show(facts: dict[str, Any]) -> None:
    auc = facts["auc"]
    yes, no, count = tr("yes", "是"), tr("no", "否"), auc["institutions_judged"]
    show_table(
        tr(
            f"AUC on held-out borrowers; private: epsilon {facts['epsilon']:g}, "
            f"delta {facts['delta']:g}, per record",
            f"留出借款人上的 AUC;隐私:epsilon {facts['epsilon']:g},delta {facts['delta']:g},按记录",
        ),
        [Column(tr("model", "模型")), Column("AUC", right=True), Column(tr("private", "隐私"))],
        [
            (tr("federated, all records", "联邦模型,全部记录"), f"{auc['federated']:.4f}", yes),
            (
                tr("boosted trees on pooled rows, all records", "数据集中的提升树,全部记录"),
                f"{auc['pooled']:.4f}",
                no,
            ),
            (
                tr("federated, mean within institutions*", "联邦模型,机构内均值*"),
                f"{auc['federated_within']:.4f}",
                yes,
            ),
            (
                tr("each institution alone, mean within*", "各机构单独训练,机构内均值*"),
                f"{auc['local']:.4f}",
                no,
            ),
        ],
    )
    out.print(
        tr(
            f"* over the {count} institutions where both can be judged, weighted by test records",
            f"* 两者均可评估的 {count} 家机构,按测试记录数加权",
        )
    )
    from haihe_fl.stress.scenarios import grade_label

    worst = sorted(facts["scenarios"], key=lambda s: -float(s["loss_rate"]))[:5]
    if worst:
        show_table(
            tr(
                f"Five worst of {len(facts['scenarios'])} scenarios",
                f"{len(facts['scenarios'])} 个情景中损失最大的五个",
            ),
            [
                Column(tr("scenario", "情景")),
                Column(tr("sigma", "强度 σ"), right=True),
                Column(tr("3-year loss", "三年损失率"), right=True),
                Column(tr("evidence", "证据等级")),
            ],
            [
                (
                    tr(s["name"]["en"], s["name"]["zh"]),
                    f"{s['sigma']:.1f}",
                    f"{s['loss_rate']:.2%}",
                    grade_label(s["grade"]),
                )
                for s in worst
            ],
        )
    elif facts["note"]:
        out.print(tr("No stress test: ", "未做压力测试:") + facts["note"])
    out.print(tr(f"\nReport: {facts['report']}", f"\n报告:{facts['report']}"))
    out.print(
        tr(
            "Next: haihe serve | haihe stress run gfc-replay | haihe budget | "
            "haihe consortium up --institutions 3",
            "下一步:haihe serve | haihe stress run gfc-replay | haihe budget | "
            "haihe consortium up --institutions 3",
        )
    )
