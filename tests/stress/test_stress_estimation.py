"""The satellite estimated from noisy counts: known truth, exact sensitivity, honest labels."""

from dataclasses import replace

import numpy as np
import pytest

from haihe_fl.data.synth import synthesise
from haihe_fl.data.synth.panel import Panel
from haihe_fl.errors import UserError
from haihe_fl.models.releases import KINDS
from haihe_fl.privacy.gaussian import mu_for
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.stress import panels
from haihe_fl.stress.estimation import (
    EstimationSettings,
    SatelliteEstimate,
    SatelliteTrainer,
    estimate_in_memory,
)
from haihe_fl.stress.panels import PanelCounts
from haihe_fl.stress.run import shipped
from haihe_fl.stress.satellite import load_satellite

CATALOGUE, PRIOR = shipped()
NAMES = tuple(CATALOGUE.drivers)
FACTOR = {"gdp_growth": 1.6, "credit_supply": 0.5, "farm_yield": 0.6, "unemployment": 1.7}
TRUTH = {k: b * FACTOR.get(k, 1.2) for k, b in PRIOR.beta.items()}


@pytest.fixture(scope="module")
def panel() -> Panel:
    return synthesise(enterprises=20_000, seed=11).panel(quarters=24, beta=TRUTH)


def trainer_for(panel: Panel, mu: float) -> SatelliteTrainer:
    return SatelliteTrainer(NAMES, panel.z, panel.satellite.loading, PRIOR, mu)


def estimate(panel: Panel, epsilon: float, seed: int = 0) -> SatelliteEstimate:
    counts = PanelCounts.split(panel)
    mu = np.inf if epsilon == np.inf else mu_for(epsilon, 1e-6)
    noise = NoiseSource(bytes([seed]) * 32)
    return estimate_in_memory(trainer_for(panel, mu), counts, Quorum.default(len(counts)), noise)


def relative_error(found: SatelliteEstimate) -> float:
    return float(
        np.sqrt(np.mean([((c.value - TRUTH[c.driver]) / c.prior) ** 2 for c in found.coefficients]))
    )


@pytest.mark.parametrize(("epsilon", "most"), [(np.inf, 0.25), (8.0, 0.25), (3.0, 0.28)])
def test_truth_is_recovered(panel: Panel, epsilon: float, most: float) -> None:
    found = estimate(panel, epsilon)
    before = np.sqrt(np.mean([(TRUTH[k] / PRIOR.beta[k] - 1) ** 2 for k in NAMES]))
    assert before == pytest.approx(0.352, abs=0.01)
    assert relative_error(found) < most
    assert found["gdp_growth"].value == pytest.approx(TRUTH["gdp_growth"], abs=0.1)
    assert found.dispersion < 1.3
    inside = [c.interval[0] <= TRUTH[c.driver] <= c.interval[1] for c in found.coefficients]
    assert sum(inside) >= 12


def test_noise_only_widens_the_errors(panel: Panel) -> None:
    exact, noisy = estimate(panel, np.inf), estimate(panel, 1.0)
    assert noisy.dispersion < 1.25  # the privacy noise is in the variance, not in the scatter
    for a, b in zip(exact.coefficients, noisy.coefficients, strict=True):
        assert b.se > 0.9 * a.se
    assert sum(c.se for c in noisy.coefficients) > 1.15 * sum(c.se for c in exact.coefficients)


def test_without_information_the_prior_stands_and_says_so(panel: Panel) -> None:
    found = estimate(panel, 0.02)
    assert all(c.source == "prior" for c in found.coefficients)
    assert all(abs(c.value - c.prior) < 1.5 * c.prior_sd for c in found.coefficients)


def test_shocks_that_no_driver_explains_do_not_pass_for_effects(panel: Panel) -> None:
    """A shift of .2 log-odds a quarter on all borrowers: allowed for, errors stay honest."""
    rng = np.random.default_rng(5)
    truth = panel.satellite
    shift = panel.z @ (truth.loading * truth.beta).T + 0.2 * rng.standard_normal((24, 1))
    odds = np.exp(panel.grade_logit + shift[:, None, :, None])
    drawn = rng.binomial(panel.performing_by_grade, 1 - (1 + odds) ** -0.25)
    counts = PanelCounts.split(replace(panel, defaults_by_grade=drawn))
    score = {}
    for allowed in (0.0, 0.2):
        settings = EstimationSettings(quarter_sd=allowed)
        trainer = SatelliteTrainer(NAMES, panel.z, truth.loading, PRIOR, np.inf, settings)
        noise = NoiseSource(bytes(32))
        found = estimate_in_memory(trainer, counts, Quorum.default(len(counts)), noise)
        z = [(c.value - TRUTH[c.driver]) / c.se for c in found.coefficients]
        score[allowed] = relative_error(found), float(np.sqrt(np.mean(np.square(z))))
    assert score[0.2][0] < score[0.0][0]
    assert score[0.2][1] < 1.4 < score[0.0][1]


