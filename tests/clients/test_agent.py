"""The trust boundary: what a node refuses, remembers, pays for and never says."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_consortium import (
    BUDGET,
    CATALOGUE,
    NAMES,
    Node,
    make_cohorts,
    make_plan,
    prepare,
    repeated,
)

from clients.agent import NodeAgent
from clients.policy import NodePolicy
from haihe_fl.errors import IntegrityError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import to_tensor
from haihe_fl.models.neural.settings import NeuralSettings
from haihe_fl.models.plan import LocalStep, TrainingPlan, release_steps
from haihe_fl.privacy.accountant import epsilon_spent
from haihe_fl.securesum.keys import ConsortiumCA, make_offer

THREE = NAMES[:3]
RUN = "run-1"


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture(scope="module")
def ca() -> ConsortiumCA:
    return ConsortiumCA.create("test")


@pytest.fixture
def node(tmp_path: Path, ca: ConsortiumCA) -> Node:
    return Node(tmp_path / "node", ca)


@pytest.fixture
def agent(node: Node) -> Iterator[NodeAgent]:
    agent = node.open()
    yield agent
    agent.close()


def small_plan(count: int = 2, **changes: object) -> TrainingPlan:
    """A plan of three institutions that asks for quantiles again and again."""
    values = {"releases": release_steps(list(repeated(count))), "holdout_share": 0.0, "minimum": 2}
    return make_plan(THREE, **{**values, **changes})


def code(reply: m.NodeReply) -> str:
    assert reply.WhichOneof("body") == "refusal", reply
    assert reply == m.NodeReply(refusal=m.Refusal(code=reply.refusal.code))  # and nothing else
    return reply.refusal.code


def release(plan: TrainingPlan, index: int = 0, **changes: object) -> m.NodeRequest:
    step = plan.releases[index].model_dump()
    return m.NodeRequest(run=plan.run, release=m.Release(**{**step, **changes}))


def others(
    ca: ConsortiumCA, run: str = RUN, names: tuple[str, ...] = THREE[1:]
) -> list[m.KeyOffer]:
    made = [make_offer(ca.issue(name), run)[0] for name in names]
    return [m.KeyOffer(**vars(offer)) for offer in made]


def enter(agent: NodeAgent, ca: ConsortiumCA, plan: TrainingPlan) -> None:
    """Bring an agent into a run together with two strangers to this process."""
    own = agent.handle(prepare(plan)).key_offer
    roster = m.Roster(offers=[own, *others(ca, plan.run)])
    assert agent.handle(m.NodeRequest(run=plan.run, roster=roster)).HasField("status")


def charges(agent: NodeAgent) -> list[str]:
    return [e.release for e in agent.ledger.entries() if e.kind == "charge"]


# What is refused before anything is reserved.


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"epsilon": 4.5}, "H3301"),
        ({"delta": 1e-4}, "H3301"),
        ({"epsilon": 1.0}, "H3302"),
        ({"catalogue_fingerprint": "0" * 64}, "H5308"),
        ({"participants": tuple(sorted(NAMES[1:4]))}, "H5307"),
        ({"run": "another"}, "H5307"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(
    agent: NodeAgent, changes: dict[str, object], number: str
) -> None:
    plan = small_plan(**changes)
    request = m.NodeRequest(run=RUN, prepare=m.Prepare(plan=plan.to_bytes()))
    assert code(agent.handle(request)) == number
    assert agent.ledger.left() == NodePolicy().epsilon_cap
    # The refused plan does not take the run's name.
    assert agent.handle(prepare(small_plan())).HasField("key_offer")


@pytest.mark.parametrize(
    "policy",
    [
        NodePolicy(families=("neural",)),
        NodePolicy(modes=("inspected",)),
        NodePolicy(minimum_survivors=3),
        NodePolicy(epsilon_per_run=2.9),
    ],
)
def test_the_institutions_own_policy_rules(node: Node, policy: NodePolicy) -> None:
    agent = node.open(policy=policy)
    assert code(agent.handle(prepare(small_plan()))) == "H3301"
    agent.close()


def test_local_training_needs_mode_inspected(agent: NodeAgent) -> None:
    settings = NeuralSettings(rounds=1, local_steps=1, hidden=())
    step = LocalStep(name="local/01", noise_multiplier=50.0, sample_rate=1.0, steps=1)
    values = {"releases": (), "family": "neural", "neural": settings, "local": (step,)}
    assert code(agent.handle(prepare(small_plan(**values)))) == "H3303"
    assert agent.handle(prepare(small_plan(**values, mode="inspected"))).HasField("key_offer")


@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ({"local_steps": 1000}, {"steps": 1}),  # trains more than is charged
        ({"sample_rate": 1.0}, {"sample_rate": 0.01}),
        ({"rounds": 5}, {}),
    ],
)
def test_local_training_costs_what_its_settings_train(
    agent: NodeAgent, settings: dict[str, object], step: dict[str, object]
) -> None:
    honest = small_plan(
        releases=(),
        family="neural",
        mode="inspected",
        neural=NeuralSettings(rounds=1, local_steps=1, hidden=()),
        local=(LocalStep(name="local/01", noise_multiplier=50.0, sample_rate=1.0, steps=1),),
    ).model_dump(mode="json")
    honest["neural"] |= settings
    honest["local"][0] |= step
    forged = TrainingPlan.model_construct(**honest).model_dump_json(warnings=False).encode()
    request = m.NodeRequest(run=RUN, prepare=m.Prepare(plan=forged))
    assert code(agent.handle(request)) == "H5101"


def test_a_plan_may_not_stop_the_node(agent: NodeAgent) -> None:
    # PRV would want tens of gigabytes for this one.
    settings = NeuralSettings(rounds=1000, local_steps=1000, sample_rate=0.5, hidden=())
    steps = tuple(
        LocalStep(name=f"local/{i:02d}", noise_multiplier=0.01, sample_rate=0.5, steps=1000)
        for i in range(1, 1001)
    )
    plan = small_plan(releases=(), family="neural", mode="inspected", neural=settings, local=steps)
    assert code(agent.handle(prepare(plan))) == "H3302"


@pytest.mark.parametrize(
    "request_",
    [
        m.NodeRequest(),
        m.NodeRequest(run="x" * 65, finish=m.Finish()),
        m.NodeRequest(run="two\nlines", finish=m.Finish()),
        m.NodeRequest(run="../../etc", hello=m.Hello()),
    ],
)
def test_malformed_requests(agent: NodeAgent, request_: m.NodeRequest) -> None:
    assert code(agent.handle(request_)) == "H5303"


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xfe", b"[" * 5000, b"null"])
def test_what_is_no_plan(agent: NodeAgent, body: bytes) -> None:
    request = m.NodeRequest(run=RUN, prepare=m.Prepare(plan=body))
    assert code(agent.handle(request)) == "H5101"


# Rosters.


def test_rosters_with_the_wrong_people(agent: NodeAgent, ca: ConsortiumCA) -> None:
    own = agent.handle(prepare(small_plan())).key_offer
    b, c = others(ca)
    stranger = others(ca, names=("Stranger",))[0]
    replayed = others(ca, run="run-0")[0]
    forged = m.KeyOffer()
    forged.CopyFrom(b)
    forged.mask_key = c.mask_key
    alien = others(ConsortiumCA.create("test"))[0]
    renamed = m.KeyOffer()
    renamed.CopyFrom(b)
    renamed.institution = THREE[2]
    for offers, number in [
        ([own, b, stranger], "H5309"),
        ([own, b, b], "H5309"),
        ([own], "H3304"),
        ([own, b, renamed], "H5208"),
        ([own, replayed, c], "H5208"),
        ([own, forged, c], "H5208"),
        ([own, alien, c], "H5207"),
        ([b, c], "H5209"),
    ]:
        reply = agent.handle(m.NodeRequest(run=RUN, roster=m.Roster(offers=offers)))
        assert code(reply) == number
    good = m.NodeRequest(run=RUN, roster=m.Roster(offers=[own, b, c]))
    assert agent.handle(good).HasField("status")
    assert agent.handle(good).HasField("status")  # a retry
    other = m.NodeRequest(run=RUN, roster=m.Roster(offers=[own, b]))
    assert code(agent.handle(other)) == "H5304"


# Releases.


def test_only_planned_releases_are_answered(agent: NodeAgent, ca: ConsortiumCA) -> None:
    plan = small_plan()
    assert code(agent.handle(release(plan))) == "H5311"  # not prepared
    agent.handle(prepare(plan))
    assert code(agent.handle(release(plan))) == "H5311"  # no roster yet
    enter(agent, ca, plan)
    for change in [
        {"name": "again/9"},
        {"kind": "additive/counts"},
        {"noise_multiplier": plan.releases[0].noise_multiplier * 0.999},
        {"noise_multiplier": float("nan")},
        {"length": 2 * 513 + 1},
        {"length": 2**32 - 1},
        {"part": "holdout"},
    ]:
        assert code(agent.handle(release(plan, **change))) == "H3305"
    assert charges(agent) == []
    assert agent.handle(release(plan)).HasField("upload")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"cuts": to_tensor(np.full((2, 23), np.nan))},
        {"cuts": m.Tensor(dtype="float64", shape=[2**31, 2**31, 4], data=b"")},
        {"cuts": m.Tensor(dtype="object", shape=[1], data=b"12345678")},
        {"cuts": to_tensor(np.zeros((2, 23))), "levels": to_tensor(np.full(4, 2**62))},
    ],
)
def test_nonsense_arrays_give_a_number(
    agent: NodeAgent, ca: ConsortiumCA, arrays: dict[str, m.Tensor]
) -> None:
    plan = make_plan(THREE)
    enter(agent, ca, plan)
    counts = next(i for i, s in enumerate(plan.releases) if s.kind == "additive/counts")
    assert code(agent.handle(release(plan, counts, arrays=arrays))) in ("H5301", "H5306")
    assert charges(agent) == []


def test_a_retry_is_resent_and_a_second_request_refused(agent: NodeAgent, ca: ConsortiumCA) -> None:
    plan = small_plan()
    enter(agent, ca, plan)
    first = agent.handle(release(plan))
    assert agent.handle(release(plan)).SerializeToString() == first.SerializeToString()
    extra = {"arrays": {"more": to_tensor(np.zeros(1))}}
    assert code(agent.handle(release(plan, **extra))) == "H5305"
    assert charges(agent) == ["again/0"]
    assert code(agent.handle(prepare(small_plan(model="other")))) == "H5304"


def test_reveals_never_contradict(agent: NodeAgent, ca: ConsortiumCA) -> None:
    plan = small_plan()
    enter(agent, ca, plan)
    agent.handle(release(plan))
    survivors = list(THREE[:2])

    def pairs(names: list[str], name: str = "again/0") -> m.NodeReply:
        body = m.RevealPairs(release=name, survivors=names)
        return agent.handle(m.NodeRequest(run=RUN, reveal_pairs=body))

    def shares(names: list[str], name: str = "again/0") -> m.NodeReply:
        body = m.RevealShares(release=name, survivors=names)
        return agent.handle(m.NodeRequest(run=RUN, reveal_shares=body))

    assert code(pairs(survivors, "again/1")) == "H5210"  # never uploaded
    assert code(pairs(survivors[:1])) == "H3206"
    assert code(pairs(list(THREE[1:]))) == "H5210"  # itself not among them
    assert list(pairs(survivors).pair_seeds.seeds) == [THREE[2]]
    assert code(pairs(list(THREE))) == "H5211"
    assert code(shares(list(THREE))) == "H5211"
    assert code(shares(survivors)) == "H5212"  # nobody's share came with it


def test_a_finished_run_is_over(agent: NodeAgent, ca: ConsortiumCA) -> None:
    plan = small_plan()
    enter(agent, ca, plan)
    agent.handle(release(plan))
    before = agent.ledger.left()
    finish = m.NodeRequest(run=RUN, finish=m.Finish())
    assert agent.handle(finish).HasField("status")
    assert agent.handle(finish).HasField("status")
    assert agent.ledger.left() > before  # what was reserved and not spent
    survivors = list(THREE)
    for request in [
        prepare(plan),
        release(plan),
        release(plan, 1),
        m.NodeRequest(run=RUN, roster=m.Roster()),
        m.NodeRequest(run=RUN, reveal_pairs=m.RevealPairs(release="again/0", survivors=survivors)),
        m.NodeRequest(run=RUN, local_training=m.LocalTraining(round=1)),
        m.NodeRequest(run="run-9", finish=m.Finish()),
    ]:
        assert code(agent.handle(request)) == "H5311"


# Restarts and crashes.


def test_a_restart_changes_nothing(node: Node, ca: ConsortiumCA) -> None:
    plan = small_plan()
    agent = node.open()
    enter(agent, ca, plan)
    offer = agent.handle(prepare(plan))
    upload = agent.handle(release(plan))
    agent.close()

    agent = node.open()
    assert agent.handle(prepare(plan)) == offer
    assert agent.handle(release(plan)).SerializeToString() == upload.SerializeToString()
    assert charges(agent) == ["again/0"]
    assert agent.handle(release(plan, 1)).HasField("upload")
    body = m.RevealPairs(release="again/0", survivors=THREE[:2])
    assert agent.handle(m.NodeRequest(run=RUN, reveal_pairs=body)).HasField("pair_seeds")
    agent.close()

    agent = node.open()
    shares = m.RevealShares(release="again/0", survivors=THREE)
    assert code(agent.handle(m.NodeRequest(run=RUN, reveal_shares=shares))) == "H5211"
    agent.close()


@pytest.mark.parametrize("where", ["ledger.charge", "_store.remember", "_store.put"])
def test_a_crash_never_makes_a_release_cheaper(node: Node, ca: ConsortiumCA, where: str) -> None:
    plan = small_plan()
    agent = node.open()
    if where != "_store.put":
        enter(agent, ca, plan)
    owner, method = where.split(".")

    def die(*_: object) -> None:
        raise Crash

    setattr(getattr(agent, owner), method, die)
    with pytest.raises(Crash):
        agent.handle(prepare(plan) if where == "_store.put" else release(plan))
    assert charges(agent) == []
    agent.close()

    agent = node.open()
    if where == "_store.put":
        enter(agent, ca, plan)
    reply = agent.handle(release(plan))
    if where == "_store.remember":  # masked once, lost: this release is over for this node
        assert code(reply) == "H5211"
        assert charges(agent) == []
    else:
        assert reply.HasField("upload")
        assert charges(agent) == ["again/0"]
        assert agent.handle(release(plan)) == reply
    agent.close()


def test_a_lost_store_does_not_answer_twice_for_one_price(node: Node, ca: ConsortiumCA) -> None:
    plan = small_plan()
    agent = node.open()
    enter(agent, ca, plan)
    agent.handle(release(plan))
    agent.close()
    for file in [*node.folder.glob("store.db*"), *node.folder.glob("decisions.db*")]:
        file.unlink()
    agent = node.open()
    enter(agent, ca, plan)
    assert code(agent.handle(release(plan))) == "H5305"
    assert agent.handle(release(plan, 1)).HasField("upload")
    agent.close()


# The ledger.


def test_nothing_leaves_before_it_is_charged(node: Node, ca: ConsortiumCA) -> None:
    plan = small_plan()
    agent = node.open()
    enter(agent, ca, plan)

    def full(*_: object) -> bool:
        raise IntegrityError("H5206", en="disk full", zh="disk full")

    charge, agent.ledger.charge = agent.ledger.charge, full
    assert code(agent.handle(release(plan))) == "H5206"
    agent.ledger.charge = charge
    reply = agent.handle(release(plan))
    # On disk, as another process sees it, when the reply is handed over.
    with sqlite3.connect(f"file:{node.folder / 'ledger.db'}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT run, release FROM entries WHERE kind = 'charge'").fetchall()
    db.close()
    assert reply.HasField("upload")
    assert rows == [(RUN, "again/0")]
    agent.close()


def test_the_cap_holds_over_runs_and_restarts(node: Node, ca: ConsortiumCA) -> None:
    policy = NodePolicy(epsilon_cap=4.0)
    agent = node.open(policy=policy)
    plan = small_plan()
    enter(agent, ca, plan)
    for index in range(len(plan.releases)):
        assert agent.handle(release(plan, index)).HasField("upload")
    status = agent.handle(m.NodeRequest(run=RUN, finish=m.Finish())).status
    assert status.epsilon_spent == pytest.approx(BUDGET.epsilon)
    assert code(agent.handle(prepare(small_plan(run="run-2")))) == "H3202"
    agent.close()

    agent = node.open(policy=policy)
    assert agent.handle(m.NodeRequest(hello=m.Hello())).status.epsilon_spent == pytest.approx(3.0)
    assert code(agent.handle(prepare(small_plan(run="run-2")))) == "H3202"
    agent.close()
    for file in node.folder.glob("ledger.db*"):
        if not file.name.endswith(".head"):
            file.unlink()
    with pytest.raises(IntegrityError, match="H5202"):
        node.open(policy=policy)


def test_the_ledger_holds_what_the_plan_says(agent: NodeAgent, ca: ConsortiumCA) -> None:
    plan = make_plan(THREE)
    enter(agent, ca, plan)
    quantiles = plan.releases[0]
    assert agent.handle(release(plan)).HasField("upload")
    expected = epsilon_spent([[plan.events()[quantiles.name]]], plan.delta)
    assert agent.ledger.spent() == pytest.approx(expected)
    assert agent.ledger.reserved() == pytest.approx(BUDGET.epsilon - expected)


# What goes wrong inside stays inside.


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError, RecursionError])
def test_an_unexpected_error_leaves_as_a_number(
    node: Node, ca: ConsortiumCA, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> None:
        raise error("row 7: 91120100MACANARY01X defaulted")

    plan = small_plan()
    agent = node.open(load=load)
    own = agent.handle(prepare(plan)).key_offer
    roster = m.Roster(offers=[own, *others(ca)])
    assert code(agent.handle(m.NodeRequest(run=RUN, roster=roster))) == "H5306"
    assert "MACANARY01X" in caplog.text  # for the institution's own log
    agent.close()


def test_status_says_little(node: Node, ca: ConsortiumCA) -> None:
    agent = node.open()
    status = agent.handle(m.NodeRequest(hello=m.Hello())).status
    assert (status.data_commitment, status.fixed_noise) == ("", False)
    enter(agent, ca, small_plan())
    status = agent.handle(m.NodeRequest(hello=m.Hello())).status
    assert len(status.data_commitment) == 64
    assert status.data_commitment != agent.cohort.fingerprint
    # Keyed by the institution: the same rows elsewhere commit to something else.
    twin = Node(node.folder.parent / "twin", node.ca).open()
    enter(twin, ca, small_plan())
    elsewhere = twin.handle(m.NodeRequest(hello=m.Hello())).status.data_commitment
    assert elsewhere != status.data_commitment
    twin.close()
    agent.close()


def test_files_are_private(node: Node, agent: NodeAgent, ca: ConsortiumCA) -> None:
    enter(agent, ca, small_plan())
    node.identity.save(node.folder)
    modes = {p.name: p.stat().st_mode & 0o777 for p in node.folder.iterdir()}
    secret = [n for n in modes if n.endswith((".key", ".db", ".db-wal", ".db-shm"))]
    assert len(secret) >= 7
    assert {modes[name] for name in secret} == {0o600}
    assert node.folder.stat().st_mode & 0o077 == 0


def test_rows_are_read_once(node: Node, ca: ConsortiumCA) -> None:
    reads: list[int] = []

    def load() -> object:
        reads.append(1)
        return make_cohorts()[THREE[0]]

    agent = node.open(load=load)
    for run in ("run-1", "run-2"):
        enter(agent, ca, small_plan(run=run))
        agent.handle(m.NodeRequest(run=run, finish=m.Finish()))
    assert reads == [1]
    assert CATALOGUE.fingerprint == agent.cohort.catalogue.fingerprint
    agent.close()
