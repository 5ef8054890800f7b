from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.cohort import Cohort
from haihe_fl.models.additive import (
    COUNT_SCALE,
    RESIDUAL_CLIP,
    RESIDUAL_SCALE,
    AdditiveConfig,
    AdditiveTrainer,
)
from haihe_fl.models.additive.config import BUCKETS, GROUPS
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.binning import CELLS, grid
from haihe_fl.models.releases import ReleaseComputer, ReleaseRequest
from haihe_fl.privacy.gaussian import mu_for

CATALOGUE = FeatureCatalogue(
    name="case",
    features=(
        Feature(name="income", range=(-100, 1000), scale="log"),
        Feature(name="sector", kind="category", categories=("a", "b", "c", "d")),
        Feature(name="share", range=(0, 1)),
        Feature(name="new", kind="category", categories=("no", "yes")),
        Feature(name="late", range=(0, 12), direction=1),
    ),
)
CONFIG = AdditiveConfig(bins=8, main_rounds=3, joint_rounds=3, pairs=3)
D = len(CATALOGUE.features)


def cohort(n: int, seed: int = 0) -> Cohort:
    random = np.random.default_rng(seed)
    values = np.column_stack(
        [
            random.normal(50, 200, n),
            random.integers(0, 4, n),
            random.random(n),
            random.integers(0, 2, n),
            random.poisson(2, n),
        ]
    ).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    label = (random.random(n) < 0.2 + 0.3 * (values[:, 2] > 0.6)).astype(np.int8)
    return of(values, label)


def of(values: np.ndarray, label: np.ndarray) -> Cohort:
    n = len(label)
    names = np.arange(n).astype(str)
    return Cohort(CATALOGUE, values, label, key=names, institution=np.full(n, "a"))


def requests(rows: Cohort) -> Iterator[ReleaseRequest]:
    trainer, computer = AdditiveTrainer(CATALOGUE, CONFIG, np.inf), ReleaseComputer(rows, 0.0)
    while (request := trainer.next_request()) is not None:
        yield request
        trainer.absorb(computer.answer(request).vector)


ROWS = cohort(400)
REQUESTS = list(requests(ROWS))
LAST = {request.kind: request for request in REQUESTS}


def naive(request: ReleaseRequest, rows: Cohort) -> np.ndarray:
    """The same sums, one record at a time."""
    kind = request.kind.removeprefix("additive/")
    out = np.zeros(request.length, dtype=object)
    if kind not in ("quantiles", "order"):
        tables = Tables.from_arrays(CATALOGUE, request.arrays)
        codes = tables.binning.codes(rows.values)
        starts = np.concatenate([[0], np.cumsum(tables.widths)])
    for i, (values, y) in enumerate(zip(rows.values, rows.label.tolist(), strict=True)):
        if kind == "quantiles":
            for place, j in enumerate((0, 2, 4)):
                x = values[j]
                low, high = CATALOGUE.features[j].range or (0, 0)
                below = sum(
                    edge <= min(max(float(x), low), high) for edge in grid(CATALOGUE.features[j])
                )
                out[place * (CELLS + 1) + (0 if np.isnan(x) else 1 + below)] += COUNT_SCALE
            continue
        if kind == "order":
            if y and not np.isnan(values[1]):
                out[int(values[1])] += COUNT_SCALE
            continue
        code = [int(c) for c in codes[:, i]]
        score = tables.intercept + sum(tables.main[starts[j] + code[j]] for j in range(D))
        side = [int(tables.groups[starts[j] + code[j]]) for j in range(D)]
        for k, (a, b) in enumerate(tables.pairs.tolist()):
            score += tables.cells[k][side[a] * GROUPS + side[b]]
        residual = min(max(y - 1 / (1 + np.exp(-score)), -RESIDUAL_CLIP), RESIDUAL_CLIP)
        add = COUNT_SCALE if kind in ("counts", "pair-counts", "scores") else 0
        add = add or round(residual * RESIDUAL_SCALE)
        first = 0
        if kind in ("counts", "main", "joint"):
            for j in range(D):
                out[starts[j] + code[j]] += add
            first = int(starts[-1])
        if kind == "counts":
            out[-1] += y * round(np.sqrt(D) / 2 * COUNT_SCALE)
        pairs = tables.pairs.tolist()
        if kind == "screen":
            pairs = list(combinations(request.arrays["candidates"].tolist(), 2))
        if kind in ("screen", "pair-counts", "joint"):
            for k, (a, b) in enumerate(pairs):
                out[first + k * GROUPS**2 + side[a] * GROUPS + side[b]] += add
        if kind == "scores":
            bucket = sum(edge <= score for edge in request.arrays["edges"])
            out[bucket + BUCKETS * y] += add
    return out


@pytest.mark.parametrize("kind", LAST)
def test_sums_equal_plain_loops(kind: str) -> None:
    rows = cohort(120, seed=5)
    answer = ReleaseComputer(rows, 0.0).answer(LAST[kind])
    assert answer.vector.dtype == np.int64
    assert answer.vector.tolist() == naive(LAST[kind], rows).tolist()
    assert np.abs(answer.vector).sum() > 0


@pytest.mark.parametrize("kind", LAST)
def test_sums_of_parts_add_up(kind: str) -> None:
    left = ROWS.take(np.arange(len(ROWS)) < 150)
    right = ROWS.take(np.arange(len(ROWS)) >= 150)
    parts = [ReleaseComputer(c, 0.0).answer(LAST[kind]) for c in (left, right)]
    whole = ReleaseComputer(ROWS, 0.0).answer(LAST[kind])
    assert (parts[0].vector + parts[1].vector == whole.vector).all()
    assert parts[0].sensitivity == parts[1].sensitivity == whole.sensitivity


