import json

import pytest
from pydantic import ValidationError
from small_consortium import BUDGET, make_plan

from haihe_fl.errors import IntegrityError
from haihe_fl.models.neural.accounting import local_steps
from haihe_fl.models.neural.settings import NeuralSettings
from haihe_fl.models.plan import LocalStep, ReleaseStep, TrainingPlan
from haihe_fl.privacy.accountant import epsilon_spent, fits
from haihe_fl.privacy.events import GaussianEvent, SampledGaussianEvent

SETTINGS = NeuralSettings(rounds=2, local_steps=3, sample_rate=0.5, hidden=())


def neural_plan(**changes: object) -> TrainingPlan:
    values = {
        "family": "neural",
        "mode": "inspected",
        "neural": SETTINGS,
        "local": local_steps(SETTINGS, 9.0),
        "releases": (),
    }
    return make_plan(**{**values, **changes})


def test_bytes_and_fingerprint() -> None:
    for plan in (make_plan(), neural_plan()):
        assert TrainingPlan.from_bytes(plan.to_bytes()) == plan
        assert TrainingPlan.from_bytes(plan.to_bytes()).fingerprint == plan.fingerprint
    assert make_plan().fingerprint != make_plan(minimum=5).fingerprint


def test_an_additive_plan_fills_its_budget() -> None:
    plan = make_plan()
    assert epsilon_spent([plan.events().values()], plan.delta) == pytest.approx(BUDGET.epsilon)
    assert fits([plan.events().values()], plan.budget)
    one_more = ReleaseStep(name="more", kind="additive/main", noise_multiplier=20.0, length=1)
    dearer = make_plan(releases=(*plan.releases, one_more))
    assert not fits([dearer.events().values()], plan.budget)


def test_events_and_steps() -> None:
    plan = neural_plan(releases=make_plan().releases[-1:])
    events = plan.events()
    assert events["local/02"] == SampledGaussianEvent(9.0, 0.5, 3)
    assert events[plan.releases[0].name] == GaussianEvent(1 / BUDGET.mu, "holdout")
    assert isinstance(plan.step("local/01"), LocalStep)
    assert isinstance(plan.step(plan.releases[0].name), ReleaseStep)
    assert plan.step("local/03") is None
    assert (plan.quorum.parties, plan.quorum.minimum, plan.quorum.noise_parties) == (5, 4, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"run": ""},
        {"run": "a/b"},
        {"run": "x" * 65},
        {"epsilon": 0.0},
        {"epsilon": float("inf")},
        {"delta": 1.0},
        {"mode": "open"},
        {"participants": ("b", "a", "c", "d", "e")},
        {"participants": ("a", "a", "b", "c", "d")},
        {"minimum": 6},
        {"minimum": 0},
        {"colluders": 4},
        {"colluders": -1},
        {"minimum": 3, "colluders": 1},  # the centre could split the honest
        {"holdout_share": 1.0},
        {"releases": make_plan().releases[:1] * 2},
        {"family": "neural"},
        {"neural": SETTINGS},
        {"local": local_steps(SETTINGS, 9.0)},
        {"more": 1},
    ],
)
def test_what_makes_no_plan(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_plan(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"neural": None},
        {"local": local_steps(SETTINGS, 9.0)[:1]},
        {"local": local_steps(SETTINGS, 9.0)[::-1]},
        {"neural": SETTINGS.model_copy(update={"local_steps": 4})},
        {"neural": SETTINGS.model_copy(update={"sample_rate": 1.0})},
        # Every round would be trained with the first one's noise.
        {"local": (*local_steps(SETTINGS, 9.0)[:1], *local_steps(SETTINGS, 90.0)[1:])},
    ],
)
def test_local_steps_say_what_is_trained(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        neural_plan(**changes)


@pytest.mark.parametrize(
    "step",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": 1e-200},
        {"noise_multiplier": float("nan")},
        {"noise_multiplier": -4.0},
        {"length": 0},
        {"length": 10**9},
        {"part": "all"},
        {"name": ""},
        {"kind": "x" * 1000},
    ],
)
def test_what_makes_no_step(step: dict[str, object]) -> None:
    good = {"name": "a", "kind": "additive/main", "noise_multiplier": 4.0, "length": 3}
    ReleaseStep.model_validate(good)
    with pytest.raises(ValidationError):
        ReleaseStep.model_validate(good | step)


@pytest.mark.parametrize("field", sorted(TrainingPlan.model_fields))
def test_bytes_that_hold_no_plan(field: str) -> None:
    content = json.loads(make_plan().to_bytes())
    content[field] = {"no": "such thing"}
    with pytest.raises(IntegrityError, match="H5101"):
        TrainingPlan.from_bytes(json.dumps(content).encode())
