"""The whole chain: scenario, PDs, draws, LGD, contagion, pool, provisions, capital, attribution.

Each step is a switch (`haihe_fl.stress.chain_results.ChainSettings`). A step whose inputs are
not there is left out, and a note says so.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from haihe_fl.i18n import Text
from haihe_fl.stress.attribution import STEPS
from haihe_fl.stress.chain_capital import Books, capital_figures, pool_figures
from haihe_fl.stress.chain_inputs import ChainInputs
from haihe_fl.stress.chain_picture import picture
from haihe_fl.stress.chain_results import (
    LEVELS,
    ChainResult,
    ChainSettings,
    ContagionFigures,
    LossFigures,
    TailFigures,
)
from haihe_fl.stress.distribution import LossDraws, simulate_losses
from haihe_fl.stress.draws import DrawSettings
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.run import run, shipped, shock_of
from haihe_fl.stress.satellite import Satellite, load_satellite
from haihe_fl.stress.scenarios import Scenario, ScenarioCatalogue
from haihe_fl.stress.settings import StressSettings
from haihe_fl.stress.spillover import Enterprises, Spillover, Strength, spill
from haihe_fl.stress.tail import Tail, tails
from haihe_fl.stress.tiles import Spread

Floats = NDArray[np.float64]
Step = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class _Asked:
    """A scenario with everything that decides on it."""

    inputs: ChainInputs
    scenario: Scenario
    overlay: str
    stress: StressSettings
    chain: ChainSettings
    catalogue: ScenarioCatalogue
    satellite: Satellite
    step: Step
    spread_over: Spread | None

    @property
    def strength(self) -> Strength:
        own, severity = self.scenario.idiosyncratic, self.stress.severity
        return Strength(
            lambda_=severity * own.contagion.lambda_,
            guarantee_haircut=min(severity * own.guarantee_haircut, 1.0),
            seed_fraction=min(severity * own.contagion.seed_fraction, 1.0),
            seed_quarter=own.profile.peak_quarter,
        )


def run_chain(
    inputs: ChainInputs,
    scenario: str | Scenario,
    overlay: str = "none",
    settings: StressSettings | None = None,
    chain: ChainSettings | None = None,
    *,
    catalogue: ScenarioCatalogue | None = None,
    satellite: Satellite | None = None,
    step: Step = lambda *_: None,
    spread_over: Spread | None = None,
) -> ChainResult:
    """Run one scenario through the chain.

    Parameters
    ----------
    inputs : ChainInputs
        Portfolio, network, balance sheets, pool.
    scenario : str or Scenario
        Id in the catalogue, or a scenario of one's own.
    overlay : str
        Policy overlay.
    settings : StressSettings, optional
        Of PDs and provisions; ``chain.downturn_lgd`` overrides theirs.
    chain : ChainSettings, optional
        Which steps, and how.
    step : callable
        Told of progress.
    spread_over : optional
        Who computes the draws (`haihe_fl.stress.workers`); threads here, if left out.

    Raises
    ------
    UserError
        H2510 or H2511 for an unknown scenario or overlay.

    Notes
    -----
    Memory: draws x institutions x quarters x 4 bytes for the losses (1,000 x 23 x 12: 1 MB),
    twenty arrays of 1,000 draws of them in float64 for pool and capital (44 MB), three of
    loans x quarters x 4 bytes (43,279 loans: 6 MB), and the network.
    """
    catalogue = catalogue or shipped()[0]
    if satellite is None:
        satellite = shipped()[1] if catalogue is shipped()[0] else load_satellite(catalogue)
    chain = chain or ChainSettings()
    given = settings or StressSettings()
    asked = _Asked(
        inputs,
        catalogue[scenario] if isinstance(scenario, str) else scenario,
        overlay,
        given.model_copy(update={"downturn_lgd": chain.downturn_lgd}),
        chain,
        catalogue,
        satellite,
        step,
        spread_over,
    )
    on, notes = _steps(inputs, chain)
    step("scenario", 0, 1)
    result = _run(asked, asked.stress)
    options = DrawSettings(draws=max(chain.draws, 1), seed=chain.seed)
    spread = _contagion(asked, options) if "contagion" in on else None
    uplift = np.zeros(len(inputs.portfolio.institutions)) if spread is None else spread[0].uplift
    step("draws", 0, 1)
    drawn = _draws(asked, options, uplift) if "draws" in on else None
    quiet = result
    if "downturn_lgd" in on and "capital" in on:
        quiet = _run(asked, asked.stress.model_copy(update={"downturn_lgd": False}))
    policy = catalogue.overlay(overlay)
    books = Books(
        stressed=result,
        own_lgd=quiet,
        uplift=uplift,
        drawn=drawn,
        insured=chain.insured,
        terms=inputs.pool if "pool" in on else None,
        cuts=asked.scenario.idiosyncratic.pool,
        injection=policy.pool_capital_injection_cny,
    )
    step("pool", 0, 1)
    pooled = pool_figures(books) if "pool" in on else None
    step("capital", 0, 1)
    capital = None
    if "capital" in on and inputs.kinds is not None:
        capital = capital_figures(books, inputs.sheets, inputs.kinds, _parts(on), chain.attribution)
    step("done", 1, 1)
    expected = result.total("el", "institution") * (1.0 + uplift)[:, None]
    summary = result.summary()
    done = {"contagion", "guarantee_haircut"} if spread else set()
    done |= {"pool", "overlay.pool_capital_injection_cny"} if pooled else set()
    summary["not_applied"] = [name for name in result.not_applied if name not in done]
    return ChainResult(
        run_id=_run_id(result.run_id, inputs, chain),
        stress_id=result.run_id,
        settings=chain,
        stress={**summary, **result.tables()},
        steps=on,
        notes=notes,
        expected=expected.sum(axis=0).tolist(),
        losses=None if drawn is None else _losses(drawn),
        contagion=None if spread is None else spread[1],
        pool=pooled,
        capital=capital,
        memory_mb=_memory(inputs, chain, result.quarters, on),
    )


def _parts(on: tuple[str, ...]) -> list[str]:
    """Return the steps of the waterfall; those that a switch took out are not in it."""
    switch = {"lgd_downturn": "downturn_lgd", "contagion": "contagion", "pool_relief": "pool"}
    return [name for name in STEPS if switch.get(name, name) in on or name not in switch]


def _steps(inputs: ChainInputs, chain: ChainSettings) -> tuple[tuple[str, ...], tuple[Text, ...]]:
    wanted = {
        "draws": chain.draws > 0,
        "downturn_lgd": chain.downturn_lgd,
        "contagion": chain.contagion,
        "pool": chain.pool,
        "capital": chain.capital,
    }
    notes = [inputs.missing(name) for name, on in wanted.items() if on]
    taken = [name for name, on in wanted.items() if on and inputs.missing(name) is None]
    return tuple(taken), tuple(note for note in notes if note is not None)


def _run(asked: _Asked, settings: StressSettings) -> StressResult:
    return run(
        asked.inputs.portfolio,
        asked.scenario,
        asked.overlay,
        settings,
        catalogue=asked.catalogue,
        satellite=asked.satellite,
    )


def _contagion(asked: _Asked, options: DrawSettings) -> tuple[Spillover, ContagionFigures]:
    inputs, stress = asked.inputs, asked.stress
    assert inputs.network is not None and inputs.nodes is not None
    enterprises = Enterprises.of(
        inputs.portfolio,
        inputs.network,
        inputs.nodes,
        _shock(asked),
        stress,
        options,
        asked.strength,
        _impaired(asked),
    )
    count = asked.chain.enterprise_draws
    found = spill(enterprises, count, lambda done, all_: asked.step("contagion", done, all_))
    first, total = found.first.sum(axis=(1, 2)), found.total.sum(axis=(1, 2))
    middle = int(np.argsort(total, kind="stable")[(count - 1) // 2])
    error = found.uplift_se
    return found, ContagionFigures(
        draws=count,
        lambda_=asked.strength.lambda_,
        guarantee_haircut=asked.strength.guarantee_haircut,
        uplift=float(total.sum() / first.sum() - 1.0) if first.sum() > 0 else 0.0,
        uplift_se=error if np.isfinite(error) else None,
        by_institution=dict(zip(inputs.portfolio.institutions, found.uplift.tolist(), strict=True)),
        drawn=float(found.drawn.mean()),
        fallen=float(found.fallen.mean()),
        called=float(found.called.mean()),
        paid=float(found.paid.mean()),
        first=first.tolist(),
        total=total.tolist(),
        picture=picture(enterprises, middle),
    )


def _shock(asked: _Asked) -> Shock:
    policy = asked.catalogue.overlay(asked.overlay)
    return shock_of(asked.catalogue, asked.satellite, asked.scenario, policy, asked.stress.severity)


def _impaired(asked: _Asked) -> Floats | None:
    rate = asked.scenario.idiosyncratic.data_quality.feature_missing_rate * asked.stress.severity
    return asked.inputs.portfolio.impaired_pd(min(rate, 1.0), asked.stress.seed)


def _draws(asked: _Asked, options: DrawSettings, uplift: Floats) -> LossDraws:
    """Return the draws, each institution's losses raised by its contagion."""
    drawn = simulate_losses(
        asked.inputs.portfolio,
        _shock(asked),
        asked.stress,
        options,
        impaired_pd=_impaired(asked),
        spread_over=asked.spread_over,
    )
    factor = (1.0 + uplift).astype(np.float32)
    # A draw's quarters get its chance part in proportion, so that they add up to its loss.
    share = np.divide(
        drawn.losses, drawn.expected, out=np.zeros_like(drawn.losses), where=drawn.expected > 0
    )
    return replace(
        drawn, losses=drawn.losses * factor, quarters=drawn.quarters * (share * factor)[None]
    )