RECORD = st.tuples(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=D, max_size=D),
    st.integers(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(record=RECORD, scale=st.floats(0, 60), seed=st.integers(0, 9))
@pytest.mark.parametrize("kind", LAST)
def test_no_record_moves_a_sum_by_more_than_the_sensitivity(
    kind: str, record: tuple[list[float], int], scale: float, seed: int
) -> None:
    request = LAST[kind]
    if "main" in request.arrays:
        # The centre may send any tables: the bound must not depend on them.
        random = np.random.default_rng(seed)
        arrays = dict(request.arrays)
        for name in ("main", "cells", "intercept"):
            arrays[name] = random.uniform(-scale, scale, arrays[name].shape)
        request = replace(request, arrays=arrays)
    base = cohort(5, seed)
    more = of(
        np.vstack([base.values, np.array([record[0]], dtype=np.float32)]),
        np.append(base.label, record[1]).astype(np.int8),
    )
    before = ReleaseComputer(base, 0.0).answer(request)
    after = ReleaseComputer(more, 0.0).answer(request)
    moved = float(np.linalg.norm((after.vector - before.vector).astype(float)))
    assert moved <= before.sensitivity * (1 + 1e-12)
    assert after.sensitivity == before.sensitivity


@pytest.mark.parametrize("kind", LAST)
def test_the_sensitivity_is_reached(kind: str) -> None:
    """A bound that nothing reaches would waste noise."""
    request = LAST[kind]
    if "intercept" in request.arrays:
        request = replace(request, arrays={**request.arrays, "intercept": np.array([-50.0])})
    values = np.array([[5, 1, 0.5, 1, 3]], dtype=np.float32)
    answer = ReleaseComputer(of(values, np.array([1], dtype=np.int8)), 0.0).answer(request)
    norm = float(np.linalg.norm(answer.vector.astype(float)))
    assert norm == pytest.approx(answer.sensitivity, rel=1e-6)


def test_noise_stays_large_in_integer_units() -> None:
    plan = CONFIG.schedule(CATALOGUE, mu_for(8.0, 1e-5))
    answers = {r.kind: ReleaseComputer(ROWS, 0.0).answer(r).sensitivity for r in REQUESTS}
    # A share of the noise among 400 institutions, all of whose noise counts.
    assert min(r.noise_multiplier * answers[r.kind] / 20 for r in plan) > 10


def test_ten_million_records_stay_exact() -> None:
    assert 10**7 * RESIDUAL_CLIP * RESIDUAL_SCALE < 2**53
    assert 10**7 * COUNT_SCALE * np.sqrt(100) / 2 < 2**63


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cuts", lambda a: a[:, ::-1]),
        ("cuts", lambda a: a.astype(np.float32)),
        ("levels", lambda a: a + 40),
        ("widths", lambda a: a - 6),
        ("main", lambda a: a[1:]),
        ("main", lambda a: a * np.nan),
        ("main", lambda a: a + 1e6),
        ("intercept", lambda a: np.array([np.inf])),
        ("groups", lambda a: a + GROUPS),
        ("pairs", lambda a: a + D),
        ("cells", lambda a: a[:, :-1]),
        ("cells", lambda a: a.astype(np.complex128)),
    ],
)
def test_nonsense_is_refused(name: str, change) -> None:  # type: ignore[no-untyped-def]
    request = LAST["additive/joint"]
    bad = replace(request, arrays={**request.arrays, name: change(request.arrays[name])})
    with pytest.raises(ValueError):
        ReleaseComputer(ROWS, 0.0).answer(bad)


def test_absent_or_odd_arrays_are_refused() -> None:
    computer = ReleaseComputer(ROWS, 0.0)
    request = LAST["additive/main"]
    arrays = {k: v for k, v in request.arrays.items() if k != "groups"}
    with pytest.raises(ValueError, match="groups"):
        computer.answer(replace(request, arrays=arrays))
    screen = LAST["additive/screen"]
    for candidates in (np.array([0, 99, 1]), np.array([0.0, 1.0]), np.array([[0, 1]])):
        with pytest.raises(ValueError, match="candidates"):
            computer.answer(replace(screen, arrays={**screen.arrays, "candidates": candidates}))
    scores = LAST["additive/scores"]
    with pytest.raises(ValueError, match="edges"):
        computer.answer(
            replace(scores, arrays={**scores.arrays, "edges": scores.arrays["edges"][::-1]})
        )


def test_labels_other_than_zero_and_one_are_refused() -> None:
    rows = of(ROWS.values[:2], np.array([0, 2], dtype=np.int8))
    with pytest.raises(ValueError, match="labels"):
        ReleaseComputer(rows, 0.0).answer(LAST["additive/main"])


def test_training_and_held_out_rows_do_not_share_a_cache() -> None:
    computer = ReleaseComputer(ROWS, 0.3)
    sums = {}
    for part in ("train", "holdout"):
        request = replace(LAST["additive/pair-counts"], part=part)
        sums[part] = computer.answer(request).vector.sum() // COUNT_SCALE // 3
    assert sums["train"] + sums["holdout"] == len(ROWS)
    assert 0 < sums["holdout"] < sums["train"]
