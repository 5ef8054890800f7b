"""Driver sigmas and scenario anchors against real macro series.

Needs ``china_macro/derived_china_macro_long.csv`` in the folder of the real data sets
(``--data``, else ``HAIHE_DATA``, else ``../shared/data``); without it nothing is computed.
A sigma is called *far off* where it lies beyond twice or half the 90 % interval of both estimates.
"""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import parser, publish
from haihe_fl.stress.macro import (
    SERIES,
    DriverSeries,
    Observation,
    Quarter,
    SigmaEstimate,
    change,
    from_hp,
    from_trend,
    quarterly,
    read_series,
    sigma,
)
from haihe_fl.stress.replay import window
from haihe_fl.stress.run import shipped

FILE = Path("china_macro") / "derived_china_macro_long.csv"
PROXIES = {
    "gdp_growth": DriverSeries("CN_GDP_GROWTH", "rate", remark="annual"),
    "credit_supply": DriverSeries("CN_M2_YOY", "rate", remark="proxy: M2, not SME loans"),
}
Months = dict[tuple[int, int], float]


def sigma_rows(series: dict[str, list[Observation]]) -> list[dict[str, Any]]:
    """Return one row a series: the stated sigma beside what the series says."""
    catalogue, _ = shipped()
    rows = []
    for driver, spec in [*SERIES.items(), *PROXIES.items()]:
        by_quarter = quarterly(series.get(spec.series, []), spec)
        values = np.array(list(by_quarter.values()))
        if len(values) < 8:
            continue
        first, last = min(by_quarter), max(by_quarter)
        annual = len(values) <= 12 and last.year - first.year >= 8
        scale = 100.0 if spec.kind == "basis points" else 1.0
        flat = 100.0 * np.log(values) if spec.kind == "level" else scale * values
        trend = sigma(from_trend(flat))
        cycle = sigma(from_hp(flat, 6.25 if annual else 1600.0))
        year = sigma(change(values, spec.kind, 1 if annual else 4))
        stated = catalogue.drivers[driver].sigma
        direct = spec is SERIES.get(driver) and driver != "unemployment"
        rows.append(
            {
                "driver": driver,
                "series": spec.series,
                "from": str(first),
                "to": str(last),
                "every": "year" if annual else "quarter",
                "sigma": stated,
                "off trend": trend.sd,
                "off HP": cycle.sd,
                "one-year change": year.sd,
                "90 % low": min(trend.low, year.low),
                "90 % high": max(trend.high, year.high),
                "n eff": year.effective,
                "verdict": _verdict(stated, trend, year, direct),
                "remark": spec.remark,
            }
        )
    return rows


def _verdict(stated: float, trend: SigmaEstimate, year: SigmaEstimate, direct: bool) -> str:
    low, high = min(trend.low, year.low) / 2, max(trend.high, year.high) * 2
    if low <= stated <= high:
        return "agrees"
    return "far off" if direct else "far off, other series"


