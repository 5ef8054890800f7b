"""Driver paths: how each macro driver deviates from its baseline, quarter by quarter."""

import math

import numpy as np
from numpy.typing import NDArray

from haihe_fl.stress.scenarios import Overlay, PathSpec, Scenario, ScenarioCatalogue

Floats = NDArray[np.float64]


def shape(name: str, quarter: int, half_life: float | None, horizon: int = 12) -> Floats:
    r"""Return a path of peak 1 for quarters 1 to ``horizon``.

    With peak quarter :math:`q` and half-life :math:`h` in quarters:

    - ``ramp_decay``: :math:`t/q` up to :math:`q`, then :math:`2^{-(t-q)/h}`;
    - ``spike``: 0 before :math:`q`, then :math:`2^{-(t-q)/h}`;
    - ``ramp_hold``: :math:`t/q` up to :math:`q`, then 1;
    - ``plateau``: :math:`t/q` up to :math:`q`, 1 for :math:`\lceil h \rceil` more quarters,
      then down to 0 in a straight line over :math:`h` quarters;
    - ``double_dip``: the larger of ``ramp_decay`` at :math:`q` and 0.6 times ``spike`` at
      :math:`q+6`;
    - ``seasonal_q3``: :math:`2^{-(t-q)/(2h)}` in quarters 3, 7, 11 from :math:`q` on, else 0.

    Every shape scales with its peak, so ``shape(peak) = peak * shape(1)``.

    Raises
    ------
    ValueError
        If there is no shape of that name, or it lacks its half-life.

    Examples
    --------
    >>> shape("ramp_decay", 2, 3, 5).round(4).tolist()
    [0.5, 1.0, 0.7937, 0.63, 0.5]
    >>> shape("plateau", 2, 2, 7).tolist()
    [0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    t = np.arange(1, horizon + 1, dtype=np.float64)
    if name == "ramp_hold":
        return np.asarray(np.minimum(t / quarter, 1.0))
    if half_life is None or half_life <= 0:
        raise ValueError(f"shape {name} needs a positive half-life, not {half_life}")
    ramp = np.minimum(t / quarter, 1.0)
    decay = np.exp2(-np.maximum(t - quarter, 0.0) / half_life)
    match name:
        case "ramp_decay":
            path = ramp * decay
        case "spike":
            path = np.where(t < quarter, 0.0, decay)
        case "plateau":
            end = quarter + math.ceil(half_life)
            path = ramp * np.clip(1.0 - (t - end) / half_life, 0.0, 1.0)
        case "double_dip":
            second = shape("spike", quarter + 6, half_life, horizon)
            path = np.maximum(ramp * decay, 0.6 * second)
        case "seasonal_q3":
            slow = np.exp2(-(t - quarter) / (2.0 * half_life))
            path = np.where((t >= quarter) & np.isin(t, (3.0, 7.0, 11.0)), slow, 0.0)
        case _:
            raise ValueError(f"no shape {name}")
    return np.asarray(path, dtype=np.float64)


def driver_paths(
    catalogue: ScenarioCatalogue,
    scenario: Scenario,
    overlay: Overlay | None = None,
    *,
    severity: float = 1.0,
) -> Floats:
    """Return the deviation of each driver from its baseline, shape (drivers, quarters).

    An overlay moves a driver that the scenario moves with that driver's own peak quarter,
    shape and half-life (so it simply adds to the peak), and any other driver with the
    scenario's own profile. Severity scales the scenario, not the policy response.

    Examples
    --------
    >>> from haihe_fl.stress.scenarios import load_scenarios
    >>> c = load_scenarios()
    >>> x = driver_paths(c, c["gfc-replay"])
    >>> x.shape, x[list(c.drivers).index("gdp_growth"), :3].round(3).tolist()
    ((14, 12), [-2.25, -4.5, -3.572])
    """
    horizon = catalogue.horizon_quarters
    names = list(catalogue.drivers)
    paths = np.zeros((len(names), horizon))
    for name, spec in scenario.drivers.items():
        paths[names.index(name)] = severity * spec.peak * _unit(spec, horizon)
    if overlay is not None:
        profile = PathSpec(peak=1.0, **scenario.idiosyncratic.profile.model_dump())
        for name, value in overlay.drivers.items():
            spec = scenario.drivers.get(name, profile)
            paths[names.index(name)] += value * _unit(spec, horizon)
    return paths


def profile_path(catalogue: ScenarioCatalogue, scenario: Scenario) -> Floats:
    """Return w(t), the profile of multipliers and add-ons with peak 1, shape (quarters,)."""
    profile = scenario.idiosyncratic.profile
    return shape(profile.shape, profile.peak_quarter, profile.half_life, catalogue.horizon_quarters)


def _unit(spec: PathSpec, horizon: int) -> Floats:
    return shape(spec.shape, spec.peak_quarter, spec.half_life, horizon)
