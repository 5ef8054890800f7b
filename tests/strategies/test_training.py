"""Whole trainings over a grid: to a model, or to an orderly end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from small_consortium import (
    BUDGET,
    CATALOGUE,
    NAMES,
    SpyGrid,
    make_cohorts,
    make_plan,
    make_trainer,
)

from clients.policy import NodePolicy
from consortium.inprocess import InProcessConsortium
from haihe_fl.errors import NetworkError, PolicyError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import from_tensor, to_tensor
from haihe_fl.models.neural import NeuralModel, NeuralSettings
from haihe_fl.models.neural.accounting import local_steps
from haihe_fl.models.neural.trainer import NeuralTrainer
from haihe_fl.models.plan import TrainingPlan, release_steps
from haihe_fl.models.validation import KIND
from haihe_fl.privacy.accountant import epsilon_spent
from strategies.exchange import Exchange
from strategies.neural import local_rounds
from strategies.secure_sum import SecureSumSession
from strategies.training import Outcome, train

LAST = NAMES[-1]
Forge = Callable[[m.LocalUpdate], None]


def silent(*_: object) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[InProcessConsortium]:
    policy = NodePolicy(epsilon_cap=30.0)
    consortium = InProcessConsortium.open(tmp_path, make_cohorts(), policy, noise_seed="7")
    yield consortium
    consortium.close()


def fresh(grid: SpyGrid, plan: TrainingPlan, deadline_s: float = 0.1) -> SecureSumSession:
    exchange = Exchange(grid, deadline_s=deadline_s, poll_s=0.002)
    exchange.discover(len(plan.participants))
    return SecureSumSession(exchange, plan)


# Additive.


def test_a_run_ends_with_a_model_and_its_validation(consortium: InProcessConsortium) -> None:
    grid, plan = SpyGrid(consortium), make_plan()
    steps: list[tuple[str, int, int]] = []
    outcome = train(fresh(grid, plan), make_trainer(), lambda *step: steps.append(step))
    total = len(plan.releases)
    assert [done for _, done, _ in steps] == list(range(total + 1))
    assert [what for what, _, _ in steps] == [s.name for s in plan.releases] + ["done"]
    assert outcome.survivors == [tuple(sorted(NAMES))] * total
    assert outcome.validation is not None
    assert outcome.validation.shape == (plan.releases[-1].length,)
    pd = outcome.model.predict_pd(make_cohorts()[LAST].values)
    assert np.isfinite(pd).all()
    assert set(outcome.status) == set(NAMES)
    for status in outcome.status.values():
        assert status.epsilon_spent == pytest.approx(BUDGET.epsilon)
        assert status.fixed_noise


def test_without_held_out_rows_nothing_is_validated(consortium: InProcessConsortium) -> None:
    plan = make_plan(holdout_share=0.0, releases=make_plan().releases[:-1])
    outcome = train(fresh(SpyGrid(consortium), plan), make_trainer(), silent)
    assert outcome.validation is None
    assert plan.step(KIND) is None


def test_a_failed_run_is_ended_at_the_institutions(consortium: InProcessConsortium) -> None:
    plan = make_plan()
    second = plan.releases[1].name
    gone = NAMES[:2]

    def lose(name: str, way: str, request: m.NodeRequest) -> bool:
        return name in gone and request.release.name == second

    grid = SpyGrid(consortium, lose)
    with pytest.raises(NetworkError, match="H4201"):
        train(fresh(grid, plan), make_trainer(), silent)
    assert sorted(grid.asked("finish")) == sorted(NAMES)
    first = plan.events()[plan.releases[0].name]
    for name, agent in consortium.agents.items():
        paid = [e.release for e in agent.ledger.entries() if e.kind == "charge"]
        assert paid[0] == plan.releases[0].name  # never refunded
        assert len(paid) == (1 if name in gone else 2)
        assert agent.ledger.reserved() == 0.0  # what was never released is free again
        assert agent.ledger.spent() >= epsilon_spent([[first]], plan.delta) * 0.999


def test_a_run_that_does_not_start_reserves_nothing(consortium: InProcessConsortium) -> None:
    for name in NAMES[:2]:
        consortium.agents[name].policy = NodePolicy(modes=("inspected",))
    with pytest.raises(PolicyError, match="H3306"):
        train(fresh(SpyGrid(consortium), make_plan()), make_trainer(), silent)
    for agent in consortium.agents.values():
        assert agent.ledger.reserved() == agent.ledger.spent() == 0.0


def test_the_first_error_is_the_one_that_is_told(
    consortium: InProcessConsortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the grid is gone too")

    sums = fresh(SpyGrid(consortium), make_plan())
    monkeypatch.setattr(sums, "abort", fail)
    monkeypatch.setattr(sums, "sum", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(sums, make_trainer(), silent)


# Neural.

SETTINGS = NeuralSettings(hidden=(4,), rounds=2, local_steps=2, learning_rate=1.0)
NOISE = 9.0


def neural_run(
    consortium: InProcessConsortium, settings: NeuralSettings = SETTINGS, run: str = "run-1"
) -> tuple[TrainingPlan, SecureSumSession, Outcome]:
    trainer = NeuralTrainer(CATALOGUE, settings, BUDGET.mu, len(NAMES))
    plan = make_plan(
        run=run,
        family="neural",
        mode="inspected",
        epsilon=4.0,
        holdout_share=0.0,
        releases=release_steps(trainer.schedule()),
        local=local_steps(settings, NOISE),
        neural=settings,
    )
    sums = fresh(SpyGrid(consortium), plan, deadline_s=20.0)
    steps: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        steps.append((what, done, total))

    outcome = train(sums, trainer, progress, local_rounds(progress))
    total = len(plan.releases) + len(plan.local)
    assert [step[1:] for step in steps] == [(done, total) for done in range(total + 1)]
    return plan, sums, outcome


def forge(consortium: InProcessConsortium, name: str, change: Forge) -> None:
    """Let an institution send something else than what it trained."""
    handle = consortium.agents[name].handle

    def handle_and_forge(request: m.NodeRequest) -> m.NodeReply:
        reply = handle(request)
        if reply.HasField("local_update"):
            change(reply.local_update)
        return reply

    consortium.agents[name].handle = handle_and_forge


def fill(value: float) -> Forge:
    def change(update: m.LocalUpdate) -> None:
        array = np.full_like(from_tensor(update.weights[0]), value)
        update.weights[0].CopyFrom(to_tensor(array))

    return change


def reshape(update: m.LocalUpdate) -> None:
    update.weights[0].shape[:] = list(reversed(update.weights[0].shape))


def widen(update: m.LocalUpdate) -> None:
    array = from_tensor(update.weights[0]).astype(np.float64)
    update.weights[0].CopyFrom(to_tensor(array))


def test_local_rounds_train_and_are_charged(consortium: InProcessConsortium) -> None:
    plan, sums, outcome = neural_run(consortium)
    assert isinstance(outcome.model, NeuralModel)
    assert sums.out == {}
    assert plan.mode == "inspected"
    for agent in consortium.agents.values():
        paid = [e.release for e in agent.ledger.entries() if e.kind == "charge"]
        assert paid == ["quantiles", "local/01", "local/02", "validation/calibration"]
        expected = epsilon_spent([plan.events().values()], plan.delta)
        assert agent.ledger.spent() == pytest.approx(expected)
    # The weights that travelled are counted: twice there, twice back.
    weights = sum(w.nbytes for w in outcome.model.weights)
    assert all(sums.exchange.bytes_up[name] > 2 * weights for name in NAMES)
    assert all(sums.exchange.bytes_down[name] > 2 * weights for name in NAMES)


def test_a_retried_round_is_the_same_round(consortium: InProcessConsortium) -> None:
    agent = consortium.agents[LAST]
    handle, pairs = agent.handle, []

    def ask_twice(request: m.NodeRequest) -> m.NodeReply:
        reply = handle(request)
        if request.HasField("local_training"):
            pairs.append((reply, handle(request)))
            other = m.NodeRequest.FromString(request.SerializeToString())
            other.local_training.weights[0].data = bytes(len(other.local_training.weights[0].data))
            assert handle(other).refusal.code == "H5305"
            other.local_training.proximal_mu = 0.7
            assert handle(other).refusal.code == "H3305"
            other.local_training.round = 3
            assert handle(other).refusal.code == "H3305"
        return reply

    agent.handle = ask_twice
    plan, _, _ = neural_run(consortium)
    assert len(pairs) == 2
    assert all(one == other for one, other in pairs)
    charges = [e for e in agent.ledger.entries() if e.kind == "charge"]
    assert len(charges) == len(plan.events()) == 4


@pytest.mark.parametrize(
    "change",
    [fill(np.nan), fill(np.inf), fill(1e30), reshape, widen],
    ids=["nan", "inf", "huge", "shape", "dtype"],
)
def test_an_unusable_update_is_quarantined(consortium: InProcessConsortium, change: Forge) -> None:
    forge(consortium, LAST, change)
    _, sums, outcome = neural_run(consortium)
    assert sums.out == {LAST: "H5312"}
    assert all(np.isfinite(w).all() for w in outcome.model.weights)


def test_nobody_weighs_more_than_another(
    consortium: InProcessConsortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clients import courier

    boast = iter([1, 1, 1, 1, 10**9] * 2)

    def metric(values: dict[str, int]) -> courier.MetricRecord:
        return real(values | {"num-examples": next(boast)})

    real = courier.MetricRecord
    monkeypatch.setattr(courier, "MetricRecord", metric)
    _, sums, _ = neural_run(consortium)
    assert len(sums.out) == 1
    assert set(sums.out.values()) == {"H5312"}


def test_too_few_usable_updates_end_the_run(consortium: InProcessConsortium) -> None:
    for name in NAMES[:2]:
        forge(consortium, name, fill(np.nan))
    with pytest.raises(NetworkError, match="H4202") as caught:
        neural_run(consortium)
    assert all(name in str(caught.value) for name in NAMES[:2])
    for agent in consortium.agents.values():
        assert agent.ledger.reserved() == 0.0


def test_a_refusal_is_told_by_its_number(consortium: InProcessConsortium) -> None:
    agent = consortium.agents[LAST]
    handle = agent.handle

    def refuse(request: m.NodeRequest) -> m.NodeReply:
        if request.HasField("local_training"):
            return m.NodeReply(refusal=m.Refusal(code="row 1"))
        return handle(request)

    agent.handle = refuse
    _, sums, _ = neural_run(consortium)
    assert sums.out == {LAST: "H5302"}


def test_fedprox_holds_the_weights_back(consortium: InProcessConsortium) -> None:
    free = neural_run(consortium)[2].model
    held = SETTINGS.model_copy(update={"proximal_mu": 50.0})
    plan, sums, outcome = neural_run(consortium, held, run="run-2")
    assert sums.out == {}
    assert plan.neural is not None and plan.neural.proximal_mu == 50.0
    trainer = NeuralTrainer(CATALOGUE, held, BUDGET.mu, len(NAMES))
    start = trainer.start()[0]

    def moved(model: object) -> float:
        return float(np.linalg.norm(model.weights[0] - start))

    assert moved(outcome.model) < 0.2 * moved(free)
