from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import multivariate_normal, poisson

from haihe_fl.stress import kernel
from haihe_fl.stress.compiled import TILE, compiled, normal_cdf
from haihe_fl.stress.distribution import (
    LossDraws,
    default_draw,
    poisson_quantile,
    simulate_losses,
    thresholds_of,
)
from haihe_fl.stress.draws import DrawSettings, factor_draws, shift_direction, uniforms
from haihe_fl.stress.exposures import Prepared, Workers, amounts
from haihe_fl.stress.kernel import Shock, simulate
from haihe_fl.stress.lattice import Lattice, spread
from haihe_fl.stress.losses import irb_correlation, vasicek_quantile, vasicek_variance
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import shipped, shock_of
from haihe_fl.stress.satellite import quarterly_hazard
from haihe_fl.stress.settings import StressSettings

CATALOGUE, SATELLITE = shipped()
Maker = Callable[..., Portfolio]
PURE = DrawSettings(phi=0.0, idiosyncratic="none")
FULL = StressSettings(residual=False)


def shock(name: str = "gfc-replay", overlay: str = "none") -> Shock:
    return shock_of(CATALOGUE, SATELLITE, CATALOGUE[name], CATALOGUE.overlay(overlay))


def one_sector(n: int = 400, **columns: Any) -> Portfolio:
    given: dict[str, Any] = {"pd": np.full(n, 0.05), "ead": 1.0, "lgd": 0.45, "institution": "x"}
    return Portfolio.build(**{**given, "sector": "a", "sectors": ("a", "b"), **columns})


def options(base: DrawSettings = PURE, **changes: Any) -> DrawSettings:
    return DrawSettings.model_validate({**base.model_dump(), **changes})


def test_the_compiled_distribution_function_is_the_normal_one() -> None:
    x = np.linspace(-12, 12, 100_001).astype(np.float32)
    out = np.empty_like(x)
    normal_cdf(x, out)
    right = ndtr(x.astype(np.float64))
    error = np.abs(out / right - 1)
    assert error[np.abs(x) < 6].max() < 3e-6 and error.max() < 1e-5
    assert np.abs(out + out[::-1] - 1).max() < 2e-7


def test_loops_compile_where_nothing_can_be_kept() -> None:
    made: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", made)  # of no file, so numba can keep it nowhere
    assert compiled(made["twice"])(4) == 8


def test_uniforms_belong_to_their_place() -> None:
    whole = uniforms("a", 1, count=1000)
    assert 0 < whole.min() < 0.01 and 0.99 < whole.max() < 1
    for first in (0, 1, 2, 3, 4, 997):
        part = uniforms("a", 1, first=first, count=3)
        np.testing.assert_array_equal(part, whole[first : first + 3])
    assert not np.isin(uniforms("a", 2, count=1000), whole).any()
    assert not np.isin(uniforms("a1", count=1000), whole).any()
    assert abs(np.corrcoef(whole[:-1, 0], whole[1:, 0])[0, 1]) < 0.1


def test_factors_have_the_stated_moments() -> None:
    settings = DrawSettings(draws=40_000, seed=5, common=0.6, phi=0.7)
    y = factor_draws(settings, 3, 4).factors
    flat = y.reshape(12, -1)
    right = np.kron(
        np.where(np.eye(3) > 0, 1.0, 0.6), 0.7 ** np.abs(np.subtract.outer(range(4), range(4)))
    )
    np.testing.assert_allclose(flat @ flat.T / 40_000, right, atol=0.03)
    np.testing.assert_allclose(flat.mean(axis=1), 0, atol=0.025)


