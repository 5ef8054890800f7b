"""The distribution of losses, by draws of the systematic factors.

Given the factors, borrowers default independently, so an institution's mean and variance in a
draw are sums over borrowers. They are computed, not drawn; what is left to chance is one number
per draw and institution.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit, ndtri, pdtr, pdtrik  # type: ignore[import-untyped]

from haihe_fl.stress.compiled import TILE, Singles, default_quarters
from haihe_fl.stress.draws import DrawSettings, factor_draws, uniforms
from haihe_fl.stress.exposures import Prepared, Thresholds, Workers, amounts, conditional
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.lattice import Entries, Lattice, spread
from haihe_fl.stress.losses import size_adjustment
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.settings import StressSettings
from haihe_fl.stress.tiles import Block, Spread, Tiles

Floats = NDArray[np.float64]
_TABLE_LIMIT = 1 << 30


@dataclass(frozen=True, eq=False)
class LossDraws:
    """Losses by draw, in CNY, summed over the quarters.

    Attributes
    ----------
    losses : ndarray of float32, shape (draws, institutions)
        With the idiosyncratic part.
    expected, variance : ndarray of float32, shape (draws, institutions)
        Of the loss given the factors.
    quarters : ndarray of float32, shape (quarters, draws, institutions)
        Expected loss given the factors, by quarter.
    weights : ndarray, shape (draws,)
        Likelihood ratios of the draws; all 1 unless the factors were shifted.
    institutions : tuple of str
        Names.
    settings : DrawSettings
        How they were drawn.
    nodes : int
        How many nodes, or enterprises, stood for the portfolio.
    """

    losses: Singles
    expected: Singles
    variance: Singles
    quarters: Singles
    weights: Floats
    institutions: tuple[str, ...]
    settings: DrawSettings
    nodes: int

    @property
    def network(self) -> Floats:
        """Losses of all institutions together, shape (draws,)."""
        return np.asarray(self.losses.sum(axis=1, dtype=np.float64))


def simulate_losses(
    portfolio: Portfolio,
    shock: Shock,
    settings: StressSettings | None = None,
    options: DrawSettings | None = None,
    *,
    draws: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    impaired_pd: Floats | None = None,
    prepared: Prepared | None = None,
    spread_over: Spread | None = None,
) -> LossDraws:
    """Draw the losses that a shock costs each institution.

    Parameters
    ----------
    portfolio : Portfolio
        Exposures.
    shock : Shock
        From `haihe_fl.stress.run.shock_of`.
    settings : StressSettings, optional
        ``residual`` and ``r2_macro`` decide on the correlation.
    options : DrawSettings, optional
        How to draw; ``draws`` and ``seed`` override it.
    threads : int, optional
        By default one per core. Changes no number.
    impaired_pd : ndarray, optional
        PDs by `Portfolio.impaired_pd`, where the scenario loses data.
    prepared : Prepared, optional
        `Prepared.of` this portfolio, where several scenarios share it.
    spread_over : callable, optional
        Where blocks are computed, threads if left out. Changes no number.

    Examples
    --------
    >>> p = Portfolio.build(pd=[0.02] * 500, ead=1e6, lgd=0.45, sector="a", sectors=("a",),
    ...                     institution=["x"] * 300 + ["y"] * 200)
    >>> quiet = Shock.none(1, 4)
    >>> out = simulate_losses(p, quiet, options=DrawSettings(phi=0.0), draws=4000, seed=1)
    >>> out.losses.shape, bool(abs(out.network.mean() / (500 * 1e6 * 0.45 * 0.02) - 1) < 0.05)
    ((4000, 2), True)
    """
    settings = settings or StressSettings()
    options = options or DrawSettings()
    changed = {k: v for k, v in (("draws", draws), ("seed", seed)) if v is not None}
    options = DrawSettings.model_validate({**options.model_dump(), **changed})
    shock = _first_quarters(shock, options.quarters)
    prepared = prepared or Prepared.of(portfolio, settings)
    workers = Workers(threads or len(os.sched_getaffinity(0)))
    gap = _gap(portfolio, impaired_pd)[prepared.rows]
    entries, thresholds, gamma = _work(prepared, shock, settings, options, gap, workers)

    n_inst, quarters = len(portfolio.institutions), shock.shift.shape[1]
    tiles = Tiles(entries, thresholds, gamma, options, (n_inst, quarters, len(portfolio.sectors)))
    loss = np.empty((quarters, options.draws, n_inst), np.float32)
    variance = np.empty((options.draws, n_inst), np.float32)
    weights = np.empty(options.draws)

    def keep(first: int, block: Block) -> None:
        at = slice(first, first + len(block.weights))
        loss[:, at], variance[at], weights[at] = block

    pieces = range(0, options.draws, TILE)
    if spread_over is None:
        workers(lambda first: keep(first, tiles(first)), pieces)
    else:
        for first, block in spread_over(tiles, pieces):
            keep(first, block)
    expected = loss.sum(axis=0, dtype=np.float64)
    losses = _with_chance(expected, variance.astype(np.float64), portfolio.institutions, options)
    return LossDraws(
        losses=losses.astype(np.float32),
        expected=expected.astype(np.float32),
        variance=variance,
        quarters=loss,
        weights=weights,
        institutions=portfolio.institutions,
        settings=options,
        nodes=len(thresholds.sector),
    )


def thresholds_of(
    portfolio: Portfolio,
    shock: Shock,
    settings: StressSettings | None = None,
    impaired_pd: Floats | None = None,
) -> Thresholds:
    """Return the thresholds of each enterprise, in the portfolio's order, for `default_draw`."""
    thresholds, _ = conditional(
        logit(portfolio.pd),
        _gap(portfolio, impaired_pd),
        size_adjustment(portfolio.turnover),
        portfolio.sector,
        shock,
        settings or StressSettings(),
    )
    return thresholds


