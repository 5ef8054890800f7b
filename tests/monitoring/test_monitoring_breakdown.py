"""Groups, costs, calibration and stability of a warning: closed forms and cases by hand."""

import json

import numpy as np
import pytest

from haihe_fl.evaluation.intervals import wilson
from haihe_fl.monitoring.breakdown import breakdown, design_effect, rate_by_firm
from haihe_fl.monitoring.costs import RATIOS, cost_curve, threshold_for, worth
from haihe_fl.monitoring.facts import trial_facts
from haihe_fl.monitoring.score import calibrate_score, stability
from haihe_fl.monitoring.trial import RULES, Trial, run_trial
from haihe_fl.monitoring.warning import Confusion


@pytest.fixture(scope="module")
def trial() -> Trial:
    return run_trial(firms=1_000, seed=5)


def test_where_each_firm_stands_once_the_interval_is_wilsons() -> None:
    hit = np.arange(40) < 7
    assert rate_by_firm(hit, np.arange(40)).interval == pytest.approx(wilson(7, 40))
    for copies in (2, 12):
        rate = rate_by_firm(np.repeat(hit, copies), np.repeat(np.arange(40), copies))
        assert rate.interval == pytest.approx(wilson(7, 40)) and rate.firms == 40
    none = rate_by_firm(np.zeros(48), np.repeat(np.arange(12), 4))
    assert none.interval == pytest.approx(wilson(0, 12)) and none.value == 0


def test_design_effect_by_hand() -> None:
    # Firm 0 hit twice of two, firm 1 once of two, firm 2 never of one: mean .6; sums of
    # deviations .8, -.2, -.6, squares 1.04; squares of deviations 3 x .16 + 2 x .36 = 1.2.
    assert design_effect([1, 1, 1, 0, 0], [0, 0, 1, 1, 2]) == 1.0  # 1.04 / 1.2, never below 1
    # All hits with one firm of three: deviations .6 .6 and -.4 thrice: 1.2, -.8, -.4.
    assert design_effect([1, 1, 0, 0, 0], [0, 0, 1, 1, 2]) == pytest.approx(2.24 / 1.2)


def test_intervals_by_firm_hold_the_truth_and_naive_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    firm, held, naive = np.repeat(np.arange(80), 4), 0, 0
    for _ in range(400):
        hit = np.repeat(rng.random(80) < 0.3, 4)  # a firm is hit in all its quarters or in none
        low, high = rate_by_firm(hit, firm).interval
        held += low <= 0.3 <= high
        low, high = wilson(hit.sum(), 320)
        naive += low <= 0.3 <= high
    assert held >= 370 and naive < 300


def test_groups_are_counted_apart_and_add_up(trial: Trial) -> None:
    whole = Confusion.of(trial.flag(RULES), trial.event[trial.judged])
    for by, count in (("sector", 12), ("size_class", 3), ("district", 16)):
        groups = trial.breakdown(RULES)[by]
        assert len(groups) == count
        assert sum(g.units for g in groups) == whole.total
        assert sum(g.recall.hits for g in groups) == whole.tp
        assert sum(g.recall.trials for g in groups) == whole.tp + whole.fn
        assert sum(g.precision.trials for g in groups) == whole.tp + whole.fp


def test_a_group_that_is_not_warned_of_stands_out_and_few_firms_are_marked() -> None:
    event = np.tile([True, False], 100)
    group = np.repeat(["a", "b", "c"], [90, 90, 20])
    flag = event & (group != "b")
    flag[91:120:2] = True  # false alerts in b
    a, b, c = breakdown(flag, event, np.arange(200), group)
    assert (a.recall.value, b.recall.value, b.precision.value) == (1, 0, 0)
    assert b.recall.interval.high < 0.1 < 0.9 < a.recall.interval.low
    assert not a.small and not b.small and not c.small
    assert [g.small for g in breakdown(flag, event, np.arange(200), group, least=11)] == [
        False,
        False,
        True,
    ]
    # Ten firm-quarters of the same firm are one firm.
    assert breakdown(flag[-20:], event[-20:], np.zeros(20), group[-20:])[0].small


def test_costs_by_hand_and_the_ends_of_their_worth() -> None:
    cells = {"tp": 20, "fp": 40, "fn": 30, "tn": 910}
    flag = np.repeat([1, 1, 0, 0], list(cells.values()))
    event = np.repeat([1, 0, 1, 0], list(cells.values()))
    low, high = worth(Confusion(**cells))
    curve = cost_curve(flag, event, np.arange(1_000), ratios=[low, 10, 19, high, 50])
    assert curve[1].cost == pytest.approx(34.0)  # (30 x 10 + 40) / 1000, of 100
    assert (curve[1].never, curve[1].always) == (50.0, 95.0)
    assert curve[2].never == pytest.approx(curve[2].always)
    assert curve[0].saving == pytest.approx(0) and curve[3].saving == pytest.approx(0)
    assert curve[1].saving == pytest.approx(16.0) and curve[4].saving < 0
    # Saved beside never: 10 for each of 20, -1 for each of 40; variance by hand.
    sd = (20 * 9.84**2 + 40 * 1.16**2 + 940 * 0.16**2) ** 0.5 / 10
    assert curve[1].interval.high - curve[1].saving == pytest.approx(1.959964 * sd)
    four = cost_curve(np.repeat(flag, 4), np.repeat(event, 4), np.repeat(np.arange(1_000), 4))
    once = cost_curve(flag, event, np.arange(1_000))
    for p, q in zip(once, four, strict=True):
        assert q.interval == pytest.approx(p.interval) and q.cost == pytest.approx(p.cost)