def _months(series: dict[str, list[Observation]], name: str, lag: int = 0) -> Months:
    out = {}
    for date, value in series[name]:
        month = date.year * 12 + date.month - 1 - lag
        out[(month // 12, month % 12 + 1)] = value
    return out


def anchor_rows(series: dict[str, list[Observation]]) -> list[dict[str, Any]]:
    """Return one row for each figure of a scenario that the series can speak of."""
    ppi, fx = _months(series, "CN_PPI_YOY"), _months(series, "CN_CNY_USD")
    exports = _months(series, "CN_EXPORTS_USD_YOY", lag=1)
    lpr = series["CN_LPR_1Y"]

    def rate(text: str) -> float:
        day = datetime.date.fromisoformat(text)
        return [value for date, value in lpr if date <= day][-1]

    def rise(start: tuple[int, int], end: tuple[int, int]) -> float:
        span = [v for m, v in fx.items() if start <= m <= end]
        return 100.0 * (max(span) / span[0] - 1.0)

    def mean(first: tuple[int, int], last: tuple[int, int]) -> float:
        return float(np.mean([v for m, v in exports.items() if first <= m <= last]))

    def path(driver: str, start: str, quarters: int) -> Any:
        return window(series, Quarter.parse(start), quarters)[driver]

    steps = np.array([value for _, value in sorted(quarterly(lpr, SERIES["lpr"]).items())])
    rows: list[tuple[str, str, str | float, float]] = [
        ("power-rationing-dual-control", "PPI in Oct 2021, % yoy", "13.5", ppi[(2021, 10)]),
        (
            "power-rationing-dual-control",
            "PPI, Oct 2021 less mid-2021, points",
            8.0,
            ppi[(2021, 10)] - ppi[(2021, 6)],
        ),
        (
            "power-rationing-dual-control",
            "PPI, Oct 2021 less Q1 2021, points",
            8.0,
            ppi[(2021, 10)] - float(np.mean([ppi[(2021, m)] for m in (1, 2, 3)])),
        ),
        (
            "pandemic-shutdown-v",
            "exports, Jan-Feb 2020 less Q4 2019, points",
            -18.0,
            exports[(2020, 2)] - mean((2019, 10), (2019, 12)),
        ),
        (
            "pandemic-shutdown-v",
            "LPR, end of June 2020 less end of 2019, bp",
            -30.0,
            100 * (rate("2020-06-30") - rate("2019-12-31")),
        ),
        (
            "pandemic-shutdown-v",
            "house prices against 2019Q4's pace, lowest of 2020, %",
            -4.0,
            float(path("property_price", "2020Q1", 4).min()),
        ),
        (
            "rmb-sharp-depreciation",
            "CNY per USD, Apr to Dec 2018, %",
            "about 10",
            rise((2018, 4), (2018, 12)),
        ),
        (
            "rmb-sharp-depreciation",
            "CNY per USD, Feb to Dec 2022, %",
            "about 10",
            rise((2022, 2), (2022, 12)),
        ),
        (
            "tariff-war-escalation",
            "CNY per USD, Apr 2018 to Dec 2019, %",
            7.0,
            rise((2018, 4), (2019, 12)),
        ),
        (
            "tariff-war-escalation",
            "exports, 2019Q1-Q4 less 2018Q2-Q3, points",
            -22.0,
            mean((2019, 1), (2019, 12)) - mean((2018, 4), (2018, 9)),
        ),
        (
            "property-deflation-spiral",
            "PPI, lowest of 2022Q3-2025Q2 less 2022Q2, points",
            -6.0,
            float(path("ppi_inflation", "2022Q3", 12).min()),
        ),
        (
            "property-deflation-spiral",
            "house prices, fall of three years to 2024Q4, %",
            -33.0,
            _chained(series, (2022, 2023, 2024)),
        ),
        (
            "protracted-slump-u",
            "house prices, fall of two years to 2024Q4, %",
            -25.0,
            _chained(series, (2023, 2024)),
        ),
        (
            "property-deflation-spiral",
            "LPR, mid-2025 less end of 2021, bp",
            -80.0,
            100 * (rate("2025-06-30") - rate("2021-11-30")),
        ),
        (
            "auto-oem-collapse",
            "GDP, 2022Q2 less 2022Q1, points",
            -1.8,
            float(path("gdp_growth", "2022Q2", 2)[0]),
        ),
        (
            "monetary_easing (overlay)",
            "LPR, largest one-year fall, bp",
            -50.0,
            float((100 * (steps[4:] - steps[:-4])).min()),
        ),
    ]
    return [{"scenario": s, "figure": f, "stated": x, "series say": v} for s, f, x, v in rows]


def _chained(series: dict[str, list[Observation]], years: Sequence[int]) -> float:
    by_quarter = quarterly(series["CN_BIS_PROPERTY_YOY"], SERIES["property_price"])
    level = np.prod([1 + by_quarter[Quarter(year, 4)] / 100 for year in years])
    return float(100 * (level - 1))


def main(argv: Sequence[str] | None = None) -> int:
    """Print and write the tables."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="folder of the real data sets")
    args = options.parse_args(argv)
    root = args.data or Path(os.environ.get("HAIHE_DATA", "../shared/data"))
    if not (root / FILE).exists():
        print(f"no {FILE}; give its folder with --data. Nothing computed.")
        return 0
    series = read_series(root / FILE)
    tables = {
        "Driver sigmas: stated and in the series": sigma_rows(series),
        "Figures of scenarios that the series can speak of": anchor_rows(series),
    }
    publish(args, "macro", tables)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
