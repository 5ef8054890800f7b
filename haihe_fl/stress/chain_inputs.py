"""What the chain needs beside a portfolio: the network, balance sheets, the pool."""

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from haihe_fl.i18n import Text
from haihe_fl.stress.capital import BalanceSheets, load_balance_sheets
from haihe_fl.stress.network import Network
from haihe_fl.stress.pool import PoolTerms, load_pool
from haihe_fl.stress.portfolio import Portfolio

if TYPE_CHECKING:
    from haihe_fl.data.synth import Consortium


@dataclass(frozen=True, eq=False)
class ChainInputs:
    """A portfolio and what is known around it.

    Attributes
    ----------
    portfolio : Portfolio
        Loans.
    network : Network, optional
        Enterprises behind them; without it there is no contagion.
    nodes : ndarray of int, shape (rows,), optional
        Enterprise of each loan.
    kinds : tuple of str, optional
        Kind of each of the portfolio's institutions; without it there is no capital.
    sheets, pool
        Assumptions, by default those shipped.
    """

    portfolio: Portfolio
    network: Network | None = None
    nodes: NDArray[np.int64] | None = None
    kinds: tuple[str, ...] | None = None
    sheets: BalanceSheets = field(default_factory=load_balance_sheets)
    pool: PoolTerms = field(default_factory=load_pool)

    @classmethod
    def of_consortium(cls, city: "Consortium", portfolio: Portfolio) -> "ChainInputs":
        """Return the inputs for a portfolio made of a synthetic consortium's records, in order."""
        network = Network.from_consortium(city)
        kind = {i.id: i.kind for i in city.institutions}
        return cls(
            portfolio,
            network,
            network.nodes_of(city.cohort.key),
            tuple(kind[name] for name in portfolio.institutions),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over network, kinds and assumptions, in hex."""
        digest = hashlib.sha256(self.sheets.model_dump_json().encode())
        digest.update(self.pool.model_dump_json().encode())
        digest.update("\0".join(self.kinds or ("-",)).encode())
        if self.network is not None and self.nodes is not None:
            n = self.network
            for part in (n.debt, n.liquid, n.equity, self.nodes):
                digest.update(np.ascontiguousarray(part).tobytes())
            for links in (n.guarantees, n.leverage):
                for part in (links.data, links.indices, links.indptr):
                    digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def missing(self, step: str) -> Text | None:
        """Say why a step cannot be taken on these inputs; None if it can."""
        if step == "contagion" and (self.network is None or self.nodes is None):
            return Text(
                en="no contagion: the portfolio comes without a network of guarantees and "
                "supplies, so losses are first-round losses",
                zh="未计算传染:该组合没有担保与供应链网络,损失仅为首轮损失",
            )
        if step == "capital" and self.kinds is None:
            return Text(
                en="no capital: nothing is known of these institutions' kinds, and so of their "
                "balance sheets",
                zh="未计算资本:机构类别未知,无法得到其资产负债假设",
            )
        return None