def test_a_shift_moves_all_sectors_and_weights_have_mean_one() -> None:
    settings = DrawSettings(draws=50_000, shift=-2.0, common=0.5, phi=0.8)
    drawn = factor_draws(settings, 2, 12)
    assert drawn.factors[..., 1::2].mean(axis=2).max() < -0.4
    assert abs(drawn.factors[..., ::2].mean(axis=2)).max() < 0.04
    assert drawn.weights.max() < 2
    assert abs(drawn.weights.mean() - 1) < 5 * drawn.weights.std() / 50_000**0.5
    weighted = drawn.factors * drawn.weights
    assert (abs(weighted.mean(axis=2)) < 5 * weighted.std(axis=2) / 50_000**0.5).all()
    assert (factor_draws(options(shift=0.0), 2, 12).weights == 1).all()
    assert np.linalg.norm(shift_direction(12, 0.8)) == pytest.approx(1)


def test_one_quarter_of_one_sector_is_vasicek() -> None:
    portfolio = one_sector(turnover=5.0)
    out = simulate_losses(portfolio, Shock.none(2, 1), FULL, PURE, draws=50_000)
    rate = out.network / (400 * 0.45)
    hazard = quarterly_hazard(0.05)
    rho = irb_correlation(0.05, 5.0)
    assert rate.mean() == pytest.approx(float(hazard), rel=0.02)
    assert rate.var() == pytest.approx(float(vasicek_variance(hazard, rho)), rel=0.06)
    for level in (0.9, 0.99, 0.999):
        right = float(vasicek_quantile(hazard, rho, level))
        assert np.quantile(rate, level) == pytest.approx(right, rel=0.06)


def test_residual_correlation_is_smaller() -> None:
    portfolio = one_sector(turnover=5.0)
    rate = simulate_losses(portfolio, Shock.none(2, 1), StressSettings(), PURE, draws=50_000)
    right = vasicek_variance(quarterly_hazard(0.05), 0.5 * irb_correlation(0.05, 5.0))
    assert (rate.network / 180).var() == pytest.approx(float(right), rel=0.05)


def test_two_sectors_have_the_closed_form_variance() -> None:
    pd = np.repeat([0.04, 0.15], 200)
    portfolio = one_sector(pd=pd, sector=np.repeat(["a", "b"], 200), turnover=5.0)
    settings = options(common=0.4)
    out = simulate_losses(portfolio, Shock.none(2, 1), FULL, settings, draws=100_000)
    h, rho = quarterly_hazard(np.array([0.04, 0.15])), irb_correlation(np.array([0.04, 0.15]), 5.0)
    k = ndtri(h)
    r = 0.4 * np.sqrt(rho[0] * rho[1])
    joint = multivariate_normal.cdf(k, cov=[[1, r], [r, 1]])
    right = vasicek_variance(h, rho).sum() + 2 * (joint - h[0] * h[1])
    assert out.network.var() == pytest.approx(90.0**2 * right, rel=0.03)


def test_without_autocorrelation_the_mean_is_the_expected_loss(portfolio: Portfolio) -> None:
    cells = simulate(portfolio, shock(), StressSettings()).sums["el"]
    out = simulate_losses(portfolio, shock(), None, PURE, draws=20_000)
    right = cells.sum(axis=0).T
    np.testing.assert_allclose(out.quarters.mean(axis=1), right, rtol=0.03)


def test_quarters_add_up(portfolio: Portfolio) -> None:
    out = simulate_losses(portfolio, shock(), draws=300)
    np.testing.assert_allclose(out.quarters.sum(axis=0), out.expected, rtol=1e-5)
    year = simulate_losses(portfolio, shock(), options=DrawSettings(quarters=4), draws=300)
    np.testing.assert_array_equal(year.quarters, out.quarters[:4])


@pytest.mark.parametrize("law", ["poisson", "normal"])
def test_the_idiosyncratic_part_has_its_variance(law: Any) -> None:
    ead = np.random.default_rng(0).lognormal(0, 1, 300)
    portfolio = one_sector(300, pd=np.full(300, 0.3), ead=ead)
    out = simulate_losses(portfolio, shock_like(4), None, options(idiosyncratic=law), draws=40_000)
    noise = out.losses[:, 0].astype(np.float64) - out.expected[:, 0]
    assert abs(noise.mean()) < 4 * noise.std() / 200
    assert noise.var() == pytest.approx(float(out.variance.mean()), rel=0.05)


