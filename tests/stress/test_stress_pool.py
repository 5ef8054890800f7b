"""The insurance pool: who pays, until when, and that nothing is lost on the way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.errors import UserError
from haihe_fl.stress.pool import (
    PoolOutcome,
    PoolTerms,
    Split,
    exhausting_loss,
    load_pool,
    settle_pool,
    usable_haircut,
)
from haihe_fl.stress.scenarios import PoolSpec, load_scenarios

PARTS = ("paid", "bank", "guarantor", "government")


def terms(**changes: Any) -> PoolTerms:
    plain = {"premium": 0.0, "guarantor_capital": None}
    return load_pool().model_copy(update={**plain, **changes})


def stress(haircut: float = 0.0, exits: int = 0, delay: int = 0) -> PoolSpec:
    return PoolSpec(capital_haircut=haircut, insurer_exits=exits, claim_delay_quarters=delay)


def sums(outcome: PoolOutcome) -> list[float]:
    return [float(getattr(outcome, part).sum()) for part in PARTS]


def test_t11_one_loss() -> None:
    assert sums(settle_pool([[[1e6]]], load_pool())) == pytest.approx([8e5, 1e5, 6e4, 4e4])


def test_t11_it_is_empty_at_a_gross_loss_of_1250_million() -> None:
    assert exhausting_loss(load_pool()) == 1.25e9
    gross = np.array([1.2499e9, 1.25e9, 2e9])
    quarters = gross[:, None, None] * np.full((1, 5, 10), 1 / 50)
    found = settle_pool(quarters, terms())
    assert found.exhausted.tolist() == [0, 10, 7]  # 0.2 bn gross a quarter: 1.25 is in the 7th
    assert found.paid.sum(axis=(1, 2)) == pytest.approx([0.8 * 1.2499e9, 1e9, 1e9])
    assert found.capital[:, -1] == pytest.approx([8e4, 0, 0], abs=1)


def test_one_quarter_is_shared_in_proportion() -> None:
    found = settle_pool([[[3e9], [1e9]]], terms())
    assert found.paid[0, :, 0] == pytest.approx([0.75e9, 0.25e9])
    assert found.bank[0, :, 0] == pytest.approx([0.5 * 2.25e9, 0.5 * 0.75e9])


def test_premiums_come_after_the_quarter_and_refill() -> None:
    losses = np.array([[[1.25e9, 1e9, 0.0]]])
    found = settle_pool(losses, terms(premium=1e8))
    assert found.capital[0] == pytest.approx([1e9, 1e8, 1e8, 2e8])
    assert found.paid[0, 0] == pytest.approx([1e9, 1e8, 0.0])


def test_what_a_scenario_does_to_the_pool() -> None:
    found = settle_pool(
        [[[1e9, 0, 0, 0]]], terms(premium=12e6), stress=stress(0.2, 3, 1), injection=1e8
    )
    # 1 bn, a fifth lost, then three insurers of twelve gone, then 0.1 bn put in.
    assert found.capital[0] == pytest.approx([7e8, 7.09e8, 9e6, 18e6, 27e6])
    assert found.paid[0, 0] == pytest.approx([0, 7.09e8, 0, 0])  # a quarter late
    assert found.exhausted.tolist() == [2]
    late = settle_pool([[[0, 0, 5e6, 7e6]]], terms(), stress=stress(delay=2))
    assert late.outstanding.tolist() == [[12e6]]
    assert sum(sums(late)) == 0.0
    never = settle_pool([[[1e6, 1e6]]], terms(), stress=stress(exits=20, delay=9))
    assert never.capital.tolist() == [[0.0, 0.0, 0.0]]
    assert never.outstanding.tolist() == [[2e6]]


def test_as_a_first_loss_layer() -> None:
    losses = np.array([[[3e6, 4e6, 5e6], [1e6, 0.0, 0.0]]])
    found = settle_pool(losses, terms(mode="layer"), insured=[1e7, 1e7])
    assert found.paid[0].tolist() == [[3e6, 4e6, 1e6], [1e6, 0.0, 0.0]]
    assert found.bank[0, 0].tolist() == [0.0, 0.0, 2e6]
    assert exhausting_loss(terms(mode="layer")) == 1e9
    with pytest.raises(ValueError, match="insured"):
        settle_pool(losses, terms(mode="layer"))


def test_what_guarantors_cannot_bear_falls_to_the_bank_and_to_the_network() -> None:
    found = settle_pool([[[1e7, 1e7, 1e7]]], terms(guarantor_capital=1e6))
    assert found.guarantor[0, 0] == pytest.approx([6e5, 4e5, 0.0])
    assert found.bank[0, 0] == pytest.approx([1e6, 1.2e6, 1.6e6])
    assert found.guarantor_capacity[0] == pytest.approx([0.4, 0.0, 0.0])
    assert usable_haircut(0.1, found.guarantor_capacity[0]) == pytest.approx([0.64, 1.0, 1.0])
    none = settle_pool([[[1e7]]], terms(guarantor_capital=0.0))
    assert none.guarantor.sum() == 0.0
    assert none.guarantor_capacity.tolist() == [[0.0]]
    assert (settle_pool([[[1e7]]], terms()).guarantor_capacity == 1.0).all()


def test_products_have_splits_of_their_own() -> None:
    splits = load_pool().splits(["credit_loan", "farm_loan", "green_loan"])
    assert splits.tolist() == [[0.5, 0.3, 0.2], [0.4, 0.2, 0.4], [0.5, 0.3, 0.2]]
    found = settle_pool(np.full((1, 3, 1), 1e6), terms(), splits=splits)
    assert found.government[0, :, 0] == pytest.approx([4e4, 8e4, 4e4])


@given(
    st.integers(0, 10_000),
    st.sampled_from(["quota", "layer"]),
    st.floats(0, 1),
    st.integers(0, 14),
    st.integers(0, 5),
    st.sampled_from([None, 0.0, 5e7]),
)
@settings(max_examples=60, deadline=None)
def test_shares_add_up_and_the_pool_pays_no_more_than_it_has(
    seed: int, mode: str, haircut: float, exits: int, delay: int, guarantors: float | None
) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.gamma(0.5, 2e8, (5, 3, 4)) * (rng.random((5, 3, 4)) < 0.7)
    pool = terms(mode=mode, premium=1e7, guarantor_capital=guarantors)
    found = settle_pool(
        losses, pool, stress=stress(haircut, exits, delay), insured=rng.uniform(0, 1e9, 3)
    )
    settled = sum(getattr(found, part).sum(axis=2) for part in PARTS)
    assert settled + found.outstanding == pytest.approx(losses.sum(axis=2), abs=1e-3)
    quarters = losses.shape[2]
    means = found.capital[:, 0] + quarters * pool.premium
    assert (found.paid.sum(axis=(1, 2)) <= means + 1e-3).all()
    assert (np.cumsum(found.paid.sum(axis=1), axis=1)[:, 0] <= found.capital[:, 0] + 1e-3).all()
    assert all((getattr(found, part) >= 0).all() for part in PARTS)
    assert (found.capital >= 0).all()
    if guarantors is not None:
        assert (found.guarantor.sum(axis=(1, 2)) <= guarantors + 1e-3).all()


def test_draws_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(2)
    losses = rng.gamma(0.5, 2e8, (6, 3, 4))
    together = settle_pool(losses, load_pool())
    for d in range(6):
        alone = settle_pool(losses[d : d + 1], load_pool())
        assert together.paid[d].tolist() == alone.paid[0].tolist()
        assert together.capital[d].tolist() == alone.capital[0].tolist()


def test_every_scenario_fits_the_pool() -> None:
    for scenario in load_scenarios().scenarios:
        found = settle_pool(
            np.full((1, 2, 12), 1e6), load_pool(), stress=scenario.idiosyncratic.pool
        )
        assert np.isfinite(found.capital).all()


@pytest.mark.parametrize(
    ("losses", "options", "match"),
    [
        ([[[-1.0]]], {}, "losses"),
        ([[[np.nan]]], {}, "losses"),
        ([1.0], {}, "shape"),
        ([[[1.0]]], {"splits": [0.5, 0.3, 0.3]}, "add up"),
        ([[[1.0]]], {"splits": [1.5, -0.5, 0.0]}, "add up"),
    ],
)
def test_nonsense_is_refused(losses: Any, options: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        settle_pool(losses, load_pool(), **options)


@pytest.mark.parametrize(
    "text",
    ["capital: [", "capital: 1", "- a list"],
)
def test_a_bad_file_has_a_number(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_pool(path)
    assert caught.value.code == "H2545"
    with pytest.raises(UserError, match="H2545"):
        load_pool(tmp_path / "absent.yaml")


def test_a_split_adds_up() -> None:
    with pytest.raises(ValueError, match="add up"):
        Split(bank=0.5, guarantor=0.5, government=0.1)
