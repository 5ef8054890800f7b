import pytest

from haihe_fl.errors import PolicyError
from haihe_fl.models.neural.accounting import events_for, local_steps, noise_multiplier_for
from haihe_fl.models.neural.settings import NeuralSettings
from haihe_fl.privacy.accountant import epsilon_spent
from haihe_fl.privacy.events import GaussianEvent, SampledGaussianEvent
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.privacy.ledger import Ledger

DELTA = 1e-5
BUDGET = Budget(3.0, DELTA)


def test_rounds_compose_as_one_history(tmp_path):
    settings = NeuralSettings(rounds=3, local_steps=10, sample_rate=0.2)
    events = events_for(settings, 2.0)
    together = epsilon_spent([[SampledGaussianEvent(2.0, 0.2, 30)]], DELTA)
    single = epsilon_spent([[SampledGaussianEvent(2.0, 0.2, 10)]], DELTA)

    ledger = Ledger(tmp_path / "ledger.db", "bank", Budget(8.0, DELTA))
    ledger.reserve("run", events)
    for name, event in events.items():
        ledger.charge("run", name, event)
        if name == "local/01":
            assert ledger.spent() == pytest.approx(single)
    assert ledger.spent() == pytest.approx(together)
    ledger.disconnect()
    assert single * 1.2 < together < single * 2.5  # neither one round's nor three times one


def test_history_is_that_of_opacus():
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    for _ in range(30):
        accountant.step(noise_multiplier=2.0, sample_rate=0.2)
    assert accountant.history == [(2.0, 0.2, 30)]
    ours = epsilon_spent(
        [events_for(NeuralSettings(rounds=3, local_steps=10, sample_rate=0.2), 2.0).values()], DELTA
    )
    assert ours == pytest.approx(accountant.get_epsilon(DELTA), abs=0.011)


@pytest.mark.parametrize("rate", [1.0, 0.25, 0.02])
@pytest.mark.parametrize("mu_spent", [0.0, 0.2])
def test_the_noise_keeps_the_budget_and_is_no_more_than_needed(rate, mu_spent):
    z = noise_multiplier_for(BUDGET, rate, 100, mu_spent)
    other = [GaussianEvent(1 / mu_spent)] if mu_spent else []
    spent = epsilon_spent([[*other, SampledGaussianEvent(z, rate, 100)]], DELTA)
    assert 2.9 < spent <= 3.0 * (1 + 1e-9)


def test_the_plan_keeps_the_budget_round_by_round():
    settings = NeuralSettings(rounds=5, local_steps=4)
    z = noise_multiplier_for(BUDGET, settings.sample_rate, settings.total_steps)
    steps = local_steps(settings, z)
    assert sum(step.steps for step in steps) == settings.total_steps == 20
    assert epsilon_spent([events_for(settings, z).values()], DELTA) <= 3.0 * (1 + 1e-9)
    assert [*events_for(settings, z)] == [step.name for step in steps]


def test_a_budget_that_is_spent_already_is_refused():
    with pytest.raises(PolicyError, match="H3151"):
        noise_multiplier_for(BUDGET, 0.5, 10, BUDGET.mu)
    with pytest.raises(PolicyError, match="H3151"):
        noise_multiplier_for(BUDGET, 0.5, 10, BUDGET.mu * 0.99999)
