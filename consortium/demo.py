"""The whole chain on one machine: train, register, compare, stress-test, report."""

import datetime
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import haihe_fl
from clients.policy import NodePolicy
from consortium.baselines import score_baselines
from consortium.demo_report import demo_results
from consortium.inprocess import InProcessConsortium
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import HaiheError
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.run import run_all
from haihe_fl.workspace import Workspace
from server.job import TrainingJob
from server.training import TrainingReport, run_training

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
        Exact AUC on the held-out rows: federated, pooled, local (mean over rows).
    stress : list of StressResult
        One result a scenario; empty where the rows carry no exposure or sector.
    note : str
        Why there is no stress test, if there is none.
    """

    report: Path
    training: TrainingReport
    auc: dict[str, float]
    stress: list[StressResult]
    note: str
    seconds: float


def run_demo(
    cohort: Cohort,
    workspace: Workspace,
    job: TrainingJob,
    *,
    seed: int = 0,
    names: dict[str, tuple[object, object]] | None = None,
    step: Step = lambda *_: None,
    policy: NodePolicy | None = None,
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
    """
    started = time.monotonic()
    when = datetime.datetime.now().astimezone()
    members = cohort.by_institution()
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
    held = cohort.holdout(job.holdout_share)
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
        stress_note=note,
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


def _stress(cohort: Cohort, training: TrainingReport, step: Step) -> tuple[list[StressResult], str]:
    registered = training.registered
    label = f"{registered.name} v{registered.version}" if registered else training.plan.model
    try:
        portfolio = Portfolio.from_cohort(cohort, training.model, model_name=label)
    except HaiheError as error:
        return [], str(error)
    return run_all(portfolio, on_progress=lambda done, total: step("stress", done, total)), ""
