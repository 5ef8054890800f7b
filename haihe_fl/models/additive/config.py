"""Settings of the additive model, and the schedule that follows from them."""

import math
from dataclasses import dataclass

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.binning import CELLS, levels_of, number_columns
from haihe_fl.models.releases import PlannedRelease

GROUPS = 7
"""Cells along each side of a pair."""
BUCKETS = 32
"""Score buckets of the calibration release."""


def ordered_by_target(catalogue: FeatureCatalogue) -> list[int]:
    """Return the unordered categories whose levels are put in order of their noisy rates."""
    return [
        j
        for j, f in enumerate(catalogue.features)
        if f.kind == "category" and not f.ordered and levels_of(f) > 2
    ]


@dataclass(frozen=True)
class AdditiveConfig:
    """Settings of the additive model; all of them public and fixed before a run.

    Attributes
    ----------
    bins : int
        Most bins of a feature, the missing bin aside (B).
    main_rounds, joint_rounds : int
        Gradient releases before and after the pairs are chosen (T1, T2).
    rounds_without_pairs : int
        Gradient releases when there are no pairs.
    pairs : int
        Most pairs (K); 0 leaves them out. Only unconstrained features take pairs.
    pairs_from : float
        With a smaller mu than this there are no pairs: their noise costs more than they bring.
    candidates : int
        Features among which pairs are sought: the strongest main effects.
    share_* : float
        Weight of each release in mu squared; scaled to add up to one.
    main_step, joint_step : float
        Step sizes are min(.3, main_step / d) and min(.3, joint_step / (d + K)).
    smoothing : float
        Strength of the difference penalty in the preconditioner, without noise.
    noise_smoothing : float
        What the ratio of noise to sampling variance adds to it.
    pair_smoothing : float
        The penalty's strength on pairs, relative to that on features.
    pair_step : float
        Step size of pairs is min(.3, pair_step / (d + K)).
    projection_every : int
        Rounds between two projections onto the monotone constraints.
    """

    bins: int = 24
    main_rounds: int = 15
    joint_rounds: int = 15
    rounds_without_pairs: int = 20
    pairs: int = 10
    pairs_from: float = 0.4
    candidates: int = 12
    share_quantiles: float = 0.05
    share_counts: float = 0.05
    share_order: float = 0.02
    share_main: float = 0.45
    share_screen: float = 0.10
    share_joint: float = 0.35
    share_scores: float = 0.01
    main_step: float = 3.0
    joint_step: float = 2.0
    smoothing: float = 0.3
    noise_smoothing: float = 4.0
    pair_smoothing: float = 0.3
    pair_step: float = 4.0
    projection_every: int = 5

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 250 or self.pairs < 0 or self.candidates < 2:
            raise ValueError("bins must lie in 2..250, pairs be 0 or more, candidates 2 or more")
        if min(self.main_rounds, self.joint_rounds, self.rounds_without_pairs) < 2:
            raise ValueError("each phase needs two rounds or more")

    def widths(self, catalogue: FeatureCatalogue, *, fine: bool = False) -> list[int]:
        """Return the entries kept for each feature, missing bin included.

        ``fine`` keeps one bin a level of a category; else categories are merged like numbers.
        """
        return [
            1 + (self.bins if f.kind == "number" else _coarse(levels_of(f), self.bins, fine))
            for f in catalogue.features
        ]

    def free(self, catalogue: FeatureCatalogue) -> int:
        """Return the number of features that may take part in pairs."""
        return sum(f.direction == 0 for f in catalogue.features)

    def pair_slots(self, catalogue: FeatureCatalogue, mu: float) -> int:
        """Return the number of pairs that the schedule has room for."""
        if mu < self.pairs_from:
            return 0
        m = self.screened(catalogue)
        return min(self.pairs, m * (m - 1) // 2)

    def screened(self, catalogue: FeatureCatalogue) -> int:
        """Return the number of features among which pairs are sought."""
        return min(self.candidates, self.free(catalogue))

    def schedule(self, catalogue: FeatureCatalogue, mu: float) -> list[PlannedRelease]:
        """Return the releases of a run; the squares of 1/z add up to mu squared.

        Parameters
        ----------
        catalogue : FeatureCatalogue
            Gives the lengths.
        mu : float
            Gaussian-DP budget of one record; infinity switches the noise off (tests only).

        Examples
        --------
        >>> from haihe_fl.data.catalogue import Feature
        >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="age", range=(0, 80)),))
        >>> plan = AdditiveConfig(pairs=0).schedule(c, mu=0.719)
        >>> len(plan), round(sum(r.noise_multiplier**-2 for r in plan) ** 0.5, 12)
        (23, 0.719)
        """
        if not mu > 0:
            raise ValueError(f"mu must be positive, not {mu}")
        numbers, k = len(number_columns(catalogue)), self.pair_slots(catalogue, mu)
        order = ordered_by_target(catalogue)
        width, m = sum(self.widths(catalogue)), self.screened(catalogue)
        fine = sum(self.widths(catalogue, fine=True))
        levels = sum(levels_of(catalogue.features[j]) for j in order)
        tables, cells = self.share_screen + self.share_joint, GROUPS * GROUPS
        parts: list[tuple[str, float, int, int]] = []
        if numbers:
            parts.append(("quantiles", self.share_quantiles, 1, numbers * (CELLS + 1)))
        parts.append(("counts", self.share_counts, 1, fine + 1))
        if order:
            parts.append(("order", self.share_order * min(len(order), 3), 1, levels))
        if k:
            parts += [
                ("main", self.share_main, self.main_rounds, width),
                ("screen", self.share_screen / 2, 1, m * (m - 1) // 2 * cells),
                ("pair-counts", self.share_screen / 2, 1, k * cells),
                ("joint", self.share_joint, self.joint_rounds, width + k * cells),
            ]
        else:
            parts.append(("main", self.share_main + tables, self.rounds_without_pairs, width))
        parts.append(("scores", self.share_scores, 1, 2 * BUCKETS))
        whole = math.fsum(share for _, share, _, _ in parts)
        return [
            PlannedRelease(
                name=f"{kind}/{i:02d}" if times > 1 else kind,
                kind=f"additive/{kind}",
                noise_multiplier=math.sqrt(times * whole / share) / mu,
                length=length,
            )
            for kind, share, times, length in parts
            for i in range(1, times + 1)
        ]


def _coarse(levels: int, bins: int, fine: bool) -> int:
    return levels if fine else min(levels, bins)
