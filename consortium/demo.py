"""The whole chain on one machine: train, register, compare, stress-test, report."""

import datetime
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import haihe_fl
from clients.policy import NodePolicy
from consortium.baselines import score_baselines
from consortium.demo_report import demo_results
from consortium.inprocess import InProcessConsortium
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import HaiheError, UserError
from haihe_fl.i18n import Text
from haihe_fl.reports.results import Label
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.run import run_all
from haihe_fl.workspace import Workspace
from server.job import TrainingJob
from server.report import TrainingReport
from server.training import run_training

Step = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class DemoRun:
    """What a demo produced.

    Attributes
    ----------
    report : Path
        The HTML report.
    training : TrainingReport
        The run at the centre.
    auc : dict of str to float
        Exact AUC on the held-out rows: see `consortium.demo_report.demo_results`.
    stress : list of StressResult
        One result a scenario; empty where the rows carry no exposure or sector.
    note : Text, optional
        Why there is no stress test, if there is none.
    """

    report: Path
    training: TrainingReport
    auc: dict[str, float]
    stress: list[StressResult]
    note: Text | None
    seconds: float


def run_demo(
    cohort: Cohort,
    workspace: Workspace,
    job: TrainingJob,
    *,
    seed: int = 0,
    names: dict[str, tuple[Label, Label]] | None = None,
    step: Step = lambda *_: None,
    policy: NodePolicy | None = None,
    data_title: Text | None = None,
    data_note: Text | None = None,
) -> DemoRun:
    """Run the chain over a cohort that holds every institution's rows.

    Parameters
    ----------
    cohort : Cohort
        All records; split by ``cohort.institution``.
    workspace : Workspace
        Where ledgers, registry and report go.
    job : TrainingJob
        What to train.
    seed : int
        Of the data, for the report.
    names : dict, optional
        Name and kind of each institution, as the report shows them.
    step : callable
        Told of progress.
    policy : NodePolicy, optional
        Of every institution.
    data_title : Text, optional
        What the rows are called; the job's label if left out.
    data_note : Text, optional
        What a reader of figures on these rows must know.

    Raises
    ------
    UserError
        H2607 if the held-out rows, or the others, hold one class only.
    """
    started = time.monotonic()
    when = datetime.datetime.now().astimezone()
    members = cohort.by_institution()
    held = cohort.holdout(job.holdout_share)
    _check_classes(cohort, held)
    step("open", 0, 1)
    consortium = InProcessConsortium.open(workspace.folder("consortium"), members, policy)
    training = run_training(
        consortium.grid,
        job,
        cohort.catalogue,
        workspace,
        lambda _, done, total: step("train", done, total),
        poll_s=0.0,
    )
    step("compare", 0, 1)
    test = cohort.take(held)
    federated = training.model.predict_pd(test.values)
    baselines = score_baselines(cohort.take(~held), test)
    stress, note = _stress(cohort, training, step)
    step("report", 0, 1)
    results, auc = demo_results(
        test=test,
        cohort=cohort,
        federated=federated,
        baselines=baselines,
        training=training,
        ledgers={name: agent.ledger for name, agent in consortium.agents.items()},
        stress=stress,
        no_stress=note or "",
        data_title=data_title or job.data_label,
        data_note=data_note or "",
        names=names or {},
        seed=seed,
        started=when,
        minutes=(time.monotonic() - started) / 60,
        versions=f"haihe-fl {haihe_fl.__version__}, Python {platform.python_version()}",
    )
    from haihe_fl.reports.report import write_report  # imports matplotlib

    path = workspace.root / "report.html"
    write_report(results, path)
    consortium.close()
    step("done", 1, 1)
    return DemoRun(path, training, auc, stress, note, time.monotonic() - started)


def _check_classes(cohort: Cohort, held: NDArray[np.bool_]) -> None:
    for rows in (cohort.label[held], cohort.label[~held]):
        if len(set(rows.tolist())) < 2:
            raise UserError(
                "H2607",
                en="the held-out rows, or the others, hold one outcome only, so nothing can be "
                "compared; give more rows, or a --holdout between .1 and .5",
                zh="留出样本或其余样本只有一类结果,无法比较;请增加数据,"
                "或将 --holdout 设为 0.1 至 0.5",
            )


def _stress(
    cohort: Cohort, training: TrainingReport, step: Step
) -> tuple[list[StressResult], Text | None]:
    absent = [name for name in ("ead", "sector") if name not in cohort.extra]
    if absent:
        step("no stress", 0, 1)
        return [], _why_none(absent)
    registered = training.registered
    label = f"{registered.name} v{registered.version}" if registered else training.plan.model
    try:
        portfolio = Portfolio.from_cohort(cohort, training.model, model_name=label)
    except HaiheError as error:
        step("no stress", 0, 1)
        return [], Text(en=f"{error.code} {error.en}", zh=f"{error.code} {error.zh}")
    return run_all(portfolio, on_progress=lambda done, total: step("stress", done, total)), None


def _why_none(absent: list[str]) -> Text:
    names = {"ead": ("exposure (ead)", "敞口(ead)"), "sector": ("sector", "行业(sector)")}
    return Text(
        en=f"these rows carry no {' and no '.join(names[a][0] for a in absent)}, and a scenario "
        "turns into losses through exposure and sector. If the file has them, add ead: and "
        "sector: to the mapping (docs/mapping.md); borrowers who are no enterprises have no "
        "sector, and then there is no stress test to make.",
        zh=f"数据中没有{'和'.join(names[a][1] for a in absent)},而情景须通过敞口与行业转化为损失。"
        "若文件中有这些列,请在映射中添加 ead: 和 sector:(见 docs/mapping.md);"
        "借款人不是企业时没有行业,无从进行压力测试。",
    )
