import numpy as np
import pytest

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import IntegrityError
from haihe_fl.evaluation.metrics import auc
from haihe_fl.models.additive import AdditiveConfig, AdditiveModel, AdditiveTrainer
from haihe_fl.models.additive.algebra import platt, purified, score_edges
from haihe_fl.models.additive.config import GROUPS, ordered_by_target
from haihe_fl.models.base import RiskModel
from haihe_fl.models.inmemory import train_in_memory
from haihe_fl.privacy.gaussian import compose, mu_for
from haihe_fl.privacy.noise import NoiseSource, Quorum

CATALOGUE = FeatureCatalogue(
    name="case",
    features=(
        Feature(name="debt", range=(0, 4), direction=1),
        Feature(name="age", range=(0, 40), direction=-1),
        Feature(name="sector", kind="category", categories=tuple("abcdef")),
        Feature(name="left", range=(-1, 1)),
        Feature(name="right", range=(-1, 1)),
        Feature(name="idle", range=(0, 1)),
    ),
)
EFFECT = np.array([0.9, -0.6, 0.1, -0.9, 0.6, -0.1])


def truth(values: np.ndarray) -> np.ndarray:
    debt, age, sector, left, right, _ = values.T
    out = -1.0 + 0.6 * (debt - 2) - 0.04 * (age - 20) + 2.0 * left * right
    return np.asarray(out + EFFECT[sector.astype(int)])


def cohort(n: int, seed: int) -> Cohort:
    random = np.random.default_rng(seed)
    values = np.column_stack(
        [
            random.uniform(0, 4, n),
            random.uniform(0, 40, n),
            random.integers(0, 6, n),
            random.uniform(-1, 1, n),
            random.uniform(-1, 1, n),
            random.random(n),
        ]
    ).astype(np.float32)
    label = (random.random(n) < 1 / (1 + np.exp(-truth(values)))).astype(np.int8)
    keys = np.array([f"k{i}" for i in range(n)])
    return Cohort(CATALOGUE, values, label, key=keys, institution=random.choice(["a", "b", "c"], n))


TRAIN, TEST = cohort(20_000, 1), cohort(8_000, 2)


def train(mu: float, config: AdditiveConfig | None = None, rows: Cohort = TRAIN) -> AdditiveModel:
    trainer = AdditiveTrainer(rows.catalogue, config or AdditiveConfig(), mu)
    cohorts = rows.by_institution()
    noise = NoiseSource(seed=bytes(32))
    model = train_in_memory(trainer, cohorts, Quorum.default(len(cohorts)), noise)
    assert isinstance(model, AdditiveModel)
    return model


EXACT = train(np.inf)
PRIVATE = train(mu_for(2.0, 1e-5))


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
@pytest.mark.parametrize("pairs", [0, 1, 10])
def test_the_schedule_spends_the_budget_exactly(epsilon: float, pairs: int) -> None:
    mu = mu_for(epsilon, 1e-5)
    config = AdditiveConfig(pairs=pairs)
    plan = config.schedule(CATALOGUE, mu)
    assert compose(r.noise_multiplier for r in plan) == pytest.approx(mu, rel=1e-13)
    assert len({r.name for r in plan}) == len(plan)
    gradients = [r for r in plan if r.kind in ("additive/main", "additive/joint")]
    assert len(gradients) == (20 if pairs == 0 or epsilon < 1 else 30)
    assert all(r.part == "train" for r in plan)


@pytest.mark.parametrize("pairs", [0, 10])
def test_training_asks_for_the_schedule_and_nothing_else(pairs: int) -> None:
    trainer = AdditiveTrainer(CATALOGUE, AdditiveConfig(pairs=pairs), mu=1.0)
    asked = []
    while (request := trainer.next_request()) is not None:
        asked.append((request.name, request.kind, request.noise_multiplier, request.length))
        trainer.absorb(np.zeros(request.length, dtype=np.int64))  # even an empty federation
    planned = [(r.name, r.kind, r.noise_multiplier, r.length) for r in trainer.schedule()]
    assert asked == planned
    assert len(trainer.trace()) == len(planned)
    assert np.isfinite(trainer.model().logit(TEST.values)).all()
    with pytest.raises(ValueError, match="over"):
        trainer.absorb(np.zeros(1, dtype=np.int64))


def test_a_wrong_length_is_refused() -> None:
    trainer = AdditiveTrainer(CATALOGUE, AdditiveConfig(), mu=1.0)
    with pytest.raises(ValueError, match="quantiles"):
        trainer.absorb(np.zeros(3, dtype=np.int64))
    with pytest.raises(ValueError, match="settled"):
        trainer.model()


def test_the_exact_model_learns_the_function() -> None:
    wanted, found = truth(TEST.values), EXACT.logit(TEST.values)
    assert np.corrcoef(wanted, found)[0, 1] > 0.97
    assert auc(TEST.label, found) > auc(TEST.label, wanted) - 0.006
    slope, offset = np.polyfit(found, wanted, 1)
    assert slope == pytest.approx(1.0, abs=0.1)  # on the scale of log-odds
    assert offset == pytest.approx(0.0, abs=0.1)
    assert EXACT.predict_pd(TEST.values).mean() == pytest.approx(TEST.label.mean(), abs=0.02)


