"""A synthetic monitoring panel: invented firms whose indicators lead defaults by a known time.

**Synthetic.** Rates, leads and noise below are inventions; figures on this panel show that
the measures work and say nothing of any real warning system.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.synth.config import categories
from haihe_fl.data.synth.economy import DISTRICT_SHARE, SECTOR_SHARE
from haihe_fl.monitoring.indicators import IndicatorCatalogue, load_indicators

Floats = NDArray[np.float64]

LEAD_MONTHS = {"finance": 9, "tax_social": 7, "legal_registry": 4, "credit": 3, "platform": 6}
"""How long before the default the indicators of a dimension begin to worsen."""
SHOWN = 0.25  # chance that a failing firm shows an indicator at all
SILENT = 0.3  # share of failing firms that show nothing
SIZE_SHARE = (0.6, 0.3, 0.1)  # micro, small, medium


@dataclass(frozen=True, eq=False)
class MonitoringPanel:
    """Monthly indicators and PDs, with what became of each firm.

    Attributes
    ----------
    values : ndarray, shape (firms, months, 32)
        NaN after the default, and where a report is missing.
    pd : ndarray, shape (firms, months)
        Point-in-time PD over twelve months; NaN after the default.
    default_month : ndarray of int, shape (firms,)
        Month of the default; -1 for none within the panel.
    days : ndarray of int, shape (months,)
        Day of each month's report, 30 apart.
    groups : dict of str to ndarray of str, shape (firms,)
        ``sector``, ``size_class`` and ``district`` of each firm, drawn without regard to anything
        else: any difference between these groups is chance.
    """

    values: Floats
    pd: Floats
    default_month: NDArray[np.int64]
    days: NDArray[np.int64]
    groups: dict[str, NDArray[np.str_]]


def synthetic_panel(
    firms: int = 2_000,
    months: int = 60,
    *,
    annual_rate: float = 0.05,
    seed: int = 0,
    catalogue: IndicatorCatalogue | None = None,
) -> MonitoringPanel:
    """Draw a panel.

    A failing firm shows a quarter of the indicators, or none; each worsens in a straight line from
    `LEAD_MONTHS` before the default and crossing red about when it comes. Healthy firms have
    spells of the same kind that pass: they are what makes false alarms.

    Parameters
    ----------
    firms, months : int
        Size of the panel.
    annual_rate : float
        Share of firms that default in a year.
    seed : int
        The same seed gives the same panel.

    Examples
    --------
    >>> p = synthetic_panel(firms=200, months=24, seed=1)
    >>> p.values.shape, bool(np.isfinite(p.values).mean() > 0.9)
    ((200, 24, 32), True)
    """
    catalogue = catalogue or load_indicators()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 43]))
    hazard = 1.0 - (1.0 - annual_rate) ** (1.0 / 12.0)
    # Firms that default after the panel worsen in it too: the future does not end with the data.
    default = rng.geometric(hazard, firms) - 1
    t = np.arange(months)
    lead = np.array([LEAD_MONTHS[i.dimension] for i in catalogue.indicators])
    shown = (rng.random((firms, len(lead))) < SHOWN) & (rng.random((firms, 1)) >= SILENT)
    start = default[:, None] - np.rint(lead * rng.uniform(0.6, 1.4, shown.shape))
    span = np.maximum(default[:, None] - start, 1)
    worse = np.clip((t[:, None] - start[:, None, :]) / span[:, None, :], 0.0, 1.0)
    worse *= shown[:, None, :]

    # Passing spells: a firm in trouble for some months that recovers.
    begin = rng.integers(-6, months, (firms, 2))
    length = rng.integers(3, 9, (firms, 2))
    strength = rng.uniform(0.3, 1.2, (firms, 2)) * (rng.random((firms, 2)) < months / 150.0)
    for k in range(2):
        bump = 1.0 - np.abs((t - begin[:, [k]]) / length[:, [k]] * 2.0 - 1.0)
        own = rng.random((firms, len(lead))) < 0.15
        spell = strength[:, [k]] * np.clip(bump, 0.0, 1.0)
        worse = np.maximum(worse, spell[:, :, None] * own[:, None, :])

    values = _values(catalogue, worse, rng)
    trouble = worse.mean(-1)
    base = -3.4 + 0.5 * rng.standard_normal((firms, 1))
    logit = base + 9.0 * trouble + 0.1 * rng.standard_normal((firms, months))
    pd = 1.0 / (1.0 + np.exp(-logit))
    gone = t[None, :] >= default[:, None]
    values[gone] = np.nan
    pd[gone] = np.nan
    known = np.where(default < months, default, -1)
    # A stream of their own: the groups change nothing of the panel.
    draw = np.random.default_rng(np.random.SeedSequence([seed, 44]))
    shares = {"sector": SECTOR_SHARE, "size_class": SIZE_SHARE, "district": DISTRICT_SHARE}
    groups = {
        f: np.asarray(draw.choice(np.array(categories(f)), firms, p=np.asarray(share)))
        for f, share in shares.items()
    }
    return MonitoringPanel(values, pd, known.astype(np.int64), 30 * t.astype(np.int64), groups)


def _values(catalogue: IndicatorCatalogue, worse: Floats, rng: np.random.Generator) -> Floats:
    """Turn severities (0 healthy, 1 about red) into values in the units of the indicators."""
    out = np.empty_like(worse)
    for k, indicator in enumerate(catalogue.indicators):
        sign = 1.0 if indicator.direction == "up" else -1.0
        first = indicator.red if indicator.amber is None else indicator.amber
        gap = abs(indicator.red - first) or max(abs(indicator.red), 1.0)
        whole = indicator.unit in ("count", "notches", "months")
        healthy = 0.0 if whole or indicator.unit == "days" else first - sign * 2.0 * gap
        reach = indicator.red + 0.5 * sign * gap - healthy
        x = healthy + reach * worse[..., k]
        x = x + 0.3 * gap * rng.standard_normal(x.shape) * (worse[..., k] > 0 if whole else 1.0)
        if whole or indicator.unit == "days":
            x = np.maximum(np.floor(np.where(worse[..., k] > 0, x, 0.0)), 0.0)
        out[..., k] = x
    out[rng.random(out.shape) < 0.02] = np.nan
    return out
