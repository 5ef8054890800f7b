"""CET1 by hand, its tax, its waterfall in order and by Shapley."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.data.synth.config import tianjin_institutions
from haihe_fl.errors import UserError
from haihe_fl.stress.attribution import STEPS, CapitalParts, waterfall
from haihe_fl.stress.capital import capital_path, load_balance_sheets


def test_t12_capital_ratio() -> None:
    found = capital_path(12.0, [100.0, 108.0], ppnr=1.2, allowance=[0.0, 3.0], tax_rate=0.25)
    assert found.cet1.tolist() == pytest.approx([12.0, 10.2])
    assert 100 * found.ratio[-1] == pytest.approx(9.444, abs=5e-4)
    assert found.tax.tolist() == [0.0]  # a loss brings none back
    written_off = capital_path(
        12.0, [100.0, 108.0], ppnr=1.2, allowance=[0.0, 0.0], write_offs=[3.0]
    )
    assert written_off.cet1[-1] == pytest.approx(10.2)


def test_tax_waits_until_earlier_losses_are_made_good() -> None:
    profit = np.array([2.0, -3.0, 1.0, 4.0])
    found = capital_path(10.0, np.full(5, 100.0), ppnr=profit, allowance=np.zeros(5), tax_rate=0.25)
    # So far 2, -1, 0, 4: taxed are the 2 and then the 2 beyond them.
    assert found.tax == pytest.approx([0.5, 0.0, 0.0, 0.5])
    assert found.cet1 == pytest.approx([10, 11.5, 8.5, 9.5, 13.0])


def test_pool_recoveries_and_institutions_at_once() -> None:
    rwa = np.array([[100.0, 100, 110], [50, 50, 50]])
    stock = np.array([[1.0, 3, 3], [0, 4, 9]])
    found = capital_path(
        [10.0, 5.0], rwa, ppnr=[[1.0], [0.5]], allowance=stock,
        recoveries=np.array([[0.0, 1], [2, 2]]), tax_rate=[0.25, 0.0],
    )  # fmt: skip
    assert found.profit.tolist() == [[-1.0, 2.0], [-1.5, -2.5]]
    assert found.cet1 == pytest.approx(np.array([[10, 9, 10.75], [5, 3.5, 1.0]]))
    assert found.breach(0.09).tolist() == [0, 1]
    assert found.breach(0.03).tolist() == [0, 2]
    assert found.breach(0.01).tolist() == [0, 0]


def test_draws_stand_before_institutions() -> None:
    rng = np.random.default_rng(1)
    stock = np.cumsum(rng.uniform(0, 1, (4, 3, 6)), axis=-1)
    rwa = rng.uniform(90, 110, (3, 6))
    quarterly = np.array([[0.3], [0.4], [0.5]])
    found = capital_path([9.0, 8, 7], rwa, ppnr=quarterly, allowance=stock, tax_rate=0.25)
    assert found.cet1.shape == (4, 3, 6)
    one = capital_path(8.0, rwa[1], ppnr=0.4, allowance=stock[2, 1], tax_rate=0.25)
    assert found.cet1[2, 1] == pytest.approx(one.cet1)
    moved = found.cet1[..., -1] - found.cet1[..., 0]
    assert moved == pytest.approx(found.profit.sum(-1) - found.tax.sum(-1))


def test_a_book_without_assets_has_no_ratio_to_breach() -> None:
    found = capital_path(1.0, [0.0, 0.0], ppnr=0.0, allowance=[0.0, 0.0])
    assert np.isinf(found.ratio).all()
    assert found.breach(0.08) == 0


def test_opening_balance_sheets_of_the_synthetic_consortium() -> None:
    sheets = load_balance_sheets()
    kinds = [i.kind for i in tianjin_institutions()]
    assert set(sheets.kinds) <= set(kinds)
    book, rwa = np.linspace(1e8, 5e9, len(kinds)), np.linspace(8e7, 4e9, len(kinds))
    found = sheets.opening(kinds, book, rwa)
    assert found.cet1 / rwa == pytest.approx([sheets.of_kind(k).cet1_ratio for k in kinds])
    assert 4 * found.ppnr / book == pytest.approx([sheets.of_kind(k).ppnr for k in kinds])
    assert (found.cet1 / rwa > sheets.minimum_ratio).all()
    assert (found.tax_rate == 0.25).all()
    assert "expert" in sheets.evidence
    assert sheets.of_kind("of no such kind") == sheets.default
    with pytest.raises(ValueError, match="each institution"):
        sheets.opening(kinds, book[:2], rwa)


def test_assets_outside_the_book_need_capital_too() -> None:
    sheets = load_balance_sheets()
    half = sheets.default.model_copy(update={"other_rwa": 0.5, "cet1_ratio": 0.1})
    found = sheets.model_copy(update={"default": half}).opening(["new"], [1e9], [8e8])
    assert found.other_rwa.tolist() == [4e8]
    assert found.cet1.tolist() == pytest.approx([1.2e8])


@pytest.mark.parametrize("text", ["minimum_ratio: [", "minimum_ratio: 2", "kinds: {a: {b: 1}}"])
def test_a_bad_file_has_a_number(text: str, tmp_path: Path) -> None:
    path = tmp_path / "balance_sheets.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_balance_sheets(path)
    assert caught.value.code == "H2546"
    with pytest.raises(UserError, match="H2546"):
        load_balance_sheets(tmp_path / "absent.yaml")


def some_value(seed: int, names: tuple[str, ...]) -> Callable[[frozenset[str]], Any]:
    """Return a value without any structure, for two institutions."""
    table = np.random.default_rng(seed).normal(size=(2 ** len(names), 2))
    return lambda on: table[sum(2**i for i, name in enumerate(names) if name in on)]


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_shapley_is_the_mean_over_all_orders_and_both_add_up(seed: int, n: int) -> None:
    names = tuple("abcde"[:n])
    value = some_value(seed, names)
    orders = [waterfall(value, order) for order in permutations(names)]
    shapley = waterfall(value, names, "shapley")
    for found in (*orders, shapley):
        assert found.start + sum(found.steps.values()) == pytest.approx(found.end)
        assert found.end == pytest.approx(value(frozenset(names)))
    for name in names:
        mean = np.mean([order.steps[name] for order in orders], axis=0)
        assert shapley.steps[name] == pytest.approx(mean)


def test_a_step_that_does_nothing_gets_nothing_and_equals_get_the_same() -> None:
    def value(on: frozenset[str]) -> float:
        return float(len(on - {"idle"}) ** 2)

    found = waterfall(value, ("a", "idle", "b", "c"), "shapley")
    assert float(found.steps["idle"]) == pytest.approx(0.0)
    assert float(found.steps["a"]) == pytest.approx(3.0)
    assert float(found.steps["b"]) == pytest.approx(float(found.steps["c"]))


def test_each_set_is_asked_for_once() -> None:
    asked: list[frozenset[str]] = []

    def value(on: frozenset[str]) -> float:
        asked.append(on)
        return float(len(on))

    waterfall(value, STEPS, "shapley")
    assert len(asked) == len(set(asked)) == 2 ** len(STEPS)
    asked.clear()
    waterfall(value, STEPS)
    assert len(asked) == len(STEPS) + 1


def test_the_capital_waterfall_in_the_order_of_the_report() -> None:
    parts = CapitalParts(
        cet1=[12.0, 12.0], rwa=[100.0, 100.0], ppnr=[1.2, 1.2], first_round=[2.0, 0.0],
        lgd_downturn=[0.5, 0.0], contagion=[0.5, 0.0], pool_share=[0.4, 0.4],
        rwa_change=[8.0, 0.0], tax_rate=0.25,
    )  # fmt: skip
    found = waterfall(parts.ratio)
    assert tuple(found.steps) == STEPS
    first = {name: float(100 * step[0]) for name, step in found.steps.items()}
    # Tax on revenue of 1.2 is 0.3, and gone with the first loss; relief is 40 % of losses of 3.
    assert first["ppnr"] == pytest.approx(0.9)
    assert first["first_round"] == pytest.approx(-2.0 + 0.3)
    assert first["lgd_downturn"] == pytest.approx(-0.5)
    assert first["contagion"] == pytest.approx(-0.5)
    assert first["pool_relief"] == pytest.approx(1.2)
    assert first["rwa"] == pytest.approx(100 * (11.4 / 108 - 11.4 / 100))
    assert 100 * found.end == pytest.approx([100 * 11.4 / 108, 12.9])
    assert [float(found.steps[n][1]) for n in STEPS[1:]] == pytest.approx([0.0] * 5, abs=1e-15)
    shapley = waterfall(parts.ratio, method="shapley")
    assert shapley.end == pytest.approx(found.end)
    assert shapley.steps["contagion"] == pytest.approx(shapley.steps["lgd_downturn"])


def test_steps_differ_and_are_few() -> None:
    with pytest.raises(ValueError, match="differ"):
        waterfall(lambda on: 0.0, ("a", "a"))
    with pytest.raises(ValueError, match="at most 16"):
        waterfall(lambda on: 0.0, [str(i) for i in range(17)], "shapley")
