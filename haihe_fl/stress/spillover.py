"""Contagion on drawn defaults: who fails in a draw, and what the network adds to it.

The draws of the loss distribution know sums only. Here enterprises default one by one, under the
same factors, and each quarter's failures so far go through `haihe_fl.stress.network.propagate`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.stress.compiled import default_quarters
from haihe_fl.stress.distribution import thresholds_of
from haihe_fl.stress.draws import DrawSettings, factor_draws, uniforms
from haihe_fl.stress.exposures import Prepared, Thresholds, Workers, amounts
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.network import Network, propagate
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
NEVER = np.int64(127)
LOSS_SHARE = 0.45
"""Of the debt of an enterprise that the scenario itself fells, left unpaid (expert)."""


@dataclass(frozen=True)
class Strength:
    """What a scenario says of contagion.

    Attributes
    ----------
    lambda_ : float
        Loss of a supplier per unit of its buyer's distress.
    guarantee_haircut : float
        Share of liquid means that guarantors cannot use.
    seed_fraction : float
        Share of enterprises that fail outright, beside those drawn.
    seed_quarter : int
        When they do, from 1.
    """

    lambda_: float = 1.0
    guarantee_haircut: float = 0.0
    seed_fraction: float = 0.0
    seed_quarter: int = 1


@dataclass(frozen=True, eq=False)
class Spillover:
    """Losses without and with contagion, draw by draw, CNY.

    Attributes
    ----------
    first, total : ndarray, shape (draws, institutions, quarters)
        Of drawn defaults, and of all. A loan that was drawn later and falls by contagion before
        counts earlier in ``total``.
    drawn, fallen : ndarray of int, shape (draws,)
        Enterprises that defaulted on their own, and those that contagion felled.
    called, paid : ndarray, shape (draws,)
        Guarantees called by the end of the horizon, and what guarantors paid.
    """

    first: Floats
    total: Floats
    drawn: Index
    fallen: Index
    called: Floats
    paid: Floats

    @property
    def uplift(self) -> Floats:
        """Loss by contagion over first-round loss, shape (institutions,).

        A ratio of sums over draws, which hangs less on the few factors drawn than a mean of
        losses does. Where an institution lost nothing, the network's.
        """
        first, total = self.first.sum(axis=(0, 2)), self.total.sum(axis=(0, 2))
        whole = total.sum() / first.sum() - 1.0 if first.sum() > 0 else 0.0
        ratio = np.divide(total, first, out=np.full_like(first, 1.0 + whole), where=first > 0)
        return np.asarray(np.maximum(ratio - 1.0, 0.0))

    @property
    def uplift_se(self) -> float:
        """Standard error of the network's uplift, by the delta method over draws."""
        first, total = self.first.sum(axis=(1, 2)), self.total.sum(axis=(1, 2))
        if len(first) < 2 or first.sum() <= 0:
            return float("nan")
        left = total - total.sum() / first.sum() * first
        return float(left.std(ddof=1) / np.sqrt(len(first)) / first.mean())


@dataclass(frozen=True, eq=False)
class OneDraw:
    """One draw in detail: shapes (rows,) and (enterprises,).

    Attributes
    ----------
    drawn, hit : ndarray of int, shape (rows,)
        Quarter in which a loan defaults, on its own and with contagion; `NEVER` if it does not.
    failed, fell : ndarray of bool, shape (enterprises,)
        Defaulted on their own; felled by contagion or by the scenario.
    called, paid : ndarray, shape (enterprises,)
        Guarantees called from each, and paid by it, CNY.
    """

    drawn: Index
    hit: Index
    failed: NDArray[np.bool_]
    fell: NDArray[np.bool_]
    called: Floats
    paid: Floats


