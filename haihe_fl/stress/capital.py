"""Profit, CET1 and its ratio, by institution and quarter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from haihe_fl.configuration import ConfigurationFault, read_configuration, source_name
from haihe_fl.errors import UserError

Floats = NDArray[np.float64]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Assumption(_Frozen):
    """Balance sheet of a kind of institution, in proportion to its book.

    Attributes
    ----------
    cet1_ratio : float
        CET1 over risk-weighted assets at the start.
    ppnr : float
        Pre-provision net revenue a year, over exposure.
    tax_rate : float
        On profit after provisions.
    other_rwa : float
        Risk-weighted assets outside the book, over those of the book at the start.
    """

    cet1_ratio: float = Field(gt=0, lt=1)
    ppnr: float = Field(gt=-1, lt=1)
    tax_rate: float = Field(ge=0, lt=1)
    other_rwa: float = Field(ge=0)


class _Given(_Frozen):
    cet1_ratio: float | None = Field(default=None, gt=0, lt=1)
    ppnr: float | None = Field(default=None, gt=-1, lt=1)
    tax_rate: float | None = Field(default=None, ge=0, lt=1)
    other_rwa: float | None = Field(default=None, ge=0)


@dataclass(frozen=True, eq=False)
class Opening:
    """Balance sheets at the start, arrays of shape (institutions,), in CNY.

    Attributes
    ----------
    cet1, ppnr, other_rwa : ndarray
        Capital; pre-provision net revenue of a quarter; assets that no scenario moves.
    tax_rate : ndarray
        Share of profit.
    """

    cet1: Floats
    ppnr: Floats
    other_rwa: Floats
    tax_rate: Floats


class BalanceSheets(_Frozen):
    """Assumptions by kind of institution, ``configs/balance_sheets.yaml``."""

    version: str
    evidence: str
    minimum_ratio: float = Field(gt=0, lt=1)
    default: Assumption
    kinds: dict[str, _Given] = {}

    def of_kind(self, kind: str) -> Assumption:
        """Return the assumptions for a kind; what it does not name, or all, by default.

        Examples
        --------
        >>> load_balance_sheets().of_kind("foreign_bank").cet1_ratio
        0.15
        """
        own = self.kinds.get(kind)
        return self.default.model_copy(update=own.model_dump(exclude_none=True) if own else {})

    def opening(self, kinds: Sequence[str], exposure: ArrayLike, rwa: ArrayLike) -> Opening:
        """Return opening balance sheets of institutions with these books.

        Parameters
        ----------
        kinds : sequence of str
            Kind of each institution.
        exposure, rwa : array_like, shape (institutions,)
            Exposure and risk-weighted assets of the book at the start, CNY.

        Examples
        --------
        >>> o = load_balance_sheets().opening(["foreign_bank"], [1e9], [8e8])
        >>> o.cet1.tolist(), o.ppnr.tolist()
        ([120000000.0], [3500000.0])
        """
        rows = [self.of_kind(kind) for kind in kinds]
        book, weighted = np.asarray(exposure, np.float64), np.asarray(rwa, np.float64)
        if book.shape != (len(rows),) or weighted.shape != (len(rows),):
            raise ValueError("give one exposure and one RWA for each institution")
        other = np.array([row.other_rwa for row in rows]) * weighted
        return Opening(
            cet1=np.array([row.cet1_ratio for row in rows]) * (weighted + other),
            ppnr=np.array([row.ppnr for row in rows]) * book / 4.0,
            other_rwa=other,
            tax_rate=np.array([row.tax_rate for row in rows]),
        )


def load_balance_sheets(path: Path | None = None) -> BalanceSheets:
    """Read the assumptions.

    Raises
    ------
    UserError
        H2546 if the file cannot be read or is not valid.
    """
    try:
        return read_configuration(BalanceSheets, "balance_sheets.yaml", path)
    except ConfigurationFault as what:
        source = source_name("balance_sheets.yaml", path)
        raise UserError(
            "H2546",
            en=f"balance sheets {source}: {what}; compare with configs/balance_sheets.yaml",
            zh=f"资产负债假设 {source}:{what};请对照 configs/balance_sheets.yaml",
        ) from None


@dataclass(frozen=True, eq=False)
class CapitalPath:
    """CET1 and what moved it; quarters along the last axis.

    Attributes
    ----------
    cet1, rwa : ndarray, shape (..., quarters + 1)
        At the start and at the end of each quarter, CNY.
    profit, tax : ndarray, shape (..., quarters)
        Profit before tax, and tax.
    """

    cet1: Floats
    rwa: Floats
    profit: Floats
    tax: Floats

    @property
    def ratio(self) -> Floats:
        """CET1 over RWA; without any assets, infinite for capital and NaN for none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.cet1 / self.rwa)

    def breach(self, threshold: float) -> NDArray[np.int64]:
        """Return the first quarter (from 1) that ends below the threshold; 0 is never."""
        below = self.ratio[..., 1:] < threshold
        return np.where(below.any(axis=-1), below.argmax(axis=-1) + 1, 0)


