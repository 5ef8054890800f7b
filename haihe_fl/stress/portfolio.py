"""The portfolio under stress: who owes how much, with which PD, to whom."""

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit  # type: ignore[import-untyped]

from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import UserError
from haihe_fl.models.base import RiskModel

Floats = NDArray[np.float64]
_BLOCK = 65_536


@dataclass(frozen=True, eq=False)
class Portfolio:
    """Exposures of one or more institutions, one entry per borrower and institution.

    Attributes
    ----------
    pd : ndarray, shape (n,)
        Annual PD of the registered model, in (0, 1).
    ead, lgd : ndarray, shape (n,)
        Exposure at default in CNY, at least 0, and loss given default in [0, 1].
    sector, institution : ndarray of int32, shape (n,)
        Positions in ``sectors`` and ``institutions``.
    turnover : ndarray, shape (n,)
        Annual sales in EUR million, for the SME adjustment.
    pd_origin : ndarray, shape (n,)
        PD at origination, for the stage; the model's PD unless given.
    weight : ndarray, shape (n,)
        How many borrowers an entry stands for.
    collateral, undrawn : ndarray, shape (n,), optional
        Value of property pledged, and committed but undrawn amounts, in CNY.
    model_fingerprint, model_name : str
        The model that gave the PDs.
    rescore : callable, optional
        From (share of cells lost, seed) to the PDs that the model gives then.
    """

    pd: Floats
    ead: Floats
    lgd: Floats
    sector: NDArray[np.int32]
    institution: NDArray[np.int32]
    sectors: tuple[str, ...]
    institutions: tuple[str, ...]
    turnover: Floats
    pd_origin: Floats
    weight: Floats
    collateral: Floats | None = None
    undrawn: Floats | None = None
    model_fingerprint: str = ""
    model_name: str = ""
    rescore: Callable[[float, int], Floats] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.pd)

    @classmethod
    def build(
        cls,
        *,
        pd: ArrayLike,
        ead: ArrayLike,
        lgd: ArrayLike,
        sector: ArrayLike,
        institution: ArrayLike,
        sectors: tuple[str, ...],
        turnover: ArrayLike = 5.0,
        pd_origin: ArrayLike | None = None,
        weight: ArrayLike = 1.0,
        collateral: ArrayLike | None = None,
        undrawn: ArrayLike | None = None,
        model_fingerprint: str = "",
        model_name: str = "",
        rescore: Callable[[float, int], Floats] | None = None,
    ) -> "Portfolio":
        """Check arrays and build a portfolio; scalars are spread over all entries.

        Raises
        ------
        UserError
            H2522 a PD outside (0, 1); H2523 a sector that is not in ``sectors``; H2524 no entry,
            or an institution without a name; H2521 another amount outside its range, NaN, or
            an array of the wrong length. The text gives the first row.

        Examples
        --------
        >>> p = Portfolio.build(pd=[0.02, 0.05], ead=[1e6, 5e5], lgd=0.45, institution="a bank",
        ...                     sector=["agri", "aero"], sectors=("aero", "agri"))
        >>> len(p), p.sector.tolist(), p.institutions
        (2, [1, 0], ('a bank',))
        """
        n = np.size(pd)
        if n == 0:
            raise UserError(
                "H2524",
                en="the portfolio has no entry; check the file or the filter",
                zh="组合为空;请检查文件或筛选条件",
            )
        probability = _amounts("pd", pd, n, 0.0, 1.0, code="H2522", open_ends=True)
        origin = probability if pd_origin is None else pd_origin
        names, inverse = np.unique(_texts("institution", institution, n), return_inverse=True)
        if blank := [i for i, name in enumerate(names) if not str(name).strip()]:
            row = int(np.flatnonzero(inverse == blank[0])[0]) + 1
            raise UserError(
                "H2524",
                en=f"row {row}: the institution has no name; name the column in the mapping",
                zh=f"第 {row} 行:机构名称为空;请在映射中指定机构列",
            )
        return cls(
            pd=probability,
            ead=_amounts("ead", ead, n, 0.0, np.inf),
            lgd=_amounts("lgd", lgd, n, 0.0, 1.0),
            sector=_sector_index(_texts("sector", sector, n), sectors),
            institution=inverse.astype(np.int32),
            sectors=sectors,
            institutions=tuple(str(name) for name in names),
            turnover=_amounts("turnover", turnover, n, 0.0, np.inf),
            pd_origin=_amounts("pd_origin", origin, n, 0.0, 1.0, code="H2522", open_ends=True),
            weight=_amounts("weight", weight, n, 0.0, np.inf),
            collateral=None
            if collateral is None
            else _amounts("collateral", collateral, n, 0.0, np.inf),
            undrawn=None if undrawn is None else _amounts("undrawn", undrawn, n, 0.0, np.inf),
            model_fingerprint=model_fingerprint,
            model_name=model_name,
            rescore=rescore,
        )

    @classmethod
    def from_cohort(
        cls,
        cohort: Cohort,
        model: RiskModel,
        turnover: ArrayLike | None = None,
        *,
        sectors: tuple[str, ...] | None = None,
        lgd_default: float = 0.45,
        cny_per_eur: float = 7.8,
        model_name: str = "",
    ) -> "Portfolio":
        """Score a cohort and take its exposures; weighted rows at ``cohort.prior_shift``.

        Parameters
        ----------
        cohort : Cohort
            ``extra`` must hold ``ead`` (CNY) and ``sector``; ``lgd``, ``turnover`` (CNY),
            ``pd_origin``, ``collateral`` and ``undrawn`` (CNY) are used where it holds them.
        model : RiskModel
            The registered model.
        turnover : array_like, optional
            Annual sales in CNY; without it and without the column, the smallest SME (EUR 5 m).
        sectors : tuple of str, optional
            Known sectors; by default those of the shipped scenarios.
        lgd_default : float
            Used where the cohort has no ``lgd`` (the Basel foundation figure of 45 %).
        cny_per_eur : float
            Exchange rate for sales.

        Raises
        ------
        UserError
            H2520 if a column is missing, H2525 if the model was trained on other features,
            else as `build`.
        """
        if sectors is None:
            from haihe_fl.stress.scenarios import load_scenarios

            sectors = load_scenarios().sectors
        if cohort.catalogue.features != model.catalogue.features:
            raise UserError(
                "H2525",
                en=f"the records follow catalogue {cohort.catalogue.name}, the model "
                f"{model.catalogue.name}; read them with the model's catalogue, or name a model "
                "trained on theirs (--model-name)",
                zh=f"数据使用特征目录 {cohort.catalogue.name},模型使用 {model.catalogue.name};"
                "请按模型的目录读取数据,或用 --model-name 指定对应模型",
            )
        extra: dict[str, Any] = dict(cohort.extra)
        for name in ("ead", "sector"):
            if name not in extra:
                raise UserError(
                    "H2520",
                    en=f"these records have no {name!r}, which a stress test needs; add a line "
                    f"'{name}: COLUMN' to the mapping (docs/mapping.md)",
                    zh=f"这些记录没有 {name!r},无法做压力测试;请在映射文件中加一行 "
                    f"“{name}: 列名”(见 docs/mapping.md)",
                )
        sales = extra.get("turnover") if turnover is None else turnover
        shift = cohort.prior_shift
        scored = _score(model, cohort.values, shift)

        def rescore(share: float, seed: int) -> Floats:
            return _score(model, cohort.values, shift, share, seed)

        return cls.build(
            pd=scored,
            ead=extra["ead"],
            lgd=extra.get("lgd", lgd_default),
            sector=extra["sector"],
            institution=cohort.institution,
            sectors=sectors,
            turnover=5.0 if sales is None else np.asarray(sales) / (1e6 * cny_per_eur),
            pd_origin=extra.get("pd_origin"),
            weight=1.0 if cohort.weight is None else cohort.weight,
            collateral=extra.get("collateral"),
            undrawn=extra.get("undrawn"),
            model_fingerprint=model.fingerprint,
            model_name=model_name,
            rescore=rescore,
        )

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Rows sorted by sector, then institution: cells are then runs of rows."""
        return np.lexsort((self.institution, self.sector))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every amount and name. Stays with whoever holds the rows."""
        digest = hashlib.sha256("\0".join((*self.sectors, "", *self.institutions)).encode())
        for column in (
            self.pd, self.ead, self.lgd, self.sector, self.institution, self.turnover,
            self.pd_origin, self.weight, self.collateral, self.undrawn,
        ):  # fmt: skip
            digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def impaired_pd(self, share: float, seed: int) -> Floats | None:
        """Return the PDs that the model gives with a share of all cells missing.

        None where no cell is missing, or where the portfolio was built without a model.
        """
        if share <= 0 or self.rescore is None:
            return None
        return _clip(self.rescore(share, seed))


