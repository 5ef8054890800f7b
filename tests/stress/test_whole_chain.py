import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from haihe_fl.data.synth import Consortium, synthesise
from haihe_fl.errors import UserError
from haihe_fl.stress.chain import run_chain
from haihe_fl.stress.chain_inputs import ChainInputs
from haihe_fl.stress.chain_results import ChainResult, ChainSettings
from haihe_fl.stress.distribution import simulate_losses
from haihe_fl.stress.draws import DrawSettings
from haihe_fl.stress.pool import load_pool
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import run, shipped, shock_of
from haihe_fl.stress.settings import StressSettings
from haihe_fl.stress.spillover import NEVER, Enterprises, Strength, spill

ON = ChainSettings(draws=400, enterprise_draws=8)


@pytest.fixture(scope="module")
def city() -> Consortium:
    return synthesise(2_000, seed=5)


@pytest.fixture(scope="module")
def inputs(city: Consortium) -> ChainInputs:
    extra = city.cohort.extra
    portfolio = Portfolio.build(
        pd=np.clip(extra["true_pd"].astype(float), 1e-6, 0.9),
        ead=extra["ead"],
        lgd=extra["lgd"],
        sector=extra["sector"],
        institution=city.cohort.institution,
        sectors=shipped()[0].sectors,
    )
    return ChainInputs.of_consortium(city, portfolio)


@pytest.fixture(scope="module")
def full(inputs: ChainInputs) -> ChainResult:
    return run_chain(inputs, "guarantee-circle-cascade", chain=ON)


def enterprises(inputs: ChainInputs, scenario: str, strength: Strength) -> Enterprises:
    catalogue, satellite = shipped()
    shock = shock_of(catalogue, satellite, catalogue[scenario], catalogue.overlay("none"))
    assert inputs.network is not None and inputs.nodes is not None
    options = DrawSettings(seed=3)
    place = (inputs.portfolio, inputs.network, inputs.nodes, shock, StressSettings(), options)
    return Enterprises.of(*place, strength)


def test_all_steps_are_taken_and_add_up(full: ChainResult, inputs: ChainInputs) -> None:
    assert full.steps == ("draws", "downturn_lgd", "contagion", "pool", "capital")
    assert full.notes == ()
    assert full.contagion and full.losses and full.pool and full.capital
    el = run(inputs.portfolio, "guarantee-circle-cascade").total("el", "institution").sum(axis=1)
    uplift = np.array([full.contagion.by_institution[n] for n in inputs.portfolio.institutions])
    assert sum(full.expected) == pytest.approx(float((el * (1 + uplift)).sum()))
    assert uplift.min() >= 0 and full.contagion.uplift > 0.05
    pool = full.pool
    borne = pool.paid + pool.bank + pool.guarantor + pool.government + pool.outstanding
    assert borne == pytest.approx(sum(full.expected))
    assert full.losses.network.mean == pytest.approx(sum(full.expected), rel=0.15)
    fan = np.array(full.losses.fan)
    assert (np.diff(fan, axis=0) >= 0).all() and (np.diff(fan, axis=1) >= 0).all()
    assert "contagion" not in full.stress["not_applied"]


def test_waterfalls_end_where_the_path_ends(full: ChainResult, inputs: ChainInputs) -> None:
    assert full.capital is not None
    shapley = run_chain(
        inputs, "guarantee-circle-cascade", chain=ON.model_copy(update={"attribution": "shapley"})
    )
    assert shapley.capital is not None and shapley.run_id != full.run_id
    for result in (full, shapley):
        for row in (result.capital.network, *result.capital.institutions.values()):
            steps = {k: v for k, v in row.waterfall.items() if k not in ("start", "end")}
            assert list(steps) == [
                "ppnr", "first_round", "lgd_downturn", "contagion", "pool_relief", "rwa",
            ]  # fmt: skip
            assert row.waterfall["start"] + sum(steps.values()) == pytest.approx(row.ratio[-1])
            assert steps["contagion"] <= 1e-12 and steps["pool_relief"] >= -1e-12
    whole = full.capital.network
    assert whole.ratio[0] == pytest.approx(whole.cet1[0] / whole.rwa[0])
    assert sum(i.cet1[-1] for i in full.capital.institutions.values()) == pytest.approx(
        whole.cet1[-1]
    )


def test_cet1_from_the_books_alone(inputs: ChainInputs) -> None:
    """Without contagion and pool, CET1 is opening + revenue - allowance built - tax."""
    off = ChainSettings(draws=0, contagion=False, pool=False)
    result = run_chain(inputs, "gfc-replay", chain=off)
    assert result.capital is not None and result.losses is None and result.pool is None
    assert result.steps == ("downturn_lgd", "capital")
    stress = run(inputs.portfolio, "gfc-replay")
    built = stress.ecl_change("institution")[:, -1]
    for k, name in enumerate(stress.institutions):
        row = result.capital.institutions[name]
        kind = inputs.sheets.of_kind(inputs.kinds[k])
        revenue = 3 * kind.ppnr * stress.opening("exposure", "institution")[k]
        assert row.cet1[-1] - row.cet1[0] == pytest.approx(revenue - built[k] - row.tax)
        assert row.breach_probability is None
        assert "pool_relief" not in row.waterfall and "contagion" not in row.waterfall


