"""Macro series from a CSV file, as quarterly series of the drivers.

The file has the columns ``series, name, date, value`` (dates ISO), as `docs/scenario-evidence.md`
describes it. Nothing in it is shipped; a scenario never depends on it.
"""

import csv
import datetime
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2  # type: ignore[import-untyped]

from haihe_fl.errors import UserError

Floats = NDArray[np.float64]
Kind = Literal["rate", "growth", "level", "basis points"]
Observation = tuple[datetime.date, float]


@dataclass(frozen=True)
class DriverSeries:
    """Which series speaks of a driver, and how.

    Attributes
    ----------
    series : str
        Name in the file.
    kind : {"rate", "growth", "level", "basis points"}
        Rates (per cent, most of them year on year) deviate in points, levels in per cent of
        where they stood, interest rates in basis points. Growth is the growth year on year of a
        driver that deviates in its level.
    lag_months : int
        How much later the date in the file is than the month it speaks of (release dates).
    last : bool
        Take the quarter's last value and carry it on, for rates that are set; else the mean.
    remark : str
        In what the series differs from the driver.
    """

    series: str
    kind: Kind
    lag_months: int = 0
    last: bool = False
    remark: str = ""


SERIES: dict[str, DriverSeries] = {
    "gdp_growth": DriverSeries("CN_GDP_GROWTH_Q", "rate", remark="national, from 2021Q4"),
    "lpr": DriverSeries("CN_LPR_1Y", "basis points", last=True, remark="not the SME loan rate"),
    "ppi_inflation": DriverSeries("CN_PPI_YOY", "rate"),
    "unemployment": DriverSeries(
        "CN_UNEMPLOYMENT", "rate", remark="annual, modelled (ILO), not the surveyed urban rate"
    ),
    "export_growth": DriverSeries("CN_EXPORTS_USD_YOY", "rate", lag_months=1, remark="in USD"),
    "cny_usd": DriverSeries("CN_CNY_USD", "level"),
    "property_price": DriverSeries(
        "CN_BIS_PROPERTY_YOY", "growth", remark="residential, year on year"
    ),
}


