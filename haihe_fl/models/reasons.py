"""Reason codes: what costs a borrower most, against the average borrower."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.data.titles import value_title
from haihe_fl.i18n import tr
from haihe_fl.models.base import RiskModel, Term

LEAST = 0.05
"""Points below which a term is no reason: it would print as a loss of 0.0 points."""

UNITS = {
    "%": ("%", "%"),
    "CNY": (" CNY", " 元"),
    "CNY 10k": (" x CNY 10k", " 万元"),
    "days": (" days", " 天"),
    "months": (" months", " 个月"),
    "years": (" years", " 年"),
    "times": (" times", " 倍"),
    **dict.fromkeys(
        ("cases", "certificates", "institutions", "patents", "penalties", "persons"), ("", "")
    ),
}
"""How units read after a number; counted things are named by the feature's title."""


@dataclass(frozen=True)
class Reason:
    """One reason for a score.

    Attributes
    ----------
    features : tuple of str
        Names of the feature, or of the pair of features.
    points : float
        Points lost against the average borrower, to one decimal; equally, what the score
        would gain if this term alone were average (the counterfactual).
    en, zh : str
        The reason in words.
    """

    features: tuple[str, ...]
    points: float
    en: str
    zh: str

    def __str__(self) -> str:
        return tr(self.en, self.zh)


def _amount(value: float) -> str:
    """Return a number with four significant digits, and all of those before the point."""
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def show_value(feature: Feature, value: float) -> tuple[str, str]:
    """Return a value of a feature in words, in English and in Chinese.

    Examples
    --------
    >>> show_value(Feature(name="age", range=(0, 80), unit="years"), 3.0)
    ('3 years', '3 年')
    >>> show_value(Feature(name="debt", range=(0, 2), unit="share"), 0.9218)
    ('92.18%', '92.18%')
    >>> show_value(Feature(name="grade", kind="category", categories=("A", "B")), float("nan"))
    ('not given', '缺失')
    """
    if np.isnan(value):
        return "not given", "缺失"
    if feature.kind == "category" and feature.categories:
        title = value_title(feature.name, feature.categories[int(value)])
        return title.en, title.zh
    if feature.unit == "share":
        return f"{100 * value:.4g}%", f"{100 * value:.4g}%"
    other = f" {feature.unit}" if feature.unit else ""
    en, zh = UNITS.get(feature.unit, (other, other))
    return f"{_amount(value)}{en}", f"{_amount(value)}{zh}"


def _words(catalogue: FeatureCatalogue, term: Term, row: NDArray[np.float32]) -> tuple[str, str]:
    en, zh = [], []
    for column in term.features:
        feature = catalogue.features[column]
        value_en, value_zh = show_value(feature, float(row[column]))
        en.append(f"{feature.title.en if feature.title else feature.name} {value_en}")
        zh.append(f"{feature.title.zh if feature.title else feature.name} {value_zh}")
    both = len(en) > 1
    return (
        f"{' with '.join(en)}: {'together raise' if both else 'raises'} risk",
        f"{' 与 '.join(zh)}:{'共同' if both else ''}提高风险",
    )


def reasons(
    model: RiskModel, values: NDArray[np.float32], *, factor: float, top: int = 4
) -> list[list[Reason]]:
    """Return the terms that cost each borrower most, worst first.

    Ties, to a millionth of a point, go to the term that stands first in the model, so equal
    borrowers always get equal reasons, alone or in a batch.

    Parameters
    ----------
    model : RiskModel
        The model; its contributions are centred on the training population.
    values : ndarray of float32, shape (n, d)
        Borrowers, in catalogue order.
    factor : float
        Points per unit of log-odds (``ScoreScale.factor``).
    top : int
        Most reasons for a borrower; a borrower better than average everywhere has none.

    Returns
    -------
    list of list of Reason
        One list a borrower.
    """
    lost = np.round(model.contributions(values) * factor, 6)
    order = np.argsort(-lost, axis=1, kind="stable")[:, : max(top, 0)]
    terms, catalogue = model.terms(), model.catalogue
    result = []
    for row, cost, ranks in zip(values, lost, order, strict=True):
        found = []
        for j in ranks:
            if cost[j] < LEAST:
                break
            en, zh = _words(catalogue, terms[j], row)
            names = tuple(catalogue.names[column] for column in terms[j].features)
            found.append(Reason(names, round(float(cost[j]), 1), en, zh))
        result.append(found)
    return result
