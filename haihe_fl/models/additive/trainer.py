"""The centre's side of training: one noisy sum in, one step taken.

Everything here is post-processing of noisy sums, so nothing costs budget but the releases.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit  # type: ignore[import-untyped]

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive import algebra
from haihe_fl.models.additive.config import BUCKETS, GROUPS, AdditiveConfig, ordered_by_target
from haihe_fl.models.additive.local import (
    COUNT_SCALE,
    RESIDUAL_SCALE,
    positives_weight,
    sensitivity,
)
from haihe_fl.models.additive.model import AdditiveModel
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.binning import (
    CELLS,
    Binning,
    category_columns,
    grid,
    levels_of,
    merge,
    number_columns,
    quantile_cuts,
    to_simplex,
)
from haihe_fl.models.releases import Arrays, PlannedRelease, ReleaseRequest

Floats = NDArray[np.float64]


class AdditiveTrainer:
    """Trains an ``AdditiveModel`` from noisy sums.

    Parameters
    ----------
    catalogue : FeatureCatalogue
        The public meaning of the columns.
    config : AdditiveConfig
        Public settings.
    mu : float
        Gaussian-DP budget of one record; infinity for no noise, in tests and benchmarks only.
    edges : list of ndarray, optional
        Inner cut points (CELLS - 1 of them) of each number's grid; left out, the public grid.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="age", range=(0, 80)),))
    >>> AdditiveTrainer(c, AdditiveConfig(), mu=0.719).next_request().kind
    'additive/quantiles'
    """

    def __init__(
        self,
        catalogue: FeatureCatalogue,
        config: AdditiveConfig,
        mu: float,
        edges: list[Floats] | None = None,
    ) -> None:
        self.catalogue, self.config = catalogue, config
        self._edges = edges or [grid(catalogue.features[j]) for j in number_columns(catalogue)]
        self._plan = config.schedule(catalogue, mu)
        self._done = 0
        self._trace: list[dict[str, float]] = []
        self._slots = config.pair_slots(catalogue)
        self._cuts = np.zeros((len(self._edges), config.bins - 1))
        levels = [np.arange(1, levels_of(f) + 1) for f in catalogue.features if f.kind != "number"]
        self._levels = np.concatenate([*levels, np.zeros(0)]).astype(np.int64)
        self._fine: list[Floats] = []
        self._records, self._rate, self._curvature = 1.0, 0.5, 0.125
        self._mean: list[tuple[Floats, float, Floats]] = []
        self._edges_of_scores = algebra.score_edges(0.0, 1.0)
        if not self._edges:
            self._retable(fine=True)

    def schedule(self) -> list[PlannedRelease]:
        """Return all releases of the run, in order."""
        return list(self._plan)

    def next_request(self) -> ReleaseRequest | None:
        """Return the next release, or None when the model is done."""
        if self._done == len(self._plan):
            return None
        plan = self._plan[self._done]
        kind = plan.kind.removeprefix("additive/")
        arrays: Arrays = {} if kind in ("quantiles", "order") else self._tables.arrays()
        if kind == "screen":
            arrays["candidates"] = self._candidates
        elif kind == "scores":
            arrays["edges"] = self._edges_of_scores
        return ReleaseRequest(
            plan.name, plan.kind, plan.noise_multiplier, plan.length, plan.part, arrays
        )

    def absorb(self, total: NDArray[np.int64] | Floats) -> None:
        """Take the noisy sum of the release last asked for."""
        plan = self._plan[self._done]
        if total.shape != (plan.length,):
            raise ValueError(f"{plan.name} is a vector of {plan.length}, not {total.shape}")
        kind = plan.kind.removeprefix("additive/")
        scale = RESIDUAL_SCALE if kind in ("main", "screen", "joint") else COUNT_SCALE
        pairs = {"screen": plan.length // GROUPS**2}.get(kind, self._slots)
        sd = plan.noise_multiplier * sensitivity(kind, self.catalogue, pairs) / scale
        steps: dict[str, Callable[[Floats, float], float]] = {
            "quantiles": self._on_quantiles,
            "counts": self._on_counts,
            "order": self._on_order,
            "main": self._on_gradient,
            "screen": self._on_screen,
            "pair-counts": self._on_pair_counts,
            "joint": self._on_gradient,
            "scores": self._on_scores,
        }
        moved = steps[kind](total.astype(np.float64) / scale, sd)
        self._done += 1
        self._trace.append({"release": float(self._done), "noise_sd": sd, "step": moved})

    def model(self) -> AdditiveModel:
        """Return the model as it stands; ``ValueError`` before the counts are in."""
        if not self._fine:
            raise ValueError("there is no model before the counts are in")
        return AdditiveModel(self._tables, self._counts)

    def trace(self) -> list[dict[str, float]]:
        """Return one row a release: its number, the noise on each entry, the step's norm."""
        return list(self._trace)

    def _retable(self, *, fine: bool) -> None:
        binning = Binning(self.catalogue, self._cuts, self._levels)
        self._tables = Tables.empty(binning, self.config.widths(self.catalogue, fine=fine))

    def _on_quantiles(self, histograms: Floats, sd: float) -> float:
        rows = histograms.reshape(-1, CELLS + 1)
        # All features have the same records, so their averaged totals say best how many.
        records = float(rows.sum(axis=1).mean())
        for i, row in enumerate(rows):
            mass = to_simplex(row, records)[1:]
            self._cuts[i] = quantile_cuts(mass, self._edges[i], self.config.bins)
        self._retable(fine=True)
        return 0.0

    def _on_counts(self, counts: Floats, sd: float) -> float:
        tables, d = self._tables, len(self.catalogue.features)
        self._fine = [counts[tables.part(j)] for j in range(d)]
        used = tables.binning.used()
        sums = np.array([c[:u].sum() for c, u in zip(self._fine, used, strict=True)])
        self._records = max(float(np.average(sums, weights=1 / np.array(used))), 1.0)
        positives = counts[-1] * COUNT_SCALE / positives_weight(d)
        self._rate = min(max(positives / self._records, 0.001), 0.999)
        self._sd_counts = sd
        if not ordered_by_target(self.catalogue):
            self._arrange({})
        return 0.0

    def _on_order(self, positives: Floats, sd: float) -> float:
        rates, start = {}, 0
        for j in ordered_by_target(self.catalogue):
            width = levels_of(self.catalogue.features[j])
            seen = np.maximum(self._fine[j][1:], 0.0)
            shrink = 20.0 + 2 * sd + 2 * self._sd_counts
            hits = positives[start : start + width] + shrink * self._rate
            rates[j] = hits / (seen + shrink)
            start += width
        self._arrange(rates)
        return 0.0

    def _arrange(self, rates: dict[int, Floats]) -> None:
        """Settle the bins: categories in their order, merged like numbers; then start."""
        parts = Binning(self.catalogue, self._cuts, self._levels).level_slices()
        d, bins = len(self.catalogue.features), self.config.bins
        for j in category_columns(self.catalogue):
            order = (
                np.argsort(rates[j], kind="stable")
                if j in rates
                else np.arange(levels_of(self.catalogue.features[j]))
            )
            mass = np.maximum(self._fine[j][1:], 1e-9)
            index = np.empty(len(order), dtype=np.int64)
            index[order] = 1 + merge(mass[order], bins)
            self._levels[parts[j]] = index
        self._retable(fine=False)
        used = self._tables.binning.used()
        self._counts = np.zeros(len(self._tables.main))
        self._present = np.ones(d, dtype=np.bool_)
        self._solvers: list[Floats] = []
        start, self._curvature = algebra.balanced_start(self._rate)
        self._tables = self._tables.replace(intercept=start, groups=self._grouping())
        for j in range(d):
            counts = self._fine[j]
            if j in parts:
                size = int(self._tables.widths[j])
                counts = np.append(
                    counts[0], np.bincount(self._levels[parts[j]] - 1, counts[1:], size - 1)
                )
            floor = max(2 * self._sd_counts, 1.0)
            self._present[j] = counts[0] > max(3 * self._sd_counts, 0.5)
            self._counts[self._tables.part(j)][: used[j]] = np.maximum(counts[: used[j]], floor)
            if not self._present[j]:
                self._counts[self._tables.part(j)][0] = 0.0
            self._solvers.append(self._solver(j, used[j], floor))
        self._tables = self._tables.replace(groups=self._grouping())
        self._begin()

    def _solver(self, j: int, used: int, floor: float) -> Floats:
        """Return the inverse of feature j's preconditioner."""
        feature = self.catalogue.features[j]
        counts = np.maximum(self._counts[self._tables.part(j)][:used], floor)
        linked = feature.kind == "number" or used > 3
        penalty = algebra.chain_penalty(used, linked=linked)
        weight = self._smoothing("main", used - 1) * self._records / max(used - 1, 1)
        if not linked:
            weight *= 0.1
        return np.linalg.inv(self._curvature * (np.diag(counts) + weight * penalty))

    def _smoothing(self, kind: str, cells: int) -> float:
        """Return the penalty's strength: more where the noise drowns a typical cell.

        The noise counts by its variance on a phase's mean gradient, relative to the sampling
        variance of the residuals of a cell of average size.
        """
        phase = [r for r in self._plan if r.kind == f"additive/{kind}"]
        bound = sensitivity(kind, self.catalogue, self._slots) / RESIDUAL_SCALE
        noise = (phase[0].noise_multiplier * bound) ** 2 / len(phase)
        sampling = self._curvature * self._records / max(cells, 1)
        return self.config.smoothing + self.config.noise_smoothing * noise / sampling

    def _grouping(self) -> NDArray[np.int64]:
        """Merge each feature's bins into the cells of a pair's side."""
        groups = np.zeros(len(self._tables.main), dtype=np.int64)
        for j, used in enumerate(self._tables.binning.used()):
            part = self._tables.part(j)
            mass = self._counts[part][:used]
            own = mass[0] > 0.02 * self._records
            inner = merge(np.maximum(mass[1:], 1e-9), GROUPS - own) + own
            groups[part][1:used] = inner
        return groups

    def _begin(self) -> None:
        """Start a phase: the average over its second half begins afresh."""
        self._mean, self._round = [], 0

    def _on_gradient(self, sums: Floats, sd: float) -> float:
        cfg, tables = self.config, self._tables
        d, k = len(tables.widths), len(tables.pairs)
        joint = k > 0
        rounds = cfg.joint_rounds if joint else self._main_rounds()
        eta = min(0.3, cfg.joint_step / (d + k) if joint else cfg.main_step / d)
        self._round += 1
        used, main = tables.binning.used(), tables.main.copy()
        shift, weight = 0.0, 0.0
        for j, solver in enumerate(self._solvers):
            part = tables.part(j)
            gradient = sums[part][: used[j]].copy()
            shift, weight = shift + gradient.sum() / used[j], weight + 1 / used[j]
            if not self._present[j]:
                gradient[0] = 0.0
            step, _ = algebra.centred(solver @ gradient, self._counts[part][: used[j]])
            main[part][: used[j]] += eta * step
            if not self._present[j]:
                main[part][0] = 0.0
        total = shift / weight
        intercept = tables.intercept + 0.5 * total / (self._curvature * self._records)
        cells = tables.cells.copy()
        for i in range(k):
            gradient = sums[len(main) + i * GROUPS**2 :][: GROUPS**2]
            step, _ = algebra.centred(self._pair_solvers[i] @ gradient, self._pair_counts[i])
            cells[i] += min(0.3, cfg.pair_step / (d + k)) * step * self._active[i]
        moved = float(np.linalg.norm(main - tables.main))
        if self._round % cfg.projection_every == 0:
            main = self._project(main)
        self._tables = tables.replace(
            main=np.clip(main, -20, 20), intercept=float(np.clip(intercept, -20, 20)), cells=cells
        )
        if self._round > rounds // 2:
            self._mean.append((self._tables.main, self._tables.intercept, self._tables.cells))
        if self._round == rounds:
            self._finish_phase()
        return moved

    def _main_rounds(self) -> int:
        return self.config.main_rounds if self._slots else self.config.rounds_without_pairs

    def _project(self, main: Floats) -> Floats:
        out = main.copy()
        for j, (feature, used) in enumerate(
            zip(self.catalogue.features, self._tables.binning.used(), strict=True)
        ):
            if feature.direction and (feature.kind == "number" or feature.ordered):
                part = self._tables.part(j)
                weights = np.maximum(self._counts[part][:used], 1e-3)
                out[part][:used] = algebra.monotone(main[part][:used], weights, feature.direction)
        return out

    def _finish_phase(self) -> None:
        """Average the second half of the iterates, project, and prepare what comes next."""
        main = self._project(np.mean([m for m, _, _ in self._mean], axis=0))
        cells = np.mean([c for _, _, c in self._mean], axis=0)
        intercept = float(np.mean([b for _, b, _ in self._mean]))
        self._tables = self._tables.replace(main=main, intercept=intercept, cells=cells)
        variance = self._spread()
        if self._slots and not len(self._tables.pairs):
            free = [j for j, f in enumerate(self.catalogue.features) if f.direction == 0]
            free.sort(key=lambda j: -variance[j])
            self._candidates = np.array(
                sorted(free[: self.config.screened(self.catalogue)]), dtype=np.int64
            )
        else:
            cells_spread = sum(
                float(np.average(c**2, weights=w))
                for c, w in zip(cells, getattr(self, "_pair_counts", []), strict=False)
            )
            spread = math.sqrt(float(variance.sum()) + cells_spread)
            self._edges_of_scores = algebra.score_edges(intercept, spread)

    def _spread(self) -> Floats:
        """Return the variance of each feature's effect over the noisy counts."""
        out = []
        for j in range(len(self._tables.widths)):
            part = self._tables.part(j)
            out.append(float(np.average(self._tables.main[part] ** 2, weights=self._counts[part])))
        return np.array(out)

    def _on_screen(self, sums: Floats, sd: float) -> float:
        pairs = algebra.pair_list(self._candidates)
        share = {int(j): self._side_shares(int(j)) for j in self._candidates}
        expected = np.array(
            [self._records * np.outer(share[a], share[b]).ravel() for a, b in pairs.tolist()]
        )
        scores = algebra.pair_scores(
            sums.reshape(len(pairs), -1), expected, self._curvature, sd * sd
        )
        best = np.sort(np.argsort(-scores, kind="stable")[: self._slots])
        self._active = scores[best] > 0
        self._tables = self._tables.replace(
            pairs=pairs[best], cells=np.zeros((self._slots, GROUPS**2))
        )
        self._begin()
        return 0.0

    def _side_shares(self, j: int) -> Floats:
        part = self._tables.part(j)
        mass = np.bincount(self._tables.groups[part], self._counts[part], GROUPS)
        return np.asarray(mass / mass.sum())

    def _on_pair_counts(self, counts: Floats, sd: float) -> float:
        penalty = algebra.square_penalty()
        weight = (
            self.config.pair_smoothing
            * self._smoothing("joint", GROUPS**2)
            * self._records
            / GROUPS**2
        )
        self._pair_counts = [
            np.maximum(row, max(2 * sd, 1.0)) for row in counts.reshape(self._slots, -1)
        ]
        self._pair_solvers = [
            np.linalg.inv(self._curvature * (np.diag(row) + weight * penalty))
            for row in self._pair_counts
        ]
        return 0.0

    def _on_scores(self, counts: Floats, sd: float) -> float:
        """Put the score on the scale of log-odds: the clipped residuals fit another link."""
        counts = to_simplex(counts, self._records)
        slope, intercept = algebra.platt(self._edges_of_scores, counts[:BUCKETS], counts[BUCKETS:])
        tables = self._tables
        self._tables = tables.replace(
            main=slope * tables.main,
            cells=slope * tables.cells * (self._active[:, None] if self._slots else 1.0),
            intercept=slope * tables.intercept + intercept,
        )
        return abs(slope - 1.0)


def expected_rate(model: AdditiveModel) -> float:
    """Return the probability of default of the average borrower."""
    return float(expit(model.base))
