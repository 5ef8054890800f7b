"""What an institution computes for the additive model: exact integer sums over its rows.

Each record contributes integers, so a sum is exact and so is its L2 sensitivity. Clip and
scales are constants of the installed software: nothing in a request can widen them.

==================  ==========================================  =============================
kind                a record adds                               S (add or remove one record)
==================  ==========================================  =============================
quantiles           a count to each number's grid               sqrt(numbers)
counts              a count to each feature, w to positives     sqrt(d + w^2), w = sqrt(d)/2
order               if positive, a count to each category       sqrt(categories)
main                its residual to each feature's bin          .5 sqrt(d)
screen              its residual to each candidate pair         .5 sqrt(m (m - 1) / 2)
pair-counts         a count to each chosen pair                 sqrt(K)
joint               its residual to each feature and pair       .5 sqrt(d + K)
scores              a count to its score bucket and label       1
==================  ==========================================  =============================

Counts are in units of ``1 / COUNT_SCALE``, residuals of ``1 / RESIDUAL_SCALE``; the sums of
10^7 records stay below 2^53, where float64 is exact.
"""

import hashlib
import math
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit  # type: ignore[import-untyped]

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.models.additive.config import BUCKETS, GROUPS, ordered_by_target
from haihe_fl.models.additive.tables import Codes, Tables
from haihe_fl.models.binning import CELLS, grid_cells, levels_of, number_columns
from haihe_fl.models.releases import Answer, ReleaseRequest, release_kind

Floats = NDArray[np.float64]
Cache = dict[str, Any]

COUNT_SCALE = 2**12
"""Integer units of one count."""
RESIDUAL_SCALE = 2**20
"""Integer units of a residual of one."""
RESIDUAL_CLIP = 0.5
"""Largest residual of a record."""


def positives_weight(d: int) -> int:
    """Return what a positive adds to the positives' entry of ``counts``, in integer units."""
    return round(math.sqrt(d) / 2 * COUNT_SCALE)


def sensitivity(kind: str, catalogue: FeatureCatalogue, pairs: int = 0) -> float:
    """Return the L2 sensitivity of a kind in integer units.

    Parameters
    ----------
    kind : str
        Kind without its prefix.
    catalogue : FeatureCatalogue
        Gives the numbers of features.
    pairs : int
        Pairs in the release.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="age", range=(0, 80)),))
    >>> sensitivity("main", c) / RESIDUAL_SCALE
    0.5
    """
    d = len(catalogue.features)
    clip = RESIDUAL_CLIP * RESIDUAL_SCALE
    return {
        "quantiles": COUNT_SCALE * math.sqrt(len(number_columns(catalogue))),
        "counts": math.hypot(COUNT_SCALE * math.sqrt(d), positives_weight(d)),
        "order": COUNT_SCALE * math.sqrt(len(ordered_by_target(catalogue))),
        "main": clip * math.sqrt(d),
        "screen": clip * math.sqrt(pairs),
        "pair-counts": COUNT_SCALE * math.sqrt(pairs),
        "joint": clip * math.sqrt(d + pairs),
        "scores": float(COUNT_SCALE),
    }[kind]


