import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import UserError
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.stress.ecl import lifetime_ecl, twelve_month_ecl
from haihe_fl.stress.kernel import MEASURES
from haihe_fl.stress.lgd import frye_jacobs
from haihe_fl.stress.losses import irb_capital, irb_correlation, vasicek_quantile
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.results import StressResult, compare
from haihe_fl.stress.run import baseline, run, run_all, shipped
from haihe_fl.stress.satellite import log_odds_shift, stressed_pd
from haihe_fl.stress.settings import StressSettings

CATALOGUE, SATELLITE = shipped()
Maker = Callable[..., Portfolio]


class StressModel(RiskModel):
    """Two features; a missing cell counts as risky."""

    family: ClassVar[str] = "test-stress"

    def __init__(self, catalogue: FeatureCatalogue) -> None:
        self.catalogue = catalogue

    def logit(self, values: Any) -> Any:
        return -4 + np.where(np.isnan(values), 1.0, values).sum(axis=1, dtype=np.float64)

    def terms(self) -> list[Term]:
        return [Term((0,)), Term((1,))]

    def contributions(self, values: Any) -> Any:
        return np.asarray(values, dtype=np.float64)

    @property
    def base(self) -> float:
        return -4.0

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}

    @classmethod
    def from_state(cls, catalogue: FeatureCatalogue, meta: Any, arrays: Any) -> Self:
        return cls(catalogue)


FEATURES = FeatureCatalogue(
    name="two", features=(Feature(name="a", range=(0, 1)), Feature(name="b", range=(0, 1)))
)


def cohort(n: int = 40, **extra: Any) -> Cohort:
    rng = np.random.default_rng(3)
    columns: dict[str, Any] = {
        "ead": rng.uniform(1e5, 1e6, n),
        "sector": np.array(CATALOGUE.sectors)[rng.integers(0, 12, n)],
        **extra,
    }
    return Cohort(
        catalogue=FEATURES,
        values=rng.uniform(0, 1, (n, 2)).astype(np.float32),
        label=np.zeros(n, np.int8),
        key=np.arange(n).astype(np.str_),
        institution=np.where(np.arange(n) % 2, "bank a", "bank b"),
        extra={k: v for k, v in columns.items() if v is not None},
    )


