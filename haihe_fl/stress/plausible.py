"""The most plausible path to a loss: the nearest point, in standard deviations, that costs it.

Drivers' deviations x have covariance Sigma (sigmas of the scenario file, correlations of
``configs/driver_correlation.yaml``, an expert prior). The most plausible x with Loss(x) = L* has
the smallest Mahalanobis distance d: d^2 = x' Sigma^-1 x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize  # type: ignore[import-untyped]

from haihe_fl.configuration import ConfigurationFault, read_configuration, source_name
from haihe_fl.errors import UserError
from haihe_fl.stress.kernel import simulate
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import baseline, shipped, shock_of
from haihe_fl.stress.satellite import Satellite
from haihe_fl.stress.scenarios import PathSpec, Profile, Scenario, ScenarioCatalogue
from haihe_fl.stress.settings import StressSettings

Floats = NDArray[np.float64]
Loss = Callable[[Floats], float]
FURTHEST = 12.0
"""Mahalanobis distance beyond which no path is looked for: nobody's plausible."""
_LEAST_EIGENVALUE = 1e-6


class Pair(BaseModel):
    """Correlation of two drivers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    drivers: tuple[str, str]
    rho: float = Field(gt=-1, lt=1)


class DriverCorrelation(BaseModel):
    """Correlations of drivers; pairs that are not named have none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    evidence: str
    note: str = ""
    pairs: tuple[Pair, ...]

    def matrix(self, names: list[str]) -> Floats:
        """Return the correlation matrix in the order of ``names``."""
        out = np.eye(len(names))
        for pair in self.pairs:
            i, j = (names.index(name) for name in pair.drivers)
            out[i, j] = out[j, i] = pair.rho
        return out

    def covariance(self, catalogue: ScenarioCatalogue) -> Floats:
        """Return the covariance of the drivers' deviations, in their units."""
        sigma = np.array([driver.sigma for driver in catalogue.drivers.values()])
        return np.asarray(self.matrix(list(catalogue.drivers)) * np.outer(sigma, sigma))


def load_driver_correlation(
    catalogue: ScenarioCatalogue, path: Path | None = None
) -> DriverCorrelation:
    """Read the drivers' correlations and check them.

    Raises
    ------
    UserError
        H2564 if the file cannot be read, names an unknown driver, or the matrix is not positive
        definite.

    Examples
    --------
    >>> from haihe_fl.stress.scenarios import load_scenarios
    >>> c = load_scenarios()
    >>> float(load_driver_correlation(c).covariance(c)[0, 0])  # variance of growth, sigma 2
    4.0
    """
    source = source_name("driver_correlation.yaml", path)
    try:
        read = read_configuration(DriverCorrelation, "driver_correlation.yaml", path)
    except ConfigurationFault as what:
        raise _wrong(source, str(what)) from None
    named = [frozenset(pair.drivers) for pair in read.pairs]
    if any(len(pair) < 2 or not pair <= set(catalogue.drivers) for pair in named):
        raise _wrong(source, "a pair must name two drivers of the scenarios")
    if len(set(named)) < len(named):
        raise _wrong(source, "a pair stands twice")
    least = float(np.linalg.eigvalsh(read.matrix(list(catalogue.drivers))).min())
    if least < _LEAST_EIGENVALUE:
        raise _wrong(source, f"the matrix is not positive definite (eigenvalue {least:.3g})")
    return read


@dataclass(frozen=True)
class PlausiblePath:
    """The nearest point at which a loss is reached.

    Attributes
    ----------
    x : ndarray, shape (drivers,)
        Deviations, in the drivers' units.
    distance : float
        Mahalanobis distance d, "how many sigma".
    loss : float
        The loss at ``x``.
    reached : bool
        Whether that is the loss asked for; if not, ``x`` is the furthest point tried.
    alignment : float
        Cosine between x and the steepest direction of the loss, in standardised space: 1 at a
        nearest point. It says that no small step is better, not that no far one is.
    evaluations : int
        Calls of the loss.
    """

    x: Floats
    distance: float
    loss: float
    reached: bool
    alignment: float
    evaluations: int


def linear_path(b: Floats, covariance: Floats, c: float) -> tuple[Floats, float]:
    """Return x* and d^2 of a linear loss b'x = c: x* = c Sigma b / (b' Sigma b), closed form.

    Examples
    --------
    >>> x, d2 = linear_path(np.array([3.0, 4.0]), np.eye(2), 10.0)
    >>> x.round(12).tolist(), round(d2, 12)
    ([1.2, 1.6], 4.0)
    """
    direction = covariance @ b
    variance = float(b @ direction)
    return np.asarray(c * direction / variance), c * c / variance


