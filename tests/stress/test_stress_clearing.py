"""Clearing against published inputs, a linear programme, and the properties that define it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array

from haihe_fl.stress import clearing
from haihe_fl.stress.clearing import call_guarantees, clear

Floats = NDArray[np.float64]
T8_CASH = np.array([0.5, 0.625, 0.75])
T8_EXTERNAL = np.array([1.5, 0.5, 0.5])
T8_DEBTS = 0.5 * (1 - np.eye(3))
T8_PAID = [1.4732143, 1.4196429, 1.5]


def by_programme(cash: Floats, debts: Floats, external: Floats) -> Floats:
    """Eisenberg and Noe: the vector that maximises the sum of payments."""
    owed = debts.sum(axis=1) + external
    share = np.divide(debts, owed[:, None], out=np.zeros_like(debts), where=owed[:, None] > 0)
    found = linprog(
        -np.ones(len(cash)), np.eye(len(cash)) - share.T, cash, bounds=[(0, x) for x in owed]
    )
    return np.asarray(found.x)


def systems(most: int = 6) -> Any:
    """Draw (cash, debts, external) with zeros, ties and closed circles among them."""
    amounts = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.0, 2.0, 3.7])

    def arrays(n: int) -> Any:
        return st.tuples(
            st.lists(amounts, min_size=n, max_size=n).map(np.array),
            st.lists(amounts, min_size=n * n, max_size=n * n).map(
                lambda x: np.reshape(x, (n, n)) * (1 - np.eye(n))
            ),
            st.lists(amounts, min_size=n, max_size=n).map(np.array),
        )

    return st.integers(2, most).flatmap(arrays)


@pytest.mark.parametrize("method", ["picard", "fictitious"])
def test_t8_by_both_methods_and_by_linear_programming(method: Any) -> None:
    found = clear(T8_CASH, T8_DEBTS, T8_EXTERNAL, method=method)
    assert found.payments == pytest.approx(T8_PAID, abs=5e-8)
    assert found.defaults.tolist() == [True, True, False]
    assert found.payments == pytest.approx(by_programme(T8_CASH, T8_DEBTS, T8_EXTERNAL), abs=1e-9)


def test_fictitious_default_takes_three_rounds_for_t8() -> None:
    assert clear(T8_CASH, T8_DEBTS, T8_EXTERNAL, method="fictitious").rounds == 3


@given(systems())
@settings(max_examples=60, deadline=None)
def test_three_ways_agree(system: tuple[Floats, Floats, Floats]) -> None:
    picard = clear(*system)
    assert clear(*system, method="fictitious").payments == pytest.approx(picard.payments, abs=1e-8)
    assert by_programme(*system) == pytest.approx(picard.payments, abs=1e-7)


@given(systems(), st.sampled_from([(1.0, 1.0), (0.7, 1.0), (0.5, 0.6), (0.0, 0.0)]))
@settings(max_examples=80, deadline=None)
def test_it_is_a_fixed_point_and_the_greatest(
    system: tuple[Floats, Floats, Floats], costs: tuple[float, float]
) -> None:
    cash, debts, external = system
    owed = debts.sum(axis=1) + external
    share = np.divide(debts, owed[:, None], out=np.zeros_like(debts), where=owed[:, None] > 0)

    def step(p: Floats) -> Floats:
        inflow = share.T @ p
        short = cash + inflow < owed * (1 - clearing.SLACK)
        return np.where(short, costs[0] * cash + costs[1] * inflow, owed)

    found = clear(cash, debts, external, alpha=costs[0], beta=costs[1])
    assert step(found.payments) == pytest.approx(found.payments, abs=1e-8)
    low = np.zeros(len(cash))  # from nothing paid at all, up: the least fixed point or below it
    for _ in range(500):
        low = np.minimum(step(low), owed)
    assert (low <= found.payments + 1e-8).all()
    other = clear(cash, debts, external, alpha=costs[0], beta=costs[1], method="fictitious")
    assert other.payments == pytest.approx(found.payments, abs=1e-8)


def test_of_several_fixed_points_the_greatest_is_taken() -> None:
    # Two owe each other 1 and have nothing: paying nothing is a fixed point as well.
    debts = np.array([[0.0, 1.0], [1.0, 0.0]])
    for method in ("picard", "fictitious"):
        assert clear([0.0, 0.0], debts, method=method).payments.tolist() == [1.0, 1.0]
    # With default costs a smaller solution exists beside payment in full, (0.25, 0.25).
    with_costs = clear([0.5, 0.5], debts, 0.5, alpha=0.5, beta=0.5)
    assert with_costs.payments.tolist() == [1.5, 1.5]
    assert not with_costs.defaults.any()


def test_costs_of_default_by_hand() -> None:
    # Node 0 has 1 for 2 owed to node 1; half its cash is lost. Node 1 owes 1.5 outside.
    found = clear([1.0, 0.6], [[0, 2.0], [0, 0]], [0.0, 1.5], alpha=0.5, beta=0.5)
    assert found.payments == pytest.approx([0.5, 0.5 * 0.6 + 0.5 * 0.5])
    assert found.shortfall == pytest.approx([1.5, 0.95])
    own = clear([1.0, 0.6], [[0, 2.0], [0, 0]], [0.0, 2.0], alpha=[1.0, 0.5], beta=0.5)
    assert own.payments == pytest.approx([1.0, 0.8])


@given(systems(), st.integers(0, 5), st.floats(0, 3))
@settings(max_examples=60, deadline=None)
def test_payments_rise_with_cash(
    system: tuple[Floats, Floats, Floats], who: int, gift: float
) -> None:
    cash, debts, external = system
    richer = cash.copy()
    richer[who % len(cash)] += gift
    for costs in ((1.0, 1.0), (0.6, 0.8)):
        before = clear(cash, debts, external, alpha=costs[0], beta=costs[1])
        after = clear(richer, debts, external, alpha=costs[0], beta=costs[1])
        assert (after.payments >= before.payments - 1e-8).all()


@given(systems())
@settings(max_examples=60, deadline=None)
def test_no_value_is_lost_without_costs(system: tuple[Floats, Floats, Floats]) -> None:
    cash, debts, external = system
    found = clear(cash, debts, external)
    paid_out = found.payments * np.divide(
        external, found.owed, out=np.zeros_like(external), where=found.owed > 0
    )
    assert found.equity.sum() + paid_out.sum() == pytest.approx(cash.sum(), abs=1e-8)
    assert (found.equity >= -1e-8).all()


def test_slow_circles_are_solved_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 30
    circle = np.roll(np.eye(n), 1, axis=1)
    arguments = (np.r_[0.0, np.full(n - 1, 1e-4)], circle, np.full(n, 2e-4))
    settled = clear(*arguments, method="fictitious").payments
    monkeypatch.setattr(clearing, "_MOST_STEPS", 3)
    assert clear(*arguments).payments == pytest.approx(settled, rel=1e-12)
    assert settled == pytest.approx(by_programme(*arguments), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cash": [-1.0, 0, 0]}, "cash"),
        ({"liabilities": -T8_DEBTS}, "liabilities"),
        ({"liabilities": np.eye(2)}, "shape"),
        ({"external": [np.nan, 0, 0]}, "external"),
        ({"alpha": 1.2}, "alpha"),
        ({"beta": -0.1}, "beta"),
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], match: str) -> None:
    given = {"cash": T8_CASH, "liabilities": T8_DEBTS, "external": T8_EXTERNAL, **change}
    with pytest.raises(ValueError, match=match):
        clear(**given)


def guarantees(n: int, *edges: tuple[int, int, float]) -> tuple[csr_array, Floats]:
    """Edges are (guarantor, borrower, amount)."""
    source, target, amount = zip(*edges, strict=True)
    table = csr_array((amount, (target, source)), shape=(n, n), dtype=np.float64)
    return table, np.asarray(table.sum(axis=1)).ravel()


def test_no_guarantee_is_called_while_its_borrower_pays() -> None:
    table = guarantees(2, (1, 0, 50.0))
    debt = np.array([100.0, 10.0])
    quiet = call_guarantees(debt, debt, debt, *table)
    assert not quiet.called.any()
    assert not quiet.failed.any()
    assert quiet.rounds == 0
    short = call_guarantees(np.array([99.0, 10.0]), debt, np.array([1.0, 10]), *table)
    assert short.called.tolist() == [0.0, 1.0]
    assert short.failed.tolist() == [True, True]  # the guarantor has nothing over


def test_a_circle_of_guarantees_falls_in_one_turn_and_ends() -> None:
    n = 5
    table = guarantees(n, *[((i + 1) % n, i, 40.0) for i in range(n)])
    debt = np.full(n, 100.0)
    cash = np.array([70.0, 110, 110, 110, 110])
    found = call_guarantees(cash, debt, np.full(n, 30.0), *table)
    assert found.failed.all()
    assert found.called.tolist() == [30.0] * n
    assert found.rounds == n
    assert found.paid.sum() == pytest.approx(found.received.sum())
    firm = call_guarantees(np.array([70.0, 110, 140, 110, 110]), debt, np.full(n, 30.0), *table)
    assert firm.failed.tolist() == [True, True, False, False, False]  # node 2 holds


def test_what_guarantors_pay_is_the_greatest_clearing_of_what_is_called() -> None:
    rng = np.random.default_rng(3)
    n = 40
    edges = {(int(a), int(b)): float(x) for a, b, x in zip(
        rng.integers(0, n, 120), rng.integers(0, n, 120), rng.uniform(5, 60, 120), strict=True
    ) if a != b}  # fmt: skip
    table, total = guarantees(n, *[(a, b, x) for (a, b), x in edges.items()])
    debt = rng.uniform(20, 100, n)
    claim = 0.5 * debt
    cash = debt + rng.uniform(-1, 10, n).round()
    found = call_guarantees(cash, debt, claim, table, total, alpha=0.8, beta=0.9)
    share = np.where(found.failed, np.minimum(claim / np.maximum(total, 1e-9), 1), 0)
    owed = (table.toarray() * share[:, None]).T  # guarantor by borrower
    assert found.called == pytest.approx(owed.sum(axis=1))
    whole = clear(cash, owed, debt, alpha=0.8, beta=0.9)
    active = (found.called > 0) | (found.received > 0)
    assert active.sum() > 10
    assert found.received[active] == pytest.approx(whole.inflow[active])
    parts = np.divide(found.called, found.called + debt)
    assert found.paid[active] == pytest.approx((whole.payments * parts)[active])


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 30))
@settings(max_examples=40, deadline=None)
def test_more_trouble_never_means_fewer_calls(seed: int, share: float, less: float) -> None:
    rng = np.random.default_rng(seed)
    n = 12
    edges = {(int(a), int(b)): 10.0 for a, b in rng.integers(0, n, (30, 2)) if a != b}
    table = guarantees(n, *[(a, b, x) for (a, b), x in edges.items()])
    debt = rng.uniform(5, 40, n)
    cash = debt + rng.uniform(-3, 12, n)
    worse = cash - less * (rng.random(n) < share)
    mild = call_guarantees(cash, debt, debt, *table)
    grave = call_guarantees(np.maximum(worse, 0), debt, debt, *table)
    assert (grave.called >= mild.called - 1e-9).all()
    assert (grave.failed | ~mild.failed).all()


def test_who_owes_nothing_never_fails_and_changes_nothing() -> None:
    debts = np.zeros((5, 5))
    debts[:3, :3] = T8_DEBTS
    for method in ("picard", "fictitious"):
        found = clear([*T8_CASH, 0.0, 7.0], debts, [*T8_EXTERNAL, 0.0, 0.0], method=method)
        assert found.payments == pytest.approx([*T8_PAID, 0.0, 0.0], abs=5e-8)
        assert found.defaults.tolist() == [True, True, False, False, False]
        assert found.equity[3:].tolist() == [0.0, 7.0]
