"""The credit insurance pool: what it pays, what is left and to whom, and when it is empty."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from haihe_fl.configuration import ConfigurationFault, read_configuration, source_name
from haihe_fl.errors import UserError
from haihe_fl.stress.scenarios import PoolSpec

Floats = NDArray[np.float64]
PARTIES = ("bank", "guarantor", "government")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Split(_Frozen):
    """Who bears what the pool does not pay."""

    bank: float = Field(ge=0)
    guarantor: float = Field(ge=0)
    government: float = Field(ge=0)

    @model_validator(mode="after")
    def _adds_up(self) -> "Split":
        if abs(self.bank + self.guarantor + self.government - 1.0) > 1e-9:
            raise ValueError("bank, guarantor and government must add up to 1")
        return self


class Splits(_Frozen):
    """Splits by product."""

    default: Split
    products: dict[str, Split] = {}


class PoolTerms(_Frozen):
    """Terms of the pool, ``configs/pool.yaml``.

    Attributes
    ----------
    capital : float
        At the start, CNY.
    mode : {"quota", "layer"}
        Pay ``share`` of each loss; or pay first losses in full, until ``share`` of a line's
        insured exposure is paid.
    share : float
        The 80 %.
    insurers : int
        Each brings an equal part of capital and premium.
    premium : float
        A quarter, CNY, from all insurers' business; there from the next quarter on.
    guarantor_capital : float or None
        What the guarantors can bear in all, CNY; None is without bound.
    split : Splits
        Of what the pool does not pay.
    """

    version: str
    evidence: str
    capital: float = Field(ge=0)
    mode: Literal["quota", "layer"] = "quota"
    share: float = Field(default=0.8, gt=0, le=1)
    insurers: int = Field(default=12, ge=1)
    premium: float = Field(default=0.0, ge=0)
    guarantor_capital: float | None = Field(default=None, ge=0)
    split: Splits

    def splits(self, products: list[str] | tuple[str, ...]) -> Floats:
        """Return the split of each line's product, shape (lines, 3), in the order `PARTIES`.

        Examples
        --------
        >>> load_pool().splits(["credit_loan", "of no such name"]).tolist()
        [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]
        """
        chosen = [self.split.products.get(name, self.split.default) for name in products]
        return np.array([[getattr(s, party) for party in PARTIES] for s in chosen])


def load_pool(path: Path | None = None) -> PoolTerms:
    """Read the pool's terms.

    Raises
    ------
    UserError
        H2545 if the file cannot be read or is not valid.

    Examples
    --------
    >>> load_pool().capital
    1000000000.0
    """
    try:
        return read_configuration(PoolTerms, "pool.yaml", path)
    except ConfigurationFault as what:
        source = source_name("pool.yaml", path)
        raise UserError(
            "H2545",
            en=f"insurance pool {source}: {what}; compare with configs/pool.yaml",
            zh=f"保险池 {source}:{what};请对照 configs/pool.yaml",
        ) from None


@dataclass(frozen=True, eq=False)
class PoolOutcome:
    """What became of the losses; quarters are those of settlement.

    Attributes
    ----------
    paid, bank, guarantor, government : ndarray, shape (draws, lines, quarters)
        Who bears how much, CNY; the four add up to the losses settled.
    outstanding : ndarray, shape (draws, lines)
        Losses whose claims were not settled when the horizon ended.
    capital : ndarray, shape (draws, quarters + 1)
        Of the pool: at the start, and at the end of each quarter with its premium.
    exhausted : ndarray of int, shape (draws,)
        First quarter (from 1) after whose claims nothing was left; 0 is never.
    guarantor_capacity : ndarray, shape (draws, quarters)
        Share of the guarantors' capital still there at the end of the quarter.
    """

    paid: Floats
    bank: Floats
    guarantor: Floats
    government: Floats
    outstanding: Floats
    capital: Floats
    exhausted: NDArray[np.int64]
    guarantor_capacity: Floats


def settle_pool(
    losses: ArrayLike,
    terms: PoolTerms,
    *,
    stress: PoolSpec | None = None,
    splits: ArrayLike | None = None,
    insured: ArrayLike | None = None,
    injection: float = 0.0,
) -> PoolOutcome:
    r"""Pay claims in order of time, and share out the rest.

    Each quarter :math:`\sum pay_i = \min(\sum claim_i, C_t)`, in proportion to the claims, and
    :math:`C_{t+1} = C_t - \sum pay_i + premium`. What the guarantors cannot bear any more falls
    to the bank.

    Parameters
    ----------
    losses : array_like, shape (draws, lines, quarters)
        A line is an institution, or one product of an institution. CNY, at least 0.
    terms : PoolTerms
        The pool.
    stress : PoolSpec, optional
        The scenario's: ``capital_haircut`` and ``insurer_exits`` take capital (and exits
        premium) away at the start; claims are settled ``claim_delay_quarters`` late.
    splits : array_like, shape (3,) or (lines, 3), optional
        Of what the pool does not pay (`PoolTerms.splits`); the default split if left out.
    insured : array_like, shape (lines,), optional
        Insured exposure; needed in the mode "layer".
    injection : float
        Capital added at the start, after the scenario's cuts (policy overlay).

    Raises
    ------
    ValueError
        If losses are negative or not finite, shapes do not fit, splits do not add up to 1, or
        "layer" comes without ``insured``.

    Examples
    --------
    Vector T11: one loss of 1 million.

    >>> o = settle_pool([[[1e6]]], load_pool())
    >>> [round(float(x.sum())) for x in (o.paid, o.bank, o.guarantor, o.government)]
    [800000, 100000, 60000, 40000]
    """
    loss = np.asarray(losses, dtype=np.float64)
    if loss.ndim != 3 or not (np.isfinite(loss) & (loss >= 0)).all():
        raise ValueError("losses must be finite, at least 0, of shape (draws, lines, quarters)")
    draws, lines, quarters = loss.shape
    parts = terms.splits(["default"]) if splits is None else np.asarray(splits, dtype=np.float64)
    parts = np.broadcast_to(parts, (lines, 3))
    if not ((parts >= 0).all() and np.allclose(parts.sum(axis=1), 1.0, atol=1e-9)):
        raise ValueError("splits must be at least 0 and add up to 1")
    if terms.mode == "layer" and insured is None:
        raise ValueError("the mode 'layer' needs the insured exposure")
    exposure = 0.0 if insured is None else insured
    limit = np.broadcast_to(terms.share * np.asarray(exposure, dtype=np.float64), (lines,))
    staying, delay, opening = 1.0, 0, terms.capital
    if stress is not None:
        staying = max(0.0, 1.0 - stress.insurer_exits / terms.insurers)
        delay = min(stress.claim_delay_quarters, quarters)
        opening *= (1.0 - stress.capital_haircut) * staying

    shape = (draws, lines, quarters)
    paid, bank, guarantor, government = (np.zeros(shape) for _ in range(4))
    capital = np.empty((draws, quarters + 1))
    capital[:, 0] = opening + injection
    exhausted = np.zeros(draws, dtype=np.int64)
    whole = terms.guarantor_capital
    room = np.full(draws, np.inf if whole is None else whole)
    capacity = np.ones((draws, quarters))
    before = np.zeros((draws, lines))
    for t in range(quarters):
        due = loss[:, :, t - delay] if t >= delay else np.zeros((draws, lines))
        claim = terms.share * due if terms.mode == "quota" else np.minimum(due, limit - before)
        pay, claimed = _ration(claim, capital[:, t])
        empty = (claimed > 0) & (claimed >= capital[:, t] * (1.0 - 1e-12))
        exhausted[empty & (exhausted == 0)] = t + 1
        capital[:, t + 1] = np.maximum(capital[:, t] - pay.sum(axis=1), 0.0)
        capital[:, t + 1] += terms.premium * staying
        before += pay
        rest = due - pay
        borne, asked = _ration(rest * parts[:, 1], room)
        room = np.maximum(room - np.minimum(asked, room), 0.0)
        paid[:, :, t], guarantor[:, :, t] = pay, borne
        government[:, :, t] = rest * parts[:, 2]
        bank[:, :, t] = rest - borne - government[:, :, t]
        if whole is not None:
            capacity[:, t] = room / whole if whole > 0 else 0.0
    return PoolOutcome(
        paid=paid,
        bank=np.maximum(bank, 0.0),
        guarantor=guarantor,
        government=government,
        outstanding=loss[:, :, quarters - delay :].sum(axis=2),
        capital=capital,
        exhausted=exhausted,
        guarantor_capacity=capacity,
    )


def _ration(claims: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Return claims cut in proportion to what the means allow, and their uncut sum, by draw."""
    total = claims.sum(axis=1)
    share = np.divide(means, total, out=np.ones_like(total), where=total > means)
    return claims * share[:, None], total


def usable_haircut(haircut: float, capacity: ArrayLike) -> Floats:
    """Return the haircut on guarantees once guarantors have lost part of their capital.

    Feeds the pool back into `haihe_fl.stress.network.propagate`.

    Examples
    --------
    >>> usable_haircut(0.2, [1.0, 0.5]).round(3).tolist()
    [0.2, 0.6]
    """
    return np.asarray(1.0 - (1.0 - haircut) * np.asarray(capacity, dtype=np.float64))


def exhausting_loss(terms: PoolTerms) -> float:
    """Return the gross loss that empties the pool before any premium.

    Examples
    --------
    >>> exhausting_loss(load_pool())
    1250000000.0
    """
    return terms.capital / (terms.share if terms.mode == "quota" else 1.0)
