"""The end of the chain: what the pool pays, and what is left of capital, expected and by draw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from haihe_fl.stress.attribution import waterfall
from haihe_fl.stress.capital import BalanceSheets, CapitalPath, Opening, capital_path
from haihe_fl.stress.chain_results import (
    LEVELS,
    CapitalFigures,
    InstitutionCapital,
    PoolFigures,
)
from haihe_fl.stress.distribution import LossDraws
from haihe_fl.stress.pool import PoolOutcome, PoolTerms, settle_pool
from haihe_fl.stress.results import StressResult
from haihe_fl.stress.scenarios import PoolSpec

Floats = NDArray[np.float64]
BLOCK = 1000
"""Draws at a time; changes memory, not results."""


@dataclass(frozen=True, eq=False)
class Books:
    """Losses and provisions that pool and capital are worked out from.

    Attributes
    ----------
    stressed, own_lgd : StressResult
        As the scenario has it, and with every loan's own LGD.
    uplift : ndarray, shape (institutions,)
        Loss by contagion over first-round loss.
    drawn : LossDraws, optional
        Draws, contagion within them.
    insured : float
        Share of each loss.
    terms : PoolTerms or None
        Of the pool; None without one.
    cuts : PoolSpec
        What the scenario does to it.
    injection : float
        Capital that the policy adds, CNY.
    """

    stressed: StressResult
    own_lgd: StressResult
    uplift: Floats
    drawn: LossDraws | None
    insured: float
    terms: PoolTerms | None
    cuts: PoolSpec
    injection: float

    @property
    def loss(self) -> Floats:
        """Expected loss before contagion, shape (institutions, quarters)."""
        return self.stressed.total("el", "institution")

    @property
    def spread(self) -> Floats:
        """Expected loss by contagion, shape (institutions, quarters)."""
        return np.asarray(self.loss * self.uplift[:, None])

    def settle(self, losses: Floats) -> PoolOutcome | None:
        """Put losses of shape (draws, institutions, quarters) to the pool."""
        if self.terms is None:
            return None
        insured = self.insured * self.stressed.opening("exposure", "institution")
        return settle_pool(
            self.insured * losses,
            self.terms,
            stress=self.cuts,
            insured=insured,
            injection=self.injection,
        )

    def blocks(self) -> Iterator[Floats]:
        """Yield drawn losses, shape (draws, institutions, quarters), a block at a time."""
        if self.drawn is None:
            return
        for first in range(0, self.drawn.quarters.shape[1], BLOCK):
            part = self.drawn.quarters[:, first : first + BLOCK]
            yield part.transpose(1, 2, 0).astype(np.float64)


def pool_figures(books: Books) -> PoolFigures:
    """Return what the pool pays on the expected path, and how it fares over draws."""
    expected = books.loss + books.spread
    out = books.settle(expected[None])
    assert out is not None
    capital, ends = [], []
    for losses in books.blocks():
        settled = books.settle(losses)
        assert settled is not None
        capital.append(settled.capital)
        ends.append(settled.exhausted)
    by = quantiles = None
    if capital:
        empty = np.concatenate(ends)
        quarters = np.arange(1, expected.shape[1] + 1)
        by = ((empty[:, None] > 0) & (empty[:, None] <= quarters)).mean(axis=0).tolist()
        quantiles = np.quantile(np.concatenate(capital), LEVELS, axis=0).tolist()
    return PoolFigures(
        opening=float(out.capital[0, 0]),
        expected_capital=out.capital[0].tolist(),
        paid=float(out.paid.sum()),
        bank=float(out.bank.sum()),
        guarantor=float(out.guarantor.sum()),
        government=float(out.government.sum()),
        uninsured=float((1.0 - books.insured) * expected.sum()),
        outstanding=float(out.outstanding.sum()),
        exhausted_quarter=int(out.exhausted[0]),
        exhausted_by=by,
        capital_quantiles=quantiles,
    )


def capital_figures(
    books: Books,
    sheets: BalanceSheets,
    kinds: tuple[str, ...],
    steps: Sequence[str],
    method: Literal["order", "shapley"],
) -> CapitalFigures:
    """Return CET1 by institution and of all, on the expected path and over draws.

    On the expected path the charge to profit is the change of the allowance, and contagion's
    losses come on top. In a draw, it is that and what the draw's losses are beyond the expected.
    Whatever the pool does not pay falls to the institution, guarantors' and government's parts
    too: those are promises of others, shown with the pool.
    """
    opening = sheets.opening(
        kinds,
        books.stressed.opening("exposure", "institution"),
        12.5 * books.stressed.opening("capital", "institution"),
    )
    paid = _paid(books, (books.loss + books.spread)[None])[0]
    final = _path(books, opening, frozenset(steps), paid)
    found = waterfall(
        lambda on: _ratios(_path(books, opening, on, paid))[:, -1], list(steps), method
    )
    ratios = _ratios(final)
    breach = np.zeros(len(ratios), np.int64)
    below = ratios[:, 1:] < sheets.minimum_ratio
    breach[below.any(axis=1)] = below[below.any(axis=1)].argmax(axis=1) + 1
    chance, worst = _over_draws(books, opening, steps, sheets.minimum_ratio)
    names = (*books.stressed.institutions, "")
    rows = {}
    for k, name in enumerate(names):
        own = slice(None) if name == "" else slice(k, k + 1)
        rows[name] = InstitutionCapital(
            ratio=ratios[k].tolist(),
            cet1=final.cet1[own].sum(axis=0).tolist(),
            rwa=final.rwa[own].sum(axis=0).tolist(),
            profit=float(final.profit[own].sum()),
            tax=float(final.tax[own].sum()),
            breach=int(breach[k]),
            breach_probability=None if chance is None else float(chance[k]),
            worst=None if worst is None else float(worst[k]),
            waterfall={
                "start": float(found.start[k]),
                **{step: float(value[k]) for step, value in found.steps.items()},
                "end": float(found.end[k]),
            },
        )
    network = rows.pop("")
    return CapitalFigures(
        minimum=sheets.minimum_ratio, evidence=sheets.evidence, network=network, institutions=rows
    )


def _paid(books: Books, losses: Floats) -> Floats:
    out = books.settle(losses)
    return np.zeros_like(losses) if out is None else out.paid


def _path(books: Books, opening: Opening, on: frozenset[str], paid: Floats) -> CapitalPath:
    """Return capital with some steps on; pool payments shrink with the losses that are off."""
    stressed, own = books.stressed, books.own_lgd
    start = stressed.opening("ecl", "institution")
    quiet, whole = own.ecl("institution"), stressed.ecl("institution")
    loss, losses = np.zeros_like(whole), own.total("el", "institution")
    stock = np.repeat(start[:, None], whole.shape[1] + 1, axis=1)
    if "first_round" in on:
        stock[:, 1:] += quiet - start[:, None]
        loss = loss + losses
    if "lgd_downturn" in on:
        stock[:, 1:] += whole - quiet
        loss = loss + books.loss - losses
    spread = books.spread if "contagion" in on else np.zeros_like(whole)
    all_ = (books.loss + books.spread).sum(axis=1)
    share = np.divide((loss + spread).sum(axis=1), all_, out=np.zeros_like(all_), where=all_ > 0)
    return capital_path(
        opening.cet1,
        _assets(books, opening, "rwa" in on),
        ppnr=opening.ppnr[:, None] * ("ppnr" in on),
        allowance=stock,
        write_offs=spread,
        recoveries=paid * share[:, None] * ("pool_relief" in on),
        tax_rate=opening.tax_rate,
    )


def _assets(books: Books, opening: Opening, moved: bool) -> Floats:
    start = 12.5 * books.stressed.opening("capital", "institution")[:, None]
    later = books.stressed.rwa("institution")
    after = later if moved else np.repeat(start, later.shape[1], axis=1)
    return np.asarray(np.concatenate([start, after], axis=1) + opening.other_rwa[:, None])


def _ratios(path: CapitalPath) -> Floats:
    """Return ratios of the institutions and, last, of all together."""
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = path.cet1.sum(axis=-2, keepdims=True) / path.rwa.sum(axis=-2, keepdims=True)
    return np.concatenate([path.ratio, whole], axis=-2)


def _over_draws(
    books: Books, opening: Opening, steps: Sequence[str], minimum: float
) -> tuple[Floats | None, Floats | None]:
    """Return how often each ratio falls below the minimum, and its 1 % quantile at the end."""
    below, ends = [], []
    start = books.stressed.opening("ecl", "institution")[:, None]
    stock = np.concatenate([start, books.stressed.ecl("institution")], axis=1)
    for losses in books.blocks():
        path = capital_path(
            opening.cet1,
            _assets(books, opening, moved=True),
            ppnr=opening.ppnr[:, None],
            allowance=stock,
            write_offs=losses - books.loss,
            recoveries=_paid(books, losses),
            tax_rate=opening.tax_rate,
        )
        ratios = _ratios(path)
        below.append((ratios[..., 1:] < minimum).any(axis=-1))
        ends.append(ratios[..., -1])
    if not below:
        return None, None
    return np.concatenate(below).mean(axis=0), np.quantile(np.concatenate(ends), 0.01, axis=0)
