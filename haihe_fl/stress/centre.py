"""The centre's side of a federated stress test: what it asks, and what it reads from the sums."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import UserError
from haihe_fl.models.base import RiskModel
from haihe_fl.models.releases import PlannedRelease, ReleaseRequest
from haihe_fl.stress.cellsums import MONEY_SCALE, UNIT, Integers, merge_cells, scales, sensitivity
from haihe_fl.stress.federated import (
    BASELINE,
    CELLS,
    COUNTS,
    DRAWS,
    StressSpec,
    cell_sums,
    draw_sums,
)
from haihe_fl.stress.run import code_version, shipped
from haihe_fl.stress.satellite import Satellite

Floats = NDArray[np.float64]


def make_spec(model: RiskModel, satellite: Satellite | None = None, **choices: Any) -> StressSpec:
    """Return the spec of a run with this model and, by default, the shipped coefficients.

    Raises
    ------
    UserError
        H2510, H2511 for an unknown scenario or overlay; H2562 for another choice that is none.
    """
    catalogue, shipped_satellite = shipped()
    try:
        spec = StressSpec(
            catalogue=catalogue.fingerprint,
            satellite=(satellite or shipped_satellite).fingerprint,
            model=model.fingerprint,
            code=code_version(),
            **choices,
        )
    except ValueError as error:
        raise UserError(
            "H2562",
            en=f"these settings make no federated stress test: {error}; see "
            "docs/stress-federated.md",
            zh=f"联邦压力测试设置无效:{error};参见 docs/stress-federated.md",
        ) from None
    catalogue.overlay(spec.overlay)
    for name in spec.scenarios:
        _ = catalogue[name]
    return spec


def planned(
    spec: StressSpec, counts_noise: float, cells_noise: float | None
) -> tuple[list[PlannedRelease], list[PlannedRelease]]:
    """Return the releases with noise and those without, each in order.

    Raises
    ------
    PolicyError
        H3561 if noise is asked for and one record has no bound.
    """
    noisy = [PlannedRelease(COUNTS, COUNTS, counts_noise, spec.shape[1])]
    exact: list[PlannedRelease] = []
    cells = PlannedRelease(CELLS, CELLS, cells_noise or 0.0, math.prod(spec.shape))
    scales(spec.measures, spec.shape[2], spec.clip, bool(cells_noise))
    (noisy if cells_noise else exact).append(cells)
    if spec.draws:
        exact.append(PlannedRelease(DRAWS, DRAWS, 0.0, len(spec.scenarios) * spec.draws))
    return noisy, exact


@dataclass(frozen=True)
class StressQuestion:
    """What a run asks: counts first; then cells and draws, with what an answer needs.

    Attributes
    ----------
    spec : StressSpec
    model : RiskModel
    satellite : Satellite
    """

    spec: StressSpec
    model: RiskModel
    satellite: Satellite

    def counts(self, plan: PlannedRelease) -> ReleaseRequest:
        """Return the question for the firms by sector."""
        return ReleaseRequest(plan.name, plan.kind, plan.noise_multiplier, plan.length)

    def sums(self, plan: PlannedRelease, counts: Floats, counts_sd: float) -> ReleaseRequest:
        """Return the question for cells or draws, given noisy counts and their deviation."""
        arrays = {
            "spec": _bytes(self.spec.model_dump_json().encode()),
            "satellite": _bytes(self.satellite.model_dump_json().encode()),
            "model": _bytes(self.model.to_bytes()),
        }
        if plan.kind == CELLS:
            arrays |= {"counts": counts.astype(np.float64), "counts_sd": np.array([counts_sd])}
        return replace(self.counts(plan), arrays=arrays)


@dataclass(frozen=True, eq=False)
class NetworkStress:
    """What the network knows after a run: sums over its institutions, and nothing below.

    Attributes
    ----------
    spec : StressSpec
    places : ndarray, shape (sectors,)
        Where each sector's cell is reported.
    counts : ndarray, shape (sectors,)
        Noisy firm counts, whose deviation is ``counts_sd``.
    integers : ndarray of int64, shape ``spec.shape``
        The sums as they were unmasked.
    draws : ndarray of int64, shape (scenarios, draws)
        Network losses in fen; no columns if none were asked.
    survivors : tuple of str
        Institutions in the sums.
    noise_sd : float
        Deviation of the noise on every entry of ``integers``; 0 for exact sums.
    epsilon, delta : float
        Charged to each record for what had noise: the counts, and the cells unless exact.
    """

    spec: StressSpec
    places: NDArray[np.intp]
    counts: Floats
    counts_sd: float
    integers: Integers
    draws: Integers
    survivors: tuple[str, ...]
    noise_sd: float
    epsilon: float
    delta: float

    @property
    def unit(self) -> Floats:
        """Integer units of each measure."""
        return scales(self.spec.measures, self.spec.shape[2], self.spec.clip, self.noise_sd > 0)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Sectors of each reported cell, by the name of the cell."""
        names = np.array(shipped()[0].sectors)
        cells = [tuple(names[self.places == place].tolist()) for place in np.unique(self.places)]
        return {"+".join(members): members for members in cells}

    def cells(self, scenario: str, measure: str) -> Floats:
        """Return a measure by cell of ``groups`` and quarter; ``baseline`` is a scenario too."""
        row = [BASELINE, *self.spec.scenarios].index(scenario)
        column = self.spec.measures.index(measure)
        kept = self.integers[row, np.unique(self.places), :, column]
        return np.asarray(kept / self.unit[column])

    def total(self, scenario: str, measure: str) -> Floats:
        """Return a measure of the network by quarter."""
        return np.asarray(self.cells(scenario, measure).sum(axis=0))

    def sd(self, measure: str) -> float:
        """Return the noise's standard deviation on one cell, in the measure's own unit."""
        return self.noise_sd / float(self.unit[self.spec.measures.index(measure)])

    def losses(self, scenario: str) -> Floats:
        """Return the network's loss in each draw, in CNY."""
        return np.asarray(self.draws[self.spec.scenarios.index(scenario)] / MONEY_SCALE)

    def value_at_risk(self, scenario: str, confidence: float = 0.999) -> float:
        """Return the smallest drawn loss not exceeded in a share ``confidence`` of draws."""
        return float(np.quantile(self.losses(scenario), confidence, method="inverted_cdf"))

    def expected_shortfall(self, scenario: str, confidence: float = 0.999) -> float:
        """Return the mean of the worst ``1 - confidence`` of draws, at least one."""
        losses = np.sort(self.losses(scenario))
        return float(losses[-max(1, round((1 - confidence) * len(losses))) :].mean())

    @property
    def fingerprint(self) -> str:
        """SHA-256 over spec, survivors and integers: what a ledger of results would hold."""
        digest = hashlib.sha256(self.spec.fingerprint.encode())
        digest.update("\0".join(self.survivors).encode())
        for part in (self.integers, self.draws):
            digest.update(np.ascontiguousarray(part, dtype="<i8").tobytes())
        return digest.hexdigest()


