"""Firms before they are observed: sector, district, latent factors, size and balance sheet."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.synth.config import categories

Array = NDArray[np.float64]
Codes = NDArray[np.int8]

FACTORS = ("liquidity", "growth", "governance", "scale", "innovation")
CORRELATION = np.array(
    [
        [1.00, 0.35, 0.30, 0.15, 0.05],
        [0.35, 1.00, 0.15, 0.10, 0.20],
        [0.30, 0.15, 1.00, 0.20, 0.10],
        [0.15, 0.10, 0.20, 1.00, 0.25],
        [0.05, 0.20, 0.10, 0.25, 1.00],
    ]
)

# One column per sector, in the order of the catalogue: auto parts, biomedicine, equipment,
# petrochemicals, electronics, aerospace, new energy, port logistics, cross-border trade,
# farming and food, construction materials, services and retail. Expert values.
SECTOR_SHARE = np.array([8, 5, 12, 4, 8, 2, 5, 11, 9, 8, 8, 20]) / 100
MARGIN = np.array([0.18, 0.42, 0.25, 0.14, 0.24, 0.28, 0.22, 0.15, 0.12, 0.18, 0.17, 0.28])
RND = np.array([0.03, 0.09, 0.045, 0.02, 0.08, 0.10, 0.06, 0.008, 0.005, 0.01, 0.015, 0.01])
EXPORTER = np.array([0.30, 0.18, 0.30, 0.15, 0.40, 0.25, 0.35, 0.10, 0.85, 0.15, 0.10, 0.04])
RECEIVABLE = np.array([95, 110, 120, 60, 100, 130, 125, 55, 50, 45, 110, 30.0])
INSPECTED = np.array([0.7, 0.8, 0.6, 0.95, 0.5, 0.5, 0.6, 0.3, 0.08, 0.6, 0.85, 0.12])
LOG_SALES = np.array([0.3, 0.1, 0.2, 0.8, 0.2, 0.5, 0.3, 0.0, 0.3, -0.2, 0.1, -0.4])

# Heping ... Jizhou; Binhai holds most firms.
DISTRICT_SHARE = np.array([5, 4, 5, 6, 4, 2, 6, 8, 7, 7, 8, 5, 20, 3, 6, 4]) / 100
RURAL = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1], dtype=bool)


@dataclass(frozen=True, eq=False)
class Economy:
    """The firms of the city, one row each.

    Attributes
    ----------
    sector, district, ownership : ndarray of int8
        Positions in the categories of the catalogue.
    factors : dict of str to ndarray
        The five correlated latent factors, standard normal.
    hidden : ndarray
        Part of the credit risk that no feature shows, standard normal.
    age : ndarray
        Years since registration.
    staff : ndarray
        Insured staff.
    sales, net_worth, cash : ndarray
        Yearly sales, net worth and liquid assets, CNY.
    debt_ratio : ndarray
        Debt to assets.
    """

    sector: Codes
    district: Codes
    ownership: Codes
    factors: dict[str, Array]
    hidden: Array
    age: Array
    staff: Array
    sales: Array
    debt_ratio: Array
    net_worth: Array
    cash: Array

    def __len__(self) -> int:
        return len(self.sector)


def expit(x: Array) -> Array:
    """Logistic function."""
    return 1.0 / (1.0 + np.exp(-x))


def found(n: int, rng: np.random.Generator) -> Economy:
    """Draw ``n`` firms."""
    district = rng.choice(len(DISTRICT_SHARE), n, p=DISTRICT_SHARE).astype(np.int8)
    sector = rng.choice(len(SECTOR_SHARE), n, p=SECTOR_SHARE).astype(np.int8)
    agri = categories("sector").index("agri_food")
    moved = RURAL[district] & (rng.random(n) < 0.15)  # farming is where the fields are
    sector[moved] = agri
    draws = rng.standard_normal((n, len(FACTORS))) @ np.linalg.cholesky(CORRELATION).T
    f = dict(zip(FACTORS, np.ascontiguousarray(draws.T), strict=True))
    ownership = rng.choice(5, n, p=[0.80, 0.05, 0.07, 0.04, 0.04]).astype(np.int8)

    age = np.exp(1.9 + 0.2 * f["scale"] + 0.15 * f["governance"] + 0.6 * rng.standard_normal(n))
    staff = np.exp(2.3 + 1.15 * f["scale"] + 0.3 * rng.standard_normal(n))
    log_sales = 15.0 + LOG_SALES[sector] + 1.3 * f["scale"] + 0.15 * f["growth"]
    sales = np.exp(log_sales + 0.45 * rng.standard_normal(n)).clip(1e4, 2e9)
    debt_ratio = 1.15 * expit(
        0.2 - 0.45 * f["liquidity"] + 0.15 * f["growth"] + 0.55 * rng.standard_normal(n)
    )
    assets = sales * np.exp(-0.1 + 0.35 * rng.standard_normal(n))
    return Economy(
        sector=sector,
        district=district,
        ownership=ownership,
        factors=f,
        hidden=rng.standard_normal(n),
        age=age.clip(0.5, 60).round(1),
        staff=staff.round().clip(0, 5000),
        sales=sales,
        debt_ratio=debt_ratio,
        net_worth=assets * np.maximum(1 - debt_ratio, 0.05),
        cash=assets * 0.12 * np.exp(0.5 * f["liquidity"] + 0.4 * rng.standard_normal(n)),
    )
