"""Scenarios of one's own: files beside the shipped catalogue, and two scenarios in one.

A combination is again a scenario of the file's form, so it can be saved, read and run like any
other. Where both parts move a driver, the combined path is put into the nearest single shape with
the exact combined peak (`haihe_fl.stress.replay.fit_path`); ``evidence`` says how far that misses.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from haihe_fl.errors import UserError
from haihe_fl.stress.paths import driver_paths, profile_path
from haihe_fl.stress.replay import fit_path
from haihe_fl.stress.run import shipped
from haihe_fl.stress.scenarios import (
    PathSpec,
    Profile,
    Scenario,
    ScenarioCatalogue,
    parse_scenarios,
)

Floats = NDArray[np.float64]
Rule = Literal["sum", "max"]


def add_scenarios(
    base: ScenarioCatalogue, scenarios: Iterable[Scenario], source: str = "scenarios"
) -> ScenarioCatalogue:
    """Return the catalogue with further scenarios, checked like a file.

    Raises
    ------
    UserError
        H2586 if an id is already taken; H2502 to H2509 as `load_scenarios` does.
    """
    added = list(scenarios)
    taken = {s.id for s in base.scenarios}
    for scenario in added:
        if scenario.id in taken:
            raise UserError(
                "H2586",
                en=f"{source}: the id {scenario.id!r} is already taken; rename the scenario",
                zh=f"{source}:编号 {scenario.id!r} 已被占用;请给情景改名",
            )
    raw = base.model_dump(mode="json", by_alias=True)
    raw["scenarios"] += [s.model_dump(mode="json", by_alias=True) for s in added]
    return parse_scenarios(raw, source)


def load_user_scenarios(path: Path, base: ScenarioCatalogue | None = None) -> ScenarioCatalogue:
    """Read scenarios of one's own and join them to the shipped ones.

    The file has the form of ``configs/scenarios.yaml``; all but ``scenarios`` may be left out. What
    it does state of drivers, sectors and the rest must be what the catalogue says: the satellite
    is made for those. Policy overlays are those of the catalogue.

    Raises
    ------
    UserError
        H2501 if the file cannot be read, H2585 if it states other drivers, sectors or horizon,
        H2586 if an id is taken, H2502 to H2509 if a scenario is not valid.
    """
    base = base or shipped()[0]
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            "H2501",
            en=f"cannot read scenarios {path}: {error}; check the path and the YAML syntax",
            zh=f"无法读取情景文件 {path}:{error};请检查路径和 YAML 语法",
        ) from None
    common = base.model_dump(mode="json", by_alias=True)
    given = raw if isinstance(raw, dict) else {"scenarios": raw}
    for key in given.keys() & common.keys() - {"scenarios", "version", "note"}:
        if key == "policy_overlays" or _plain(given[key]) != _plain(common[key]):
            raise UserError(
                "H2585",
                en=f"{path.name} states other {key} than the catalogue; leave {key} out",
                zh=f"{path.name} 中的 {key} 与情景目录不一致;请删去 {key}",
            )
    extra = {k: v for k, v in given.items() if k not in common}
    own = {**common, **extra, "scenarios": given.get("scenarios")}
    return add_scenarios(base, parse_scenarios(own, path.name).scenarios, path.name)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return float(value) if isinstance(value, int) else value


def write_scenarios(path: Path, scenarios: Iterable[Scenario]) -> None:
    """Write scenarios to a file that `load_user_scenarios` reads."""
    entries = [s.model_dump(mode="json", by_alias=True) for s in scenarios]
    text = yaml.safe_dump({"scenarios": entries}, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def combine(
    catalogue: ScenarioCatalogue,
    first: Scenario,
    second: Scenario,
    rule: Rule = "sum",
    identifier: str | None = None,
) -> Scenario:
    """Put two scenarios into one.

    ========================  ==================================  ==========================
    part                      ``sum``: both happen in full        ``max``: the worse of both
    ========================  ==================================  ==========================
    driver path               sum                                 more adverse, by quarter
    sector multiplier m       product                             larger
    shares (haircuts, data)   1 - (1 - a)(1 - b)                  larger
    LGD and drawing add-ons   sum, at most 1                      larger
    insurers gone             sum                                 larger
    contagion, claim delay    larger                              larger
    profile of m and add-ons  larger of both, by quarter          larger of both, by quarter
    ========================  ==================================  ==========================

    ``sum`` counts twice what both scenarios blame on one cause; ``max`` leaves out that two blows
    together are worse than either. The truth lies between.

    Examples
    --------
    >>> c = shipped()[0]
    >>> both = combine(c, c["haihe-flood"], c["tariff-war-escalation"])
    >>> both.id, both.drivers["farm_yield"].peak
    ('haihe-flood+tariff-war-escalation', -40.0)
    """
    if rule not in ("sum", "max"):
        raise ValueError(f"no rule {rule!r}; choose sum or max")
    drivers, worst = _drivers(catalogue, first, second, rule)
    profile, off = _profile(catalogue, first, second)
    a, b = first.idiosyncratic, second.idiosyncratic

    def share(x: float, y: float) -> float:
        return max(x, y) if rule == "max" else 1.0 - (1.0 - x) * (1.0 - y)

    def added(x: float, y: float) -> float:
        return max(x, y) if rule == "max" else min(x + y, 1.0)

    sectors = {}
    for name in {**a.sectors, **b.sectors}:
        one, other = a.sectors.get(name, 1.0), b.sectors.get(name, 1.0)
        sectors[name] = max(one, other) if rule == "max" else one * other
    quality = {
        field: share(value, getattr(b.data_quality, field))
        for field, value in a.data_quality.model_dump().items()
    }
    exits = [a.pool.insurer_exits, b.pool.insurer_exits]
    idiosyncratic = {
        "sectors": sectors,
        "profile": profile.model_dump(),
        "guarantee_haircut": share(a.guarantee_haircut, b.guarantee_haircut),
        "contagion": {
            "lambda": max(a.contagion.lambda_, b.contagion.lambda_),
            "seed_fraction": share(a.contagion.seed_fraction, b.contagion.seed_fraction),
        },
        "lgd_addon": added(a.lgd_addon, b.lgd_addon),
        "ccf_addon": added(a.ccf_addon, b.ccf_addon),
        "pool": {
            "capital_haircut": share(a.pool.capital_haircut, b.pool.capital_haircut),
            "insurer_exits": max(exits) if rule == "max" else sum(exits),
            "claim_delay_quarters": max(a.pool.claim_delay_quarters, b.pool.claim_delay_quarters),
        },
        "data_quality": quality,
    }
    return Scenario.model_validate(
        {
            "id": identifier or f"{first.id}+{second.id}",
            "family": first.family,
            "name_en": f"{first.name_en} and {second.name_en}",
            "name_zh": f"{first.name_zh}与{second.name_zh}",
            "narrative": f"{first.narrative} {second.narrative}",
            "anchor": f"{first.anchor} || {second.anchor}",
            "evidence": f"expert combination by {rule}; driver shapes fitted, largest miss "
            f"{100 * worst:.0f} % of the peak, profile {100 * off:.0f} %; "
            f"parts: {first.evidence} || {second.evidence}",
            "policy_environment": f"{first.policy_environment}; {second.policy_environment}",
            "drivers": drivers,
            "idiosyncratic": idiosyncratic,
        }
    )


def _drivers(
    catalogue: ScenarioCatalogue, first: Scenario, second: Scenario, rule: Rule
) -> tuple[dict[str, PathSpec], float]:
    """Return the combined drivers, and the largest miss of a fitted shape."""
    x, y = driver_paths(catalogue, first), driver_paths(catalogue, second)
    out, worst = {}, 0.0
    for k, (name, driver) in enumerate(catalogue.drivers.items()):
        one, other = first.drivers.get(name), second.drivers.get(name)
        if one is None or other is None:
            alone = one or other
            # Under max the other scenario leaves the driver at rest; relief is then no worse.
            if alone is not None and (rule == "sum" or alone.peak * driver.adverse_sign > 0):
                out[name] = alone
            continue
        adverse = driver.adverse_sign
        path = (
            x[k] + y[k] if rule == "sum" else adverse * np.maximum(adverse * x[k], adverse * y[k])
        )
        if fit := fit_path(path, catalogue.horizon_quarters):
            out[name], worst = fit.spec, max(worst, fit.miss)
    return out, worst


def _profile(
    catalogue: ScenarioCatalogue, first: Scenario, second: Scenario
) -> tuple[Profile, float]:
    if first.idiosyncratic.profile == second.idiosyncratic.profile:
        return first.idiosyncratic.profile, 0.0
    path = np.maximum(profile_path(catalogue, first), profile_path(catalogue, second))
    fit = fit_path(path, catalogue.horizon_quarters)
    assert fit is not None
    return Profile(**fit.spec.model_dump(exclude={"peak"})), fit.miss
