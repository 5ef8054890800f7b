"""Who pays what when not everybody can: clearing of debts, and of guarantees that are called.

A clearing vector is a fixed point of payments. Where there are several, the greatest is the
answer, as nobody fails in it who need not; it is reached from payment in full.

References
----------
L. Eisenberg and T. H. Noe, "Systemic risk in financial systems", Management Science 47(2), 2001:
clearing vector, fictitious default algorithm. L. C. G. Rogers and L. A. M. Veraart, "Failure and
rescue in an interbank network", Management Science 59(4), 2013: default costs.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, eye_array  # type: ignore[import-untyped]
from scipy.sparse.linalg import spsolve  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Whoever lacks less than this share of its debts pays in full: sums of floats are not exact.
SLACK = 1e-9
_SETTLED, _MOST_STEPS = 1e-13, 200


@dataclass(frozen=True, eq=False)
class Clearing:
    """The greatest clearing vector.

    Attributes
    ----------
    payments, owed, inflow : ndarray, shape (n,)
        What each node pays, owes and receives from the others.
    cash : ndarray, shape (n,)
        What each had besides.
    defaults : ndarray of bool, shape (n,)
        Who cannot pay in full.
    rounds : int
        Steps taken: sets of defaults looked at, or repeated payments.
    """

    payments: Floats
    owed: Floats
    inflow: Floats
    cash: Floats
    defaults: Flags
    rounds: int

    @property
    def equity(self) -> Floats:
        """What is left to each after payment; costs of default are not taken off."""
        return self.cash + self.inflow - self.payments

    @property
    def shortfall(self) -> Floats:
        """What each leaves unpaid."""
        return self.owed - self.payments


def clear(
    cash: ArrayLike,
    liabilities: Any,
    external: ArrayLike = 0.0,
    *,
    alpha: ArrayLike = 1.0,
    beta: float = 1.0,
    method: Literal["picard", "fictitious"] = "picard",
) -> Clearing:
    r"""Return the greatest p with p = p̄ where e + Πᵀp ≥ p̄, else p = α e + β Πᵀp.

    Parameters
    ----------
    cash : array_like, shape (n,)
        e, at least 0.
    liabilities : sparse array or array_like, shape (n, n)
        What the node of the row owes that of the column, at least 0.
    external : array_like, shape (n,)
        What each owes to others than the nodes, in the same rank.
    alpha, beta : float
        What a defaulter's own cash and its claims are still worth, in [0, 1]; ``alpha`` may be
        one for each node. Both 1 is Eisenberg and Noe, less is Rogers and Veraart.
    method : {"picard", "fictitious"}
        Repeat payments from p̄ down (and solve, should they not settle), or solve for each
        set of defaults in turn, at most n.

    Raises
    ------
    ValueError
        If an amount is negative or not finite, a shape is wrong, or alpha or beta is
        outside [0, 1].

    Examples
    --------
    Vector T8, inputs of the documentation of the R package systemicrisk.

    >>> l = np.full((3, 3), 0.5) - 0.5 * np.eye(3)
    >>> c = clear([0.5, 0.625, 0.75], l, [1.5, 0.5, 0.5], method="fictitious")
    >>> c.payments.round(7).tolist(), c.defaults.tolist(), c.rounds
    ([1.4732143, 1.4196429, 1.5], [True, True, False], 3)
    """
    e = np.atleast_1d(np.asarray(cash, dtype=np.float64))
    debts = csr_array(liabilities, dtype=np.float64)
    outside = np.broadcast_to(np.asarray(external, dtype=np.float64), e.shape)
    costs = np.broadcast_to(np.asarray(alpha, dtype=np.float64), e.shape)
    if debts.shape != (len(e), len(e)):
        raise ValueError(f"liabilities have shape {debts.shape} for {len(e)} nodes")
    for name, given in (("cash", e), ("liabilities", debts.data), ("external", outside)):
        if not (np.isfinite(given) & (given >= 0)).all():
            raise ValueError(f"{name} must be finite and at least 0")
    if not (0 <= beta <= 1 and (costs >= 0).all() and (costs <= 1).all()):
        raise ValueError("alpha and beta must be within [0, 1]")
    owed = np.asarray(debts.sum(axis=1)).ravel() + outside
    return clear_claims(e, csr_array(debts.T), owed, costs, beta, method)


def clear_claims(
    e: Floats,
    claims: csr_array,
    owed: Floats,
    alpha: Floats,
    beta: float = 1.0,
    method: Literal["picard", "fictitious"] = "picard",
) -> Clearing:
    """Clear without checks; ``claims[i, j]`` is what j owes to i, the transpose of `clear`'s."""
    full = owed * (1.0 - SLACK)
    per_owed = np.divide(1.0, owed, out=np.zeros_like(owed), where=owed > 0)
    payments, defaults = owed.copy(), np.zeros(len(e), dtype=np.bool_)
    for rounds in range(1, (_MOST_STEPS if method == "picard" else len(e)) + 2):
        inflow = np.asarray(claims @ (payments * per_owed))
        found = e + inflow < full
        if method == "fictitious":
            found |= defaults  # rounding must not take anybody back: so it ends
            if np.array_equal(found, defaults):
                return Clearing(payments, owed, inflow, e, found, rounds)
            defaults = found
            payments = _pay(e, claims, owed, per_owed, alpha, beta, found)
            continue
        paid = np.where(found, alpha * e + beta * inflow, owed)
        settled = (np.abs(paid - payments) <= _SETTLED * owed).all()
        payments = paid
        if settled and np.array_equal(found, defaults):
            return Clearing(payments, owed, inflow, e, found, rounds)
        defaults = found
    return clear_claims(e, claims, owed, alpha, beta, "fictitious")


