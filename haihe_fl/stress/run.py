"""Run scenarios over a portfolio."""

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from importlib.resources import files

import numpy as np

from haihe_fl.stress.kernel import AT_START, Cells, Shock, simulate
from haihe_fl.stress.paths import driver_paths, profile_path
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.satellite import Satellite, load_satellite, log_odds_shift, plausibility
from haihe_fl.stress.scenarios import Overlay, Scenario, ScenarioCatalogue, load_scenarios
from haihe_fl.stress.settings import StressSettings


@cache
def shipped() -> tuple[ScenarioCatalogue, Satellite]:
    """Return the scenarios and the satellite that come with the software, read once."""
    catalogue = load_scenarios()
    return catalogue, load_satellite(catalogue)


@cache
def code_version() -> str:
    """Return the package version and a digest of the source that computes the results."""
    digest = hashlib.sha256()
    for source in sorted(files("haihe_fl.stress").iterdir(), key=lambda f: f.name):
        if source.name.endswith(".py") and source.name != "charts.py":
            digest.update(source.read_bytes())
    return f"{version('haihe-fl')}+{digest.hexdigest()[:12]}"


def run_hash(
    portfolio: Portfolio,
    scenario: Scenario,
    overlay: str,
    settings: StressSettings,
    catalogue: ScenarioCatalogue,
    satellite: Satellite,
) -> str:
    """Return the run id: a hash over all that decides a result.

    Two runs with the same id have the same scenarios, coefficients, code, model, portfolio,
    settings and seed.
    """
    parts = {
        "scenarios": catalogue.fingerprint,
        "scenario": scenario.model_dump(mode="json"),
        "overlay": overlay,
        "satellite": satellite.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "code": code_version(),
        "model": portfolio.model_fingerprint,
        "portfolio": portfolio.fingerprint,
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shock_of(
    catalogue: ScenarioCatalogue,
    satellite: Satellite,
    scenario: Scenario,
    overlay: Overlay,
    severity: float = 1.0,
) -> Shock:
    """Return what a scenario does to log-odds, LGD, drawings and property, per quarter."""
    profile = severity * profile_path(catalogue, scenario)
    paths = driver_paths(catalogue, scenario, overlay, severity=severity)
    names = list(catalogue.drivers)
    property_change = np.zeros(paths.shape[1])
    if "property_price" in names:
        property_change = np.maximum(paths[names.index("property_price")] / 100.0, -1.0)
    return Shock(
        shift=log_odds_shift(catalogue, satellite, scenario, overlay, severity=severity),
        lgd_addon=scenario.idiosyncratic.lgd_addon * profile,
        ccf_addon=np.minimum(scenario.idiosyncratic.ccf_addon * profile, 1.0),
        property_change=property_change,
        impaired=profile_path(catalogue, scenario),
        stage3_delay=overlay.stage3_delay_quarters,
    )


def baseline(portfolio: Portfolio, settings: StressSettings, quarters: int = 12) -> Cells:
    """Return the cells of a quiet economy: every PD stays at the model's."""
    return simulate(portfolio, Shock.none(len(portfolio.sectors), quarters), settings)


def run(
    portfolio: Portfolio,
    scenario: str | Scenario,
    overlay: str = "none",
    settings: StressSettings | None = None,
    *,
    catalogue: ScenarioCatalogue | None = None,
    satellite: Satellite | None = None,
    quiet: Cells | None = None,
) -> StressResult:
    """Run one scenario.

    Parameters
    ----------
    portfolio : Portfolio
        Must have the catalogue's sectors.
    scenario : str or Scenario
        Id in the catalogue, or a scenario of one's own.
    overlay : str
        Name of a policy overlay.
    settings : StressSettings, optional
        Choices of the analyst.
    catalogue, satellite : optional
        Others than the shipped ones.
    quiet : Cells, optional
        Result of `baseline`, where several scenarios share it.

    Raises
    ------
    UserError
        H2510 or H2511 for an unknown scenario or overlay.
    """
    settings = settings or StressSettings()
    catalogue = catalogue or shipped()[0]
    satellite = satellite or (
        shipped()[1] if catalogue is shipped()[0] else load_satellite(catalogue)
    )
    chosen = catalogue[scenario] if isinstance(scenario, str) else scenario
    policy = catalogue.overlay(overlay)
    if portfolio.sectors != catalogue.sectors:
        raise ValueError("the portfolio was built for other sectors than the catalogue's")
    if quiet is None:
        quiet = baseline(portfolio, settings, catalogue.horizon_quarters)
    quality = chosen.idiosyncratic.data_quality
    lost = min(quality.feature_missing_rate * settings.severity, 1.0)
    cells = simulate(
        portfolio,
        shock_of(catalogue, satellite, chosen, policy, settings.severity),
        settings,
        portfolio.impaired_pd(lost, settings.seed),
    )
    return StressResult(
        run_id=run_hash(portfolio, chosen, overlay, settings, catalogue, satellite),
        scenario_id=chosen.id,
        name_en=chosen.name_en,
        name_zh=chosen.name_zh,
        family=chosen.family,
        evidence=chosen.evidence,
        grade=chosen.grade,
        anchor=chosen.anchor,
        overlay=overlay,
        model_name=portfolio.model_name,
        model_fingerprint=portfolio.model_fingerprint,
        code_version=code_version(),
        settings=settings,
        plausibility=plausibility(catalogue, satellite, chosen, policy, severity=settings.severity),
        sectors=portfolio.sectors,
        institutions=portfolio.institutions,
        cells=cells.sums,
        start={
            **{name: quiet.sums[name][:, :, 0] for name in AT_START},
            "ecl": quiet.ecl_start,
        },
        baseline_el=quiet.sums["el"],
        not_applied=_not_applied(portfolio, chosen, policy),
    )


def run_all(
    portfolio: Portfolio,
    scenarios: Iterable[str | Scenario] | None = None,
    overlay: str = "none",
    settings: StressSettings | None = None,
    *,
    catalogue: ScenarioCatalogue | None = None,
    satellite: Satellite | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[StressResult]:
    """Run several scenarios, by default all of the catalogue, sharing one baseline.

    ``on_progress`` is called with (done, total) after each.
    """
    settings = settings or StressSettings()
    catalogue = catalogue or shipped()[0]
    satellite = satellite or (
        shipped()[1] if catalogue is shipped()[0] else load_satellite(catalogue)
    )
    chosen = list(catalogue.scenarios if scenarios is None else scenarios)
    catalogue.overlay(overlay)
    chosen = [catalogue[s] if isinstance(s, str) else s for s in chosen]
    quiet = baseline(portfolio, settings, catalogue.horizon_quarters)
    results = []
    for i, scenario in enumerate(chosen):
        results.append(
            run(
                portfolio,
                scenario,
                overlay,
                settings,
                catalogue=catalogue,
                satellite=satellite,
                quiet=quiet,
            )
        )
        if on_progress is not None:
            on_progress(i + 1, len(chosen))
    return results


def _not_applied(portfolio: Portfolio, scenario: Scenario, overlay: Overlay) -> tuple[str, ...]:
    """Name the parts of a scenario that this simulator carries but does not compute."""
    own = scenario.idiosyncratic
    quality, pool = own.data_quality, own.pool
    present = {
        "guarantee_haircut": own.guarantee_haircut > 0,
        "contagion": own.contagion.lambda_ > 0,
        "pool": pool.capital_haircut > 0 or pool.insurer_exits > 0 or pool.claim_delay_quarters > 0,
        "ccf_addon": own.ccf_addon > 0 and portfolio.undrawn is None,
        "data_quality.feature_missing_rate": quality.feature_missing_rate > 0
        and portfolio.rescore is None,
        "data_quality.label_flip_rate": quality.label_flip_rate > 0,
        "data_quality.node_dropout_rate": quality.node_dropout_rate > 0,
        "overlay.pool_capital_injection_cny": overlay.pool_capital_injection_cny > 0,
    }
    return tuple(name for name, there in present.items() if there)
