"""Compiled loops of the loss distribution: single precision, one core, without the GIL.

Every loop gives each number by the same operations in the same order, however the work is
divided: draws come in tiles of `TILE`, and sums run over enterprises or nodes in their order.
What uses `_phi` stands in this file: a compiled loop in the cache is renewed when its file changes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Singles = NDArray[np.float32]

TILE = 128
"""Draws that are worked on together."""
FLUSH = 256
"""Nodes summed in single precision before they are added up in double precision."""
ODDS_END, ODDS_STEPS = 28, 128
"""Range and steps per unit of the table of normal quantiles over log-odds."""


def compiled(function: Function) -> Function:
    """Compile a loop for this machine; results differ from IEEE's by fused multiply-adds.

    The code is kept beside the source or in the user's cache; where neither can be written, it is
    compiled anew in each process.
    """
    plain: Any = numba.njit(nogil=True, error_model="numpy", fastmath=_FAST)
    kept: Any = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath=_FAST)
    try:
        result: Function = kept(function)
    except RuntimeError:
        result = plain(function)
    return result


_FAST = {"contract", "nsz", "arcp"}
_f = np.float32
# Minimax fit (relative) of Phi(-t) exp(t^2/2) in u = 1 / (1 + 0.29 t) on 0 <= t <= 12, and of 2^r
# on |r| <= 1/2.
_M = [_f(c) for c in (
    3.18897739e-05, 0.1150089411, 0.1220262756, 0.0728620853, 0.1937317079, -0.1613403149,
    0.313898426, -0.1961511011, 0.03993207405,
)]  # fmt: skip
_E = [_f(c) for c in (
    1.000000071656271, 0.6931469670606629, 0.2402211971593764, 0.055507132763714315,
    0.009675541763789097, 0.0013276472273268392,
)]  # fmt: skip
_M0, _M1, _M2, _M3, _M4, _M5, _M6, _M7, _M8 = _M
_E0, _E1, _E2, _E3, _E4, _E5 = _E
_LIMIT, _SLOPE, _HALF, _ONE = _f(12.9), _f(0.29), _f(0.5), _f(1.0)
_SCALE = _f(-0.5 / np.log(2.0))
_BIAS, _MANTISSA = np.int32(127), np.int32(23)

OPERATIONS = 27
"""Multiplications and additions, fused or not, that `tile_losses` spends on an enterprise, quarter
and draw: 21 in `_phi`, besides its division, and 6 around it."""


@compiled
def _phi(x: Any) -> Any:  # pragma: no cover
    """Return the normal distribution function, relative error 2e-6 down to -6, no branch."""
    t = min(abs(x), _LIMIT)
    u = _ONE / (_ONE + _SLOPE * t)
    p = _M8
    p = p * u + _M7
    p = p * u + _M6
    p = p * u + _M5
    p = p * u + _M4
    p = p * u + _M3
    p = p * u + _M2
    p = p * u + _M1
    p = p * u + _M0
    z = t * t * _SCALE
    n = np.float32(np.int32(z - _HALF))
    r = z - n
    e = _E5
    e = e * r + _E4
    e = e * r + _E3
    e = e * r + _E2
    e = e * r + _E1
    e = e * r + _E0
    power = np.int32((np.int32(n) + _BIAS) << _MANTISSA).view(np.float32)
    q = p * e * power
    return q if x < 0 else _ONE - q


@compiled
def normal_cdf(x: Singles, out: Singles) -> None:  # pragma: no cover
    """Fill ``out`` with the normal distribution function of ``x``, shape (n,)."""
    for i in range(x.size):
        out[i] = _phi(x[i])


@compiled
def tile_losses(
    alpha: Singles,
    beta: Singles,
    gamma: Singles,
    sector: NDArray[np.int32],
    first: NDArray[np.int64],
    institution: NDArray[np.int32],
    amount: Singles,
    square: Singles,
    profile: Singles,
    mass: Singles,
    factor: Singles,
    loss: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> None:  # pragma: no cover
    """Add a tile's conditional expected losses and variances.

    Parameters
    ----------
    alpha, beta : ndarray, shape (nodes, quarters)
        The conditional hazard is Phi(alpha - beta Y).
    gamma : ndarray, shape (nodes, quarters) or (0, 0)
        If given, losses take Phi(gamma - beta Y) instead of the hazard (Frye-Jacobs).
    sector : ndarray, shape (nodes,)
        Whose Y a node follows.
    first : ndarray, shape (nodes + 1,)
        Entries ``first[i]`` to ``first[i + 1]`` belong to node i.
    institution, amount, square, profile, mass : ndarray
        Of entries: whose loss it is; loss on default by quarter and sum of squared losses, shape
        (entries, quarters); how losses go by quarter, and what to multiply its square with.
    factor : ndarray, shape (sectors, quarters, TILE)
        Y.
    loss, variance : ndarray, shapes (institutions, quarters, TILE), (institutions, TILE)
        Added to.

    Notes
    -----
    Who defaults with probability p_t in quarter t and then loses l_t has the variance
    sum p_t l_t^2 - (sum p_t l_t)^2, with l_t^2 = mass profile_t^2 in the second term.
    """
    nodes, quarters = alpha.shape
    banks = loss.shape[0]
    with_lgd = gamma.shape[0] > 0
    alive = np.empty(TILE, np.float32)
    gone = np.empty((quarters, TILE), np.float32)
    severe = np.empty((quarters if with_lgd else 0, TILE), np.float32)
    part = np.zeros((banks, quarters, TILE), np.float32)
    spread = np.zeros((banks, TILE), np.float32)
    whole = np.empty(TILE, np.float32)
    for i in range(nodes):
        y = factor[sector[i]]
        alive[:] = _ONE
        for t in range(quarters):
            a, b, yt, p = alpha[i, t], beta[i, t], y[t], gone[t]
            if with_lgd:
                c, h = gamma[i, t], severe[t]
                for j in range(TILE):
                    h[j] = alive[j] * _phi(c - b * yt[j])
            for j in range(TILE):
                s = alive[j]
                q = s * _phi(a - b * yt[j])
                p[j] = q
                alive[j] = s - q
        for k in range(first[i], first[i + 1]):
            bank = institution[k]
            v = spread[bank]
            whole[:] = _f(0.0)
            for t in range(quarters):
                w, w2, out = amount[k, t], square[k, t], part[bank, t]
                root, p = profile[k, t], gone[t]
                if with_lgd:
                    h = severe[t]
                    for j in range(TILE):
                        out[j] += w * h[j]
                        whole[j] += root * h[j]
                        v[j] += w2 * (h[j] * h[j] / max(p[j], _f(1e-30)))
                else:
                    for j in range(TILE):
                        out[j] += w * p[j]
                        whole[j] += root * p[j]
                        v[j] += w2 * p[j]
            w = mass[k]
            for j in range(TILE):
                v[j] -= w * (whole[j] * whole[j])
        if (i + 1) % FLUSH == 0 or i + 1 == nodes:
            for bank in range(banks):
                for t in range(quarters):
                    for j in range(TILE):
                        loss[bank, t, j] += part[bank, t, j]
                for j in range(TILE):
                    variance[bank, j] += spread[bank, j]
            part[:] = _f(0.0)
            spread[:] = _f(0.0)


@compiled
def default_quarters(
    alpha: Singles,
    beta: Singles,
    sector: NDArray[np.int32],
    factor: Singles,
    uniform: NDArray[np.float64],
    out: NDArray[np.int8],
) -> None:  # pragma: no cover
    """Write the quarter in which each enterprise defaults, 0 for none.

    ``factor`` has shape (sectors, quarters). Given the factors, quarters are independent, so one
    uniform number against the survival curve has the same law as one normal number a quarter.
    """
    n, quarters = alpha.shape
    for i in range(n):
        alive = 1.0
        out[i] = 0
        for t in range(quarters):
            alive *= 1.0 - _phi(alpha[i, t] - beta[i, t] * factor[sector[i], t])
            if uniform[i] >= alive:
                out[i] = t + 1
                break


@compiled
def loan_amounts(
    log_odds: Any,
    gap: Any,
    index: Any,
    columns: Any,
    sector: Any,
    shift: Any,
    by_quarter: Any,
    floor: Any,
    quantile: Any,
    limit: Any,
    loss: Any,
    square: Any,
    lgd_out: Any,
) -> None:  # pragma: no cover
    """Fill in what loans lose on default; see `haihe_fl.stress.exposures.amounts`.

    ``quantile`` is the normal quantile of expit(x) for x from -ODDS_END to ODDS_END in steps of
    1 / ODDS_STEPS, and ``limit`` where log-odds end; rows of ``by_quarter`` are add-on, share
    drawn, change of property prices, share of impairment. A negative ``floor`` is no collateral.
    """
    quarters = shift.shape[1]
    for i in range(log_odds.size):
        ead, undrawn, weight = columns[i, 0], columns[i, 1], columns[i, 2]
        own, pledged, secured = columns[i, 3], columns[i, 4], columns[i, 5]
        for t in range(quarters):
            x = log_odds[i] + shift[sector[i], t] + gap[i] * by_quarter[3, t]
            x = min(max(x, -limit), limit)
            pd = 1.0 / (1.0 + np.exp(-x))
            place = (x + ODDS_END) * ODDS_STEPS
            k = int(place)
            share = place - k
            g = quantile[k] * (1.0 - share) + quantile[k + 1] * share
            lgd = max(_phi(np.float32(g - index[i])) / pd, own)
            if floor >= 0.0:
                fallen = min(max(1.0 - pledged * (1.0 + by_quarter[2, t]), floor), 1.0)
                lgd = max(lgd, own + fallen - secured)
            lgd = min(lgd + by_quarter[0, t], 1.0)
            amount = (ead + undrawn * by_quarter[1, t]) * lgd
            lgd_out[i, t] = lgd
            loss[i, t] = weight * amount
            square[i, t] = weight * amount * amount
