"""What the federated model is measured against: pooled, or each institution alone, no privacy."""

from collections.abc import Callable
from itertools import combinations

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.models.additive import (
    COUNT_SCALE,
    RESIDUAL_CLIP,
    RESIDUAL_SCALE,
    AdditiveConfig,
    AdditiveTrainer,
)
from haihe_fl.models.additive.config import BUCKETS, GROUPS, ordered_by_target
from haihe_fl.models.additive.local import positives_weight
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.base import RiskModel
from haihe_fl.models.binning import CELLS, levels_of, number_columns
from haihe_fl.models.releases import ReleaseRequest

Floats = NDArray[np.float64]
Predict = Callable[[NDArray[np.float32]], Floats]

TREES = {
    "n_estimators": 400,
    "learning_rate": 0.03,
    "num_leaves": 15,
    "min_child_samples": 40,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "reg_lambda": 1.0,
}
"""Settings of LightGBM; fixed beforehand, not tuned to a set. With fewer than 2,000 rows, as
many an institution alone has, a leaf may be smaller: a fiftieth of the rows, but five."""


def gradient_boosting(cohort: Cohort, seed: int) -> Predict:
    """Train LightGBM on all rows; unordered categories are told to it as such."""
    columns = [
        j for j, f in enumerate(cohort.catalogue.features) if f.kind == "category" and not f.ordered
    ]
    data = lightgbm.Dataset(
        _plain(cohort.values, columns),
        cohort.label,
        categorical_feature=columns,
        free_raw_data=True,
    )
    names = {"n_estimators": "num_iterations"}
    settings = {names.get(k, k): v for k, v in TREES.items()}
    settings |= {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": seed}
    settings["min_child_samples"] = int(np.clip(len(cohort) // 50, 5, TREES["min_child_samples"]))
    booster = lightgbm.train(settings, data)
    return lambda values: np.asarray(booster.predict(_plain(values, columns)))


def _plain(values: NDArray[np.float32], columns: list[int]) -> Floats:
    out = values.astype(np.float64)
    # LightGBM takes a negative category for missing.
    out[:, columns] = np.where(np.isnan(out[:, columns]), -1.0, out[:, columns])
    return out


def pooled_additive(cohort: Cohort, config: AdditiveConfig) -> RiskModel:
    """Train the additive model as one site would: exact quantiles, float sums, no noise.

    The sums are computed here anew and plainly, so this also checks the institutions' code.
    """
    columns = number_columns(cohort.catalogue)
    edges = [_exact_grid(cohort.values[:, j]) for j in columns]
    trainer = AdditiveTrainer(cohort.catalogue, config, np.inf, edges=edges)
    while (request := trainer.next_request()) is not None:
        trainer.absorb(_sums(request, cohort, edges))
    return trainer.model()


def _exact_grid(column: NDArray[np.float32]) -> Floats:
    """Return CELLS - 1 cut points at the quantiles of the rows, each value in one cell."""
    known = column[~np.isnan(column)].astype(np.float64)
    if not len(known):
        return np.full(CELLS - 1, np.inf)
    cuts = np.unique(np.quantile(known, np.arange(1, CELLS) / CELLS, method="higher"))
    return np.concatenate([cuts, np.full(CELLS - 1 - len(cuts), np.inf)])


def _sums(request: ReleaseRequest, cohort: Cohort, edges: list[Floats]) -> Floats:
    """Return the exact sums of a request, in the trainer's units but not rounded."""
    kind = request.kind.removeprefix("additive/")
    label = cohort.label.astype(np.float64)
    if kind == "quantiles":
        return COUNT_SCALE * _histograms(cohort, edges)
    if kind == "order":
        return COUNT_SCALE * _positives(cohort, cohort.catalogue)
    tables = Tables.from_arrays(cohort.catalogue, request.arrays)
    codes = tables.binning.codes(cohort.values)
    score = tables.logit(codes)
    ones = np.ones(len(cohort))
    if kind == "counts":
        total = positives_weight(len(codes)) * label.sum()
        return np.append(COUNT_SCALE * _by_bin(tables, codes, ones), total)
    if kind == "pair-counts":
        return COUNT_SCALE * _by_pair(tables, codes, tables.pairs, ones)
    if kind == "scores":
        bucket = np.searchsorted(request.arrays["edges"], score, side="right")
        place = bucket + BUCKETS * cohort.label.astype(np.int64)
        return COUNT_SCALE * np.bincount(place, ones, 2 * BUCKETS)
    residual = RESIDUAL_SCALE * np.clip(label - expit(score), -RESIDUAL_CLIP, RESIDUAL_CLIP)
    if kind == "screen":
        pairs = np.array(list(combinations(request.arrays["candidates"], 2)))
        return _by_pair(tables, codes, pairs, residual)
    parts = [_by_bin(tables, codes, residual)]
    if kind == "joint":
        parts.append(_by_pair(tables, codes, tables.pairs, residual))
    return np.concatenate(parts)


def _histograms(cohort: Cohort, edges: list[Floats]) -> Floats:
    out = np.zeros((len(edges), CELLS + 1))
    for row, (j, cuts) in enumerate(zip(number_columns(cohort.catalogue), edges, strict=True)):
        column = cohort.values[:, j]
        cell = np.where(np.isnan(column), 0, 1 + np.searchsorted(cuts, column, side="right"))
        np.add.at(out[row], cell, 1.0)
    return out.ravel()


def _positives(cohort: Cohort, catalogue: FeatureCatalogue) -> Floats:
    columns = ordered_by_target(catalogue)
    return np.concatenate(
        [
            [
                float(((cohort.values[:, j] == level) & (cohort.label == 1)).sum())
                for level in range(levels_of(catalogue.features[j]))
            ]
            for j in columns
        ]
    )


def _by_bin(tables: Tables, codes: NDArray[np.uint16], weight: Floats) -> Floats:
    out = np.zeros(len(tables.main))
    for j, row in enumerate(codes):
        np.add.at(out, tables.starts[j] + row.astype(np.int64), weight)
    return out


def _by_pair(
    tables: Tables, codes: NDArray[np.uint16], pairs: NDArray[np.int64], weight: Floats
) -> Floats:
    out = np.zeros((len(pairs), GROUPS**2))
    for k, (a, b) in enumerate(pairs.tolist()):
        np.add.at(out[k], tables.side(a, codes) * GROUPS + tables.side(b, codes), weight)
    return out.ravel()


def alone(cohorts: dict[str, Cohort], train: Callable[[Cohort], Predict]) -> dict[str, Predict]:
    """Train each institution's own model; one without both outcomes has none."""
    return {
        name: train(cohort)
        for name, cohort in cohorts.items()
        if 0 < cohort.label.sum() < len(cohort)
    }
