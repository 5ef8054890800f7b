"""The one secure sum before local training: where the quantiles lie, and how many records.

It is the additive family's own quantile release; the encoder and the scale of a step follow
from its noisy sum, so an institution's count is never asked for.
"""

import math

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.binning import number_columns
from haihe_fl.models.neural.encoder import Encoder, public_binning
from haihe_fl.models.neural.model import NeuralModel
from haihe_fl.models.neural.quantiles import absorb_quantiles, quantile_release
from haihe_fl.models.neural.settings import NeuralSettings, initial_weights
from haihe_fl.models.releases import Arrays, PlannedRelease, ReleaseRequest

SHARE = 0.05
"""Part of mu squared that the quantiles may spend."""


class QuantileTrainer:
    """A ``Trainer`` of one release; the network itself is trained locally afterwards.

    Parameters
    ----------
    catalogue : FeatureCatalogue
        The public meaning of the columns.
    settings : NeuralSettings
        Of the run.
    mu : float
        Gaussian-DP budget of one record for the whole run, of which ``SHARE`` is spent here.
    parties : int
        Institutions in the run.
    """

    def __init__(
        self, catalogue: FeatureCatalogue, settings: NeuralSettings, mu: float, parties: int
    ) -> None:
        self.catalogue = catalogue
        self.settings = settings
        self.parties = parties
        self.mu_spent = mu * math.sqrt(SHARE) if number_columns(catalogue) else 0.0
        self.encoder = Encoder(public_binning(catalogue))
        self._asked = not self.mu_spent
        self._trace: list[dict[str, float]] = []

    def schedule(self) -> list[PlannedRelease]:
        """Return the quantile release, if there are numbers to bin."""
        if not self.mu_spent:
            return []
        return [quantile_release(self.catalogue, 1 / self.mu_spent)]

    def next_request(self) -> ReleaseRequest | None:
        """Return the quantile release once, then None."""
        if self._asked:
            return None
        self._asked = True
        (plan,) = self.schedule()
        return ReleaseRequest(plan.name, plan.kind, plan.noise_multiplier, plan.length, plan.part)

    def absorb(self, total: NDArray[np.int64]) -> None:
        """Set cut points and the average number of records from the noisy histograms."""
        self.encoder, records = absorb_quantiles(self.catalogue, total)
        average = max(round(records / self.parties), 1)
        self.settings = self.settings.model_copy(update={"records": average})
        self._trace.append({"release": 1.0, "records": records})

    def arrays(self) -> Arrays:
        """Return what every institution needs to train: encoder and average record number."""
        records = np.array(self.settings.records, dtype=np.int64)
        return {**self.encoder.arrays(), "records": records}

    def model(self) -> NeuralModel:
        """Return the untrained network."""
        weights = initial_weights(0, self.encoder, self.settings)
        return NeuralModel.from_weights(self.catalogue, self.encoder, self.settings, weights)

    def trace(self) -> list[dict[str, float]]:
        """Return the one row of this phase."""
        return list(self._trace)
