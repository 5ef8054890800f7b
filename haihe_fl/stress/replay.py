"""Historical replay: a scenario from a dated window of macro series.

Every driver with data deviates from its value in the quarter before the window. The path is put
into the form of the scenario file: its peak is the largest deviation observed, its quarter, shape
and half-life are those that miss the observed path least. What was fitted, and by how much it
misses, stands in the scenario's ``evidence``; a replay has no sector multipliers, no losses of data
and no guarantee haircut, since the series say nothing of them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from haihe_fl.errors import UserError
from haihe_fl.stress.macro import SERIES, DriverSeries, Observation, Quarter, deviation, quarterly
from haihe_fl.stress.paths import shape
from haihe_fl.stress.scenarios import PathSpec, Scenario, ScenarioCatalogue

Floats = NDArray[np.float64]

FITTED = ("ramp_decay", "spike", "ramp_hold", "plateau", "double_dip")
HALF_LIVES = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0)


class Fit(NamedTuple):
    """A path of the scenario file and how far it is off.

    Attributes
    ----------
    spec : PathSpec
        The path.
    miss : float
        Largest distance from the path that was to be fitted, as a share of its peak.
    """

    spec: PathSpec
    miss: float


def fit_path(path: Floats, horizon: int = 12) -> Fit | None:
    """Return the path of the scenario file nearest to a given one; None for one of zeros.

    Parameters
    ----------
    path : ndarray, shape (quarters,)
        At most ``horizon`` quarters; NaN where nothing is known.

    Examples
    --------
    >>> fit = fit_path(-4.5 * shape("ramp_decay", 2, 3.0))
    >>> fit.spec.shape, fit.spec.peak_quarter, fit.spec.half_life, fit.miss
    ('ramp_decay', 2, 3.0, 0.0)
    """
    known = np.isfinite(path)
    if not known.any() or not np.abs(path[known]).max() > 0.0:
        return None
    peak = float(path[int(np.nanargmax(np.abs(path)))])
    best: tuple[float, float, PathSpec] | None = None
    for name in FITTED:
        for quarter in range(1, len(path) + 1):
            for life in (None,) if name == "ramp_hold" else HALF_LIVES:
                unit = shape(name, quarter, life, horizon)[: len(path)]
                off = (peak * unit - path)[known]
                loss = float(off @ off)
                if best is None or loss < best[0] - 1e-12 * peak * peak:
                    spec = PathSpec(peak=peak, peak_quarter=quarter, shape=name, half_life=life)
                    best = (loss, float(np.abs(off).max() / abs(peak)), spec)
    assert best is not None
    return Fit(best[2], best[1])


def window(
    series: Mapping[str, list[Observation]],
    start: Quarter,
    quarters: int = 12,
    drivers: Mapping[str, DriverSeries] = SERIES,
) -> dict[str, Floats]:
    """Return each driver's deviation from the quarter before the window, NaN where unknown.

    Drivers without a value in that quarter, or in more than a quarter of the window, are left out.
    """
    base = start.plus(-1)
    found = {}
    for driver, spec in drivers.items():
        values = quarterly(series.get(spec.series, []), spec)
        path = [values.get(start.plus(t), np.nan) for t in range(quarters)]
        if base in values and np.isfinite(path).mean() >= 0.75:
            found[driver] = np.round(deviation(path, values[base], spec.kind), 4)
    return found


def replay(
    catalogue: ScenarioCatalogue,
    series: Mapping[str, list[Observation]],
    start: Quarter,
    *,
    quarters: int | None = None,
    identifier: str | None = None,
    source: str = "macro series",
    drivers: Mapping[str, DriverSeries] = SERIES,
) -> Scenario:
    """Build a scenario from what the series did from ``start`` on.

    Parameters
    ----------
    quarters : int, optional
        Length of the window, at most the horizon; after it, shapes go on by themselves.
    identifier : str, optional
        Id of the scenario; else ``replay-2020q1``.
    source : str
        Name of the file, for the evidence.

    Raises
    ------
    UserError
        H2584 if no driver has data in the window.
    """
    length = min(quarters or catalogue.horizon_quarters, catalogue.horizon_quarters)
    known = {k: v for k, v in drivers.items() if k in catalogue.drivers}
    paths = window(series, start, length, known)
    fits = {k: fit for k, path in paths.items() if (fit := fit_path(path, len(path)))}
    # Shapes are fitted within the window and run on to the horizon.
    if not fits:
        first = start.plus(-1)
        raise UserError(
            "H2584",
            en=f"no driver has data from {first} to {start.plus(length - 1)} in {source}; "
            "choose another window or give more series",
            zh=f"{source} 中没有任何驱动因子在 {first} 至 {start.plus(length - 1)} 有数据;"
            "请另选时段或补充序列",
        )
    worst = max(fits, key=lambda k: fits[k].miss)
    used = ", ".join(f"{k} from {known[k].series}" for k in fits)
    silent = ", ".join(k for k in catalogue.drivers if k not in fits)
    return Scenario.model_validate(
        {
            "id": identifier or f"replay-{start}".lower(),
            "family": "macro_cycle",
            "name_en": f"Replay from {start}",
            "name_zh": f"{start} 起历史重演",
            "narrative": f"What the series did over {length} quarters from {start}, each against "
            f"its value in {start.plus(-1)}. Without data and left at rest: {silent}.",
            "anchor": f"{source}: {used}",
            "evidence": f"secondary: deviations observed in {source}; shapes fitted, largest miss "
            f"{100 * fits[worst].miss:.0f} % of the peak ({worst}); no sector multipliers",
            "policy_environment": "as it was",
            "drivers": {k: fit.spec.model_dump() for k, fit in fits.items()},
            "idiosyncratic": AT_REST,
        }
    )


AT_REST: dict[str, object] = {
    "sectors": {},
    "profile": {"peak_quarter": 1, "shape": "ramp_decay", "half_life": 1},
    "guarantee_haircut": 0,
    "contagion": {"lambda": 0, "seed_fraction": 0},
    "lgd_addon": 0,
    "ccf_addon": 0,
    "pool": {"capital_haircut": 0, "insurer_exits": 0, "claim_delay_quarters": 0},
    "data_quality": {"feature_missing_rate": 0, "label_flip_rate": 0, "node_dropout_rate": 0},
}
"""Nothing beside the drivers."""
