"""Figures of a demo run, put into the words of the report."""

import datetime
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from consortium.baselines import BaselineScores
from consortium.demo_shapes import feature_shapes, pair_shapes
from haihe_fl.data.cohort import Cohort
from haihe_fl.evaluation.intervals import AucEstimate, delong, delong_gain
from haihe_fl.i18n import Text
from haihe_fl.models.additive import AdditiveModel
from haihe_fl.models.reasons import reasons
from haihe_fl.models.validation import KIND, UNIT
from haihe_fl.privacy.ledger import Ledger
from haihe_fl.reports.means import mean_auc
from haihe_fl.reports.results import (
    BudgetLine,
    Command,
    Comparison,
    DemoResults,
    Estimate,
    ExampleBorrower,
    InstitutionResult,
    Label,
    PrivacyResult,
    ReasonLine,
    RunFacts,
    StressRow,
    ValidationResult,
    each_language,
)
from haihe_fl.reports.results import StressResult as StressSection
from haihe_fl.scorecard.scale import load_scale
from haihe_fl.stress.charts import heatmap_svg, loss_svg
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.run import shipped
from haihe_fl.stress.scenarios import grade_label
from server.recording import fingerprints, mean_bytes
from server.report import TrainingReport

Floats = NDArray[np.float64]
POOLED_TREES = Text(
    en="Boosted trees on pooled rows, no privacy", zh="数据集中的提升树、无隐私保护"
)
NOT_COMPUTED = {
    "guarantee_haircut": Text(en="haircuts of guarantees", zh="担保折扣"),
    "contagion": Text(en="contagion", zh="传染"),
    "pool": Text(en="the insurance pool", zh="保险池"),
    "ccf_addon": Text(en="drawing of open lines", zh="未提用额度的提款"),
    "data_quality.feature_missing_rate": Text(en="lost cells", zh="数据缺失"),
    "data_quality.label_flip_rate": Text(en="wrong labels", zh="标签错误"),
    "data_quality.node_dropout_rate": Text(en="departing nodes", zh="节点退出"),
}
FAMILIES = {
    "additive": Text(en="additive with pairs", zh="可加模型(含交互项)"),
    "neural": Text(en="neural network", zh="神经网络"),
}


def demo_results(
    *,
    test: Cohort,
    cohort: Cohort,
    federated: Floats,
    baselines: BaselineScores,
    training: TrainingReport,
    ledgers: Mapping[str, Ledger],
    stress: Sequence[StressResult],
    no_stress: Label,
    data_title: Label,
    data_note: Label,
    names: Mapping[str, tuple[Label, Label]],
    seed: int,
    started: datetime.datetime,
    minutes: float,
    versions: str,
) -> tuple[DemoResults, dict[str, float]]:
    """Return the report's content, and the exact AUCs on the held-out rows.

    The AUCs are ``federated`` and ``pooled`` over all held-out rows, and ``federated_within``
    and ``local``: the means of `haihe_fl.reports.means.mean_auc`.
    """
    plan, job, model = training.plan, training.job, training.model
    overall = delong(test.label, federated)
    pooled = delong(test.label, baselines.pooled)
    rows = _institutions(test, cohort, federated, baselines.local, names)
    within = mean_auc(rows)
    results = DemoResults(
        run=RunFacts(
            run_id=plan.run,
            started=started.strftime("%Y-%m-%d %H:%M %z"),
            minutes=minutes,
            mode=Text(
                en=f"in process, {len(plan.participants)} institutions, mode {plan.mode}",
                zh=f"单进程,{len(plan.participants)} 家机构,{plan.mode} 模式",
            ),
            secure=plan.mode == "secure",
            seed=seed,
            data=data_title,
            synthetic=job.synthetic,
            records=len(cohort),
            features=len(cohort.catalogue.features),
            releases=len(plan.releases) + len(plan.local),
            bytes_per_institution=round(mean_bytes(training.bytes_up)),
            model_version=training.registered.version if training.registered else "-",
            model_family=FAMILIES[plan.family],
            model_fingerprint=model.fingerprint,
        ),
        institutions=tuple(rows),
        comparison=Comparison(_estimate(overall), _estimate(pooled), POOLED_TREES),
        privacy=_privacy(training, ledgers, names),
        validation=_validation(training),
        trace=tuple(training.trace),
        stages=tuple(step.name for step in plan.releases if step.name != KIND)
        if len(training.trace) > 1
        else (),
        shapes=feature_shapes(model) if isinstance(model, AdditiveModel) else (),
        pairs=pair_shapes(model) if isinstance(model, AdditiveModel) else (),
        examples=_examples(test, federated, training) if job.synthetic else (),
        stress=_stress(stress, cohort) if stress else None,
        commands=_commands(),
        reproducibility=(
            *((Text(en=k, zh=k), v) for k, v in fingerprints(training).items()),
            (Text(en="versions", zh="版本"), versions),
        ),
        data_note=data_note,
        no_stress=no_stress,
    )
    return results, {
        "federated": overall.value,
        "pooled": pooled.value,
        "federated_within": within.federated,
        "local": within.local,
        "institutions_judged": within.institutions,
    }


