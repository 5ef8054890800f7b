"""Rounds of local DP-SGD, averaged by Flower's own FedAvg or FedProx."""

from collections.abc import Callable, Mapping

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp.strategy import FedAvg, FedProx

from haihe_fl.errors import IntegrityError, NetworkError
from haihe_fl.messages.codec import to_tensor
from haihe_fl.messages.node_pb2 import LocalTraining, NodeRequest
from haihe_fl.models.neural.settings import Weights, check_weights
from haihe_fl.models.neural.trainer import NeuralTrainer
from haihe_fl.models.releases import Trainer
from strategies.exchange import BODY, Progress, error_number, parse_reply
from strategies.secure_sum import SecureSumSession


def local_rounds(progress: Progress) -> Callable[[SecureSumSession, Trainer], None]:
    """Return the rounds of local training as ``strategies.training.train`` takes them."""

    def run(sums: SecureSumSession, trainer: Trainer) -> None:
        if not isinstance(trainer, NeuralTrainer):
            raise TypeError("local training belongs to a NeuralTrainer")
        plan, settings = sums.plan, trainer.settings
        strategy = FedProx(proximal_mu=settings.proximal_mu) if settings.proximal_mu else FedAvg()
        encoder = {name: to_tensor(array) for name, array in trainer.arrays().items()}
        body = NodeRequest(run=plan.run, local_training=LocalTraining(arrays=encoder))
        weights = trainer.start()
        history: list[Weights] = []
        total, done = len(plan.releases) + len(plan.local), len(trainer.trace())
        for number, step in enumerate(plan.local, start=1):
            progress(step.name, done + number - 1, total)
            config = ConfigRecord(
                {
                    BODY: body.SerializeToString(),
                    "server-round": number,
                    "proximal-mu": settings.proximal_mu,
                }
            )
            arrays = ArrayRecord({f"{i:02d}": Array(w) for i, w in enumerate(weights)})
            replies = sums.exchange.send(
                {n: RecordDict({"arrays": arrays, "config": config}) for n in sums.members},
                MessageType.TRAIN,
            )
            accepted = _screen(replies, arrays, sums)
            if len(accepted) < plan.minimum:
                raise NetworkError(
                    "H4202",
                    en=f"{step.name} of run {plan.run} aborted: {len(accepted)} usable updates, "
                    f"{plan.minimum} needed; reasons by institution: {sums.out}",
                    zh=f"任务 {plan.run} 的 {step.name} 已中止:仅 {len(accepted)} 份有效更新,"
                    f"至少需要 {plan.minimum} 份;各机构原因:{sums.out}",
                )
            averaged, _ = strategy.aggregate_train(number, accepted)
            if averaged is None:
                raise RuntimeError("FedAvg returned nothing for accepted updates")
            weights = [a.numpy().astype(np.float32) for a in averaged.values()]
            history.append(weights)
        trainer.finish_local(history)

    return run


def _screen(
    replies: Mapping[str, Message | None], sent: ArrayRecord, sums: SecureSumSession
) -> list[Message]:
    """Keep updates that fit what was sent; the rest go into quarantine."""
    accepted = []
    for name, message in replies.items():
        if message is None:
            sums.out[name] = "no answer"
        elif "arrays" not in message.content.array_records:
            sums.out[name] = error_number(parse_reply(message))
        elif not _fits(message.content, sent):
            sums.out[name] = "H5312"
        else:
            arrays = message.content.array_records["arrays"]
            # Equal weights are the centre's doing, whatever a node would like to weigh.
            message.content = RecordDict(
                {"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}
            )
            accepted.append(message)
    return accepted


def _fits(content: RecordDict, sent: ArrayRecord) -> bool:
    """Return whether an update has the names, shapes and type sent, and finite entries."""
    update = content.array_records["arrays"]
    weighed = content.metric_records.get("metrics", MetricRecord()).get("num-examples")
    if list(update) != list(sent) or weighed != 1:
        return False
    try:
        weights = [array.numpy() for array in update.values()]
        check_weights(weights, [array.numpy().shape for array in sent.values()])
    except (IntegrityError, ValueError, TypeError, OSError, EOFError):
        return False
    return all(w.dtype == np.float32 for w in weights)