def _losses(drawn: LossDraws) -> LossFigures:
    path = np.cumsum(drawn.quarters.sum(axis=2, dtype=np.float64), axis=0)
    at99, at999 = tails(drawn, 0.99), tails(drawn, 0.999)
    figures = {name: _tail(at99[name], at999[name]) for name in at99}
    return LossFigures(
        draws=drawn.settings.draws,
        levels=LEVELS,
        fan=np.quantile(path, LEVELS, axis=1).tolist(),
        network=figures.pop(""),
        institutions=figures,
        nodes=drawn.nodes,
    )


def _tail(a: Tail, b: Tail) -> TailFigures:
    return TailFigures(
        mean=a.mean, mean_se=a.mean_se, var99=a.var, es99=a.es, var999=b.var, es999=b.es
    )


def _run_id(stress_id: str, inputs: ChainInputs, chain: ChainSettings) -> str:
    parts = {
        "stress": stress_id,
        "inputs": inputs.fingerprint,
        "chain": chain.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _memory(inputs: ChainInputs, chain: ChainSettings, quarters: int, on: tuple[str, ...]) -> float:
    cells = len(inputs.portfolio.institutions) * quarters
    size = 8.0 * cells * chain.draws if "draws" in on else 0.0
    size += 20 * 8.0 * cells * min(chain.draws, 1000) if {"pool", "capital"} & set(on) else 0.0
    if "contagion" in on:
        size += 12.0 * len(inputs.portfolio) * quarters + 16.0 * cells * chain.enterprise_draws
    return round(size / 1e6, 1)