def _estimate(found: AucEstimate) -> Estimate:
    return Estimate(found.value, found.interval.low, found.interval.high)


def _institutions(
    test: Cohort,
    cohort: Cohort,
    federated: Floats,
    local: Floats,
    names: Mapping[str, tuple[Label, Label]],
) -> list[InstitutionResult]:
    nothing = Estimate(float("nan"))
    rows = []
    for name in np.unique(cohort.institution):
        own = test.institution == name
        all_rows = cohort.institution == name
        label, fed, loc = test.label[own], federated[own], local[own]
        alone = not np.isnan(loc).any() and len(loc) > 0
        gain = delong_gain(label, fed, loc) if alone else None
        title, kind = names.get(str(name), (str(name), ""))
        rows.append(
            InstitutionResult(
                name=title,
                kind=kind,
                records=int(all_rows.sum()),
                default_rate=float(cohort.label[all_rows].mean()),
                federated=_estimate(delong(label, fed)) if len(label) else nothing,
                local=_estimate(delong(label, loc)) if alone else nothing,
                gain=None if gain is None else _estimate(gain),
                test_records=len(label),
            )
        )
    return sorted(rows, key=lambda row: -row.records)


def _privacy(
    training: TrainingReport,
    ledgers: Mapping[str, Ledger],
    names: Mapping[str, tuple[Label, Label]],
) -> PrivacyResult:
    plan = training.plan
    borrower = {k: plan.budget.for_borrower(k).epsilon for k in (2, 3)}
    return PrivacyResult(
        epsilon=plan.epsilon,
        delta=plan.delta,
        borrower_epsilon=borrower,
        budgets=tuple(
            BudgetLine(
                names.get(name, (name, ""))[0],
                ledger.spent(),
                max(ledger.reserved(), 0.0),
                ledger.cap.epsilon,
            )
            for name, ledger in sorted(ledgers.items())
        ),
    )


def _validation(training: TrainingReport) -> ValidationResult | None:
    step = training.plan.step(KIND)
    if step is None or training.metrics is None:
        return None
    return ValidationResult(
        training.metrics,
        training.calibration,
        training.validation_sd / UNIT,
        training.plan.epsilon,
    )