def counts_of(total: Integers, noise_multiplier: float, inflation: float) -> tuple[Floats, float]:
    """Return firm counts and their deviation from the unmasked sum.

    ``inflation`` is institutions in the sum over those the noise was planned for.
    """
    return total / UNIT, noise_multiplier * math.sqrt(inflation)


def read_network(
    spec: StressSpec,
    counted: tuple[Floats, float],
    totals: dict[str, Integers],
    survivors: Sequence[str],
    *,
    noise_multiplier: float,
    inflation: float,
    epsilon: float,
    delta: float,
) -> NetworkStress:
    """Return the network's figures from the unmasked sums, by release.

    Parameters
    ----------
    counted : tuple
        Counts and their deviation, as they were sent to the institutions.
    noise_multiplier, inflation : float
        Of the cells; ``inflation`` as in `counts_of`.
    """
    bound = sensitivity(len(spec.measures), spec.shape[0], math.prod(spec.shape))
    draws = totals.get(DRAWS, np.zeros(0, dtype=np.int64))
    return NetworkStress(
        spec=spec,
        places=merge_cells(*counted, spec.minimum_cell),
        counts=counted[0],
        counts_sd=counted[1],
        integers=totals[CELLS].reshape(spec.shape),
        draws=draws.reshape(len(spec.scenarios), spec.draws),
        survivors=tuple(survivors),
        noise_sd=noise_multiplier * bound * math.sqrt(inflation),
        epsilon=epsilon,
        delta=delta,
    )


def pooled_sums(
    question: StressQuestion, cohorts: Sequence[Cohort], counted: tuple[Floats, float]
) -> dict[str, Integers]:
    """Return the same integer sums from all rows in one place, without masks or noise.

    The reference that a federated run without noise meets bit for bit: institution by
    institution, rounded where the institution rounds.
    """
    _, exact = planned(question.spec, 1.0, None)
    kinds = {CELLS: cell_sums, DRAWS: draw_sums}
    sums: dict[str, Integers] = {}
    for plan in exact:
        request = question.sums(plan, *counted)
        answers = [kinds[plan.kind](request, cohort, {}).vector for cohort in cohorts]
        sums[plan.kind] = np.asarray(np.sum(answers, axis=0, dtype=np.int64))
    return sums


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)
