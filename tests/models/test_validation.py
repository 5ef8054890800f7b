from dataclasses import replace

import numpy as np
import pytest

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import IntegrityError, PolicyError, UserError
from haihe_fl.evaluation import metrics as exact
from haihe_fl.models import base, validation
from haihe_fl.models.releases import ReleaseComputer

CATALOGUE = FeatureCatalogue(name="one", features=(Feature(name="x", range=(-5, 5)),))


class Line(base.RiskModel):
    """log-odds = a + x"""

    family = "test-line"

    def __init__(self, catalogue, a):
        self.catalogue, self.a = catalogue, a

    def logit(self, values):
        return self.a + np.nan_to_num(values[:, 0]).astype(np.float64)

    def terms(self):
        return [base.Term((0,))]

    def contributions(self, values):
        return values.astype(np.float64)

    @property
    def base(self):
        return self.a

    def state(self):
        return {"a": self.a}, {}

    @classmethod
    def from_state(cls, catalogue, meta, arrays):
        return cls(catalogue, meta["a"])


@pytest.fixture
def model():
    yield Line(CATALOGUE, -2.0)


def teardown_module():
    base.RiskModel.families.pop("test-line", None)


def cohort(n=4000, seed=0, name="a"):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.2, n).astype(np.float32)
    label = (rng.random(n) < 1 / (1 + np.exp(2.0 - x))).astype(np.int8)
    key = np.array([f"{name}{seed}-{i}" for i in range(n)])
    return Cohort(CATALOGUE, x[:, None], label, key, np.full(n, name))


def test_the_sum_over_institutions_gives_the_pooled_figures(model):
    request = validation.validation_request(model, 1.4)
    assert request.part == "holdout"
    parts = [cohort(seed=i, name=n) for i, n in enumerate("abc")]
    total = sum(ReleaseComputer(c, 0.3).answer(request).vector for c in parts)
    held = [c.take(c.holdout(0.3)) for c in parts]
    label = np.concatenate([c.label for c in held])
    pd = np.concatenate([model.predict_pd(c.values) for c in held])
    got, want = validation.metrics_from_total(total, 0.0), exact.evaluate(label, pd)
    assert (got.records, got.defaults) == (want.records, want.defaults)
    h = validation.histogram_from_total(total, 0.0)
    assert abs(got.auc - want.auc) <= h.auc_bound
    assert got.auc == pytest.approx(want.auc, abs=2e-3)
    assert got.calibration_slope == pytest.approx(want.calibration_slope, abs=0.02)
    assert sum(b.records for b in validation.calibration_from_total(total, 0.0)) == len(label)


@pytest.mark.parametrize("row", [0, 17])
def test_one_record_moves_one_count_by_the_sensitivity(model, row):
    request = validation.validation_request(model, 1.4)
    whole = cohort(200)
    kept = np.arange(200) != row
    a = validation.score_histogram(request, whole, {})
    b = validation.score_histogram(request, whole.take(kept), {})
    moved = a.vector - b.vector
    assert np.count_nonzero(moved) == 1
    assert np.linalg.norm(moved) == a.sensitivity == b.sensitivity == validation.UNIT


def test_a_model_that_answers_nonsense_cannot_move_more(model):
    wild = validation.validation_request(Line(CATALOGUE, float("nan")), 1.0)
    answer = validation.score_histogram(wild, cohort(50), {})
    assert answer.vector.sum() == 50 * validation.UNIT


def test_plan_and_request_agree(model):
    plan, request = validation.planned_validation(1.4), validation.validation_request(model, 1.4)
    for name in ("name", "kind", "noise_multiplier", "length", "part"):
        assert getattr(plan, name) == getattr(request, name)
    assert plan.length == 128


def test_noise_is_in_integer_units(model):
    request = validation.validation_request(model, 1.4)
    total = ReleaseComputer(cohort(40_000), 0.3).answer(request).vector
    sd = 1.4 * validation.UNIT
    assert sd > 10
    noise = np.random.default_rng(0).normal(0, sd, len(total)).round().astype(np.int64)
    clean, got = (validation.metrics_from_total(t, s) for t, s in ((total, 0), (total + noise, sd)))
    assert got.auc == pytest.approx(clean.auc, abs=0.01)
    assert got.intervals["auc"].low < clean.auc < got.intervals["auc"].high
    assert validation.histogram_from_total(total, sd).noise_sd == pytest.approx(1.4)


def test_an_institution_without_held_out_rows_answers_nought(model):
    request = validation.validation_request(model, 1.0)
    answer = ReleaseComputer(cohort(20), 0.0).answer(request)
    assert not answer.vector.any()


def test_what_is_refused(model):
    request = validation.validation_request(model, 1.0)
    rows = cohort(10)
    with pytest.raises(PolicyError, match="H3190"):
        validation.score_histogram(replace(request, part="train"), rows, {})
    for edges in (np.array([0.0, 0.0, 1.0]), np.array([0.0, np.nan]), np.zeros((2, 2))):
        bad = replace(request, arrays={**request.arrays, "edges": edges})
        with pytest.raises(UserError, match="H2190"):
            validation.score_histogram(bad, rows, {})
    other = Line(CATALOGUE.model_copy(update={"version": "2"}), 0.0)
    with pytest.raises(IntegrityError, match="H5190"):
        validation.score_histogram(validation.validation_request(other, 1.0), rows, {})
    broken = replace(request, arrays={**request.arrays, "model": np.zeros(9, np.uint8)})
    with pytest.raises(IntegrityError, match="H5001"):
        validation.score_histogram(broken, rows, {})
    with pytest.raises(ValueError, match="128"):
        validation.metrics_from_total(np.zeros(3, np.int64), 1.0)