def shock_like(quarters: int) -> Shock:
    return Shock.none(2, quarters)


def test_granularity_is_that_of_defaults_one_by_one() -> None:
    """The variance over draws of default_draw is that of the mean plus the mean variance."""
    ead = np.random.default_rng(0).lognormal(0, 1, 60)
    portfolio = one_sector(60, pd=np.full(60, 0.2), ead=ead)
    settings = DrawSettings(seed=2, phi=0.5)
    rows = thresholds_of(portfolio, shock_like(4))
    hit = np.stack([default_draw(portfolio, rows, d, settings) for d in range(6000)])
    lost = (hit > 0) @ (portfolio.ead * amounts_lgd(portfolio))
    out = simulate_losses(portfolio, shock_like(4), None, settings, draws=6000)
    assert lost.mean() == pytest.approx(float(out.expected.mean()), rel=0.02)
    right = float(out.expected.astype(np.float64).var() + out.variance.mean())
    assert lost.var() == pytest.approx(right, rel=0.06)
    assert np.corrcoef(lost, out.expected[:, 0])[0, 1] > 0.3  # the same factors
    for level in (0.99, 0.995):  # small portfolio: the tail of the matched law is right
        assert np.quantile(out.losses, level) == pytest.approx(np.quantile(lost, level), rel=0.08)
    share = [(hit == t).mean() for t in range(1, 5)]
    np.testing.assert_allclose(share, share[0], rtol=0.3)


def amounts_lgd(portfolio: Portfolio) -> Any:
    settings = StressSettings()
    prepared = Prepared.of(portfolio, settings)
    out = amounts(prepared, shock_like(1), settings, np.zeros(len(portfolio)), Workers(1))
    return out.lgd[np.argsort(prepared.rows), 0]


def test_threads_and_blocks_change_nothing(portfolio: Portfolio) -> None:
    base = simulate_losses(portfolio, shock(), draws=500, threads=1)
    for threads, block in ((2, 8192), (3, 17)):
        same = simulate_losses(
            portfolio, shock(), StressSettings(block=block), draws=500, threads=threads
        )
        assert_same(base, same)
    longer = simulate_losses(portfolio, shock(), draws=3 * TILE + 700, threads=2)
    np.testing.assert_array_equal(longer.losses[:500], base.losses)
    other = simulate_losses(portfolio, shock(), draws=500, seed=1)
    assert (other.losses != base.losses).mean() > 0.99


