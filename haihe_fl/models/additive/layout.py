"""From noisy counts to bins: cut points, the order of categories, the cells of pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive.config import GROUPS, AdditiveConfig, ordered_by_target
from haihe_fl.models.additive.local import COUNT_SCALE, positives_weight
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.binning import (
    CELLS,
    Binning,
    category_columns,
    levels_of,
    merge,
    quantile_cuts,
    to_simplex,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRESENT = 3.0
"""Noise sds by which the missing values of a feature must stand out to be learnt from."""
OWN_CELL = 0.02
"""Share of missing values from which they have a place of their own along a pair's side."""
SHRINK = 20.0
"""Records' worth of the common rate that a category's rate is drawn towards, noise aside."""


def cut_points(histograms: Floats, edges: list[Floats], bins: int) -> Floats:
    """Return the cut points of all numbers, shape (numbers, bins - 1), from noisy histograms."""
    rows = histograms.reshape(-1, CELLS + 1)
    # All features have the same records, so their averaged totals say best how many.
    records = float(rows.sum(axis=1).mean()) if len(rows) else 0.0
    cuts = [
        quantile_cuts(to_simplex(row, records)[1:], grid, bins)
        for row, grid in zip(rows, edges, strict=True)
    ]
    return np.array(cuts).reshape(len(rows), bins - 1)


def plain_levels(catalogue: FeatureCatalogue) -> Ints:
    """Return the levels of all categories in catalogue order, one bin each."""
    parts = [
        np.arange(1, levels_of(catalogue.features[j]) + 1) for j in category_columns(catalogue)
    ]
    return np.concatenate([*parts, np.zeros(0)]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Census:
    """What the noisy counts say.

    Attributes
    ----------
    records, rate : float
        Number of records, share of positives.
    sd : float
        Noise on each count.
    counts : list of ndarray
        Noisy counts of each feature's bins; of a category's levels.
    """

    records: float
    rate: float
    sd: float
    counts: list[Floats]

    @classmethod
    def read(cls, vector: Floats, tables: Tables, sd: float) -> "Census":
        """Read the noisy vector of ``counts`` that was summed with ``tables``."""
        counts = [vector[tables.part(j)] for j in range(len(tables.widths))]
        used = np.array(tables.binning.used())
        sums = [float(c[:u].sum()) for c, u in zip(counts, used, strict=True)]
        # Each feature's bins add up to the records, with noise variance as their number.
        records = max(float(np.average(sums, weights=1 / used)), 1.0)
        positives = float(vector[-1]) * COUNT_SCALE / positives_weight(len(counts))
        return cls(records, min(max(positives / records, 0.001), 0.999), sd, counts)


def level_rates(
    catalogue: FeatureCatalogue, census: Census, positives: Floats, sd: float
) -> dict[int, Floats]:
    """Return each level's shrunken default rate, by column, from the noisy vector of ``order``."""
    rates, start = {}, 0
    weight = SHRINK + 2 * (sd + census.sd)
    for j in ordered_by_target(catalogue):
        seen = np.maximum(census.counts[j][1:], 0.0)
        hits = positives[start : start + len(seen)]
        rates[j] = (hits + weight * census.rate) / (seen + weight)
        start += len(seen)
    return rates


@dataclass(frozen=True, eq=False)
class Population:
    """The training population in the final bins.

    Attributes
    ----------
    records, rate : float
        Number of records, share of positives.
    floor : float
        Least count that a bin in use is taken to have.
    counts : ndarray, shape (sum of widths,)
        Count of each bin, at least ``floor`` where in use; 0 for a missing bin that does not
        stand out of the noise, and for bins not in use.
    """

    records: float
    rate: float
    floor: float
    counts: Floats


def arrange(
    catalogue: FeatureCatalogue,
    config: AdditiveConfig,
    cuts: Floats,
    census: Census,
    rates: dict[int, Floats],
) -> tuple[Tables, Population]:
    """Settle the bins: levels in the order of their rates, merged like numbers."""
    levels = plain_levels(catalogue)
    parts = Binning(catalogue, cuts, levels).level_slices()
    for j, part in parts.items():
        mass = np.maximum(census.counts[j][1:], 1e-9)
        order = np.argsort(rates[j], kind="stable") if j in rates else np.arange(len(mass))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = 1 + merge(mass[order], config.bins)
        levels[part] = place
    tables = Tables.empty(Binning(catalogue, cuts, levels), config.widths(catalogue))
    floor = max(2 * census.sd, 1.0)
    counts = np.zeros(len(tables.main))
    for j, used in enumerate(tables.binning.used()):
        mine = census.counts[j]
        if j in parts:
            inner = np.bincount(levels[parts[j]] - 1, mine[1:], used - 1)
            mine = np.append(mine[0], inner)
        counts[tables.part(j)][:used] = np.maximum(mine[:used], floor)
        if mine[0] <= max(PRESENT * census.sd, 0.5):
            counts[tables.part(j)][0] = 0.0
    population = Population(census.records, census.rate, floor, counts)
    return tables.replace(groups=_groups(tables, population)), population


def _groups(tables: Tables, population: Population) -> Ints:
    """Merge each feature's bins into the places of a pair's side."""
    groups = np.zeros(len(tables.main), dtype=np.int64)
    for j, used in enumerate(tables.binning.used()):
        part = tables.part(j)
        mass = population.counts[part][:used]
        own = int(mass[0] > OWN_CELL * population.records)
        inner = own + merge(np.maximum(mass[1:], 1e-9), GROUPS - own)
        groups[part][1:used] = inner
        # Missing values too few for a place of their own go where most records are.
        groups[part][0] = 0 if own else inner[np.argmax(mass[1:])]
    return groups


def side_shares(tables: Tables, population: Population, j: int) -> Floats:
    """Return the share of records at each place along feature j's side of a pair."""
    part = tables.part(j)
    mass = np.bincount(tables.groups[part], population.counts[part], GROUPS)
    return np.asarray(mass / mass.sum())
