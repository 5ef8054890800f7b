"""The parts of a mapping: file, columns, label, dates, derived columns, institutions.

Each is a pydantic model; where YAML gives a bare value, it stands for the first field, so that
``key: ID`` reads as ``key: {column: ID}``.
"""

from datetime import date
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Operator = Literal["ratio", "difference", "sum", "days", "year", "prefix", "above", "same"]


class _Part(BaseModel):
    """A part of a mapping; a bare value stands for its first field."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        first = next(iter(cls.model_fields))
        return value if isinstance(value, dict | BaseModel) else {first: value}


class FileFormat(_Part):
    """How to open the file. ``format`` is guessed from the suffix; ``.gz`` is seen through."""

    format: Literal["csv", "parquet", "arff"] | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8-sig"
    missing: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "?")


class Source(_Part):
    """Where the cells of one field come from.

    Attributes
    ----------
    column : str
        Column of the file, or a derived one.
    factor : float
        Multiplies a number: 10000 turns 万元 into CNY, .01 a per cent into a share.
    strip : str
        Characters taken out of a number's cell before it is read, for example ``"%,$"``.
    values : dict of str to str
        Renames cells: raw text to category, or to a number.
    missing : tuple of str
        Codes that mean "missing", besides those of the file and of the feature.
    """

    column: str
    factor: float = 1.0
    strip: str = ""
    values: dict[str, str] = {}
    missing: tuple[str, ...] = ()


class SectorSource(Source):
    """The borrower's sector in the stress scenarios, beside any feature of that name.

    ``values`` maps the cells of the column to the scenarios' sectors. With ``other``, a cell
    that ``values`` does not name, an empty one included, is of that sector; without it, the
    cell stands for itself.

    Examples
    --------
    >>> SectorSource(column="naics", values={"11": "agri_food"}, other="services_retail").other
    'services_retail'
    """

    other: str | None = None


class LabelSource(_Part):
    """The outcome; with ``negative`` given, any other value is a fault."""

    column: str
    positive: tuple[str, ...] = Field(default=("1",), min_length=1)
    negative: tuple[str, ...] | None = None

    @model_validator(mode="before")
    @classmethod
    def _zero_one(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            value = {"column": value}
        return value if "positive" in value else {"positive": ["1"], "negative": ["0"], **value}


class DateSource(_Part):
    """A date: ISO text or a Parquet date; else ``format``, or days counted from ``origin``."""

    column: str
    format: str | None = None
    origin: date | None = None


class Derived(_Part):
    """A public, row-wise derived column.

    ========== ==============================================================
    op         value
    ========== ==============================================================
    ratio      first / second; missing where the second is 0
    difference first - second
    sum        of all columns
    days       days from the first date to the second
    year       year of a date (``format`` as in `DateSource`)
    prefix     first ``by`` characters of a code; missing where the code is 0
    above      1 if the number exceeds ``by``, else 0
    same       1 if two texts are equal, else 0
    ========== ==============================================================
    """

    op: Operator
    of: tuple[str, ...] = Field(min_length=1)
    by: float = 0
    format: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("of"), str):
            value = {**value, "of": [value["of"]]}
        return value

    @model_validator(mode="after")
    def _arity(self) -> Self:
        wanted = {"ratio": 2, "difference": 2, "days": 2, "same": 2, "sum": len(self.of)}
        if len(self.of) != wanted.get(self.op, 1):
            raise ValueError(
                f"{self.op} takes {wanted.get(self.op, 1)} columns, not {len(self.of)}"
            )
        if self.op == "prefix" and self.by < 1:
            raise ValueError("prefix needs by: the number of characters to keep")
        return self


class Skew(_Part):
    """A stated synthetic partition: see `haihe_fl.data.partition.partition`."""

    count: int = Field(ge=1)
    by: str | None = None
    seed: int = 0
    min_rows: int = Field(default=50, ge=1)


class InstitutionSource(_Part):
    """Which institution holds a record.

    With ``column``, institutions of fewer than ``min_rows`` rows are pooled by the column
    ``rest`` into ``rest:VALUE``, and pools that are still too small into ``rest``. With
    ``skewed``, rows are dealt out. With ``name``, or nothing, there is one institution.
    """

    column: str | None = None
    name: str | None = None
    min_rows: int = Field(default=1, ge=1)
    rest: str | None = None
    skewed: Skew | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(x is not None for x in (self.column, self.name, self.skewed)) != 1:
            raise ValueError("give exactly one of column, name and skewed")
        if self.rest is not None and self.column is None:
            raise ValueError("rest pools the small institutions of a column: give column too")
        return self