def _pay(
    e: Floats,
    claims: csr_array,
    owed: Floats,
    per_owed: Floats,
    alpha: Floats,
    beta: float,
    defaults: Flags,
) -> Floats:
    """Solve for the payments when just these fail.

    The matrix is regular: a closed group of defaulters would hold no cash and get nothing from
    outside, and its payments could then be scaled up, so it is in no greatest clearing vector.
    """
    who = np.flatnonzero(defaults)
    payments = np.where(defaults, 0.0, owed)
    if not len(who):
        return payments
    rows = claims[who]
    known = alpha[who] * e[who] + beta * (rows @ (payments * per_owed))
    inner = rows[:, who].multiply(beta * per_owed[who][None, :])
    solved = spsolve((eye_array(len(who), format="csr") - inner).tocsc(), known)
    payments[who] = np.clip(solved, 0.0, owed[who])
    return payments


@dataclass(frozen=True, eq=False)
class Called:
    """Guarantees called, and how far they were paid.

    Attributes
    ----------
    called, paid : ndarray, shape (n,)
        By guarantor: what it is called for, and what of it it pays.
    received : ndarray, shape (n,)
        By borrower: what its guarantors pay for it.
    failed : ndarray of bool, shape (n,)
        Who cannot meet loan and calls out of its own cash; those short at the outset included.
    rounds : int
        Waves of calls until none was new.
    """

    called: Floats
    paid: Floats
    received: Floats
    failed: Flags
    rounds: int


def call_guarantees(
    cash: Floats,
    debt: Floats,
    claim: Floats,
    guarantees: csr_array,
    guaranteed: Floats,
    *,
    alpha: ArrayLike = 1.0,
    beta: float = 1.0,
) -> Called:
    """Call guarantees wave by wave until no further borrower is short, then clear.

    A guarantee is called only once its borrower's own cash falls short of its loan and of what
    it is itself called for. Its guarantors then owe the claim, each in proportion to its
    guarantee and at most that. More calls never make anybody less short, so the waves end at
    the least set of calls, in at most n of them; circles of guarantees are no exception.
    Payments are then the greatest clearing vector of what is called, and go into the borrower's
    estate: no recourse against the borrower, no preference of its lender.

    Parameters
    ----------
    cash, debt : ndarray, shape (n,)
        What each has, and what it owes its lenders.
    claim : ndarray, shape (n,)
        What the lenders claim from the guarantors of a borrower that is short.
    guarantees : csr_array, shape (n, n)
        Guarantee for the borrower of the row by the guarantor of the column.
    guaranteed : ndarray, shape (n,)
        Row sums of ``guarantees``.

    Examples
    --------
    Node 0 lacks 60 of 100. Nodes 1 and 2 stand for 40 each: node 1 has the 30, node 2 has not,
    so its own guarantor, node 3, is called.

    >>> g = csr_array(([40.0, 40.0, 50.0], ([0, 0, 2], [1, 2, 3])), shape=(4, 4))
    >>> cash, debt = np.array([40.0, 50, 110, 80]), np.array([100.0, 10, 90, 30])
    >>> c = call_guarantees(cash, debt, np.array([60.0, 10, 45, 30]), g, g.sum(axis=1))
    >>> c.called.tolist(), c.failed.tolist(), c.paid.tolist()
    ([0.0, 30.0, 30.0, 45.0], [True, False, True, False], [0.0, 30.0, 30.0, 45.0])
    """
    called, share = np.zeros(len(cash)), share_called(claim, guaranteed)
    room = cash * (1.0 + SLACK) - debt
    failed = room < 0
    waves = call_waves(guarantees, share, room, np.flatnonzero(failed), called, failed)
    paid, received = settle(cash, debt, guarantees, share, called, failed, alpha, beta)
    return Called(called, paid, received, failed, len(waves))


