"""The satellite model: from driver paths to point-in-time PD paths.

All coefficients are expert priors (``configs/satellite.yaml``); none is an estimate.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit, logit  # type: ignore[import-untyped]

from haihe_fl.configuration import ConfigurationFault, read_configuration, source_name
from haihe_fl.errors import UserError
from haihe_fl.stress.losses import implied_factor, irb_correlation
from haihe_fl.stress.paths import driver_paths, profile_path
from haihe_fl.stress.scenarios import Overlay, Scenario, ScenarioCatalogue

Floats = NDArray[np.float64]


class Loading(BaseModel):
    """Scale of a driver's beta, for each sector."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    default: float
    sectors: dict[str, float] = {}


class Satellite(BaseModel):
    """Coefficients of the satellite model.

    Attributes
    ----------
    beta : dict
        Log-odds of default per adverse standard deviation of each driver.
    loadings : dict
        Scale of beta per driver and sector; a sign may flip.
    cap : float or None
        Saturation c: z becomes c tanh(z / c). None leaves z as it is.
    ageing : float
        Fall of the log-odds per year survived.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: str
    evidence: str
    note: str = ""
    cap: float | None = Field(default=4.0, gt=0)
    ageing: float = 0.0
    admissible: tuple[float, float] = (0.3, 2.5)
    beta: dict[str, float]
    loadings: dict[str, Loading]

    @property  # not cached: model_copy would carry the old hash along
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def weights(self, catalogue: ScenarioCatalogue) -> Floats:
        """Return beta times loading, shape (sectors, drivers)."""
        return np.array(
            [
                [
                    self.beta[k] * self.loadings[k].sectors.get(s, self.loadings[k].default)
                    for k in catalogue.drivers
                ]
                for s in catalogue.sectors
            ]
        )


def load_satellite(catalogue: ScenarioCatalogue, path: Path | None = None) -> Satellite:
    """Read the satellite's coefficients and check them against a scenario catalogue.

    Raises
    ------
    UserError
        H2515 if the file cannot be read, is malformed, or does not fit the catalogue.

    Examples
    --------
    >>> from haihe_fl.stress.scenarios import load_scenarios
    >>> load_satellite(load_scenarios()).beta["gdp_growth"]
    0.35
    """
    source = source_name("satellite.yaml", path)
    try:
        satellite = read_configuration(Satellite, "satellite.yaml", path)
    except ConfigurationFault as what:
        raise _wrong(source, str(what)) from None
    for part, names in (("beta", satellite.beta), ("loadings", satellite.loadings)):
        if odd := set(names) ^ set(catalogue.drivers):
            raise _wrong(
                source, f"{part} must name every driver once; check {', '.join(sorted(odd))}"
            )
    for driver, loading in satellite.loadings.items():
        if odd := set(loading.sectors) - set(catalogue.sectors):
            raise _wrong(source, f"loadings.{driver}: unknown sector {', '.join(sorted(odd))}")
    return satellite


def _wrong(source: str, what: str) -> UserError:
    return UserError(
        "H2515",
        en=f"satellite {source}: {what}; compare with configs/satellite.yaml",
        zh=f"卫星模型 {source}:{what};请对照 configs/satellite.yaml",
    )


def saturate(z: Floats, cap: float | None) -> Floats:
    """Return cap * tanh(z / cap): nearly z in the middle, never beyond the cap.

    Examples
    --------
    >>> saturate(np.array([1.0, 6.4]), 4.0).round(4).tolist()
    [0.9797, 3.6867]
    """
    return z if cap is None else np.asarray(cap * np.tanh(z / cap))


def log_odds_shift(
    catalogue: ScenarioCatalogue,
    satellite: Satellite,
    scenario: Scenario,
    overlay: Overlay | None = None,
    *,
    severity: float = 1.0,
    idiosyncratic: bool = True,
) -> Floats:
    r"""Return the shift of the log-odds of default, shape (sectors, quarters).

    .. math:: \sum_k \beta_k \ell_{s,k} \tilde z_k(t) + \ln(m_s) w(t) - \kappa\, t / 4

    with :math:`z_k = a_k x_k / \sigma_k` and :math:`\tilde z = c \tanh(z/c)`. An overlay's cure
    penalty multiplies the odds once its delay is over.
    """
    paths = driver_paths(catalogue, scenario, overlay, severity=severity)
    scale = np.array([d.adverse_sign / d.sigma for d in catalogue.drivers.values()])
    z = saturate(paths * scale[:, None], satellite.cap)
    quarters = np.arange(1, paths.shape[1] + 1)
    shift: Floats = satellite.weights(catalogue) @ z - satellite.ageing * quarters / 4.0
    if idiosyncratic:
        given = scenario.idiosyncratic.sectors
        log_m = np.array([math.log(given.get(s, 1.0)) for s in catalogue.sectors])
        shift += severity * np.outer(log_m, profile_path(catalogue, scenario))
    if overlay is not None and overlay.cure_penalty_pd_multiplier != 1:
        after = quarters > overlay.stage3_delay_quarters
        shift += math.log(overlay.cure_penalty_pd_multiplier) * after
    return shift


def stressed_pd(pd: Floats | float, shift: Floats | float) -> Floats:
    """Return the annual PD after a shift of its log-odds.

    Examples
    --------
    Vector T1: a PD of 3 % and z = (2, 2, 3.125) with beta = (.35, .15, .12), unsaturated.

    >>> float(stressed_pd(0.03, 0.35 * 2 + 0.15 * 2 + 0.12 * 3.125).round(5))
    0.10899
    >>> float(stressed_pd(0.03, 0.35 * 2).round(5))
    0.05863
    """
    return np.asarray(expit(logit(pd) + shift))


def quarterly_hazard(pd: Floats | float) -> Floats:
    """Return the quarterly hazard of an annual PD, 1 - (1 - PD)^(1/4).

    Examples
    --------
    >>> round(float(quarterly_hazard(0.03)), 8)
    0.00758588
    """
    return np.asarray(1.0 - np.sqrt(np.sqrt(1.0 - np.asarray(pd, dtype=np.float64))))


def survival(hazard: Floats) -> Floats:
    """Return survival to the end of each period along the last axis.

    Examples
    --------
    >>> survival(np.array([0.1, 0.1])).round(3).tolist()
    [0.9, 0.81]
    """
    return np.asarray(np.cumprod(1.0 - hazard, axis=-1), dtype=np.float64)


@dataclass(frozen=True)
class Plausibility:
    """How far out a scenario lies, for a reference enterprise with equal sector weights.

    Attributes
    ----------
    sigma : float
        Systematic factor of a one-factor model that would give the same rise of the mean PD at
        the worst quarter; drivers only. Negative is adverse: -2 is "two sigma".
    sigma_all : float
        The same with the sector multipliers included.
    peak_quarter : int
        Quarter of the worst mean PD.
    peak_pd, cumulative_pd : float
        Mean PD at that quarter, and default probability over all quarters; drivers only.
    """

    sigma: float
    sigma_all: float
    peak_quarter: int
    peak_pd: float
    cumulative_pd: float


def plausibility(
    catalogue: ScenarioCatalogue,
    satellite: Satellite,
    scenario: Scenario,
    overlay: Overlay | None = None,
    *,
    severity: float = 1.0,
    reference_pd: float = 0.03,
    sales_eur_m: float = 5.0,
) -> Plausibility:
    """Say how many standard deviations a scenario amounts to (vector T2).

    Examples
    --------
    >>> from haihe_fl.stress.scenarios import load_scenarios
    >>> c = load_scenarios()
    >>> p = plausibility(c, load_satellite(c), c["gfc-replay"])
    >>> p.sigma < -1.5, p.peak_quarter
    (True, 2)
    """
    rho = float(irb_correlation(reference_pd, sales_eur_m))
    worst = []
    for idiosyncratic in (False, True):
        shift = log_odds_shift(
            catalogue, satellite, scenario, overlay, severity=severity, idiosyncratic=idiosyncratic
        )
        pd = stressed_pd(reference_pd, shift)
        mean = pd.mean(axis=0)
        quarter = int(mean.argmax())
        cumulative = 1.0 - survival(quarterly_hazard(pd))[:, -1].mean()
        sigma = float(implied_factor(reference_pd, float(mean[quarter]), rho))
        worst.append((sigma, quarter + 1, float(mean[quarter]), float(cumulative)))
    (sigma, quarter, peak, cumulative), (sigma_all, *_) = worst
    return Plausibility(sigma, sigma_all, quarter, peak, cumulative)
