"""Indicators: all 32 thresholds, both sides of each; alerts with reason, owner and deadline."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language
from haihe_fl.monitoring.alerts import alert_states, raise_alerts
from haihe_fl.monitoring.indicators import COUNT, load_indicators

CATALOGUE = load_indicators()
K = {name: k for k, name in enumerate(CATALOGUE.ids)}


def test_every_threshold_grades_on_its_own_side() -> None:
    """For each indicator: on the threshold, just beyond it, just short of it."""
    for k, indicator in enumerate(CATALOGUE.indicators):
        worse = 1.0 if indicator.direction == "up" else -1.0
        bounds = [(indicator.red, 2)]
        if indicator.amber is not None:
            bounds.append((indicator.amber, 1))
        for bound, grade in bounds:
            below = grade - 1 if indicator.amber is not None else 0
            for value, expected in (
                (bound + 1e-6 * worse, grade),
                (bound - 1e-6 * worse, below),
                (bound, grade if indicator.inclusive else below),
            ):
                row = np.full(COUNT, np.nan)
                row[k] = value
                grades = CATALOGUE.grade(row)
                assert grades[k] == expected, (indicator.id, value)
                assert np.delete(grades, k).sum() == 0


def test_thresholds_are_those_of_the_plan() -> None:
    stated = [(i.amber, i.red) for i in CATALOGUE.indicators]
    assert stated[:8] == [
        *[(-15, -30), (-20, -40), (1.2, 1.0), (70, 85), (2, 1), (30, 60), (30, 60), (-5, -10)]
    ]
    assert stated[8:14] == [(0, 30), (1, 2), (1, 2), (-15, -30), (-20, -40), (15, 30)]
    assert stated[14:21] == [(1, 3), (None, 1), (30, 50), (1, 2), (None, 1), (1, 2), (1, 2)]
    assert stated[21:27] == [(1, 30), (85, 95), (2, 4), (40, 60), (50, 100), (1.5, 3)]
    assert stated[27:] == [(5, 15), (1, 2), (40, 60), (None, 1), (2, 4)]
    assert all(i.source == "expert start" for i in CATALOGUE.indicators)


def test_missing_values_are_no_alert_but_can_be_told_apart() -> None:
    values = np.full((2, 3, COUNT), np.nan)
    assert CATALOGUE.grade(values).max() == 0
    assert (CATALOGUE.grade(values, missing=-1) == -1).all()
    with pytest.raises(UserError, match="H2592"):
        CATALOGUE.grade(np.zeros(31))
    with pytest.raises(UserError, match="H2592"):
        CATALOGUE.grade(3.0)


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda raw: raw["indicators"].pop(), "top level|numbered"),
        (lambda raw: raw["indicators"][3].update(red=60), "debt_to_assets"),
        (lambda raw: raw["indicators"][0].update(red=-10), "sales_yoy"),
        (lambda raw: raw["indicators"][5].update(dimension="weather"), "weather"),
        (lambda raw: raw["indicators"][5].update(id="cash_cover"), "twice"),
        (lambda raw: raw["indicators"][5].update(direction="sideways"), "direction"),
        (lambda raw: raw["indicators"][5].pop("definition"), "definition"),
        (lambda raw: raw["alerts"]["pd"].update(factor=0.5), "factor"),
    ],
)
def test_a_wrong_file_is_refused(
    tmp_path: Path, damage: Callable[[Any], object], where: str
) -> None:
    raw = yaml.safe_load((files("configs") / "indicators.yaml").read_text("utf-8"))
    damage(raw)
    path = tmp_path / "indicators.yaml"
    path.write_text(yaml.safe_dump(raw, allow_unicode=True), "utf-8")
    with pytest.raises(UserError, match=rf"H2591.*({where})"):
        load_indicators(path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="H2590"):
        load_indicators(tmp_path / "absent.yaml")


def test_three_ambers_count_only_within_sixty_days() -> None:
    grades = np.zeros((2, 3, COUNT), dtype=np.int8)
    for firm, days in ((0, (0, 1, 2)), (1, (0, 1, 1))):
        for k, t in enumerate(days):
            grades[firm, t, k] = 1
    pd = np.full((2, 3), 0.02)
    near = alert_states(CATALOGUE, grades, pd, [0, 30, 59])
    far = alert_states(CATALOGUE, grades, pd, [0, 30, 60])
    assert near.ambers[0].tolist() == [False, False, True]
    assert not far.ambers[0].any()
    assert near.ambers[1].tolist() == [False, True, True]
    # The same indicator amber three times is one indicator.
    again = np.zeros((1, 3, COUNT), dtype=np.int8)
    again[0, :, 7] = 1
    assert not alert_states(CATALOGUE, again, pd[:1], [0, 10, 20]).any.any()


def test_a_pd_must_double_within_ninety_days() -> None:
    grades = np.zeros((1, 3, COUNT), dtype=np.int8)
    pd = [[0.02, 0.03, 0.04]]
    assert alert_states(CATALOGUE, grades, pd, [0, 30, 90]).pd[0].tolist() == [False, False, True]
    assert not alert_states(CATALOGUE, grades, pd, [0, 30, 91]).pd.any()
    gaps = [[np.nan, np.nan, 0.04]]
    assert not alert_states(CATALOGUE, grades, gaps, [0, 30, 60]).pd.any()
    gone = [[0.02, np.nan, np.nan]]
    assert not alert_states(CATALOGUE, grades, gone, [0, 30, 60]).pd.any()


def test_alerts_say_why_who_and_until_when() -> None:
    values = np.full((2, 3, COUNT), np.nan)
    values[0, 1:, K["days_past_due"]] = 45
    for k, name in enumerate(("sales_yoy", "interest_cover", "utilisation")):
        values[1, k, K[name]] = {"sales_yoy": -20, "interest_cover": 1.5, "utilisation": 90}[name]
    pd = np.array([[0.02, 0.02, 0.02], [0.02, 0.03, 0.05]])
    alerts = raise_alerts(CATALOGUE, CATALOGUE.grade(values), pd, [0, 25, 50])
    assert [(a.firm, a.rule, a.day, a.due) for a in alerts] == [
        (0, "red", 25, 28),
        (1, "ambers", 50, 60),
        (1, "pd", 50, 55),
    ]
    red, ambers, doubled = alerts
    assert red.indicators == ("days_past_due",) and red.outcome == "open"
    assert ambers.indicators == ("sales_yoy", "interest_cover", "utilisation")
    assert "2.00 % to 5.00 %" in doubled.reason.en
    assert str(red.owner) == "credit officer"
    set_language("zh")
    assert "逾期天数" in str(red.reason) and str(red.owner) == "信贷审批人"


def test_panels_that_do_not_match_are_refused() -> None:
    grades = np.zeros((2, 3, COUNT), dtype=np.int8)
    for pd, days in ((np.zeros((2, 2)), [0, 1, 2]), (np.zeros((2, 3)), [0, 2, 1])):
        with pytest.raises(UserError, match="H2593"):
            alert_states(CATALOGUE, grades, pd, days)
