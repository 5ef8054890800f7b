"""The institution's side of a federated stress test: two counts and sums, and nothing else.

``stress/counts``: distinct firms by sector, always with noise. From the network's noisy counts
centre and institutions decide alike which sectors are too small to stand alone.
``stress/cells``: sums by scenario, cell, quarter and measure. ``stress/draws``: the loss of each
common factor draw, so that the network's tail is that of the sum. What they cost and what they
hide stands in docs/stress-federated.md.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import IntegrityError, PolicyError, UserError
from haihe_fl.models.base import RiskModel
from haihe_fl.models.releases import Answer, ReleaseRequest, release_kind
from haihe_fl.stress.cellsums import (
    MINIMUM_CELL,
    MONEY_SCALE,
    UNIT,
    Integers,
    known_measures,
    merge_cells,
    scales,
    sensitivity,
    to_fixed,
)
from haihe_fl.stress.jointdraws import joint_losses
from haihe_fl.stress.kernel import Shock, simulate
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import code_version, shipped, shock_of
from haihe_fl.stress.satellite import Satellite
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]

COUNTS, CELLS, DRAWS = "stress/counts", "stress/cells", "stress/draws"
BASELINE = "baseline"
"""The quiet economy: the first entry of every run's cells."""
DEFAULT_MEASURES = ("borrowers", "exposure", "pd", "defaults", "el", "loss_tail", "capital",
                    "ecl1", "ecl2", "ecl3")  # fmt: skip


class StressSpec(BaseModel):
    """What is computed, the same at every institution; hashes instead of files.

    Attributes
    ----------
    scenarios, overlay : str
        Of the shipped catalogue, whose hash is ``catalogue``.
    measures : tuple of str
        Of ``haihe_fl.stress.kernel.MEASURES``.
    draws : int
        Common factor draws a scenario; their seed is that of ``settings``.
    clip : float, optional
        Largest exposure of one record in CNY, drawings included; above it is cut.
    minimum_cell : int
        Fewest firms of the network in a cell.
    catalogue, satellite, model, code : str
        Hashes of scenarios, coefficients and model, and version of the code.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenarios: tuple[str, ...] = Field(min_length=1, max_length=200)
    overlay: str = "none"
    settings: StressSettings = StressSettings()
    measures: tuple[str, ...] = DEFAULT_MEASURES
    draws: int = Field(default=0, ge=0, le=100_000)
    clip: float | None = Field(default=None, gt=0, le=1e12)
    minimum_cell: int = Field(default=MINIMUM_CELL, ge=MINIMUM_CELL)
    catalogue: str
    satellite: str
    model: str
    code: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.scenarios)) != len(self.scenarios) or BASELINE in self.scenarios:
            raise ValueError(f"scenarios are distinct, and {BASELINE} is none of them")
        if self.draws and self.settings.seed < 0:
            raise ValueError("the seed of draws is not negative")
        if not known_measures(self.measures):
            raise ValueError("measures are those of the stress kernel, each once")
        return self

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Scenarios with the baseline, sectors, quarters, measures: the entries of the cells."""
        catalogue = shipped()[0]
        sizes = len(catalogue.sectors), catalogue.horizon_quarters, len(self.measures)
        return (len(self.scenarios) + 1, *sizes)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@release_kind(COUNTS)
def count_firms(request: ReleaseRequest, cohort: Cohort, cache: dict[str, Any]) -> Answer:
    """Count distinct borrowers by sector, in ``UNIT``; one record moves one count by one.

    Raises
    ------
    PolicyError
        H3563 if it is asked for without noise.
    UserError
        H2561 if the records name no sector, or one that is not in the catalogue.
    """
    if not request.noise_multiplier > 0:
        raise PolicyError(
            "H3563",
            en="counts of firms leave with noise only; plan them as a release",
            zh="企业计数只能加噪后发布;请列为发布步骤",
        )
    sectors = shipped()[0].sectors
    totals = np.zeros(len(sectors), dtype=np.int64)
    if len(cohort):
        named = np.asarray(cohort.extra.get("sector", np.full(len(cohort), "")), dtype=np.str_)
        if not np.isin(named, sectors).all():
            raise UserError(
                "H2561",
                en="records have no sector, or one that the scenarios do not know; map it in the "
                "mapping (docs/stress.md)",
                zh="记录缺少行业或行业未知;请在映射文件中指定行业(见 docs/stress.md)",
            )
        for i, sector in enumerate(sectors):
            totals[i] = len(np.unique(cohort.key[named == sector]))
    return Answer((int(UNIT) * totals).astype(np.int64), UNIT)


@release_kind(CELLS)
def cell_sums(request: ReleaseRequest, cohort: Cohort, cache: dict[str, Any]) -> Answer:
    """Return this institution's integer sums by scenario, cell, quarter and measure.

    Raises
    ------
    PolicyError
        H3561, H3564 if noise is asked for and one record has no bound.
    IntegrityError
        H5562 if centre and institution have other scenarios, coefficients, models or code.
    """
    spec, satellite = read_spec(request.arrays)
    noised = request.noise_multiplier > 0
    unit = scales(spec.measures, spec.shape[2], spec.clip, noised)
    places = merge_cells(
        np.asarray(request.arrays["counts"], dtype=np.float64),
        float(np.asarray(request.arrays["counts_sd"]).item()),
        spec.minimum_cell,
    )
    if len(places) != spec.shape[1]:
        raise ValueError(f"{len(places)} counts for {spec.shape[1]} sectors")
    vector = np.zeros(int(np.prod(spec.shape)), dtype=np.int64)
    if len(cohort):
        portfolio = portfolio_of(request.arrays, spec, cohort, cache, noised=noised)
        vector = local_cells(portfolio, spec, satellite, places, unit).ravel()
    return Answer(vector, sensitivity(len(spec.measures), spec.shape[0], len(vector)))