def _score(
    model: RiskModel,
    values: NDArray[np.float32],
    shift: float,
    share: float = 0.0,
    seed: int = 0,
) -> Floats:
    """Score in blocks; each block masks its cells with a generator of its own."""
    parts = []
    for block, start in enumerate(range(0, len(values), _BLOCK)):
        part = values[start : start + _BLOCK]
        if share > 0:
            lost = np.random.default_rng([seed, block]).random(part.shape, np.float32) < share
            part = np.where(lost, np.float32(np.nan), part)
        pd = model.predict_pd(part)
        parts.append(expit(logit(_clip(pd)) + shift) if shift else pd)
    return _clip(np.concatenate(parts)) if parts else np.empty(0)


def _clip(pd: Floats) -> Floats:
    # A logit of +-40 rounds to 0 or 1, which have no log-odds; NaN stays and is reported.
    return np.asarray(np.clip(pd, 1e-12, 1 - 1e-12), dtype=np.float64)


def _amounts(
    name: str,
    given: ArrayLike,
    n: int,
    low: float,
    high: float,
    *,
    code: str = "H2521",
    open_ends: bool = False,
) -> Floats:
    values = _column(name, np.asarray(given, dtype=np.float64), n)
    inside = (values > low) & (values < high) if open_ends else (values >= low) & (values <= high)
    if not (inside & np.isfinite(values)).all():
        row = int(np.flatnonzero(~(inside & np.isfinite(values)))[0])
        interval = f"({low:g}, {high:g})" if open_ends else f"[{low:g}, {high:g}]"
        raise UserError(
            code,
            en=f"{name} in row {row + 1} is {values[row]}, outside {interval}; mend or drop it",
            zh=f"第 {row + 1} 行的 {name} 为 {values[row]},超出 {interval};请修正或剔除该行",
        )
    return values