def test_null_strategies_save_nothing() -> None:
    event = np.arange(100) < 5
    for flag in (np.zeros(100), np.ones(100)):
        points = cost_curve(flag, event, np.arange(100))
        assert all(p.cost == (p.always if flag.any() else p.never) for p in points)
        assert max(p.saving for p in points) == 0


def test_the_threshold_of_a_calibrated_score_is_the_cheapest() -> None:
    rng = np.random.default_rng(2)
    p = rng.beta(1, 8, 200_000)
    event = rng.random(p.size) < p
    for ratio in (3.0, 9.0, 19.0):
        best = threshold_for(ratio)
        costs = [
            cost_curve(p >= t, event, np.arange(p.size), ratios=[ratio])[0].cost
            for t in (best / 2, best, 2 * best)
        ]
        assert costs[1] == min(costs)


def test_slope_intercept_and_ece_find_what_was_done_to_a_score() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(-3, 1, 40_000)
    firm = np.arange(x.size) // 2
    event = rng.random(x.size) < 1 / (1 + np.exp(-x))
    good = calibrate_score(1 / (1 + np.exp(-x)), event, firm, draws=40)
    extreme = calibrate_score(1 / (1 + np.exp(-2 * x)), event, firm, draws=40)
    low = calibrate_score(1 / (1 + np.exp(1 - x)), event, firm, draws=40)
    assert good.intervals["slope"].low < 1 < good.intervals["slope"].high
    assert good.slope == pytest.approx(1, abs=0.05) and good.ece < 3 * good.ece_chance
    assert extreme.slope == pytest.approx(good.slope / 2, rel=1e-3)
    assert extreme.intervals["slope"].high < 1
    assert low.intercept == pytest.approx(good.intercept + 1, abs=1e-6)
    assert low.ece > 10 * low.ece_chance and low.predicted < low.observed
    none = calibrate_score([0.1, 0.2], [0, 0], [0, 1])
    assert np.isnan(none.slope) and np.isnan(none.ece)


def test_ece_by_chance_by_hand() -> None:
    """One group of 400 at .5: mean absolute deviation of a normal of sd .025."""
    c = calibrate_score(np.full(400, 0.5), np.arange(400) < 220, np.arange(400), draws=0)
    assert c.ece == pytest.approx(0.05)
    assert c.ece_chance == pytest.approx(0.025 * (2 / np.pi) ** 0.5)


def test_psi_by_hand_and_its_chance() -> None:
    fixing = np.arange(100)
    s = stability(fixing, np.repeat(fixing[:50], 2), bins=2)
    # .5/.5 against 1/0; the empty half is raised to half a unit of 100.
    share = 0.5 / 100.5
    expected = (0.5 - share) * np.log(0.5 / share) + (0.5 - share) * np.log((1 - share) / 0.5)
    assert s.psi == pytest.approx(expected) and s.band == "shifted" and s.judged == (1.0, 0.0)
    assert stability(fixing, fixing).psi == 0 and stability(fixing, fixing).band == "stable"
    rng = np.random.default_rng(4)
    drawn = [stability(rng.normal(size=500), rng.normal(size=800)) for _ in range(300)]
    assert np.mean([d.psi for d in drawn]) == pytest.approx(drawn[0].chance, rel=0.1)
    # The bins are those of the fixing window alone.
    assert s.edges == stability(fixing, fixing + 1_000, bins=2).edges


def test_the_trial_keeps_its_windows_apart_and_its_score_is_stable(trial: Trial) -> None:
    assert not (trial.fixing & trial.judged).any()
    assert np.flatnonzero(trial.fixing.any(0)).max() + 4 < np.flatnonzero(trial.judged.any(0)).min()
    assert trial.stability().band == "stable"
    shifted = stability(trial.pd[trial.fixing], np.minimum(2 * trial.pd[trial.judged], 1))
    assert shifted.band == "shifted"


def test_facts_are_json_and_hold_every_measure(trial: Trial) -> None:
    facts = trial_facts(trial, seed=5)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [p["ratio"] for p in facts["costs"]["rules"]] == list(RATIOS)
    low, high = facts["calibration"]["intervals"]["slope"]
    assert low < facts["calibration"]["slope"] < high
    assert facts["warnings"]["nobody"]["precision"] is None
    assert set(facts["breakdown"]) == {"rules", "pd"}


@pytest.mark.parametrize(
    "call",
    [
        lambda: breakdown([1, 0], [1, 0], [1, 2], ["a"]),
        lambda: cost_curve([1, 0], [1], [1, 2]),
        lambda: cost_curve([1], [1], [1], ratios=[-1.0]),
        lambda: calibrate_score([1.2], [1], [1]),
        lambda: stability([], [0.1]),
        lambda: stability([0.1], [np.nan]),
    ],
)
def test_what_does_not_fit_is_refused(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]
