import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import IntegrityError
from haihe_fl.models.binning import CELLS
from haihe_fl.models.neural import (
    Encoder,
    NeuralModel,
    NeuralSettings,
    absorb_quantiles,
    average_weights,
    initial_weights,
    local,
    public_binning,
    quantile_release,
)
from haihe_fl.models.neural.dpsgd import Descent, LayerTape, PrivateOptimizer, poisson_rows
from haihe_fl.models.neural.local import LocalTrainer, network
from haihe_fl.models.releases import ReleaseComputer, ReleaseRequest
from haihe_fl.privacy.noise import NoiseSource

CATALOGUE = FeatureCatalogue(
    name="pair", features=(Feature(name="a", range=(0, 1)), Feature(name="b", range=(0, 1)))
)
ENCODER = Encoder(public_binning(CATALOGUE))


def cohort(n: int, seed: int = 0) -> Cohort:
    """Records whose label hangs on an interaction: no additive score can order them."""
    random = np.random.default_rng(seed)
    values = random.random((n, 2)).astype(np.float32)
    label = ((values[:, 0] > 0.5) != (values[:, 1] > 0.5)).astype(np.int8)
    key = np.array([f"{seed}-{i}" for i in range(n)])
    return Cohort(CATALOGUE, values, label, key, np.full(n, "bank"))


def plan(**changes: object) -> NeuralSettings:
    base = {
        "hidden": (6, 4),
        "local_steps": 1,
        "records": 200,
        "learning_rate": 1.0,
        "clip_norm": 0.5,
    }
    return NeuralSettings(**{**base, **changes})


def source() -> NoiseSource:
    return NoiseSource(seed=bytes(32))


def updates(
    data: Cohort, z: float, settings: NeuralSettings, start: list | None = None
) -> np.ndarray:
    start = start or initial_weights(0, ENCODER, settings)
    after = LocalTrainer(data, ENCODER, settings, z, source=source()).train(start)
    return np.concatenate(
        [(b.astype(float) - a).ravel() for a, b in zip(start, after, strict=True)]
    )


def test_noise_on_data_without_gradient_has_the_promised_variance():
    settings = plan(hidden=(64, 64), records=50, learning_rate=2.0)
    moved = updates(cohort(0), 8.0, settings)
    promised = 2.0 * 8.0 * settings.clip_norm / 50
    assert len(moved) > 4000
    assert abs(moved.std() / promised - 1) < 0.04
    assert abs(moved.mean()) < 5 * promised / len(moved) ** 0.5


def test_without_noise_nothing_moves_on_no_data():
    assert np.all(updates(cohort(0), 0.0, plan()) == 0.0)


def test_noise_differs_between_rounds_and_between_trainers():
    settings = plan()
    start = initial_weights(0, ENCODER, settings)
    trainer = LocalTrainer(cohort(0), ENCODER, settings, 4.0)
    other = LocalTrainer(cohort(0), ENCODER, settings, 4.0)
    drawn = [trainer.train(start)[0], trainer.train(start)[0], other.train(start)[0]]
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("extreme", [1.0, 1e3])
def test_one_record_moves_the_clipped_sum_by_no_more_than_the_clip_norm(extreme):
    settings = plan(records=1, clip_norm=0.3)
    start = [w * extreme for w in initial_weights(0, ENCODER, settings)]
    data = cohort(40)
    whole = updates(data, 0.0, settings, start)
    distance = [
        np.linalg.norm(whole - updates(data.take(np.arange(40) != i), 0.0, settings, start))
        for i in range(40)
    ]
    # float32 weights carry the update, so allow their rounding at this scale.
    assert max(distance) <= 0.3 + 1e-5 * extreme
    assert max(distance) > 0.29


@pytest.mark.parametrize("clip", [0.1, 1.0, 100.0])  # all, some and none are clipped
def test_clipped_sums_equal_those_of_opacus(clip):
    settings = plan(hidden=(16, 8), clip_norm=clip)
    data = cohort(100)
    inputs = torch.from_numpy(ENCODER(data.values))
    labels = torch.from_numpy(data.label.astype(np.float64))
    loss = nn.BCEWithLogitsLoss(reduction="sum")
    options = {"noise_multiplier": 0.0, "max_grad_norm": clip, "expected_batch_size": 100}

    ours = network(ENCODER.width, settings)
    tape = LayerTape(ours)
    optimizer = PrivateOptimizer(
        torch.optim.SGD(ours.parameters(), lr=1.0), tape, source(), **options
    )
    theirs = network(ENCODER.width, settings)
    theirs.load_state_dict(ours.state_dict())
    wrapped = GradSampleModule(theirs, loss_reduction="sum")
    expected = DPOptimizer(torch.optim.SGD(wrapped.parameters(), lr=1.0), **options)

    optimizer.private_step(loss(ours(inputs)[:, 0], labels))
    # Opacus hooks a backward pass over inputs that need no gradient themselves.
    with pytest.warns(UserWarning, match="hook"):
        loss(wrapped(inputs)[:, 0], labels).backward()
    expected.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        # Opacus adds 1e-6 to norms before it divides.
        assert torch.allclose(a, b, atol=1e-5)


