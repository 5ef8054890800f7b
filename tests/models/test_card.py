import re
from dataclasses import replace
from datetime import date

import pytest

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.i18n import Text, set_language
from haihe_fl.models.card import CardFacts, borrower_budget, model_card

FACTS = CardFacts(
    name="haihe-risk",
    family="additive",
    mode="secure",
    catalogue=FeatureCatalogue(name="tiny", features=(Feature(name="debt", range=(0, 2)),)),
    institutions=20,
    epsilon=3.0,
    delta=1e-5,
    metrics={"AUC": 0.8123},
    measured=Text(en="Noisy sums over held-out borrowers.", zh="留出借款人的加噪汇总。"),
    tolerated=2,
    releases=33,
    trained=date(2024, 5, 6),
    fingerprints={"model": "ab" * 32},
)


def test_privacy_states_delta_unit_and_borrower_conversion() -> None:
    card = model_card(FACTS)
    assert "**epsilon 3, delta 1e-05, per record**" in card
    assert "at 2 institutions: epsilon 6.7" in card
    assert "at 3 institutions: epsilon 11" in card
    assert "ChaCha20" in card and "secure_mode" in card
    section = card.split("## Threat model")[1].split("##")[0]
    assert section.count("\n- ") == 5
    for text in ("2024-05-06", "`debt`", "20 institutions", "| AUC | 0.8123 |", "33 releases"):
        assert text in card


def test_chinese_says_the_same() -> None:
    english, chinese = model_card(FACTS, "en"), model_card(FACTS, "zh")
    assert english.count("\n") == chinese.count("\n")
    assert "单位:记录" in chinese and "epsilon 6.7" in chinese
    numbers = re.compile(r"\d+(?:\.\d+)?")
    assert sorted(numbers.findall(english)) == sorted(numbers.findall(chinese))
    set_language("zh")
    assert model_card(FACTS) == chinese


def test_general_bound_where_releases_are_not_gaussian() -> None:
    epsilon, delta = borrower_budget(replace(FACTS, gaussian=False), 2)
    assert epsilon == 6.0
    assert delta == pytest.approx(2 * 20.0855 * 1e-5, rel=1e-4)
    assert borrower_budget(FACTS, 2)[0] > 6.0  # larger, but at the same delta


def test_a_borrower_level_budget_is_not_converted() -> None:
    card = model_card(replace(FACTS, unit="borrower"))
    assert "per borrower" in card
    assert "records at" not in card


def test_no_privacy_is_said_plainly() -> None:
    card = model_card(replace(FACTS, epsilon=None, delta=None))
    assert "**None.**" in card
    with pytest.raises(ValueError, match="never stands without"):
        replace(FACTS, delta=None)


@pytest.mark.parametrize("mode", ["inspected", "local"])
def test_other_modes_do_not_claim_the_secure_sum(mode: str) -> None:
    card = model_card(replace(FACTS, mode=mode))  # type: ignore[arg-type]
    assert "secure sum" not in card
    assert "sees each institution's update" in card
