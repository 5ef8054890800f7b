"""Bins: how a borrower record becomes a row of small integers.

A feature's bin 0 holds missing and unknown values. Numbers are cut at quantiles that are
read off a noisy histogram on a public grid; a category's level is looked up. The same
``Binning`` cuts the rows at an institution and in the finished model.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature, FeatureCatalogue

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELLS = 512
"""Cells of a public grid."""
RESOLUTION = 1e-5
"""Of a ``log`` feature: the grid is linear below this share of the largest public value."""


def number_columns(catalogue: FeatureCatalogue) -> list[int]:
    """Return the columns that hold numbers."""
    return [j for j, f in enumerate(catalogue.features) if f.kind == "number"]


def category_columns(catalogue: FeatureCatalogue) -> list[int]:
    """Return the columns that hold categories."""
    return [j for j, f in enumerate(catalogue.features) if f.kind == "category"]


def levels_of(feature: Feature) -> int:
    """Return the number of levels of a category."""
    return len(feature.categories or ())


def grid(feature: Feature) -> Floats:
    """Return the inner cut points of a number's public grid, shape (CELLS - 1,).

    Examples
    --------
    >>> edges = grid(Feature(name="share", range=(0, 1)))
    >>> len(edges), float(edges[255])
    (511, 0.5)
    """
    if feature.range is None:
        raise ValueError(f"feature {feature.name} has no public range")
    low, high = feature.range
    if feature.scale == "linear":
        return np.linspace(low, high, CELLS + 1)[1:-1]
    unit = max(abs(low), abs(high)) * RESOLUTION
    inner = np.linspace(np.arcsinh(low / unit), np.arcsinh(high / unit), CELLS + 1)[1:-1]
    return np.asarray(unit * np.sinh(inner))


def grid_cells(feature: Feature, column: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the grid cell of each value, 0 where missing and 1 to CELLS otherwise."""
    return _cut(feature, column, grid(feature))


def _cut(feature: Feature, column: NDArray[np.float32], cuts: Floats) -> NDArray[np.intp]:
    low, high = feature.range or (-np.inf, np.inf)
    # Clipping first keeps infinities inside the bins in use; the padding of cuts is infinite.
    clipped = np.clip(column.astype(np.float64), low, high)
    found = np.searchsorted(cuts, clipped, side="right") + 1
    return np.where(np.isnan(column), 0, found)


def to_simplex(noisy: Floats, total: float) -> Floats:
    """Return the nearest vector without negative entries that adds up to ``total``.

    It is the maximum-likelihood histogram under Gaussian noise, and soft-thresholds empty cells.

    Examples
    --------
    >>> to_simplex(np.array([3.0, -1.0, 1.0]), 3.0).tolist()
    [2.5, 0.0, 0.5]
    """
    total = max(total, 0.0)
    descending = np.sort(noisy)[::-1]
    excess = (np.cumsum(descending) - total) / np.arange(1, len(noisy) + 1)
    keep = max(int(np.count_nonzero(descending > excess)), 1)
    return np.asarray(np.maximum(noisy - excess[keep - 1], 0.0))


def merge(mass: Floats, bins: int) -> Ints:
    """Merge neighbouring cells into at most ``bins`` bins of about equal mass.

    A cell goes to the quantile of its middle, so a cell heavier than a bin stays alone; empty
    cells stay with their lower neighbour.

    Examples
    --------
    >>> merge(np.array([1.0, 1.0, 6.0, 1.0, 1.0]), 3).tolist()
    [0, 0, 1, 2, 2]
    """
    if len(mass) <= bins:
        return np.arange(len(mass))
    whole = float(mass.sum())
    if whole <= 0.0:
        return np.arange(len(mass)) * bins // len(mass)
    middle = (np.cumsum(mass) - mass / 2) / whole
    index = np.minimum((middle * bins).astype(np.int64), bins - 1)
    held = np.maximum.accumulate(np.where(mass > 0.0, np.arange(len(mass)), 0))
    index = index[np.maximum(held, np.flatnonzero(mass > 0.0)[0])]
    return np.unique(index, return_inverse=True)[1].astype(np.int64)


def quantile_cuts(histogram: Floats, edges: Floats, bins: int) -> Floats:
    """Return at most ``bins - 1`` cut points, padded with infinity, from a grid histogram."""
    index = merge(histogram, bins)
    cuts = edges[np.flatnonzero(np.diff(index))]
    return np.concatenate([cuts, np.full(bins - 1 - len(cuts), np.inf)])


@dataclass(frozen=True, eq=False)
class Binning:
    """Cut points and level tables of all features of a catalogue.

    Attributes
    ----------
    catalogue : FeatureCatalogue
        Meaning of the columns.
    cuts : ndarray of float64, shape (numbers, bins - 1)
        Ascending cut points of each number, padded with infinity.
    levels : ndarray of int64, shape (sum of levels,)
        Bin (1 or more) of each category's levels, one feature after the other.
    """

    catalogue: FeatureCatalogue
    cuts: Floats
    levels: Ints

    def __post_init__(self) -> None:
        numbers = len(number_columns(self.catalogue))
        expected = sum(levels_of(f) for f in self.catalogue.features if f.kind == "category")
        if self.cuts.ndim != 2 or len(self.cuts) != numbers:
            raise ValueError(f"cuts have shape {self.cuts.shape}, expected ({numbers}, bins - 1)")
        if np.isnan(self.cuts).any() or (self.cuts[:, 1:] < self.cuts[:, :-1]).any():
            raise ValueError("cuts must ascend and hold no NaN")
        if self.levels.shape != (expected,) or (self.levels < 1).any():
            raise ValueError(f"levels must be {expected} bins of 1 or more")

    def level_slices(self) -> dict[int, slice]:
        """Return where each category's levels stand in ``levels``, by column."""
        out, start = {}, 0
        for j in category_columns(self.catalogue):
            width = levels_of(self.catalogue.features[j])
            out[j] = slice(start, start + width)
            start += width
        return out

    def used(self) -> list[int]:
        """Return the number of bins in use of each feature, the missing bin included."""
        out = [0] * len(self.catalogue.features)
        for row, j in enumerate(number_columns(self.catalogue)):
            out[j] = 2 + int(np.isfinite(self.cuts[row]).sum())
        for j, part in self.level_slices().items():
            out[j] = 1 + int(self.levels[part].max())
        return out

    def codes(self, values: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Return the bins, shape (d, n): feature by feature, as sums and look-ups read them."""
        out = np.zeros((len(self.catalogue.features), len(values)), dtype=np.uint16)
        for row, j in enumerate(number_columns(self.catalogue)):
            out[j] = _cut(self.catalogue.features[j], values[:, j], self.cuts[row])
        for j, part in self.level_slices().items():
            table = np.concatenate([[0], self.levels[part]])
            column = values[:, j]
            # A NaN fails both comparisons and so lands in bin 0, like an unknown level.
            known = (column >= 0) & (column < len(table) - 1)
            out[j] = table[np.where(known, column, -1).astype(np.int64) + 1]
        return out
