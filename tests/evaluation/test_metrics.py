import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binomtest, norm

from haihe_fl.evaluation import metrics as m
from haihe_fl.evaluation.calibration import calibration_fit, calibration_table, ece_of
from haihe_fl.evaluation.intervals import delong, delong_gain, wilson


def sample(n=2000, seed=0, slope=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    score = rng.normal(-2.5, 1.2, n)
    label = (rng.random(n) < expit(score)).astype(np.int8)
    return label, expit((score - shift) / slope), rng


labels_scores = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(1, 4)), min_size=2, max_size=40
).filter(lambda rows: 0 < sum(r[0] for r in rows) < len(rows))


@settings(max_examples=60, deadline=None)
@given(labels_scores)
def test_auc_ks_and_delong_equal_the_definition_with_ties_and_weights(rows):
    y, s, w = (np.array(c) for c in zip(*rows, strict=True))
    bad, good = y == 1, y == 0
    wins = (s[bad][:, None] > s[good]) + 0.5 * (s[bad][:, None] == s[good])
    mass = w[bad][:, None] * w[good]
    exact = (wins * mass).sum() / mass.sum()
    assert m.auc(y, s, w) == pytest.approx(exact)
    assert delong(y, s, w).value == pytest.approx(exact)
    gaps = [
        abs(w[bad & (s >= c)].sum() / w[bad].sum() - w[good & (s >= c)].sum() / w[good].sum())
        for c in np.unique(s)
    ]
    assert m.ks(y, s, w) == pytest.approx(max(gaps))


def test_whole_weights_are_repeated_records():
    label, pd, rng = sample(300)
    w = rng.integers(1, 4, 300)
    a = m.evaluate(label, pd, w)
    b = m.evaluate(np.repeat(label, w), np.repeat(pd, w))
    for name in ("auc", "ks", "average_precision", "brier", "brier_skill", "records", "defaults"):
        assert getattr(a, name) == pytest.approx(getattr(b, name)), name
    assert a.calibration_slope == pytest.approx(b.calibration_slope, abs=1e-6)


def test_delong_variance_equals_the_quadratic_form():
    label, pd, _ = sample(400, 3)
    x, z = pd[label == 1], pd[label == 0]
    psi = (x[:, None] > z) + 0.5 * (x[:, None] == z)
    variance = psi.mean(1).var(ddof=1) / len(x) + psi.mean(0).var(ddof=1) / len(z)
    e = delong(label, pd)
    assert e.sd == pytest.approx(variance**0.5)
    assert e.interval.low == pytest.approx(e.value - norm.ppf(0.975) * e.sd)


def test_delong_covers_and_gain_of_a_model_over_itself_is_nought():
    # AUC of the sampling process, from one large sample.
    truth = m.auc(*sample(200_000, 99)[:2])
    inside = 0
    for seed in range(200):
        label, pd, _ = sample(600, seed)
        low, high = delong(label, pd).interval
        inside += low <= truth <= high
    assert 0.90 <= inside / 200 <= 0.99
    e = delong_gain(label, pd, pd)
    assert (e.value, e.sd) == (0.0, 0.0)


def test_paired_gain_is_the_difference_and_sharper_than_unpaired():
    label, pd, rng = sample(2000, 5)
    worse = expit(logit(pd) + rng.normal(0, 0.5, 2000))
    gain = delong_gain(label, pd, worse)
    assert gain.value == pytest.approx(m.auc(label, pd) - m.auc(label, worse))
    assert gain.sd < (delong(label, pd).sd ** 2 + delong(label, worse).sd ** 2) ** 0.5
    assert gain.interval.low > 0


@given(st.integers(1, 400), st.data())
def test_wilson_equals_scipy(n, data):
    k = data.draw(st.integers(0, n))
    theirs = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_calibration_recovers_a_known_distortion():
    label, pd, _ = sample(60_000, 1, slope=0.5)  # PDs twice too extreme in log-odds
    fit = m.evaluate(label, pd)
    assert fit.calibration_slope == pytest.approx(0.5, abs=0.02)
    low, high = fit.intervals["calibration_slope"]
    assert low < 0.5 < high
    label, pd, _ = sample(60_000, 1, shift=0.7)  # risk under-stated
    fit = m.evaluate(label, pd)
    assert fit.calibration_intercept == pytest.approx(0.7, abs=0.05)
    assert fit.calibration_slope == pytest.approx(1.0, abs=0.03)
    # The intercept's defining property: after the shift, the mean PD is the default rate.
    mended = expit(logit(pd) + fit.calibration_intercept)
    assert mended.mean() == pytest.approx(label.mean(), abs=1e-8)


