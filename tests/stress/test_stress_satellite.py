import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from haihe_fl.errors import UserError
from haihe_fl.stress.losses import implied_factor, irb_correlation
from haihe_fl.stress.run import shipped
from haihe_fl.stress.satellite import (
    load_satellite,
    log_odds_shift,
    plausibility,
    quarterly_hazard,
    saturate,
    stressed_pd,
    survival,
)

CATALOGUE, SATELLITE = shipped()


def test_vector_t1() -> None:
    three = 0.35 * 2 + 0.15 * 2 + 0.12 * 3.125
    assert float(stressed_pd(0.03, three)) == pytest.approx(0.10899, abs=5e-6)
    assert float(stressed_pd(0.03, 0.35 * 2)) == pytest.approx(0.05863, abs=5e-6)
    assert float(quarterly_hazard(0.03)) == pytest.approx(0.00758588, abs=5e-9)
    assert float(survival(quarterly_hazard(np.full(4, 0.03)))[-1]) == pytest.approx(0.97)


def test_vector_t1_is_without_saturation() -> None:
    z = saturate(np.array([2, 2, 3.125]), 4.0)
    np.testing.assert_allclose(z, [1.848469, 1.848469, 2.613694], atol=1e-6)
    capped = float(stressed_pd(0.03, z @ [0.35, 0.15, 0.12]))
    assert capped == pytest.approx(0.09637, abs=5e-6)


def test_vector_t2() -> None:
    rho = irb_correlation(0.03, 5)
    pd = stressed_pd(0.03, 0.35 * 2 + 0.15 * 2 + 0.12 * 3.125)
    assert float(rho) == pytest.approx(0.106776, abs=5e-7)
    assert float(implied_factor(0.03, pd, rho)) == pytest.approx(-2.1927, abs=5e-5)


def test_every_number_is_labelled_an_expert_prior() -> None:
    assert SATELLITE.evidence == "expert prior"
    assert SATELLITE.cap is not None
    assert SATELLITE.cap >= 3
    assert SATELLITE.beta["gdp_growth"] == 0.35
    loadings = SATELLITE.loadings
    assert loadings["cny_usd"].sectors["cross_border_trade"] == -0.8
    assert loadings["ppi_inflation"].sectors["auto_parts"] == -0.7
    assert loadings["farm_yield"].default == 0
    assert set(loadings["farm_yield"].sectors) == {"agri_food"}


def test_shift_by_hand() -> None:
    """One cell: construction, quarter 1 of the interbank crunch."""
    shift = log_odds_shift(CATALOGUE, SATELLITE, CATALOGUE["interbank-cash-crunch"])
    z = {
        "lpr": 150 / 60,
        "credit_supply": 9 / 4,
        "gdp_growth": 0.75 / 2,
        "guarantee_capacity": 7.5 / 15,
        "unemployment": (0.4 / 3) / 0.8,
    }
    loading = {"lpr": 1.3, "credit_supply": 1.3, "gdp_growth": 1.3, "guarantee_capacity": 1.2,
               "unemployment": 1.2}  # fmt: skip
    macro = sum(SATELLITE.beta[k] * loading[k] * 4 * np.tanh(v / 4) for k, v in z.items())
    row = CATALOGUE.sectors.index("construction_materials")
    assert shift[row, 0] == pytest.approx(macro + 0.5 * np.log(1.4), rel=1e-12)


def test_cure_penalty_follows_the_delay() -> None:
    scenario, overlay = CATALOGUE["haihe-flood"], CATALOGUE.overlay("forbearance")
    bare = overlay.model_copy(update={"cure_penalty_pd_multiplier": 1.0})
    extra = log_odds_shift(CATALOGUE, SATELLITE, scenario, overlay) - log_odds_shift(
        CATALOGUE, SATELLITE, scenario, bare
    )
    np.testing.assert_allclose(extra[:, :2], 0, atol=1e-15)
    np.testing.assert_allclose(extra[:, 2:], np.log(1.15))


@given(st.sampled_from(CATALOGUE.scenarios), st.data())
def test_a_worse_driver_never_helps_where_its_loading_is_positive(scenario, data) -> None:  # type: ignore[no-untyped-def]
    name = data.draw(st.sampled_from(sorted(scenario.drivers)))
    more = data.draw(st.floats(0, 50))
    spec = scenario.drivers[name]
    worse = spec.model_copy(
        update={"peak": spec.peak + more * CATALOGUE.drivers[name].adverse_sign}
    )
    harder = scenario.model_copy(update={"drivers": {**scenario.drivers, name: worse}})
    if spec.shape == "double_dip" and spec.peak * worse.peak < 0:
        return  # the two dips of opposite sign need not be ordered
    change = log_odds_shift(CATALOGUE, SATELLITE, harder) - log_odds_shift(
        CATALOGUE, SATELLITE, scenario
    )
    sign = np.sign(SATELLITE.weights(CATALOGUE)[:, list(CATALOGUE.drivers).index(name)])
    assert (change * sign[:, None] >= -1e-12).all()
    assert np.abs(change[sign == 0]).max(initial=0) < 1e-12


@pytest.mark.parametrize("name", ["monetary_easing", "fiscal_top_up", "guarantee_top_up"])
def test_support_never_raises_pd(name: str) -> None:
    """Every driver that these overlays move has positive loadings in every sector."""
    weights = SATELLITE.weights(CATALOGUE)
    moved = [list(CATALOGUE.drivers).index(k) for k in CATALOGUE.overlay(name).drivers]
    assert (weights[:, moved] > 0).all()
    for scenario in CATALOGUE.scenarios:
        plain = log_odds_shift(CATALOGUE, SATELLITE, scenario)
        helped = log_odds_shift(CATALOGUE, SATELLITE, scenario, CATALOGUE.overlay(name))
        assert (helped <= plain + 1e-12).all()
        assert (helped < plain).any()
        tight = log_odds_shift(CATALOGUE, SATELLITE, scenario, CATALOGUE.overlay("tightening"))
        assert (tight >= plain - 1e-12).all()


def test_plausibility_ranks_scenarios() -> None:
    far = {s.id: plausibility(CATALOGUE, SATELLITE, s) for s in CATALOGUE.scenarios}
    quiet = plausibility(CATALOGUE, SATELLITE, CATALOGUE["haihe-flood"], severity=0)
    assert quiet.cumulative_pd == pytest.approx(1 - 0.97**3)
    assert min(far, key=lambda k: far[k].cumulative_pd) == "north-china-drought"
    assert max(far, key=lambda k: far[k].cumulative_pd) == "geopolitical-stagflation"
    assert all(p.sigma < 0 and p.sigma_all < 0 for p in far.values())
    assert far["geopolitical-stagflation"].sigma == pytest.approx(-3.32, abs=0.01)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw["beta"].pop("lpr"), "beta must name every driver once; check lpr"),
        (lambda raw: raw["loadings"]["lpr"]["sectors"].update(moon=1), "unknown sector moon"),
        (lambda raw: raw.update(cap=-1), "cap: Input should be greater than 0"),
        (lambda raw: raw["beta"].update(lpr=float("nan")), "beta.lpr"),
    ],
)
def test_satellite_faults_are_named(tmp_path, change, words) -> None:  # type: ignore[no-untyped-def]
    raw = yaml.safe_load(yaml.safe_dump(SATELLITE.model_dump(mode="json")))
    change(raw)
    path = tmp_path / "satellite.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_satellite(CATALOGUE, path)
    assert caught.value.code == "H2515"
    assert words in caught.value.en


def test_missing_satellite(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match="H2515"):
        load_satellite(CATALOGUE, tmp_path / "none.yaml")
