"""The satellite's coefficients from the institutions' panels: one masked, noisy sum."""

import contextlib
import uuid
from dataclasses import dataclass

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from haihe_fl.models.plan import TrainingPlan, release_steps
from haihe_fl.privacy.gaussian import epsilon_for, mu_for
from haihe_fl.privacy.noise import Quorum
from haihe_fl.stress.estimation import EstimationSettings, SatelliteEstimate, SatelliteTrainer
from haihe_fl.stress.macro import Quarter
from haihe_fl.stress.panels import borrower_factor
from haihe_fl.stress.satellite import Satellite
from strategies.exchange import Exchange, Progress
from strategies.secure_sum import SecureSumSession


@dataclass(frozen=True)
class SatelliteRun:
    """An estimate, and how it came about.

    Attributes
    ----------
    estimate : SatelliteEstimate
        The coefficients.
    plan : TrainingPlan
        What every institution agreed to; its epsilon and delta are of one borrower-quarter
        record, against the centre and the plan's colluders.
    survivors : tuple of str
        Institutions in the sum.
    left_out : dict of str to str
        The others, with the number of the error.
    borrower_epsilon : float
        Of all records of a borrower who is in every quarter at one lender, at the same delta.
    private : bool
        False if an institution's noise was seeded for a test.
    """

    estimate: SatelliteEstimate
    plan: TrainingPlan
    survivors: tuple[str, ...]
    left_out: dict[str, str]
    borrower_epsilon: float
    private: bool


def estimate_satellite(
    grid: Grid,
    drivers: tuple[str, ...],
    z: NDArray[np.float64],
    loading: NDArray[np.float64],
    prior: Satellite,
    *,
    epsilon: float,
    delta: float,
    institutions: int,
    catalogue: str,
    settings: EstimationSettings | None = None,
    start: Quarter | None = None,
    quorum: Quorum | None = None,
    deadline_s: float = 120.0,
    poll_s: float = 0.1,
    progress: Progress = lambda *_: None,
) -> SatelliteRun:
    """Estimate the satellite over all institutions of a grid.

    Parameters
    ----------
    grid : Grid
        Flower's grid, or ``InProcessConsortium.grid``.
    drivers : tuple of str
        Names, K of them.
    z : ndarray, shape (T, K)
        Adverse, standardised, saturated drivers of each quarter: public.
    loading : ndarray, shape (S, K)
        Sector loadings, in the order of the scenarios' sectors.
    prior : Satellite
        Prior means and the admissible range.
    epsilon, delta : float
        Of one borrower-quarter record. There is always noise.
    institutions : int
        How many to wait for.
    catalogue : str
        Fingerprint of the feature catalogue that the consortium agreed on.
    start : Quarter, optional
        Calendar quarter of the first row of ``z``; left out for synthetic panels.

    Raises
    ------
    PolicyError
        H3306 if the institutions refuse by policy or budget.
    NetworkError
        H4204 if too few accept, or have a panel at all; H4201 if too few stay.
    """
    trainer = SatelliteTrainer(drivers, z, loading, prior, mu_for(epsilon, delta), settings, start)
    exchange = Exchange(grid, deadline_s=deadline_s, poll_s=poll_s)
    present = exchange.discover(institutions)
    plan = satellite_plan(
        trainer,
        tuple(sorted(present)),
        quorum or Quorum.default(len(present)),
        epsilon=epsilon,
        delta=delta,
        catalogue=catalogue,
    )
    request = trainer.next_request()
    assert request is not None
    sums = SecureSumSession(exchange, plan)
    try:
        progress(request.name, 0, 1)
        sums.open()
        result = sums.sum(request)
        excess = len(result.survivors) / plan.quorum.noise_parties
        trainer.absorb(result.total, excess**0.5)
    except Exception:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            sums.abort()
        raise
    sums.close()
    progress(request.name, 1, 1)
    left = {n: sums.out.get(n, "no answer") for n in plan.participants if n not in result.survivors}
    return SatelliteRun(
        estimate=trainer.result(),
        plan=plan,
        survivors=tuple(sorted(result.survivors)),
        left_out=left,
        borrower_epsilon=epsilon_for(mu_for(epsilon, delta) * borrower_factor(len(z)), delta),
        private=not any(status.fixed_noise for status in present.values()),
    )


def satellite_plan(
    trainer: SatelliteTrainer,
    participants: tuple[str, ...],
    quorum: Quorum,
    *,
    epsilon: float,
    delta: float,
    catalogue: str,
) -> TrainingPlan:
    """Return the plan of an estimation: one release, which spends the whole budget."""
    return TrainingPlan(
        run=uuid.uuid4().hex[:16],
        model=f"satellite {trainer.satellite.version}",
        family="satellite",
        mode="secure",
        catalogue_fingerprint=catalogue,
        participants=participants,
        minimum=quorum.minimum,
        colluders=quorum.colluders,
        epsilon=epsilon,
        delta=delta,
        holdout_share=0.0,
        releases=release_steps(trainer.schedule()),
    )