def test_the_exact_model_finds_the_pair_and_the_order_of_sectors() -> None:
    spread = {
        tuple(pair): np.ptp(cells)
        for pair, cells in zip(EXACT.tables.pairs.tolist(), EXACT.tables.cells, strict=True)
    }
    assert max(spread, key=spread.__getitem__) == (3, 4)
    assert np.argsort(EXACT.shape(2).values).tolist() == np.argsort(EFFECT).tolist()
    idle = EXACT.shape(5).values
    assert np.ptp(idle) < 0.4 * np.ptp(EXACT.shape(0).values)


def test_pairs_pay_only_where_they_are_asked_for() -> None:
    plain = train(np.inf, AdditiveConfig(pairs=0))
    assert len(plain.terms()) == len(CATALOGUE.features)
    gain = auc(TEST.label, EXACT.logit(TEST.values)) - auc(TEST.label, plain.logit(TEST.values))
    assert gain > 0.01
    taken = {j for term in EXACT.terms() for j in term.features if len(term.features) == 2}
    assert not taken & {0, 1}  # constrained features stay out of pairs


def test_noise_makes_a_difference_and_exactness_is_reproducible() -> None:
    assert PRIVATE.fingerprint != EXACT.fingerprint
    assert train(np.inf).fingerprint == EXACT.fingerprint
    assert (
        0.6
        < auc(TEST.label, PRIVATE.logit(TEST.values))
        < auc(TEST.label, EXACT.logit(TEST.values))
    )


@pytest.mark.parametrize("model", [EXACT, PRIVATE], ids=["exact", "private"])
@pytest.mark.parametrize(("column", "direction"), [(0, 1), (1, -1)])
def test_constraints_hold_everywhere(model: AdditiveModel, column: int, direction: int) -> None:
    low, high = CATALOGUE.features[column].range or (0, 0)
    values = np.repeat(TEST.values[:50], 200, axis=0)
    values[:, column] = np.tile(np.linspace(low - 1, high + 1, 200, dtype=np.float32), 50)
    steps = np.diff(model.logit(values).reshape(50, 200), axis=1) * direction
    assert steps.min() >= -1e-12
    assert steps.max() > 0


def test_constraints_do_work() -> None:
    """Without its direction the noisy effect is not monotone, or the test above shows nothing."""
    free = CATALOGUE.model_copy(
        update={
            "features": tuple(f.model_copy(update={"direction": 0}) for f in CATALOGUE.features)
        }
    )
    rows = Cohort(free, TRAIN.values, TRAIN.label, key=TRAIN.key, institution=TRAIN.institution)
    model = train(mu_for(1.0, 1e-5), AdditiveConfig(pairs=0), rows)
    assert np.diff(model.shape(0).values).min() < -1e-6


@pytest.mark.parametrize("model", [EXACT, PRIVATE], ids=["exact", "private"])
def test_contributions_add_up_and_are_centred(model: AdditiveModel) -> None:
    values = TEST.values.copy()
    values[::7, 0] = np.nan
    parts = model.contributions(values)
    assert parts.shape == (len(values), len(model.terms()))
    np.testing.assert_allclose(parts.sum(axis=1) + model.base, model.logit(values), atol=1e-9)
    for j in range(len(CATALOGUE.features)):
        part = model.tables.part(j)
        assert model.tables.main[part] @ model.counts[part] == pytest.approx(0, abs=1e-6)
    for cells in model.tables.cells.reshape(-1, GROUPS, GROUPS):
        assert np.ptp(cells) > 0
    assert np.abs(EXACT.contributions(TRAIN.values).mean(axis=0)).max() < 1e-3


def test_missing_and_odd_values_are_scored() -> None:
    odd = np.full((4, len(CATALOGUE.features)), np.nan, dtype=np.float32)
    odd[1], odd[2], odd[3] = 1e30, -1e30, 5.5
    for model in (EXACT, PRIVATE):
        assert np.isfinite(model.logit(odd)).all()
    top = TEST.values[:1].copy()
    edge = top.copy()
    top[0, 0], edge[0, 0] = 1e9, 4.0
    assert EXACT.logit(top) == EXACT.logit(edge)
    # Never seen missing: nothing was learnt, so it is scored as the average borrower.
    assert abs(EXACT.shape(0).missing) < 0.05


def test_missing_values_are_learnt_where_they_say_something() -> None:
    values = TRAIN.values.copy()
    risky = (TRAIN.label == 1) & (np.random.default_rng(0).random(len(TRAIN)) < 0.4)
    values[risky, 5] = np.nan
    rows = Cohort(CATALOGUE, values, TRAIN.label, key=TRAIN.key, institution=TRAIN.institution)
    assert train(np.inf, rows=rows).shape(5).missing > 1.0