def test_bounds_hold_the_sign_and_the_admissible_range() -> None:
    reverse = {"gdp_growth": -0.35, "farm_yield": 1.5}
    panel = synthesise(enterprises=10_000, seed=3).panel(quarters=24, beta=reverse)
    found = estimate(panel, np.inf)
    assert found["gdp_growth"].value == pytest.approx(0.3 * 0.35)
    assert found["farm_yield"].value == pytest.approx(2.5 * 0.25)
    assert all(c.low <= c.value <= c.high and c.low > 0 for c in found.coefficients)


def test_a_record_moves_the_answer_by_the_sensitivity(panel: Panel) -> None:
    """One more borrower over Q quarters, defaulting in the last: the stated norm, exactly."""
    whole = PanelCounts.split(panel)[0]
    quarters = whole.performing.shape[0]
    request = trainer_for(panel, 1.0).next_request()
    assert request is not None
    base = panels.answer(whole, request)
    for lived in (1, 6, quarters):
        n, d = whole.performing.copy(), whole.defaults.copy()
        n[:lived, 4, 7] += 1
        d[lived - 1, 4, 7] += 1
        more = panels.answer(PanelCounts(n, d, whole.grade_logit), request)
        moved = np.linalg.norm((more.vector - base.vector).astype(float))
        assert moved == pytest.approx(panels.sensitivity(lived))
    assert base.sensitivity == panels.sensitivity(1)


def test_the_kind_reads_the_panel_of_the_node(panel: Panel) -> None:
    request = trainer_for(panel, 1.0).next_request()
    assert request is not None
    mine = PanelCounts.split(panel)[2]
    given = KINDS[panels.KIND](request, None, {panels.PANEL: mine})  # type: ignore[arg-type]
    assert given.vector.shape == (request.length,) and given.vector.dtype == np.int64
    assert given.vector[: 24 * 12].sum() == panels.DEFAULT_UNIT * mine.defaults.sum()
    with pytest.raises(UserError, match="H2582"):
        KINDS[panels.KIND](request, None, {})  # type: ignore[arg-type]
    short = PanelCounts(mine.performing[:5], mine.defaults[:5], mine.grade_logit)
    with pytest.raises(UserError, match="H2581"):
        panels.answer(short, request)


def test_counts_that_cannot_be_are_refused() -> None:
    n = np.ones((2, 3, 4), dtype=np.int64)
    with pytest.raises(UserError, match="H2580"):
        PanelCounts(n, 2 * n, np.zeros(4))
    with pytest.raises(UserError, match="H2580"):
        PanelCounts(n, n, np.zeros(5))


def test_the_estimate_becomes_a_satellite_that_names_its_sources(panel: Panel) -> None:
    found = estimate(panel, np.inf)
    satellite = found.satellite(PRIOR, "2.0")
    assert satellite.beta["gdp_growth"] == found["gdp_growth"].value
    assert satellite.evidence.startswith("estimated: gdp_growth")
    assert satellite.fingerprint != load_satellite(CATALOGUE).fingerprint
    assert satellite.weights(CATALOGUE).shape == (12, 14)


def test_the_state_machine_asks_once(panel: Panel) -> None:
    trainer = trainer_for(panel, 1.0)
    (plan,) = trainer.schedule()
    assert plan.noise_multiplier == 1.0 and plan.length == 24 * 12 * 11
    with pytest.raises(ValueError, match="nothing"):
        trainer.result()
    with pytest.raises(ValueError, match="due"):
        trainer.absorb(np.zeros(3, dtype=np.int64))
    trainer.absorb(np.zeros(plan.length, dtype=np.int64))
    assert trainer.next_request() is None and len(trainer.trace()) == 1
