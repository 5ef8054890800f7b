import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import utility
from benchmarks.__main__ import modules
from benchmarks.baselines import pooled_additive
from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.evaluation.metrics import auc
from haihe_fl.models.additive import AdditiveConfig, AdditiveTrainer
from haihe_fl.models.inmemory import train_in_memory
from haihe_fl.privacy.noise import NoiseSource, Quorum

SETS = Path(__file__).parents[2] / "benchmarks" / "datasets"


def test_uci_card_quick(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "utility.json"
    data = real_data / "uci_default_credit_card" / "UCI_Credit_Card.csv.gz"
    options = ["--data", str(data), "--mapping", str(SETS / "uci_card.yaml")]
    assert utility.main([*options, "--epsilon", "3", "--quick", "--json", str(out)]) == 0
    document = json.loads(out.read_text(encoding="utf-8"))
    assert str(real_data) not in out.read_text(encoding="utf-8")
    (facts,) = document["figures"].values()
    assert facts["institutions"] == 20 and facts["quorum"]["minimum"] == 16
    found = {row["method"]: row for row in facts["per_seed"]}
    assert found["federated, epsilon 3"]["auc"] > 0.68
    assert found["federated, noise off"]["auc"] > 0.72
    assert found["pooled LightGBM, no privacy"]["auc"] > 0.74
    gap = found["federated, noise off"]["auc"] - found["pooled additive, no privacy"]["auc"]
    assert abs(gap) < 0.02
    assert facts["institutions"] and document["versions"]["numpy"]


def test_federated_without_noise_is_the_pooled_model() -> None:
    """Values on the public grid: same bins, so only rounding to integers is left."""
    random = np.random.default_rng(0)
    catalogue = FeatureCatalogue(
        name="grid",
        features=(
            Feature(name="a", range=(0, 512)),
            Feature(name="b", range=(0, 512)),
            Feature(name="c", kind="category", categories=tuple("xyzw")),
        ),
    )
    n = 5000
    values = random.integers(0, 20, (n, 3)).astype(np.float32)
    values[:, 2] %= 4
    score = values[:, 0] / 10 - values[:, 1] / 10 + values[:, 2] / 4 - 1
    label = (random.random(n) < 1 / (1 + np.exp(-score))).astype(np.int8)
    rows = Cohort(
        catalogue,
        values,
        label,
        key=np.arange(n).astype(str),
        institution=random.choice(["a", "b", "c"], n),
    )
    config = AdditiveConfig(pairs=2)
    trainer = AdditiveTrainer(catalogue, config, np.inf)
    ours = train_in_memory(
        trainer, rows.by_institution(), Quorum.default(3), NoiseSource(seed=bytes(32))
    )
    pooled = pooled_additive(rows, config)
    np.testing.assert_allclose(ours.logit(values), pooled.logit(values), atol=1e-3)
    assert auc(label, pooled.logit(values)) > 0.7


def test_bootstrap_covers_and_pairs() -> None:
    random = np.random.default_rng(0)
    label = (random.random(600) < 0.3).astype(np.int8)
    good, bad = label + random.normal(0, 1, 600), random.normal(0, 1, 600)
    found = utility._bootstrap(label, [good, bad, good], 200, seed=0)
    low, high = found["auc"][0]
    assert low < auc(label, good) < high
    assert found["gain"][0][0] > 0
    assert found["gain"][1] == (0.0, 0.0)


def test_folds_test_every_row_once() -> None:
    catalogue = FeatureCatalogue(name="one", features=(Feature(name="x", range=(0, 1)),))
    n = 103
    rows = Cohort(
        catalogue,
        np.zeros((n, 1), dtype=np.float32),
        np.zeros(n, dtype=np.int8),
        key=np.arange(n).astype(str),
        institution=np.full(n, "a"),
    )
    args = argparse.Namespace(seed=0, seeds=5, split="random", institutions=None, inner=False)
    seen = [
        key
        for _, train, test in utility._splits(rows, None, True, args)  # type: ignore[arg-type]
        for key in test.key.tolist()
        if not set(train.key) & set(test.key)
    ]
    assert sorted(seen) == sorted(rows.key.tolist())


def test_settings_are_chosen_inside_training_folds() -> None:
    catalogue = FeatureCatalogue(name="one", features=(Feature(name="x", range=(0, 1)),))
    n = 100
    rows = Cohort(
        catalogue,
        np.zeros((n, 1), dtype=np.float32),
        np.zeros(n, dtype=np.int8),
        key=np.arange(n).astype(str),
        institution=np.full(n, "a"),
    )
    splits = {}
    for inner in (False, True):
        args = argparse.Namespace(seed=0, seeds=1, split="random", institutions=None, inner=inner)
        ((_, train, test),) = utility._splits(rows, None, True, args)  # type: ignore[arg-type]
        splits[inner] = set(train.key.tolist()), set(test.key.tolist())
    outer_train, outer_test = splits[False]
    inner_train, inner_test = splits[True]
    assert inner_train | inner_test == outer_train and not inner_train & inner_test
    assert not (inner_train | inner_test) & outer_test


def test_settings_are_read() -> None:
    assert utility._setting("pairs=20") == ("pairs", 20)
    assert utility._setting("main_step=2.5") == ("main_step", 2.5)
    with pytest.raises(argparse.ArgumentTypeError):
        utility._setting("nothing=1")


def test_the_runner_finds_the_benchmarks() -> None:
    assert "utility" in modules()
    assert not {"harness", "baselines", "__main__"} & set(modules())


def test_data_without_mapping_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        utility.main(["--data", str(tmp_path / "a.csv")])
