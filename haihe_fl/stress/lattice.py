"""Nodes of (sector, PD, size) that stand in for enterprises in the loss distribution.

Given the factors, what an enterprise loses is its loss on default times a smooth function of
(log-odds, size adjustment, gap of impaired data) that it shares with its sector. So the amounts
are spread over the corners of a lattice by Lagrange weights, and the function is evaluated there
alone. The weights of an enterprise add up to one: no amount is lost. The error is that of
interpolating a smooth function, about 1e-6 of expected loss at the spacings below
(``tests/stress/test_stress_draws.py`` compares with the run over enterprises).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from haihe_fl.stress.compiled import Singles, compiled
from haihe_fl.stress.exposures import Amounts, Prepared, Workers

Floats = NDArray[np.float64]

TAPS = 6
PD_STEP, GAP_STEP = 0.25, 0.5
SIZES = 4


def taps(values: ArrayLike, step: float) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return first node, weights of `TAPS` nodes, and the nodes, of interpolation on a grid.

    Examples
    --------
    >>> first, weights, nodes = taps([0.1, 0.3], 0.25)
    >>> bool(np.allclose((weights * np.exp(nodes[first[:, None] + np.arange(6)])).sum(axis=1),
    ...                  np.exp([0.1, 0.3]), rtol=2e-6))
    True
    """
    x = np.asarray(values, dtype=np.float64) / step
    cell = np.floor(x).astype(np.int64)
    offset = (x - cell)[:, None]
    places = np.arange(TAPS) - (TAPS // 2 - 1)
    weights = np.ones((len(x), TAPS))
    for k in range(TAPS):
        for m in range(TAPS):
            if m != k:
                weights[:, k] *= (offset[:, 0] - places[m]) / (places[k] - places[m])
    start = int(cell.min()) + int(places[0])
    count = int(cell.max() - cell.min()) + TAPS
    first: NDArray[np.int64] = cell - cell.min()
    nodes: Floats = step * (start + np.arange(count, dtype=np.float64))
    return first, weights, nodes


def chebyshev(low: float, high: float, count: int) -> Floats:
    """Return Chebyshev nodes with both ends, or the one value there is.

    Examples
    --------
    >>> chebyshev(0.0, 1.0, 3).round(9).tolist(), chebyshev(2.0, 2.0, 3).tolist()
    ([0.0, 0.5, 1.0], [2.0])
    """
    if high - low < 1e-12:
        return np.array([low])
    out = low + (high - low) * 0.5 * (1.0 - np.cos(np.pi * np.arange(count) / (count - 1)))
    return np.asarray(out)


def lagrange(values: Floats, nodes: Floats) -> Floats:
    """Return the weights of all nodes for each value, shape (n, nodes)."""
    weights = np.ones((len(values), len(nodes)))
    for k, node in enumerate(nodes):
        for m, other in enumerate(nodes):
            if m != k:
                weights[:, k] *= (values - other) / (node - other)
    return weights


@dataclass(frozen=True, eq=False)
class Lattice:
    """Nodes, and how each enterprise is spread over them.

    Attributes
    ----------
    log_odds, gap, size, sector : ndarray, shape (nodes,)
        Where the nodes lie.
    base : ndarray, shape (n,)
        First node of each enterprise.
    pd_weights, gap_weights, size_weights : ndarray, shape (n, taps)
        Weights along each axis.
    stride : ndarray, shape (n, 2)
        From one PD to the next, and from one gap to the next.
    """

    log_odds: Floats
    gap: Floats
    size: Floats
    sector: NDArray[np.int32]
    base: NDArray[np.int64]
    pd_weights: Floats
    gap_weights: Floats
    size_weights: Floats
    stride: NDArray[np.int64]

    @classmethod
    def of(cls, prepared: Prepared, gap: Floats) -> "Lattice":
        """Lay a lattice over a sorted portfolio; ``gap`` is 0 where no data is impaired."""
        n = len(prepared)
        sizes = chebyshev(float(prepared.size.min()), float(prepared.size.max()), SIZES)
        impaired = bool(gap.any())
        base, stride = np.empty(n, np.int64), np.empty((n, 2), np.int64)
        along_pd, along_gap = np.empty((n, TAPS)), np.ones((n, TAPS if impaired else 1))
        nodes: list[tuple[Any, ...]] = []
        offset = 0
        for s in np.unique(prepared.sector):
            a, b = np.searchsorted(prepared.sector, [s, s + 1])
            at = slice(int(a), int(b))
            first, along_pd[at], odds = taps(prepared.log_odds[at], PD_STEP)
            first_gap, gaps = np.zeros_like(first), np.zeros(1)
            if impaired:
                first_gap, along_gap[at], gaps = taps(gap[at], GAP_STEP)
            stride[at] = len(gaps) * len(sizes), len(sizes)
            base[at] = offset + first * stride[at, 0] + first_gap * stride[at, 1]
            corner = np.meshgrid(odds, gaps, sizes, indexing="ij")
            nodes.append((*(c.ravel() for c in corner), np.full(corner[0].size, s, np.int32)))
            offset += corner[0].size
        x, g, size, sector = (np.concatenate(part) for part in zip(*nodes, strict=True))
        weights = lagrange(prepared.size, sizes)
        return cls(x, g, size, sector, base, along_pd, along_gap, weights, stride)

    def __len__(self) -> int:
        return len(self.sector)


@dataclass(frozen=True, eq=False)
class Entries:
    """What hangs on nodes; the arguments of `haihe_fl.stress.compiled.tile_losses`.

    Attributes
    ----------
    node : ndarray
        Nodes of the lattice on which anything hangs.
    first, institution, amount, square, profile, mass
        As in `tile_losses`.
    """

    node: NDArray[np.intp]
    first: NDArray[np.int64]
    institution: NDArray[np.int32]
    amount: Singles
    square: Singles
    profile: Singles
    mass: Singles


def spread(lattice: Lattice, prepared: Prepared, what: Amounts, workers: Workers) -> Entries:
    """Spread amounts over the nodes; each (sector, institution) is one piece of work.

    Means are exact but for the interpolation. The variance further takes losses to go by quarter
    as they do on average around a node; that costs it up to 1 % in a draw.
    """
    banks, quarters = len(prepared.portfolio.institutions), what.loss.shape[1]
    table = np.zeros((banks, len(lattice), 3 * quarters + 1))
    cell = prepared.sector.astype(np.int64) * banks + prepared.institution
    edges = np.append(np.flatnonzero(np.diff(cell, prepend=-1)), len(cell))

    def piece(k: int) -> None:
        at = slice(edges[k], edges[k + 1])
        _scatter(
            lattice.base[at],
            lattice.stride[at],
            lattice.pd_weights[at],
            lattice.gap_weights[at],
            lattice.size_weights[at],
            what.loss[at],
            what.square[at],
            table[prepared.institution[edges[k]]],
        )

    workers(piece, range(len(edges) - 1))
    node, bank = np.nonzero(table[..., -1].T)
    held, counts = np.unique(node, return_counts=True)
    rows = table[bank, node].astype(np.float32)
    # How losses go by quarter near a node. Its weights are positive, so it always has a root.
    course = rows[:, 2 * quarters : -1]
    course = np.sqrt(course / np.maximum(course.sum(axis=1, keepdims=True), np.float32(1e-30)))
    return Entries(
        node=held,
        first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        institution=bank.astype(np.int32),
        amount=np.ascontiguousarray(rows[:, :quarters]),
        square=np.ascontiguousarray(rows[:, quarters : 2 * quarters]),
        profile=np.ascontiguousarray(course),
        mass=np.ascontiguousarray(rows[:, -1]),
    )


@compiled
def _scatter(
    base: Any,
    stride: Any,
    pd_weights: Any,
    gap_weights: Any,
    size_weights: Any,
    loss: Any,
    square: Any,
    table: Any,
) -> None:  # pragma: no cover
    """Add each loan to the nodes around it."""
    n, quarters = loss.shape
    for i in range(n):
        whole = np.float64(0.0)
        for t in range(quarters):
            whole += square[i, t]
        for u in range(pd_weights.shape[1]):
            for g in range(gap_weights.shape[1]):
                for a in range(size_weights.shape[1]):
                    w = pd_weights[i, u] * gap_weights[i, g] * size_weights[i, a]
                    if w != 0.0:
                        out = table[base[i] + u * stride[i, 0] + g * stride[i, 1] + a]
                        out[3 * quarters] += w * whole
                        v = abs(w)
                        for t in range(quarters):
                            out[t] += w * loss[i, t]
                            out[quarters + t] += w * square[i, t]
                            out[2 * quarters + t] += v * square[i, t]
