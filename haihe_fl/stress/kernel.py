"""The arithmetic of a run: enterprises by quarters, in blocks, summed into cells.

Everything a run reports is a sum over enterprises of a cell (sector, institution, quarter),
so a block of rows is turned into measures and added up before the next one is touched.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri  # type: ignore[import-untyped]

from haihe_fl.stress.ecl import significant_increase
from haihe_fl.stress.lgd import collateral_lgd, frye_jacobs_index
from haihe_fl.stress.losses import irb_correlation, maturity_factor, size_adjustment
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.satellite import quarterly_hazard, survival
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]

#: Measures of a cell, in CNY unless said otherwise. "Start" is the start of the quarter.
MEASURES: dict[str, str] = {
    "borrowers": "borrowers in the cell (number, weighted)",
    "exposure": "performing exposure at start",
    "pd": "sum of annual PDs (number)",
    "pd_exposure": "annual PD times performing exposure",
    "defaults": "expected defaults in the quarter (number)",
    "default_exposure": "exposure expected to default in the quarter",
    "el": "expected loss of the quarter",
    "el_year": "one-year expected loss, seen at start",
    "loss_tail": "one-year loss at the confidence level, seen at start",
    "capital": "IRB capital requirement (12.5 times it is RWA)",
    "ecl1": "IFRS 9 allowance, stage 1, at the end of the quarter",
    "ecl2": "IFRS 9 allowance, stage 2",
    "ecl3": "IFRS 9 allowance, stage 3: loss on exposure in default so far",
    "exposure1": "exposure in stage 1 at the end of the quarter",
    "exposure2": "exposure in stage 2",
    "exposure3": "exposure in stage 3",
}


#: Measures that do not depend on what comes after: also reported before the shock.
AT_START = ("borrowers", "exposure", "pd", "pd_exposure", "el_year", "loss_tail", "capital")
PD_RANGE = (1e-12, 1.0 - 1e-12)


@dataclass(frozen=True)
class Shock:
    """What a scenario does, per quarter.

    Attributes
    ----------
    shift : ndarray, shape (sectors, quarters)
        Shift of the log-odds of default.
    lgd_addon, ccf_addon, property_change : ndarray, shape (quarters,)
        Add-on to LGD, share of undrawn amounts that is drawn, change of property prices.
    impaired : ndarray, shape (quarters,)
        How far the PDs are those of impaired data, 0 to 1 (on the log-odds).
    stage3_delay : int
        Quarters by which a default is recognised late.
    """

    shift: Floats
    lgd_addon: Floats
    ccf_addon: Floats
    property_change: Floats
    impaired: Floats
    stage3_delay: int = 0

    @classmethod
    def none(cls, sectors: int, quarters: int) -> "Shock":
        """Return the shock of a quiet economy."""
        zero = np.zeros(quarters)
        return cls(np.zeros((sectors, quarters)), zero, zero, zero, zero)


@dataclass(frozen=True)
class Cells:
    """Sums by cell: ``sums[measure]`` has shape (sectors, institutions, quarters)."""

    sums: dict[str, Floats]
    ecl_start: Floats


def simulate(
    portfolio: Portfolio,
    shock: Shock,
    settings: StressSettings,
    impaired_pd: Floats | None = None,
) -> Cells:
    """Run one shock over a portfolio; ``impaired_pd`` are its PDs by `Portfolio.impaired_pd`.

    Memory is some twenty arrays of ``settings.block`` by quarters, besides the portfolio.
    """
    quarters = shock.shift.shape[1]
    n_inst = len(portfolio.institutions)
    n_cells = len(portfolio.sectors) * n_inst
    sums = {name: np.zeros((n_cells, quarters)) for name in MEASURES}
    start = np.zeros(n_cells)
    for first in range(0, len(portfolio), settings.block):
        rows = portfolio.order[first : first + settings.block]
        cell = portfolio.sector[rows].astype(np.intp) * n_inst + portfolio.institution[rows]
        edges = np.flatnonzero(np.diff(cell, prepend=-1))
        log_odds = logit(portfolio.pd[rows])[:, None] + shock.shift[portfolio.sector[rows]]
        if impaired_pd is not None:
            gap = logit(impaired_pd[rows]) - logit(portfolio.pd[rows])
            log_odds += gap[:, None] * shock.impaired
        measures, opening = _block(portfolio, rows, shock, settings, log_odds)
        for name, values in measures.items():
            sums[name][cell[edges]] += np.add.reduceat(values, edges, axis=0)
        start[cell[edges]] += np.add.reduceat(opening, edges)
    shape = (len(portfolio.sectors), n_inst)
    return Cells({k: v.reshape(*shape, quarters) for k, v in sums.items()}, start.reshape(shape))


def _block(
    portfolio: Portfolio,
    rows: NDArray[np.intp],
    shock: Shock,
    settings: StressSettings,
    log_odds: Floats,
) -> tuple[dict[str, Floats], Floats]:
    """Return each measure, shape (rows, quarters), and the opening allowance, shape (rows,)."""
    weight = portfolio.weight[rows][:, None]
    ead = (portfolio.ead[rows] * portfolio.weight[rows])[:, None]
    if portfolio.undrawn is not None:
        ead = ead + (portfolio.undrawn[rows][:, None] * weight) * shock.ccf_addon
    pd = np.clip(expit(log_odds), *PD_RANGE)
    hazard = quarterly_hazard(pd)
    after = survival(hazard)
    before = np.concatenate([np.ones((len(rows), 1)), after[:, :-1]], axis=1)
    g = ndtri(pd)

    lgd = _lgd(portfolio, rows, shock, settings, pd, g)
    exposure = ead * before
    defaulting = exposure * hazard
    loss = defaulting * lgd
    lost = exposure * lgd
    sales = portfolio.turnover[rows][:, None]
    rho = irb_correlation(pd, sales)
    free = rho * (1.0 - settings.r2_macro) if settings.residual else rho
    tail = ndtr((g + np.sqrt(free) * ndtri(settings.confidence)) / np.sqrt(1.0 - free))
    measures = {
        "borrowers": np.broadcast_to(weight, pd.shape),
        "exposure": exposure,
        "pd": pd * weight,
        "pd_exposure": pd * exposure,
        "defaults": weight * before * hazard,
        "default_exposure": defaulting,
        "el": loss,
        "el_year": lost * pd,
        "loss_tail": lost * tail,
        "capital": lost * _capital(pd, g, rho, sales, settings),
    }
    opening = _allowances(portfolio, rows, shock, settings, measures, (pd, hazard, after, lgd, ead))
    return measures, opening


def _lgd(
    portfolio: Portfolio,
    rows: NDArray[np.intp],
    shock: Shock,
    settings: StressSettings,
    pd: Floats,
    g: Floats,
) -> Floats:
    """Downturn LGD: the larger of Frye-Jacobs, the loan's own, and its fall in collateral."""
    pd0, lgd0 = portfolio.pd[rows], portfolio.lgd[rows]
    if not settings.downturn_lgd:
        return np.broadcast_to(lgd0[:, None], pd.shape)
    rho = irb_correlation(pd0, portfolio.turnover[rows])
    index = frye_jacobs_index(pd0, np.maximum(lgd0, 1e-12), rho)
    lgd = np.maximum(ndtr(g - index[:, None]) / pd, lgd0[:, None])
    if portfolio.collateral is not None:
        ead = np.maximum(portfolio.ead[rows], 1e-12)[:, None]
        pledged = portfolio.collateral[rows][:, None]
        options = {"haircut": settings.collateral_haircut, "floor": settings.collateral_floor}
        fall = collateral_lgd(pledged, ead, shock.property_change, **options)
        fall = fall - collateral_lgd(pledged, ead, **options)
        lgd = np.maximum(lgd, lgd0[:, None] + fall)
    return np.asarray(np.minimum(lgd + shock.lgd_addon, 1.0))


