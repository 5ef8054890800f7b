"""Held-out validation: a release that counts scores by label, and what the centre reads from it.

Held-out rows and training rows are disjoint by borrower (``Cohort.holdout`` looks at the key
alone), so this release composes with training in parallel: a record costs the larger of the two
budgets, not their sum. Several validations of one run read the same held-out rows and do add up.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import IntegrityError, PolicyError, UserError
from haihe_fl.evaluation.calibration import CalibrationBin
from haihe_fl.evaluation.histogram import (
    ScoreHistogram,
    histogram,
    histogram_calibration,
    histogram_metrics,
)
from haihe_fl.evaluation.metrics import Metrics
from haihe_fl.models.base import RiskModel
from haihe_fl.models.releases import (
    Answer,
    Part,
    PlannedRelease,
    ReleaseRequest,
    release_kind,
)

KIND = "validation/score-histogram"
CALIBRATION = "validation/calibration"
"""The same counts over training rows, from which a model's slope and intercept are mended."""
PARTS: dict[str, Part] = {KIND: "holdout", CALIBRATION: "train"}
SCORE_EDGES: NDArray[np.float64] = np.linspace(-8.0, 4.4, 63)
"""Public inner edges in log-odds, .2 apart: PD .03 % to 98.8 %, 64 bins."""
BINS = len(SCORE_EDGES) + 1
UNIT = 1 << 10
"""Integer units of one record: rounding is far below any noise worth adding."""
MOST_BINS = 4096


def planned_histogram(kind: str, noise_multiplier: float, bins: int = BINS) -> PlannedRelease:
    """Return a release of ``KIND`` or ``CALIBRATION`` as it stands in a schedule."""
    return PlannedRelease(kind, kind, noise_multiplier, 2 * bins, PARTS[kind])


def planned_validation(noise_multiplier: float) -> PlannedRelease:
    """Return the validation as it stands in a schedule."""
    return planned_histogram(KIND, noise_multiplier)


def validation_request(model: RiskModel, noise_multiplier: float) -> ReleaseRequest:
    """Return the validation of a model."""
    return score_request(planned_validation(noise_multiplier), model)


def score_request(
    plan: PlannedRelease, model: RiskModel, edges: NDArray[np.float64] = SCORE_EDGES
) -> ReleaseRequest:
    """Return a planned release with the model it is to score and the public edges."""
    return ReleaseRequest(
        plan.name,
        plan.kind,
        plan.noise_multiplier,
        plan.length,
        plan.part,
        arrays={
            "model": np.frombuffer(model.to_bytes(), dtype=np.uint8),
            "edges": edges.copy(),
        },
    )


@release_kind(CALIBRATION)
@release_kind(KIND)
def score_histogram(request: ReleaseRequest, cohort: Cohort, cache: dict[str, Any]) -> Answer:
    """Count borrowers by label and score bin: good counts, then bad counts, in ``UNIT``.

    A record moves exactly one count by ``UNIT``, whatever the model gives for it, so that is the
    sensitivity.

    Raises
    ------
    PolicyError
        H3190 if the request points at rows that are not of its kind.
    UserError
        H2190 if the edges are no grid.
    IntegrityError
        H5190 if the model was made for another catalogue; H5001 if it cannot be read.
    """
    if request.part != PARTS[request.kind]:
        raise PolicyError(
            "H3190",
            en=f"{request.kind} reads {PARTS[request.kind]} rows only; set part accordingly",
            zh=f"{request.kind} 只能读取 {PARTS[request.kind]} 样本；请相应设置 part",
        )
    edges = np.asarray(request.arrays["edges"], dtype=np.float64)
    if (
        edges.ndim != 1
        or not 2 <= len(edges) < MOST_BINS
        or not np.isfinite(edges).all()
        or not (np.diff(edges) > 0).all()
        or request.length != 2 * (len(edges) + 1)
    ):
        raise UserError(
            "H2190",
            en=f"score edges must be 2 to {MOST_BINS - 1} increasing numbers that fit the length",
            zh=f"评分分箱边界须为 2 至 {MOST_BINS - 1} 个递增数值，且与向量长度相符",
        )
    model = RiskModel.from_bytes(np.asarray(request.arrays["model"], dtype=np.uint8).tobytes())
    if model.catalogue.fingerprint != cohort.catalogue.fingerprint:
        raise IntegrityError(
            "H5190",
            en=f"the model is for catalogue {model.catalogue.name}, the data for "
            f"{cohort.catalogue.name}; use the same catalogue and version on both sides",
            zh=f"模型使用特征目录 {model.catalogue.name}，数据使用 {cohort.catalogue.name}；"
            "请两侧使用同一目录和版本",
        )
    scores = model.logit(cohort.values) if len(cohort) else np.zeros(0)
    counts = histogram(cohort.label, scores, edges)
    vector = UNIT * np.concatenate([counts.good, counts.bad]).astype(np.int64)
    return Answer(vector, float(UNIT))


def histogram_from_total(total: NDArray[np.int64], noise_sd: float) -> ScoreHistogram:
    """Read the summed answer.

    Parameters
    ----------
    total : ndarray of int64, shape (2 * BINS,)
        Noisy sum over the institutions.
    noise_sd : float
        Standard deviation of the noise on ``total``, in its integer units: z * ``UNIT``, times
        the root of (institutions in the sum / institutions the noise was planned for).
    """
    if total.shape != (2 * BINS,):
        raise ValueError(f"expected {2 * BINS} counts, got {total.shape}")
    counts = total.astype(np.float64) / UNIT
    return ScoreHistogram(SCORE_EDGES, counts[:BINS], counts[BINS:], noise_sd / UNIT)


def metrics_from_total(total: NDArray[np.int64], noise_sd: float) -> Metrics:
    """Return the figures of the summed answer; ``noise_sd`` in integer units of ``total``."""
    return histogram_metrics(histogram_from_total(total, noise_sd))


def calibration_from_total(total: NDArray[np.int64], noise_sd: float) -> tuple[CalibrationBin, ...]:
    """Return the calibration table of the summed answer."""
    return histogram_calibration(histogram_from_total(total, noise_sd))