@dataclass(frozen=True, eq=False)
class Enterprises:
    """Loans, enterprises behind them, and what a scenario does to both.

    Attributes
    ----------
    portfolio, network
        Loans and links.
    nodes : ndarray of int, shape (rows,)
        Enterprise of each loan.
    thresholds : Thresholds
        Of each loan.
    loss : ndarray, shape (rows, quarters)
        On default in a quarter, CNY.
    options : DrawSettings
        Seed and law of the factors, the same as those of the loss distribution.
    strength : Strength
        Of contagion.
    """

    portfolio: Portfolio
    network: Network
    nodes: Index
    thresholds: Thresholds
    loss: NDArray[np.float32]
    options: DrawSettings
    strength: Strength

    @classmethod
    def of(
        cls,
        portfolio: Portfolio,
        network: Network,
        nodes: Index,
        shock: Shock,
        settings: StressSettings,
        options: DrawSettings,
        strength: Strength,
        impaired_pd: Floats | None = None,
    ) -> "Enterprises":
        """Work out thresholds and losses of each loan under a shock."""
        prepared = Prepared.of(portfolio, settings)
        gap = np.zeros(len(portfolio))
        if impaired_pd is not None:
            odds = np.log(impaired_pd / (1.0 - impaired_pd))
            gap = odds - np.log(portfolio.pd / (1.0 - portfolio.pd))
        sorted_loss = amounts(prepared, shock, settings, gap[prepared.rows], Workers(1)).loss
        loss = np.empty_like(sorted_loss)
        loss[prepared.rows] = sorted_loss
        thresholds = thresholds_of(portfolio, shock, settings, impaired_pd)
        return cls(portfolio, network, nodes, thresholds, loss, options, strength)

    def draw(self, number: int) -> OneDraw:
        """Return who fails in one draw, under its factors.

        An enterprise has one number of its own, whoever lends to it: its loans default together
        but for what lenders' PDs differ. A loan that its own PD keeps alive is not pulled along
        by the enterprise's default elsewhere.
        """
        n, quarters = len(self.network), self.loss.shape[1]
        place = (self.options, len(self.portfolio.sectors), quarters, number, 1)
        factors = np.ascontiguousarray(factor_draws(*place).factors[..., 0], np.float32)
        own = uniforms("enterprises", self.options.seed, number, count=n)[:, 0][self.nodes]
        out = np.empty(len(self.portfolio), np.int8)
        t = self.thresholds
        default_quarters(t.alpha, t.beta, t.sector, factors, np.ascontiguousarray(own), out)
        drawn = np.where(out > 0, out.astype(np.int64), NEVER)
        seeds = np.zeros(n, dtype=np.bool_)
        if self.strength.seed_fraction > 0:
            chance = uniforms("seeds", self.options.seed, number, count=n)[:, 0]
            seeds = chance < self.strength.seed_fraction
        return self._spread(drawn, seeds)

    def _spread(self, drawn: Index, seeds: NDArray[np.bool_]) -> OneDraw:
        network, quarters = self.network, self.loss.shape[1]
        fall = np.full(len(network), NEVER)
        failed, called, paid = np.zeros(len(network), np.bool_), np.zeros(1), np.zeros(1)
        lost = np.zeros(len(drawn))
        for t in range(1, quarters + 1):
            now = drawn == t
            starts = seeds & (t == self.strength.seed_quarter)
            if not (now.any() or starts.any()):
                continue
            lost[now] = self.loss[now, t - 1]
            failed, short = network.first_round(self.nodes, drawn <= t, lost)
            struck = seeds & ~failed & (t >= self.strength.seed_quarter)
            found = propagate(
                network,
                failed | struck,
                np.where(struck, LOSS_SHARE * network.debt, short),
                lambda_=self.strength.lambda_,
                guarantee_haircut=self.strength.guarantee_haircut,
                loss_share=LOSS_SHARE,
            )
            fresh = (found.extra_defaults | struck) & (fall == NEVER)
            fall[fresh] = t
            called, paid = found.called, found.paid
        fell = (fall < NEVER) & ~failed
        wide = np.zeros(len(network))
        return OneDraw(
            drawn, np.minimum(drawn, fall[self.nodes]), failed, fell, called + wide, paid + wide
        )

    def losses(self, hit: Index) -> Floats:
        """Return losses by institution and quarter for these quarters of default."""
        names, quarters = len(self.portfolio.institutions), self.loss.shape[1]
        rows = np.flatnonzero(hit < NEVER)
        cell = self.portfolio.institution[rows].astype(np.int64) * quarters + hit[rows] - 1
        sums = np.bincount(cell, self.loss[rows, hit[rows] - 1], names * quarters)
        return np.asarray(sums.reshape(names, quarters))


def spill(
    enterprises: Enterprises, draws: int, on_progress: Callable[[int, int], None] = lambda *_: None
) -> Spillover:
    """Draw defaults enterprise by enterprise and send them through the network.

    Parameters
    ----------
    enterprises : Enterprises
        Loans and network under a scenario.
    draws : int
        The first so many draws of the loss distribution; each costs a run through the network a
        quarter.
    on_progress : callable
        Told (done, draws) after each.
    """
    first, total, counts, money = [], [], [], []
    for number in range(draws):
        one = enterprises.draw(number)
        first.append(enterprises.losses(one.drawn))
        total.append(enterprises.losses(one.hit))
        counts.append((int(one.failed.sum()), int(one.fell.sum())))
        money.append((float(one.called.sum()), float(one.paid.sum())))
        on_progress(number + 1, draws)
    drawn, fallen = np.array(counts, dtype=np.int64).reshape(-1, 2).T
    called, paid = np.array(money).reshape(-1, 2).T
    return Spillover(np.array(first), np.array(total), drawn, fallen, called, paid)
