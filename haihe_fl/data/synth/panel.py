"""A quarterly panel of macro drivers, performing borrowers and defaults, with a known truth.

Drivers follow stationary AR(1) processes with the standard deviations of
``configs/scenarios.yaml`` and a common cycle. A borrower's annual log-odds in quarter t are
``logit PD + sum_k beta_k * loading[s, k] * z_k(t)``, ``z = cap * tanh(a x / (sigma cap))``, and its
hazard is ``1 - (1 - PD)^(1/4)``: the satellite of the stress test.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import yaml
from numpy.typing import NDArray

from haihe_fl.data.synth.config import categories
from haihe_fl.data.synth.economy import Array, expit

PERSISTENCE = 0.8  # AR(1) coefficient of every driver and of the common cycle
CYCLE = 0.2  # share of a driver's variance that comes from the common cycle
_GRADES = 48


@dataclass(frozen=True, eq=False)
class Satellite:
    """The true macro dependence.

    Attributes
    ----------
    drivers : tuple of str
        The K drivers.
    sign, sigma, beta : ndarray, shape (K,)
        Adverse sign, standard deviation in the driver's unit, log-odds per adverse sigma.
    loading : ndarray, shape (S, K)
        Sector loadings.
    cap : float
        Where the standardised driver saturates.
    """

    drivers: tuple[str, ...]
    sign: Array
    sigma: Array
    beta: Array
    loading: Array
    cap: float


@dataclass(frozen=True, eq=False)
class Panel:
    """Quarterly counts by institution and sector.

    Attributes
    ----------
    drivers : ndarray, shape (T, K)
        Deviation of each driver from its baseline, in its unit.
    z : ndarray, shape (T, K)
        Adverse, standardised and saturated drivers.
    performing_by_grade, defaults_by_grade : ndarray of int64, shape (T, B, S, G)
        Borrowers performing at the start of the quarter, and those of them that default in it,
        by grade: a narrow band of neutral log-odds. Sums over grades are :attr:`performing` and
        :attr:`defaults`; a regression on these understates beta by a fifth, since borrowers of
        unlike risk are mixed, while one with ``grade_logit`` as offset does not.
    grade_logit : ndarray, shape (G,)
        Neutral annual log-odds of each grade.
    satellite : Satellite
        The truth that made it.
    institutions, sectors : tuple of str
        Names along the second and third axis.
    """

    drivers: Array
    z: Array
    performing_by_grade: NDArray[np.int64]
    defaults_by_grade: NDArray[np.int64]
    grade_logit: Array
    satellite: Satellite
    institutions: tuple[str, ...]
    sectors: tuple[str, ...]

    @property
    def performing(self) -> NDArray[np.int64]:
        """Borrowers performing at the start of the quarter, shape (T, B, S)."""
        return np.asarray(self.performing_by_grade.sum(-1))

    @property
    def defaults(self) -> NDArray[np.int64]:
        """Borrowers that default in the quarter, shape (T, B, S)."""
        return np.asarray(self.defaults_by_grade.sum(-1))


@cache
def satellite() -> Satellite:
    """Return the macro dependence of ``configs/satellite.yaml`` and ``configs/scenarios.yaml``."""
    read = {
        name: yaml.safe_load((files("configs") / name).read_text(encoding="utf-8"))
        for name in ("satellite.yaml", "scenarios.yaml")
    }
    truth, catalogue = read["satellite.yaml"], read["scenarios.yaml"]
    drivers = tuple(catalogue["drivers"])
    loading = [
        [
            truth["loadings"][k].get("sectors", {}).get(s, truth["loadings"][k]["default"])
            for k in drivers
        ]
        for s in categories("sector")
    ]
    return Satellite(
        drivers=drivers,
        sign=np.array([float(catalogue["drivers"][k]["adverse_sign"]) for k in drivers]),
        sigma=np.array([float(catalogue["drivers"][k]["sigma"]) for k in drivers]),
        beta=np.array([float(truth["beta"][k]) for k in drivers]),
        loading=np.array(loading, dtype=np.float64),
        cap=float(truth["cap"]),
    )


def _walk(quarters: int, columns: int, rng: np.random.Generator) -> Array:
    """Stationary AR(1) paths of unit variance, shape (T, columns)."""
    path = rng.standard_normal((quarters, columns))
    for t in range(1, quarters):
        path[t] = PERSISTENCE * path[t - 1] + np.sqrt(1 - PERSISTENCE**2) * path[t]
    return path


def draw_panel(
    institution: NDArray[np.integer],
    sector: NDArray[np.integer],
    pd: Array,
    institutions: tuple[str, ...],
    *,
    quarters: int,
    beta: dict[str, float] | None,
    rng: np.random.Generator,
) -> Panel:
    """Draw macro paths and default counts.

    Borrowers of a cell are counted on a grid of log-odds; defaulted borrowers leave, and new
    ones of the same quality enter at the rate at which the cell loses them on average.

    Parameters
    ----------
    institution, sector : ndarray of int, shape (m,)
        Cell of each record.
    pd : ndarray, shape (m,)
        Annual probability of default in a neutral quarter.
    """
    truth = satellite()
    if beta:
        unknown = sorted(set(beta) - set(truth.drivers))
        if unknown:
            raise ValueError(f"no driver {unknown[0]}; known are {', '.join(truth.drivers)}")
        mixed = np.array([beta.get(k, b) for k, b in zip(truth.drivers, truth.beta, strict=True)])
        truth = Satellite(truth.drivers, truth.sign, truth.sigma, mixed, truth.loading, truth.cap)
    common, own = _walk(quarters, 1, rng), _walk(quarters, len(truth.drivers), rng)
    adverse = np.sqrt(CYCLE) * common + np.sqrt(1 - CYCLE) * own
    z = truth.cap * np.tanh(adverse / truth.cap)
    shift = z @ (truth.loading * truth.beta).T

    sectors = categories("sector")
    shape = (len(institutions), len(sectors), _GRADES)
    logit = np.log(pd / (1 - pd))
    edges = np.linspace(logit.min(), logit.max(), _GRADES + 1)
    cell = np.searchsorted(edges[1:-1], logit)
    flat = np.ravel_multi_index((institution, sector, cell), shape)
    start = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    inside = np.bincount(cell, minlength=_GRADES)
    centre = np.bincount(cell, weights=logit, minlength=_GRADES) / np.maximum(inside, 1)

    performing = np.empty((quarters, *shape), dtype=np.int64)
    defaults = np.empty_like(performing)
    entry = start * (1 - (1 - expit(centre)) ** 0.25)
    alive = start.copy()
    for t in range(quarters):
        hazard = 1 - (1 - expit(centre + shift[t][:, None])) ** 0.25
        lost = rng.binomial(alive, hazard)
        performing[t], defaults[t] = alive, lost
        alive = alive - lost + rng.poisson(entry)
    return Panel(
        drivers=adverse * truth.sign * truth.sigma,
        z=z,
        performing_by_grade=performing,
        defaults_by_grade=defaults,
        grade_logit=centre,
        satellite=truth,
        institutions=institutions,
        sectors=sectors,
    )
