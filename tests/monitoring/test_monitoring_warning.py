"""Measures of a warning against sklearn and by hand; the synthetic panel keeps its promises."""

import numpy as np
import pytest
from sklearn.metrics import fbeta_score, matthews_corrcoef

from haihe_fl.monitoring.alerts import alert_states, raise_alerts
from haihe_fl.monitoring.indicators import load_indicators
from haihe_fl.monitoring.synthetic import SILENT, MonitoringPanel, synthetic_panel
from haihe_fl.monitoring.warning import (
    Confusion,
    choose_threshold,
    evaluate_warning,
    events,
    lead_times,
    out_of_time,
)

CATALOGUE = load_indicators()


@pytest.fixture(scope="module")
def panel() -> MonitoringPanel:
    return synthetic_panel(firms=1_500, months=48, seed=3)


def test_vector_t16() -> None:
    c = Confusion.from_rates(0.05, 0.60, 0.94)
    assert c.accuracy == pytest.approx(0.923, abs=1e-15)
    assert c.precision == pytest.approx(0.345, abs=5e-4)
    assert c.mcc == pytest.approx(0.418, abs=5e-4)
    assert c.null_accuracy > c.accuracy
    never = Confusion.from_rates(0.0067, 0.0, 1.0)
    assert never.accuracy == pytest.approx(0.9933) and never.mcc == 0.0


def test_figures_agree_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    event, flag = rng.random(5_000) < 0.05, rng.random(5_000) < 0.1
    flag |= event & (rng.random(5_000) < 0.4)
    c = Confusion.of(flag, event)
    assert c.mcc == pytest.approx(matthews_corrcoef(event, flag))
    assert c.f2 == pytest.approx(fbeta_score(event, flag, beta=2))
    assert c.alerts_per_100 == pytest.approx(100 * flag.mean())


def test_intervals_are_drawn_by_firm() -> None:
    """Twelve copies of each firm's quarter add no information, and must add no precision."""
    rng = np.random.default_rng(1)
    event, flag = rng.random(400) < 0.2, rng.random(400) < 0.3
    once = evaluate_warning(flag, event, np.arange(400))
    copied = evaluate_warning(
        np.repeat(flag, 12), np.repeat(event, 12), np.repeat(np.arange(400), 12)
    )
    for name in ("accuracy", "precision", "recall"):
        a, b = once.intervals[name], copied.intervals[name]
        assert b.high - b.low == pytest.approx(a.high - a.low, rel=0.25)
    assert copied.firms == 400 and copied.defaults == event.sum()


def test_events_leave_out_whom_nobody_followed() -> None:
    event, judged = events([-1, 0, 5, 11], periods=12, horizon=4)
    assert judged[0].sum() == 8 and not event[0].any()
    assert not judged[1].any()
    assert np.flatnonzero(event[2]).tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(event[3]).tolist() == [7]


def test_fitting_ends_before_outcomes_of_the_test_begin() -> None:
    fit, test = out_of_time(20, 12)
    assert not (fit & test).any()
    assert np.flatnonzero(fit).max() + 4 < np.flatnonzero(test).min()


def test_thresholds_keep_their_precision_and_take_ties_whole() -> None:
    p = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    event = np.array([1, 1, 0, 0, 0])
    assert choose_threshold(p, event, 0.9) == 0.9
    assert choose_threshold(p, event, 0.5) == 0.5
    assert choose_threshold(p, 0 * event, 0.1) == np.inf


def test_lead_is_from_the_first_warning_of_the_last_year() -> None:
    days = np.arange(0, 900, 30)
    raised = np.zeros((3, 30), dtype=bool)
    raised[0, [0, 20, 25]] = True  # day 0 is more than a year before day 840
    raised[1, 29] = True  # after the default
    raised[2, 5] = True
    assert lead_times(raised, days, [840, 600, np.nan]).tolist() == [840 - 600]


def test_the_panel_is_seeded_and_leads_its_defaults(panel: MonitoringPanel) -> None:
    again = synthetic_panel(firms=1_500, months=48, seed=3)
    assert np.array_equal(panel.values, again.values, equal_nan=True)
    failed = panel.default_month >= 0
    assert failed.mean() == pytest.approx(1 - 0.95**4, abs=0.03)
    grades = CATALOGUE.grade(panel.values)
    states = alert_states(CATALOGUE, grades, panel.pd, panel.days)
    when = np.where(failed, 30.0 * panel.default_month, np.nan)
    leads = lead_times(states.any, panel.days, when)
    assert 60 <= np.median(leads) <= 150
    assert len(leads) / failed.sum() == pytest.approx(1 - SILENT, abs=0.1)
    assert np.isnan(panel.pd[failed, -1]).all()
    for alert in raise_alerts(CATALOGUE, grades, panel.pd, panel.days):
        assert not failed[alert.firm] or alert.period < panel.default_month[alert.firm]


def test_a_warning_of_noise_has_no_skill(panel: MonitoringPanel) -> None:
    quarters = np.arange(2, 48, 3)
    failed = panel.default_month >= 0
    event, judged = events(np.where(failed, panel.default_month // 3, -1), len(quarters))
    rng = np.random.default_rng(0)
    noise = rng.random(event.shape) < 0.05
    firm = np.repeat(np.arange(len(event))[:, None], event.shape[1], 1)
    pd = panel.pd[:, quarters]
    real = evaluate_warning(pd[judged] > 0.1, event[judged], firm[judged], probability=pd[judged])
    blind = evaluate_warning(noise[judged], event[judged], firm[judged])
    assert abs(blind.confusion.mcc) < 0.03 < 0.1 < real.confusion.mcc
    assert real.intervals["mcc"].low > 0 and real.auc > 0.55
    assert np.isnan(blind.auc) and np.isnan(blind.lead_days)
