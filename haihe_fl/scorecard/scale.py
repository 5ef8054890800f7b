"""The score scale: from a probability of default to points and to a band AAA to D."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from haihe_fl.configuration import ConfigurationFault, read_configuration, source_name
from haihe_fl.errors import UserError

Floats = NDArray[np.float64]


class Band(BaseModel):
    """A band of scores: its name and the lowest score that belongs to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str = Field(min_length=1)
    lowest: float = Field(alias="from")


class ScoreScale(BaseModel):
    """Points to double the odds, anchor, limits and bands.

    A registered model carries its scale with it, so a later change of ``configs/scale.yaml``
    never moves the scores of a model in service.

    Attributes
    ----------
    pdo : float
        Points that double the odds of repayment.
    base_score, base_odds : float
        Score at which good stand to bad as ``base_odds`` to 1.
    clip : tuple of float
        Lowest and highest score given.
    bands : tuple of Band
        Best first, the last starting at the lowest score.

    Examples
    --------
    >>> scale = load_scale()
    >>> round(scale.factor, 6), round(scale.offset, 6)
    (28.853901, 487.122876)
    >>> scale.score([0.01, 0.03]).round(2).tolist()
    [619.71, 587.42]
    >>> scale.rate([0.001, 0.01, 0.6])[1]
    ['AAA', 'BBB', 'D']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = "1"
    pdo: float = Field(gt=0)
    base_score: float
    base_odds: float = Field(gt=0)
    clip: tuple[float, float]
    bands: tuple[Band, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        starts = [band.lowest for band in self.bands]
        if any(a <= b for a, b in pairwise(starts)):
            raise ValueError("bands must stand best first, each starting below the one before")
        if len({band.name for band in self.bands}) != len(self.bands):
            raise ValueError("two bands have the same name")
        if not self.clip[0] < self.clip[1] or starts[-1] != self.clip[0]:
            raise ValueError("the last band must start at the lowest score of clip: [low, high]")
        return self

    @property
    def factor(self) -> float:
        """Points per unit of log-odds, ``pdo / ln 2``."""
        return self.pdo / math.log(2.0)

    @property
    def offset(self) -> float:
        """Score at even odds."""
        return self.base_score - self.factor * math.log(self.base_odds)

    def score(self, pd: ArrayLike) -> Floats:
        """Return scores, clipped, of probabilities of default in [0, 1] (any shape).

        Raises
        ------
        ValueError
            If a probability is NaN or outside [0, 1].
        """
        p = np.asarray(pd, dtype=np.float64)
        if not np.all((p >= 0.0) & (p <= 1.0)):
            raise ValueError("a probability of default must lie in [0, 1]")
        with np.errstate(divide="ignore"):
            odds = np.log1p(-p) - np.log(p)
        return np.asarray(np.clip(self.offset + self.factor * odds, *self.clip), dtype=np.float64)

    def pd(self, score: ArrayLike) -> Floats:
        """Return the probabilities of default that scores stand for, before clipping.

        Examples
        --------
        >>> load_scale().pd([600.0]).round(6).tolist()  # 1 bad to 50 good
        [0.019608]
        """
        points = np.asarray(score, dtype=np.float64)
        return np.asarray(1.0 / (1.0 + np.exp((points - self.offset) / self.factor)))

    def band(self, score: ArrayLike) -> list[str]:
        """Return the band of each score, shape (n,); below the last band's start is its band.

        Examples
        --------
        >>> load_scale().band([660.0, 659.99, 350.0])
        ['AAA', 'AA', 'D']
        """
        starts = np.array([band.lowest for band in reversed(self.bands)])
        names = [band.name for band in reversed(self.bands)]
        at = np.searchsorted(starts, np.asarray(score, dtype=np.float64), side="right") - 1
        return [names[max(int(i), 0)] for i in np.atleast_1d(at)]

    def rate(self, pd: ArrayLike) -> tuple[Floats, list[str]]:
        """Return scores rounded to two decimals, and their bands.

        The band is read off the rounded score, so what is shown always agrees with itself.
        """
        score = self.score(np.atleast_1d(np.asarray(pd, dtype=np.float64))).round(2)
        return score, self.band(score)


def load_scale(path: Path | None = None) -> ScoreScale:
    """Read a score scale, by default ``configs/scale.yaml``.

    Raises
    ------
    UserError
        H2410 if the file cannot be read or is no valid scale.
    """
    try:
        return read_configuration(ScoreScale, "scale.yaml", path)
    except ConfigurationFault as what:
        source = source_name("scale.yaml", path)
        raise UserError(
            "H2410",
            en=f"score scale {source}: {what}; mend the file",
            zh=f"评分刻度 {source} 有误:{what};请修正该文件",
        ) from None