def test_an_empty_poisson_batch_is_a_step_with_noise():
    settings = plan(sample_rate=1e-15, records=10**15, local_steps=3)
    assert np.all(updates(cohort(50), 0.0, settings) == 0.0)
    assert np.all(updates(cohort(50), 1e3, settings) != 0.0)


def test_poisson_sampling_takes_each_record_at_the_rate():
    counts = np.zeros(400)
    for _ in range(500):
        counts[poisson_rows(400, 0.3)] += 1
    assert abs(counts.mean() / 500 - 0.3) < 0.006
    assert abs(counts.var() / (500 * 0.3 * 0.7) - 1) < 0.35
    assert poisson_rows(4, 0.5, lambda n: bytes(n)).tolist() == [0, 1, 2, 3]
    assert poisson_rows(4, 0.5, lambda n: b"\x80" * n).tolist() == []


@pytest.mark.parametrize("n", [7, 8, 9, 16, 45])
def test_blocks_of_a_batch_add_up_to_the_batch(n, monkeypatch):
    settings, data = plan(local_steps=3, momentum=0.5), cohort(n)
    whole = updates(data, 0.0, settings)
    taken: list[int] = []
    real = LocalTrainer._loss

    def loss(self: LocalTrainer, rows: np.ndarray) -> torch.Tensor:
        taken.append(len(rows))
        return real(self, rows)

    monkeypatch.setattr(LocalTrainer, "_loss", loss)
    monkeypatch.setattr(local, "BLOCK", 8)
    assert np.allclose(updates(data, 0.0, settings), whole, atol=1e-7)
    assert sum(taken) == 3 * n and max(taken) <= 8 and min(taken) > 0


def test_noise_comes_once_a_step_however_many_blocks(monkeypatch):
    settings = plan(hidden=(64, 64), clip_norm=0.01, records=1)
    monkeypatch.setattr(local, "BLOCK", 10)
    moved = updates(cohort(100), 1e3, settings)  # the clipped sum is at most 1
    assert abs(moved.std() / 10.0 - 1) < 0.04


def test_poisson_batches_are_trained_in_blocks(monkeypatch):
    settings, data = plan(sample_rate=0.5, local_steps=4), cohort(100)
    batches = [np.arange(0, 100, 3), np.arange(0), np.arange(17), np.arange(99, 0, -2)]

    def result(block: int) -> np.ndarray:
        order = iter(batches)
        monkeypatch.setattr(local, "poisson_rows", lambda *_: next(order))
        monkeypatch.setattr(local, "BLOCK", block)
        return updates(data, 0.0, settings)

    assert np.allclose(result(7), result(1000), atol=1e-7)


def test_only_bins_are_kept():
    trainer = LocalTrainer(cohort(300), ENCODER, plan(), 0.0)
    assert trainer._codes.dtype == np.uint8 and trainer._codes.shape == (2, 300)
    wide = FeatureCatalogue(
        name="wide",
        features=(Feature(name="c", kind="category", categories=tuple(map(str, range(300)))),),
    )
    encoder = Encoder(public_binning(wide))
    values = np.array([[299.0], [0.0], [np.nan]], np.float32)
    assert encoder.codes(values).tolist() == [[300, 1, 0]]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_descent_is_that_of_torch(momentum):
    ours, theirs = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    steps = Descent([ours], 0.3, momentum), torch.optim.SGD([theirs], 0.3, momentum)
    for number in range(4):
        for parameter, descent in zip((ours, theirs), steps, strict=True):
            parameter.grad = torch.arange(3, dtype=torch.float64) + number
            descent.step()
    assert torch.equal(ours, theirs)


def test_a_forgotten_forward_pass_is_noticed():
    net = network(ENCODER.width, plan())
    tape = LayerTape(net)
    with pytest.raises(RuntimeError, match="0 layers"):
        tape.take(torch.zeros((), requires_grad=True))


