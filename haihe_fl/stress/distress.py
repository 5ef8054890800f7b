"""Distress along the supply chain: linear DebtRank, and what it does to a PD.

References
----------
M. Bardoscia, S. Battiston, F. Caccioli and G. Caldarelli, "DebtRank: a microscopic foundation for
shock propagation", PLoS ONE 10(6), 2015.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped]

from haihe_fl.stress.satellite import stressed_pd

Floats = NDArray[np.float64]

#: Log-odds of default per unit of distress; an expert prior, estimated from nothing.
GAMMA = 1.5
_CROWD = 0.08  # above this share of the nodes, cutting out rows costs more than it saves


@dataclass(frozen=True, eq=False)
class Distress:
    """Share of its equity that each node has lost, and how it came to it.

    Attributes
    ----------
    h : ndarray, shape (n,)
        0 is untouched, 1 is no equity left.
    rounds : int
        Steps until nothing above the tolerance was passed on.
    """

    h: Floats
    rounds: int


def debtrank(
    receivables: Any,
    equity: ArrayLike,
    initial: ArrayLike,
    lambda_: float = 1.0,
    *,
    tolerance: float = 1e-6,
    most_rounds: int = 1000,
) -> Distress:
    r"""Return distress after h(t+1) = min{1, h(t) + λ Λ (h(t) − h(t−1))}, Λ = A_ij / E_i.

    Parameters
    ----------
    receivables : sparse array or array_like, shape (n, n)
        A: what the node of the row is owed by that of the column.
    equity : array_like, shape (n,)
        E, positive.
    initial : array_like, shape (n,)
        h at the outset, in [0, 1]: 1 for a node that has failed.
    lambda_ : float
        Loss per unit of the debtor's distress; 0 passes nothing on.
    tolerance : float
        A rise of less is not passed on.

    Raises
    ------
    ValueError
        If equity is not positive, or distress outside [0, 1].

    Examples
    --------
    Vector T10: a chain in which node 2 fails.

    >>> a = np.array([[0.0, 2, 0], [0, 0, 2], [0, 0, 0]])
    >>> debtrank(a, [5.0, 4, 1], [0, 0, 1]).h.tolist()
    [0.2, 0.5, 1.0]
    """
    e, h = np.asarray(equity, dtype=np.float64), np.array(initial, dtype=np.float64)
    if not (e > 0).all():
        raise ValueError("equity must be positive")
    if not ((h >= 0) & (h <= 1)).all() or lambda_ < 0:
        raise ValueError("distress must be within [0, 1] and lambda at least 0")
    moved = np.flatnonzero(h)
    table = by_debtor(receivables, e)
    rounds = pass_on(table, h, moved, h[moved], lambda_, tolerance, most_rounds)
    return Distress(h, rounds)


def by_debtor(receivables: Any, equity: Floats) -> csr_array:
    """Return Λ transposed: row j holds the share of equity each creditor of j loses with j."""
    leverage = csr_array(receivables, dtype=np.float64)
    leverage = csr_array(
        (
            leverage.data / np.repeat(equity, np.diff(leverage.indptr)),
            leverage.indices,
            leverage.indptr,
        ),
        shape=leverage.shape,
    )
    return csr_array(leverage.T)


def pass_on(
    leverage: csr_array,
    h: Floats,
    moved: NDArray[np.intp],
    step: Floats,
    lambda_: float,
    tolerance: float = 1e-6,
    most_rounds: int = 1000,
) -> int:
    """Pass on the last rises, ``step`` at the nodes ``moved``; raise ``h`` and count rounds.

    As long as a node is short of 1, its h is what it had at the outset plus λ Λ h. So the end is
    the least such h, and one may go on where an earlier call ended, with the rises since.
    """
    rounds = 0
    loud = step > tolerance
    moved, step = moved[loud], step[loud]
    while len(moved) and lambda_ > 0 and rounds < most_rounds:
        rounds += 1
        if len(moved) > _CROWD * len(h):
            whole = np.zeros(len(h))
            whole[moved] = step
            got = np.asarray(whole @ leverage)
        else:  # only the rows of those that moved: mostly far fewer than all
            got = np.asarray(step @ leverage[moved])
        reached = np.flatnonzero(got)
        step = np.minimum(lambda_ * got[reached], 1.0 - h[reached])
        h[reached] = np.minimum(h[reached] + step, 1.0)
        loud = step > tolerance
        moved, step = reached[loud], step[loud]
    return rounds


def distressed_pd(pd: ArrayLike, h: ArrayLike, gamma: float = GAMMA) -> Floats:
    """Return the PD after logit PD += γ h.

    Examples
    --------
    >>> distressed_pd([0.03, 0.03], [0.0, 0.5]).round(5).tolist()
    [0.03, 0.06145]
    """
    return stressed_pd(np.asarray(pd, dtype=np.float64), gamma * np.asarray(h, dtype=np.float64))
