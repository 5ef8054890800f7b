"""The centre's arithmetic: link, preconditioners, constraints, pair scores, calibration."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression  # type: ignore[import-untyped]
from scipy.special import expit, logit  # type: ignore[import-untyped]

from haihe_fl.models.additive.config import BUCKETS, GROUPS
from haihe_fl.models.additive.tables import Tables

Floats = NDArray[np.float64]


def balanced_start(rate: float) -> tuple[float, float]:
    """Return the intercept and the curvature at which clipped residuals of a rate balance.

    With residuals clipped to +-.5 a record counts p (good) or .5 (bad) while p < .5, so they
    cancel at p = .5 rate / (1 - rate), not at p = rate; the other half is its mirror image.

    Returns
    -------
    intercept, curvature : float
        Log-odds at the balance, and minus the derivative of the mean residual there.

    Examples
    --------
    >>> start, curvature = balanced_start(0.2)
    >>> round(float(expit(start)), 3), round(curvature, 4)
    (0.125, 0.0875)
    """
    low = min(rate, 1.0 - rate)
    p = 0.5 * low / (1.0 - low)
    start = float(logit(p))
    return (start if rate <= 0.5 else -start), (1.0 - low) * p * (1.0 - p)


def chain_penalty(bins: int, *, linked: bool) -> Floats:
    """Return the penalty on neighbouring bins, shape (bins, bins); the missing bin is free.

    ``linked`` gives first differences; else, for levels without an order, a ridge.
    """
    out = np.zeros((bins, bins))
    inner = bins - 1
    if not linked:
        out[1:, 1:] = np.eye(inner)
    elif inner > 1:
        steps = np.diff(np.eye(inner), axis=0)
        out[1:, 1:] = steps.T @ steps
    return out


def square_penalty() -> Floats:
    """Return first differences along both sides of a pair's cells, plus a ridge."""
    steps = np.diff(np.eye(GROUPS), axis=0)
    chain = steps.T @ steps
    eye = np.eye(GROUPS)
    return np.asarray(np.kron(chain, eye) + np.kron(eye, chain) + np.eye(GROUPS**2))


def centred(table: Floats, weights: Floats) -> tuple[Floats, float]:
    """Return the table less its weighted mean, and that mean."""
    whole = float(weights.sum())
    mean = float(table @ weights) / whole if whole > 0 else 0.0
    return table - mean, mean


def monotone(table: Floats, weights: Floats, direction: int) -> Floats:
    """Return the nearest table (weighted least squares) that never moves against ``direction``.

    Bin 0, missing, stays as it is.

    Examples
    --------
    >>> monotone(np.array([9.0, 1.0, 3.0, 2.0]), np.ones(4), 1).tolist()
    [9.0, 1.0, 2.5, 2.5]
    """
    out = table.copy()
    fit = isotonic_regression(table[1:], weights=weights[1:], increasing=direction > 0)
    out[1:] = fit.x
    return out


def pair_scores(sums: Floats, expected: Floats, curvature: float, variance: float) -> Floats:
    """Return how much each pair's residual sums exceed what noise alone would give.

    Parameters
    ----------
    sums : ndarray, shape (pairs, cells)
        Noisy residual sums, net of what the main effects' own sums explain.
    expected : ndarray, shape (pairs, cells)
        Records expected in each cell.
    curvature : float
        Expected curvature a record.
    variance : float
        Variance of the noise on each sum.
    """
    sampling = curvature * expected
    excess = sums**2 - variance - sampling
    scale = curvature * expected + np.sqrt(variance * sampling.mean()) + 1e-9
    return np.asarray((excess / scale).sum(axis=1))


def pair_list(candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all pairs of the candidates, shape (m (m - 1) / 2, 2), as ``screen`` sums them."""
    return np.array(list(combinations(candidates.tolist(), 2)), dtype=np.int64).reshape(-1, 2)


def score_edges(mean: float, sd: float) -> Floats:
    """Return the edges of the score buckets: four standard deviations about the mean."""
    return np.asarray(mean + max(sd, 0.05) * np.linspace(-4.0, 4.0, BUCKETS - 1))


def platt(edges: Floats, negative: Floats, positive: Floats) -> tuple[float, float]:
    """Return slope and intercept of the logistic fit of labels on scores, from bucket counts.

    The slope is kept in [.2, 5]; buckets count at their middle.

    Examples
    --------
    >>> edges = score_edges(0.0, 1.0)
    >>> middle = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    >>> p = expit(0.5 * middle - 1.0)
    >>> slope, intercept = platt(edges, 1000 * (1 - p), 1000 * p)
    >>> round(slope, 3), round(intercept, 3)
    (0.5, -1.0)
    """
    middle = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    whole = negative + positive
    if whole.sum() <= 0 or positive.sum() <= 0 or negative.sum() <= 0:
        return 1.0, 0.0
    centre = float(middle @ whole / whole.sum())
    design = np.column_stack([middle - centre, np.ones_like(middle)])
    weights = np.array([1.0, float(logit(positive.sum() / whole.sum()))])
    for _ in range(50):
        p = expit(design @ weights)
        hessian = (design * (whole * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, design.T @ (positive - whole * p))
        weights = weights + np.clip(step, -1.0, 1.0)
        weights[0] = min(max(weights[0], 0.2), 5.0)
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1] - weights[0] * centre)


def purified(tables: Tables, counts: Floats, pair_counts: Floats) -> Tables:
    """Return the same score with what a pair says about one feature alone moved to it.

    Afterwards every row, column and table averages to zero over the noisy counts, so that each
    term is what it adds to the others and ``intercept`` is the average log-odds (Lengerich et
    al. 2020, Purifying interaction effects).
    """
    main, cells = tables.main.copy(), tables.cells.reshape(-1, GROUPS, GROUPS).copy()
    for k, (a, b) in enumerate(tables.pairs.tolist()):
        weights = pair_counts[k].reshape(GROUPS, GROUPS)
        part_a, part_b = tables.part(a), tables.part(b)
        for _ in range(50):
            rows = (cells[k] * weights).sum(axis=1) / weights.sum(axis=1)
            cells[k] -= rows[:, None]
            columns = (cells[k] * weights).sum(axis=0) / weights.sum(axis=0)
            cells[k] -= columns[None, :]
            main[part_a] += rows[tables.groups[part_a]]
            main[part_b] += columns[tables.groups[part_b]]
            if max(np.abs(rows).max(), np.abs(columns).max()) < 1e-12:
                break
    intercept = tables.intercept
    for j in range(len(tables.widths)):
        part = tables.part(j)
        main[part], mean = centred(main[part], counts[part])
        intercept += mean
    return tables.replace(main=main, intercept=intercept, cells=cells.reshape(-1, GROUPS**2))
