"""The scenario catalogue: drivers, sectors, shapes, policy overlays, thirty scenarios.

The file is data (``configs/scenarios.yaml``); this module says what a valid file is. Every
scenario keeps its ``anchor`` and its ``evidence``: the magnitude of a shock is a published
figure only where the evidence says so.
"""

import difflib
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.checks import check_catalogue

Grade = Literal["verified", "partly verified", "secondary", "expert"]
GRADES: dict[str, str] = {
    "verified": "已核实",
    "partly verified": "部分核实",
    "secondary": "二手来源",
    "expert": "专家判断",
}
FAMILIES: dict[str, str] = {
    "macro_cycle": "Macro cycle",
    "monetary_fiscal_policy": "Monetary and fiscal policy",
    "trade_rcep_crossborder": "Trade, RCEP and cross-border",
    "industry_supply_chain": "Industry and supply chain",
    "environment_climate_agriculture": "Environment, climate and agriculture",
    "financial_guarantee_operational": "Financial system, guarantees and operations",
}


def grade_label(grade: str) -> str:
    """Name of an evidence grade in the language in force."""
    return tr(grade, GRADES[grade])


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Driver(_Frozen):
    """A macro driver: its unit, which sign is adverse, and one standard deviation."""

    unit: str
    adverse_sign: Literal[-1, 1]
    sigma: float = Field(gt=0, allow_inf_nan=False)


class PathSpec(_Frozen):
    """How one driver moves: peak deviation, quarter of the peak, shape, half-life."""

    peak: float
    peak_quarter: int
    shape: str
    half_life: float | None = None


class Profile(_Frozen):
    """Time profile of the sector multipliers: a path with peak 1."""

    peak_quarter: int
    shape: str
    half_life: float | None = None


class ContagionSpec(_Frozen):
    """Strength of contagion and share of enterprises that fail at the outset."""

    lambda_: float = Field(alias="lambda", ge=0)
    seed_fraction: float = Field(ge=0, le=1)


class PoolSpec(_Frozen):
    """What the scenario does to the credit insurance pool."""

    capital_haircut: float = Field(ge=0, le=1)
    insurer_exits: int = Field(ge=0)
    claim_delay_quarters: int = Field(ge=0)


class DataQuality(_Frozen):
    """What the scenario does to the data that the risk model reads."""

    feature_missing_rate: float = Field(ge=0, le=1)
    label_flip_rate: float = Field(ge=0, le=1)
    node_dropout_rate: float = Field(ge=0, le=1)


class Idiosyncratic(_Frozen):
    """Sector multipliers on the odds of default, and what hits loss, guarantees and data."""

    sectors: dict[str, float]
    profile: Profile
    guarantee_haircut: float = Field(ge=0, le=1)
    contagion: ContagionSpec
    lgd_addon: float = Field(ge=0, le=1)
    ccf_addon: float = Field(ge=0, le=1)
    pool: PoolSpec
    data_quality: DataQuality


class Scenario(_Frozen):
    """One scenario with its narrative, its anchor and the evidence for its magnitudes."""

    id: str
    family: str
    name_en: str
    name_zh: str
    narrative: str
    anchor: str
    evidence: str
    policy_environment: str
    drivers: dict[str, PathSpec]
    idiosyncratic: Idiosyncratic

    @property
    def name(self) -> str:
        """Name in the language in force."""
        return tr(self.name_en, self.name_zh)

    @property
    def grade(self) -> Grade:
        """Evidence in one word, read from ``evidence``; reports show the full text beside it.

        ``verified`` speaks of the anchor, never of the satellite's coefficients; where any
        part is unverified, from memory or expert, the whole is at best ``partly verified``.
        """
        text = self.evidence.lower()
        doubt = any(word in text for word in ("memory", "expert", "unverified", "secondary"))
        if "verified" in text.replace("unverified", ""):
            if not doubt:
                return "verified"
            return "secondary" if text.startswith("secondary") else "partly verified"
        return "secondary" if text.startswith("secondary") else "expert"