def assert_same(a: LossDraws, b: LossDraws) -> None:
    for name in ("losses", "expected", "variance", "quarters", "weights"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("impaired", [False, True])
def test_nodes_stand_for_enterprises(make_portfolio: Maker, impaired: bool) -> None:
    """Bucketed against dense on the same draws, in every draw."""
    portfolio = make_portfolio(4000, weight=np.random.default_rng(1).uniform(0.5, 3, 4000))
    lost = replace(shock(), impaired=np.linspace(0, 1, 12)) if impaired else shock()
    worse = None
    if impaired:
        move = np.random.default_rng(2).normal(0.5, 0.7, 4000)
        worse = expit(logit(portfolio.pd) + move)
    for settings in (StressSettings(), FULL):
        runs = {}
        for method in ("dense", "bucketed"):
            chosen = DrawSettings(method=method, shift=-3.0)
            runs[method] = simulate_losses(
                portfolio, lost, settings, chosen, draws=400, impaired_pd=worse
            )
        dense, bucketed = runs["dense"], runs["bucketed"]
        assert dense.nodes == 4000 != bucketed.nodes
        scale = dense.expected.mean(axis=0)
        assert (np.abs(bucketed.expected - dense.expected) / scale).max() < 1e-5
        error = np.abs(bucketed.variance / dense.variance - 1)
        assert error.max() < 0.02 and error.mean() < 0.002


@pytest.mark.parametrize("frye_jacobs", [False, True])
def test_dense_is_plain_numpy(make_portfolio: Maker, frye_jacobs: bool) -> None:
    """In double precision, from the formulas, enterprise by enterprise."""
    portfolio = make_portfolio(300, undrawn=np.linspace(0, 1e6, 300))
    hit, settings = replace(shock(), ccf_addon=np.linspace(0, 0.5, 12)), StressSettings()
    chosen = DrawSettings(method="dense", idiosyncratic="none", draws=50, frye_jacobs=frye_jacobs)
    out = simulate_losses(portfolio, hit, settings, chosen)
    y = factor_draws(chosen, 12, 12).factors[portfolio.sector]
    log_odds = logit(portfolio.pd)[:, None] + hit.shift[portfolio.sector]
    pd = expit(log_odds)
    rho = 0.5 * irb_correlation(pd, portfolio.turnover[:, None])[..., None]
    c = ndtri(quarterly_hazard(pd))[..., None]
    p = ndtr((c - np.sqrt(rho) * y) / np.sqrt(1 - rho))
    alive = np.cumprod(1 - p, axis=1)
    gone = np.concatenate([np.ones_like(p[:, :1]), alive[:, :-1]], axis=1) * p
    lgd = kernel._lgd(portfolio, np.arange(300), hit, settings, pd, ndtri(pd))
    ead = portfolio.ead[:, None] + portfolio.undrawn[:, None] * hit.ccf_addon  # type: ignore[index]
    severity = (ead * lgd)[..., None] * np.ones_like(p)
    if frye_jacobs:
        c = ndtri(quarterly_hazard(pd) * lgd)[..., None]
        severity = ead[..., None] * ndtr((c - np.sqrt(rho) * y) / np.sqrt(1 - rho)) / p
    lost = severity * gone
    for k in range(3):
        mine = portfolio.institution == k
        np.testing.assert_allclose(out.losses[:, k], lost[mine].sum(axis=(0, 1)), rtol=1e-5)
        one = (gone * severity**2).sum(axis=1) - lost.sum(axis=1) ** 2
        np.testing.assert_allclose(out.variance[:, k], one[mine].sum(axis=0), rtol=1e-4)


def test_lgd_is_that_of_the_expected_loss_engine(make_portfolio: Maker) -> None:
    portfolio = make_portfolio(
        2000, collateral=np.random.default_rng(3).lognormal(13.5, 1, 2000), lgd=0.45
    )
    settings = StressSettings()
    hit = replace(shock(), lgd_addon=np.full(12, 0.05), property_change=np.linspace(0, -0.4, 12))
    prepared = Prepared.of(portfolio, settings)
    mine = amounts(prepared, hit, settings, np.zeros(2000), Workers(2))
    log_odds = logit(portfolio.pd)[:, None] + hit.shift[portfolio.sector]
    pd = np.clip(expit(log_odds), *kernel.PD_RANGE)
    right = kernel._lgd(
        portfolio, prepared.rows, hit, settings, pd[prepared.rows], ndtri(pd)[prepared.rows]
    )
    np.testing.assert_allclose(mine.lgd, right, rtol=1e-5)


def test_frye_jacobs_keeps_the_mean_and_fattens_the_tail() -> None:
    portfolio = one_sector(turnover=5.0)
    plain = simulate_losses(portfolio, shock_like(1), FULL, PURE, draws=50_000)
    drawn = simulate_losses(portfolio, shock_like(1), FULL, options(frye_jacobs=True), draws=50_000)
    assert drawn.network.mean() == pytest.approx(plain.network.mean(), rel=0.005)
    hazard, rho = quarterly_hazard(0.05), irb_correlation(0.05, 5.0)
    lgd = amounts_lgd(portfolio)[0]
    right = 400 * vasicek_variance(hazard * lgd, rho) ** 0.5
    assert drawn.network.std() == pytest.approx(right, rel=0.05)
    assert np.quantile(drawn.network, 0.999) > 1.1 * np.quantile(plain.network, 0.999)


def test_spreading_loses_no_amount(make_portfolio: Maker) -> None:
    portfolio = make_portfolio(1000)
    prepared, workers = Prepared.of(portfolio, StressSettings()), Workers(2)
    what = amounts(prepared, shock(), StressSettings(), np.zeros(1000), workers)
    entries = spread(Lattice.of(prepared, np.zeros(1000)), prepared, what, workers)
    for k in range(3):
        spread_out = entries.amount[entries.institution == k].sum(axis=0, dtype=np.float64)
        whole = what.loss[prepared.institution == k].sum(axis=0, dtype=np.float64)
        np.testing.assert_allclose(spread_out, whole, rtol=1e-5)


def test_a_shift_is_unbiased(portfolio: Portfolio) -> None:
    plain = simulate_losses(portfolio, shock(), options=options(phi=0.8), draws=40_000)
    shifted = simulate_losses(
        portfolio, shock(), options=options(phi=0.8, shift=-2.5), draws=40_000, seed=9
    )
    assert (shifted.weights != 1).all()
    limit = np.quantile(plain.network, 0.999)
    beyond = shifted.weights * (shifted.network > limit)
    assert beyond.mean() == pytest.approx(0.001, abs=0.0005)
    assert beyond.std() / beyond.mean() < 0.3 * 0.001**-0.5  # and much less noisy than counting
    mean = (shifted.weights * shifted.network).mean()
    assert mean == pytest.approx(plain.network.mean(), rel=0.06)


def test_an_institutions_chance_is_its_own(make_portfolio: Maker) -> None:
    """What an institution draws does not depend on who else is there."""
    whole = make_portfolio(600)
    mine = whole.institution == 1
    alone = make_portfolio(
        int(mine.sum()),
        **{name: getattr(whole, name)[mine] for name in ("pd", "ead", "lgd", "turnover")},
        sector=np.array(whole.sectors)[whole.sector[mine]],
        institution=whole.institutions[1],
    )
    chosen = DrawSettings(method="dense")
    together = simulate_losses(whole, shock(), None, chosen, draws=200)
    by_itself = simulate_losses(alone, shock(), None, chosen, draws=200)
    np.testing.assert_allclose(by_itself.losses[:, 0], together.losses[:, 1], rtol=1e-5)


def test_default_draw_is_reproducible_and_follows_thresholds(portfolio: Portfolio) -> None:
    rows = thresholds_of(portfolio, shock())
    hit = default_draw(portfolio, rows, 3)
    assert hit.dtype == np.int8 and hit.min() >= 0 and hit.max() <= 12
    np.testing.assert_array_equal(hit, default_draw(portfolio, rows, 3))
    assert (hit != default_draw(portfolio, rows, 4)).any()
    never = replace(rows, alpha=np.full_like(rows.alpha, -12))
    assert not default_draw(portfolio, never, 3).any()
    always = replace(rows, alpha=np.full_like(rows.alpha, 12))
    assert (default_draw(portfolio, always, 3) == 1).all()


def test_poisson_quantiles() -> None:
    rng = np.random.default_rng(0)
    mean = np.exp(rng.uniform(-12, 10, 4000))
    u = rng.random(4000)
    np.testing.assert_array_equal(poisson_quantile(u, mean), poisson.ppf(u, mean))
    assert poisson_quantile(np.array([0.5]), np.array([0.0])) == 0


def test_nothing_to_lose_loses_nothing() -> None:
    out = simulate_losses(one_sector(ead=0.0), shock_like(2), draws=10)
    assert not out.losses.any() and not out.variance.any()


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError):
        simulate_losses(one_sector(), shock_like(1), draws=0)
    with pytest.raises(ValidationError):
        DrawSettings(phi=1.0)
    with pytest.raises(ValidationError, match="over enterprises"):
        DrawSettings(frye_jacobs=True, method="bucketed")