@release_kind(DRAWS)
def draw_sums(request: ReleaseRequest, cohort: Cohort, cache: dict[str, Any]) -> Answer:
    """Return this institution's loss in each common draw of each scenario, in fen.

    Raises
    ------
    PolicyError
        H3564 if noise is asked for: one record moves every draw, so none would be of use.
    """
    if request.noise_multiplier > 0:
        raise _unbounded("losses by draw have no useful bound", "逐次抽样损失无可用界")
    spec, satellite = read_spec(request.arrays)
    vector = np.zeros(len(spec.scenarios) * spec.draws, dtype=np.int64)
    if len(cohort):
        portfolio = portfolio_of(request.arrays, spec, cohort, cache, noised=False)
        vector = local_draws(portfolio, spec, satellite).ravel()
    return Answer(vector, float("inf"))


def local_cells(
    portfolio: Portfolio,
    spec: StressSpec,
    satellite: Satellite,
    places: NDArray[np.intp],
    unit: Floats,
) -> Integers:
    """Return an institution's integers, shape ``spec.shape``; merged sectors at their place.

    Values are added over merged sectors first and rounded once for each cell.
    """
    sums = np.zeros(spec.shape)
    for number, (shock, lost) in enumerate(_shocks(spec, satellite)):
        cells = simulate(
            portfolio, shock, spec.settings, portfolio.impaired_pd(lost, spec.settings.seed)
        )
        for column, measure in enumerate(spec.measures):
            by_sector = cells.sums[measure].sum(axis=1)
            np.add.at(sums[number, :, :, column], places, by_sector)
    return to_fixed(sums, unit)


def local_draws(portfolio: Portfolio, spec: StressSpec, satellite: Satellite) -> Integers:
    """Return an institution's losses in fen, shape (scenarios, draws)."""
    seed = spec.settings.seed
    losses = [
        joint_losses(
            portfolio, shock, spec.settings, spec.draws, seed, portfolio.impaired_pd(lost, seed)
        )
        for shock, lost in _shocks(spec, satellite)[1:]
    ]
    return to_fixed(np.stack(losses), MONEY_SCALE)


def read_spec(arrays: Mapping[str, NDArray[Any]]) -> tuple[StressSpec, Satellite]:
    """Return spec and coefficients of a request.

    Raises
    ------
    IntegrityError
        H5562 if they are malformed, or for other scenarios, coefficients or code than are here.
    """
    catalogue = shipped()[0]
    try:
        spec = StressSpec.model_validate_json(np.asarray(arrays["spec"]).tobytes())
        satellite = Satellite.model_validate_json(np.asarray(arrays["satellite"]).tobytes())
        given = (spec.catalogue, spec.satellite, spec.code)
        same = given == (catalogue.fingerprint, satellite.fingerprint, code_version())
        same &= set(satellite.beta) == set(satellite.loadings) == set(catalogue.drivers)
    except (ValidationError, KeyError):
        same = False
    if not same:
        raise _other("scenarios, coefficients or code", "情景、系数或代码")
    return spec, satellite


def portfolio_of(
    arrays: Mapping[str, NDArray[Any]],
    spec: StressSpec,
    cohort: Cohort,
    cache: dict[str, Any],
    *,
    noised: bool,
) -> Portfolio:
    """Return the institution's portfolio, scored once a run and clipped as the spec says.

    With noise, one record must move nothing but its own entries: sample weights are refused, as
    the level of the scores would depend on all of them, and data loss is left out, as its masks
    would shift with every row.
    """
    if noised and cohort.weight is not None:
        raise _unbounded("sample weights tie every record's PD to all", "样本权重使各记录相互影响")
    known = f"stress/{spec.model}/{noised}"
    if known not in cache:
        model = RiskModel.from_bytes(np.asarray(arrays["model"], dtype=np.uint8).tobytes())
        if model.fingerprint != spec.model:
            raise _other("models", "模型")
        scored = Portfolio.from_cohort(cohort, model)
        cache[known] = replace(scored, rescore=None) if noised else scored
    portfolio: Portfolio = cache[known]
    return portfolio if spec.clip is None else clipped(portfolio, spec.clip)


def clipped(portfolio: Portfolio, clip: float) -> Portfolio:
    """Return the portfolio with exposure and drawings of a record at most ``clip`` in all."""
    ead = np.minimum(portfolio.ead, clip)
    undrawn = portfolio.undrawn
    if undrawn is not None:
        undrawn = np.minimum(undrawn, clip - ead)
    return replace(portfolio, ead=ead, undrawn=undrawn)


def _shocks(spec: StressSpec, satellite: Satellite) -> list[tuple[Shock, float]]:
    """Return what each scenario does, the baseline first, and its share of lost cells."""
    catalogue = shipped()[0]
    policy, severity = catalogue.overlay(spec.overlay), spec.settings.severity
    shocks = [(Shock.none(spec.shape[1], spec.shape[2]), 0.0)]
    for name in spec.scenarios:
        scenario = catalogue[name]
        lost = scenario.idiosyncratic.data_quality.feature_missing_rate * severity
        shock = shock_of(catalogue, satellite, scenario, policy, severity)
        shocks.append((shock, min(lost, 1.0)))
    return shocks


def _unbounded(en: str, zh: str) -> PolicyError:
    return PolicyError(
        "H3564",
        en=f"{en}; no noise can be fitted to them",
        zh=f"{zh};无法配置噪声",
    )


def _other(en: str, zh: str) -> IntegrityError:
    return IntegrityError(
        "H5562",
        en=f"centre and institution have different {en}; bring both to one version",
        zh=f"中心与机构的{zh}不一致;请统一版本",
    )
