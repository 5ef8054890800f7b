"""What the departments see of a firm: the clean features, before gaps and noise."""

import numpy as np

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.data.cohort import Floats
from haihe_fl.data.synth.economy import EXPORTER, INSPECTED, MARGIN, RND, Array, Economy, expit


def _rare(chance: Array, size: Array, rng: np.random.Generator) -> Array:
    """Zero, save with probability ``chance``."""
    return np.where(rng.random(len(chance)) < chance, size, 0.0)


def _count(mean: Array, rng: np.random.Generator, shape: float = 1.0) -> Array:
    """Draw counts with a gamma mixture: negative binomial, as records of courts are."""
    return rng.poisson(mean * rng.gamma(shape, 1 / shape, len(mean))).astype(np.float64)


def _statements(e: Economy, rng: np.random.Generator) -> dict[str, Array]:
    n, liquidity, growth = len(e), e.factors["liquidity"], e.factors["growth"]
    margin = MARGIN[e.sector] + 0.04 * growth + 0.03 * liquidity + 0.06 * rng.standard_normal(n)
    sales_growth = 0.06 + 0.16 * growth + 0.11 * rng.standard_t(4, n)
    quick = np.exp(0.42 * liquidity - 0.9 * (e.debt_ratio - 0.6) + 0.3 * rng.standard_t(6, n))
    return {
        "annual_sales": (e.sales / 1e4).round(2),
        "cash_flow_cover": 1.4 + 0.6 * liquidity + 0.25 * growth + 0.45 * rng.standard_t(4, n),
        "quick_ratio": quick,
        "interest_cover": np.sinh(
            1.6 + 0.55 * liquidity + 0.25 * growth + 2 * (margin - 0.2) + 0.45 * rng.normal(size=n)
        ),
        "gross_margin": margin,
        "vat_sales_growth": sales_growth,
        "sales_growth_3y": 0.08 + 0.11 * growth + 0.3 * sales_growth + 0.06 * rng.standard_t(5, n),
        "debt_ratio": e.debt_ratio,
        "property_cover": _rare(
            expit(-0.3 + 0.5 * e.factors["scale"]), rng.lognormal(-0.8, 0.8, n), rng
        ),
        "subsidy_ratio": _rare(
            expit(-1.2 + 0.8 * e.factors["innovation"]), rng.lognormal(-4.3, 0.9, n), rng
        ),
        "electricity_change": 0.03 + 0.7 * sales_growth + 0.08 * rng.standard_t(4, n),
        "insured_staff_change": 0.35 * sales_growth
        + 0.03 * liquidity
        + 0.09 * rng.standard_t(4, n),
    }


def _conduct(e: Economy, rng: np.random.Generator) -> dict[str, Array]:
    n, liquidity, governance = len(e), e.factors["liquidity"], e.factors["governance"]
    strain = -0.6 * liquidity - 0.5 * governance + 0.3 * e.hidden  # shows in every record
    rank = np.digitize(-governance + 0.7 * rng.standard_normal(n), [-0.9, 0.9, 1.7])
    grade = np.array([0.0, 1.0, 3.0, 4.0])[rank]
    grade[e.age < 2.0] = 2.0  # M: too new to be graded
    unpaid = rng.exponential(1, n)
    social = _rare(expit(-2.4 + 0.9 * strain), np.ceil(3 * unpaid), rng)
    scale = e.factors["scale"]
    return {
        "tax_grade": grade,
        "tax_arrears_days": _rare(
            expit(-2.5 + 0.9 * strain), rng.lognormal(3.3, 0.9, n).round(), rng
        ),
        "social_security_gap": social,
        "housing_fund_gap": (social * rng.random(n)).round()
        + _rare(expit(-2.6 + 0.7 * strain), np.ceil(2 * rng.exponential(1, n)), rng),
        "dpd_max_24m": _rare(
            expit(-1.9 + 1.1 * strain), rng.lognormal(2.1 + 0.4 * strain, 1.0, n).round(), rng
        ),
        "utilisation": 1.05
        * expit(0.3 - 0.6 * liquidity + 0.2 * e.hidden + 0.7 * rng.normal(size=n)),
        "new_lenders_3m": _count(np.exp(-1.3 - 0.35 * liquidity + 0.15 * scale), rng, 2.0),
        "nonbank_debt_share": _rare(
            expit(-0.9 - 0.6 * scale + 0.3 * strain), rng.beta(1.2, 2.5, n), rng
        ),
        "lawsuits_24m": _count(np.exp(-1.2 + 0.35 * scale + 0.6 * strain), rng, 0.6),
        "enforcement_records": _count(np.exp(-3.2 + 0.15 * scale + 0.9 * strain), rng, 0.5),
        "penalties_24m": _count(np.exp(-2.3 + 0.25 * scale - 0.5 * governance), rng),
    }


def _innovation(e: Economy, rng: np.random.Generator) -> dict[str, Array]:
    n, inn, scale = len(e), e.factors["innovation"], e.factors["scale"]
    rank = 0.8 * inn + 0.4 * scale + 0.2 * e.factors["governance"] + 0.5 * rng.standard_normal(n)
    checks = 1 + rng.poisson(2.0 + 4.0 * INSPECTED[e.sector])
    passed = rng.binomial(checks, expit(2.3 + 0.8 * e.factors["governance"]))
    return {
        "rd_intensity": _rare(
            expit(0.2 + 1.2 * inn + 8 * RND[e.sector]),
            RND[e.sector] * np.exp(0.6 * inn + 0.4 * rng.standard_normal(n)),
            rng,
        ),
        "effective_patents": _count(
            np.exp(-1.3 + 0.9 * inn + 0.6 * scale + 10 * RND[e.sector]), rng, 0.8
        ),
        "policy_status": np.digitize(rank, [1.1, 1.8, 2.6]).astype(np.float64),
        "quality_certificates": _count(
            np.exp(-0.9 + 0.4 * scale + 0.25 * e.factors["governance"]), rng, 2.0
        ),
        "env_compliance": passed / checks,
        "energy_intensity": np.exp(-0.12 * inn + 0.35 * rng.standard_normal(n)),
        "order_continuity": expit(
            0.9 + 0.45 * e.factors["growth"] + 0.3 * scale + 0.8 * rng.standard_normal(n)
        ),
        "export_share": _rare(EXPORTER[e.sector], rng.beta(1.2, 1.8, n), rng),
    }


def clean_values(
    e: Economy,
    catalogue: FeatureCatalogue,
    networks: dict[str, Array],
    rng: np.random.Generator,
) -> Floats:
    """Fill one row per firm, in catalogue order, without gaps.

    Parameters
    ----------
    networks : dict of str to ndarray
        The features that come from the networks: ``guarantee_ratio``, ``buyer_hhi``,
        ``receivable_days``.
    """
    columns: dict[str, Array] = {
        "sector": e.sector.astype(np.float64),
        "district": e.district.astype(np.float64),
        "ownership": e.ownership.astype(np.float64),
        "size_class": np.minimum(
            np.digitize(e.staff, [20, 300]), np.digitize(e.sales, [3e6, 2e7])
        ).astype(np.float64),
        "age_years": e.age,
        "insured_staff": e.staff,
        **networks,
        **_statements(e, rng),
        **_conduct(e, rng),
        **_innovation(e, rng),
    }
    values = np.empty((len(e), len(catalogue.features)), dtype=np.float32)
    for j, feature in enumerate(catalogue.features):
        column = columns[feature.name]
        if feature.range is not None:
            column = np.clip(column, *feature.range).round(4)
        values[:, j] = column
    return values
