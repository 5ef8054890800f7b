"""A training run at the centre: discover, plan, train, validate, record."""

import time
import uuid
from typing import Any

from flwr.serverapp import Grid
from pydantic import ValidationError

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.errors import NetworkError, UserError
from haihe_fl.evaluation.calibration import CalibrationBin
from haihe_fl.evaluation.metrics import Metrics
from haihe_fl.messages.node_pb2 import Status
from haihe_fl.models.additive import AdditiveConfig, AdditiveTrainer
from haihe_fl.models.plan import LocalStep, TrainingPlan, release_steps
from haihe_fl.models.releases import Trainer
from haihe_fl.models.validation import (
    KIND,
    UNIT,
    calibration_from_total,
    metrics_from_total,
    planned_validation,
)
from haihe_fl.privacy.gaussian import Budget, mu_for
from haihe_fl.privacy.noise import Quorum
from haihe_fl.workspace import Workspace
from server.job import TrainingJob
from server.recording import record
from server.report import TrainingReport
from strategies.exchange import Exchange, Progress
from strategies.secure_sum import SecureSumSession
from strategies.training import Averaging, train


def run_training(
    grid: Grid,
    job: TrainingJob,
    catalogue: FeatureCatalogue,
    workspace: Workspace,
    progress: Progress = lambda *_: None,
    poll_s: float = 0.1,
) -> TrainingReport:
    """Run a job over a grid and register its model.

    Raises
    ------
    UserError
        H2101 if the job's settings do not fit its family, H2102 if its quorum is impossible.
    NetworkError
        H4203 if too few institutions are there, H4201 if too few stay.
    """
    started = time.monotonic()
    exchange = Exchange(grid, deadline_s=job.deadline_s, poll_s=poll_s)
    progress("discover", 0, 1)
    present = exchange.discover(job.institutions)
    members = _members(job, catalogue, present)
    plan, trainer, local = _plan(job, catalogue, members, progress)
    sums = SecureSumSession(exchange, plan)
    outcome = train(sums, trainer, progress, local)
    metrics: Metrics | None = None
    calibration: tuple[CalibrationBin, ...] = ()
    sd = 0.0
    if outcome.validation is not None:
        last = plan.step(KIND)
        assert last is not None
        # All survivors add noise: it is known, and at least what the plan promises.
        inflation = len(outcome.survivors[-1]) / plan.quorum.noise_parties
        sd = last.noise_multiplier * UNIT * inflation**0.5
        metrics = metrics_from_total(outcome.validation, sd)
        calibration = calibration_from_total(outcome.validation, sd)
    report = TrainingReport(
        job=job,
        plan=plan,
        model=outcome.model,
        metrics=metrics,
        calibration=calibration,
        validation_sd=sd,
        trace=trainer.trace(),
        status=outcome.status,
        survivors=outcome.survivors,
        left_out=dict(sums.out),
        bytes_up=dict(exchange.bytes_up),
        bytes_down=dict(exchange.bytes_down),
        seconds=time.monotonic() - started,
    )
    report.registered = record(workspace, report)
    return report


def _members(
    job: TrainingJob, catalogue: FeatureCatalogue, present: dict[str, Status]
) -> list[str]:
    members = [
        name for name, s in present.items() if s.catalogue_fingerprint == catalogue.fingerprint
    ]
    if len(members) >= max(job.quorum_numbers(job.institutions)[0], 2):
        return members
    others = sorted(set(present) - set(members))
    raise NetworkError(
        "H4203",
        en=f"{len(members)} institutions are ready, {job.institutions} were asked for"
        + (f"; with another feature catalogue: {', '.join(others)}" if others else "")
        + "; start the missing nodes, or ask for fewer with --institutions",
        zh=f"仅 {len(members)} 家机构就绪,要求 {job.institutions} 家"
        + (f";特征目录不一致的机构:{'、'.join(others)}" if others else "")
        + ";请启动缺少的节点,或用 --institutions 减少数量",
    )


def _plan(
    job: TrainingJob, catalogue: FeatureCatalogue, members: list[str], progress: Progress
) -> tuple[TrainingPlan, Trainer, Averaging | None]:
    minimum, colluders = job.quorum_numbers(len(members))
    try:
        Quorum(len(members), minimum, colluders)
    except ValueError as error:
        raise UserError(
            "H2102",
            en=f"impossible quorum: {error}; change --minimum or --colluders, or leave them out",
            zh=f"法定数量不成立:{error};请修改 --minimum 或 --colluders,或使用默认值",
        ) from None
    try:
        trainer, steps, neural, local = _trainer(job, catalogue, len(members), progress)
    except (TypeError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(
            "H2101",
            en=f"these settings do not fit the {job.family} family: {what}; see docs/training.md",
            zh=f"设置不适用于 {job.family} 模型:{what};参见 docs/training.md",
        ) from None
    releases = trainer.schedule()
    if job.holdout_share > 0:
        # Held-out borrowers pay for nothing else, so validation may spend the whole budget.
        releases = [*releases, planned_validation(1 / mu_for(job.epsilon, job.delta))]
    plan = TrainingPlan(
        run=uuid.uuid4().hex[:16],
        model=job.name,
        family=job.family,
        mode="secure" if job.family == "additive" else "inspected",
        catalogue_fingerprint=catalogue.fingerprint,
        participants=tuple(members),
        minimum=minimum,
        colluders=colluders,
        epsilon=job.epsilon,
        delta=job.delta,
        holdout_share=job.holdout_share,
        releases=release_steps(releases),
        local=steps,
        neural=neural,
    )
    return plan, trainer, local


def _trainer(
    job: TrainingJob, catalogue: FeatureCatalogue, parties: int, progress: Progress
) -> tuple[Trainer, tuple[LocalStep, ...], dict[str, Any] | None, Averaging | None]:
    """Return the trainer of a job's family and, for the neural one, what local training needs."""
    budget = Budget(job.epsilon, job.delta)
    if job.family == "additive":
        return (
            AdditiveTrainer(catalogue, AdditiveConfig(**job.settings), budget.mu),
            (),
            None,
            None,
        )
    from haihe_fl.models.neural import NeuralSettings
    from haihe_fl.models.neural.accounting import local_steps, noise_multiplier_for
    from haihe_fl.models.neural.trainer import NeuralTrainer
    from strategies.neural import local_rounds

    settings = NeuralSettings(**job.settings)
    trainer = NeuralTrainer(catalogue, settings, budget.mu, parties)
    noise = noise_multiplier_for(
        budget, settings.sample_rate, settings.total_steps, trainer.mu_spent
    )
    steps = local_steps(settings, noise)
    return trainer, steps, settings.model_dump(mode="json"), local_rounds(progress)