def _examples(
    test: Cohort, federated: Floats, training: TrainingReport
) -> tuple[ExampleBorrower, ...]:
    """Pick a safe, a middling and a risky synthetic borrower."""
    order = np.argsort(federated, kind="stable")
    picks = order[[len(order) // 10, len(order) // 2, -max(len(order) // 50, 1)]]
    scale = load_scale()
    found = reasons(training.model, test.values[picks], factor=scale.factor)
    titles = (
        Text(en="A safe borrower", zh="低风险企业"),
        Text(en="A borrower in the middle", zh="中等风险企业"),
        Text(en="A risky borrower", zh="高风险企业"),
    )
    true = test.extra.get("true_pd")
    return tuple(
        ExampleBorrower(
            title=title,
            pd=float(federated[row]),
            reasons=tuple(ReasonLine(Text(en=r.en, zh=r.zh), r.points) for r in why),
            score=float(scale.score(federated[row])),
            true_pd=None if true is None else float(true[row]),
        )
        for title, row, why in zip(titles, picks, found, strict=True)
    )


def _stress(stress: Sequence[StressResult], cohort: Cohort) -> StressSection:
    catalogue, _ = shipped()
    rows = []
    for result in sorted(stress, key=lambda r: -float(r.total("el").sum())):
        facts = result.summary()
        rows.append(
            StressRow(
                name=Text(en=result.name_en, zh=result.name_zh),
                family=each_language(partial(catalogue.family_label, result.family)),
                sigma=float(facts["sigma"]),
                grade=each_language(partial(grade_label, result.grade)),
                expected_loss=float(facts["expected_loss"]),
                ecl=float(facts["ecl_peak"]),
                loss_999=float(facts["loss_tail_peak"]),
                baseline_loss=float(facts["expected_loss_baseline"]),
                loss_rate=float(facts["loss_rate"]),
                note=_row_note(result),
            )
        )
    return StressSection(
        tuple(rows),
        each_language(lambda: heatmap_svg(list(stress))),
        each_language(lambda: loss_svg(list(stress))),
        _stress_note(stress, cohort),
    )


def _row_note(result: StressResult) -> Label:
    lost = shipped()[0][result.scenario_id].idiosyncratic.data_quality.feature_missing_rate
    if not lost or "data_quality.feature_missing_rate" in result.not_applied:
        return ""
    return Text(
        en=f"{lost:.0%} of all cells are lost at the peak, and the model scores them with each "
        "feature's missing bin. That part of the rise is what a blinded model would report and "
        "provision for, not defaults to come.",
        zh=f"峰值时 {lost:.0%} 的数据单元缺失,模型按各特征的缺失分箱评分。"
        "由此上升的部分是模型在数据缺失时的读数及相应计提,并非将来的违约。",
    )


def _stress_note(stress: Sequence[StressResult], cohort: Cohort) -> Text:
    first = stress[0]
    left = list(dict.fromkeys(part for r in stress for part in r.not_applied))
    names = [NOT_COMPUTED.get(part, Text(en=part, zh=part)) for part in left]
    en = f"PDs come from the registered model {first.model_name}; no policy overlay."
    zh = f"违约概率来自已登记模型 {first.model_name};未叠加政策。"
    if names:
        en += f" Stated by scenarios but not computed: {', '.join(n.en for n in names)}."
        zh += f"情景载明但未计算:{'、'.join(n.zh for n in names)}。"
    if cohort.weight is not None:
        rate = float(np.average(cohort.label, weights=cohort.weight))
        en += f" Rows count with their weights, and PDs are moved to the weighted rate, {rate:.1%}."
        zh += f"各行按权重计入,PD 调整至加权违约率 {rate:.1%}。"
    return Text(en=en, zh=zh)


def _commands() -> tuple[Command, ...]:
    return (
        Command(
            Text(en="Serve the model over HTTP and gRPC", zh="通过 HTTP 与 gRPC 提供评分服务"),
            "haihe serve",
        ),
        Command(
            Text(en="One scenario in detail", zh="查看单个情景"), "haihe stress run gfc-replay"
        ),
        Command(Text(en="Budget of every institution", zh="各机构隐私预算"), "haihe budget"),
        Command(
            Text(en="Three real nodes on this machine", zh="在本机启动三个真实节点"),
            "haihe consortium up --institutions 3",
        ),
        Command(
            Text(en="Check a file of your own", zh="检查自有数据文件"),
            "haihe data check FILE --mapping MAPPING",
        ),
        Command(
            Text(en="This page on rows of your own", zh="用自有数据生成本页"),
            "haihe demo --data FILE --mapping MAPPING --work FOLDER",
        ),
    )