def test_one_enterprise_by_hand(make_portfolio: Maker) -> None:
    """Every measure of one enterprise, from the public formulas."""
    one = make_portfolio(
        1, pd=[0.03], ead=[1e6], lgd=[0.45], sector=["auto_parts"], institution="x", turnover=20.0
    )
    result = run(one, "tariff-war-escalation")
    shift = log_odds_shift(CATALOGUE, SATELLITE, CATALOGUE["tariff-war-escalation"])[0]
    pd = stressed_pd(0.03, shift)
    hazard = 1 - (1 - pd) ** 0.25
    alive = np.concatenate([[1], np.cumprod(1 - hazard)])
    rho = irb_correlation(pd, 20.0)
    lgd = np.maximum(frye_jacobs(pd, 0.03, 0.45, irb_correlation(0.03, 20.0)), 0.45)
    exposure = 1e6 * alive[:-1]
    expected = {
        "borrowers": np.ones(12),
        "exposure": exposure,
        "pd": pd,
        "pd_exposure": pd * exposure,
        "defaults": alive[:-1] * hazard,
        "default_exposure": exposure * hazard,
        "el": exposure * hazard * lgd,
        "el_year": exposure * pd * lgd,
        "loss_tail": exposure * lgd * vasicek_quantile(pd, rho / 2),
        "capital": exposure * irb_capital(pd, lgd, 20.0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(result.total(name), values, rtol=1e-10, err_msg=name)

    tail_h = np.concatenate([hazard, np.full(10, hazard[-1])])
    tail_l = np.concatenate([lgd, np.full(10, lgd[-1])])
    second = (pd >= 0.075) & (pd >= 0.035)
    assert second.any()
    assert not second.all()
    for t in range(12):
        window = slice(t + 1, t + 11)
        owed = 1e6 * alive[t + 1]
        args = (tail_h[window], tail_l[window], owed, 0.05)
        whole = lifetime_ecl(*args, periods_per_year=4)
        year = twelve_month_ecl(*args, periods_per_year=4)
        assert result.total("ecl1")[t] == pytest.approx(0 if second[t] else float(year))
        assert result.total("ecl2")[t] == pytest.approx(float(whole) if second[t] else 0)
    np.testing.assert_allclose(result.total("ecl3"), np.cumsum(expected["el"]))
    h0 = 1 - 0.97**0.25
    opening = twelve_month_ecl(np.full(4, h0), 0.45, 1e6, 0.05, periods_per_year=4)
    assert float(result.opening("ecl")) == pytest.approx(float(opening))
    assert float(result.opening("capital")) == pytest.approx(1e6 * irb_capital(0.03, 0.45, 20.0))


def test_every_scenario_and_overlay_runs(portfolio: Portfolio) -> None:
    for overlay in CATALOGUE.policy_overlays:
        results = run_all(portfolio, overlay=overlay)
        assert [r.scenario_id for r in results] == [s.id for s in CATALOGUE.scenarios]
        for r in results:
            assert set(r.cells) == set(MEASURES)
            for values in r.cells.values():
                assert np.isfinite(values).all()
                assert (values >= 0).all()
            staged = sum(r.total(f"exposure{k}") for k in (1, 2, 3))
            np.testing.assert_allclose(staged, float(r.opening("exposure")))
            assert (r.unexpected_loss() > 0).all()
            assert r.evidence
    assert len({r.run_id for r in results}) == 30


def test_blocks_change_nothing(portfolio: Portfolio) -> None:
    whole = run(portfolio, "gfc-replay", settings=StressSettings(block=10_000))
    parts = run(portfolio, "gfc-replay", settings=StressSettings(block=7))
    assert whole.run_id == parts.run_id
    for name in MEASURES:
        np.testing.assert_allclose(parts.cells[name], whole.cells[name], rtol=1e-11, err_msg=name)
    np.testing.assert_allclose(parts.start["ecl"], whole.start["ecl"], rtol=1e-11)


def test_cells_are_the_sums_of_their_own_rows(portfolio: Portfolio) -> None:
    """A portfolio cut down to one cell gives that cell."""
    result = run(portfolio, "haihe-flood")
    s, i = 9, 1
    rows = (portfolio.sector == s) & (portfolio.institution == i)
    part = Portfolio.build(
        pd=portfolio.pd[rows],
        ead=portfolio.ead[rows],
        lgd=portfolio.lgd[rows],
        turnover=portfolio.turnover[rows],
        sector=portfolio.sectors[s],
        institution=portfolio.institutions[i],
        sectors=portfolio.sectors,
    )
    alone = run(part, "haihe-flood")
    for name in MEASURES:
        np.testing.assert_allclose(alone.total(name), result.cells[name][s, i], rtol=1e-11)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["tariff-war-escalation", "haihe-flood", "local-fiscal-arrears"]),
       st.floats(0, 2), st.floats(0, 2))  # fmt: skip
def test_losses_rise_with_severity(make_portfolio: Maker, name: str, a: float, b: float) -> None:
    """In scenarios whose drivers, all but one, are adverse."""
    low, high = sorted((a, b))
    portfolio = make_portfolio(60, sector="agri_food")
    mild, hard = (
        run(portfolio, name, settings=StressSettings(severity=level)) for level in (low, high)
    )
    if name == "haihe-flood":  # fiscal support also rises with severity; agriculture still loses
        assert hard.total("el").sum() >= mild.total("el").sum() - 1e-6
        return
    assert (hard.mean_pd() >= mild.mean_pd() - 1e-12).all()
    assert (hard.default_rate() >= mild.default_rate() - 1e-12).all()


def test_no_severity_is_the_baseline(portfolio: Portfolio) -> None:
    calm = StressSettings(severity=0)
    result = run(portfolio, "gfc-replay", settings=calm)
    quiet = baseline(portfolio, calm)
    np.testing.assert_allclose(result.total("el"), quiet.sums["el"].sum(axis=(0, 1)))
    np.testing.assert_allclose(result.mean_pd(), portfolio.pd.mean())
    assert float(result.mean_pd_start()) == pytest.approx(portfolio.pd.mean())
    assert result.summary()["excess_loss"] == pytest.approx(0, abs=1e-3)


def test_residual_correlation_is_a_switch(portfolio: Portfolio) -> None:
    residual = run(portfolio, "gfc-replay")
    full = run(portfolio, "gfc-replay", settings=StressSettings(residual=False))
    assert (full.total("loss_tail") > 1.2 * residual.total("loss_tail")).all()
    np.testing.assert_array_equal(full.total("capital"), residual.total("capital"))
    assert full.run_id != residual.run_id


def test_forbearance_delays_stage_three_only(portfolio: Portfolio) -> None:
    plain = run(portfolio, "interbank-cash-crunch")
    delayed = run(portfolio, "interbank-cash-crunch", "forbearance")
    assert delayed.total("exposure3")[:2].tolist() == [0, 0]
    assert plain.total("exposure3")[0] > 0
    booked = np.cumsum(delayed.total("el"))
    np.testing.assert_allclose(delayed.total("ecl3")[2:], booked[:-2])


