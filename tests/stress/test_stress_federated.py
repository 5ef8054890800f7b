"""A federated stress test through courier, agents and masks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from federated_consortium import EMPTY, NOISY, SECTORS, Opened, loans, opener, small_model
from small_consortium import NAMES, Lose, SpyGrid, make_plan

from clients.policy import NodePolicy
from consortium.inprocess import InProcessConsortium
from consortium.stress import run_federated_stress, stress_plan
from haihe_fl.errors import NetworkError, PolicyError, UserError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.models.base import RiskModel
from haihe_fl.models.plan import ExactStep
from haihe_fl.models.releases import PlannedRelease, ReleaseRequest
from haihe_fl.privacy.accountant import epsilon_spent
from haihe_fl.privacy.events import GaussianEvent
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum.masks import add_masks
from haihe_fl.stress.cellsums import UNIT
from haihe_fl.stress.centre import NetworkStress, StressQuestion, make_spec, pooled_sums
from haihe_fl.stress.federated import CELLS, COUNTS, DRAWS, cell_sums, clipped, local_cells
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import run, shipped
from haihe_fl.stress.settings import StressSettings

SCENARIOS = ("gfc-replay", "haihe-flood")


@pytest.fixture(scope="module")
def model() -> RiskModel:
    return small_model()


@pytest.fixture
def open_(tmp_path: Path) -> Iterator[Opened]:
    opened: list[InProcessConsortium] = []
    yield opener(tmp_path, opened)
    for one in opened:
        one.close()


def stress(
    consortium: InProcessConsortium,
    model: RiskModel,
    lose: Lose = lambda *_: False,
    **changes: object,
) -> tuple[NetworkStress, SpyGrid]:
    grid = SpyGrid(consortium, lose)
    values = {"institutions": 5, "quorum": Quorum(5, 4, 1), "deadline_s": 0.05, "poll_s": 0.002}
    values |= {"draws": 50, **changes}
    return run_federated_stress(grid, model, SCENARIOS, **values), grid


def reference(result: NetworkStress, model: RiskModel, names: tuple[str, ...]) -> dict:
    question = StressQuestion(result.spec, model, shipped()[1])
    rows = loans()
    return pooled_sums(question, [rows[n] for n in names], (result.counts, result.counts_sd))


def test_vector_t14() -> None:
    seeds = {(0, 1): b"a" * 32, (0, 2): b"b" * 32, (1, 2): b"c" * 32}
    shares = [np.array([v], dtype=np.int64).view(np.uint64) for v in (123456, -789, 55)]
    for (i, j), seed in seeds.items():
        add_masks(shares[i], [(seed, 1)])
        add_masks(shares[j], [(seed, -1)])
    assert all(abs(int(s.view(np.int64)[0])) > 10**6 for s in shares)
    assert int(np.sum(shares, axis=0, dtype=np.uint64).view(np.int64)[0]) == 122722


def test_federated_is_pooled_bit_for_bit(open_: Opened, model: RiskModel) -> None:
    result, _ = stress(open_(), model)
    assert result.survivors == tuple(sorted(NAMES))
    expected = reference(result, model, NAMES)
    assert (result.integers == expected[CELLS].reshape(result.spec.shape)).all()
    assert (result.draws.ravel() == expected[DRAWS]).all()
    assert result.integers.any() and result.draws.all()
    assert result.noise_sd == 0.0 and result.sd("el") == 0.0


def test_and_the_pooled_run_within_its_rounding(open_: Opened, model: RiskModel) -> None:
    result, _ = stress(open_(), model, draws=0)
    rows = [cohort for cohort in loans().values() if len(cohort)]
    for scenario in SCENARIOS:
        for measure in ("el", "defaults", "ecl2", "capital"):
            whole = sum(
                run(Portfolio.from_cohort(cohort, model), scenario).total(measure)
                for cohort in rows
            )
            assert np.abs(result.total(scenario, measure) - whole).max() < 0.5
    borrowers = sum(len(cohort) for cohort in rows)
    assert result.total("baseline", "borrowers")[0] == borrowers
    assert result.total("gfc-replay", "el").sum() > result.total("baseline", "el").sum()


def test_the_network_tail_is_that_of_summed_losses(open_: Opened, model: RiskModel) -> None:
    result, _ = stress(open_(), model, draws=200)
    losses = np.sort(result.losses("gfc-replay"))
    assert len(losses) == 200
    assert losses.mean() == pytest.approx(result.total("gfc-replay", "el").sum(), rel=0.15)
    assert result.value_at_risk("gfc-replay", 0.99) == losses[197]
    assert result.expected_shortfall("gfc-replay", 0.99) == pytest.approx(losses[-2:].mean())
    shorter, _ = stress(open_(), model, draws=50)
    assert (shorter.draws == result.draws[:, :50]).all()


def test_a_dropout_before_the_counts(open_: Opened, model: RiskModel) -> None:
    gone = NAMES[0]
    result, grid = stress(open_(), model, lambda n, _, r: n == gone and r.HasField("release"))
    left = tuple(n for n in sorted(NAMES) if n != gone)
    assert result.survivors == left
    expected = reference(result, model, left)
    assert (result.integers.ravel() == expected[CELLS]).all()
    assert (result.draws.ravel() == expected[DRAWS]).all()
    assert grid.asked("release").count(gone) == 0


def test_a_dropout_after_the_counts_opens_nothing(open_: Opened, model: RiskModel) -> None:
    def lose(name: str, _: str, request: m.NodeRequest) -> bool:
        return name == NAMES[0] and request.release.name == CELLS

    consortium = open_()
    with pytest.raises(NetworkError, match="H4201"):
        stress(consortium, model, lose)
    # The next run starts without it.
    result, _ = stress(
        consortium, model, lambda n, _, r: n == NAMES[0] and r.HasField("release"), draws=0
    )
    assert len(result.survivors) == 4


def test_a_node_opens_all_sums_of_a_run_for_the_same_survivors(
    open_: Opened, model: RiskModel
) -> None:
    refused: list[str] = []

    def lose(name: str, way: str, request: m.NodeRequest) -> bool:
        return name == NAMES[0] and request.release.name == CELLS

    consortium = open_()
    grid = SpyGrid(consortium, lose)
    with pytest.raises(NetworkError, match="H4201"):
        run_federated_stress(
            grid, model, SCENARIOS, institutions=5, deadline_s=0.05, poll_s=0.002,
            quorum=Quorum(5, 4, 1),
        )  # fmt: skip
    for _, request, reply in grid.seen:
        if request.HasField("reveal_shares") and request.reveal_shares.release == CELLS:
            refused.append(reply.refusal.code)
    assert refused and set(refused) == {"H5304"}


def test_no_small_cell_is_revealed(open_: Opened, model: RiskModel) -> None:
    result, _ = stress(open_(), model, draws=0)
    firms = dict.fromkeys(SECTORS, 0)
    for cohort in loans().values():
        for sector in SECTORS:
            firms[sector] += len(np.unique(cohort.key[cohort.extra["sector"] == sector]))
    assert firms["petrochem"] == 8
    for members in result.groups.values():
        assert sum(firms[s] for s in members) >= 10
    own = result.places == np.arange(len(SECTORS))
    assert not result.integers[:, ~own].any()
    small = SECTORS.index("petrochem")
    assert (result.places == result.places[small]).sum() > 1
    # The counts themselves had noise.
    assert result.counts_sd > 0
    assert (result.counts != np.array(list(firms.values()))).all()


def test_no_cell_at_all_if_the_network_is_small(open_: Opened, model: RiskModel) -> None:
    few = {name: cohort.take(np.arange(min(len(cohort), 2))) for name, cohort in loans().items()}
    consortium = open_(cohorts=few)
    with pytest.raises(PolicyError, match="H3562"):
        stress(consortium, model)
    assert all(a.ledger.reserved() == 0.0 for a in consortium.agents.values())


def test_exact_sums_need_the_institutions_leave(open_: Opened, model: RiskModel) -> None:
    for policy in (NodePolicy(), NOISY, NodePolicy(exact_stress_sums=True)):
        consortium = open_(policy)
        with pytest.raises(PolicyError, match=r"H3306.*H3301"):
            stress(consortium, model)
        assert all(a.ledger.spent() == 0.0 for a in consortium.agents.values())
    with pytest.raises(PolicyError, match=r"H3306.*H3301"):  # two honest ones hide nobody
        stress(open_(), model, quorum=Quorum(5, 4, 2))


def test_what_exact_sums_leave_in_the_ledger(open_: Opened, model: RiskModel) -> None:
    consortium = open_()
    result, _ = stress(consortium, model)
    for agent in consortium.agents.values():
        kinds = [(e.kind, e.release) for e in agent.ledger.entries()][2:]
        assert kinds == [("charge", COUNTS), ("exact", CELLS), ("exact", DRAWS), ("close", "")]
        assert agent.ledger.spent() == pytest.approx(result.epsilon)
        agent.ledger.verify()
    assert result.epsilon == pytest.approx(epsilon_spent([[GaussianEvent(8.0)]], 1e-5))


NOISED = {"measures": ("exposure", "el", "defaults"), "clip": 1e6, "draws": 0, "cells_noise": 4.0}


def test_noise_is_as_stated_and_charged(open_: Opened, model: RiskModel) -> None:
    consortium = open_(NOISY)
    result, _ = stress(consortium, model, **NOISED)
    question = StressQuestion(result.spec, model, shipped()[1])
    # The same integers without noise, in the units of the noisy ones.
    exact = np.zeros(result.spec.shape, dtype=np.int64)
    for cohort in loans().values():
        if len(cohort):
            portfolio = clipped(Portfolio.from_cohort(cohort, model), 1e6)
            exact += local_cells(
                portfolio, result.spec, question.satellite, result.places, result.unit
            )
    noise = (result.integers - exact).astype(float)
    n = noise.size
    assert abs(noise.std() / result.noise_sd - 1) < 4 / np.sqrt(2 * n)
    assert abs(noise.mean()) < 4 * result.noise_sd / np.sqrt(n)
    assert result.noise_sd >= 4.0 * UNIT * np.sqrt(3 * 3)  # z, measures, scenarios
    expected = epsilon_spent([[GaussianEvent(8.0), GaussianEvent(4.0)]], 1e-5)
    assert result.epsilon == pytest.approx(expected)
    for agent in consortium.agents.values():
        assert agent.ledger.spent() == pytest.approx(expected)
        assert {e.kind for e in agent.ledger.entries()} == {"open", "reserve", "charge", "close"}


def test_one_record_moves_a_noisy_sum_no_further_than_stated(model: RiskModel) -> None:
    spec = make_spec(model, scenarios=SCENARIOS, measures=NOISED["measures"], clip=1e6)
    question = StressQuestion(spec, model, shipped()[1])
    plan = PlannedRelease(CELLS, CELLS, 4.0, int(np.prod(spec.shape)))
    request: ReleaseRequest = question.sums(plan, np.full(12, 500.0), 0.0)
    cohort = loans()[NAMES[0]]
    cohort.extra["ead"][:5] = 1e9
    whole = cell_sums(request, cohort, {})
    furthest = 0.0
    for row in range(5):
        less = cell_sums(request, cohort.take(np.arange(len(cohort)) != row), {})
        furthest = max(furthest, float(np.linalg.norm((whole.vector - less.vector).astype(float))))
    assert 0.3 * whole.sensitivity < furthest <= whole.sensitivity


def test_noise_needs_a_bound(open_: Opened, model: RiskModel) -> None:
    for changes in ({"clip": None}, {"measures": ("capital",)}):
        with pytest.raises(PolicyError, match="H3561"):
            stress(open_(NOISY), model, **{**NOISED, **changes})


def test_training_without_noise_stays_impossible() -> None:
    good = {"name": "x", "kind": "stress/cells", "length": 3}
    ExactStep.model_validate(good)
    for change in (
        {"kind": "additive/main"},
        {"kind": "validation/score-histogram"},
        {"kind": "stress/counts"},
        {"noise_multiplier": 1.0},
        {"part": "holdout"},
    ):
        with pytest.raises(ValueError):
            ExactStep.model_validate(good | change)
    exact = (ExactStep(**good),)
    with pytest.raises(ValueError, match="no other"):
        make_plan(exact=exact)
    with pytest.raises(ValueError, match="trains nothing"):
        make_plan(family="stress", exact=exact)
    with pytest.raises(ValueError, match="trains nothing"):
        make_plan(family="stress", exact=exact, releases=())
    counts = PlannedRelease(COUNTS, COUNTS, 8.0, 12)
    with pytest.raises(ValueError, match="no other"):
        make_plan(releases=(dict(counts.__dict__),))
    plan = stress_plan(
        [counts], [], tuple(sorted(NAMES)), Quorum(5, 4, 1), delta=1e-5, model="m", catalogue="c"
    )
    assert not plan.exact and set(plan.events()) == {COUNTS}
    NodePolicy(families=("stress",)).check(plan)
    with pytest.raises(PolicyError, match="family stress"):
        NodePolicy().check(plan)


def test_settings_that_are_none(open_: Opened, model: RiskModel) -> None:
    for changes, number in [
        ({"measures": ("el", "el")}, "H2562"),
        ({"minimum_cell": 3}, "H2562"),
        ({"draws": -1}, "H2562"),
        ({"settings": StressSettings(seed=-1)}, "H2562"),
        ({"overlay": "nothing"}, "H2511"),
    ]:
        with pytest.raises(UserError, match=number):
            stress(open_(), model, **changes)
    with pytest.raises(UserError, match="H2510"):
        make_spec(model, scenarios=("gfc",))


def test_other_code_or_coefficients_are_refused(
    open_: Opened, model: RiskModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("haihe_fl.stress.centre.code_version", lambda: "another")
    grid = SpyGrid(open_())
    with pytest.raises(NetworkError, match="H4201"):
        run_federated_stress(
            grid, model, SCENARIOS, institutions=5, deadline_s=0.05, poll_s=0.002,
            quorum=Quorum(5, 4, 1),
        )  # fmt: skip
    codes = {reply.refusal.code for _, r, reply in grid.seen if r.release.name == CELLS}
    assert "H5562" in codes


def test_nothing_of_one_institution_travels_in_clear(open_: Opened, model: RiskModel) -> None:
    result, grid = stress(open_(), model, draws=0)
    whole = result.integers.ravel()
    for _, request, reply in grid.seen:
        if request.release.name == CELLS and reply.HasField("upload"):
            upload = np.frombuffer(reply.upload.vector, dtype="<i8")
            assert (upload == 0).mean() < 0.01  # an empty cell does not show
            assert np.abs(upload.astype(float)).mean() > 2**60
    assert (whole == 0).mean() > 0.05
    assert EMPTY in grid.asked("release")