class Overlay(_Frozen):
    """A policy response: deviations added to drivers, and measures beside the drivers."""

    drivers: dict[str, float] = {}
    pool_capital_injection_cny: float = Field(default=0, ge=0)
    stage3_delay_quarters: int = Field(default=0, ge=0)
    cure_penalty_pd_multiplier: float = Field(default=1, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "drivers" in raw:
            return raw
        measures = {k: v for k, v in raw.items() if k in cls.model_fields}
        return {**measures, "drivers": {k: v for k, v in raw.items() if k not in measures}}


class ScenarioCatalogue(_Frozen):
    """The whole file.

    Examples
    --------
    >>> c = load_scenarios()
    >>> len(c.scenarios), len(c.drivers), len(c.sectors), len(c.policy_overlays)
    (30, 14, 12, 6)
    >>> c["gfc-replay"].drivers["gdp_growth"].peak
    -4.5
    """

    version: str
    horizon_quarters: int = Field(ge=1, le=40)
    note: str
    drivers: dict[str, Driver]
    sectors: tuple[str, ...] = Field(min_length=1)
    families: dict[str, str]
    shapes: dict[str, str]
    policy_overlays: dict[str, Overlay]
    scenarios: tuple[Scenario, ...] = Field(min_length=1)

    @property  # not cached: model_copy would carry the old hash along
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of the catalogue, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __getitem__(self, identifier: str) -> Scenario:
        for scenario in self.scenarios:
            if scenario.id == identifier:
                return scenario
        known = [s.id for s in self.scenarios]
        near = difflib.get_close_matches(identifier, known, n=3, cutoff=0.3) or known[:3]
        raise UserError(
            "H2510",
            en=f"no scenario {identifier!r}; nearest: {', '.join(near)} (all: haihe stress list)",
            zh=f"没有情景 {identifier!r};最接近的有:{'、'.join(near)}(haihe stress list 列出全部)",
        )

    def overlay(self, name: str) -> Overlay:
        """Return a policy overlay; ``UserError`` H2511 if there is none of that name."""
        if name not in self.policy_overlays:
            known = ", ".join(self.policy_overlays)
            raise UserError(
                "H2511",
                en=f"no policy overlay {name!r}; choose one of {known}",
                zh=f"没有政策叠加 {name!r};可选:{known}",
            )
        return self.policy_overlays[name]

    def family_label(self, family: str) -> str:
        """Name of a family in the language in force."""
        return tr(FAMILIES.get(family, family), self.families.get(family, family))


def load_scenarios(path: Path | None = None) -> ScenarioCatalogue:
    """Read and check a scenario file; without a path, the one shipped with the software.

    Raises
    ------
    UserError
        H2501 if the file cannot be read; H2502 to H2509 (see ``docs/stress.md``) if it is not
        a valid catalogue, naming the scenario and the driver.
    """
    source = str(path) if path else "configs/scenarios.yaml"
    try:
        text = (path or files("configs") / "scenarios.yaml").read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            "H2501",
            en=f"cannot read scenarios {source}: {error}; check the path and the YAML syntax",
            zh=f"无法读取情景文件 {source}:{error};请检查路径和 YAML 语法",
        ) from None
    return parse_scenarios(raw, source)


def parse_scenarios(raw: Any, source: str = "scenarios") -> ScenarioCatalogue:
    """Check a catalogue that was already read from YAML or JSON."""
    try:
        catalogue = ScenarioCatalogue.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = _where(raw, first["loc"])
        raise UserError(
            "H2502",
            en=f"{source}, at {where}: {first['msg']}; compare with configs/scenarios.yaml",
            zh=f"{source} 的 {where} 有误:{first['msg']};请对照 configs/scenarios.yaml",
        ) from None
    check_catalogue(catalogue, source)
    return catalogue


def _where(raw: Any, loc: tuple[int | str, ...]) -> str:
    """Say a place in the file with the scenario's id instead of its position."""
    parts = list(loc)
    if len(parts) > 1 and parts[0] == "scenarios" and isinstance(parts[1], int):
        entry = raw["scenarios"][parts[1]]
        name = (
            entry.get("id", f"#{parts[1] + 1}") if isinstance(entry, dict) else f"#{parts[1] + 1}"
        )
        parts[:2] = [f"scenario {name}"]
    return ".".join(str(p) for p in parts) or "top level"