class Quarter(NamedTuple):
    """A calendar quarter."""

    year: int
    number: int

    @classmethod
    def of(cls, date: datetime.date) -> "Quarter":
        """Return the quarter of a date."""
        return cls(date.year, (date.month - 1) // 3 + 1)

    @classmethod
    def parse(cls, text: str) -> "Quarter":
        """Read ``2020Q1``; ``ValueError`` for anything else."""
        year, _, number = text.upper().partition("Q")
        if not year.isdigit() or number not in ("1", "2", "3", "4"):
            raise ValueError(f"no quarter: {text!r}; write 2020Q1")
        return cls(int(year), int(number))

    def plus(self, quarters: int) -> "Quarter":
        """Return the quarter so many later.

        Examples
        --------
        >>> str(Quarter.parse("2019Q4").plus(2))
        '2020Q2'
        """
        index = 4 * self.year + self.number - 1 + quarters
        return Quarter(index // 4, index % 4 + 1)

    def __str__(self) -> str:
        return f"{self.year}Q{self.number}"


def read_series(path: Path) -> dict[str, list[Observation]]:
    """Read all series of a file, each in order of dates.

    Raises
    ------
    UserError
        H2583 if the file cannot be read or a line has no date or number.
    """
    found: dict[str, list[Observation]] = defaultdict(list)
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = csv.DictReader(handle)
            if absent := {"series", "date", "value"} - set(rows.fieldnames or ()):
                raise ValueError(f"no column {', '.join(sorted(absent))}")
            for row in rows:
                line = rows.line_num
                value = float(row["value"])
                if math.isfinite(value):
                    found[row["series"]].append((datetime.date.fromisoformat(row["date"]), value))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(
            "H2583",
            en=f"cannot read macro series {path.name}, line {line}: {error}; "
            "columns are series, name, date (2020-03-31) and value",
            zh=f"无法读取宏观序列 {path.name} 第 {line} 行:{error};"
            "列应为 series、name、date(2020-03-31)和 value",
        ) from None
    return {name: sorted(values) for name, values in found.items()}


def quarterly(observations: list[Observation], series: DriverSeries) -> dict[Quarter, float]:
    """Return a value for each quarter that has one, in order."""
    if not observations:
        return {}
    by_quarter: dict[Quarter, list[float]] = defaultdict(list)
    for date, value in observations:
        month = date.year * 12 + date.month - 1 - series.lag_months
        moved = datetime.date(month // 12, month % 12 + 1, 1)
        by_quarter[Quarter.of(moved)].append(value)
    first, last = min(by_quarter), max(by_quarter)
    out: dict[Quarter, float] = {}
    quarter = first
    while quarter <= last:
        if quarter in by_quarter:
            held = by_quarter[quarter]
            out[quarter] = held[-1] if series.last else sum(held) / len(held)
        elif series.last:
            out[quarter] = out[quarter.plus(-1)]
        quarter = quarter.plus(1)
    return out


class SigmaEstimate(NamedTuple):
    """A standard deviation with its 90 % interval; ``effective`` counts independent values."""

    sd: float
    low: float
    high: float
    values: int
    effective: float


def sigma(deviation: Floats) -> SigmaEstimate:
    """Return the standard deviation of a persistent series, with a chi-square interval.

    The number of independent values is n (1 - r^2) / (1 + r^2), r the first autocorrelation:
    that of a variance under an AR(1).

    Examples
    --------
    >>> e = sigma(np.tile([1.0, 1.0, -1.0, -1.0], 10))
    >>> round(e.sd, 3), e.low < e.sd < e.high
    (1.013, True)
    """
    d = deviation - deviation.mean()
    n = len(d)
    sd = float(d.std(ddof=1))
    r = float((d[1:] * d[:-1]).sum() / max(float((d * d).sum()), 1e-300))
    effective = max(n * (1 - r * r) / (1 + r * r), 2.0)
    free = effective - 1.0
    low = sd * math.sqrt(free / float(chi2.ppf(0.95, free)))
    high = sd * math.sqrt(free / float(chi2.ppf(0.05, free)))
    return SigmaEstimate(sd, low, high, n, effective)


def from_trend(values: Floats) -> Floats:
    """Return what is left of a straight line over time."""
    t = np.linspace(-1.0, 1.0, len(values))
    basis, _ = np.linalg.qr(np.column_stack([np.ones_like(t), t]))
    return np.asarray(values - basis @ (basis.T @ values))


def from_hp(values: Floats, penalty: float = 1600.0) -> Floats:
    """Return what the Hodrick-Prescott filter calls the cycle."""
    rough = np.diff(np.eye(len(values)), n=2, axis=0)
    trend = np.linalg.solve(np.eye(len(values)) + penalty * rough.T @ rough, values)
    return np.asarray(values - trend)


def change(values: Floats, kind: Kind, lag: int = 4) -> Floats:
    """Return the change over ``lag`` quarters: points, per cent for levels, basis points.

    Growth year on year is itself the change of its level; what counts is how far it is from its
    mean.
    """
    if kind == "growth":
        return np.asarray(values - values.mean())
    if kind == "level":
        return np.asarray(100.0 * (values[lag:] / values[:-lag] - 1.0))
    return np.asarray((values[lag:] - values[:-lag]) * (100.0 if kind == "basis points" else 1.0))


def deviation(values: list[float], base: float, kind: Kind) -> Floats:
    """Return how far a driver went from where it stood, quarter by quarter.

    Growth adds up: the level is off by this quarter's excess growth over four quarters and by
    what it was off four quarters ago.

    Examples
    --------
    >>> deviation([6.6, 7.7], 7.0, "level").round(2).tolist()
    [-5.71, 10.0]
    >>> deviation([3.0, 3.0, 3.0, 3.0, 3.0], 4.0, "growth").tolist()
    [-1.0, -1.0, -1.0, -1.0, -2.0]
    """
    x = np.asarray(values, dtype=np.float64)
    if kind == "level":
        return np.asarray(100.0 * (x / base - 1.0))
    out = (x - base) * (100.0 if kind == "basis points" else 1.0)
    if kind == "growth":
        for t in range(4, len(out)):
            out[t] += out[t - 4]
    return np.asarray(out)