def most_plausible(
    loss: Loss,
    target: float,
    covariance: Floats,
    *,
    tolerance: float = 1e-6,
    step: float = 1e-4,
    furthest: float = FURTHEST,
) -> PlausiblePath:
    """Return the nearest x with loss(x) = target, from a loss of less at x = 0.

    In standardised space u = L^-1 x, Sigma = L L': each round takes the linear solution at the
    current point (as the design point of structural reliability is found), damped, and SLSQP
    finishes. Gradients are central differences.

    Parameters
    ----------
    loss : callable
        Smooth, of deviations; more than ``target`` somewhere, or ``reached`` is False.
    tolerance : float
        Of the loss, relative to ``target - loss(0)``.
    step : float
        Of the differences, in standard deviations.
    furthest : float
        Largest distance tried.

    Examples
    --------
    >>> b, sigma = np.array([3.0, 4.0]), np.diag([4.0, 1.0])
    >>> path = most_plausible(lambda x: float(b @ x), 10.0, sigma)
    >>> path.x.round(4).tolist(), round(path.distance**2, 4)  # 100 / (9 * 4 + 16)
    ([2.3077, 0.7692], 1.9231)
    """
    root = np.linalg.cholesky(covariance)
    n, calls = len(root), 0

    def g(u: Floats) -> float:
        nonlocal calls
        calls += 1
        return float(loss(root @ u)) - target

    def slope(u: Floats) -> Floats:
        return np.array([(g(u + e) - g(u - e)) / (2 * step) for e in step * np.eye(n)])

    def within(u: Floats) -> Floats:
        length = float(np.linalg.norm(u))
        return u if length <= furthest else u * (furthest / length)

    u, value = np.zeros(n), g(np.zeros(n))
    if value >= 0:
        return PlausiblePath(root @ u, 0.0, value + target, True, 1.0, calls)
    scale, gradient = -value, slope(u)
    for _ in range(25):
        if not np.linalg.norm(gradient) > 0:
            break
        linear = within(gradient * (gradient @ u - value) / float(gradient @ gradient))
        share = 1.0
        while share > 0.05 and abs(g(u + share * (linear - u))) > max(abs(value), 1e-3 * scale):
            share /= 2
        moved = float(np.linalg.norm(share * (linear - u)))
        u = u + share * (linear - u)
        value, gradient = g(u), slope(u)
        if moved < 1e-3 and abs(value) < 1e-3 * scale:
            break
    found = minimize(
        lambda v: 0.5 * float(v @ v),
        u,
        jac=lambda v: v,
        method="SLSQP",
        constraints=[
            {"type": "eq", "fun": lambda v: g(v) / scale, "jac": lambda v: slope(v) / scale}
        ],
        options={"maxiter": 60, "ftol": 1e-12},
    )
    better = within(np.asarray(found.x, dtype=np.float64))
    if np.isfinite(better).all() and abs(g(better)) <= max(abs(value), tolerance * scale):
        u = better
        value, gradient = g(u), slope(u)
    lengths = float(np.linalg.norm(u)) * float(np.linalg.norm(gradient))
    return PlausiblePath(
        x=root @ u,
        distance=float(np.linalg.norm(u)),
        loss=value + target,
        reached=abs(value) <= tolerance * scale,
        alignment=float(u @ gradient) / lengths if lengths > 0 else 0.0,
        evaluations=calls,
    )


def loss_rate_by_drivers(
    portfolio: Portfolio,
    profile: PathSpec | None = None,
    settings: StressSettings | None = None,
    satellite: Satellite | None = None,
) -> Loss:
    """Return the engine's loss rate after all quarters, as a function of the drivers' peaks.

    All drivers move with one profile (by default a ramp to quarter 4 that halves every four); no
    sector multipliers, no add-ons.
    """
    catalogue, shipped_satellite = shipped()
    settings, satellite = settings or StressSettings(), satellite or shipped_satellite
    profile = profile or PathSpec(peak=1.0, peak_quarter=4, shape="ramp_decay", half_life=4.0)
    quiet = baseline(portfolio, settings, catalogue.horizon_quarters)
    exposure = float(quiet.sums["exposure"][:, :, 0].sum())
    model = catalogue.scenarios[0]
    calm = model.idiosyncratic.model_copy(
        update={
            "sectors": {},
            "lgd_addon": 0.0,
            "ccf_addon": 0.0,
            "profile": Profile.model_validate(profile.model_dump(exclude={"peak"})),
        }
    )
    none = catalogue.overlay("none")

    def rate(x: Floats) -> float:
        drivers = {
            name: profile.model_copy(update={"peak": float(peak)})
            for name, peak in zip(catalogue.drivers, x, strict=True)
        }
        scenario: Scenario = model.model_copy(update={"drivers": drivers, "idiosyncratic": calm})
        shock = shock_of(catalogue, satellite, scenario, none)
        return float(simulate(portfolio, shock, settings).sums["el"].sum()) / exposure

    return rate


def _wrong(source: str, what: str) -> UserError:
    return UserError(
        "H2564",
        en=f"driver correlations {source}: {what}; compare with configs/driver_correlation.yaml",
        zh=f"驱动因子相关系数 {source}:{what};请对照 configs/driver_correlation.yaml",
    )