def test_collateral_and_undrawn_lines(make_portfolio: Maker) -> None:
    plain = make_portfolio(50)
    secured = make_portfolio(50, collateral=plain.ead * 0.9)
    undrawn = make_portfolio(50, undrawn=plain.ead)
    name = "property-deflation-spiral"
    more = run(secured, name).total("el") - run(plain, name).total("el")
    assert (more >= -1e-6).all()
    assert more.sum() > 0
    drawn = run(undrawn, "interbank-cash-crunch")  # ccf add-on 20 % at quarter 2
    assert drawn.total("exposure1")[1] + drawn.total("exposure2")[1] + drawn.total("exposure3")[
        1
    ] == pytest.approx(1.2 * plain.ead.sum())
    assert "ccf_addon" not in drawn.not_applied
    assert "ccf_addon" in run(plain, "interbank-cash-crunch").not_applied


def test_weights_multiply(make_portfolio: Maker) -> None:
    one, three = make_portfolio(30), make_portfolio(30, weight=3.0)
    a, b = run(one, "gfc-replay"), run(three, "gfc-replay")
    for name in MEASURES:
        np.testing.assert_allclose(b.total(name), 3 * a.total(name), rtol=1e-11)
    assert float(b.opening("ecl")) == pytest.approx(3 * float(a.opening("ecl")))


def test_extreme_pds_stay_finite(make_portfolio: Maker) -> None:
    edges = make_portfolio(4, pd=[1e-12, 1e-6, 0.999, 1 - 1e-12])
    for values in run(edges, "geopolitical-stagflation").cells.values():
        assert np.isfinite(values).all()


def test_json_round_trip(portfolio: Portfolio) -> None:
    result = run(portfolio, "haihe-flood", "fiscal_top_up")
    again = StressResult.from_dict(json.loads(json.dumps(result.to_dict(), ensure_ascii=False)))
    assert again.summary() == result.summary()
    assert again.tables() == result.tables()
    assert again.settings == result.settings
    for name in MEASURES:
        np.testing.assert_array_equal(again.cells[name], result.cells[name])


def test_run_id_follows_all_that_decides(portfolio: Portfolio, make_portfolio: Maker) -> None:
    ids = {
        run(portfolio, "haihe-flood").run_id,
        run(portfolio, "haihe-flood", "tightening").run_id,
        run(portfolio, "gfc-replay").run_id,
        run(portfolio, "haihe-flood", settings=StressSettings(severity=1.1)).run_id,
        run(make_portfolio(model_fingerprint="other"), "haihe-flood").run_id,
        run(make_portfolio(lgd=0.4), "haihe-flood").run_id,
        run(
            portfolio, "haihe-flood", satellite=SATELLITE.model_copy(update={"ageing": 0.1})
        ).run_id,
    }
    assert len(ids) == 7
    assert run(portfolio, "haihe-flood").run_id in ids


def test_compare_puts_the_worst_first(portfolio: Portfolio) -> None:
    names = ["north-china-drought", "geopolitical-stagflation", "gfc-replay"]
    rows = compare(run_all(portfolio, names))
    losses = [r["expected_loss"] for r in rows]
    assert losses == sorted(losses, reverse=True)
    assert rows[0]["scenario"] == "geopolitical-stagflation"
    assert next(r for r in rows if r["scenario"] == names[0])["loss_vs_first"] == 1
    assert compare([]) == []


def test_progress_and_unknown_names(portfolio: Portfolio) -> None:
    seen: list[tuple[int, int]] = []
    run_all(portfolio, ["gfc-replay", "haihe-flood"], on_progress=lambda *x: seen.append(x))
    assert seen == [(1, 2), (2, 2)]
    with pytest.raises(UserError, match="H2510"):
        run_all(portfolio, ["gfc"])
    with pytest.raises(UserError, match="H2511"):
        run_all(portfolio, ["gfc-replay"], "nothing")
    with pytest.raises(ValueError, match="other sectors"):
        run(
            Portfolio.build(pd=[0.1], ead=1, lgd=0, sector="x", institution="b", sectors=("x",)),
            "gfc-replay",
        )


def test_from_cohort_takes_model_and_exposures() -> None:
    records, model = cohort(), StressModel(FEATURES)
    p = Portfolio.from_cohort(records, model)
    np.testing.assert_allclose(p.pd, model.predict_pd(records.values))
    assert p.model_fingerprint == model.fingerprint
    assert p.institutions == ("bank a", "bank b")
    assert set(p.lgd) == {0.45}
    assert set(p.turnover) == {5.0}
    assert [p.sectors[s] for s in p.sector] == records.extra["sector"].tolist()
    sales = Portfolio.from_cohort(records, model, turnover=np.full(40, 78e6))
    np.testing.assert_allclose(sales.turnover, 10.0)


