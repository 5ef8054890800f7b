"""The guarantee network and the supply chain: who stands for whom, who sells to whom."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.synth.economy import Array, Economy

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Edges:
    """A sparse directed network between enterprises.

    Attributes
    ----------
    source, target : ndarray of int, shape (m,)
        Positions of the enterprises: guarantor and borrower, or supplier and buyer.
    amount : ndarray of float64, shape (m,)
        Guaranteed amount, or receivable outstanding of the supplier from the buyer, CNY.
    kind : ndarray of int8, shape (m,)
        Guarantees: position in :data:`GUARANTEES`. Supply: tier of the supplier, 1 to 3.
    """

    source: Index
    target: Index
    amount: Array
    kind: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.source)


GUARANTEES = ("single", "joint_group", "circle")

_IN_GROUPS, _IN_CIRCLES, _SINGLES = 0.06, 0.05, 0.40  # firms in each, single edges a firm
_CORE, _TIERS = 0.003, (0.12, 0.27, 0.20)  # shares of core enterprises and of tiers 1 to 3


def _blocks(members: Index, sizes: Index) -> tuple[Index, Index]:
    """Cut ``members`` into blocks; return the start and the size of each member's block."""
    ends = np.cumsum(sizes)
    ends = ends[ends <= len(members)]
    sizes = sizes[: len(ends)]
    return np.repeat(ends - sizes, sizes), np.repeat(sizes, sizes)


def guarantee_network(economy: Economy, rng: np.random.Generator) -> Edges:
    """Draw joint-guarantee groups (cliques), circles and single guarantees, mostly local."""
    n = len(economy)
    neighbours = np.lexsort((rng.random(n), economy.district))  # who may know whom
    role = rng.permutation(n) / n
    sources, targets, kinds = [], [], []

    local = neighbours[role[neighbours] < _IN_GROUPS]
    start, size = _blocks(local, rng.integers(3, 6, len(local)))
    for step in range(1, 5):
        here = np.flatnonzero(size > step)
        sources.append(local[here])
        targets.append(local[start[here] + (here - start[here] + step) % size[here]])
        kinds.append(np.full(len(here), 1))

    local = neighbours[(role[neighbours] >= _IN_GROUPS) & (role[neighbours] < 0.11)]
    start, size = _blocks(local, rng.integers(3, 9, len(local)))
    here = np.arange(len(start))
    sources.append(local[here])
    targets.append(local[start + (here - start + 1) % size])
    kinds.append(np.full(len(here), 2))

    m = int(_SINGLES * n)
    # The larger give guarantees more often: the better of two random firms.
    pair = rng.integers(0, n, (2, m))
    scale = economy.factors["scale"][neighbours]
    giver = np.where(scale[pair[0]] > scale[pair[1]], pair[0], pair[1])
    reach = rng.geometric(0.02, m) * rng.choice([-1, 1], m)
    sources.append(neighbours[giver])
    targets.append(neighbours[(giver + reach) % n])
    kinds.append(np.zeros(m, dtype=np.int64))

    source, target, kind = (np.concatenate(x) for x in (sources, targets, kinds))
    _, first = np.unique(source * n + target, return_index=True)
    first = first[source[first] != target[first]]
    source, target, kind = source[first], target[first], kind[first]
    debt = economy.net_worth * economy.debt_ratio / np.maximum(1 - economy.debt_ratio, 0.05)
    wanted = 0.25 * economy.net_worth[source] * np.exp(0.8 * rng.standard_normal(len(source)))
    amount = np.minimum(wanted, 0.8 * debt[target]).round(2)
    return Edges(source, target, amount, kind.astype(np.int8))


def supply_chain(
    economy: Economy, receivable_days: Array, rng: np.random.Generator
) -> tuple[Edges, Array]:
    """Draw tiers of suppliers below core enterprises, and what each is owed.

    Returns
    -------
    Edges
        Supplier to buyer.
    ndarray, shape (n,)
        Concentration of each firm's buyers (Herfindahl index).
    """
    n = len(economy)
    tier = np.digitize(rng.random(n), np.cumsum(_TIERS)) + 1
    core = economy.factors["scale"] > np.quantile(economy.factors["scale"], 1 - _CORE)
    tier[core] = 0
    # 80 % of sales stay within the sector; the rest goes anywhere.
    suppliers = np.flatnonzero((tier > 0) & (tier < 4))
    source = np.repeat(suppliers, rng.integers(1, 7, len(suppliers)))
    sought = economy.sector[source].astype(np.int64)
    elsewhere = rng.random(len(source)) < 0.2
    sought[elsewhere] = rng.integers(0, 12, int(elsewhere.sum()))
    target = np.empty(len(source), dtype=np.int64)
    for level in range(3):
        everyone = np.flatnonzero(tier == level)
        for sector in range(12):
            here = np.flatnonzero((tier[source] == level + 1) & (sought == sector))
            own = everyone[economy.sector[everyone] == sector]
            pool = own if len(own) else everyone
            pull = np.cumsum(np.exp(0.8 * economy.factors["scale"][pool]))
            target[here] = pool[np.searchsorted(pull, rng.random(len(here)) * pull[-1])]
    _, first = np.unique(source * n + target, return_index=True)
    source, target = source[first], target[first]

    weight = rng.gamma(0.8, size=len(source))
    total = np.bincount(source, weights=weight, minlength=n)
    to_chain = 0.2 + 0.7 * rng.beta(2.0, 2.0, n)
    share = weight / total[source] * to_chain[source]
    dispersed = 0.02 + 0.25 * rng.beta(0.7, 3.0, n)  # buyers outside the city's chains
    left = np.ones(n)
    left[suppliers] -= to_chain[suppliers]
    hhi = np.bincount(source, weights=share**2, minlength=n) + left**2 * dispersed
    owed = share * economy.sales[source] * receivable_days[source] / 365
    edges = Edges(source, target, owed.round(2), tier[source].astype(np.int8))
    return edges, hhi.clip(0, 1)
