"""Who lends to whom, how much, and what each lender knows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.data.cohort import Floats
from haihe_fl.data.synth.config import Institution, categories
from haihe_fl.data.synth.economy import INSPECTED, Array, Economy, expit

MOST_LENDERS = 6
_STATEMENTS = [
    *("cash_flow_cover", "quick_ratio", "interest_cover"),
    *("gross_margin", "debt_ratio", "property_cover"),
]
# Cells missing of itself, by feature, at an institution with ``missing: 1``; the rest has _FEW.
_FEW = 0.01
_MISSING = {
    **dict.fromkeys(_STATEMENTS, 0.06),
    "sales_growth_3y": 0.05,
    "receivable_days": 0.08,
    "buyer_hhi": 0.10,
    "order_continuity": 0.12,
    "energy_intensity": 0.15,
    "nonbank_debt_share": 0.05,
    "subsidy_ratio": 0.05,
    "sector": 0.0,
    "district": 0.0,
}


@dataclass(frozen=True, eq=False)
class Loans:
    """One row per enterprise and lender, sorted by lender, then by enterprise.

    Attributes
    ----------
    enterprise, lender : ndarray of int, shape (m,)
        Positions in the enterprises and in the institutions.
    ead : ndarray of float32, shape (m,)
        Exposure at default, CNY.
    lgd : ndarray of float32, shape (m,)
        Loss given default, 0..1.
    """

    enterprise: NDArray[np.int64]
    lender: NDArray[np.int64]
    ead: Floats
    lgd: Floats


def lend(
    economy: Economy,
    logit: Array,
    property_cover: Array,
    institutions: tuple[Institution, ...],
    rng: np.random.Generator,
) -> Loans:
    """Give every enterprise one to six lenders.

    Lenders are drawn without replacement (Gumbel maxima) with log-weights that depend on the
    lender's size and its tilts to scale, risk and sector, so customers are skewed, and an
    enterprise's true probability of default does not depend on who lends to it.
    """
    n = len(economy)
    scale = economy.factors["scale"]
    risk = ((logit - logit.mean()) / logit.std()).clip(-3, 3)
    sectors = categories("sector")
    tilt = np.array([[i.sector_tilt.get(s, 0.0) for s in sectors] for i in institutions])
    keys = np.empty((n, len(institutions)), dtype=np.float32)
    for j, institution in enumerate(institutions):
        keys[:, j] = (
            np.log(institution.size)
            + institution.scale_tilt * scale.clip(-3, 3)
            + institution.risk_tilt * risk
            + tilt[j][economy.sector]
            + rng.gumbel(size=n)
        )
    most = min(MOST_LENDERS, len(institutions))
    best = np.argsort(-keys, axis=1, kind="stable")[:, :most]
    count = 1 + np.minimum(rng.poisson(0.42 * np.exp(0.35 * scale.clip(-3, 3))), most - 1)
    held = np.arange(most) < count[:, None]
    enterprise, lender = np.nonzero(held)[0], best[held]
    order = np.lexsort((enterprise, lender))
    enterprise, lender = enterprise[order], lender[order]

    m = len(enterprise)
    size = np.array([i.ead for i in institutions])[lender]
    log_ead = 12.7 + 0.75 * scale[enterprise] + np.log(size) + 0.7 * rng.standard_normal(m)
    mean = np.array([i.lgd for i in institutions])[lender]
    mean = (mean - 0.08 * np.minimum(property_cover[enterprise], 1.5)).clip(0.05, 0.9)
    return Loans(
        enterprise=enterprise,
        lender=lender,
        ead=np.exp(log_ead).clip(5e3, 3e8).round(-1).astype(np.float32),
        lgd=rng.beta(8 * mean, 8 * (1 - mean)).round(4).astype(np.float32),
    )


def observe(
    catalogue: FeatureCatalogue,
    values: Floats,
    economy: Economy,
    loans: Loans,
    institutions: tuple[Institution, ...],
    rng: np.random.Generator,
) -> Floats:
    """Return each lender's view of its enterprises: noise in the statements, and gaps.

    Gaps tell something: badly governed and strained firms leave more cells of their statements
    open, young firms have no credit history, firms that are never inspected have no
    environmental record, and only firms that do research report it.
    """
    view = values[loans.enterprise]
    f = {name: factor[loans.enterprise] for name, factor in economy.factors.items()}
    sector, age = economy.sector[loans.enterprise], economy.age[loans.enterprise]
    hidden = economy.hidden[loans.enterprise]
    m = len(view)
    rate = np.array([i.missing for i in institutions])[loans.lender]
    strain = np.exp(-0.5 * f["governance"] - 0.3 * f["liquidity"] + 0.25 * hidden)
    scale = np.exp(-0.3 * f["scale"])
    unknown = {
        "env_compliance": 1 - INSPECTED[sector],
        "dpd_max_24m": expit(1.0 - age),
        "utilisation": expit(1.0 - age),
        "rd_intensity": expit(-0.6 - f["innovation"] - 0.5 * f["scale"]),
        "sales_growth_3y": (age < 3).astype(np.float64),
    }
    for j, feature in enumerate(catalogue.features):
        chance = _MISSING.get(feature.name, _FEW) * rate
        if feature.name in _STATEMENTS:
            noise = 1 + 0.03 * rng.standard_normal(m)
            low, high = feature.range or (-np.inf, np.inf)
            view[:, j] = (view[:, j] * noise).clip(low, high).round(4)
            chance = chance * strain * scale
        never = unknown.get(feature.name)
        chance = np.minimum(chance, 0.9)
        if never is not None:
            # The same gap at every lender: it lies with the firm, not with the reader.
            firm = rng.random(len(economy))[loans.enterprise]
            chance = np.where(firm < never, 1.0, chance)
        view[rng.random(m) < chance, j] = np.nan
    return view
