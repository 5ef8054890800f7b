"""One phase of gradient steps on the tables, from noisy sums of residuals."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature
from haihe_fl.models.additive import algebra
from haihe_fl.models.additive.config import GROUPS, AdditiveConfig
from haihe_fl.models.additive.layout import Population
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.binning import levels_of

Floats = NDArray[np.float64]

LARGEST_LOGIT = 20.0
INTERCEPT_STEP = 0.5
UNLINKED = 0.1
"""Strength of the ridge on levels without an order, relative to that on differences."""
CELLS_OF_PAIR = GROUPS * GROUPS


def constrained(feature: Feature) -> bool:
    """Tell whether a feature's effect must keep its direction: its bins must have an order."""
    ordered = feature.kind == "number" or feature.ordered or levels_of(feature) == 2
    return feature.direction != 0 and ordered


class Descent:
    """Takes a phase's steps; the average over its second half is the result.

    Every step is preconditioned by an inverse of curvature x (counts + penalty), so that bins
    with many records move by what their residuals say and the others follow their neighbours.
    Tables are centred after each step; the intercept moves by itself.

    Parameters
    ----------
    tables : Tables
        Where to start, with the pairs of the phase.
    population : Population
        Counts of the bins.
    pair_counts : ndarray, shape (K, cells)
        Noisy counts of the pairs' cells, floored.
    active : ndarray of bool, shape (K,)
        Pairs that move.
    config : AdditiveConfig
        Settings.
    rounds : int
        Steps of the phase.
    noise : float
        Standard deviation of the noise on each sum of residuals.
    """

    def __init__(
        self,
        tables: Tables,
        population: Population,
        pair_counts: Floats,
        active: NDArray[np.bool_],
        config: AdditiveConfig,
        rounds: int,
        noise: float,
    ) -> None:
        self.tables, self.rounds, self.taken = tables, rounds, 0
        self._population, self._config = population, config
        self._features = tables.binning.catalogue.features
        self._used = tables.binning.used()
        self._curvature = algebra.balanced_start(population.rate)[1]
        self._noise = noise * noise / rounds
        self._solvers = [self._solver(j) for j in range(len(self._used))]
        self._pair_counts = pair_counts
        self._pair_solvers = [self._pair_solver(row) for row in pair_counts]
        d, k = len(self._used), len(tables.pairs)
        self._eta = min(0.3, config.joint_step / (d + k) if k else config.main_step / d)
        self._pair_eta = min(0.3, config.pair_step / (d + k)) * active[:, None]
        self._kept: list[Tables] = []

    @property
    def done(self) -> bool:
        """Whether all steps are taken."""
        return self.taken == self.rounds

    def step(self, sums: Floats) -> float:
        """Take a step; return the norm of the main tables' change."""
        before, main = self.tables, self.tables.main.copy()
        excess, weight = 0.0, 0.0
        for j, (solver, used) in enumerate(zip(self._solvers, self._used, strict=True)):
            part = before.part(j)
            counts, gradient = self._population.counts[part][:used], sums[part][:used].copy()
            # Every feature's sums add up to the same total, with noise as its bins are many.
            excess, weight = excess + float(gradient.sum()) / used, weight + 1 / used
            gradient[counts == 0.0] = 0.0
            change = algebra.centred(solver @ gradient, counts)[0]
            change[counts == 0.0] = 0.0
            main[part][:used] += self._eta * change
        cells, rest = before.cells.copy(), sums[len(main) :].reshape(-1, CELLS_OF_PAIR)
        for k, solver in enumerate(self._pair_solvers):
            change = algebra.centred(solver @ rest[k], self._pair_counts[k])[0]
            cells[k] += self._pair_eta[k] * change
        newton = excess / weight / (self._curvature * self._population.records)
        self.taken += 1
        if self.taken % self._config.projection_every == 0:
            main = self._project(main)
        self.tables = before.replace(
            main=_bounded(main),
            cells=_bounded(cells),
            intercept=float(_bounded(before.intercept + INTERCEPT_STEP * newton)),
        )
        if self.taken > self.rounds // 2:
            self._kept.append(self.tables)
        return float(np.linalg.norm(self.tables.main - before.main))

    def result(self) -> Tables:
        """Return the average over the second half, monotone where it must be."""
        mean: Callable[[list[Floats]], Floats] = lambda values: np.mean(values, axis=0)  # noqa: E731
        return self.tables.replace(
            main=self._project(mean([t.main for t in self._kept])),
            cells=mean([t.cells for t in self._kept]),
            intercept=float(np.mean([t.intercept for t in self._kept])),
        )

    def _smoothing(self, cells: int) -> float:
        """Return the penalty's strength: more where noise drowns the residuals of a usual cell.

        The noise counts by its variance on the phase's mean gradient, relative to the sampling
        variance of the residuals of a cell of average size.
        """
        sampling = self._curvature * self._population.records / cells
        return self._config.smoothing + self._config.noise_smoothing * self._noise / sampling

    def _solver(self, j: int) -> Floats:
        used = self._used[j]
        inner = max(used - 1, 1)
        counts = self._population.counts[self.tables.part(j)][:used]
        linked = self._features[j].kind == "number" or inner > 2
        penalty = algebra.chain_penalty(used, linked=linked) * (1.0 if linked else UNLINKED)
        penalty *= self._smoothing(inner) * self._population.records / inner
        whole = np.diag(np.maximum(counts, self._population.floor)) + penalty
        return np.asarray(np.linalg.inv(self._curvature * whole))

    def _pair_solver(self, counts: Floats) -> Floats:
        weight = self._config.pair_smoothing * self._smoothing(CELLS_OF_PAIR)
        weight *= self._population.records / CELLS_OF_PAIR
        whole = np.diag(counts) + weight * algebra.square_penalty()
        return np.asarray(np.linalg.inv(self._curvature * whole))

    def _project(self, main: Floats) -> Floats:
        out = main.copy()
        for j, (feature, used) in enumerate(zip(self._features, self._used, strict=True)):
            if constrained(feature):
                part = self.tables.part(j)
                weights = np.maximum(self._population.counts[part][:used], 1e-3)
                out[part][:used] = algebra.monotone(main[part][:used], weights, feature.direction)
        return out


def _bounded(values: Floats | float) -> Floats:
    return np.asarray(np.clip(values, -LARGEST_LOGIT, LARGEST_LOGIT))
