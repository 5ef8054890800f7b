"""Loss given default in a downturn."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

Floats = NDArray[np.float64]


def frye_jacobs_index(pd: ArrayLike, lgd: ArrayLike, rho: ArrayLike) -> Floats:
    """Return k = (G(PD) - G(PD LGD)) / sqrt(1 - rho), fixed for each loan."""
    p = np.asarray(pd, dtype=np.float64)
    spread = ndtri(p) - ndtri(p * np.asarray(lgd, dtype=np.float64))
    return np.asarray(spread / np.sqrt(1.0 - np.asarray(rho, dtype=np.float64)))


def frye_jacobs(conditional_pd: ArrayLike, pd: ArrayLike, lgd: ArrayLike, rho: ArrayLike) -> Floats:
    """Return the LGD that goes with a conditional default rate.

    The conditional loss rate and the conditional default rate follow Vasicek distributions
    with the same correlation, so one function of the default rate gives the LGD.

    References
    ----------
    J. Frye and M. Jacobs Jr., "Credit loss and systematic loss given default", Journal of
    Credit Risk 8(1), 2012.

    Examples
    --------
    >>> float(frye_jacobs(0.10, 0.09, 0.45, 0.2).round(4))
    0.4151
    >>> float(frye_jacobs(0.10, 0.03, 0.45, 0.12).round(6))
    0.511184
    """
    c = np.asarray(conditional_pd, dtype=np.float64)
    return np.asarray(ndtr(ndtri(c) - frye_jacobs_index(pd, lgd, rho)) / c)


def collateral_lgd(
    collateral: ArrayLike,
    exposure: ArrayLike,
    price_change: ArrayLike = 0.0,
    *,
    haircut: float = 0.3,
    floor: float = 0.1,
) -> Floats:
    """Return the LGD of a secured loan, max(floor, 1 - C (1 + x)(1 - haircut) / EAD).

    Parameters
    ----------
    collateral, exposure : array_like
        Value of the collateral at the outset and exposure at default, in the same currency.
    price_change : array_like
        Change x of the property price, as a fraction.

    Examples
    --------
    >>> collateral_lgd(80.0, 100.0, [0.0, -0.25]).round(3).tolist()
    [0.44, 0.58]
    """
    value = np.asarray(collateral, dtype=np.float64) * (1.0 + np.asarray(price_change))
    ratio = value * (1.0 - haircut) / np.asarray(exposure, dtype=np.float64)
    return np.asarray(np.clip(1.0 - ratio, floor, 1.0))
