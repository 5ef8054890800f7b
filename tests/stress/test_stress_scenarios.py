import copy
from importlib.resources import files
from typing import Any

import pytest
import yaml

from haihe_fl.errors import UserError
from haihe_fl.i18n import set_language
from haihe_fl.stress.scenarios import GRADES, load_scenarios, parse_scenarios

RAW = yaml.safe_load((files("configs") / "scenarios.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def raw() -> dict[str, Any]:
    return copy.deepcopy(RAW)


def test_the_shipped_catalogue_is_whole() -> None:
    c = load_scenarios()
    assert len(c.scenarios) == 30
    assert len(c.drivers) == 14
    assert len(c.sectors) == 12
    assert len(c.families) == 6
    assert {s.family for s in c.scenarios} == set(c.families)
    assert list(c.policy_overlays) == [
        "none", "monetary_easing", "fiscal_top_up", "guarantee_top_up", "forbearance", "tightening",
    ]  # fmt: skip
    assert all(s.evidence and s.anchor and s.name_zh and s.grade in GRADES for s in c.scenarios)


def test_no_field_of_the_file_is_lost() -> None:
    c = load_scenarios()
    for given, read in zip(RAW["scenarios"], c.scenarios, strict=True):
        assert read.model_dump(mode="json", by_alias=True) == given


def test_grades_never_rise_above_the_evidence() -> None:
    c = load_scenarios()
    assert c["protracted-slump-u"].grade == "verified"
    assert c["gfc-replay"].grade == "partly verified"  # "PPI/LPR sizes from memory"
    assert c["carbon-price-jump"].grade == "partly verified"
    assert c["interbank-cash-crunch"].grade == "secondary"
    assert c["guarantee-circle-cascade"].grade == "secondary"
    assert c["tariff-war-escalation"].grade == "expert"
    assert c["forbearance-withdrawal"].grade == "expert"
    for s in c.scenarios:
        if s.grade == "verified":
            assert not any(w in s.evidence for w in ("memory", "expert", "unverified"))


def test_names_follow_the_language() -> None:
    scenario = load_scenarios()["haihe-flood"]
    english = scenario.name
    set_language("zh")
    assert scenario.name == scenario.name_zh != english
    assert load_scenarios().family_label("macro_cycle") == "宏观周期"


def test_fingerprint_sees_a_changed_peak(raw: dict[str, Any]) -> None:
    before = parse_scenarios(raw).fingerprint
    assert before == load_scenarios().fingerprint
    raw["scenarios"][0]["drivers"]["gdp_growth"]["peak"] = -4.6
    assert parse_scenarios(raw).fingerprint != before


def _driver(field: str, value: Any) -> Any:
    def change(raw: dict[str, Any]) -> None:
        raw["scenarios"][1]["drivers"]["gdp_growth"][field] = value

    return change


def _rename_driver(raw: dict[str, Any]) -> None:
    raw["scenarios"][1]["drivers"]["gdp"] = raw["scenarios"][1]["drivers"].pop("gdp_growth")


def _sector(name: str, value: float) -> Any:
    def change(raw: dict[str, Any]) -> None:
        raw["scenarios"][1]["idiosyncratic"]["sectors"][name] = value

    return change


def _profile(field: str, value: Any) -> Any:
    def change(raw: dict[str, Any]) -> None:
        raw["scenarios"][1]["idiosyncratic"]["profile"][field] = value

    return change


def _same_id(raw: dict[str, Any]) -> None:
    raw["scenarios"][2]["id"] = "pandemic-shutdown-v"


def _family(raw: dict[str, Any]) -> None:
    raw["scenarios"][1]["family"] = "alien"


def _no_evidence(raw: dict[str, Any]) -> None:
    del raw["scenarios"][1]["evidence"]


def _overlay(raw: dict[str, Any]) -> None:
    raw["policy_overlays"]["tightening"]["interest"] = 50


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (_rename_driver, "H2503", ("pandemic-shutdown-v", "driver gdp", "gdp_growth")),
        (_overlay, "H2503", ("overlay tightening", "interest")),
        (_sector("autos", 1.2), "H2504", ("sector autos", "auto_parts")),
        (_family, "H2504", ("pandemic-shutdown-v", "alien")),
        (_driver("shape", "wave"), "H2505", ("driver gdp_growth", "'wave'", "plateau")),
        (_profile("shape", "wave"), "H2505", ("profile", "'wave'")),
        (_driver("peak_quarter", 13), "H2506", ("driver gdp_growth", "13", "1..12")),
        (_profile("peak_quarter", 0), "H2506", ("profile", "0 is not within")),
        (_same_id, "H2507", ("pandemic-shutdown-v", "twice")),
        (_driver("peak", float("nan")), "H2508", ("driver gdp_growth", "nan is not finite")),
        (_driver("peak", float("inf")), "H2508", ("driver gdp_growth", "inf is not finite")),
        (_sector("auto_parts", 0.0), "H2508", ("sector auto_parts", "positive")),
        (_driver("half_life", None), "H2509", ("driver gdp_growth", "half_life")),
        (_driver("half_life", 0), "H2509", ("driver gdp_growth", "half_life")),
        (_driver("peak", "deep"), "H2502", ("scenario pandemic-shutdown-v.drivers.gdp_growth",)),
        (_no_evidence, "H2502", ("scenario pandemic-shutdown-v.evidence", "required")),
    ],
)
def test_faults_are_named(
    raw: dict[str, Any], change: Any, code: str, words: tuple[str, ...]
) -> None:
    change(raw)
    with pytest.raises(UserError) as caught:
        parse_scenarios(raw, "mine.yaml")
    assert caught.value.code == code
    for word in ("mine.yaml", *words):
        assert word in caught.value.en


def test_unreadable_files(tmp_path: Any) -> None:
    with pytest.raises(UserError, match="H2501"):
        load_scenarios(tmp_path / "nothing.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1, 2", encoding="utf-8")
    with pytest.raises(UserError, match="H2501"):
        load_scenarios(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1", encoding="utf-8")
    with pytest.raises(UserError, match="H2502"):
        load_scenarios(tmp_path / "list.yaml")


def test_unknown_names_get_the_nearest() -> None:
    c = load_scenarios()
    with pytest.raises(UserError, match=r"H2510.*haihe-flood"):
        c["haihe-floods"]
    with pytest.raises(UserError, match=r"H2511.*monetary_easing"):
        c.overlay("easing")