def test_calibration_fit_by_rows_equals_one_by_one():
    rng = np.random.default_rng(2)
    score = np.linspace(-4, 2, 20)
    total = rng.integers(20, 200, (3, 20)).astype(float)
    bad = rng.binomial(total.astype(int), expit(score)).astype(float)
    together = calibration_fit(score, bad, total)
    for i in range(3):
        alone = calibration_fit(score, bad[i], total[i])
        assert together.slope[i] == pytest.approx(float(alone.slope))
        assert together.intercept[i] == pytest.approx(float(alone.intercept))


def test_calibration_table_keeps_every_record_once():
    label, pd, rng = sample(1234)
    table = calibration_table(label, pd)
    assert len(table) == 10
    assert sum(b.records for b in table) == 1234
    assert sum(b.records * b.observed for b in table) == pytest.approx(label.sum())
    assert sum(b.records * b.predicted for b in table) == pytest.approx(pd.sum())
    assert all(b.interval.low <= b.observed <= b.interval.high for b in table)
    assert ece_of(table) < 0.03
    constant = calibration_table(label, np.full(1234, 0.1))
    assert len(constant) == 1 and constant[0].records == 1234
    assert ece_of(constant) == pytest.approx(abs(label.mean() - 0.1))
    assert len(calibration_table(label, pd, rng.random(1234))) == 10


def test_brier_and_its_skill():
    label, pd, _ = sample()
    assert m.brier(label, pd) == pytest.approx(np.mean((pd - label) ** 2))
    assert m.brier_skill(label, np.full(len(label), label.mean())) == pytest.approx(0, abs=1e-12)
    assert 0 < m.brier_skill(label, pd) < 1


def test_psi_is_symmetric_and_survives_empty_and_noisy_bins():
    assert m.psi([100, 200, 300], [100, 200, 300]) == 0
    assert m.psi([10, 90], [30, 70]) == pytest.approx(m.psi([30, 70], [10, 90]))
    assert np.isfinite(m.psi([0, 100], [-3.0, 100]))
    with pytest.raises(ValueError, match="match"):
        m.psi([1, 2], [1, 2, 3])


def test_bootstrap_draws_whole_borrowers():
    label, pd, _ = sample(300, 7)
    alone = m.bootstrap(m.auc, label, pd, draws=100)
    twice = m.bootstrap(
        m.auc, np.tile(label, 2), np.tile(pd, 2), group=np.tile(np.arange(300), 2), draws=100
    )
    blind = m.bootstrap(m.auc, np.tile(label, 2), np.tile(pd, 2), draws=100)
    assert twice.high - twice.low == pytest.approx(alone.high - alone.low, rel=1e-6)
    assert blind.high - blind.low < 0.9 * (twice.high - twice.low)


def test_evaluate_gives_intervals_around_its_figures():
    label, pd, _ = sample(800)
    e = m.evaluate(label, pd, draws=60)
    assert set(e.intervals) >= {"auc", "ks", "average_precision", "brier", "calibration_slope"}
    for name, (low, high) in e.intervals.items():
        assert low <= getattr(e, name) <= high, name


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1], []])
def test_one_class_gives_nan_and_no_warning(label):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e = m.evaluate(label, np.linspace(0.1, 0.3, len(label)), draws=5)
    assert np.isnan(e.auc) and np.isnan(e.ks) and np.isnan(e.calibration_slope)
    assert "auc" not in e.intervals


def test_perfect_separation_has_no_slope_but_no_error():
    e = m.evaluate([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert e.auc == 1.0 and np.isnan(e.calibration_slope)


@pytest.mark.parametrize(
    ("label", "pd", "weight"),
    [([0, 2], [0.1, 0.2], None), ([0, 1], [0.1, np.nan], None), ([0, 1], [0.1, 0.2], [1, -1])],
)
def test_bad_input_is_refused(label, pd, weight):
    with pytest.raises(ValueError):
        m.evaluate(label, pd, weight)
