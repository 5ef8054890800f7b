"""The satellite estimated through courier, agents and masks."""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from small_consortium import CATALOGUE, NAMES, Lose, SpyGrid, make_cohorts, make_plan

from clients.node import fixed_noise
from clients.policy import NodePolicy
from consortium.inprocess import InProcessConsortium
from consortium.satellite import SatelliteRun, estimate_satellite, satellite_plan
from haihe_fl.data.synth.panel import satellite as true_satellite
from haihe_fl.errors import NetworkError, PolicyError
from haihe_fl.models.plan import ExactStep, ReleaseStep
from haihe_fl.privacy.gaussian import epsilon_for, mu_for
from haihe_fl.privacy.noise import Quorum
from haihe_fl.stress.estimation import SatelliteTrainer, estimate_in_memory
from haihe_fl.stress.panels import KIND, PanelCounts
from haihe_fl.stress.run import shipped

PRIOR, TRUTH = shipped()[1], true_satellite()
QUARTERS, SEED = 12, "7"
Z = np.random.default_rng(1).standard_normal((QUARTERS, len(TRUTH.drivers)))
ALLOWED = NodePolicy(families=("satellite",))
QUORUM = Quorum(5, 4, 1)


def panels() -> dict[str, PanelCounts]:
    """Draw a panel for each institution, each with its own grades."""
    shift = Z @ (TRUTH.loading * TRUTH.beta).T
    made = {}
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng(number)
        grades = np.array([-5.0, -3.5, -2.0 - 0.1 * number])
        n = rng.integers(50, 400, (QUARTERS, 12, 3))
        odds = np.exp(grades + shift[:, :, None])
        made[name] = PanelCounts(n, rng.binomial(n, 1 - (1 + odds) ** -0.25), grades)
    return made


class InTurn:
    """The noise of each institution in turn, as its own agent draws it."""

    def __init__(self) -> None:
        self.sources = cycle([fixed_noise(SEED, name) for name in NAMES])

    def rounded_gaussian(self, sd: float, size: int) -> np.ndarray:
        return next(self.sources).rounded_gaussian(sd, size)


Open = Callable[..., InProcessConsortium]


@pytest.fixture
def open_(tmp_path: Path) -> Iterator[Open]:
    opened: list[InProcessConsortium] = []

    def one(
        policy: NodePolicy = ALLOWED, given: dict[str, PanelCounts] | None = None
    ) -> InProcessConsortium:
        held = panels() if given is None else given
        made = InProcessConsortium.open(tmp_path, make_cohorts(), policy, SEED, held)
        opened.append(made)
        return made

    yield one
    for consortium in opened:
        consortium.close()


def run(
    consortium: InProcessConsortium, lose: Lose = lambda *_: False, epsilon: float = 3.0
) -> tuple[SatelliteRun, SpyGrid]:
    grid = SpyGrid(consortium, lose)
    result = estimate_satellite(
        grid, TRUTH.drivers, Z, TRUTH.loading, PRIOR,
        epsilon=epsilon, delta=1e-6, institutions=5, catalogue=CATALOGUE.fingerprint,
        quorum=QUORUM, deadline_s=0.2, poll_s=0.002,
    )  # fmt: skip
    return result, grid


def in_memory(held: dict[str, PanelCounts], epsilon: float = 3.0) -> object:
    trainer = SatelliteTrainer(TRUTH.drivers, Z, TRUTH.loading, PRIOR, mu_for(epsilon, 1e-6))
    return estimate_in_memory(trainer, [held[n] for n in NAMES], QUORUM, InTurn())


def test_masked_equals_in_memory_bit_for_bit(open_: Open) -> None:
    result, grid = run(open_())
    expected = in_memory(panels())
    assert result.estimate.coefficients == expected.coefficients
    assert (result.estimate.level == expected.level).all()
    assert result.estimate.dispersion == expected.dispersion
    assert result.survivors == tuple(sorted(NAMES)) and not result.left_out
    assert not result.private  # the noise was seeded, and the run says so
    found = {c.driver: c.value for c in result.estimate.coefficients}
    assert len(set(found.values()) - set(PRIOR.beta.values())) == len(found)
    assert len(grid.asked("release")) == 5  # one message an institution