def test_weighted_rows_are_stressed_at_the_population_s_default_rate() -> None:
    records, model = cohort(), StressModel(FEATURES)
    label = (np.arange(len(records)) % 2).astype(np.int8)  # drawn by outcome: half of them bad
    drawn = replace(records, label=label, weight=np.where(label, 1, 9).astype(np.float32))
    p, plain = Portfolio.from_cohort(drawn, model), model.predict_pd(records.values)
    np.testing.assert_allclose(p.pd / (1 - p.pd), plain / (1 - plain) / 9)
    lost, same = p.impaired_pd(0.4, 0), Portfolio.from_cohort(records, model).impaired_pd(0.4, 0)
    assert lost is not None and same is not None
    np.testing.assert_allclose(lost / (1 - lost), same / (1 - same) / 9)
    for still in (records, replace(drawn, label=np.zeros_like(label))):
        np.testing.assert_allclose(Portfolio.from_cohort(still, model).pd, plain)


def test_lost_data_changes_the_scores() -> None:
    p = Portfolio.from_cohort(cohort(4000), StressModel(FEATURES))
    lost = p.impaired_pd(0.4, 0)
    assert lost is not None
    assert lost.mean() > p.pd.mean()  # this model reads a missing cell as risk
    np.testing.assert_array_equal(lost, p.impaired_pd(0.4, 0))
    assert (lost != p.impaired_pd(0.4, 1)).any()
    assert (lost == p.pd).mean() == pytest.approx(0.36, abs=0.03)
    assert p.impaired_pd(0, 0) is None
    result = run(p, "platform-outage-data-poisoning")
    assert float(result.mean_pd_start()) == pytest.approx(p.pd.mean())
    shift = log_odds_shift(CATALOGUE, SATELLITE, CATALOGUE["platform-outage-data-poisoning"])
    at_peak = stressed_pd(lost, shift[p.sector, 0])  # the profile peaks in quarter 1
    assert result.mean_pd()[0] == pytest.approx(at_peak.mean())
    half = stressed_pd(stressed_pd(p.pd, 0.5 * np.log(lost / (1 - lost) / (p.pd / (1 - p.pd)))),
                       shift[p.sector, 2])  # fmt: skip
    assert result.mean_pd()[2] == pytest.approx(half.mean())  # half-life two quarters
    assert result.not_applied == (
        "contagion", "data_quality.label_flip_rate", "data_quality.node_dropout_rate",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "code", "words"),
    [
        ({"ead": None}, "H2520", "'ead'"),
        ({"sector": None}, "H2520", "sector: COLUMN"),
        ({"ead": np.full(40, -1.0)}, "H2521", "ead in row 1 is -1.0"),
        ({"ead": np.full(40, np.nan)}, "H2521", "ead in row 1 is nan"),
        ({"ead": np.full(40, np.inf)}, "H2521", "ead in row 1 is inf"),
        ({"lgd": np.full(40, 1.2)}, "H2521", "lgd in row 1 is 1.2"),
        ({"sector": np.full(40, "aerospce")}, "H2523", "nearest: aerospace"),
        ({"sector": np.full(40, "")}, "H2523", "unknown sector ''"),
    ],
)
def test_faulty_cohorts_are_refused(extra: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Portfolio.from_cohort(cohort(**extra), StressModel(FEATURES))
    assert caught.value.code == code
    assert words in caught.value.en


def test_another_models_features_are_refused() -> None:
    other = FeatureCatalogue(name="one", features=(Feature(name="a", range=(0, 1)),))
    with pytest.raises(UserError, match="H2525"):
        Portfolio.from_cohort(cohort(), StressModel(other))


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"pd": [0.1, np.nan]}, "H2522"),
        ({"pd": [0.1, 1.0]}, "H2522"),
        ({"pd": []}, "H2524"),
        ({"institution": ["a", " "]}, "H2524"),
        ({"ead": [1.0, 2.0, 3.0]}, "H2521"),
        ({"turnover": -1.0}, "H2521"),
        ({"collateral": [1.0, -1.0]}, "H2521"),
    ],
)
def test_faulty_portfolios_are_refused(columns: dict[str, Any], code: str) -> None:
    given: dict[str, Any] = {
        "pd": [0.1, 0.2], "ead": 1.0, "lgd": 0.4, "sector": "x", "institution": "b",
        "sectors": ("x",), **columns,
    }  # fmt: skip
    with pytest.raises(UserError) as caught:
        Portfolio.build(**given)
    assert caught.value.code == code
