"""Credit losses of one systematic factor: the Basel IRB formula and Vasicek's distribution."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, owens_t  # type: ignore[import-untyped]

Floats = NDArray[np.float64]


def irb_correlation(
    pd: ArrayLike,
    sales: ArrayLike | None = None,
    *,
    sales_range: tuple[float, float] = (5.0, 50.0),
    retail: bool = False,
) -> Floats:
    """Return the asset correlation R of the Basel framework.

    Parameters
    ----------
    pd : array_like
        Annual probability of default.
    sales : array_like, optional
        Annual sales in EUR million, for the SME adjustment; None for a large corporate.
    sales_range : tuple of float
        Sales between which the adjustment falls from 0.04 to 0. A supervisor with a local
        threshold in its own currency is served by another range and sales in that unit.
    retail : bool
        "Other retail" instead of corporate; ``sales`` is then not used.

    References
    ----------
    Basel Committee, CRE31.5, CRE31.8 (SME adjustment), CRE31.15 (other retail).

    Examples
    --------
    >>> float(irb_correlation(0.01, 5.0).round(6)), float(irb_correlation(0.03, 5.0).round(6))
    (0.152784, 0.106776)
    """
    p = np.asarray(pd, dtype=np.float64)
    if retail:
        w = np.expm1(-35.0 * p) / np.expm1(-35.0)
        return np.asarray(0.03 * w + 0.16 * (1.0 - w))
    w = np.expm1(-50.0 * p) / np.expm1(-50.0)
    r = 0.12 * w + 0.24 * (1.0 - w)
    if sales is None:
        return np.asarray(r)
    return np.asarray(r - size_adjustment(sales, sales_range))


def size_adjustment(sales: ArrayLike, sales_range: tuple[float, float] = (5.0, 50.0)) -> Floats:
    """Return what CRE31.8 takes off the correlation of an SME with these sales."""
    low, high = sales_range
    s = np.clip(np.asarray(sales, dtype=np.float64), low, high)
    return np.asarray(0.04 * (1.0 - (s - low) / (high - low)))


def vasicek_quantile(pd: ArrayLike, rho: ArrayLike, confidence: float = 0.999) -> Floats:
    """Return the quantile of the default rate of a large homogeneous portfolio.

    References
    ----------
    O. Vasicek, "Loan portfolio value", Risk, December 2002.

    Examples
    --------
    >>> float(vasicek_quantile(0.02, 0.2).round(6)), float(vasicek_quantile(0.02, 0.12).round(6))
    (0.226313, 0.147282)
    """
    r = np.asarray(rho, dtype=np.float64)
    return np.asarray(ndtr((ndtri(pd) + np.sqrt(r) * ndtri(confidence)) / np.sqrt(1.0 - r)))


def vasicek_variance(pd: ArrayLike, rho: ArrayLike) -> Floats:
    """Return the variance of the default rate of a large homogeneous portfolio.

    Its mean is ``pd``; the second moment is the chance that two borrowers default together,
    Phi2(k, k; rho) = Phi(k) - 2 T(k, sqrt((1 - rho) / (1 + rho))) with Owen's T function.

    Examples
    --------
    >>> float(vasicek_variance(0.02, 0.12).round(8))
    0.00035964
    """
    p, r = np.asarray(pd, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    joint = p - 2.0 * owens_t(ndtri(p), np.sqrt((1.0 - r) / (1.0 + r)))
    return np.asarray(joint - p * p)


def residual_correlation(rho: ArrayLike, r2_macro: float) -> Floats:
    """Return the correlation left when PDs already follow the macro path.

    A path explains a share ``r2_macro`` of the systematic variance; to draw it again would
    count it twice.

    Examples
    --------
    >>> float(residual_correlation(0.12, 0.5))
    0.06
    """
    return np.asarray(np.asarray(rho, dtype=np.float64) * (1.0 - r2_macro))


def implied_factor(pd: ArrayLike, stressed: ArrayLike, rho: ArrayLike) -> Floats:
    """Return the systematic factor at which a conditional PD equals a stressed PD.

    Examples
    --------
    Vector T2: from 3 % to 10.899 % is a factor of -2.19.

    >>> float(implied_factor(0.03, 0.10899, 0.106776).round(4))
    -2.1927
    """
    r = np.asarray(rho, dtype=np.float64)
    return np.asarray((ndtri(pd) - np.sqrt(1.0 - r) * ndtri(stressed)) / np.sqrt(r))


def maturity_factor(pd: ArrayLike, maturity: float = 2.5) -> Floats:
    """Return the maturity adjustment of CRE31.6 for an effective maturity in years."""
    b = (0.11852 - 0.05478 * np.log(pd)) ** 2
    return np.asarray((1.0 + (maturity - 2.5) * b) / (1.0 - 1.5 * b))


def irb_capital(
    pd: ArrayLike,
    lgd: ArrayLike,
    sales: ArrayLike | None = None,
    *,
    maturity: float = 2.5,
    retail: bool = False,
) -> Floats:
    """Return the capital requirement K per unit of exposure, of CRE31.

    Retail exposures have no maturity adjustment.

    Examples
    --------
    >>> float(irb_capital(0.01, 0.45, 5.0).round(6))
    0.057916
    """
    p = np.asarray(pd, dtype=np.float64)
    r = irb_correlation(p, sales, retail=retail)
    k = np.asarray(lgd) * (vasicek_quantile(p, r) - p)
    return np.asarray(k if retail else k * maturity_factor(p, maturity))


def irb_risk_weight(
    pd: ArrayLike,
    lgd: ArrayLike,
    sales: ArrayLike | None = None,
    *,
    maturity: float = 2.5,
    retail: bool = False,
) -> Floats:
    """Return the risk weight 12.5 K; times exposure it gives risk-weighted assets.

    Examples
    --------
    >>> float((100 * irb_risk_weight(0.01, 0.45, 20.0)).round(2))
    78.9
    """
    return np.asarray(12.5 * irb_capital(pd, lgd, sales, maturity=maturity, retail=retail))
