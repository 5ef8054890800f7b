"""The one release that local training builds on: the additive family's quantiles."""

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.models.additive.local import COUNT_SCALE
from haihe_fl.models.binning import (
    CELLS,
    Binning,
    grid,
    number_columns,
    quantile_cuts,
    to_simplex,
)
from haihe_fl.models.neural.encoder import Encoder, public_binning
from haihe_fl.models.releases import PlannedRelease


def quantile_release(catalogue: FeatureCatalogue, noise_multiplier: float) -> PlannedRelease:
    """Return the release that ``absorb_quantiles`` reads; a run asks for it once, first.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="share", range=(0, 1)),))
    >>> quantile_release(c, 6.2).length
    513
    """
    length = len(number_columns(catalogue)) * (CELLS + 1)
    return PlannedRelease("quantiles", "additive/quantiles", noise_multiplier, length)


def absorb_quantiles(
    catalogue: FeatureCatalogue, total: NDArray[np.int64], bins: int = 24
) -> tuple[Encoder, float]:
    """Turn the noisy sum of the quantile release into the run's encoder.

    Parameters
    ----------
    catalogue : FeatureCatalogue
        With one number at least; without, use ``public_binning``.
    total : ndarray of int64, shape (numbers * (CELLS + 1),)
        Noisy sum over the institutions.
    bins : int
        Most bins of a number; categories keep their levels.

    Returns
    -------
    Encoder
        Inputs of the network.
    float
        Noisy number of training records of all institutions; a share of one institution, at
        least 1, is what ``NeuralSettings.records`` wants.
    """
    rows = total.astype(np.float64).reshape(len(number_columns(catalogue)), CELLS + 1)
    rows /= COUNT_SCALE
    records = float(rows.sum(axis=1).mean())
    cuts = [
        quantile_cuts(to_simplex(row, records)[1:], grid(catalogue.features[j]), bins)
        for row, j in zip(rows, number_columns(catalogue), strict=True)
    ]
    levels = public_binning(catalogue).levels
    return Encoder(Binning(catalogue, np.array(cuts), levels)), records
