"""A small consortium for tests: hand-made rows, a short schedule, a grid that can lose messages."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Array, Message

from clients.agent import NodeAgent
from clients.node import fixed_noise
from clients.policy import NodePolicy
from consortium.grid import FIRST_NODE_ID, InProcessGrid
from consortium.inprocess import InProcessConsortium
from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.messages import node_pb2 as m
from haihe_fl.models.additive import AdditiveConfig, AdditiveTrainer
from haihe_fl.models.plan import TrainingPlan, release_steps
from haihe_fl.models.releases import PlannedRelease
from haihe_fl.models.validation import planned_validation
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.securesum.keys import ConsortiumCA, Identity
from strategies.exchange import BODY, Exchange
from strategies.secure_sum import SecureSumSession

NAMES = ("Bank A", "Bank B", "Guarantor C", "保险 D", "Bureau E")
CATALOGUE = FeatureCatalogue(
    name="small",
    features=(
        Feature(name="liquidity", range=(0, 1), direction=-1),
        Feature(name="days", range=(0, 720)),
        Feature(name="sector", kind="category", categories=("farm", "mill", "shop", "port")),
    ),
)
SHORT = {"main_rounds": 2, "joint_rounds": 2, "rounds_without_pairs": 2, "pairs": 1}
BUDGET = Budget(3.0, 1e-5)


def make_cohorts(names: tuple[str, ...] = NAMES, rows: int = 120) -> dict[str, Cohort]:
    """Return rows by institution; keys overlap between institutions."""
    cohorts = {}
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        liquidity, days = rng.random(rows), 720 * rng.random(rows)
        risk = 1 / (1 + np.exp(4 * liquidity - 0.5))
        cohorts[name] = Cohort(
            catalogue=CATALOGUE,
            values=np.stack([liquidity, days, rng.integers(0, 4, rows)], axis=1).astype(np.float32),
            label=(rng.random(rows) < risk).astype(np.int8),
            key=np.array([f"9112010{number % 3}MA{i:08d}X" for i in range(rows)]),
            institution=np.full(rows, name),
        )
    return cohorts


def make_plan(
    names: tuple[str, ...] = NAMES, run: str = "run-1", **changes: object
) -> TrainingPlan:
    """Return the plan of a short additive run."""
    schedule = AdditiveConfig(**SHORT).schedule(CATALOGUE, BUDGET.mu)
    values = {
        "run": run,
        "model": "test",
        "family": "additive",
        "mode": "secure",
        "catalogue_fingerprint": CATALOGUE.fingerprint,
        "participants": tuple(sorted(names)),
        "minimum": len(names) - 1,
        "colluders": 0,
        "epsilon": BUDGET.epsilon,
        "delta": BUDGET.delta,
        "holdout_share": 0.2,
        "releases": release_steps([*schedule, planned_validation(1 / BUDGET.mu)]),
    }
    return TrainingPlan(**{**values, **changes})


def repeated(count: int, kind: str = "additive/quantiles") -> tuple[PlannedRelease, ...]:
    """Return a schedule that asks the same several times, within the budget."""
    z = count**0.5 / BUDGET.mu
    length = {"additive/quantiles": 2 * 513}[kind]
    return tuple(PlannedRelease(f"again/{i}", kind, z, length) for i in range(count))


def make_trainer() -> AdditiveTrainer:
    """Return the centre's side of ``make_plan``."""
    return AdditiveTrainer(CATALOGUE, AdditiveConfig(**SHORT), BUDGET.mu)


class Node:
    """One institution's folder, from which agents can be opened again and again."""

    def __init__(self, folder: Path, ca: ConsortiumCA, name: str = NAMES[0]) -> None:
        self.folder, self.ca = folder, ca
        self.identity: Identity = ca.issue(name)

    def open(self, **changes: object) -> NodeAgent:
        """Open an agent; keyword arguments override those of ``NodeAgent``."""
        values = {
            "load": lambda: make_cohorts()[self.identity.name],
            "catalogue_fingerprint": CATALOGUE.fingerprint,
            "policy": NodePolicy(),
        }
        return NodeAgent(
            self.identity, self.ca.certificate, folder=self.folder, **{**values, **changes}
        )


def prepare(plan: TrainingPlan) -> m.NodeRequest:
    """Return the request that proposes a plan."""
    return m.NodeRequest(run=plan.run, prepare=m.Prepare(plan=plan.to_bytes()))


Lose = Callable[[str, str, m.NodeRequest], bool]
"""Called with institution, ``"request"`` or ``"reply"``, and the request: lose this message?"""


class SpyGrid(InProcessGrid):
    """A grid that keeps all traffic and loses what it is told to."""

    def __init__(
        self,
        consortium: InProcessConsortium,
        lose: Lose = lambda *_: False,
    ) -> None:
        names = list(consortium.agents)
        super().__init__(consortium.grid.app, {name: {"institution": name} for name in names})
        self.names = dict(enumerate(names, start=FIRST_NODE_ID))
        self.lose = lose
        self.seen: list[tuple[str, m.NodeRequest, m.NodeReply]] = []
        self.up: list[bytes] = []

    def deliver(self, message: Message) -> Message | None:
        name = self.names[message.metadata.dst_node_id]
        request = body_of(message, m.NodeRequest)
        if self.lose(name, "request", request):
            return None
        reply = super().deliver(message)
        assert reply is not None
        self.up += flower_bytes(reply)
        self.seen.append((name, request, body_of(reply, m.NodeReply)))
        return None if self.lose(name, "reply", request) else reply

    def asked(self, what: str) -> list[str]:
        """Return who was reached by a kind of request, in order."""
        return [name for name, request, _ in self.seen if request.WhichOneof("body") == what]


def body_of(message: Message, kind: type) -> m.NodeRequest | m.NodeReply:
    """Return the message of the closed list inside a Flower message."""
    if message.has_error():
        return kind()
    for record in message.content.config_records.values():
        if BODY in record:
            return kind.FromString(record[BODY])
    return kind()


def flower_bytes(message: Message) -> list[bytes]:
    """Return everything variable in a Flower message, as bytes."""
    if message.has_error():
        return [str(message.error.reason).encode()]
    out: list[bytes] = []
    for name, record in message.content.items():
        out.append(name.encode())
        for key, value in record.items():
            raw = value.data if isinstance(value, Array) else value
            out += [key.encode(), raw if isinstance(raw, bytes) else repr(raw).encode()]
    return out


def session(grid: InProcessGrid, plan: TrainingPlan, deadline_s: float = 0.1) -> SecureSumSession:
    """Return an opened session over a grid."""
    exchange = Exchange(grid, deadline_s=deadline_s, poll_s=0.002)
    exchange.discover(len(plan.participants))
    sums = SecureSumSession(exchange, plan)
    sums.open()
    return sums


def plain_noise(seed: str, name: str) -> Callable[[float, int], np.ndarray]:
    """Return the noise that a node with a fixed seed draws, draw by draw."""
    return fixed_noise(seed, name).rounded_gaussian
