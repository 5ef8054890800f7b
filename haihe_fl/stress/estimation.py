"""The satellite's coefficients, estimated from noisy counts.

The centre knows the macro drivers and the sector loadings; the institutions know who
defaulted. One noisy sum of counts (`haihe_fl.stress.panels`) is all that leaves them; the rest is
post-processing. In quarter t and sector s the expected number of defaults is

    mu_ts = sum_g N_tsg h(g + a_s + u_t + sum_k beta_k l_sk z_tk),    h = quarterly hazard,

and beta is the maximum a posteriori under N(prior, prior sd) within the admissible range. The
sign constraint (beta >= 0 in adverse units) is part of that range. a_s says how far the model's
calibration in sector s is off; it soaks up what noise and bands do to the level. u_t is what no
driver explains of a quarter; left out, such shocks pass for effects of drivers.

Why counts and not noisy gradients: with rare defaults the total of a (quarter, sector) is nearly
sufficient for its shift, so little is lost; noise is paid once, not once an iteration; a borrower
of many quarters is charged sqrt(1 + Q w^2) and not Q; and priors, drivers and checks can be
tried at the centre without asking again.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from haihe_fl.models.releases import PlannedRelease, ReleaseRequest
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.stress import panels
from haihe_fl.stress.macro import Quarter
from haihe_fl.stress.panels import PanelCounts
from haihe_fl.stress.satellite import Satellite
from haihe_fl.stress.satellite_fit import Counts, Prior, fit

Floats = NDArray[np.float64]
Source = Literal["estimated", "prior"]


@dataclass(frozen=True)
class EstimationSettings:
    """Public choices of an estimation.

    Attributes
    ----------
    prior_sd : float
        Standard deviation of each beta's prior, as a share of its mean.
    level_sd : float
        Prior standard deviation of a sector's shift of level, log-odds.
    quarter_sd : float
        Prior standard deviation of a shift that all sectors share in a quarter, log-odds: what
        no driver explains. Zero leaves it out.
    edges : tuple of float
        Inner edges of the risk bands, annual log-odds.
    """

    prior_sd: float = 0.5
    level_sd: float = 0.3
    quarter_sd: float = 0.1
    edges: tuple[float, ...] = tuple(panels.BANDS.tolist())


@dataclass(frozen=True)
class Coefficient:
    """One beta, in log-odds per adverse standard deviation.

    Attributes
    ----------
    value, se : float
        Maximum a posteriori and posterior standard deviation (before the range cuts it).
    prior, prior_sd : float
        What was believed beforehand.
    source : {"estimated", "prior"}
        "estimated" if the data removed at least half of the prior variance; else the value is the
        prior moved by what little the data say, and must be quoted as a prior.
    """

    driver: str
    value: float
    se: float
    prior: float
    prior_sd: float
    low: float
    high: float
    source: Source

    @property
    def interval(self) -> tuple[float, float]:
        """95 % credible interval, within the admissible range."""
        reach = 1.96 * self.se
        return max(self.low, self.value - reach), min(self.high, self.value + reach)


@dataclass(frozen=True)
class SatelliteEstimate:
    """All coefficients of a run.

    Attributes
    ----------
    dispersion : float
        Pearson's chi-square over its degrees of freedom, at least 1: by how much the counts
        scatter beyond binomial and privacy noise. Standard errors are scaled by its root.
    """

    coefficients: tuple[Coefficient, ...]
    level: Floats
    dispersion: float
    noise_multiplier: float

    def __getitem__(self, driver: str) -> Coefficient:
        return next(c for c in self.coefficients if c.driver == driver)

    def satellite(self, prior: Satellite, version: str) -> Satellite:
        """Return a satellite with these values, whose evidence says which are estimates."""
        done = [c.driver for c in self.coefficients if c.source == "estimated"]
        kept = [c.driver for c in self.coefficients if c.source == "prior"]
        evidence = f"estimated: {', '.join(done) or 'none'}; prior: {', '.join(kept) or 'none'}"
        beta = {**prior.beta, **{c.driver: c.value for c in self.coefficients}}
        changed = {"version": version, "evidence": evidence, "beta": beta}
        return Satellite.model_validate({**prior.model_dump(), **changed})


class SatelliteTrainer:
    """The centre's side: asks for one noisy sum, then estimates.

    Parameters
    ----------
    drivers : tuple of str
        Names, K of them.
    z : ndarray, shape (T, K)
        Adverse, standardised, saturated drivers of each quarter: public.
    loading : ndarray, shape (S, K)
        Sector loadings.
    satellite : Satellite
        Prior means and the admissible range.
    mu : float
        Gaussian-DP budget of one borrower-quarter record; infinity for no noise, in tests only.
    start : Quarter, optional
        Calendar quarter of the first row of ``z``; institutions cut their panels to it. Left out
        for synthetic panels, whose quarters are numbers.

    Examples
    --------
    >>> from haihe_fl.stress.run import shipped
    >>> catalogue, satellite = shipped()
    >>> names = tuple(catalogue.drivers)
    >>> trainer = SatelliteTrainer(names, np.zeros((8, 14)), np.ones((12, 14)), satellite, 0.719)
    >>> request = trainer.next_request()
    >>> request.kind, request.length, round(request.noise_multiplier, 3)
    ('satellite/counts', 1056, 1.391)
    """

    def __init__(
        self,
        drivers: tuple[str, ...],
        z: Floats,
        loading: Floats,
        satellite: Satellite,
        mu: float,
        settings: EstimationSettings | None = None,
        start: Quarter | None = None,
    ) -> None:
        if z.shape[1] != len(drivers) or loading.shape[1] != len(drivers) or not mu > 0:
            raise ValueError(f"drivers {len(drivers)}, z {z.shape}, loading {loading.shape}: {mu}")
        self.drivers, self.z, self.loading = drivers, z, loading
        self.satellite, self.settings = satellite, settings or EstimationSettings()
        self.start = start
        self._z = 1.0 / mu
        self._result: SatelliteEstimate | None = None

    def schedule(self) -> list[PlannedRelease]:
        """Return the one release of the run."""
        shape = (len(self.z), len(self.loading), len(self.settings.edges) + 1)
        return [PlannedRelease("counts", panels.KIND, self._z, panels.length(*shape))]

    def next_request(self) -> ReleaseRequest | None:
        """Return the release, or None when it has been absorbed."""
        if self._result is not None:
            return None
        plan = self.schedule()[0]
        arrays = {
            "edges": np.array(self.settings.edges),
            "shape": np.array([len(self.z), len(self.loading)]),
        }
        if self.start is not None:
            arrays["start"] = np.array(self.start)
        return ReleaseRequest(
            plan.name, plan.kind, plan.noise_multiplier, plan.length, plan.part, arrays
        )

    def absorb(self, total: NDArray[np.int64], excess: float = 1.0) -> None:
        """Take the noisy sum and estimate.

        Parameters
        ----------
        total : ndarray of int64
            As `panels.answer` lays it out.
        excess : float
            Standard deviation of the noise in the sum over that planned: the root of survivors
            over the quorum's ``noise_parties``.
        """
        plan = self.schedule()[0]
        if self._result is not None or total.shape != (plan.length,):
            raise ValueError(f"no release of {total.shape} entries is due")
        quarters, sectors = len(self.z), len(self.loading)
        head = quarters * sectors
        defaults = (total[:head] / panels.DEFAULT_UNIT).reshape(quarters, sectors)
        exposure = (total[head:] / panels.EXPOSURE_UNIT).reshape(quarters, sectors, -1)
        noise = excess * self._z * panels.sensitivity() / panels.DEFAULT_UNIT
        self._result = _estimate(self, defaults, exposure, noise)

    def result(self) -> SatelliteEstimate:
        """Return the estimate; ``ValueError`` before the sum has come."""
        if self._result is None:
            raise ValueError("nothing has been absorbed yet")
        return self._result

    def trace(self) -> list[dict[str, float]]:
        """Return one row for the release."""
        if self._result is None:
            return []
        return [{"release": 1.0, "dispersion": self._result.dispersion}]


def _estimate(
    trainer: SatelliteTrainer, defaults: Floats, exposure: Floats, noise: float
) -> SatelliteEstimate:
    settings, satellite = trainer.settings, trainer.satellite
    mean = np.array([satellite.beta[k] for k in trainer.drivers])
    least, most = satellite.admissible
    sd = settings.prior_sd * np.abs(mean)
    prior = Prior(mean, sd, least * mean, most * mean, settings.level_sd, settings.quarter_sd)
    x = trainer.loading[None, :, :] * trainer.z[:, None, :]
    counts = Counts(defaults, exposure, noise, noise / panels.WEIGHT)
    found = fit(counts, x, np.array(settings.edges), prior)
    coefficients = [
        Coefficient(
            driver=name,
            value=float(found.beta[k]),
            se=float(found.se[k]),
            prior=float(mean[k]),
            prior_sd=float(sd[k]),
            low=float(prior.low[k]),
            high=float(prior.high[k]),
            source="estimated" if found.se[k] ** 2 <= 0.5 * sd[k] ** 2 else "prior",
        )
        for k, name in enumerate(trainer.drivers)
    ]
    return SatelliteEstimate(tuple(coefficients), found.level, found.dispersion, trainer._z)


def estimate_in_memory(
    trainer: SatelliteTrainer, counts: list[PanelCounts], quorum: Quorum, noise: NoiseSource
) -> SatelliteEstimate:
    """Run an estimation over panels held in this process, without masks.

    Every institution adds its own share of the noise, as it would in the secure sum.
    """
    if len(counts) != quorum.parties:
        raise ValueError(f"{len(counts)} panels, but the quorum is for {quorum.parties}")
    request = trainer.next_request()
    if request is None:
        return trainer.result()
    total = np.zeros(request.length, dtype=np.int64)
    for panel in counts:
        given = panels.answer(panel, request)
        total += given.vector
        if request.noise_multiplier > 0:
            sd = quorum.share_sd(request.noise_multiplier, given.sensitivity)
            total += noise.rounded_gaussian(sd, request.length)
    trainer.absorb(total, (quorum.parties / quorum.noise_parties) ** 0.5)
    return trainer.result()