def test_no_count_crosses_in_the_clear(open_: Open) -> None:
    _, grid = run(open_())
    request = SatelliteTrainer(TRUTH.drivers, Z, TRUTH.loading, PRIOR, 1.0).next_request()
    for name, _, reply in grid.seen:
        if reply.WhichOneof("body") == "upload":
            sent = np.frombuffer(reply.upload.vector, "<u8")
            assert sent.size == request.length
            # Uniform over 64 bits: hardly an entry is as small as a count with its noise.
            assert np.mean(sent.view(np.int64) > 2**40) > 0.4, name


def test_the_ledger_is_charged_once_and_the_cap_holds(open_: Open) -> None:
    policy = ALLOWED.model_copy(update={"epsilon_cap": 3.5})
    consortium = open_(policy)
    run(consortium)
    mu = mu_for(3.0, 1e-6)
    for agent in consortium.agents.values():
        assert agent.ledger.spent() == pytest.approx(epsilon_for(mu, policy.delta))
        assert agent.ledger.reserved() == pytest.approx(0.0, abs=1e-9)
    before = consortium.agents[NAMES[0]].ledger.spent()
    with pytest.raises(PolicyError, match="H3306") as caught:
        run(consortium)  # 3.96 at the cap's delta
    assert "H32" in str(caught.value)  # the ledger's own number
    assert consortium.agents[NAMES[0]].ledger.spent() == before


def test_it_must_be_among_the_families(open_: Open) -> None:
    with pytest.raises(PolicyError, match="H3301"):
        run(open_(NodePolicy()))


def test_an_institution_without_a_panel_is_left_out(open_: Open) -> None:
    held = panels()
    del held[NAMES[1]]
    result, _ = run(open_(given=held))
    assert result.left_out == {NAMES[1]: "H2582"}
    assert result.survivors == tuple(n for n in sorted(NAMES) if n != NAMES[1])
    del held[NAMES[2]]
    with pytest.raises(NetworkError, match="H4204") as caught:
        run(open_(given=held))
    assert "H2582" in str(caught.value)


def test_who_drops_out_is_not_in_the_sum(open_: Open) -> None:
    gone = NAMES[0]
    result, _ = run(open_(), lambda n, _, r: n == gone and r.HasField("release"))
    assert result.left_out == {gone: "no answer"}
    assert result.estimate.coefficients != in_memory(panels()).coefficients


def test_a_borrower_of_all_quarters_pays_more_than_a_record(open_: Open) -> None:
    result, _ = run(open_())
    assert result.plan.epsilon == 3.0
    factor = np.sqrt((1 + QUARTERS / 16) / (1 + 1 / 16))
    assert result.borrower_epsilon == pytest.approx(epsilon_for(factor * mu_for(3.0, 1e-6), 1e-6))


def test_a_plan_asks_for_panel_counts_with_noise_and_nothing_else() -> None:
    trainer = SatelliteTrainer(TRUTH.drivers, Z, TRUTH.loading, PRIOR, 1.0)
    plan = satellite_plan(
        trainer, tuple(sorted(NAMES)), QUORUM, epsilon=5.0, delta=1e-6, catalogue="c"
    )
    step = plan.releases[0]
    other = ReleaseStep(name="x", kind="additive/quantiles", noise_multiplier=9, length=5)
    for change in (
        {"releases": ()},
        {"releases": (step, other)},
        {"holdout_share": 0.2},
        {"exact": (ExactStep(name="e", kind="stress/cells", length=5),)},
        {"releases": ({**step.model_dump(), "noise_multiplier": 0.0},)},
    ):
        with pytest.raises(ValidationError):
            plan.model_validate({**plan.model_dump(), **change})
    with pytest.raises(ValidationError, match="family satellite"):
        make_plan(releases=(step.model_copy(update={"kind": KIND}),))
