"""The centre's side of a neural run: quantiles before local training, calibration after it.

Both are secure sums. The quantile release is the additive family's own: the encoder and the
scale of a step follow from its noisy sum, so an institution's count is never asked for. The
calibration mends what clipping does to PDs (``neural.calibration``).
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive.local import COUNT_SCALE
from haihe_fl.models.binning import CELLS, number_columns
from haihe_fl.models.neural.calibration import BUCKETS, score_edges, slope_and_intercept
from haihe_fl.models.neural.encoder import Encoder, public_binning
from haihe_fl.models.neural.model import NeuralModel
from haihe_fl.models.neural.quantiles import absorb_quantiles, quantile_release
from haihe_fl.models.neural.settings import (
    NeuralSettings,
    Weights,
    average_weights,
    initial_weights,
)
from haihe_fl.models.releases import Arrays, PlannedRelease, ReleaseRequest
from haihe_fl.models.validation import CALIBRATION, UNIT, planned_histogram, score_request

QUANTILE_SHARE = 0.05
CALIBRATION_SHARE = 0.05
"""Parts of mu squared that the two sums may spend; local training has the rest."""


class NeuralTrainer:
    """A ``Trainer`` of two sums, with local training between them.

    Parameters
    ----------
    catalogue : FeatureCatalogue
        The public meaning of the columns.
    settings : NeuralSettings
        Of the run.
    mu : float
        Gaussian-DP budget of one record for the whole run.
    parties : int
        Institutions in the run.
    """

    def __init__(
        self, catalogue: FeatureCatalogue, settings: NeuralSettings, mu: float, parties: int
    ) -> None:
        self.catalogue = catalogue
        self.settings = settings
        self.parties = parties
        self.encoder = Encoder(public_binning(catalogue))
        noise = 1 / (mu * math.sqrt(CALIBRATION_SHARE))
        self._plan = [planned_histogram(CALIBRATION, noise, BUCKETS)]
        if number_columns(catalogue):
            self._plan.insert(0, quantile_release(catalogue, 1 / (mu * math.sqrt(QUANTILE_SHARE))))
        self.mu_spent = math.sqrt(math.fsum(r.noise_multiplier**-2 for r in self._plan))
        self._missing = np.zeros(len(catalogue.features))
        self._weights: Weights | None = None
        self._calibrated: NeuralModel | None = None
        self._trace: list[dict[str, float]] = []

    def schedule(self) -> list[PlannedRelease]:
        """Return the sums of the run; its rounds of local training stand beside them."""
        return list(self._plan)

    def next_request(self) -> ReleaseRequest | None:
        """Return the next sum, or None before local training and at the end."""
        if len(self._trace) == len(self._plan):
            return None
        plan = self._plan[len(self._trace)]
        if plan.kind != CALIBRATION:
            return ReleaseRequest(
                plan.name, plan.kind, plan.noise_multiplier, plan.length, plan.part
            )
        if self._weights is None:
            return None
        return score_request(plan, self.model(), score_edges(self.model(), self._missing))

    def absorb(self, total: NDArray[np.int64]) -> None:
        """Take the noisy sum last asked for: set the encoder, or recalibrate."""
        plan = self._plan[len(self._trace)]
        if plan.kind == CALIBRATION:
            good, bad = total.astype(np.float64).reshape(2, BUCKETS) / UNIT
            edges = score_edges(self.model(), self._missing)
            slope, intercept = slope_and_intercept(edges, good, bad, plan.noise_multiplier)
            self._calibrated = self.model().recalibrated(slope, intercept)
            self._note(slope=slope, intercept=intercept)
            return
        self.encoder, records = absorb_quantiles(self.catalogue, total)
        gone = total.reshape(-1, CELLS + 1)[:, 0] / COUNT_SCALE / max(records, 1.0)
        self._missing[number_columns(self.catalogue)] = np.clip(gone, 0.0, 1.0)
        average = max(round(records / self.parties), 1)
        self.settings = self.settings.model_copy(update={"records": average})
        self._note(records=records)

    def arrays(self) -> Arrays:
        """Return what every institution needs to train: encoder and average record number."""
        records = np.array(self.settings.records, dtype=np.int64)
        return {**self.encoder.arrays(), "records": records}

    def start(self) -> Weights:
        """Return the weights of round 0."""
        return initial_weights(0, self.encoder, self.settings)

    def finish_local(self, history: Sequence[Weights]) -> None:
        """Take the global weights after every round of local training."""
        self._weights = average_weights(history)

    def model(self) -> NeuralModel:
        """Return the network as it stands."""
        if self._calibrated is not None:
            return self._calibrated
        weights = self.start() if self._weights is None else self._weights
        return NeuralModel.from_weights(self.catalogue, self.encoder, self.settings, weights)

    def trace(self) -> list[dict[str, float]]:
        """Return what each sum gave, a row a release."""
        return list(self._trace)

    def _note(self, **figures: float) -> None:
        self._trace.append({"release": float(len(self._trace) + 1), **figures})
