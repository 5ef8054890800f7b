"""Cells as integers: fixed point, merging of small cells, and bounds of one record.

A measure of a cell (scenario, sector, quarter) is rounded once, at the institution:
``rint(scale x sum over its own records)``. The network's figure is the integer sum over
institutions, and a pooled computation does the same, institution by institution. So federated and
pooled totals are equal bit for bit, and each is within half a unit an institution of the real sum.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from haihe_fl.errors import IntegrityError, PolicyError
from haihe_fl.stress.kernel import MEASURES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MONEY_SCALE = 100.0
"""Integer units a CNY: sums are in fen."""
NUMBER_SCALE = 1e6
"""Integer units a borrower, expected default or PD."""
LIMIT = 2**49
"""Largest integer of one institution: 5.6e12 CNY, and 10,000 of them stay within 64 bits."""
UNIT = float(2**20)
"""With noise: what one record moves a measure at most, over all its quarters, in units."""
NUMBERS = frozenset({"borrowers", "pd", "defaults"})
FLOWS = frozenset({"defaults", "default_exposure", "el"})
"""Measures whose quarters add up to no more than the bound of one quarter."""
UNBOUNDED = frozenset({"capital"})
"""Measures for which no bound by the exposure is stated: never with noise."""
MINIMUM_CELL = 10
"""Fewest firms of the network in a cell whose sums are revealed."""
MARGIN = 4.0
"""Standard deviations of the counts' noise that a cell must lie above the minimum."""


def scales(measures: Sequence[str], quarters: int, clip: float | None, noised: bool) -> Floats:
    """Return the integer units of each measure.

    Without noise money is in fen and numbers in millionths. With noise a measure is scaled so
    that one record of at most ``clip`` CNY moves its quarters by at most ``UNIT`` in L2: a flow
    (its quarters add up to the exposure at most) by the clip, a stock by clip x root of quarters.

    Examples
    --------
    >>> scales(["el", "pd"], 12, None, False).tolist()
    [100.0, 1000000.0]
    >>> (UNIT / scales(["el", "exposure"], 16, 1e7, True)).tolist()
    [10000000.0, 40000000.0]
    """
    if not noised:
        return np.array([NUMBER_SCALE if m in NUMBERS else MONEY_SCALE for m in measures])
    if clip is None or UNBOUNDED & set(measures):
        raise PolicyError(
            "H3561",
            en="sums with noise need a clip of the exposure, and no measure among "
            f"{', '.join(sorted(UNBOUNDED))}: one record must be bounded",
            zh="加噪汇总须设定敞口截断值,且不得含 "
            f"{'、'.join(sorted(UNBOUNDED))}:单条记录的影响必须有界",
        )
    bounds = [
        (1.0 if m in NUMBERS else clip) * (1.0 if m in FLOWS else math.sqrt(quarters))
        for m in measures
    ]
    return UNIT / np.array(bounds)


def sensitivity(measures: int, scenarios: int, length: int) -> float:
    """Return how far one record moves the whole vector at most, in L2 and integer units.

    ``UNIT`` for each measure of each scenario; and, as sums are rounded after they are added up,
    two units an entry.

    Examples
    --------
    >>> sensitivity(4, 1, 100) == 2 * UNIT + 20
    True
    """
    return UNIT * math.sqrt(measures * scenarios) + 2.0 * math.sqrt(length)


def to_fixed(values: Floats, scale: Floats | float) -> Integers:
    """Return values as integers, nearest, ties to even.

    Raises
    ------
    IntegrityError
        H5561 where a value is not finite or its integer is beyond ``LIMIT``: nothing wraps.

    Examples
    --------
    >>> to_fixed(np.array([1.004, -2.5]), 100.0).tolist()
    [100, -250]
    """
    scaled = np.rint(values * scale)
    if not (np.abs(scaled) <= LIMIT).all():  # NaN is no number below the limit either
        raise IntegrityError(
            "H5561",
            en="a cell's sum is too large for fixed point, or no number; check the exposures' unit",
            zh="单元格合计超出定点范围或不是数值;请检查敞口的单位",
        )
    return scaled.astype(np.int64)


def merge_cells(
    counts: Floats, sd: float, minimum: int = MINIMUM_CELL, margin: float = MARGIN
) -> NDArray[np.intp]:
    """Return, for each sector, the sector in whose place its cell is reported.

    A sector stands alone if its noisy count lies ``margin`` standard deviations above the
    minimum. All others form one cell; if that is still small, the smallest that stood alone
    joins it, and so on.

    Parameters
    ----------
    counts : ndarray, shape (sectors,)
        Noisy firm counts of the network.
    sd : float
        Standard deviation of the noise of one count, in firms.

    Raises
    ------
    PolicyError
        H3562 if all sectors together are too few.

    Examples
    --------
    >>> merge_cells(np.array([40.0, 3.0, 5.0, 12.0, 90.0]), 0.0).tolist()
    [0, 1, 1, 1, 4]
    >>> merge_cells(np.array([40.0, 20.0, 30.0]), 5.0).tolist()
    [0, 1, 1]
    """
    order = np.argsort(counts, kind="stable")

    def enough(members: Sequence[int] | NDArray[np.intp]) -> bool:
        sure = counts[members].sum() - margin * sd * math.sqrt(len(members))
        return bool(sure >= minimum)

    small = [int(s) for s in order if not enough([int(s)])]
    large = [int(s) for s in order if int(s) not in small]
    while small and not enough(small):
        if not large:
            raise PolicyError(
                "H3562",
                en=f"the network holds too few firms for cells of {minimum}; take in more "
                "institutions, or count with less noise",
                zh=f"全网企业数不足以构成至少 {minimum} 家的单元格;请增加机构,或减小计数噪声",
            )
        small.append(large.pop(0))
    place = np.arange(len(counts), dtype=np.intp)
    if small:
        place[small] = min(small)
    return place


def known_measures(measures: Sequence[str]) -> bool:
    """Return whether all are measures of the kernel, each once."""
    return bool(measures) and len(set(measures)) == len(measures) and set(measures) <= set(MEASURES)