def test_switches_change_what_they_name(inputs: ChainInputs, full: ChainResult) -> None:
    assert full.capital is not None and full.pool is not None

    def without(**off: Any) -> ChainResult:
        return run_chain(inputs, "guarantee-circle-cascade", chain=ON.model_copy(update=off))

    own = without(downturn_lgd=False)
    assert sum(own.expected) < sum(full.expected)
    assert own.capital is not None and "lgd_downturn" not in own.capital.network.waterfall
    alone = without(contagion=False)
    assert sum(alone.expected) == pytest.approx(alone.stress["expected_loss"])
    assert alone.capital is not None
    assert alone.capital.network.ratio[-1] > full.capital.network.ratio[-1]
    bare = without(pool=False)
    assert bare.capital is not None
    assert bare.capital.network.ratio[-1] < full.capital.network.ratio[-1]
    part = without(insured=0.5)
    assert part.pool is not None and part.pool.uninsured == pytest.approx(sum(full.expected) / 2)
    assert part.pool.paid < full.pool.paid
    assert len({r.run_id for r in (full, own, alone, bare, part)}) == 5


def test_own_lgd_is_default_exposure_at_own_lgd(
    make_portfolio: Callable[..., Portfolio],
) -> None:
    portfolio = make_portfolio(300)
    own = StressSettings(downturn_lgd=False)
    paid = run(portfolio, "gfc-replay", settings=own).total("el")
    weighted = replace(portfolio, ead=portfolio.ead * portfolio.lgd)
    assert paid == pytest.approx(run(weighted, "gfc-replay").total("default_exposure"))
    catalogue, satellite = shipped()
    shock = shock_of(catalogue, satellite, catalogue["gfc-replay"], catalogue.overlay("none"))
    options = DrawSettings(idiosyncratic="none", draws=500)
    low, high = (
        simulate_losses(portfolio, shock, s, options).network for s in (own, StressSettings())
    )
    assert (low < high).all()


def test_without_links_contagion_is_nothing(inputs: ChainInputs) -> None:
    loans = enterprises(inputs, "gfc-replay", Strength(lambda_=0.0, guarantee_haircut=0.0))
    bare = replace(
        loans,
        network=replace(
            loans.network, guarantees=loans.network.guarantees * 0, leverage=loans.network.leverage
        ),
    )
    found = spill(bare, 3)
    assert (found.first == found.total).all()
    assert found.fallen.tolist() == [0, 0, 0] and (found.uplift == 0).all()


def test_enterprise_draws_have_the_means_of_the_loss_draws(inputs: ChainInputs) -> None:
    """Same factors: averaged over chance, the losses are those of the distribution."""
    loans = enterprises(inputs, "gfc-replay", Strength())
    found = spill(loans, 60)
    catalogue, satellite = shipped()
    shock = shock_of(catalogue, satellite, catalogue["gfc-replay"], catalogue.overlay("none"))
    drawn = simulate_losses(inputs.portfolio, shock, options=DrawSettings(seed=3, draws=60))
    first, expected = found.first.sum(axis=(1, 2)), drawn.expected.sum(axis=1)
    assert first.mean() == pytest.approx(float(expected.mean()), rel=0.05)
    assert np.corrcoef(first, expected)[0, 1] > 0.6
    assert (found.total.sum(axis=(1, 2)) >= first * (1 - 1e-9)).all()
    assert found.uplift_se < 0.05


def test_more_contagion_and_seeds_fell_more(inputs: ChainInputs) -> None:
    weak, strong, seeded = (
        enterprises(inputs, "gfc-replay", s)
        for s in (Strength(0.5), Strength(2.0, 0.5), Strength(0.5, 0.0, 0.05, 3))
    )
    one = weak.draw(0)
    for harder in (strong, seeded):
        more = harder.draw(0)
        assert (more.drawn == one.drawn).all()
        assert (more.hit <= one.hit).all() and more.fell.sum() > one.fell.sum()
    assert (one.hit <= one.drawn).all() and (one.hit < NEVER).any()
    assert not (one.fell & one.failed).any()
    assert (one.paid <= one.called * (1 + 1e-9)).all()


def test_missing_inputs_leave_steps_out_with_a_note(portfolio: Portfolio) -> None:
    result = run_chain(ChainInputs(portfolio), "haihe-flood", chain=ON)
    assert result.steps == ("draws", "downturn_lgd", "pool")
    assert [n.en.split(":")[0] for n in result.notes] == ["no contagion", "no capital"]
    assert result.capital is None and result.contagion is None
    assert "contagion" in result.stress["not_applied"]
    with pytest.raises(UserError, match="H2510"):
        run_chain(ChainInputs(portfolio), "haihe-floo", chain=ON)


def test_json_and_hash(full: ChainResult, inputs: ChainInputs) -> None:
    text = json.dumps(full.to_dict(), allow_nan=False)
    assert ChainResult.model_validate(json.loads(text)) == full
    again = run_chain(inputs, "guarantee-circle-cascade", chain=ON)
    assert again == full
    poor = replace(inputs, pool=load_pool().model_copy(update={"capital": 1e8}))
    other = run_chain(poor, "guarantee-circle-cascade", chain=ON)
    assert other.run_id != full.run_id and other.stress_id == full.stress_id
    assert full.memory_mb > 0


def test_blocks_of_draws_change_nothing(
    inputs: ChainInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = ChainSettings(draws=150, contagion=False)
    whole = run_chain(inputs, "gfc-replay", chain=chain)
    monkeypatch.setattr("haihe_fl.stress.chain_capital.BLOCK", 40)
    assert run_chain(inputs, "gfc-replay", chain=chain) == whole


def test_the_picture_names_nobody(full: ChainResult, city: Consortium) -> None:
    assert full.contagion is not None
    drawing = full.contagion.picture
    assert drawing.edges and len(drawing.edges) <= 60
    for edge in drawing.edges:
        assert drawing.nodes[edge.borrower].state in ("drawn", "felled")
        assert edge.borrower != edge.guarantor and edge.amount > 0
    text = full.model_dump_json()
    assert not any(str(key) in text for key in city.enterprises.key[:200])
