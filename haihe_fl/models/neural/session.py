"""An institution's side of a neural run: one round of local training from public inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.models.neural.encoder import Encoder
from haihe_fl.models.neural.local import LocalTrainer
from haihe_fl.models.neural.settings import NeuralSettings, Weights
from haihe_fl.models.releases import Arrays, ReleaseComputer
from haihe_fl.privacy.noise import NoiseSource


def train_round(
    computer: ReleaseComputer,
    settings: dict[str, Any],
    noise_multiplier: float,
    weights: Sequence[NDArray[np.floating]],
    arrays: Arrays,
    *,
    proximal_mu: float,
    noise: NoiseSource,
) -> Weights:
    """Train one round and return weights that are differentially private.

    Parameters
    ----------
    computer : ReleaseComputer
        Holds the training rows, and keeps them encoded between rounds.
    settings : dict
        ``NeuralSettings`` of the plan.
    arrays : dict
        Public arrays of ``NeuralTrainer.arrays``.
    """
    trainer = computer.cache.get("neural")
    if trainer is None:
        cohort = computer.parts["train"]
        chosen = NeuralSettings.model_validate(settings | {"records": int(arrays["records"])})
        trainer = LocalTrainer(
            cohort,
            Encoder.from_arrays(cohort.catalogue, arrays),
            chosen,
            noise_multiplier,
            source=noise,
        )
        computer.cache["neural"] = trainer
    result: Weights = trainer.train(weights, proximal_mu=proximal_mu)
    return result
