"""What scenarios share of a portfolio, and what a scenario leaves to lose, loan by loan."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri  # type: ignore[import-untyped]

from haihe_fl.stress.compiled import ODDS_END, ODDS_STEPS, Singles, loan_amounts
from haihe_fl.stress.kernel import PD_RANGE, Shock
from haihe_fl.stress.lgd import frye_jacobs_index
from haihe_fl.stress.losses import irb_correlation, size_adjustment
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.satellite import quarterly_hazard
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]
_CHUNK = 16_384
_QUANTILE = ndtri(expit(np.arange(-ODDS_END * ODDS_STEPS, ODDS_END * ODDS_STEPS + 1) / ODDS_STEPS))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A portfolio sorted by sector and institution, with what no scenario changes.

    Attributes
    ----------
    rows : ndarray, shape (n,)
        Positions in the portfolio.
    log_odds, size : ndarray, shape (n,)
        Of the PD before the shock; what an SME's size takes off the correlation.
    index : ndarray, shape (n,)
        Frye-Jacobs index.
    columns : ndarray, shape (n, 6)
        EAD, undrawn, weight, LGD, pledged value over EAD after the haircut, LGD of that.
    sector, institution : ndarray of int32, shape (n,)
        As in the portfolio.
    pledged : bool
        Whether the portfolio knows collateral.
    """

    portfolio: Portfolio
    rows: NDArray[np.intp]
    log_odds: Floats
    size: Floats
    index: Floats
    columns: Floats
    sector: NDArray[np.int32]
    institution: NDArray[np.int32]
    pledged: bool

    @classmethod
    def of(cls, portfolio: Portfolio, settings: StressSettings) -> "Prepared":
        """Sort a portfolio and work out what scenarios share."""
        rows = portfolio.order
        pd, lgd = portfolio.pd[rows], portfolio.lgd[rows]
        sales = portfolio.turnover[rows]
        ead = portfolio.ead[rows]
        columns = np.zeros((len(rows), 6))
        columns[:, 0] = ead
        columns[:, 2] = portfolio.weight[rows]
        columns[:, 3] = lgd
        if portfolio.undrawn is not None:
            columns[:, 1] = portfolio.undrawn[rows]
        if portfolio.collateral is not None:
            kept = 1.0 - settings.collateral_haircut
            columns[:, 4] = portfolio.collateral[rows] * kept / np.maximum(ead, 1e-12)
            columns[:, 5] = np.clip(1.0 - columns[:, 4], settings.collateral_floor, 1.0)
        return cls(
            portfolio=portfolio,
            rows=rows,
            log_odds=logit(pd),
            size=size_adjustment(sales),
            index=frye_jacobs_index(pd, np.maximum(lgd, 1e-12), irb_correlation(pd, sales)),
            columns=columns,
            sector=portfolio.sector[rows],
            institution=portfolio.institution[rows],
            pledged=portfolio.collateral is not None,
        )

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Amounts:
    """What each loan loses on default, in the order of `Prepared`.

    Attributes
    ----------
    loss, square : ndarray, shape (n, quarters)
        Weighted loss on default, CNY, and weight times the square of a single loan's.
    lgd : ndarray, shape (n, quarters)
        LGD of the quarter.
    """

    loss: Singles
    square: Singles
    lgd: Singles


def amounts(
    prepared: Prepared,
    shock: Shock,
    settings: StressSettings,
    gap: Floats,
    workers: "Workers",
) -> Amounts:
    """Work out losses on default; the LGD is that of `haihe_fl.stress.kernel`, to 1e-5."""
    n, quarters = len(prepared), shock.shift.shape[1]
    out = Amounts(
        np.empty((n, quarters), np.float32),
        np.empty((n, quarters), np.float32),
        np.empty((n, quarters), np.float32),
    )
    by_quarter = np.stack([shock.lgd_addon, shock.ccf_addon, shock.property_change, shock.impaired])

    def chunk(first: int) -> None:
        rows = slice(first, first + _CHUNK)
        loan_amounts(
            prepared.log_odds[rows],
            gap[rows],
            prepared.index[rows],
            prepared.columns[rows],
            prepared.sector[rows],
            np.ascontiguousarray(shock.shift),
            by_quarter,
            settings.collateral_floor if prepared.pledged else -1.0,
            _QUANTILE,
            float(logit(PD_RANGE[1])),
            *(out.loss[rows], out.square[rows], out.lgd[rows]),
        )

    workers(chunk, range(0, n, _CHUNK))
    if not settings.downturn_lgd:
        own = prepared.columns[:, 3:4].astype(np.float32)
        share = np.asarray(own / np.maximum(out.lgd, np.float32(1e-12)), np.float32)
        out.loss[:] *= share
        out.square[:] *= share * share
        out.lgd[:] = own
    return out


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Hazards given the factors: Phi(alpha - beta Y), by node or enterprise and quarter.

    Attributes
    ----------
    alpha, beta : ndarray, shape (n, quarters)
        G(h) / sqrt(1 - rho) and sqrt(rho / (1 - rho)).
    sector : ndarray of int32, shape (n,)
        Whose factor it is.
    """

    alpha: Singles
    beta: Singles
    sector: NDArray[np.int32]


def conditional(
    log_odds: Floats,
    gap: Floats,
    size: Floats,
    sector: NDArray[np.int32],
    shock: Shock,
    settings: StressSettings,
    lgd: Floats | None = None,
) -> tuple[Thresholds, Singles]:
    """Return thresholds and, for LGDs of shape (n, quarters), Frye-Jacobs' gamma.

    The loss rate given the factors is Phi(gamma - beta Y), gamma = G(h LGD) / sqrt(1 - rho): it
    has Vasicek's law with the mean h LGD.
    """
    n, quarters = len(log_odds), shock.shift.shape[1]
    alpha, beta = np.empty((n, quarters), np.float32), np.empty((n, quarters), np.float32)
    gamma = np.empty((0 if lgd is None else n, 0 if lgd is None else quarters), np.float32)
    for first in range(0, n, settings.block):
        at = slice(first, first + settings.block)
        odds = log_odds[at, None] + shock.shift[sector[at]] + gap[at, None] * shock.impaired
        pd = np.clip(expit(odds), *PD_RANGE)
        rho = irb_correlation(pd) - size[at, None]
        if settings.residual:
            rho = rho * (1.0 - settings.r2_macro)
        hazard = quarterly_hazard(pd)
        scale = 1.0 / np.sqrt(1.0 - rho)
        alpha[at] = ndtri(hazard) * scale
        beta[at] = np.sqrt(rho) * scale
        if lgd is not None:
            gamma[at] = ndtri(hazard * np.maximum(lgd[at], 1e-12)) * scale
    return Thresholds(alpha, beta, np.asarray(sector, dtype=np.int32)), gamma


class Workers:
    """Threads that share out independent pieces of work."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __call__(self, work: Callable[[Any], None], pieces: Sequence[Any]) -> None:
        """Do all pieces; an error in one is raised."""
        if self.threads == 1 or len(pieces) == 1:
            for piece in pieces:
                work(piece)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(work, pieces):
                pass
