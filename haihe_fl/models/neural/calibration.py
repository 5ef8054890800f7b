"""Putting a network's score on the scale of log-odds, from noisy counts of scores by label.

Clipping a gradient bites hardest where the error is largest, which for rare defaults is at the
defaults; so DP-SGD leaves PDs far too low, and its noise spreads the scores. One secure sum of
score counts over the training rows tells by how much.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit  # type: ignore[import-untyped]

from haihe_fl.models.neural.model import NeuralModel

Floats = NDArray[np.float64]

BUCKETS = 24
"""Score buckets of the calibration: few, because every count carries the same noise."""
REACH = 4.0
"""Standard deviations of the score on either side of its mean that the buckets span."""
SLOPE_SD = 0.5
"""How far from 1 the slope is thought to lie before anything is counted."""
SEEN = 2.0
"""A bucket counts if it holds more borrowers than so many noise standard deviations."""
_BORROWERS = 4096


def score_edges(model: NeuralModel, missing: Floats) -> Floats:
    """Return the inner edges of the score buckets, shape (BUCKETS - 1,), from no rows.

    Mean and spread of the score are those over imagined borrowers, who lack each feature, or
    fall into any of its bins alike, by lot: quantile bins hold about equally many.

    Parameters
    ----------
    model : NeuralModel
        Not yet calibrated.
    missing : ndarray, shape (features,)
        Share of borrowers for whom each feature is missing, public or noisily released.
    """
    random = np.random.default_rng(0)
    parts = []
    for table, share in zip(model.encoder.tables, missing, strict=True):
        bins = random.integers(1, len(table), _BORROWERS)
        parts.append(table[np.where(random.random(_BORROWERS) < share, 0, bins)])
    scores = model.score_inputs(np.concatenate(parts, axis=1))
    reach = REACH * max(float(scores.std()), 0.05)
    return np.asarray(float(scores.mean()) + np.linspace(-reach, reach, BUCKETS - 1))


def slope_and_intercept(edges: Floats, good: Floats, bad: Floats, sd: float) -> tuple[float, float]:
    """Return the line from scores to log-odds that suits noisy counts.

    The intercept always brings the mean PD to the noisy default rate. The slope is a maximum a
    posteriori estimate about 1 with ``SLOPE_SD``, in which the likelihood counts by the share
    of its information that noise leaves: with few borrowers or much noise the slope stays at 1.
    Buckets that hold nobody, as far as noise lets see, are left out: they add noise only, and
    those far from the others the most.

    Parameters
    ----------
    edges : ndarray, shape (buckets - 1,)
        Evenly spaced; a bucket counts at its middle.
    good, bad : ndarray, shape (buckets,)
        Noisy counts; may be negative.
    sd : float
        Of the noise on a count.

    Examples
    --------
    >>> edges = np.linspace(-4.0, 0.0, 15)
    >>> middle = np.append(edges, 2 * edges[-1] - edges[-2]) - (edges[1] - edges[0]) / 2
    >>> pd = expit(0.8 * middle + 1.0)
    >>> slope, intercept = slope_and_intercept(edges, 1e6 * (1 - pd), 1e6 * pd, 0.0)
    >>> round(slope, 3), round(intercept, 3)
    (0.8, 1.0)
    """
    width = edges[1] - edges[0]
    middle = np.append(edges, edges[-1] + width) - width / 2
    whole = good + bad
    seen = whole > SEEN * np.sqrt(2.0) * sd
    if not seen.any():
        return 1.0, 0.0
    middle, whole, bad = middle[seen], whole[seen], bad[seen]
    records = float(whole.sum())
    # A rate lost in the noise is taken for one noise sd: a PD too high is the safer error.
    least = max(sd * len(bad) ** 0.5, 1.0)
    bad = bad + max(least - float(bad.sum()), 0.0) * whole / records
    if bad.sum() >= records - least:
        return 1.0, 0.0
    centre = float(middle @ whole) / records
    score = middle - centre
    line = np.array([1.0, float(logit(bad.sum() / records))])
    line = _fit(score, whole, bad, line, 0.0)
    p = expit(line[0] * score + line[1])
    weight = whole * p * (1 - p)
    moved = score - float(score @ weight) / max(float(weight.sum()), 1e-9)
    information = float(weight @ moved**2)
    noise = sd**2 * float(moved**2 @ ((1 - p) ** 2 + p**2))
    line = _fit(score, whole, bad, line, information / max(information + noise, 1e-9))
    return float(line[0]), float(line[1] - line[0] * centre)


def _fit(score: Floats, whole: Floats, bad: Floats, line: Floats, trust: float) -> Floats:
    """Maximise ``trust`` times the likelihood plus the prior of the slope; concave."""
    for _ in range(100):
        p = expit(line[0] * score + line[1])
        weight, rest = whole * p * (1 - p), bad - whole * p
        gradient = np.array([trust * (rest @ score) - (line[0] - 1) / SLOPE_SD**2, rest.sum()])
        cross = weight @ score
        hessian = np.array(
            [[trust * (weight @ score**2) + SLOPE_SD**-2, trust * cross], [cross, weight.sum()]]
        )
        step = np.clip(np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient), -1.0, 1.0)
        line = line + step
        line[0] = min(max(line[0], 0.1), 5.0)
        if np.abs(step).max() < 1e-9:
            break
    return line
