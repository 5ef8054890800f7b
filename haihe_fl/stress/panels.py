"""An institution's side of the satellite: exact counts of its quarterly panel.

One release carries everything, kind ``satellite/counts``. A borrower-quarter record adds 1 to
the defaults of its (quarter, sector) if it ended in default, and ``WEIGHT`` to the exposure of
its (quarter, sector, risk band). Exposure is large and slow, so it can bear more noise than the
defaults; weighting it down buys accuracy where it is scarce.

A record moves the vector by at most ``sqrt(1 + WEIGHT^2)`` in L2 norm. A borrower of Q quarters at
one lender has Q exposure entries, in different quarters, but at most one default, so all its
records together move it by no more than ``sqrt(1 + Q WEIGHT^2)``: 1.58 at 24 quarters against
1.03 for one record. `borrower_factor` gives the ratio by which mu grows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort
from haihe_fl.data.synth.panel import Panel
from haihe_fl.errors import UserError
from haihe_fl.models.releases import Answer, ReleaseRequest, release_kind
from haihe_fl.stress.macro import Quarter

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

KIND = "satellite/counts"
PANEL = "satellite/panel"
"""Where the node keeps its panel in ``ReleaseComputer.cache``; it is not part of the cohort."""
DEFAULT_UNIT = 4096
EXPOSURE_UNIT = 1024
WEIGHT = EXPOSURE_UNIT / DEFAULT_UNIT
BANDS = np.linspace(-6.0, 0.0, 9)
"""Inner edges of the ten risk bands, annual log-odds: PDs of 0.25 % to 50 %. Finer bands only
spread the same borrowers over more noisy counts."""
MOST_BANDS = 64


@dataclass(frozen=True)
class PanelCounts:
    """Quarterly counts of one institution.

    Attributes
    ----------
    performing, defaults : ndarray of int64, shape (T, S, G)
        Borrowers performing at the start of the quarter and those of them that default in it.
    grade_logit : ndarray, shape (G,)
        Annual log-odds of each grade in a neutral quarter, from the registered model.
    start : Quarter, optional
        First quarter, where the panel has a calendar; a synthetic one has none.
    """

    performing: Counts
    defaults: Counts
    grade_logit: Floats
    start: Quarter | None = None

    def __post_init__(self) -> None:
        n, d = self.performing, self.defaults
        fits = n.ndim == 3 and n.shape == d.shape and n.shape[2:] == self.grade_logit.shape
        if not fits or (d < 0).any() or (d > n).any() or not np.isfinite(self.grade_logit).all():
            raise UserError(
                "H2580",
                en=f"panel counts {n.shape} and {d.shape} with {self.grade_logit.shape} grades: "
                "give quarters x sectors x grades, and no more defaults than borrowers",
                zh=f"面板计数 {n.shape}、{d.shape} 与 {self.grade_logit.shape} 个等级不符:"
                "应为 季度×行业×等级,且违约数不得超过户数",
            )

    @classmethod
    def split(cls, panel: Panel) -> "list[PanelCounts]":
        """Return what each institution holds of a synthetic panel."""
        return [
            cls(panel.performing_by_grade[:, b], panel.defaults_by_grade[:, b], panel.grade_logit)
            for b in range(len(panel.institutions))
        ]

    def window(self, first: Quarter | None, quarters: int) -> "PanelCounts | None":
        """Return the quarters that a plan asks for, None where the panel does not cover them.

        Without a calendar on either side, quarters are matched by their number alone.

        Examples
        --------
        >>> n = np.arange(6).reshape(6, 1, 1)
        >>> panel = PanelCounts(n, 0 * n, np.zeros(1), Quarter(2020, 1))
        >>> panel.window(Quarter(2020, 4), 2).performing.ravel().tolist()
        [3, 4]
        >>> panel.window(Quarter(2020, 4), 4) is None, panel.window(None, 6) is None
        (True, True)
        """
        held = len(self.performing)
        if first is None or self.start is None:
            return self if first == self.start and held == quarters else None
        at = 4 * (first.year - self.start.year) + first.number - self.start.number
        if at < 0 or at + quarters > held:
            return None
        kept = slice(at, at + quarters)
        return PanelCounts(self.performing[kept], self.defaults[kept], self.grade_logit, first)


def length(quarters: int, sectors: int, bands: int) -> int:
    """Return the entries of the vector: defaults, then exposure."""
    return quarters * sectors * (1 + bands)


def sensitivity(quarters: int = 1) -> float:
    """Return the L2 sensitivity, in integer units, of a borrower's records at one lender.

    Examples
    --------
    >>> round(sensitivity() / DEFAULT_UNIT, 4), round(sensitivity(24) / DEFAULT_UNIT, 4)
    (1.0308, 1.5811)
    """
    return float(np.sqrt(DEFAULT_UNIT**2 + quarters * EXPOSURE_UNIT**2))


def borrower_factor(quarters: int, lenders: int = 1) -> float:
    """Return by how much a borrower's mu exceeds a record's.

    Records of one borrower at several lenders may fall into the same cells, so lenders count
    in full; quarters nearly not at all.

    Examples
    --------
    >>> round(borrower_factor(24), 3), round(borrower_factor(24, lenders=6), 2)
    (1.534, 9.2)
    """
    return lenders * sensitivity(quarters) / sensitivity()


def answer(panel: PanelCounts, request: ReleaseRequest) -> Answer:
    """Return the exact integer answer of one institution.

    Raises
    ------
    UserError
        H2581 if the panel has other quarters or sectors than were asked for.
    """
    edges = np.asarray(request.arrays["edges"], dtype=np.float64)
    quarters, sectors = (int(n) for n in np.asarray(request.arrays["shape"]).ravel())
    dated = request.arrays.get("start")
    first = None if dated is None else Quarter(*(int(n) for n in np.asarray(dated).ravel()))
    valid = edges.ndim == 1 and 1 <= len(edges) < MOST_BANDS and bool((np.diff(edges) > 0).all())
    held = panel.window(first, quarters) if panel.performing.shape[1] == sectors else None
    if not valid or held is None:
        raise UserError(
            "H2581",
            en=f"the plan asks for {quarters} quarters from {first or 'number 1'} of {sectors} "
            f"sectors, the panel has {panel.performing.shape[:2]} from "
            f"{panel.start or 'number 1'}; build the panel for the plan's quarters and sectors",
            zh=f"计划要求自 {first or '第 1 季'} 起 {quarters} 个季度、{sectors} 个行业,面板自 "
            f"{panel.start or '第 1 季'} 起为 {panel.performing.shape[:2]};"
            "请按计划的季度和行业生成面板",
        )
    band = np.searchsorted(edges, held.grade_logit)
    member = (band[:, None] == np.arange(len(edges) + 1)).astype(np.int64)
    exposure = held.performing @ member
    defaults = DEFAULT_UNIT * held.defaults.sum(-1)
    vector = np.concatenate([defaults.ravel(), EXPOSURE_UNIT * exposure.ravel()])
    return Answer(vector.astype(np.int64), sensitivity())


@release_kind(KIND)
def satellite_counts(request: ReleaseRequest, cohort: Cohort, cache: dict[str, Any]) -> Answer:
    """Answer a request from the panel that the node keeps under ``PANEL`` in its cache.

    Raises
    ------
    UserError
        H2582 if the node has no panel.
    """
    panel = cache.get(PANEL)
    if not isinstance(panel, PanelCounts):
        raise no_panel()
    return answer(panel, request)


def no_panel() -> UserError:
    """Return the error of an institution without a panel."""
    return UserError(
        "H2582",
        en="this institution has no quarterly panel; name its file as panel in node.yaml before "
        "it joins the estimation",
        zh="本机构没有季度面板;请先在 node.yaml 中以 panel 指定面板文件,再参加估计",
    )
