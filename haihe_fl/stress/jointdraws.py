"""Losses of one institution in the draws of factors that all institutions share."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri  # type: ignore[import-untyped]

from haihe_fl.stress.kernel import PD_RANGE, Shock
from haihe_fl.stress.losses import irb_correlation
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]
_BLOCK = 512


def common_factor(draws: int, seed: int) -> Floats:
    """Return the factor draws F_j, the same at every institution; draw j whatever ``draws`` is.

    Examples
    --------
    >>> bool((common_factor(5, 3) == common_factor(9, 3)[:5]).all())
    True
    """
    return np.random.Generator(np.random.Philox(seed)).standard_normal(draws)


def joint_losses(
    portfolio: Portfolio, shock: Shock, settings: StressSettings, draws: int, seed: int
) -> Floats:
    """Return the one-year loss given each common draw, shape (draws,), in CNY.

    Given F_j the loss is its conditional expectation, EAD x LGD x
    Phi((G(PD) - sqrt(R) F_j) / sqrt(1 - R)), at the quarter with the largest mean shift of the
    log-odds: a quarter that the scenario decides and no institution's rows. Conditional losses
    add up, so the network's loss in draw j is the sum over institutions, without any row.
    """
    factor = common_factor(draws, seed)
    quarter = int(shock.shift.mean(axis=0).argmax())
    losses = np.zeros(draws)
    for first in range(0, len(portfolio), _BLOCK):
        rows = slice(first, first + _BLOCK)
        shift = shock.shift[portfolio.sector[rows], quarter]
        pd = np.clip(expit(logit(portfolio.pd[rows]) + shift), *PD_RANGE)
        rho = irb_correlation(pd, portfolio.turnover[rows])
        if settings.residual:
            rho = rho * (1.0 - settings.r2_macro)
        lgd = np.minimum(portfolio.lgd[rows] + shock.lgd_addon[quarter], 1.0)
        owed = portfolio.ead[rows] * portfolio.weight[rows] * lgd
        given = ndtr(
            (ndtri(pd)[:, None] - np.sqrt(rho)[:, None] * factor) / np.sqrt(1.0 - rho)[:, None]
        )
        losses += owed @ given
    return losses
