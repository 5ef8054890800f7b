"""The exact Gaussian formulas against other ways to the same numbers."""

import math

import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from haihe_fl.privacy.gaussian import Budget, compose, delta_for, epsilon_for, log_delta, mu_for


@pytest.mark.parametrize("mu", [0.1, 0.719, 2.0, 6.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 3.0])
def test_delta_is_the_textbook_formula(mu: float, epsilon: float) -> None:
    expected = norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * norm.cdf(
        -epsilon / mu - mu / 2
    )
    assert delta_for(mu, epsilon) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@given(st.floats(0.01, 2000.0), st.floats(1.0, 250.0))
def test_epsilon_and_mu_are_inverse(epsilon: float, digits: float) -> None:
    delta = 10.0**-digits
    mu = mu_for(epsilon, delta)
    assert epsilon_for(mu, delta) == pytest.approx(epsilon, rel=1e-6)
    assert log_delta(mu, epsilon) == pytest.approx(math.log(delta), rel=1e-6)


@given(st.floats(0.01, 30.0), st.floats(0.0, 50.0), st.floats(1.001, 2.0))
def test_delta_falls_with_epsilon_and_grows_with_mu(mu: float, epsilon: float, up: float) -> None:
    assert log_delta(mu, epsilon + up) < log_delta(mu, epsilon) < log_delta(mu * up, epsilon)


@pytest.mark.parametrize("multiplier", [0.6, 1.39, 3.7])
def test_agrees_with_dp_accounting(multiplier: float) -> None:
    ours = epsilon_for(compose([multiplier] * 5), 1e-5)
    theirs = pld.from_gaussian_mechanism(multiplier).self_compose(5).get_epsilon_for_delta(1e-5)
    assert ours == pytest.approx(theirs, rel=0.001)
    assert ours <= theirs


def test_budget_units() -> None:
    budget = Budget(3.0, 1e-5)
    assert budget.for_borrower(3).unit == "borrower"
    assert budget.for_borrower(3).mu == pytest.approx(3 * budget.mu)
    back = budget.for_borrower(3).for_record(3)
    assert (back.epsilon, back.unit) == (pytest.approx(3.0), "record")
    with pytest.raises(ValueError, match="borrower budget"):
        budget.for_borrower(2).for_borrower(2)
    with pytest.raises(ValueError, match="record budget"):
        budget.for_record(2)
    for epsilon, delta in ((0.0, 1e-5), (math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0)):
        with pytest.raises(ValueError):
            Budget(epsilon, delta)


def test_no_release_costs_nothing() -> None:
    assert epsilon_for(compose([]), 1e-5) == 0.0
    assert delta_for(0.0, 0.0) == 0.0
    with pytest.raises(ValueError, match="delta"):
        epsilon_for(1.0, 0.0)
    with pytest.raises(ValueError, match="epsilon"):
        mu_for(0.0, 1e-5)