def share_called(claim: Floats, guaranteed: Floats) -> Floats:
    """Return which share of its guarantees is called once a borrower is short."""
    callable_ = (guaranteed > 0) & (claim > 0)
    shares = np.divide(claim, guaranteed, out=np.zeros(len(claim)), where=callable_)
    return np.asarray(np.minimum(shares, 1.0))


def call_waves(
    guarantees: csr_array,
    share: Floats,
    room: Floats,
    new: NDArray[np.intp],
    called: Floats,
    failed: Flags,
) -> list[NDArray[np.intp]]:
    """Call the guarantors of the ``new`` failures, and on; add to ``called`` and ``failed``.

    ``room`` is what each can be called for and still pay. Returns who failed in each wave.
    """
    waves, new = [], new[share[new] > 0]
    while len(new):
        wave = guarantees[new]
        np.add.at(called, wave.indices, wave.data * np.repeat(share[new], np.diff(wave.indptr)))
        hit = wave.indices[~failed[wave.indices] & (called[wave.indices] > room[wave.indices])]
        failed[hit] = True
        waves.append(np.unique(hit).astype(np.intp))
        new = waves[-1][share[waves[-1]] > 0]
    return waves


def settle(
    cash: Floats,
    debt: Floats,
    guarantees: csr_array,
    share: Floats,
    called: Floats,
    failed: Flags,
    alpha: ArrayLike = 1.0,
    beta: float = 1.0,
) -> tuple[Floats, Floats]:
    """Clear what is called; return what guarantors pay and what borrowers receive."""
    paid, received = np.zeros(len(cash)), np.zeros(len(cash))
    borrowers = np.flatnonzero(failed & (share > 0))
    if len(borrowers):
        nodes, claims = _compact(guarantees, borrowers, share, called > 0)
        costs = np.broadcast_to(np.asarray(alpha, dtype=np.float64), cash.shape)[nodes]
        owed = debt[nodes] + called[nodes]
        done = clear_claims(cash[nodes], claims, owed, costs, beta)
        received[nodes] = done.inflow
        paid[nodes] = done.payments * called[nodes] / np.maximum(owed, np.finfo(float).tiny)
    return paid, received


def _compact(
    guarantees: csr_array, borrowers: NDArray[np.intp], share: Floats, called: Flags
) -> tuple[NDArray[np.intp], csr_array]:
    """Cut out whoever is called or called for; borrowers first, so rows need no sorting."""
    others = called.copy()
    others[borrowers] = False
    nodes = np.concatenate([borrowers, np.flatnonzero(others)])
    place = np.empty(len(share), dtype=np.int32)
    place[nodes] = np.arange(len(nodes), dtype=np.int32)
    cut = guarantees[borrowers]
    amounts = cut.data * np.repeat(share[borrowers], np.diff(cut.indptr))
    ends = np.full(len(nodes) - len(borrowers), cut.indptr[-1], dtype=cut.indptr.dtype)
    indptr = np.concatenate([cut.indptr, ends])
    return nodes, csr_array((amounts, place[cut.indices], indptr), shape=(len(nodes),) * 2)