@release_kind("additive/quantiles")
def quantiles(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Histogram each number on its public grid, cell 0 for missing."""
    sums = [
        np.bincount(
            grid_cells(cohort.catalogue.features[j], cohort.values[:, j]), minlength=CELLS + 1
        )
        for j in number_columns(cohort.catalogue)
    ]
    return _answer(sums, COUNT_SCALE, sensitivity("quantiles", cohort.catalogue))


@release_kind("additive/counts")
def counts(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Count the records of each bin, and the positives."""
    tables, codes = _open(request, cohort, cache)
    sums = [np.bincount(codes[j], minlength=w) for j, w in enumerate(tables.widths)]
    answer = _answer(sums, COUNT_SCALE, sensitivity("counts", cohort.catalogue))
    positives = positives_weight(len(codes)) * int(_labels(cohort).sum())
    return Answer(np.append(answer.vector, positives), answer.sensitivity)


@release_kind("additive/order")
def order(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Count the positives of each level of the unordered categories; missing is left out."""
    positive = _labels(cohort) == 1
    sums = []
    for j in ordered_by_target(cohort.catalogue):
        levels = levels_of(cohort.catalogue.features[j])
        column = cohort.values[positive, j]
        known = column[(column >= 0) & (column < levels)].astype(np.int64)
        sums.append(np.bincount(known, minlength=levels))
    return _answer(sums, COUNT_SCALE, sensitivity("order", cohort.catalogue))


@release_kind("additive/main")
def main(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Sum the clipped residuals of each bin."""
    tables, codes = _open(request, cohort, cache)
    weights = _residuals(tables, codes, cohort)
    sums = _main_sums(tables, codes, weights)
    return _answer(sums, 1, sensitivity("main", cohort.catalogue))


@release_kind("additive/screen")
def screen(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Sum the clipped residuals of each cell of all pairs of the candidates."""
    tables, codes = _open(request, cohort, cache)
    candidates = request.arrays["candidates"]
    if candidates.ndim != 1 or candidates.dtype != np.int64 or len(candidates) > len(codes):
        raise ValueError("additive/screen: candidates must be columns of the catalogue")
    if (candidates < 0).any() or (candidates >= len(codes)).any():
        raise ValueError("additive/screen: candidates must be columns of the catalogue")
    weights = _residuals(tables, codes, cohort)
    sides = {int(j): tables.side(int(j), codes).astype(np.uint8) for j in candidates}
    sums = [
        np.bincount(sides[int(a)] * GROUPS + sides[int(b)], weights, GROUPS**2)
        for a, b in combinations(candidates, 2)
    ]
    return _answer(sums, 1, sensitivity("screen", cohort.catalogue, len(sums)))


@release_kind("additive/pair-counts")
def pair_counts(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Count the records of each cell of the chosen pairs."""
    tables, codes = _open(request, cohort, cache)
    sums = [
        np.bincount(tables.cell(k, codes), minlength=GROUPS**2) for k in range(len(tables.pairs))
    ]
    return _answer(sums, COUNT_SCALE, sensitivity("pair-counts", cohort.catalogue, len(sums)))


@release_kind("additive/joint")
def joint(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Sum the clipped residuals of each bin and of each cell of the chosen pairs."""
    tables, codes = _open(request, cohort, cache)
    weights = _residuals(tables, codes, cohort)
    sums: list[Any] = list(_main_sums(tables, codes, weights))
    for k in range(len(tables.pairs)):
        sums.append(np.bincount(tables.cell(k, codes), weights, GROUPS**2))
    return _answer(sums, 1, sensitivity("joint", cohort.catalogue, len(tables.pairs)))


@release_kind("additive/scores")
def scores(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> Answer:
    """Count the records of each score bucket by label: first the negatives, then the positives."""
    tables, codes = _open(request, cohort, cache)
    edges = request.arrays["edges"]
    if edges.shape != (BUCKETS - 1,) or edges.dtype != np.float64 or not (np.diff(edges) > 0).all():
        raise ValueError(f"additive/scores: edges must be {BUCKETS - 1} ascending numbers")
    bucket = np.searchsorted(edges, tables.logit(codes), side="right")
    sums = [np.bincount(bucket + BUCKETS * _labels(cohort), minlength=2 * BUCKETS)]
    return _answer(sums, COUNT_SCALE, sensitivity("scores", cohort.catalogue))


def _open(request: ReleaseRequest, cohort: Cohort, cache: Cache) -> tuple[Tables, Codes]:
    """Check the request's tables and bin the rows, once for each set of cut points."""
    tables = Tables.from_arrays(cohort.catalogue, request.arrays)
    digest = hashlib.sha256(tables.binning.cuts.tobytes() + tables.binning.levels.tobytes())
    key, name = digest.hexdigest(), f"additive/{request.part}"
    if name not in cache or cache[name][0] != key:
        cache[name] = (key, tables.binning.codes(cohort.values))
    return tables, cache[name][1]


def _labels(cohort: Cohort) -> NDArray[np.int64]:
    if not np.isin(cohort.label, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return cohort.label.astype(np.int64)


def _residuals(tables: Tables, codes: Codes, cohort: Cohort) -> Floats:
    """Return the clipped residuals in whole units, as float64 for ``bincount``."""
    residual = _labels(cohort) - expit(tables.logit(codes))
    clipped = np.clip(residual, -RESIDUAL_CLIP, RESIDUAL_CLIP)
    return np.asarray(np.rint(clipped * RESIDUAL_SCALE))


def _main_sums(tables: Tables, codes: Codes, weights: Floats) -> list[Any]:
    return [np.bincount(codes[j], weights, int(w)) for j, w in enumerate(tables.widths)]


def _answer(sums: list[Any], scale: int, bound: float) -> Answer:
    parts = [np.asarray(s).astype(np.int64) * scale for s in sums]
    return Answer(np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64), bound)
