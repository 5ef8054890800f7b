"""The centre's side of training: one noisy sum in, one step taken.

Everything here is post-processing of noisy sums, so nothing costs budget but the releases.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive import algebra, layout
from haihe_fl.models.additive.config import BUCKETS, GROUPS, AdditiveConfig, ordered_by_target
from haihe_fl.models.additive.descent import Descent
from haihe_fl.models.additive.local import COUNT_SCALE, RESIDUAL_SCALE, sensitivity
from haihe_fl.models.additive.model import AdditiveModel
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.binning import Binning, grid, number_columns, to_simplex
from haihe_fl.models.releases import Arrays, PlannedRelease, ReleaseRequest

Floats = NDArray[np.float64]

PREFIX = "additive/"


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
        self._plan = config.schedule(catalogue, mu)
        self._done = 0
        self._trace: list[dict[str, float]] = []
        columns = number_columns(catalogue)
        self._edges = edges or [grid(catalogue.features[j]) for j in columns]
        self._slots = config.pair_slots(catalogue, mu)
        self._cuts = np.full((len(columns), config.bins - 1), np.inf)
        self._census: layout.Census | None = None
        self._population: layout.Population | None = None
        self._candidates = np.zeros(0, dtype=np.int64)
        self._active = np.zeros(0, dtype=np.bool_)
        self._pair_counts = np.zeros((0, GROUPS**2))
        self._descent: Descent | None = None
        self._score_edges = algebra.score_edges(0.0, 1.0)
        self._tables = self._fine_tables()

    def schedule(self) -> list[PlannedRelease]:
        """Return all releases of the run, in order."""
        return list(self._plan)

    def next_request(self) -> ReleaseRequest | None:
        """Return the next release, or None when the model is done."""
        if self._done == len(self._plan):
            return None
        plan = self._plan[self._done]
        kind = plan.kind.removeprefix(PREFIX)
        arrays: Arrays = {} if kind in ("quantiles", "order") else self._tables.arrays()
        if kind == "screen":
            arrays["candidates"] = self._candidates
        elif kind == "scores":
            arrays["edges"] = self._score_edges
        return ReleaseRequest(
            plan.name, plan.kind, plan.noise_multiplier, plan.length, plan.part, arrays
        )

    def absorb(self, total: NDArray[np.int64] | Floats) -> None:
        """Take the noisy sum of the release last asked for; ``ValueError`` if it has no place."""
        if self._done == len(self._plan):
            raise ValueError("the run is over; no release is due")
        plan = self._plan[self._done]
        if total.shape != (plan.length,):
            raise ValueError(f"{plan.name} is a vector of {plan.length}, not {total.shape}")
        kind = plan.kind.removeprefix(PREFIX)
        scale = RESIDUAL_SCALE if kind in ("main", "screen", "joint") else COUNT_SCALE
        sd = self._noise(plan) / scale
        handlers: dict[str, Callable[[Floats, float], float]] = {
            "quantiles": self._on_quantiles,
            "counts": self._on_counts,
            "order": self._on_order,
            "main": self._on_gradient,
            "screen": self._on_screen,
            "pair-counts": self._on_pair_counts,
            "joint": self._on_gradient,
            "scores": self._on_scores,
        }
        moved = handlers[kind](total.astype(np.float64) / scale, sd)
        self._done += 1
        self._trace.append({"release": float(self._done), "noise_sd": sd, "step": moved})

    def model(self) -> AdditiveModel:
        """Return the model as it stands; ``ValueError`` before the bins are settled."""
        return AdditiveModel(self._tables, self._settled().counts)

    def trace(self) -> list[dict[str, float]]:
        """Return one row a release: its number, the noise on each entry, the step's norm."""
        return list(self._trace)

    def _noise(self, plan: PlannedRelease) -> float:
        """Return the standard deviation of the noise on a release, in integer units."""
        kind = plan.kind.removeprefix(PREFIX)
        pairs = plan.length // GROUPS**2 if kind == "screen" else self._slots
        return plan.noise_multiplier * sensitivity(kind, self.catalogue, pairs)

    def _settled(self) -> layout.Population:
        if self._population is None:
            raise ValueError("there is no model before the bins are settled")
        return self._population

    def _fine_tables(self) -> Tables:
        binning = Binning(self.catalogue, self._cuts, layout.plain_levels(self.catalogue))
        return Tables.empty(binning, self.config.widths(self.catalogue, fine=True))

    def _on_quantiles(self, histograms: Floats, sd: float) -> float:
        self._cuts = layout.cut_points(histograms, self._edges, self.config.bins)
        self._tables = self._fine_tables()
        return 0.0

    def _on_counts(self, counts: Floats, sd: float) -> float:
        self._census = layout.Census.read(counts, self._tables, sd)
        if not ordered_by_target(self.catalogue):
            self._arrange(self._census, {})
        return 0.0

    def _on_order(self, positives: Floats, sd: float) -> float:
        assert self._census is not None
        self._arrange(self._census, layout.level_rates(self.catalogue, self._census, positives, sd))
        return 0.0

    def _arrange(self, census: layout.Census, rates: dict[int, Floats]) -> None:
        tables, self._population = layout.arrange(
            self.catalogue, self.config, self._cuts, census, rates
        )
        self._tables = tables.replace(intercept=algebra.balanced_start(census.rate)[0])
        self._begin("main")

    def _begin(self, kind: str) -> None:
        phase = [plan for plan in self._plan if plan.kind == PREFIX + kind]
        noise = self._noise(phase[0]) / RESIDUAL_SCALE
        self._descent = Descent(
            self._tables,
            self._settled(),
            self._pair_counts,
            self._active,
            self.config,
            len(phase),
            noise,
        )

    def _on_gradient(self, sums: Floats, sd: float) -> float:
        assert self._descent is not None
        moved = self._descent.step(sums)
        self._tables = self._descent.tables
        if self._descent.done:
            self._tables = self._descent.result()
            self._after_phase()
        return moved

    def _after_phase(self) -> None:
        """Choose what the next release looks at: the strongest features, or the score's range."""
        tables, counts = self._tables, self._settled().counts
        spread = [
            float(np.average(tables.main[part] ** 2, weights=counts[part]))
            for part in map(tables.part, range(len(tables.widths)))
        ]
        if self._slots and not len(tables.pairs):
            free = [j for j, f in enumerate(self.catalogue.features) if f.direction == 0]
            free.sort(key=lambda j: -spread[j])
            chosen = sorted(free[: self.config.screened(self.catalogue)])
            self._candidates = np.array(chosen, dtype=np.int64)
            return
        pairs = [
            float(np.average(cells**2, weights=row))
            for cells, row in zip(tables.cells, self._pair_counts, strict=True)
        ]
        sd = math.sqrt(math.fsum(spread + pairs))
        self._score_edges = algebra.score_edges(tables.intercept, sd)

    def _on_screen(self, sums: Floats, sd: float) -> float:
        tables, population = self._tables, self._settled()
        pairs = algebra.pair_list(self._candidates)
        share = {j: layout.side_shares(tables, population, j) for j in self._candidates.tolist()}
        expected = [population.records * np.outer(share[a], share[b]).ravel() for a, b in pairs]
        curvature = algebra.balanced_start(population.rate)[1]
        scores = algebra.pair_scores(
            sums.reshape(len(pairs), -1), np.array(expected), curvature, sd * sd
        )
        best = np.sort(np.argsort(-scores, kind="stable")[: self._slots])
        # The schedule has room for all slots; a pair that shows nothing keeps its place at zero.
        self._active = scores[best] > 0
        self._tables = tables.replace(pairs=pairs[best], cells=np.zeros((self._slots, GROUPS**2)))
        return 0.0

    def _on_pair_counts(self, counts: Floats, sd: float) -> float:
        self._pair_counts = np.maximum(counts.reshape(self._slots, -1), max(2 * sd, 1.0))
        self._begin("joint")
        return 0.0

    def _on_scores(self, counts: Floats, sd: float) -> float:
        """Put the score on the scale of log-odds: the clipped residuals fit another link."""
        population = self._settled()
        nearest = to_simplex(counts, population.records)
        slope, intercept = algebra.platt(self._score_edges, nearest[:BUCKETS], nearest[BUCKETS:])
        tables = self._tables
        kept = np.flatnonzero(self._active)
        scaled = tables.replace(
            main=slope * tables.main,
            intercept=slope * tables.intercept + intercept,
            pairs=tables.pairs[kept],
            cells=slope * tables.cells[kept],
        )
        self._tables = algebra.purified(scaled, population.counts, self._pair_counts[kept])
        return abs(slope - 1.0)
