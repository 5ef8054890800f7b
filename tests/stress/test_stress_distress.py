"""DebtRank against its chain, its definition, and its limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.stress import distress
from haihe_fl.stress.distress import by_debtor, debtrank, distressed_pd, pass_on

CHAIN = np.array([[0.0, 2, 0], [0, 0, 2], [0, 0, 0]])


def random_network(seed: int, n: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    owed = rng.uniform(0, 3, (n, n)) * (rng.random((n, n)) < 0.2) * (1 - np.eye(n))
    return owed, rng.uniform(1, 6, n), (rng.random(n) < 0.2).astype(float)


def test_t10_chain() -> None:
    found = debtrank(CHAIN, [5, 4, 1], [0, 0, 1])
    assert found.h == pytest.approx([0.2, 0.5, 1.0])
    assert found.rounds == 3  # the last finds nobody who is owed
    assert debtrank(CHAIN, [5, 4, 1], [0, 0, 1], 0.5).h == pytest.approx([0.05, 0.25, 1.0])


@given(st.integers(0, 10_000), st.floats(0.1, 2.5))
@settings(max_examples=40, deadline=None)
def test_as_defined_step_by_step(seed: int, lambda_: float) -> None:
    owed, equity, start = random_network(seed)
    before, h = np.zeros(len(start)), start
    for _ in range(3000):
        before, h = h, np.minimum(1, h + lambda_ * (owed / equity[:, None]) @ (h - before))
    assert debtrank(owed, equity, start, lambda_, tolerance=1e-12).h == pytest.approx(h, abs=1e-8)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_more_failures_or_more_lambda_never_mean_less_distress(seed: int) -> None:
    owed, equity, start = random_network(seed)
    more = np.maximum(start, np.random.default_rng(seed + 1).random(len(start)) < 0.1)
    mild = debtrank(owed, equity, start, tolerance=0.0).h
    assert (debtrank(owed, equity, more, tolerance=0.0).h >= mild - 1e-9).all()
    assert (debtrank(owed, equity, start, 1.5, tolerance=0.0).h >= mild - 1e-9).all()
    assert (mild >= start).all()
    assert (mild <= 1).all()


def test_lambda_0_and_isolated_nodes_stay_as_they_are() -> None:
    owed, equity, start = random_network(1)
    assert debtrank(owed, equity, start, 0.0).h.tolist() == start.tolist()
    owed[4] = owed[:, 4] = 0
    start[4] = 0.0
    assert debtrank(owed, equity, start).h[4] == 0.0
    start[4] = 0.3
    assert debtrank(owed, equity, start).h[4] == 0.3


def test_distress_goes_on_where_an_earlier_one_ended() -> None:
    owed, equity, start = random_network(5)
    table = by_debtor(owed, equity)
    on = debtrank(owed, equity, start, tolerance=0.0).h
    late = np.flatnonzero(on < 1)[:2]
    step, on[late] = 1 - on[late], 1.0
    pass_on(table, on, late, step, 1.0, 0.0)
    both = start.copy()
    both[late] = 1.0
    assert on == pytest.approx(debtrank(owed, equity, both, tolerance=0.0).h, abs=1e-9)


def test_a_crowd_gives_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    owed, equity, start = random_network(2, 60)
    results = []
    for share in (-1.0, 2.0):
        monkeypatch.setattr(distress, "_CROWD", share)
        results.append(debtrank(owed, equity, start, 1.3).h)
    assert results[0].tolist() == results[1].tolist()


def test_pd_feedback() -> None:
    assert distressed_pd(0.03, 0.0) == pytest.approx(0.03)
    odds = 0.03 / 0.97 * np.exp(1.5)
    assert distressed_pd(0.03, 1.0) == pytest.approx(odds / (1 + odds))
    assert distressed_pd(0.03, 1.0, gamma=0.0) == pytest.approx(0.03)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="equity"):
        debtrank(CHAIN, [5, 0, 1], [0, 0, 1])
    with pytest.raises(ValueError, match="distress"):
        debtrank(CHAIN, [5, 4, 1], [0, 0, 1.5])
    with pytest.raises(ValueError, match="lambda"):
        debtrank(CHAIN, [5, 4, 1], [0, 0, 1], -1.0)
