from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri
from scipy.stats import binom, norm

from haihe_fl.stress.distribution import simulate_losses
from haihe_fl.stress.draws import DrawSettings
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.losses import vasicek_quantile
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.settings import StressSettings
from haihe_fl.stress.tail import concentration, granularity_adjustment, tail, tails

PD, RHO = 0.02, 0.12


def rate(y: np.ndarray) -> np.ndarray:
    return np.asarray(vasicek_quantile(PD, RHO, norm.cdf(-y)))


@pytest.mark.parametrize(
    ("level", "draws", "shift"),
    [(0.95, 1000, 0.0), (0.99, 1000, 0.0), (0.999, 1000, 0.0), (0.999, 1000, -3.0)],
)
def test_intervals_cover_what_they_say(level: float, draws: int, shift: float) -> None:
    """On Vasicek's law, whose quantile and shortfall are known."""
    var = float(vasicek_quantile(PD, RHO, level))
    far = quad(lambda y: float(rate(y)) * norm.pdf(y), -10, float(ndtri(1 - level)))[0]
    es = far / (1 - level)
    rng, trials = np.random.default_rng(3), 600
    hit = np.zeros(3)
    for _ in range(trials):
        y = rng.normal(size=draws) + shift * (np.arange(draws) % 2)
        weights = 2 / (1 + np.exp(shift * y - shift**2 / 2)) if shift else None
        t = tail(rate(y), level, weights)
        hit += [
            t.var_low <= var <= t.var_high,
            t.es_low <= es <= t.es_high,
            abs(t.mean - PD) < 1.96 * t.mean_se,
        ]
    assert (hit / trials > 0.92).all()
    if shift:
        assert (t.var_high - t.var_low) / t.var < 0.35


def test_too_few_draws_say_so() -> None:
    t = tail(np.random.default_rng(0).normal(size=1000), 0.999)
    assert np.isinf(t.var_high) and np.isinf(t.es_high)
    assert np.isfinite(t.var) and t.var_low < t.var < t.es


def test_a_small_sample_by_hand() -> None:
    t = tail(np.array([3.0, 1.0, 2.0, 4.0]), 0.5, confidence=0.5)
    assert (t.var, t.es, t.mean) == (2.0, 3.5, 2.5)
    heavy = tail(np.array([1.0, 2.0, 10.0]), 0.9, np.array([1.4, 1.4, 0.2]))
    assert heavy.mean == pytest.approx((1.4 + 2.8 + 2.0) / 3)
    assert heavy.var == 2.0
    assert heavy.es == pytest.approx(2.0 + 0.2 * 8 / 3 / 0.1)


def test_tails_of_a_run() -> None:
    portfolio = Portfolio.build(
        pd=np.full(300, 0.1), ead=1.0, lgd=0.45, sector="a", sectors=("a",),
        institution=["x"] * 200 + ["y"] * 100,
    )  # fmt: skip
    draws = simulate_losses(portfolio, Shock.none(1, 4), draws=4000)
    found = tails(draws, 0.99)
    assert list(found) == ["", "x", "y"]
    assert found["x"].mean == pytest.approx(draws.losses[:, 0].mean(dtype=np.float64))
    assert found[""].var <= found["x"].var + found["y"].var
    shifted = simulate_losses(
        portfolio, Shock.none(1, 4), None, DrawSettings(shift=-2.0), draws=4000, seed=1
    )
    other = tails(shifted, 0.99)[""]
    assert other.var_low < found[""].var_high and found[""].var_low < other.var_high
    assert other.tail_draws > 4 * found[""].tail_draws


def test_granularity_adjustment_is_near_the_exact_quantile() -> None:
    """Vector T6: 200 equal loans have the exact 99 % quantile 22 / 200."""
    v, ga = granularity_adjustment(0.03, 0.08, 0.99)
    assert (round(v, 6), round(ga, 6)) == (0.101179, 1.955293)
    assert v + ga / 200 == pytest.approx(0.110956, abs=1e-6)
    y, w = np.polynomial.hermite_e.hermegauss(120)
    p = vasicek_quantile(0.03, 0.08, norm.cdf(-y))
    below = [float(w @ binom.cdf(k, 200, p)) / float(w.sum()) for k in (21, 22)]
    assert below[0] < 0.99 <= below[1]


def test_draws_of_a_small_portfolio_have_the_granularity(
    make_portfolio: Callable[..., Portfolio],
) -> None:
    """200 equal loans, one quarter: the quantile of the draws against the exact one."""
    portfolio = Portfolio.build(
        pd=np.full(200, 0.12), ead=1.0, lgd=1.0, sector="a", sectors=("a",), institution="x"
    )
    full = StressSettings(residual=False)
    out = simulate_losses(portfolio, Shock.none(1, 1), full, draws=100_000)
    hazard, rho = 1 - (1 - 0.12) ** 0.25, 0.12 * (1 + np.exp(-6)) - 0.04
    y, w = np.polynomial.hermite_e.hermegauss(120)
    p = vasicek_quantile(hazard, rho, norm.cdf(-y))
    exact = [float(w @ binom.cdf(k, 200, p)) / float(w.sum()) for k in range(60)]
    for level in (0.9, 0.99, 0.999):
        right = int(np.searchsorted(exact, level))
        assert np.quantile(out.network, level) == pytest.approx(right, abs=1.5)
    fine = simulate_losses(
        portfolio, Shock.none(1, 1), full, DrawSettings(idiosyncratic="none"), draws=100_000
    )
    v, ga = granularity_adjustment(hazard, rho, 0.99)
    gap = np.quantile(out.network, 0.99) - np.quantile(fine.network, 0.99)
    assert np.quantile(fine.network, 0.99) / 200 == pytest.approx(v, rel=0.02)
    assert gap == pytest.approx(ga, abs=1.0)


def test_concentration() -> None:
    p = Portfolio.build(
        pd=0.02 * np.ones(3), ead=[1.0, 3.0, 2.0], lgd=0.45, sectors=("a", "b"),
        sector=["a", "b", "b"], institution=["x", "x", "y"], weight=[2.0, 1.0, 1.0],
    )  # fmt: skip
    c = concentration(p)
    assert c.name == pytest.approx((2 * 1 + 9 + 4) / 49)
    assert c.sector == pytest.approx((4 + 25) / 49)
    assert c.institution == pytest.approx((25 + 4) / 49)
    assert concentration(p, "y").name == 1.0
