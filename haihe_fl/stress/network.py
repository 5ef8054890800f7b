"""The two layers between enterprises, and what one draw of defaults sets off in them.

Guarantees are called from guarantors whose borrowers fail (:mod:`haihe_fl.stress.clearing`);
suppliers lose what failed buyers owe them (:mod:`haihe_fl.stress.distress`). Guarantors and
suppliers that fail in turn set off more of both, until nothing new happens.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped]

from haihe_fl.stress.clearing import SLACK, call_waves, settle, share_called
from haihe_fl.stress.distress import by_debtor, pass_on
from haihe_fl.stress.linkage import EdgeTable, Links, check_ids, column, hash_ids, matrix, positions

if TYPE_CHECKING:
    from haihe_fl.data.synth import Consortium

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Index = NDArray[np.int64]
__all__ = ["Contagion", "Links", "Network", "hash_ids", "propagate"]

#: Equity of less than this share of an enterprise's receivables, and negative, counts as that
#: share: such an enterprise fails with the smallest of its buyers, and the arithmetic holds.
EQUITY_FLOOR = 0.01
_RUINED = 1.0 - 1e-12


@dataclass(frozen=True, eq=False)
class Network:
    """Enterprises, guarantees and receivables.

    Attributes
    ----------
    ids : ndarray of str, shape (n,)
        One per enterprise: keys, or what `hash_ids` made of them.
    debt, liquid, equity : ndarray, shape (n,)
        Owed to lenders; cash and what can be sold at once; net worth. CNY.
    guarantees : csr_array, shape (n, n)
        Guarantee for the borrower of the row by the guarantor of the column, CNY.
    leverage : csr_array, shape (n, n)
        Receivable from the buyer of the row per equity of the supplier of the column.
    """

    ids: NDArray[Any]
    debt: Floats
    liquid: Floats
    equity: Floats
    guarantees: csr_array
    leverage: csr_array

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(
        cls,
        ids: ArrayLike,
        guarantees: EdgeTable,
        supply: EdgeTable,
        *,
        debt: ArrayLike,
        liquid: ArrayLike,
        equity: ArrayLike,
    ) -> "Network":
        """Check the parts and join them.

        Edges name their ends by position (integers) or by id (texts). Edges that stand several
        times add up: two guarantees for one loan, or two institutions that see different
        invoices. Circles of guarantees are allowed.

        Raises
        ------
        UserError
            H2540 an edge names an enterprise that is not there, H2541 an enterprise guarantees
            or supplies itself, H2542 an amount is negative or not finite, or columns differ in
            length; H2543 an id stands twice or is empty; H2544 a column of the enterprises is
            negative (equity may be), not finite or has the wrong length.

        Examples
        --------
        >>> guarantee = Links(np.array(["b"]), np.array(["a"]), np.array([50.0]))
        >>> supply = Links(np.array(["c"]), np.array(["b"]), np.array([30.0]))
        >>> n = Network.build(["a", "b", "c"], guarantee, supply,
        ...                   debt=[100, 40, 20], liquid=[5, 20, 9], equity=[50, 60, 40])
        >>> c = propagate(n, [True, False, False], [60, 0, 0])
        >>> c.extra_defaults.tolist(), c.called.tolist(), c.h.tolist()
        ([False, True, False], [0.0, 50.0, 0.0], [1.0, 1.0, 0.75])
        """
        names = np.asarray(ids)
        order = np.argsort(names, kind="stable")
        check_ids(names, order)
        n = len(names)
        amounts = {
            "debt": column("debt", debt, n),
            "liquid": column("liquid", liquid, n),
            "equity": column("equity", equity, n, signed=True),
        }
        granted = matrix("guarantee", guarantees, names, order)
        owed = matrix("supply", supply, names, order)
        receivable = np.asarray(owed.sum(axis=0)).ravel()
        floor = np.where(receivable > 0, EQUITY_FLOOR * receivable, 1.0)
        return cls(
            ids=names,
            guarantees=granted,
            leverage=by_debtor(owed.T.tocsr(), np.maximum(amounts["equity"], floor)),
            **amounts,
        )

    @cached_property
    def guaranteed(self) -> Floats:
        """All guarantees for each borrower, CNY."""
        return np.asarray(self.guarantees.sum(axis=1)).ravel()

    @classmethod
    def from_consortium(cls, city: "Consortium") -> "Network":
        """Return the network of a synthetic consortium; ids are the enterprises' keys.

        Examples
        --------
        >>> from haihe_fl.data.synth import synthesise
        >>> len(Network.from_consortium(synthesise(1_000, seed=1)))
        1000
        """
        firms = city.enterprises
        who = city.cohort.extra["enterprise"].astype(np.int64)
        return cls.build(
            firms.key,
            city.guarantees,
            city.supply_chain,
            debt=np.bincount(who, weights=city.cohort.extra["ead"], minlength=len(firms)),
            liquid=firms.cash,
            equity=firms.net_worth,
        )

    def first_round(
        self, nodes: Index, defaulted: ArrayLike, loss: ArrayLike
    ) -> tuple[Flags, Floats]:
        """Return who defaulted, and with what shortfall, from the rows of a portfolio.

        Parameters
        ----------
        nodes : ndarray of int, shape (rows,)
            Enterprise of each row (`nodes_of`); one with several lenders has several.
        defaulted : array_like of bool, shape (rows,)
            A default at one lender is one at all.
        loss : array_like, shape (rows,)
            Loss given default of each row, CNY.
        """
        n = len(self)
        drawn = np.bincount(nodes, weights=np.asarray(defaulted, np.float64), minlength=n) > 0
        total = np.bincount(nodes, weights=np.asarray(loss), minlength=n)
        return drawn, np.where(drawn, total, 0.0)

    def nodes_of(self, ids: ArrayLike) -> Index:
        """Return the position of each id, for instance of the borrowers of a portfolio's rows.

        Raises
        ------
        UserError
            H2540 for an id that is not there.
        """
        return positions(np.asarray(ids), self.ids, np.argsort(self.ids, kind="stable"), "rows")


@dataclass(frozen=True, eq=False)
class Contagion:
    """What one draw of defaults set off.

    Attributes
    ----------
    h : ndarray, shape (n,)
        Distress, 0 to 1; 1 for all that failed.
    extra_defaults : ndarray of bool, shape (n,)
        Who failed and was not drawn: guarantors that cannot pay when called, suppliers that
        lost all their equity.
    called, paid, received : ndarray, shape (n,)
        Guarantor's calls and payments, and what each borrower's guarantors paid for it. CNY.
    rounds : int
        Waves of calls and of distress together.
    passes : int
        Turns from guarantees to supply chain and back.
    """

    h: Floats
    extra_defaults: Flags
    called: Floats
    paid: Floats
    received: Floats
    rounds: int
    passes: int


def propagate(
    network: Network,
    defaulted: ArrayLike,
    shortfall: ArrayLike,
    *,
    lambda_: float = 1.0,
    guarantee_haircut: float = 0.0,
    loss_share: float = 0.45,
    alpha: float = 1.0,
    beta: float = 1.0,
    tolerance: float = 1e-6,
) -> Contagion:
    """Send one draw's defaults through both layers.

    An enterprise that was not drawn serves its loan out of its business, and has
    ``liquid * (1 - guarantee_haircut)`` for calls; one that was drawn has its debt less its
    shortfall, and nothing for calls.

    Parameters
    ----------
    network : Network
        Who stands for whom, who sells to whom.
    defaulted : array_like of bool, shape (n,)
        First-round defaults.
    shortfall : array_like, shape (n,)
        What these leave unpaid, CNY, at most their debt is used; not read elsewhere.
    lambda_ : float
        Loss of a supplier per unit of its buyer's distress (``contagion.lambda``).
    guarantee_haircut : float
        Share of liquid means that guarantors cannot use (scenario).
    loss_share : float
        Of an extra default's debt, left unpaid.
    alpha, beta : float
        Worth of a guarantor's cash and claims once it fails (`clear`).

    Raises
    ------
    ValueError
        If a shape is wrong, or a share outside [0, 1].
    """
    drawn = np.asarray(defaulted, dtype=np.bool_)
    unpaid = np.asarray(shortfall, dtype=np.float64)
    n = len(network)
    if drawn.shape != (n,) or unpaid.shape != (n,):
        raise ValueError(f"shapes {drawn.shape} and {unpaid.shape} for {n} enterprises")
    if not all(0 <= x <= 1 for x in (guarantee_haircut, loss_share, alpha, beta)):
        raise ValueError("haircut, loss share, alpha and beta must be within [0, 1]")
    claim = np.where(drawn, np.minimum(unpaid, network.debt), loss_share * network.debt)
    cash = network.debt + (1.0 - guarantee_haircut) * network.liquid
    cash[drawn] = (network.debt - claim)[drawn]
    costs = np.where(drawn, 1.0, alpha)  # a drawn default's shortfall has its costs within it
    share = share_called(claim, network.guaranteed)
    room = cash * (1.0 + SLACK) - network.debt
    failed, called, h = drawn | (room < 0), np.zeros(n), np.zeros(n)
    fresh, rounds, passes = np.flatnonzero(failed), 0, 0
    while len(fresh):
        passes += 1
        waves = call_waves(network.guarantees, share, room, fresh, called, failed)
        fallen = np.concatenate([fresh, *waves])
        step, h[fallen] = 1.0 - h[fallen], 1.0
        rounds += len(waves) + pass_on(network.leverage, h, fallen, step, lambda_, tolerance)
        fresh = np.flatnonzero((h >= _RUINED) & ~failed)
        failed[fresh] = True
        cash[fresh] = network.debt[fresh] - claim[fresh]
        costs[fresh] = 1.0
    paid, received = settle(
        cash, network.debt, network.guarantees, share, called, failed, costs, beta
    )
    return Contagion(h, failed & ~drawn, called, paid, received, rounds, passes)