def test_the_proximal_term_pulls_to_the_global_weights():
    data, settings = cohort(200), plan(local_steps=20)
    free, near, tied = (
        np.linalg.norm(updates(data, 0.0, settings.model_copy(update={"proximal_mu": mu})))
        for mu in (0.0, 0.3, 1e6)
    )
    assert tied < 1e-4 < near < 0.8 * free


def test_proximal_mu_of_a_call_goes_before_that_of_the_settings():
    settings = plan(local_steps=5, proximal_mu=0.5)
    start = initial_weights(0, ENCODER, settings)
    trainer = LocalTrainer(cohort(200), ENCODER, settings, 0.0)
    own, same, free = (trainer.train(start, proximal_mu=mu)[0] for mu in (None, 0.5, 0.0))
    assert np.array_equal(own, same) and not np.array_equal(own, free)


def test_momentum_starts_anew_each_round():
    trainer = LocalTrainer(cohort(200), ENCODER, plan(momentum=0.9), 0.0)
    start = initial_weights(0, ENCODER, plan())
    assert np.array_equal(trainer.train(start)[0], trainer.train(start)[0])


def test_equal_weights_average_by_what_institutions_hold():
    settings = plan()
    small, large = cohort(50, 1), cohort(350, 2)
    both = Cohort(
        CATALOGUE,
        np.concatenate([small.values, large.values]),
        np.concatenate([small.label, large.label]),
        np.concatenate([small.key, large.key]),
        np.concatenate([small.institution, large.institution]),
    )
    mean = (updates(small, 0.0, settings) + updates(large, 0.0, settings)) / 2
    pooled = updates(both, 0.0, settings.model_copy(update={"records": 400}))
    assert np.allclose(mean, pooled, atol=1e-6)


def test_bad_global_weights_are_refused_before_training():
    settings = plan()
    weights = initial_weights(0, ENCODER, settings)
    trainer = LocalTrainer(cohort(5), ENCODER, settings, 1.0)
    weights[1][0] = np.nan
    with pytest.raises(IntegrityError, match="H5151"):
        trainer.train(weights)
    with pytest.raises(ValueError, match="negative"):
        LocalTrainer(cohort(5), ENCODER, settings, -1.0)


def auc(model: NeuralModel, data: Cohort) -> float:
    rank = np.argsort(np.argsort(model.logit(data.values))) + 1.0
    p = int(data.label.sum())
    return float((rank[data.label == 1].sum() - p * (p + 1) / 2) / (p * (len(data) - p)))


@pytest.mark.parametrize(("noise", "least"), [(0.0, 0.97), (3.0, 0.9)])
def test_federated_rounds_learn_an_interaction(noise, least):
    settings = plan(
        hidden=(16,), rounds=15, local_steps=20, learning_rate=4.0, records=800, prior=0.5
    )
    trainers = [
        LocalTrainer(cohort(800, s), ENCODER, settings, noise, source=source()) for s in (1, 2, 3)
    ]
    weights = initial_weights(0, ENCODER, settings)
    history = []
    for _ in range(settings.rounds):
        answers = [trainer.train(weights) for trainer in trainers]
        weights = [np.mean(parts, axis=0) for parts in zip(*answers, strict=True)]
        history.append(weights)
    test = cohort(2000, 9)
    final = NeuralModel.from_weights(CATALOGUE, ENCODER, settings, average_weights(history))
    untrained = NeuralModel.from_weights(
        CATALOGUE, ENCODER, settings, initial_weights(0, ENCODER, settings)
    )
    assert auc(final, test) > least > 0.7 > auc(untrained, test)


def test_encoder_comes_from_the_quantile_release():
    data = cohort(4000)
    skewed = Cohort(CATALOGUE, data.values**4, data.label, data.key, data.institution)
    release = quantile_release(CATALOGUE, 1.0)
    request = ReleaseRequest(**{**vars(release), "arrays": {}})
    answer = ReleaseComputer(skewed, 0.0).answer(request)
    sd = release.noise_multiplier * answer.sensitivity
    total = answer.vector + source().rounded_gaussian(sd, release.length)
    encoder, records = absorb_quantiles(CATALOGUE, total, bins=8)
    assert release.length == 2 * (CELLS + 1)
    assert abs(records - 4000) < 100
    expected = np.linspace(0, 1, 9)[1:-1] ** 4
    assert np.abs(encoder.binning.cuts - expected).max() < 0.05
