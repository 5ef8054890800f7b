import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.errors import IntegrityError
from haihe_fl.models.base import RiskModel
from haihe_fl.models.binning import Binning
from haihe_fl.models.neural import (
    Encoder,
    NeuralModel,
    NeuralSettings,
    average_weights,
    initial_weights,
    public_binning,
)
from haihe_fl.models.neural.encoder import WIDEST
from haihe_fl.models.neural.local import network

CATALOGUE = FeatureCatalogue(
    name="mixed",
    features=(
        Feature(name="share", range=(0, 1)),
        Feature(name="amount", range=(0, 1e6), scale="log"),
        Feature(name="grade", kind="category", categories=("A", "B", "C")),
        Feature(name="code", kind="category", categories=tuple(map(str, range(60)))),
    ),
)
ENCODER = Encoder(public_binning(CATALOGUE, bins=12))


def records(n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    columns = [
        random.random(n),
        10 ** (6 * random.random(n)),
        *random.integers(0, [[3], [60]], (2, n)),
    ]
    values = np.stack(columns, axis=1).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    return values


def model(hidden: tuple[int, ...] = (8, 5), activation: str = "tanh", seed: int = 0) -> NeuralModel:
    chosen = NeuralSettings(hidden=hidden, activation=activation)
    random = np.random.default_rng(seed)
    weights = [w + random.normal(0, 0.7, w.shape) for w in initial_weights(seed, ENCODER, chosen)]
    return NeuralModel.from_weights(CATALOGUE, ENCODER, chosen, weights)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (8,), (64, 64, 32)])
def test_numpy_scores_equal_torch(hidden, activation):
    neural = model(hidden, activation)
    values = records(500)
    net = network(ENCODER.width, neural.settings)
    with torch.no_grad():
        for parameter, weight in zip(net.parameters(), neural.weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
        expected = net(torch.from_numpy(ENCODER(values)))[:, 0].numpy()
    assert np.abs(neural.logit(values) - expected).max() < 1e-6
    assert expected.std() > 0.1


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_contributions_add_up_to_the_distance_from_base(activation):
    neural = model(activation=activation)
    values = records(300)
    parts = neural.contributions(values)
    assert parts.shape == (300, len(neural.terms())) == (300, 4)
    assert np.allclose(parts.sum(axis=1) + neural.base, neural.logit(values), atol=1e-10)


def test_quadrature_misses_little_and_a_dead_feature_gets_nothing():
    neural = model()
    dead = [w.copy() for w in neural.weights]
    dead[0][:, ENCODER.slices[1]] = 0.0
    parts = NeuralModel(ENCODER, neural.settings, dead).contributions(records(200))
    # What the quadrature misses is shared by size, so a part of zero keeps nothing of it.
    assert np.abs(parts[:, 1]).max() < 1e-9 < 0.1 < np.abs(parts).max()


def test_contributions_of_a_linear_model_are_its_terms():
    neural = model(hidden=())
    values = records(100)
    offset = (ENCODER(values) - ENCODER.reference) * neural.weights[0][0]
    expected = np.stack([offset[:, s].sum(axis=1) for s in ENCODER.slices], axis=1)
    assert np.allclose(neural.contributions(values), expected)


def test_bytes_round_trip():
    neural = model()
    again = RiskModel.from_bytes(neural.to_bytes())
    assert isinstance(again, NeuralModel)
    assert again.to_bytes() == neural.to_bytes() and again.fingerprint == neural.fingerprint
    assert np.array_equal(again.logit(records(50)), neural.logit(records(50)))
    assert again.settings == neural.settings


def test_layers_keep_their_order():
    neural = model(hidden=(4,) * 4)
    assert np.array_equal(
        RiskModel.from_bytes(neural.to_bytes()).logit(records(9)), neural.logit(records(9))
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e7])
def test_weights_that_are_not_sane_are_refused(bad):
    weights = model().weights
    weights[2][0, 0] = bad
    with pytest.raises(IntegrityError, match="H5151"):
        NeuralModel(ENCODER, model().settings, weights)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(IntegrityError, match="H5151"):
        NeuralModel(ENCODER, NeuralSettings(hidden=(9, 5)), model().weights)


def test_an_encoder_of_another_catalogue_is_refused():
    other = CATALOGUE.model_copy(update={"name": "other"})
    with pytest.raises(ValueError, match="another catalogue"):
        NeuralModel.from_weights(other, ENCODER, model().settings, model().weights)


def test_encoder_places_ranks_missing_and_levels():
    binning = Binning(
        CATALOGUE, np.array([[0.2, 0.7, np.inf], [10.0, 100.0, 1000.0]]), ENCODER.binning.levels
    )
    encoder = Encoder(binning)
    scale = np.sqrt(24 / 4)
    rows = np.array(
        [[0.1, 5, 0, 59], [0.5, np.nan, np.nan, 31], [0.9, 5e3, 2, 0]], dtype=np.float32
    )
    out = encoder(rows) / scale
    assert np.allclose(out[:, 0], [-2 / 3, 0, 2 / 3])  # three bins in use: 1/6, 1/2, 5/6
    assert np.allclose(out[:, 3], 0) and np.allclose(out[:, 7], [0, 1, 0])
    assert np.allclose(out[1, 4:7], 0)
    assert np.argmax(out[:, 8:12], axis=1).tolist() == [1, 0, 3]
    code = out[:, 12:]
    assert code.shape[1] == WIDEST
    assert np.argmax(code, axis=1).tolist() == [WIDEST - 1, WIDEST - 1, 1]
    assert np.allclose(code.sum(axis=1), 1)


def test_reference_of_numbers_is_near_zero():
    assert np.abs(ENCODER.reference[: ENCODER.slices[2].start]).max() < 0.05


@given(st.floats(allow_nan=True, allow_infinity=True, width=32))
@settings(max_examples=50, deadline=None)
def test_any_value_gives_a_finite_score(value):
    assert np.isfinite(model().predict_pd(np.full((1, 4), value, dtype=np.float32))).all()


def test_initial_weights_depend_on_the_seed_alone_and_start_at_the_prior():
    chosen = NeuralSettings(prior=0.03)
    one, again, other = (initial_weights(seed, ENCODER, chosen) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])
    pd = NeuralModel(ENCODER, chosen, one).predict_pd(records(500))
    assert 0.02 < np.median(pd) < 0.045


def test_average_takes_the_second_half():
    history = [[np.full(2, float(v), np.float32)] for v in (50, 60, 1, 2, 6)]
    assert np.allclose(average_weights(history)[0], 3.0)
    assert np.allclose(average_weights(history[:1])[0], 50.0)


def test_shapes_follow_the_settings():
    shapes = NeuralSettings(hidden=(7, 3)).shapes(11)
    assert shapes == [(7, 11), (7,), (3, 7), (3,), (1, 3), (1,)]
