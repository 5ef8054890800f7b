"""Composition, cross-checked with dp-accounting."""

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant

from haihe_fl.errors import IntegrityError
from haihe_fl.privacy.accountant import epsilon_spent, fits, supports
from haihe_fl.privacy.events import (
    Event,
    GaussianEvent,
    SampledGaussianEvent,
    event_from_json,
    event_to_json,
)
from haihe_fl.privacy.gaussian import Budget


def reference(events: list[Event]) -> float:
    accountant = PLDAccountant()
    for event in events:
        gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
        if isinstance(event, SampledGaussianEvent):
            sampled = dp_accounting.PoissonSampledDpEvent(event.sample_rate, gaussian)
            accountant.compose(sampled, event.steps)
        else:
            accountant.compose(gaussian)
    return float(accountant.get_epsilon(1e-5))


@pytest.mark.parametrize(
    "events",
    [
        [GaussianEvent(4.0), GaussianEvent(2.5), GaussianEvent(9.0)],
        [SampledGaussianEvent(1.1, 0.01, 2000)],
        [SampledGaussianEvent(1.1, 0.01, 1000), GaussianEvent(3.0), GaussianEvent(4.0)],
        [SampledGaussianEvent(2.0, 0.02, 300), SampledGaussianEvent(1.5, 0.01, 200)],
        [SampledGaussianEvent(3.0, 1.0, 4), SampledGaussianEvent(2.0, 0.01, 10)],
    ],
)
def test_within_one_per_cent_of_dp_accounting(events: list[Event]) -> None:
    ours, theirs = epsilon_spent([events], 1e-5), reference(events)
    assert ours == pytest.approx(theirs, rel=0.01)
    assert ours >= theirs * (1 - 1e-3)  # theirs is an upper bound as well


def test_parts_are_disjoint_within_a_run_only() -> None:
    train, holdout = [GaussianEvent(2.0)], [GaussianEvent(3.0, "holdout")]
    alone = epsilon_spent([train], 1e-5)
    assert epsilon_spent([train + holdout], 1e-5) == alone
    # The held-out records of one run may be training records of the next.
    assert epsilon_spent([train, holdout], 1e-5) > alone
    assert epsilon_spent([train + holdout] * 2, 1e-5) == epsilon_spent([train, train], 1e-5)


def test_worst_part_with_sampling() -> None:
    sampled: list[Event] = [SampledGaussianEvent(1.5, 0.01, 200)]
    heavy: list[Event] = [GaussianEvent(0.8, "holdout")]
    light: list[Event] = [GaussianEvent(50.0, "holdout")]
    alone = epsilon_spent([sampled], 1e-5)
    assert epsilon_spent([sampled + light], 1e-5) == alone
    assert epsilon_spent([sampled + heavy], 1e-5) == epsilon_spent([heavy], 1e-5)
    many = [sampled + heavy] * 5  # too many choices: never less than the worst of them
    assert epsilon_spent(many, 1e-5) >= epsilon_spent([heavy] * 5, 1e-5)


def test_a_schedule_that_fills_its_budget_fits() -> None:
    budget = Budget(3.0, 1e-5)
    events = [GaussianEvent(33**0.5 / budget.mu)] * 33
    assert fits([events], budget)
    assert not fits([[*events, GaussianEvent(1000.0)]], budget)
    with pytest.raises(ValueError, match="by record"):
        fits([events], Budget(3.0, 1e-5, "borrower"))
    assert supports(events[0]) and not supports(3.0)


def test_events_are_checked_and_survive_json() -> None:
    for event in (GaussianEvent(0.1 + 0.2, "holdout"), SampledGaussianEvent(1.1, 1 / 3, 7)):
        assert event_from_json(event_to_json(event)) == event
    for text in ("", "3", "{}", '{"type":"laplace"}', '{"type":"gaussian","noise_multiplier":0}'):
        with pytest.raises(IntegrityError, match="H5205"):
            event_from_json(text)
    with pytest.raises(ValueError):
        SampledGaussianEvent(1.0, 1.5, 1)
    with pytest.raises(ValueError):
        GaussianEvent(1.0, "test")  # type: ignore[arg-type]
