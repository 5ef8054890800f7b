"""The two-layer network: what it refuses, how it joins, what a draw sets off in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.data.synth import synthesise
from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language
from haihe_fl.stress.clearing import call_guarantees
from haihe_fl.stress.distress import debtrank
from haihe_fl.stress.network import EQUITY_FLOOR, Links, Network, hash_ids, propagate

NONE = Links(np.array([], dtype=np.int64), np.array([], dtype=np.int64), np.array([]))


def links(*edges: tuple[Any, Any, float]) -> Links:
    source, target, amount = zip(*edges, strict=True)
    return Links(np.array(source), np.array(target), np.array(amount))


def network(guarantees: Links = NONE, supply: Links = NONE, n: int = 4, **columns: Any) -> Network:
    given = {"debt": np.full(n, 100.0), "liquid": np.full(n, 20.0), "equity": np.full(n, 50.0)}
    return Network.build(
        [f"firm {i}" for i in range(n)], guarantees, supply, **{**given, **columns}
    )


def random_network(seed: int, n: int = 20) -> tuple[Network, np.random.Generator]:
    rng = np.random.default_rng(seed)

    def edges(m: int, most: float) -> Links:
        ends = rng.integers(0, n, (2, m))
        ends = ends[:, ends[0] != ends[1]]
        return Links(ends[0], ends[1], rng.uniform(0, most, ends.shape[1]))

    columns = {
        "debt": rng.uniform(0, 100, n),
        "liquid": rng.uniform(0, 30, n),
        "equity": rng.uniform(5, 80, n),
    }
    return network(edges(40, 60.0), edges(40, 30.0), n, **columns), rng


@pytest.mark.parametrize(
    ("code", "guarantees", "supply", "text"),
    [
        ("H2540", links((0, 4, 1.0)), NONE, "guarantee, row 1: no enterprise '4'"),
        ("H2540", NONE, links((0, 1, 1.0), (-1, 2, 1.0)), "supply, row 2"),
        ("H2540", links(("firm 0", "firm 9", 1.0)), NONE, "'firm 9'"),
        ("H2541", links((0, 1, 1.0), (2, 2, 1.0)), NONE, "row 2: 'firm 2' stands at both ends"),
        ("H2542", links((0, 1, -5.0)), NONE, "amount -5.0"),
        ("H2542", NONE, links((0, 1, np.nan)), "supply, row 1: amount nan"),
        ("H2542", Links(np.array([0]), np.array([1]), np.array([1.0, 2.0])), NONE, "differ"),
    ],
)
def test_bad_edges_are_refused(code: str, guarantees: Links, supply: Links, text: str) -> None:
    with pytest.raises(UserError) as caught:
        network(guarantees, supply)
    assert caught.value.code == code
    assert text in caught.value.en
    set_language("zh")
    try:
        assert "担保" in str(caught.value) or "供应链" in str(caught.value)
    finally:
        set_language("en")


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"debt": [1.0, 2, 3, -4]}, "debt: row 4 is -4"),
        ({"liquid": [1.0, np.inf, 3, 4]}, "liquid: row 2 is inf"),
        ({"equity": [1.0, 2, np.nan, 4]}, "equity: row 3 is nan"),
        ({"debt": [1.0, 2]}, "debt: shape (2,)"),
    ],
)
def test_bad_columns_are_refused(columns: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        network(**columns)
    assert caught.value.code == "H2544"
    assert text in caught.value.en


def test_ids_stand_once() -> None:
    money = {"debt": [1.0, 1], "liquid": [1.0, 1], "equity": [1.0, 1]}
    for ids in (["a", "a"], ["a", ""]):
        with pytest.raises(UserError) as caught:
            Network.build(ids, NONE, NONE, **money)
        assert caught.value.code == "H2543"
    with pytest.raises(UserError) as caught:
        Network.build([], NONE, NONE, debt=[], liquid=[], equity=[])
    assert caught.value.code == "H2543"


def test_edges_by_hashed_ids_are_the_edges_by_position() -> None:
    keys, secret = np.array([f"9112{i:014d}" for i in (7, 3, 9, 1)]), b"held by the consortium"
    ids = hash_ids(keys, secret)
    assert len(set(ids)) == 4
    assert not set(ids) & set(hash_ids(keys, b"another secret"))
    money = {"debt": np.full(4, 100.0), "liquid": np.full(4, 9.0), "equity": np.full(4, 50.0)}
    source, target, amount = np.array([0, 3, 2]), np.array([1, 1, 0]), np.array([5.0, 7.0, 9.0])
    plain = Network.build(ids, Links(source, target, amount), NONE, **money)
    sent = Links(hash_ids(keys[source], secret), hash_ids(keys[target], secret), amount)
    joined = Network.build(ids, sent, NONE, **money)
    assert (joined.guarantees != plain.guarantees).nnz == 0
    assert joined.nodes_of(ids[[2, 0, 2]]).tolist() == [2, 0, 2]
    with pytest.raises(UserError, match="H2540"):
        joined.nodes_of(["nobody"])


def test_edges_that_stand_twice_add_up_and_empty_ones_are_dropped() -> None:
    net = network(links((0, 1, 5.0), (0, 1, 7.0), (2, 1, 0.0)))
    assert net.guarantees.toarray()[1].tolist() == [12.0, 0, 0, 0]
    assert net.guarantees.nnz == 1
    assert net.guaranteed.tolist() == [0.0, 12.0, 0, 0]


def test_a_circle_of_guarantees_is_a_network_and_ends() -> None:
    net = network(links((0, 1, 60.0), (1, 2, 60.0), (2, 0, 60.0)))
    found = propagate(net, [True, False, False, False], [45.0, 0, 0, 0])
    assert found.extra_defaults.tolist() == [False, True, True, False]
    assert found.called.tolist() == [45.0, 45.0, 45.0, 0.0]
    assert found.paid.sum() == pytest.approx(found.received.sum())


def test_one_draw_by_hand() -> None:
    # Firm 0 leaves 45; firm 1 stands for it with 30, and has 20. Firm 2 is owed 25 by firm 1
    # and has equity of 50. Firm 3 is owed 60 by firm 2.
    net = network(links((1, 0, 30.0)), links((2, 1, 25.0), (3, 2, 60.0)))
    found = propagate(net, [True, False, False, False], [45.0, 999.0, 0, 0])
    assert found.called.tolist() == [0.0, 30.0, 0, 0]
    assert found.extra_defaults.tolist() == [False, True, False, False]
    assert found.h == pytest.approx([1.0, 1.0, 0.5, 0.6])
    assert found.passes == 1
    # It has 120 for 130: 30 of them go where it was called.
    assert found.paid == pytest.approx([0.0, 30 * 120 / 130, 0, 0])
    assert found.received == pytest.approx([30 * 120 / 130, 0, 0, 0])
    # With twice the strength firm 2 loses all, then firm 3; each is a failure.
    strong = propagate(net, [True, False, False, False], [45.0, 0, 0, 0], lambda_=2.0)
    assert strong.extra_defaults.tolist() == [False, True, True, True]
    assert strong.h.tolist() == [1.0, 1.0, 1.0, 1.0]


def test_a_ruined_supplier_has_its_own_guarantors_called() -> None:
    net = network(links((2, 1, 80.0)), links((1, 0, 50.0)))
    found = propagate(net, [True, False, False, False], [45.0, 0, 0, 0])
    assert found.passes == 2
    assert found.called.tolist() == [0.0, 0.0, 45.0, 0.0]
    assert found.extra_defaults.tolist() == [False, True, True, False]
    mild = propagate(net, [True, False, False, False], [45.0, 0, 0, 0], loss_share=0.2)
    assert mild.called.tolist() == [0.0, 0.0, 20.0, 0.0]
    assert mild.extra_defaults.tolist() == [False, True, False, False]


def test_the_haircut_decides_who_can_pay() -> None:
    net = network(links((1, 0, 15.0)))
    drawn, unpaid = [True, False, False, False], [45.0, 0, 0, 0]
    assert not propagate(net, drawn, unpaid).extra_defaults.any()
    assert propagate(net, drawn, unpaid, guarantee_haircut=0.3).extra_defaults.tolist()[1]


def test_costs_lower_what_failed_guarantors_pay() -> None:
    net = network(links((1, 0, 30.0)))
    drawn, unpaid = [True, False, False, False], [45.0, 0, 0, 0]
    found = propagate(net, drawn, unpaid, alpha=0.5)
    assert found.paid[1] == pytest.approx(0.5 * 120 * 30 / 130)


def test_without_equity_the_smallest_receivable_ruins() -> None:
    for equity in (-10.0, 0.0, 1e-9):
        net = network(NONE, links((0, 1, 2.0), (0, 2, 98.0)), equity=[equity, 50.0, 50.0, 50.0])
        assert net.leverage.toarray()[1, 0] == pytest.approx(0.02 / EQUITY_FLOOR)
        found = propagate(net, [False, True, False, False], np.zeros(4))
        assert found.extra_defaults.tolist() == [True, False, False, False]


@given(st.integers(0, 10_000), st.floats(0, 2))
@settings(max_examples=40, deadline=None)
def test_more_defaults_and_harder_settings_never_help_anybody(seed: int, lambda_: float) -> None:
    net, rng = random_network(seed)
    drawn = rng.random(len(net)) < 0.15
    more = drawn | (rng.random(len(net)) < 0.1)
    options: dict[str, Any] = {"lambda_": lambda_, "tolerance": 0.0}
    mild = propagate(net, drawn, 0.45 * net.debt, **options)
    failed = drawn | mild.extra_defaults
    for worse, who in (
        (propagate(net, more, 0.45 * net.debt, **options), more),
        (propagate(net, drawn, 0.45 * net.debt, **{**options, "lambda_": lambda_ + 0.5}), drawn),
        (propagate(net, drawn, 0.45 * net.debt, guarantee_haircut=0.5, **options), drawn),
    ):
        assert (worse.h >= mild.h - 1e-9).all()
        assert (worse.extra_defaults | who)[failed].all()
        assert (worse.called >= mild.called - 1e-9).all()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_each_layer_alone_is_its_own_arithmetic(seed: int) -> None:
    net, rng = random_network(seed)
    n = len(net)
    drawn = rng.random(n) < 0.2
    claim = 0.45 * net.debt
    quiet = propagate(net, drawn, claim, lambda_=0.0)
    cash = np.where(drawn, net.debt - claim, net.debt + net.liquid)
    alone = call_guarantees(cash, net.debt, claim, net.guarantees, net.guaranteed)
    assert quiet.called == pytest.approx(alone.called)
    assert quiet.paid == pytest.approx(alone.paid)
    assert quiet.extra_defaults.tolist() == (alone.failed & ~drawn).tolist()
    assert quiet.h.tolist() == (alone.failed | drawn).astype(float).tolist()
    supply = Network(net.ids, net.debt, net.liquid, net.equity, 0 * net.guarantees, net.leverage)
    receivables = (net.leverage.T * net.equity[:, None]).toarray()
    expected = debtrank(receivables, net.equity, drawn.astype(float))
    assert propagate(supply, drawn, claim).h == pytest.approx(expected.h, abs=1e-9)


def test_without_links_or_without_defaults_nothing_happens() -> None:
    net, _ = random_network(3)
    n = len(net)
    calm = propagate(net, np.zeros(n, dtype=bool), np.zeros(n))
    assert not calm.h.any()
    assert not calm.extra_defaults.any()
    assert calm.rounds == calm.passes == 0
    bare = network(n=4)
    found = propagate(bare, [True, False, True, False], [45.0, 0, 45, 0])
    assert found.h.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert not found.extra_defaults.any()
    assert not found.paid.any()


def test_isolated_enterprises_stay_as_they_are() -> None:
    net = network(links((1, 0, 60.0)), links((1, 0, 90.0)))
    found = propagate(net, [True, False, False, False], [45.0, 0, 0, 0], lambda_=2.0)
    assert found.extra_defaults.tolist() == [False, True, False, False]
    assert found.h[2:].tolist() == [0.0, 0.0]
    assert found.called[2:].tolist() == [0.0, 0.0]


def test_arguments_of_the_wrong_kind() -> None:
    net = network()
    with pytest.raises(ValueError, match="shapes"):
        propagate(net, [True], [1.0])
    with pytest.raises(ValueError, match="haircut"):
        propagate(net, np.zeros(4, bool), np.zeros(4), guarantee_haircut=1.5)


def test_the_synthetic_consortium_is_a_network() -> None:
    city = synthesise(1_000, seed=4)
    firms = city.enterprises
    who = city.cohort.extra["enterprise"].astype(np.int64)
    ead = city.cohort.extra["ead"]
    net = Network.from_consortium(city)
    assert net.debt == pytest.approx(np.bincount(who, weights=ead, minlength=len(firms)))
    assert net.nodes_of(city.cohort.key).tolist() == who.tolist()
    assert net.guarantees.sum() == pytest.approx(city.guarantees.amount.sum())
    drawn = firms.label == 1
    found = propagate(net, drawn, 0.45 * net.debt, guarantee_haircut=0.2)
    assert found.extra_defaults.any()
    assert found.h[drawn].min() == 1.0
    assert found.paid.sum() == pytest.approx(found.received.sum())
    assert (found.paid <= found.called + 1e-6).all()


def test_rows_of_one_borrower_default_together() -> None:
    net = network()
    nodes = net.nodes_of(["firm 2", "firm 0", "firm 2"])
    drawn, shortfall = net.first_round(nodes, [True, False, False], [10.0, 20.0, 5.0])
    assert drawn.tolist() == [False, False, True, False]
    assert shortfall.tolist() == [0.0, 0.0, 15.0, 0.0]


def test_the_page_shows_code_that_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "stress-network.md"
    code = page.read_text("utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code.replace("30_000", "2_000"), names)
    assert names["found"].h.max() == 1.0


def test_no_more_is_called_than_is_owed() -> None:
    net = network(links((1, 0, 300.0)))
    found = propagate(net, [True, False, False, False], [1e9, 0.0, 0, 0])
    assert found.called.tolist() == [0.0, 100.0, 0.0, 0.0]
    assert found.received[0] == pytest.approx(100 * 120 / 200)
