"""Blocks of draws: the unit in which a loss distribution is shared out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from haihe_fl.stress.compiled import TILE, Singles, tile_losses
from haihe_fl.stress.draws import DrawSettings, factor_draws
from haihe_fl.stress.exposures import Thresholds
from haihe_fl.stress.lattice import Entries

Floats = NDArray[np.float64]


class Block(NamedTuple):
    """Consecutive draws.

    Attributes
    ----------
    loss : ndarray, shape (quarters, n, institutions)
        Expected loss given the factors.
    variance : ndarray, shape (n, institutions)
        Of the loss given the factors.
    weights : ndarray, shape (n,)
        Likelihood ratios.
    """

    loss: Singles
    variance: Singles
    weights: Floats


@dataclass(frozen=True, eq=False)
class Tiles:
    """All that a block of draws hangs on; goes to other processes as it is.

    Attributes
    ----------
    shape : tuple of int
        Institutions, quarters, sectors.
    """

    entries: Entries
    thresholds: Thresholds
    gamma: Singles
    options: DrawSettings
    shape: tuple[int, int, int]

    def __call__(self, first: int) -> Block:
        """Return the block of draws from number ``first`` on, at most TILE of them."""
        n_inst, quarters, n_sectors = self.shape
        drawn = factor_draws(self.options, n_sectors, quarters, first, TILE)
        sums = np.zeros((n_inst, quarters, TILE))
        squares = np.zeros((n_inst, TILE))
        entries, thresholds = self.entries, self.thresholds
        tile_losses(
            thresholds.alpha,
            thresholds.beta,
            self.gamma,
            thresholds.sector,
            entries.first,
            entries.institution,
            entries.amount,
            entries.square,
            entries.profile,
            entries.mass,
            drawn.factors.astype(np.float32),
            sums,
            squares,
        )
        kept = min(TILE, self.options.draws - first)
        return Block(
            sums[..., :kept].transpose(1, 2, 0).astype(np.float32),
            np.maximum(squares[:, :kept], 0.0).T.astype(np.float32),
            drawn.weights[:kept],
        )


Spread = Callable[[Tiles, Sequence[int]], Iterable[tuple[int, Block]]]
"""Computes blocks elsewhere (`haihe_fl.stress.workers`), and gives each with its first draw."""