def _texts(name: str, given: ArrayLike, n: int) -> NDArray[np.str_]:
    return np.asarray(_column(name, np.asarray(given), n), dtype=np.str_)


def _column(name: str, values: NDArray[Any], n: int) -> NDArray[Any]:
    if values.ndim == 0:
        return np.full(n, values)
    if values.shape != (n,):
        raise UserError(
            "H2521",
            en=f"{name} has shape {values.shape}, but the portfolio has {n} entries",
            zh=f"{name} 的形状为 {values.shape},而组合有 {n} 条",
        )
    return values


def _sector_index(names: NDArray[np.str_], sectors: tuple[str, ...]) -> NDArray[np.int32]:
    found, inverse = np.unique(names, return_inverse=True)
    for i, name in enumerate(found):
        if str(name) not in sectors:
            row = int(np.flatnonzero(inverse == i)[0]) + 1
            near = difflib.get_close_matches(str(name), sectors, n=1, cutoff=0.5)
            hint = f" (nearest: {near[0]})" if near else ""
            raise UserError(
                "H2523",
                en=f"row {row}: unknown sector {str(name)!r}{hint}; rename it in the mapping "
                f"(sector: {{column: ..., values: {{...}}}}) to one of {', '.join(sectors)}",
                zh=f"第 {row} 行:未知行业 {str(name)!r};请在映射中用 "
                f"sector: {{column: ..., values: {{...}}}} 改为其中之一:{', '.join(sectors)}",
            )
    positions = np.array([sectors.index(str(name)) for name in found], dtype=np.int32)
    return positions[inverse]
