"""Federated training in one process, without masks, for benchmarks and tests.

The secure sum yields exactly the integer sum of the institutions' noisy answers, so this
gives the same model: each institution adds its own share of the noise, and with more
survivors than the quorum's minimum there is as much more noise as in production.
"""

import numpy as np

from haihe_fl.data.cohort import Cohort
from haihe_fl.models.base import RiskModel
from haihe_fl.models.releases import ReleaseComputer, Trainer
from haihe_fl.privacy.noise import NoiseSource, Quorum


def train_in_memory(
    trainer: Trainer,
    cohorts: dict[str, Cohort],
    quorum: Quorum,
    noise: NoiseSource,
    holdout_share: float = 0.0,
) -> RiskModel:
    """Run a trainer to its end over cohorts held in this process.

    Parameters
    ----------
    trainer : Trainer
        The centre's side; a noise multiplier of zero asks for no noise.
    cohorts : dict of str to Cohort
        Rows of each institution, by name.
    quorum : Quorum
        Fixes each institution's share of the noise.
    noise : NoiseSource
        Where the noise comes from.
    holdout_share : float
        Share of borrowers kept from training.

    Returns
    -------
    RiskModel
    """
    if len(cohorts) != quorum.parties:
        raise ValueError(f"{len(cohorts)} cohorts, but the quorum is for {quorum.parties}")
    computers = [ReleaseComputer(cohort, holdout_share) for cohort in cohorts.values()]
    while (request := trainer.next_request()) is not None:
        total = np.zeros(request.length, dtype=np.int64)
        for computer in computers:
            answer = computer.answer(request)
            total += answer.vector
            if request.noise_multiplier > 0:
                sd = quorum.share_sd(request.noise_multiplier, answer.sensitivity)
                total += noise.rounded_gaussian(sd, request.length)
        trainer.absorb(total)
    return trainer.model()