def test_bytes_round_trip() -> None:
    data = EXACT.to_bytes()
    again = RiskModel.from_bytes(data)
    assert isinstance(again, AdditiveModel)
    assert again.to_bytes() == data and again.fingerprint == EXACT.fingerprint
    assert (again.logit(TEST.values) == EXACT.logit(TEST.values)).all()
    with pytest.raises(IntegrityError):
        RiskModel.from_bytes(data[: len(data) // 2])


def test_shapes_name_their_bins() -> None:
    number, category = EXACT.shape(0), EXACT.shape(2)
    assert number.edges is not None and number.categories is None
    assert len(number.values) == len(number.edges) + 1 == len(number.weights)
    assert number.weights.sum() == pytest.approx(len(TRAIN))
    assert category.categories == tuple("abcdef") and category.edges is None
    x = TEST.values[:100].copy()
    x[:, 0] = number.edges[3]
    assert EXACT.contributions(x)[:, 0] == pytest.approx(number.values[4])


def test_many_levels_are_merged() -> None:
    names = tuple(f"s{i}" for i in range(300))
    catalogue = FeatureCatalogue(
        name="many", features=(Feature(name="town", kind="category", categories=names),)
    )
    assert ordered_by_target(catalogue) == [0]
    random = np.random.default_rng(0)
    town = random.integers(0, 300, 30_000)
    label = (random.random(30_000) < np.where(town % 2, 0.4, 0.1)).astype(np.int8)
    rows = Cohort(
        catalogue,
        town[:, None].astype(np.float32),
        label,
        key=np.arange(30_000).astype(str),
        institution=np.full(30_000, "a"),
    )
    model = train(np.inf, rows=rows)
    assert model.tables.widths.tolist() == [25]
    values = model.shape(0).values
    assert values[1::2].min() >= values[0::2].max()  # the bin in the middle may hold both


def test_every_institution_adds_its_own_noise() -> None:
    """With all of 20 parties there the sum is noisier than the plan by 20 / 15."""
    quorum = Quorum.default(20)
    catalogue = FeatureCatalogue(name="one", features=(Feature(name="x", range=(0, 1)),))
    empty = Cohort(
        catalogue,
        np.zeros((0, 1), dtype=np.float32),
        np.zeros(0, dtype=np.int8),
        key=np.zeros(0, dtype=str),
        institution=np.zeros(0, dtype=str),
    )

    class Listener(AdditiveTrainer):
        heard: np.ndarray

        def absorb(self, total: np.ndarray) -> None:
            if not hasattr(self, "heard"):
                self.heard = total.astype(float)
            super().absorb(total)

    trainer = Listener(catalogue, AdditiveConfig(pairs=0), mu=0.7)
    cohorts = {f"b{i:02d}": empty for i in range(20)}
    train_in_memory(trainer, cohorts, quorum, NoiseSource(seed=bytes(32)))
    planned = trainer.schedule()[0].noise_multiplier * 2**12
    assert trainer.heard.std() / planned == pytest.approx(np.sqrt(20 / 15), rel=0.1)
    with pytest.raises(ValueError, match="quorum"):
        train_in_memory(trainer, {}, quorum, NoiseSource(seed=bytes(32)))


@pytest.mark.parametrize(
    "bad", [{"bins": 1}, {"bins": 999}, {"pairs": -1}, {"candidates": 1}, {"main_rounds": 1}]
)
def test_settings_are_checked(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        AdditiveConfig(**bad)  # type: ignore[arg-type]


def test_a_budget_must_be_positive() -> None:
    with pytest.raises(ValueError, match="mu"):
        AdditiveTrainer(CATALOGUE, AdditiveConfig(), mu=0.0)


def test_purifying_changes_terms_but_no_score() -> None:
    random = np.random.default_rng(0)
    tables = EXACT.tables.replace(
        cells=random.normal(0, 1, EXACT.tables.cells.shape),
        main=random.normal(0, 1, EXACT.tables.main.shape),
    )
    weights = random.uniform(1, 9, tables.cells.shape)
    pure = purified(tables, EXACT.counts, weights)
    codes = tables.binning.codes(TEST.values)
    np.testing.assert_allclose(pure.logit(codes), tables.logit(codes), atol=1e-9)
    assert np.abs(pure.cells - tables.cells).max() > 0.1
    for cells, mass in zip(pure.cells, weights, strict=True):
        for axis in (0, 1):
            margin = (cells * mass).reshape(GROUPS, GROUPS).sum(axis=axis)
            assert np.abs(margin).max() < 1e-6


def test_platt_stays_within_bounds_on_pure_noise() -> None:
    random = np.random.default_rng(0)
    edges = score_edges(0.0, 1.0)
    for _ in range(20):
        slope, intercept = platt(edges, *np.abs(random.normal(0, 50, (2, len(edges) + 1))))
        assert 0.2 <= slope <= 5.0 and np.isfinite(intercept)
    assert platt(edges, np.zeros(len(edges) + 1), np.ones(len(edges) + 1)) == (1.0, 0.0)
