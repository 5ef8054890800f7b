from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.i18n import Text, set_language
from haihe_fl.models.base import RiskModel, Term
from haihe_fl.models.reasons import reasons, show_value

CATALOGUE = FeatureCatalogue(
    name="reasons",
    features=(
        Feature(name="debt", range=(0, 2), title=Text(en="Debt to assets", zh="资产负债率")),
        Feature(name="sales", range=(0, 1e9), unit="CNY"),
        Feature(name="sector", kind="category", categories=("retail", "farm")),
        Feature(name="staff", range=(0, 1000)),
    ),
)


class Fixed(RiskModel):
    """Gives the parts it was told to give."""

    family = "fixed-for-reasons"
    catalogue = CATALOGUE

    def __init__(self, parts: NDArray[np.float64], terms: list[Term]) -> None:
        self.parts, self._terms = parts, terms

    def logit(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.parts.sum(axis=1)

    def terms(self) -> list[Term]:
        return self._terms

    def contributions(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.parts

    @property
    def base(self) -> float:
        return 0.0

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        raise NotImplementedError

    @classmethod
    def from_state(
        cls, catalogue: FeatureCatalogue, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]
    ) -> Self:
        raise NotImplementedError


SINGLE = [Term((j,)) for j in range(4)]
ROW = np.array([[0.92, 250000.0, 1.0, np.nan]], dtype=np.float32)


def names(parts: list[float], top: int = 4) -> list[tuple[str, ...]]:
    found = reasons(Fixed(np.array([parts]), SINGLE), ROW, factor=1.0, top=top)
    return [reason.features for reason in found[0]]


def test_worst_first_and_only_what_costs() -> None:
    assert names([0.2, -0.5, 0.9, 0.01]) == [("sector",), ("debt",)]
    assert names([0.2, 0.3, 0.9, 0.4], top=2) == [("sector",), ("staff",)]
    assert names([-1, -1, -1, -1]) == []
    assert names([1, 1, 1, 1], top=0) == []


def test_ties_go_to_the_first_term_even_under_rounding_noise() -> None:
    order = [("debt",), ("sales",), ("sector",), ("staff",)]
    assert names([0.3, 0.3, 0.3, 0.3]) == order
    assert names([0.3, 0.1 + 0.2, 0.3, 0.3 + 1e-12]) == order


def test_words_in_both_languages() -> None:
    (found,) = reasons(Fixed(np.array([[4.0, 3.0, 2.0, 1.0]]), SINGLE), ROW, factor=10.0)
    assert [r.en for r in found] == [
        "Debt to assets 0.92: raises risk",
        "sales 250,000 CNY: raises risk",
        "sector farm: raises risk",
        "staff not given: raises risk",
    ]
    assert found[0].zh == "资产负债率 0.92:提高风险"
    assert found[3].zh == "staff 缺失:提高风险"
    assert [r.points for r in found] == [40.0, 30.0, 20.0, 10.0]
    set_language("zh")
    assert str(found[0]) == found[0].zh


def test_a_pair_is_named_by_both_features() -> None:
    model = Fixed(np.array([[1.0]]), [Term((0, 2))])
    ((found,),) = reasons(model, ROW, factor=1.0)
    assert found.features == ("debt", "sector")
    assert found.en == "Debt to assets 0.92 with sector farm: together raise risk"
    assert found.zh == "资产负债率 0.92 与 sector farm:共同提高风险"


def test_points_are_the_counterfactual_gain() -> None:
    parts = np.array([[0.5, 0.25, 0.0, 0.0]])
    ((first, _),) = reasons(Fixed(parts, SINGLE), ROW, factor=28.853901)
    assert first.points == pytest.approx(28.853901 * 0.5, abs=0.05)


def test_percent_stands_close_to_its_number() -> None:
    assert show_value(Feature(name="x", range=(0, 100), unit="%"), 12.5) == ("12.5%", "12.5%")
