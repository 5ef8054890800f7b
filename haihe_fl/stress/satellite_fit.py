"""Maximum a posteriori of the satellite's coefficients from noisy counts of defaults.

The form is that of `haihe_fl.stress.estimation`; here is the arithmetic, free of names.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear  # type: ignore[import-untyped]
from scipy.special import expit  # type: ignore[import-untyped]

Floats = NDArray[np.float64]

_REACH = 5.0  # prior standard deviations to which shifts of level are held
_STEPS = 60


class Counts(NamedTuple):
    """What the noisy sum holds, in borrowers.

    Attributes
    ----------
    defaults : ndarray, shape (T, S)
        Noisy defaults by quarter and sector.
    exposure : ndarray, shape (T, S, G)
        Noisy borrowers performing at the quarter's start, by risk band.
    defaults_sd, exposure_sd : float
        Standard deviation of the noise on each count.
    """

    defaults: Floats
    exposure: Floats
    defaults_sd: float
    exposure_sd: float


class Prior(NamedTuple):
    """Means, standard deviations and range of the betas, each (K,), and of the shifts of level."""

    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    level_sd: float
    quarter_sd: float


class MapFit(NamedTuple):
    """Betas with posterior standard deviations, shifts of level, and dispersion."""

    beta: Floats
    se: Floats
    level: Floats
    quarter: Floats
    dispersion: float


def middles(edges: Floats) -> Floats:
    """Return the log-odds at which each band counts.

    Examples
    --------
    >>> middles(np.array([-4.0, -3.0, -1.0])).tolist()
    [-4.5, -3.5, -2.0, 0.0]
    """
    widths = np.diff(edges)
    inner = (edges[:-1] + edges[1:]) / 2.0
    ends = edges[0] - widths[0] / 2.0, edges[-1] + widths[-1] / 2.0
    return np.concatenate([[ends[0]], inner, [ends[1]]])


def fit(counts: Counts, x: Floats, edges: Floats, prior: Prior) -> MapFit:
    """Fit by Gauss-Newton with binomial plus privacy variance, within the range.

    Parameters
    ----------
    counts : Counts
        From the noisy sum.
    x : ndarray, shape (T, S, K)
        Loading times driver.
    edges : ndarray, shape (G - 1,)
        Of the bands.
    prior : Prior
        A ``quarter_sd`` of zero leaves out the shifts by quarter.
    """
    design, centre, sd = _design(x, prior)
    drivers = x.shape[2]
    low, high = centre - _REACH * sd, centre + _REACH * sd
    low[:drivers], high[:drivers] = prior.low, prior.high
    middle, error = middles(edges), counts.exposure_sd**2
    steady = _line(counts.exposure, error)
    theta, dispersion = centre.copy(), 1.0
    for _ in range(_STEPS):
        hazard, slope = _hazard(middle + (design @ theta)[..., None])
        expected = np.maximum((counts.exposure * hazard).sum(-1), 1e-3)
        sloped = np.maximum((steady * slope).sum(-1), 1e-4)
        variance = np.maximum((steady * hazard * (1 - hazard)).sum(-1), 1e-3)
        variance += counts.defaults_sd**2 + error * (hazard**2).sum(-1)
        root = 1.0 / np.sqrt(variance * dispersion)
        jacobian = ((root * sloped)[..., None] * design).reshape(-1, len(theta))
        miss = (root * (counts.defaults - expected)).ravel()
        rows = np.vstack([jacobian, np.diag(1.0 / sd)])
        target = np.concatenate([miss + jacobian @ theta, centre / sd])
        solved = lsq_linear(rows, target, (low, high), tol=1e-12).x
        step, theta = solved - theta, solved
        chi_square = dispersion * float(miss @ miss)
        dispersion = max(1.0, chi_square / max(counts.defaults.size - len(theta), 1))
        if np.abs(step).max() < 1e-7:
            break
    se = np.sqrt(np.diag(np.linalg.inv(rows.T @ rows)))
    parts = np.split(theta, [drivers, drivers + x.shape[1]])
    return MapFit(parts[0], se[:drivers], parts[1], parts[2], dispersion)


def _design(x: Floats, prior: Prior) -> tuple[Floats, Floats, Floats]:
    """Return regressors (T, S, P), prior means and sds: betas, sectors, quarters."""
    quarters, sectors, drivers = x.shape
    extra = quarters if prior.quarter_sd > 0 else 0
    design = np.zeros((quarters, sectors, drivers + sectors + extra))
    design[:, :, :drivers] = x
    design[:, np.arange(sectors), drivers + np.arange(sectors)] = 1.0
    if extra:
        design[np.arange(quarters), :, drivers + sectors + np.arange(quarters)] = 1.0
    centre = np.concatenate([prior.mean, np.zeros(sectors + extra)])
    sds = prior.sd, np.full(sectors, prior.level_sd), np.full(extra, prior.quarter_sd)
    return design, centre, np.concatenate(sds)


def _hazard(logit: Floats) -> tuple[Floats, Floats]:
    """Return the quarterly hazard and its derivative by the annual log-odds."""
    pd = expit(logit)
    stay = (1.0 - pd) ** 0.25
    return 1.0 - stay, 0.25 * stay * pd


def _line(exposure: Floats, error: float) -> Floats:
    """Return exposure for the weights: a line over time, where its counts are noisy.

    Weights that shared the noise of the residuals would prefer the quarters that it flatters.
    """
    if error == 0.0 or len(exposure) < 4:
        return exposure
    t = np.linspace(-1.0, 1.0, len(exposure))
    basis, _ = np.linalg.qr(np.column_stack([np.ones_like(t), t]))
    fitted = basis @ (basis.T @ exposure.reshape(len(t), -1))
    return np.maximum(fitted.reshape(exposure.shape), 0.0)
