"""The 32 indicators: what they mean, and from where on they are amber or red.

The file is data (``configs/indicators.yaml``); its thresholds are expert starts, none is fitted.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from haihe_fl.errors import UserError
from haihe_fl.i18n import Text

Grades = NDArray[np.int8]
GREEN, AMBER, RED = 0, 1, 2
COUNT = 32


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Indicator(_Frozen):
    """One indicator.

    Attributes
    ----------
    direction : {"up", "down"}
        Which way is worse.
    amber, red : float
        Thresholds, in ``unit``; without amber the first grade is red at once.
    inclusive : bool
        Whether the threshold itself counts as crossed.
    source : str
        Where the thresholds come from.
    """

    number: int = Field(ge=1)
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    dimension: str
    name: Text
    definition: Text
    unit: Literal["%", "pp", "ratio", "days", "months", "notches", "count", "z"]
    direction: Literal["up", "down"]
    amber: float | None = None
    red: float
    inclusive: bool
    source: str = "expert start"

    @model_validator(mode="after")
    def _ordered(self) -> "Indicator":
        if self.amber is not None:
            gap = self.red - self.amber
            if not (gap > 0 if self.direction == "up" else gap < 0):
                raise ValueError(f"red {self.red} must lie beyond amber {self.amber}")
        return self


class RedRule(_Frozen):
    """Any red: who acts, and within how many calendar days."""

    owner: Text
    deadline_days: int = Field(ge=1)


class AmberRule(RedRule):
    """So many different indicators amber within so many days."""

    count: int = Field(ge=1)
    within_days: int = Field(ge=1)


class PdRule(RedRule):
    """Point-in-time PD multiplied within so many days."""

    factor: float = Field(gt=1)
    within_days: int = Field(ge=1)


class AlertRules(_Frozen):
    """The three reasons for an alert."""

    red: RedRule
    ambers: AmberRule
    pd: PdRule


class IndicatorCatalogue(_Frozen):
    """All indicators, in order of their numbers, and the rules of alerts.

    Examples
    --------
    >>> c = load_indicators()
    >>> len(c.indicators), c.indicators[21].id
    (32, 'days_past_due')
    >>> c["days_past_due"].amber, c["days_past_due"].red, c["enforcement_records"].amber
    (1.0, 30.0, None)
    """

    version: str
    source: str
    dimensions: dict[str, Text]
    alerts: AlertRules
    indicators: tuple[Indicator, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "IndicatorCatalogue":
        numbers = [i.number for i in self.indicators]
        if numbers != list(range(1, COUNT + 1)):
            raise ValueError(f"indicators must be numbered 1 to {COUNT}, in order")
        if len({i.id for i in self.indicators}) != len(numbers):
            raise ValueError("an id stands twice")
        if odd := {i.dimension for i in self.indicators} - set(self.dimensions):
            raise ValueError(f"unknown dimension {', '.join(sorted(odd))}")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids in order."""
        return tuple(i.id for i in self.indicators)

    def __getitem__(self, identifier: str) -> Indicator:
        return self.indicators[self.ids.index(identifier)]

    def grade(self, values: ArrayLike, *, missing: int = GREEN) -> Grades:
        """Return 0 green, 1 amber, 2 red for each value.

        Parameters
        ----------
        values : array_like, shape (..., 32)
            In the order of the catalogue and in its units; NaN where nothing is known.
        missing : int
            Grade of an unknown value. Silence is no alert, but neither is it health: count it.

        Raises
        ------
        UserError
            H2592 if the last axis is not that of the indicators.

        Examples
        --------
        >>> c = load_indicators()
        >>> x = np.zeros(32); x[2] = 3; x[4] = 5          # cash and interest cover
        >>> c.grade(x).sum()
        np.int64(0)
        >>> x[0], x[15], x[21] = -15.5, 1, 29
        >>> c.grade(x)[[0, 15, 21]].tolist()
        [1, 2, 1]
        """
        x = np.asarray(values, dtype=np.float64)
        if x.ndim < 1 or x.shape[-1] != len(self.indicators):
            raise UserError(
                "H2592",
                en=f"values of shape {x.shape} are not those of {len(self.indicators)} indicators; "
                "give one column for each, in the order of the catalogue",
                zh=f"数值形状 {x.shape} 与 {len(self.indicators)} 项指标不符;请按目录顺序每项一列",
            )
        sign = np.array([1.0 if i.direction == "up" else -1.0 for i in self.indicators])
        inclusive = np.array([i.inclusive for i in self.indicators])
        grades = np.zeros(x.shape, dtype=np.int8)
        for level in ("amber", "red"):
            bound = [np.nan if (v := getattr(i, level)) is None else v for i in self.indicators]
            beyond, limit = sign * x, sign * np.array(bound)
            grades += np.where(inclusive, beyond >= limit, beyond > limit).astype(np.int8)
        no_amber = np.array([i.amber is None for i in self.indicators])
        grades[..., no_amber] *= np.int8(RED)
        grades[np.isnan(x)] = missing
        return grades


def load_indicators(path: Path | None = None) -> IndicatorCatalogue:
    """Read and check an indicator file; without a path, the one shipped with the software.

    Raises
    ------
    UserError
        H2590 if the file cannot be read, H2591 if it is not a valid catalogue.
    """
    source = str(path) if path else "configs/indicators.yaml"
    try:
        raw = yaml.safe_load((path or files("configs") / "indicators.yaml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            "H2590",
            en=f"cannot read indicators {source}: {error}; check the path and the YAML syntax",
            zh=f"无法读取指标文件 {source}:{error};请检查路径和 YAML 语法",
        ) from None
    try:
        return IndicatorCatalogue.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = _where(raw, first["loc"])
        raise UserError(
            "H2591",
            en=f"{source}, at {where}: {first['msg']}; compare with configs/indicators.yaml",
            zh=f"{source} 的 {where} 有误:{first['msg']};请对照 configs/indicators.yaml",
        ) from None


def _where(raw: Any, loc: tuple[int | str, ...]) -> str:
    parts = [str(p) for p in loc]
    if len(loc) > 1 and loc[0] == "indicators" and isinstance(loc[1], int):
        entry = raw["indicators"][loc[1]]
        if isinstance(entry, dict) and "id" in entry:
            parts[:2] = [f"indicator {entry['id']}"]
    return ".".join(parts) or "top level"