def default_draw(
    portfolio: Portfolio,
    thresholds: Thresholds,
    draw_index: int,
    options: DrawSettings | None = None,
) -> NDArray[np.int8]:
    """Return the quarter in which each entry defaults in one draw, 0 for none, shape (n,).

    The factors are those of the same draw in `simulate_losses`; with a shift, so is its weight.
    An entry that stands for several borrowers defaults as a whole. Each row has a number of its
    own, so the order of the rows matters, and two loans of one borrower default independently.

    Examples
    --------
    >>> p = Portfolio.build(pd=[0.2] * 6, ead=1.0, lgd=0.45, sector="a", sectors=("a",),
    ...                     institution="x")
    >>> rows = thresholds_of(p, Shock.none(1, 12))
    >>> first, again = (default_draw(p, rows, 17, DrawSettings(seed=4)) for _ in range(2))
    >>> first.dtype, bool((first == again).all())
    (dtype('int8'), True)
    """
    options = options or DrawSettings()
    quarters = thresholds.alpha.shape[1]
    drawn = factor_draws(options, len(portfolio.sectors), quarters, draw_index, 1)
    own = uniforms("enterprises", options.seed, draw_index, count=len(portfolio))
    out = np.empty(len(portfolio), np.int8)
    default_quarters(
        *(thresholds.alpha, thresholds.beta, thresholds.sector),
        *(np.ascontiguousarray(drawn.factors[..., 0], np.float32), own[:, 0], out),
    )
    return out


def _work(
    prepared: Prepared,
    shock: Shock,
    settings: StressSettings,
    options: DrawSettings,
    gap: Floats,
    workers: Workers,
) -> tuple[Entries, Thresholds, Singles]:
    """Return what hangs on which node, or with as many nodes as enterprises, on which of them."""
    what = amounts(prepared, shock, settings, gap, workers)
    n, n_inst, quarters = len(prepared), len(prepared.portfolio.institutions), shock.shift.shape[1]
    dense = options.method == "dense" or options.frye_jacobs
    if not dense:
        lattice = Lattice.of(prepared, gap)
        size = 8 * len(lattice) * n_inst * (3 * quarters + 1)
        if options.method == "bucketed" or (len(lattice) <= n // 4 and size <= _TABLE_LIMIT):
            entries = spread(lattice, prepared, what, workers)
            at = entries.node
            place = (lattice.log_odds[at], lattice.gap[at], lattice.size[at], lattice.sector[at])
            return entries, *conditional(*place, shock, settings)
    share = np.maximum(what.lgd, np.float32(1e-12)) if options.frye_jacobs else np.float32(1.0)
    entries = Entries(
        node=np.arange(n),
        first=np.arange(n + 1),
        institution=prepared.institution,
        amount=what.loss / share,
        square=what.square / (share * share),
        profile=np.asarray(np.sqrt(what.square) / share, np.float32),
        mass=np.ones(n, np.float32),
    )
    place = (prepared.log_odds, gap, prepared.size, prepared.sector)
    lgd = what.lgd.astype(np.float64) if options.frye_jacobs else None
    return entries, *conditional(*place, shock, settings, lgd)


def _with_chance(
    mean: Floats, variance: Floats, names: tuple[str, ...], options: DrawSettings
) -> Floats:
    """Draw each institution's loss given its mean and variance; its own stream by its name."""
    if options.idiosyncratic == "none":
        return mean
    out = np.empty_like(mean)
    for k, name in enumerate(names):
        chance = uniforms("losses", options.seed, name, count=len(mean))[:, 0]
        m, v = mean[:, k], variance[:, k]
        if options.idiosyncratic == "normal":
            out[:, k] = np.maximum(m + np.sqrt(v) * ndtri(chance), 0.0)
            continue
        unit = np.divide(v, m, out=np.zeros_like(m), where=(m > 0) & (v > 0))
        whole = np.divide(m, unit, out=np.zeros_like(m), where=unit > 0)
        out[:, k] = np.where(unit > 0, unit * poisson_quantile(chance, whole), m)
    return out


def poisson_quantile(probability: Floats, mean: Floats) -> Floats:
    """Return the smallest count whose Poisson distribution function reaches a probability.

    Examples
    --------
    >>> poisson_quantile(np.array([0.1, 0.5, 0.999]), np.array([0.2, 3.0, 3.0])).tolist()
    [0.0, 3.0, 10.0]
    """
    safe = np.where(mean > 0, mean, 1.0)
    none = (mean <= 0) | (probability <= np.exp(-safe))
    count = np.ceil(pdtrik(np.where(none, 0.9, probability), safe))
    less = np.maximum(count - 1.0, 0.0)
    count = np.where(pdtr(less, safe) >= probability, less, count)
    return np.asarray(np.where(none, 0.0, count))


def _gap(portfolio: Portfolio, impaired_pd: Floats | None) -> Floats:
    if impaired_pd is None:
        return np.zeros(len(portfolio))
    return np.asarray(logit(impaired_pd) - logit(portfolio.pd))


def _first_quarters(shock: Shock, quarters: int | None) -> Shock:
    if quarters is None or quarters >= shock.shift.shape[1]:
        return shock
    return replace(
        shock,
        shift=shock.shift[:, :quarters],
        lgd_addon=shock.lgd_addon[:quarters],
        ccf_addon=shock.ccf_addon[:quarters],
        property_change=shock.property_change[:quarters],
        impaired=shock.impaired[:quarters],
    )
