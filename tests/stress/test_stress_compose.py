"""Scenarios of one's own: files, combinations, replays of dated windows."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from haihe_fl.errors import UserError
from haihe_fl.stress.compose import add_scenarios, combine, load_user_scenarios, write_scenarios
from haihe_fl.stress.macro import DriverSeries, Quarter, quarterly, read_series, sigma
from haihe_fl.stress.paths import driver_paths, shape
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.replay import fit_path, replay
from haihe_fl.stress.run import run, shipped

CATALOGUE, _ = shipped()


def own(identifier: str = "my-own") -> dict[str, object]:
    base = CATALOGUE["haihe-flood"].model_dump(mode="json", by_alias=True)
    return {**base, "id": identifier, "evidence": "expert"}


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_file_of_scenarios_joins_the_catalogue(tmp_path: Path, portfolio: Portfolio) -> None:
    merged = load_user_scenarios(write(tmp_path / "s.yaml", {"scenarios": [own()]}))
    assert len(merged.scenarios) == 31 and merged["my-own"].grade == "expert"
    assert merged.fingerprint != CATALOGUE.fingerprint
    mine = run(portfolio, "my-own", catalogue=merged)
    theirs = run(portfolio, "haihe-flood")
    assert mine.summary()["ecl_change"] == theirs.summary()["ecl_change"]
    assert mine.run_id != theirs.run_id


def test_the_same_drivers_may_stand_in_the_file_and_others_may_not(tmp_path: Path) -> None:
    drivers = CATALOGUE.model_dump(mode="json")["drivers"]
    same = {"drivers": drivers, "horizon_quarters": 12, "scenarios": [own()]}
    assert "my-own" in [s.id for s in load_user_scenarios(write(tmp_path / "a", same)).scenarios]
    with pytest.raises(UserError, match=r"H2585.*policy_overlays"):
        load_user_scenarios(write(tmp_path / "b", {**same, "policy_overlays": {"none": {}}}))
    drivers["lpr"]["sigma"] = 1.0
    with pytest.raises(UserError, match=r"H2585.*drivers"):
        load_user_scenarios(write(tmp_path / "c", same))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"scenarios": [own("gfc-replay")]}, "H2586"),
        ({"scenarios": [own(), own()]}, "H2507"),
        ({"scenarios": []}, "H2502"),
        ({"scenarios": None}, "H2502"),
        ("text", "H2502"),
        ({"scenarios": [own()], "extras": 1}, "H2502"),
        ({"scenarios": [{**own(), "family": "weather"}]}, "H2504"),
        ({"scenarios": [{**own(), "narrative": 3}]}, "H2502"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, content: object, error: str) -> None:
    with pytest.raises(UserError, match=error):
        load_user_scenarios(write(tmp_path / "s.yaml", content))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="H2501"):
        load_user_scenarios(tmp_path / "absent.yaml")


def test_scenarios_survive_a_round_trip(tmp_path: Path) -> None:
    both = combine(CATALOGUE, CATALOGUE["gfc-replay"], CATALOGUE["haihe-flood"])
    write_scenarios(tmp_path / "s.yaml", [both])
    assert load_user_scenarios(tmp_path / "s.yaml")[both.id] == both


def test_sum_adds_what_one_shape_can_hold_exactly() -> None:
    a = CATALOGUE["tariff-war-escalation"]
    twice = combine(CATALOGUE, a, a.model_copy(update={"id": "b"}))
    x, y = driver_paths(CATALOGUE, a), driver_paths(CATALOGUE, twice)
    assert np.abs(y - 2 * x).max() < 1e-9
    assert twice.idiosyncratic.sectors["cross_border_trade"] == pytest.approx(4.0)
    assert "largest miss 0 %" in twice.evidence


def test_sum_keeps_the_combined_peak_and_says_what_it_misses() -> None:
    a, b = CATALOGUE["gfc-replay"], CATALOGUE["property-deflation-spiral"]
    both = combine(CATALOGUE, a, b)
    total = driver_paths(CATALOGUE, a) + driver_paths(CATALOGUE, b)
    fitted = driver_paths(CATALOGUE, both)
    for k, name in enumerate(CATALOGUE.drivers):
        if name in both.drivers:
            assert abs(fitted[k]).max() == pytest.approx(abs(total[k]).max())
    share = np.abs(fitted - total).max(1) / np.maximum(np.abs(total).max(1), 1e-9)
    shared = [k for k, n in enumerate(CATALOGUE.drivers) if n in a.drivers and n in b.drivers]
    assert f"largest miss {100 * max(share[shared]):.0f} %" in both.evidence
    assert both.idiosyncratic.guarantee_haircut == pytest.approx(1 - 0.9 * 0.75)
    assert both.idiosyncratic.lgd_addon == pytest.approx(0.17)


def test_max_takes_the_worse_of_both() -> None:
    a, b = CATALOGUE["gfc-replay"], CATALOGUE["property-deflation-spiral"]
    worse = combine(CATALOGUE, a, b, "max")
    assert worse.drivers["property_price"].peak == -33
    assert worse.drivers["gdp_growth"].peak == -4.5
    # Lower rates help, and only the spiral's fall is common ground: the smaller easing stays.
    assert worse.drivers["lpr"].peak == -80
    assert worse.idiosyncratic.sectors["equipment_mfg"] == 1.4
    # One scenario's support alone is relief, and under max the other's rest is worse.
    flood, drought = CATALOGUE["haihe-flood"], CATALOGUE["carbon-price-jump"]
    assert "fiscal_support" not in combine(CATALOGUE, flood, drought, "max").drivers
    with pytest.raises(ValueError, match="rule"):
        combine(CATALOGUE, a, b, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ramp_decay", "spike", "ramp_hold", "plateau", "double_dip"])
def test_fit_finds_what_it_was_made_of(name: str) -> None:
    life = None if name == "ramp_hold" else 2.0
    path = 7.0 * shape(name, 3, life)
    fit = fit_path(path)
    assert fit is not None and fit.miss < 1e-12
    again = fit.spec.peak * shape(fit.spec.shape, fit.spec.peak_quarter, fit.spec.half_life)
    assert np.abs(again - path).max() < 1e-9
    assert fit_path(np.zeros(12)) is None and fit_path(np.full(12, np.nan)) is None


def series_file(path: Path) -> Path:
    lines = ["series,name,date,value"]
    for month in range(48):
        date = f"{2019 + month // 12}-{month % 12 + 1:02d}-01"
        lines.append(f'CN_PPI_YOY,"PPI, monthly",{date},{2.0 if month < 12 else -4.0}')
        lines.append(f"CN_CNY_USD,rate,{date},{7.0 if month < 15 else 7.7}")
    lines += ["CN_LPR_1Y,lpr,2019-08-20,4.25", "CN_LPR_1Y,lpr,2020-05-20,3.85"]
    lines += ["CN_LPR_1Y,lpr,2022-12-20,3.85"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_replay_takes_its_peaks_from_the_series(tmp_path: Path) -> None:
    series = read_series(series_file(tmp_path / "macro.csv"))
    scenario = replay(CATALOGUE, series, Quarter(2020, 1), source="macro.csv")
    assert set(scenario.drivers) == {"ppi_inflation", "cny_usd", "lpr"}
    ppi, lpr = scenario.drivers["ppi_inflation"], scenario.drivers["lpr"]
    assert (ppi.peak, ppi.peak_quarter, ppi.shape) == (-6.0, 1, "ramp_hold")
    assert lpr.peak == -40.0 and lpr.peak_quarter in (2, 3)  # a step, fitted by a short ramp
    assert scenario.drivers["cny_usd"].peak == pytest.approx(10.0)
    assert scenario.grade == "secondary" and "macro.csv" in scenario.anchor
    assert add_scenarios(CATALOGUE, [scenario])["replay-2020q1"] == scenario
    with pytest.raises(UserError, match="H2584"):
        replay(CATALOGUE, series, Quarter(2010, 1))


def test_series_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("series,name,date,value\nA,a,2020-13-01,1\n", "utf-8")
    with pytest.raises(UserError, match=r"H2583.*line 2"):
        read_series(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("series;value\n", "utf-8")
    with pytest.raises(UserError, match=r"H2583.*no column date"):
        read_series(tmp_path / "b.csv")
    with pytest.raises(UserError, match="H2583"):
        read_series(tmp_path / "absent.csv")


def test_release_dates_are_moved_back() -> None:
    import datetime

    months = [(datetime.date(2020, m, 8), float(m)) for m in (4, 5, 6, 7)]
    spec = DriverSeries("X", "rate", lag_months=1)
    assert quarterly(months, spec) == {Quarter(2020, 1): 4.0, Quarter(2020, 2): 6.0}


def test_sigma_knows_persistence() -> None:
    rng = np.random.default_rng(0)
    white = rng.standard_normal(400)
    slow = np.zeros(400)
    for t in range(1, 400):
        slow[t] = 0.9 * slow[t - 1] + white[t]
    assert sigma(white).effective > 350 and sigma(slow).effective < 80
    assert sigma(slow).low < 1 / np.sqrt(1 - 0.81) < sigma(slow).high


def test_real_window(real_data: Path) -> None:
    """April to June 2022: GDP 4.0 points below the quarter before, as NBS has it."""
    path = real_data / "china_macro" / "derived_china_macro_long.csv"
    if not path.exists():
        pytest.skip("no macro series")
    scenario = replay(CATALOGUE, read_series(path), Quarter(2022, 2), quarters=4)
    assert scenario.drivers["gdp_growth"].peak == pytest.approx(-4.0)
    assert scenario.drivers["gdp_growth"].peak_quarter == 1
