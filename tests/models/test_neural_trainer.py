"""The centre's side of a neural run, without a network in between."""

import math

import numpy as np
import pytest
from scipy.special import expit

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.models.base import RiskModel
from haihe_fl.models.neural import Encoder, NeuralModel, NeuralSettings, public_binning
from haihe_fl.models.neural.accounting import events_for, noise_multiplier_for
from haihe_fl.models.neural.calibration import BUCKETS, score_edges, slope_and_intercept
from haihe_fl.models.neural.session import train_round
from haihe_fl.models.neural.trainer import NeuralTrainer
from haihe_fl.models.releases import ReleaseComputer
from haihe_fl.privacy.accountant import epsilon_spent
from haihe_fl.privacy.events import GaussianEvent
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.privacy.noise import NoiseSource

CATALOGUE = FeatureCatalogue(
    name="rare",
    features=(
        Feature(name="debt", range=(0, 1)),
        Feature(name="delay", range=(0, 1)),
        Feature(name="trade", kind="category", categories=("farm", "mill", "port")),
    ),
)
WORDS = FeatureCatalogue(name="words", features=CATALOGUE.features[2:])
BUDGET = Budget(3.0, 1e-5)
SETTINGS = NeuralSettings(hidden=(8,), rounds=10, local_steps=8)


def cohort(n: int, seed: int, catalogue: FeatureCatalogue = CATALOGUE) -> Cohort:
    """About 5 % defaults; a third of the delays is missing."""
    random = np.random.default_rng(seed)
    values = np.column_stack([random.random((n, 2)), random.integers(0, 3, n)]).astype(np.float32)
    risk = expit(-5.6 + 3 * values[:, 0] + 1.5 * values[:, 1] + 0.4 * values[:, 2])
    label = (random.random(n) < risk).astype(np.int8)
    values[random.random(n) < 1 / 3, 1] = np.nan
    key = np.array([f"{seed}-{i}" for i in range(n)])
    values = values[:, -len(catalogue.features) :]
    return Cohort(catalogue, values, label, key, np.full(n, f"bank {seed}"))


def answer(trainer: NeuralTrainer, parts: list[ReleaseComputer], noise: NoiseSource) -> str:
    """Carry one sum from the parts to the trainer; returns its name."""
    request = trainer.next_request()
    assert request is not None
    answers = [part.answer(request) for part in parts]
    sd = request.noise_multiplier * answers[0].sensitivity
    total = sum(a.vector for a in answers) + noise.rounded_gaussian(sd, request.length)
    trainer.absorb(total)
    return request.name


def run(
    catalogue: FeatureCatalogue = CATALOGUE, budget: Budget = BUDGET
) -> tuple[NeuralTrainer, NeuralModel, list[str]]:
    """Return trainer, the model before calibration, and the sums asked for."""
    noise = NoiseSource(seed=bytes(32))
    parts = [ReleaseComputer(cohort(4000, seed, catalogue), 0.0) for seed in (1, 2, 3)]
    trainer = NeuralTrainer(catalogue, SETTINGS, budget.mu, len(parts))
    asked = []
    while trainer.next_request() is not None:
        asked.append(answer(trainer, parts, noise))
    z = noise_multiplier_for(budget, 1.0, SETTINGS.total_steps, trainer.mu_spent)
    weights, history = trainer.start(), []
    for _ in range(SETTINGS.rounds):
        answers = [
            train_round(
                part,
                SETTINGS.model_dump(),
                z,
                weights,
                trainer.arrays(),
                proximal_mu=0.0,
                noise=noise,
            )
            for part in parts
        ]
        weights = [np.mean(w, axis=0, dtype=np.float32) for w in zip(*answers, strict=True)]
        history.append(weights)
    trainer.finish_local(history)
    before = trainer.model()
    while trainer.next_request() is not None:
        asked.append(answer(trainer, parts, noise))
    return trainer, before, asked


def line_of(model: RiskModel, data: Cohort) -> tuple[float, float]:
    """Return calibration slope and intercept on rows, by Newton's method."""
    design = np.column_stack([model.logit(data.values), np.ones(len(data))])
    line = np.array([1.0, 0.0])
    for _ in range(30):
        p = expit(design @ line)
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        line = line + np.clip(np.linalg.solve(hessian, design.T @ (data.label - p)), -1, 1)
    return float(line[0]), float(line[1])


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
@pytest.mark.parametrize("catalogue", [CATALOGUE, WORDS], ids=["numbers", "words"])
def test_sums_and_local_steps_keep_the_budget_together(catalogue, epsilon):
    budget = Budget(epsilon, 1e-5)
    trainer = NeuralTrainer(catalogue, SETTINGS, budget.mu, 3)
    sums = [GaussianEvent(r.noise_multiplier, r.part) for r in trainer.schedule()]
    assert all(r.part == "train" for r in trainer.schedule())
    assert math.fsum(e.noise_multiplier**-2 for e in sums) == pytest.approx(trainer.mu_spent**2)
    z = noise_multiplier_for(budget, 1.0, SETTINGS.total_steps, trainer.mu_spent)
    spent = epsilon_spent([[*sums, *events_for(SETTINGS, z).values()]], budget.delta)
    assert 0.98 * epsilon < spent <= epsilon * (1 + 1e-9)
    assert trainer.mu_spent**2 <= 0.1 * budget.mu**2 * (1 + 1e-9)


