"""Figures of a demo run, put into the words of the report."""

import datetime
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from consortium.baselines import BaselineScores
from haihe_fl.data.cohort import Cohort
from haihe_fl.evaluation.intervals import AucEstimate, delong, delong_gain
from haihe_fl.i18n import Text
from haihe_fl.models.additive import AdditiveModel
from haihe_fl.models.reasons import reasons
from haihe_fl.models.validation import KIND, UNIT
from haihe_fl.privacy.ledger import Ledger
from haihe_fl.reports.results import (
    BudgetLine,
    Command,
    Comparison,
    DemoResults,
    Estimate,
    ExampleBorrower,
    FeatureShape,
    InstitutionResult,
    Label,
    PairShape,
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
from server.training import TrainingReport

Floats = NDArray[np.float64]
FAMILIES = {
    "additive": Text(en="additive with pairs", zh="可加模型(含交互项)"),
    "neural": Text(en="neural network", zh="神经网络"),
}
SHOWN_PAIRS = 6


def demo_results(
    *,
    test: Cohort,
    cohort: Cohort,
    federated: Floats,
    baselines: BaselineScores,
    training: TrainingReport,
    ledgers: Mapping[str, Ledger],
    stress: Sequence[StressResult],
    stress_note: str,
    names: Mapping[str, tuple[Label, Label]],
    seed: int,
    started: datetime.datetime,
    minutes: float,
    versions: str,
) -> tuple[DemoResults, dict[str, float]]:
    """Return the report's content, and the exact AUCs on the held-out rows."""
    plan, job, model = training.plan, training.job, training.model
    overall = delong(test.label, federated)
    pooled = delong(test.label, baselines.pooled)
    known = ~np.isnan(baselines.local)
    rows = _institutions(test, cohort, federated, baselines.local, names)
    local_mean = _mean_local(test, baselines.local, known)
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
            data=job.data_label,
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
        comparison=Comparison(_estimate(overall), _estimate(pooled)),
        privacy=_privacy(training, ledgers, names),
        validation=_validation(training),
        trace=tuple(training.trace),
        stages=tuple(step.name for step in plan.releases if step.name != KIND)
        if len(training.trace) > 1
        else (),
        shapes=_shapes(model) if isinstance(model, AdditiveModel) else (),
        pairs=_pairs(model) if isinstance(model, AdditiveModel) else (),
        examples=_examples(test, federated, training) if job.synthetic else (),
        stress=_stress(stress) if stress else None,
        commands=_commands(),
        reproducibility=(
            *((Text(en=k, zh=k), v) for k, v in fingerprints(training).items()),
            (Text(en="versions", zh="版本"), versions),
            *(((Text(en="stress test", zh="压力测试"), stress_note),) if stress_note else ()),
        ),
    )
    return results, {"federated": overall.value, "pooled": pooled.value, "local": local_mean}


def _estimate(found: AucEstimate) -> Estimate:
    return Estimate(found.value, found.interval.low, found.interval.high)


def _mean_local(test: Cohort, local: Floats, known: NDArray[np.bool_]) -> float:
    """Return the mean of the institutions' own AUCs, weighted by their test rows."""
    values, weights = [], []
    for name in np.unique(test.institution[known]):
        own = known & (test.institution == name)
        found = delong(test.label[own], local[own]).value
        if np.isfinite(found):
            values.append(found)
            weights.append(int(own.sum()))
    return float(np.average(values, weights=weights)) if values else float("nan")


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


def _title(model: AdditiveModel, j: int) -> Label:
    feature = model.catalogue.features[j]
    return feature.title or feature.name


def _shapes(model: AdditiveModel) -> tuple[FeatureShape, ...]:
    found = []
    for j in range(len(model.catalogue.features)):
        shape = model.shape(j)
        weight = np.maximum(shape.weights, 0.0)
        total = weight.sum()
        importance = float((np.abs(shape.values) * weight).sum() / total) if total > 0 else 0.0
        found.append(
            FeatureShape(
                _title(model, j),
                importance,
                tuple(shape.values.tolist()),
                None if shape.edges is None else tuple(shape.edges.tolist()),
                shape.categories,
                shape.missing,
            )
        )
    return tuple(sorted(found, key=lambda shape: -shape.importance))


def _pairs(model: AdditiveModel) -> tuple[PairShape, ...]:
    side = int(round(model.tables.cells.shape[1] ** 0.5))
    found = [
        PairShape(
            x=_title(model, int(b)),
            y=_title(model, int(a)),
            importance=float(np.abs(cells).mean()),
            values=tuple(map(tuple, cells.reshape(side, side).tolist())),
        )
        for (a, b), cells in zip(model.tables.pairs, model.tables.cells, strict=True)
    ]
    return tuple(sorted(found, key=lambda pair: -pair.importance)[:SHOWN_PAIRS])


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


def _stress(stress: Sequence[StressResult]) -> StressSection:
    catalogue, _ = shipped()
    rows = []
    for result in stress:
        facts = result.summary()
        rows.append(
            StressRow(
                name=Text(en=result.name_en, zh=result.name_zh),
                family=each_language(lambda r=result: catalogue.family_label(r.family)),
                sigma=float(facts["sigma"]),
                grade=each_language(lambda r=result: grade_label(r.grade)),
                expected_loss=float(facts["expected_loss"]),
                ecl=float(facts["ecl_peak"]),
                loss_999=float(facts["loss_tail_peak"]),
            )
        )
    first = stress[0]
    return StressSection(
        tuple(rows),
        each_language(lambda: heatmap_svg(list(stress))),
        each_language(lambda: loss_svg(list(stress))),
        Text(
            en=f"PDs come from the registered model {first.model_name}; no policy overlay; "
            "contagion and the insurance pool are not in it yet.",
            zh=f"违约概率来自已登记模型 {first.model_name};未叠加政策;暂不含传染与保险池。",
        ),
    )


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
    )
