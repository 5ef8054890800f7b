"""Federated training as a Flower ServerApp runs it: release after release, then validation."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from haihe_fl.messages.node_pb2 import Status
from haihe_fl.models.base import RiskModel
from haihe_fl.models.releases import ReleaseRequest, Trainer
from haihe_fl.models.validation import KIND, validation_request
from strategies.exchange import Progress
from strategies.secure_sum import SecureSumSession

Averaging = Callable[[SecureSumSession, Trainer], None]
"""Rounds of local training, of which it tells the trainer (the neural family)."""


@dataclass
class Outcome:
    """What a run leaves behind at the centre."""

    model: RiskModel
    validation: NDArray[np.int64] | None
    status: dict[str, Status]
    survivors: list[tuple[str, ...]] = field(default_factory=list)


def train(
    sums: SecureSumSession,
    trainer: Trainer,
    progress: Progress,
    local: Averaging | None = None,
) -> Outcome:
    """Drive a trainer to its model; a run that fails is ended at the institutions too.

    Parameters
    ----------
    sums : SecureSumSession
        Carries each release; its plan holds the schedule.
    trainer : Trainer
        Turns noisy sums into the model.
    progress : callable
        Told of every step.
    local : callable, optional
        Rounds of local training, once the trainer wants no more sums. It may want some
        afterwards.
    """
    try:
        return _train(sums, trainer, progress, local)
    except Exception:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            sums.abort()
        raise


def _train(
    sums: SecureSumSession, trainer: Trainer, progress: Progress, local: Averaging | None
) -> Outcome:
    plan = sums.plan
    total = len(plan.releases) + len(plan.local)
    sums.open()
    survivors: list[tuple[str, ...]] = []

    trained = 0

    def release(request: ReleaseRequest) -> NDArray[np.int64]:
        progress(request.name, len(survivors) + trained, total)
        result = sums.sum(request)
        survivors.append(result.survivors)
        return result.total

    def ask() -> None:
        while (request := trainer.next_request()) is not None:
            trainer.absorb(release(request))

    ask()
    if local is not None:
        local(sums, trainer)
        trained = len(plan.local)
        ask()
    model = trainer.model()
    last = plan.step(KIND)
    validation = None
    if last is not None:
        validation = release(validation_request(model, last.noise_multiplier))
    status = sums.close()
    progress("done", total, total)
    return Outcome(model, validation, status, survivors)
