"""Reverse stress against closed forms, exhaustive search and the engine itself."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import yaml

from haihe_fl.errors import UserError
from haihe_fl.stress.plausible import (
    linear_path,
    load_driver_correlation,
    loss_rate_by_drivers,
    most_plausible,
)
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.reverse import (
    loss_rate_by_severity,
    pool_claims_by_multiplier,
    pool_multiplier,
    smallest_crossing,
    smallest_seed_set,
)
from haihe_fl.stress.run import run, shipped
from haihe_fl.stress.settings import StressSettings

# Scalars.


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.9, 0.99])
def test_a_root_is_found_to_its_tolerance(threshold: float) -> None:
    found = smallest_crossing(lambda s: 1 - np.exp(-s * s), threshold)
    assert found.at == pytest.approx(np.sqrt(-np.log(1 - threshold)), abs=1e-8)
    assert found.measure >= threshold
    falling = smallest_crossing(lambda s: np.exp(-s * s), 1 - threshold, "below")
    assert falling.at == pytest.approx(found.at, abs=1e-8)
    assert falling.measure <= 1 - threshold
    assert found.evaluations < 40


def test_a_jump_is_found_on_its_far_side() -> None:
    found = smallest_crossing(lambda s: float(s >= 1.37), 0.5)
    assert found.reached and found.at >= 1.37
    assert found.at == pytest.approx(1.37, abs=1e-8)
    assert found.measure == 1.0


def test_what_is_breached_at_once_and_what_never_is() -> None:
    assert smallest_crossing(lambda s: 1 + s, 1.0).at == 0.0
    never = smallest_crossing(lambda s: s / 100, 0.2)
    assert never.at is None and not never.reached
    assert never.measure == 0.1
    assert str(never) == "not reached within 10: 0.1 there, threshold 0.2"
    assert smallest_crossing(lambda s: s, 10.0).at == 10.0  # the limit itself counts


def test_measures_that_are_none() -> None:
    with pytest.raises(UserError, match="H2563"):
        smallest_crossing(lambda s: float("nan"), 1.0)
    with pytest.raises(UserError, match="H2563"):
        smallest_crossing(lambda s: s, 1.0, limit=0.0)


def test_severity_on_the_engine(portfolio: Portfolio) -> None:
    rate = loss_rate_by_severity(portfolio, "gfc-replay")
    assert all(np.diff([rate(s) for s in (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)]) > 0)
    target = float(
        run(portfolio, "gfc-replay", "none", StressSettings(severity=1.7)).loss_rate()[-1]
    )
    assert smallest_crossing(rate, target, tolerance=1e-7).at == pytest.approx(1.7, abs=1e-6)
    assert not smallest_crossing(rate, 0.999).reached  # the cap holds


# The pool.


def test_pool_closed_form() -> None:
    # PD so small that losses are linear in it: claims = m x share x EAD x LGD x PD x 3 years.
    n, pd = 200, 1e-7
    catalogue, _ = shipped()
    p = Portfolio.build(
        pd=np.full(n, pd), ead=1e9, lgd=1.0, sector=catalogue.sectors[0],
        institution="bank", sectors=catalogue.sectors,
    )  # fmt: skip
    claims = pool_claims_by_multiplier(p)
    per_unit = 0.8 * n * 1e9 * pd * 3
    assert claims(1.0) == pytest.approx(per_unit, rel=1e-5)
    assert pool_multiplier(claims, 50 * per_unit).at == pytest.approx(50, rel=1e-4)
    assert not pool_multiplier(claims, 1e3 * per_unit).reached


def test_a_scenario_needs_a_smaller_multiplier(portfolio: Portfolio) -> None:
    quiet = pool_claims_by_multiplier(portfolio)
    hit = pool_claims_by_multiplier(portfolio, "gfc-replay")
    capital = 3 * quiet(1.0)
    alone, together = (pool_multiplier(c, capital, limit=50).at for c in (quiet, hit))
    assert alone is not None and together is not None
    assert 1.0 < together < alone
    assert hit(together) == pytest.approx(capital, rel=1e-6)


# Seed sets.


@pytest.fixture(scope="module")
def cover() -> tuple[Callable[[frozenset], float], list[int], int]:
    """Coverage of 40 points by 12 sets, and the size of the smallest that covers 30."""
    rng = np.random.default_rng(5)
    sets = [set(rng.choice(40, rng.integers(4, 12), replace=False).tolist()) for _ in range(12)]

    def value(members: frozenset) -> float:
        return float(len(set().union(*(sets[i] for i in members))) if members else 0)

    best = next(
        k for k in range(1, 13)
        if any(value(frozenset(c)) >= 30 for c in combinations(range(12), k))
    )  # fmt: skip
    return value, list(range(12)), best


def test_greedy_against_the_known_optimum(cover: tuple) -> None:
    value, candidates, best = cover
    found = smallest_seed_set(value, candidates, 30)
    assert found.reached and found.value >= 30
    assert found.lower_bound <= best <= len(found.chosen) <= best + 1
    plain = smallest_seed_set(value, candidates, 30, lazy=False)
    assert (plain.chosen, plain.value) == (found.chosen, found.value)
    assert found.evaluations < plain.evaluations
    for member in found.chosen:
        assert value(frozenset(found.chosen) - {member}) < 30


def test_a_set_that_greedy_must_prune() -> None:
    covers = {"wide": {1, 2, 3, 4}, "left": {1, 2, 5, 6}, "right": {3, 4, 7, 8}}

    def value(members: frozenset) -> float:
        return float(len(set().union(*(covers[m] for m in members))) if members else 0)

    found = smallest_seed_set(value, list(covers), 8)
    assert set(found.chosen) == {"left", "right"}


def test_sets_that_need_each_other_and_thresholds_out_of_reach() -> None:
    def pair(members: frozenset) -> float:
        return 10.0 if {"b", "c"} <= members else float(len(members)) / 10

    found = smallest_seed_set(pair, ["a", "b", "c"], 10.0, lazy=False)
    assert set(found.chosen) == {"b", "c"}
    assert not smallest_seed_set(pair, ["a", "b", "c"], 11.0).reached
    assert not smallest_seed_set(pair, ["a", "b", "c"], 10.0, most=1).reached
    assert smallest_seed_set(pair, ["a"], 0.0).chosen == ()
    with pytest.raises(UserError, match="H2563"):
        smallest_seed_set(pair, ["a", "a"], 1.0)


# Plausible paths.


def test_the_prior_is_positive_definite_and_says_what_it_is() -> None:
    catalogue, _ = shipped()
    read = load_driver_correlation(catalogue)
    matrix = read.matrix(list(catalogue.drivers))
    assert (matrix == matrix.T).all() and (np.diag(matrix) == 1).all()
    assert np.linalg.eigvalsh(matrix).min() > 0.05
    assert read.evidence == "expert prior"
    names = list(catalogue.drivers)
    i, j = names.index("gdp_growth"), names.index("unemployment")
    assert read.covariance(catalogue)[i, j] == pytest.approx(-0.5 * 2.0 * 0.8)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([["gdp_growth", "weather", 0.1]], "two drivers"),
        ([["gdp_growth", "gdp_growth", 0.1]], "two drivers"),
        ([["gdp_growth", "lpr", 0.1], ["lpr", "gdp_growth", 0.2]], "twice"),
        ([["gdp_growth", "lpr", 1.2]], "less than 1"),
        (
            [["gdp_growth", "lpr", 0.9], ["lpr", "cny_usd", 0.9], ["gdp_growth", "cny_usd", -0.9]],
            "positive definite",
        ),
    ],
)
def test_correlations_that_are_none(tmp_path: Path, pairs: list, said: str) -> None:
    path = tmp_path / "c.yaml"
    content = {"version": "1", "evidence": "test"}
    content["pairs"] = [{"drivers": [a, b], "rho": rho} for a, b, rho in pairs]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"H2564.*{said}"):
        load_driver_correlation(shipped()[0], path)
    with pytest.raises(UserError, match="H2564"):
        load_driver_correlation(shipped()[0], tmp_path / "none.yaml")


def test_linear_losses_have_their_closed_form() -> None:
    catalogue, _ = shipped()
    sigma = load_driver_correlation(catalogue).covariance(catalogue)
    b = np.linspace(-1, 1, 14) / np.sqrt(np.diag(sigma))
    x, d2 = linear_path(b, sigma, 3.0)
    assert b @ x == pytest.approx(3.0)
    assert x @ np.linalg.solve(sigma, x) == pytest.approx(d2)
    found = most_plausible(lambda v: float(b @ v), 3.0, sigma)
    assert found.reached and found.alignment == pytest.approx(1.0)
    assert found.distance == pytest.approx(np.sqrt(d2), rel=1e-6)
    assert np.allclose(found.x, x, rtol=1e-4, atol=1e-6)


def test_a_curved_loss_with_a_known_nearest_point() -> None:
    # exp(x + 2y) = e^5 is the line x + 2y = 5: nearest point (1, 2), distance sqrt 5.
    found = most_plausible(lambda v: float(np.exp(v[0] + 2 * v[1])), np.exp(5.0), np.eye(2))
    assert found.reached
    assert np.allclose(found.x, [1, 2], atol=1e-4)
    # x^2 / 4 + y^2 grows fastest along y.
    bowl = most_plausible(lambda v: v[0] ** 2 / 4 + v[1] ** 2 + v[1], 2.0, np.eye(2))
    assert bowl.reached and np.allclose(bowl.x, [0, 1], atol=1e-3)


def test_losses_at_once_and_out_of_reach() -> None:
    assert most_plausible(lambda v: 1.0 + float(v.sum()), 0.5, np.eye(2)).distance == 0.0
    far = most_plausible(lambda v: float(np.tanh(v.sum())), 1.5, np.eye(2))
    assert not far.reached and far.loss < 1.5
    flat = most_plausible(lambda v: 0.0, 1.0, np.eye(2))
    assert not flat.reached


def test_the_nearest_path_on_the_engine(make_portfolio: Callable[..., Portfolio]) -> None:
    p = make_portfolio(60)
    catalogue, _ = shipped()
    sigma = load_driver_correlation(catalogue).covariance(catalogue)
    loss = loss_rate_by_drivers(p)
    quiet = loss(np.zeros(14))
    target = 1.5 * quiet
    found = most_plausible(loss, target, sigma, tolerance=1e-5)
    assert found.reached and loss(found.x) == pytest.approx(target, rel=1e-4)
    assert found.alignment > 0.999
    assert 0.5 < found.distance < 5
    # Scaling any other direction to the same loss takes it further out.
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(sigma)
    for _ in range(10):
        u = rng.standard_normal(14)
        way = root @ (u / np.linalg.norm(u)) * np.sign(loss(root @ u) - quiet)
        other = smallest_crossing(lambda d, way=way: loss(d * way), target, limit=12.0)
        assert other.at is None or other.at >= found.distance * (1 - 1e-6)
    drivers = dict(zip(catalogue.drivers, found.x, strict=True))
    assert drivers["gdp_growth"] < 0 < drivers["unemployment"]