def capital_path(
    cet1: ArrayLike,
    rwa: ArrayLike,
    *,
    ppnr: ArrayLike,
    allowance: ArrayLike,
    write_offs: ArrayLike = 0.0,
    recoveries: ArrayLike = 0.0,
    tax_rate: ArrayLike = 0.0,
) -> CapitalPath:
    r"""Return CET1, :math:`CET1_{t+1} = CET1_t + PPNR_t - ΔECL_t - W_t + R_t - tax_t`.

    Tax is due on profit beyond what earlier losses of the horizon used up; a loss brings no
    tax back.

    Parameters
    ----------
    cet1 : array_like, shape (...,)
        At the start.
    rwa : array_like, shape (..., quarters + 1)
        Risk-weighted assets at the start and at the end of each quarter.
    ppnr : array_like, shape (..., quarters) or (..., 1)
        Pre-provision net revenue of each quarter.
    allowance : array_like, shape (..., quarters + 1)
        ECL allowance at the start and at the end of each quarter.
    write_offs, recoveries : array_like, shape (..., quarters)
        Loans written off beyond the allowance held for them, and what the pool pays. Where the
        allowance still holds the losses of defaulted loans, there are no write-offs.
    tax_rate : array_like, shape (...,)
        Share of profit.

    Examples
    --------
    Vector T12: CET1 12, RWA 100, revenue 1.2, losses 3, RWA up by 8.

    >>> p = capital_path(12.0, [100.0, 108.0], ppnr=1.2, allowance=[1.0, 4.0], tax_rate=0.25)
    >>> p.cet1.round(3).tolist(), (100 * p.ratio).round(3).tolist()
    ([12.0, 10.2], [12.0, 9.444])
    """
    assets = np.asarray(rwa, dtype=np.float64)
    stock = np.asarray(allowance, dtype=np.float64)
    profit = np.asarray(ppnr, dtype=np.float64) - np.diff(stock, axis=-1)
    profit = profit - np.asarray(write_offs) + np.asarray(recoveries)
    start = np.asarray(cet1, dtype=np.float64)[..., None]
    shape = np.broadcast_shapes(profit.shape, assets[..., 1:].shape, start.shape)
    profit = np.broadcast_to(profit, shape)
    taxed = np.maximum.accumulate(np.maximum(np.cumsum(profit, axis=-1), 0.0), axis=-1)
    tax = np.asarray(tax_rate)[..., None] * np.diff(taxed, axis=-1, prepend=0.0)
    kept = np.cumsum(profit - tax, axis=-1)
    opening = np.broadcast_to(start, (*shape[:-1], 1))
    return CapitalPath(
        cet1=np.concatenate([opening, opening + kept], axis=-1),
        rwa=np.broadcast_to(assets, (*shape[:-1], shape[-1] + 1)),
        profit=profit,
        tax=tax,
    )