def test_calibration_brings_pds_to_the_default_rate():
    trainer, before, asked = run()
    test = cohort(40_000, 9)
    rate, after = test.label.mean(), trainer.model()
    assert asked == [r.name for r in trainer.schedule()] and trainer.next_request() is None
    assert before.predict_pd(test.values).mean() < 0.5 * rate  # what clipping does
    assert after.predict_pd(test.values).mean() == pytest.approx(rate, rel=0.2)
    slope, intercept = line_of(after, test)
    assert slope == pytest.approx(1.0, abs=0.25)
    assert abs(line_of(before, test)[1]) > 3 * abs(intercept)
    ranks = [np.argsort(m.logit(test.values[:500]), kind="stable") for m in (before, after)]
    assert (ranks[0] == ranks[1]).mean() > 0.98  # but for ties of float32


def test_records_and_figures_are_noted():
    trainer, _, _ = run()
    sums, line = trainer.trace()
    assert sums["records"] == pytest.approx(12_000, rel=0.1)
    assert trainer.settings.records == pytest.approx(4000, rel=0.1)
    assert int(trainer.arrays()["records"]) == trainer.settings.records
    assert 0.1 <= line["slope"] <= 5.0 and math.isfinite(line["intercept"])
    assert [sums["release"], line["release"]] == [1.0, 2.0]


def test_a_catalogue_without_numbers_needs_no_quantiles():
    trainer, before, asked = run(WORDS)
    assert asked == ["validation/calibration"]
    test = cohort(20_000, 9, WORDS)
    pd = trainer.model().predict_pd(test.values).mean()
    assert abs(pd / test.label.mean() - 1) < 0.25
    assert before.predict_pd(test.values).mean() < pd


def test_nothing_is_asked_between_quantiles_and_the_end_of_local_training():
    trainer = NeuralTrainer(WORDS, SETTINGS, BUDGET.mu, 3)
    assert trainer.next_request() is None
    trainer.finish_local([trainer.start()])
    request = trainer.next_request()
    assert request is not None and request.length == 2 * BUCKETS
    scored = RiskModel.from_bytes(request.arrays["model"].tobytes())
    assert scored.to_bytes() == trainer.model().to_bytes()


def test_a_recalibrated_network_keeps_ranks_and_its_bytes_make_it_again():
    trainer = NeuralTrainer(CATALOGUE, SETTINGS, BUDGET.mu, 3)
    model, values = trainer.model(), cohort(300, 4).values
    line = model.recalibrated(1.7, -0.4)
    assert np.allclose(line.logit(values), 1.7 * model.logit(values) - 0.4, atol=1e-5)
    again = RiskModel.from_bytes(line.to_bytes())
    assert again.to_bytes() == line.to_bytes() != model.to_bytes()
    assert np.array_equal(again.logit(values), line.logit(values))


def counts(slope: float, intercept: float, n: float = 1e5) -> tuple[np.ndarray, ...]:
    edges = np.linspace(-8.0, 2.0, BUCKETS - 1)
    width = edges[1] - edges[0]
    middle = np.append(edges, edges[-1] + width) - width / 2
    whole = np.exp(-0.5 * (middle + 5) ** 2)
    whole *= n / whole.sum()
    pd = expit(slope * middle + intercept)
    return edges, whole * (1 - pd), whole * pd


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.3, -1.0), (1.4, 4.0)])
def test_the_line_is_found_in_exact_and_in_noisy_counts(slope, intercept):
    edges, good, bad = counts(slope, intercept)
    assert slope_and_intercept(edges, good, bad, 0.0) == pytest.approx(
        (slope, intercept), rel=0.02, abs=0.05
    )
    random, sd = np.random.default_rng(0), 5.0
    found = [
        slope_and_intercept(
            edges, good + random.normal(0, sd, BUCKETS), bad + random.normal(0, sd, BUCKETS), sd
        )[0]
        for _ in range(50)
    ]
    assert np.mean(found) == pytest.approx(slope, abs=0.05)
    assert np.std(found) < 0.15


def test_with_much_noise_the_slope_stays_and_the_level_comes_right():
    edges, good, bad = counts(0.3, -1.5, n=2000.0)
    noise = np.random.default_rng(3).normal(0, 40.0, (200, 2, BUCKETS))
    lines = np.array([slope_and_intercept(edges, good + g, bad + b, 40.0) for g, b in noise])
    assert np.isfinite(lines).all()
    assert 0.3 < lines[:, 0].mean() < 1.2 and lines[:, 0].max() < 2.5


def test_counts_that_say_nothing_change_nothing():
    edges, nothing = np.linspace(-1, 1, BUCKETS - 1), np.zeros(BUCKETS)
    assert slope_and_intercept(edges, nothing, nothing, 1.0) == (1.0, 0.0)
    assert slope_and_intercept(edges, nothing, nothing + 500.0, 1.0) == (1.0, 0.0)
    slope, intercept = slope_and_intercept(edges, nothing + 500.0, nothing - 9.0, 2.0)
    assert 0.5 < slope < 1.5 and -9.0 < intercept < -4.0  # a rate of one noise sd, not of zero


def test_edges_span_the_scores_and_read_the_missing():
    encoder = Encoder(public_binning(CATALOGUE))
    settings = NeuralSettings(hidden=())
    weights = [np.zeros((1, encoder.width), np.float32), np.zeros(1, np.float32)]
    weights[0][0, encoder.slices[1].stop - 1] = 2.0  # the indicator of a missing delay
    model = NeuralModel(encoder, settings, weights)
    present, half = (score_edges(model, np.array([0, share, 0])) for share in (0.0, 0.5))
    assert abs(present.mean()) < 1e-9 and present[-1] < 0.3
    values = cohort(4000, 5).values
    scores = model.logit(values)
    assert half[0] < scores.min() and scores.max() < half[-1]