def _capital(pd: Floats, g: Floats, rho: Floats, sales: Floats, settings: StressSettings) -> Floats:
    """IRB capital per unit of LGD; reuses the quantile of the PD where no floor binds."""
    if settings.pd_floor > 0 and (low := pd < settings.pd_floor).any():
        pd = np.where(low, settings.pd_floor, pd)
        g = np.where(low, ndtri(settings.pd_floor), g)
        floored = irb_correlation(settings.pd_floor) - size_adjustment(sales)
        rho = np.where(low, floored, rho)
    quantile = ndtr((g + np.sqrt(rho) * ndtri(0.999)) / np.sqrt(1.0 - rho))
    return np.asarray((quantile - pd) * maturity_factor(pd, settings.maturity))


def _allowances(
    portfolio: Portfolio,
    rows: NDArray[np.intp],
    shock: Shock,
    settings: StressSettings,
    measures: dict[str, Floats],
    path: tuple[Floats, Floats, Floats, Floats, Floats],
) -> Floats:
    """Add the allowances and exposures by stage; return the opening allowance.

    ``running[:, t]`` is the discounted loss expected up to the end of quarter t, so the loss of
    any window is one difference of two columns.
    """
    pd, hazard, after, lgd, ead = path
    quarters, life = pd.shape[1], settings.lifetime_quarters
    ead = np.broadcast_to(ead, pd.shape)
    factor = (1.0 + settings.discount) ** (-0.25 * np.arange(quarters + life + 1))
    pd0, lgd0 = portfolio.pd[rows], portfolio.lgd[rows]
    hazard0 = quarterly_hazard(pd0)
    held = settings.beyond == "hold"
    h_tail = hazard[:, -1] if held else hazard0
    lgd_tail = lgd[:, -1] if held else lgd0
    running = np.zeros((len(rows), quarters + life + 1))
    running[:, 1 : quarters + 1] = measures["el"] * factor[1 : quarters + 1]
    running[:, quarters + 1 :] = (
        (ead[:, -1] * after[:, -1] * h_tail * lgd_tail)[:, None]
        * (1.0 - h_tail[:, None]) ** np.arange(life)
        * factor[quarters + 1 :]
    )
    np.cumsum(running, axis=1, out=running)
    now = running[:, 1 : quarters + 1]
    year = (running[:, 5 : quarters + 5] - now) / factor[1 : quarters + 1]
    whole = (running[:, 1 + life : quarters + 1 + life] - now) / factor[1 : quarters + 1]

    limits = {"ratio": settings.sicr_ratio, "margin": settings.sicr_margin}
    origin = portfolio.pd_origin[rows]
    second = significant_increase(pd, origin[:, None], **limits)
    booked = np.cumsum(measures["el"], axis=1)
    recognised = after
    if delay := min(shock.stage3_delay, quarters):
        recognised = np.concatenate([np.ones((len(rows), delay)), after[:, :-delay]], axis=1)
        booked = np.concatenate([np.zeros((len(rows), delay)), booked[:, :-delay]], axis=1)
    late = recognised - after
    measures["ecl1"] = np.where(second, 0.0, year)
    measures["ecl2"] = np.where(second, whole, 0.0) + whole * late / after
    measures["ecl3"] = booked
    measures["exposure1"] = np.where(second, 0.0, ead * after)
    measures["exposure2"] = np.where(second, ead * after, 0.0) + ead * late
    measures["exposure3"] = ead * (1.0 - recognised)

    terms = np.where(significant_increase(pd0, origin, **limits), life, 4)[:, None]
    ahead = np.arange(life)
    quiet = (1.0 - hazard0[:, None]) ** ahead * factor[1 : life + 1] * (ahead < terms)
    owed = portfolio.ead[rows] * portfolio.weight[rows] * lgd0
    return np.asarray(owed * hazard0 * quiet.sum(axis=1))
