"""The ground truth: the log-odds of default within 12 months as a function of the record.

``logit = INTERCEPT + STRENGTH * (sum of MAIN, PAIRS and SECTOR_PAIRS) + HIDDEN * hidden``. Main
effects are monotone wherever the catalogue states a direction, and so are the pairs, which
multiply two degrees of badness in [0, 1]. All strengths are inventions: they say nothing
about Tianjin.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.data.cohort import Floats
from haihe_fl.data.synth.config import categories
from haihe_fl.data.synth.economy import Array, expit

INTERCEPT = -4.5
STRENGTH = 0.34
HIDDEN = 0.5  # log-odds for one standard deviation of what no feature shows

_SECTOR = np.array([0.05, -0.25, 0, 0.05, -0.1, -0.3, 0.2, 0.1, 0.3, -0.05, 0.45, 0.15])
_DISTRICT = np.linspace(-0.15, 0.15, 16)[[0, 9, 3, 1, 8, 13, 7, 4, 6, 5, 10, 12, 2, 15, 11, 14]]
_OWNERSHIP = np.array([0.05, -0.35, -0.2, 0.1, -0.05])
_TAX_GRADE = np.array([-0.25, -0.05, 0.05, 0.35, 0.8])
_POLICY = np.array([0.0, -0.1, -0.25, -0.3])


def _pick(table: Array, x: Array) -> Array:
    return table[x.astype(np.intp)]


def _above(x: Array, low: float, high: float) -> Array:
    """Badness in [0, 1]: 0 up to ``low``, 1 from ``high`` on (``low`` may be the larger)."""
    return ((x - low) / (high - low)).clip(0, 1)


MAIN: dict[str, Callable[[Array], Array]] = {
    "sector": lambda x: _pick(_SECTOR, x),
    "district": lambda x: _pick(_DISTRICT, x),
    "ownership": lambda x: _pick(_OWNERSHIP, x),
    "age_years": lambda x: 0.9 * np.exp(-x / 3),
    "annual_sales": lambda x: -0.1 * (np.log1p(x) - 6),
    "cash_flow_cover": lambda x: -0.5 * np.tanh(x - 1.2),
    "quick_ratio": lambda x: -0.3 * np.tanh((x - 1) / 0.6),
    "interest_cover": lambda x: -0.2 * np.tanh((x - 2) / 2),
    "gross_margin": lambda x: -1.0 * (x - 0.2).clip(-0.3, 0.3),
    "vat_sales_growth": lambda x: -0.45 * np.tanh(x / 0.25),
    "sales_growth_3y": lambda x: 5.0 * (x - 0.1).clip(-0.35, 0.35) ** 2,  # both ends are bad
    "debt_ratio": lambda x: 0.7 * _above(x, 0.45, 0.8) + 0.8 * _above(x, 0.75, 1.1),
    "guarantee_ratio": lambda x: 0.7 * _above(x, 0.3, 1.5),
    "property_cover": lambda x: -0.3 * np.log1p(x),
    "tax_grade": lambda x: _pick(_TAX_GRADE, x),
    "tax_arrears_days": lambda x: 0.4 * np.log1p(x / 10),
    "social_security_gap": lambda x: 0.3 * np.log1p(x),
    "housing_fund_gap": lambda x: 0.08 * np.log1p(x),
    "insured_staff_change": lambda x: -0.25 * np.tanh(x / 0.2),
    "dpd_max_24m": lambda x: 0.55 * np.log1p(x / 5),
    "utilisation": lambda x: 0.7 * _above(x, 0.5, 1.0),
    "new_lenders_3m": lambda x: 0.15 * np.minimum(x, 4),
    "nonbank_debt_share": lambda x: 0.5 * x,
    "lawsuits_24m": lambda x: 0.4 * np.log1p(x),
    "enforcement_records": lambda x: 0.6 * np.minimum(x, 3),
    "penalties_24m": lambda x: 0.1 * np.minimum(x, 4),
    "buyer_hhi": lambda x: 0.5 * _above(x, 0.2, 0.6),
    "receivable_days": lambda x: 0.3 * np.tanh(np.log(np.maximum(x, 1) / 80)),
    "order_continuity": lambda x: -0.6 * (x - 0.7),
    "rd_intensity": lambda x: -0.25 * _above(x, 0.0, 0.08) + 0.5 * _above(x, 0.15, 0.4),
    "effective_patents": lambda x: -0.12 * np.log1p(x),
    "env_compliance": lambda x: -0.7 * (x - 0.9),
    "energy_intensity": lambda x: 0.2 * np.log(np.maximum(x, 0.1)),
    "electricity_change": lambda x: -0.2 * np.tanh(x / 0.2),
    "policy_status": lambda x: _pick(_POLICY, x),
    "quality_certificates": lambda x: -0.06 * np.minimum(x, 4),
}

# (first, low, high), (second, low, high), strength: badness of one times badness of the other.
Badness = tuple[str, float, float]
PAIRS: tuple[tuple[Badness, Badness, float], ...] = (
    (("debt_ratio", 0.55, 0.85), ("cash_flow_cover", 1.5, 0.3), 3.2),
    (("vat_sales_growth", 0.1, -0.25), ("receivable_days", 70, 150), 3.0),
    (("age_years", 7, 2), ("utilisation", 0.55, 0.9), 2.4),
    (("guarantee_ratio", 0.1, 0.8), ("quick_ratio", 1.1, 0.5), 3.0),
    (("tax_arrears_days", 0, 30), ("lawsuits_24m", 0, 2), 2.4),
    (("buyer_hhi", 0.15, 0.4), ("order_continuity", 0.75, 0.4), 2.4),
    (("export_share", 0.1, 0.5), ("gross_margin", 0.2, 0.05), 2.4),
    (("rd_intensity", 0.02, 0.08), ("annual_sales", 400, 40), 2.0),
)

# What is worse in some sectors than in others.
SECTOR_PAIRS: tuple[tuple[tuple[str, ...], Badness, float], ...] = (
    (("cross_border_trade", "construction_materials"), ("receivable_days", 50, 130), 1.6),
    (("petrochem", "construction_materials", "auto_parts"), ("energy_intensity", 1, 1.8), 1.6),
    (("services_retail", "logistics_port"), ("order_continuity", 0.8, 0.3), 1.6),
)


def true_logit(catalogue: FeatureCatalogue, values: Floats, hidden: NDArray[np.floating]) -> Array:
    """Return the true log-odds of default within 12 months.

    Parameters
    ----------
    values : ndarray of float32, shape (n, d)
        Clean features in catalogue order, no gaps.
    hidden : ndarray, shape (n,)
        The part of the risk that no feature shows, in standard deviations.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    column: Mapping[str, Array] = {
        name: values[:, j].astype(np.float64) for j, name in enumerate(catalogue.names)
    }
    shown = np.zeros(len(values))
    for name, effect in MAIN.items():
        shown += effect(column[name])
    for (a, a_low, a_high), (b, b_low, b_high), strength in PAIRS:
        shown += strength * _above(column[a], a_low, a_high) * _above(column[b], b_low, b_high)
    names = categories("sector")
    for sectors, (b, low, high), strength in SECTOR_PAIRS:
        inside = np.isin(column["sector"], [names.index(s) for s in sectors])
        shown += strength * inside * _above(column[b], low, high)
    return INTERCEPT + STRENGTH * shown + HIDDEN * np.asarray(hidden, dtype=np.float64)


def true_pd(logit: Array) -> Array:
    """Return the probability of default within 12 months."""
    return expit(logit)
