"""Masked sums through courier and agents: exact, noisy as planned, and closed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare
from small_consortium import (
    NAMES,
    Lose,
    SpyGrid,
    make_cohorts,
    make_plan,
    make_trainer,
    plain_noise,
    repeated,
    session,
)

from clients.policy import NodePolicy
from consortium.inprocess import InProcessConsortium
from haihe_fl.errors import NetworkError, PolicyError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.models.plan import TrainingPlan, release_steps
from haihe_fl.models.releases import ReleaseComputer, ReleaseRequest
from haihe_fl.securesum import shamir
from haihe_fl.securesum.coordinator import QuorumError, SecureSum
from haihe_fl.securesum.masks import add_mask, self_seed
from strategies.secure_sum import SecureSumSession

SEED = "7"
LAST = NAMES[-1]


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[InProcessConsortium]:
    consortium = InProcessConsortium.open(tmp_path, make_cohorts(), noise_seed=SEED)
    yield consortium
    consortium.close()


@pytest.fixture
def private(tmp_path: Path) -> Iterator[InProcessConsortium]:
    """Noise from the operating system."""
    consortium = InProcessConsortium.open(tmp_path, make_cohorts())
    yield consortium
    consortium.close()


def requests_of(plan: TrainingPlan) -> list[ReleaseRequest]:
    return [ReleaseRequest(**step.model_dump()) for step in plan.releases]


def again(count: int, **changes: object) -> TrainingPlan:
    steps = release_steps(list(repeated(count)))
    return make_plan(**{"releases": steps, "holdout_share": 0.0, **changes})


def plain_sums(
    plan: TrainingPlan, asked: list[tuple[ReleaseRequest, list[str], tuple[str, ...]]]
) -> list[NDArray[np.int64]]:
    """Return the sums without masks: rows and seeded noise of the survivors, added up.

    ``asked`` holds each release with the nodes that drew noise for it and those in the sum.
    """
    computers = {n: ReleaseComputer(c, plan.holdout_share) for n, c in make_cohorts().items()}
    noise = {name: plain_noise(SEED, name) for name in NAMES}
    sums = []
    for request, drew, survivors in asked:
        total = np.zeros(request.length, dtype=np.int64)
        for name in drew:
            answer = computers[name].answer(request)
            sd = plan.quorum.share_sd(request.noise_multiplier, answer.sensitivity)
            noisy = answer.vector + noise[name](sd, request.length)
            total += noisy if name in survivors else 0
        sums.append(total)
    return sums


@pytest.mark.parametrize(
    ("lose", "missing"),
    [
        (lambda *_: False, ()),
        # The request is lost: no upload.
        (lambda n, way, r: n == LAST and way == "request" and r.HasField("release"), (LAST,)),
        # The upload is lost after it was charged.
        (lambda n, way, r: n == LAST and way == "reply" and r.HasField("release"), (LAST,)),
        # Gone between upload and unmask: the upload is in, and four open the self-masks.
        (lambda n, _, r: n == LAST and r.HasField("reveal_shares"), ()),
        # One gone before; then every survivor must answer for its pair seeds.
        (lambda n, _, r: n == NAMES[0] and r.HasField("release"), (NAMES[0],)),
    ],
)
def test_a_whole_run_is_exact_whoever_is_lost(
    consortium: InProcessConsortium, lose: Lose, missing: tuple[str, ...]
) -> None:
    grid = SpyGrid(consortium, lose)
    plan, trainer = make_plan(), make_trainer()
    sums = session(grid, plan)
    asked, found = [], []
    while (request := trainer.next_request()) is not None:
        before = len(grid.seen)
        result = sums.sum(request)
        drew = [n for n, r, reply in grid.seen[before:] if reply.HasField("upload")]
        asked.append((request, drew, result.survivors))
        found.append(result.total)
        assert result.missing == missing
        assert set(result.survivors) == set(NAMES) - set(missing)
        trainer.absorb(result.total)
    assert len(found) == len(plan.releases) - 1  # all but the validation
    for total, expected in zip(found, plain_sums(plan, asked), strict=True):
        assert np.array_equal(total, expected)
    status = sums.close()
    assert set(status) == set(NAMES) - set(sums.out)
    for name, agent in consortium.agents.items():  # all are told, the lost too
        assert agent.ledger.reserved() == 0.0, name


def test_dropouts_one_after_the_other(consortium: InProcessConsortium) -> None:
    lost = {"again/1": NAMES[0], "again/2": NAMES[3]}

    def lose(name: str, way: str, request: m.NodeRequest) -> bool:
        return request.HasField("release") and lost.get(request.release.name) == name

    plan = again(4)
    sums = session(SpyGrid(consortium, lose), plan)
    results = [sums.sum(request) for request in requests_of(plan)]
    assert [r.missing for r in results] == [(), (NAMES[0],), (NAMES[3],), ()]
    asked = [
        (request, [n for n in NAMES if n not in r.missing], r.survivors)
        for request, r in zip(requests_of(plan), results, strict=True)
    ]
    for result, expected in zip(results, plain_sums(plan, asked), strict=True):
        assert np.array_equal(result.total, expected)
    assert sums.out == {}  # one silence is forgiven


def test_two_silences_in_a_row_end_it(consortium: InProcessConsortium) -> None:
    grid = SpyGrid(consortium, lambda n, _, r: n == LAST and r.HasField("release"))
    plan = again(4)
    sums = session(grid, plan)
    for request in requests_of(plan):
        assert sums.sum(request).missing == (LAST,)
    assert sums.out == {LAST: "no answer"}
    assert LAST not in sums.members


@pytest.mark.parametrize("way", ["request", "reply"])
def test_below_the_minimum_nothing_is_unmasked(consortium: InProcessConsortium, way: str) -> None:
    gone = (NAMES[1], LAST)
    grid = SpyGrid(consortium, lambda n, w, r: n in gone and w == way and r.HasField("release"))
    plan = again(1)
    sums = session(grid, plan)
    with pytest.raises(NetworkError, match="H4201") as caught:
        sums.sum(requests_of(plan)[0])
    assert isinstance(caught.value, QuorumError)
    assert caught.value.missing == tuple(sorted(gone))
    assert all(name in str(caught.value) for name in gone)
    assert grid.asked("reveal_pairs") == grid.asked("reveal_shares") == []


def test_two_lost_during_unmasking_stop_it(consortium: InProcessConsortium) -> None:
    gone = (NAMES[1], LAST)
    grid = SpyGrid(consortium, lambda n, _, r: n in gone and r.HasField("reveal_shares"))
    plan = again(1)
    sums = session(grid, plan)
    with pytest.raises(QuorumError) as caught:
        sums.sum(requests_of(plan)[0])
    assert caught.value.missing == tuple(sorted(gone))


def test_too_few_at_the_start(tmp_path: Path) -> None:
    strict = NodePolicy(epsilon_per_run=1.0)
    cohorts = make_cohorts()
    consortium = InProcessConsortium.open(tmp_path, cohorts)
    for name in NAMES[:2]:
        consortium.agents[name].policy = strict
    with pytest.raises(PolicyError, match="H3306") as caught:
        session(SpyGrid(consortium), again(1))
    assert f"H3301: {', '.join(NAMES[:2])}" in str(caught.value)
    consortium.close()


def test_one_that_refuses_is_left_out(private: InProcessConsortium) -> None:
    private.agents[LAST].policy = NodePolicy(modes=("inspected",))
    grid = SpyGrid(private)
    plan = again(1)
    sums = session(grid, plan)
    assert sums.out == {LAST: "H3301"}
    assert sums.roster == tuple(sorted(NAMES[:-1]))
    result = sums.sum(requests_of(plan)[0])
    assert result.missing == ()
    assert LAST not in grid.asked("release")


def tampered(vector: bytes) -> dict[str, bytes]:
    return {
        "too short": vector[:-8],
        "too long": vector + bytes(8),
        "no whole numbers": vector[:-3],
        "nothing": b"",
    }


@pytest.mark.parametrize("how", list(tampered(b"")))
def test_a_malformed_upload_is_quarantined(private: InProcessConsortium, how: str) -> None:
    agent = private.agents[LAST]
    handle = agent.handle

    def forge(request: m.NodeRequest) -> m.NodeReply:
        reply = handle(request)
        if reply.HasField("upload"):
            reply.upload.vector = tampered(reply.upload.vector)[how]
        return reply

    agent.handle = forge
    plan = again(2)
    sums = session(SpyGrid(private), plan)
    for request in requests_of(plan):
        assert sums.sum(request).missing == (LAST,)
    assert sums.out == {LAST: "H5302"}


# What would show if noise or masks were switched off.


def run_twice(consortium: InProcessConsortium) -> tuple[TrainingPlan, list[SecureSum], SpyGrid]:
    grid = SpyGrid(consortium)
    plan = again(2)
    sums = session(grid, plan)
    return plan, [sums.sum(request) for request in requests_of(plan)], grid


def test_the_sums_are_as_noisy_as_planned(private: InProcessConsortium) -> None:
    plan, results, _ = run_twice(private)
    computers = [ReleaseComputer(c, plan.holdout_share) for c in make_cohorts().values()]
    noise = []
    for request, result in zip(requests_of(plan), results, strict=True):
        answers = [computer.answer(request) for computer in computers]
        exact = np.sum([answer.vector for answer in answers], axis=0)
        sd = plan.releases[0].noise_multiplier * answers[0].sensitivity
        noise.append((result.total - exact) / sd)
    # Five parties, each with a quarter of the variance: a fourth may be missing or collude.
    length = len(noise[0])
    wide = 6 * np.sqrt(2 / length) * 5 / 4
    for one in noise:
        assert abs(np.var(one) - 5 / 4) < wide
        assert abs(np.mean(one)) < 6 * np.sqrt(5 / 4 / length)
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 6 / np.sqrt(length)  # and fresh


def test_an_upload_alone_is_uniform(consortium: InProcessConsortium) -> None:
    plan, _, grid = run_twice(consortium)
    request = requests_of(plan)[0]
    uploads = {n: r.upload.vector for n, q, r in grid.seen if q.release.name == request.name}
    assert set(uploads) == set(NAMES)
    for name, raw in uploads.items():
        asked = [(request, [name], (name,))]
        (plain,) = plain_sums(plan, asked)
        vector = np.frombuffer(raw, dtype="<i8")
        # Masked, it is nowhere near the noisy counts, which stay below 2^40.
        near = np.abs((vector - plain).astype(np.float64)) < 2.0**50
        assert np.mean(near) < 0.01
        assert chisquare(np.bincount(np.frombuffer(raw, np.uint8), minlength=256)).pvalue > 1e-9
    # Nor does the same release look the same for two parties, or their sum like a sum.
    total = np.sum([np.frombuffer(raw, dtype="<i8") for raw in uploads.values()], axis=0)
    assert np.mean(np.abs(total.astype(np.float64)) < 2.0**50) < 0.01


def test_pair_masks_hide_an_upload_whose_self_mask_is_open(
    consortium: InProcessConsortium,
) -> None:
    plan, _, grid = run_twice(consortium)
    name, release = NAMES[0], plan.releases[0].name
    everyone = sorted(NAMES)
    held = {
        everyone.index(holder): reply.self_shares.shares[name]
        for holder, _, reply in grid.seen
        if reply.self_shares.release == release
    }
    minimum = dict(list(held.items())[: plan.minimum])
    vector = next(
        np.frombuffer(reply.upload.vector, "<u8").copy()
        for sender, _, reply in grid.seen
        if sender == name and reply.upload.release == release
    )
    add_mask(vector, self_seed(shamir.combine(minimum)), -1)
    assert np.mean(np.abs(vector.view(np.int64).astype(np.float64)) < 2.0**50) < 0.01


def test_replies_to_strangers_are_not_taken_for_offers(private: InProcessConsortium) -> None:
    agents = private.agents
    handle = agents[LAST].handle

    def steal(request: m.NodeRequest) -> m.NodeReply:
        if request.HasField("prepare"):  # poses as another
            return agents[NAMES[0]].handle(request)
        return handle(request)

    agents[LAST].handle = steal
    sums = session(SpyGrid(private), again(1))
    assert sums.out == {LAST: "H5302"}
    assert isinstance(sums, SecureSumSession)
