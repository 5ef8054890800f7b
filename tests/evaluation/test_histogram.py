import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from haihe_fl.evaluation import metrics as exact
from haihe_fl.evaluation.histogram import (
    ScoreHistogram,
    histogram,
    histogram_calibration,
    histogram_metrics,
    nearest_counts,
)

EDGES = np.linspace(-8.0, 4.4, 63)


def borrowers(n, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(-2.7, 1.2, n)
    return (rng.random(n) < expit(score)).astype(np.int8), score


def noisy(h, sd, rng):
    return ScoreHistogram(
        h.edges,
        h.good + sd * rng.standard_normal(len(h.good)),
        h.bad + sd * rng.standard_normal(len(h.bad)),
        sd,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(60, 3000))
def test_without_noise_the_figures_are_exact_up_to_the_binning(seed, n):
    label, score = borrowers(n, seed)
    if not 0 < label.sum() < n:
        return
    h = histogram(label, score, EDGES)
    e, b = exact.evaluate(label, expit(score)), histogram_metrics(h, draws=0)
    assert (b.records, b.defaults) == (n, label.sum())
    assert abs(b.auc - e.auc) <= h.auc_bound + 1e-12
    # Only the highest step may be lost inside one bin.
    assert b.ks <= e.ks + 1e-12
    assert e.ks - b.ks <= (h.good / h.good.sum() + h.bad / h.bad.sum()).max() + 1e-12
    # Half a bin is .1 in log-odds, so a PD moves by at most .1 p (1 - p) <= .025.
    assert abs(b.brier - e.brier) <= 2 * 0.025


@given(st.lists(st.integers(0, 60), min_size=20, max_size=60))
def test_scores_at_the_middle_of_their_bins_lose_nothing(cells):
    centres = histogram([0], [0.0], EDGES).centres
    score = centres[np.array(cells)]
    label = np.arange(len(cells)) % 3 == 0
    e = exact.evaluate(label, expit(score))
    b = histogram_metrics(histogram(label, score, EDGES), draws=0)
    for name in ("auc", "ks", "brier", "brier_skill"):
        assert getattr(b, name) == pytest.approx(getattr(e, name)), name
    assert b.calibration_slope == pytest.approx(e.calibration_slope, nan_ok=True, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_close_though_bins_are_coarse(seed):
    label, score = borrowers(100_000, seed)
    e = exact.evaluate(label, expit(score))
    b = histogram_metrics(histogram(label, score, EDGES), draws=0)
    assert b.average_precision == pytest.approx(e.average_precision, abs=0.003)


def test_edges_put_every_score_somewhere():
    h = histogram([0, 0, 1, 1], [-1e9, np.nextafter(-8.0, -9), -8.0, np.inf], EDGES)
    assert h.good[0] == 2 and h.bad[1] == 1 and h.bad[-1] == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-20, 50), min_size=2, max_size=8))
def test_nearest_counts_is_the_projection(noisy_counts):
    c = np.array(noisy_counts)
    p = nearest_counts(c)
    assert (p >= 0).all()
    if c.sum() <= 0:
        assert p.sum() == 0
        return
    assert p.sum() == pytest.approx(c.sum())
    if c.sum() > 1:
        solved = minimize(
            lambda x: ((x - c) ** 2).sum(),
            np.full(len(c), c.sum() / len(c)),
            bounds=[(0, None)] * len(c),
            constraints={"type": "eq", "fun": lambda x: x.sum() - c.sum()},
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-12},
        )
        assert ((p - c) ** 2).sum() <= solved.fun + 1e-6


def test_counts_that_are_counts_stay_as_they_are():
    c = np.array([[3.0, 0.0, 5.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(nearest_counts(c), c)


@pytest.mark.parametrize("sd", [0.0, 1.4, 6.0])
def test_intervals_cover_the_truth_with_and_without_noise(sd):
    names = ("auc", "ks", "brier", "calibration_slope", "calibration_intercept")
    label, score = borrowers(400_000, 999)
    whole = histogram_metrics(histogram(label, score, EDGES), draws=0)
    inside = dict.fromkeys(names, 0)
    runs = 80
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        h = noisy(histogram(*borrowers(4000, seed), EDGES), sd, rng)
        got = histogram_metrics(h, draws=200, seed=seed)
        for name in names:
            low, high = got.intervals[name]
            inside[name] += low <= getattr(whole, name) <= high
    for name in names:
        assert inside[name] / runs >= 0.85, (name, inside)


def test_noise_widens_the_intervals():
    h = histogram(*borrowers(4000), EDGES)
    wide = noisy(h, 8.0, np.random.default_rng(0))
    a, b = histogram_metrics(h).intervals["auc"], histogram_metrics(wide).intervals["auc"]
    assert b.high - b.low > 1.1 * (a.high - a.low)
    told = histogram_calibration(wide)
    silent = histogram_calibration(ScoreHistogram(wide.edges, wide.good, wide.bad))
    for x, y in zip(told, silent, strict=True):
        assert x.interval.high - x.interval.low > y.interval.high - y.interval.low


def test_calibration_table_agrees_with_the_exact_one():
    label, score = borrowers(50_000)
    table = histogram_calibration(histogram(label, score, EDGES))
    assert sum(b.records for b in table) == 50_000
    assert sum(b.records * b.observed for b in table) == pytest.approx(label.sum())
    assert max(abs(b.predicted - b.observed) for b in table) < 0.02


def test_observed_rates_are_unbiased_under_noise():
    exact_table = histogram_calibration(histogram(*borrowers(20_000), EDGES))
    rng = np.random.default_rng(0)
    low = [
        histogram_calibration(noisy(histogram(*borrowers(20_000), EDGES), 6.0, rng))[0]
        for _ in range(100)
    ]
    error = np.array([b.observed - b.predicted for b in low])
    want = exact_table[0].observed - exact_table[0].predicted
    assert abs(error.mean() - want) < 4 * error.std() / 10 + 0.001
    assert np.mean([b.interval.low <= b.predicted <= b.interval.high for b in low]) > 0.9


@pytest.mark.parametrize("counts", [np.zeros(64), np.full(64, -1.0)])
def test_nothing_but_noise_gives_nan(counts):
    got = histogram_metrics(ScoreHistogram(EDGES, counts, counts, 1.0), draws=20)
    assert np.isnan(got.auc) and got.records == 0 and "auc" not in got.intervals
    assert histogram_calibration(ScoreHistogram(EDGES, counts, counts, 1.0)) == ()


def test_same_seed_same_interval():
    h = histogram(*borrowers(500), EDGES)
    assert histogram_metrics(h, seed=3).intervals == histogram_metrics(h, seed=3).intervals


def test_malformed_histograms_are_refused():
    with pytest.raises(ValueError, match="one bin more"):
        ScoreHistogram(EDGES, np.zeros(63), np.zeros(64))
    with pytest.raises(ValueError, match="increasing"):
        ScoreHistogram(EDGES[::-1], np.zeros(64), np.zeros(64))
