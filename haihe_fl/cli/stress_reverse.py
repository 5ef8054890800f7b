"""``haihe stress reverse``: how severe, and by which drivers, until a threshold is breached."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import typer

from haihe_fl.cli import stress_options as o
from haihe_fl.cli.console import Column, JsonOption, WorkOption, err, out, show_json, show_table
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.stress.chain import run_chain
from haihe_fl.stress.chain_inputs import ChainInputs
from haihe_fl.stress.chain_results import ChainSettings
from haihe_fl.stress.plausible import (
    PlausiblePath,
    load_driver_correlation,
    loss_rate_by_drivers,
    most_plausible,
)
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.reverse import Crossing, smallest_crossing
from haihe_fl.stress.run import run, shipped
from haihe_fl.stress.scenarios import ScenarioCatalogue
from haihe_fl.stress.settings import StressSettings

MEASURES: dict[str, Literal["above", "below"]] = {
    "loss-rate": "above",
    "cet1": "below",
    "pool": "above",
}
SAMPLE = 4000
"""Loans at most among which the most plausible drivers are sought."""
Measure = Callable[[float], float]


def reverse(
    scenario: Annotated[str, typer.Argument(metavar="ID")],
    measure: Annotated[
        str,
        typer.Option(
            help=tr("loss-rate, cet1 or pool.", "loss-rate(损失率)、cet1 或 pool(保险池)。")
        ),
    ] = "loss-rate",
    threshold: Annotated[
        float | None,
        typer.Option(
            help=tr(
                "Share, or CNY for the pool (default: twice the quiet loss rate; the minimum CET1 "
                "ratio; the pool's capital).",
                "比例,保险池为元(默认:平静损失率的两倍;资本下限;保险池资本)。",
            )
        ),
    ] = None,
    drivers: Annotated[
        bool,
        typer.Option(help=tr("Most plausible drivers, too.", "同时求最可能的驱动组合。")),
    ] = True,
    overlay: o.OverlayOption = "none",
    portfolio: o.FileOption = None,
    mapping: o.MappingOption = None,
    synth: o.SynthOption = 30_000,
    seed: o.SeedOption = 2023,
    model_name: o.NameOption = "haihe-risk",
    version: o.VersionOption = None,
    scenarios: o.ScenariosOption = None,
    insured: o.InsuredOption = 1.0,
    work: WorkOption = None,
    json: JsonOption = False,
) -> None:
    """Search the smallest severity that breaches a threshold, and the nearest drivers."""
    catalogue = o.catalogue_of(scenarios)
    o.check_names(catalogue, [scenario], overlay)
    if measure not in MEASURES:
        raise UserError(
            "H2614",
            en=f"--measure is {', '.join(MEASURES)}, not {measure!r}",
            zh=f"--measure 可选 {'、'.join(MEASURES)},不能是 {measure!r}",
        )
    book = o.load_book(portfolio, mapping, synth, seed, model_name, version, work)
    inputs = book.inputs
    if measure == "cet1":
        _need_capital(inputs)
    function = _measure(measure, inputs, catalogue, scenario, overlay, insured)
    with err.status(tr("searching the severity …", "正在搜索情景强度……")):
        limit = _threshold(measure, threshold, function, inputs)
        found = smallest_crossing(function, limit, MEASURES[measure], tolerance=1e-6)
    near, rows = None, 0
    if drivers and measure == "loss-rate":
        sample = _sample(inputs.portfolio)
        rows = len(sample)
        rate = loss_rate_by_drivers(sample)
        covariance = load_driver_correlation(shipped()[0]).covariance(shipped()[0])
        with err.status(tr("searching the drivers …", "正在搜索驱动组合……")):
            near = most_plausible(rate, limit, covariance, tolerance=1e-4)
    if json:
        show_json(_facts(scenario, measure, found, near, rows))
        return
    _show(catalogue, scenario, measure, found, near, rows)


def _need_capital(inputs: ChainInputs) -> None:
    if why := inputs.missing("capital"):
        raise UserError(
            "H2615",
            en=f"{why.en}; choose --measure loss-rate or pool, or run the synthetic consortium",
            zh=f"{why.zh};请选 --measure loss-rate 或 pool,或使用合成联合体",
        )


def _measure(
    name: str,
    inputs: ChainInputs,
    catalogue: ScenarioCatalogue,
    scenario: str,
    overlay: str,
    insured: float,
) -> Measure:
    """Return the measure as a function of severity, on the expected path without contagion."""
    satellite = o.satellite_of(catalogue)
    books = ChainSettings(draws=0, contagion=False, pool=True, insured=insured)

    def lowest(severity: float) -> float:
        settings = StressSettings(severity=severity)
        got = run_chain(
            inputs, scenario, overlay, settings, books, catalogue=catalogue, satellite=satellite
        )
        assert got.capital is not None
        return min(got.capital.network.ratio)

    def result(severity: float) -> Any:
        settings = StressSettings(severity=severity)
        place = {"catalogue": catalogue, "satellite": satellite}
        return run(inputs.portfolio, scenario, overlay, settings, **place)  # type: ignore[arg-type]

    if name == "cet1":
        return lowest
    if name == "pool":
        share = inputs.pool.share * insured
        return lambda severity: share * float(result(severity).total("el").sum())
    return lambda severity: float(result(severity).loss_rate()[-1])


def _threshold(measure: str, given: float | None, function: Measure, inputs: ChainInputs) -> float:
    if given is not None:
        return given
    if measure == "cet1":
        return inputs.sheets.minimum_ratio
    return inputs.pool.capital if measure == "pool" else 2.0 * function(0.0)


def _sample(portfolio: Portfolio) -> Portfolio:
    """Return every k-th loan, so that a search of hundreds of runs takes seconds."""
    every = -(-len(portfolio) // SAMPLE)
    if every == 1:
        return portfolio
    columns = ("pd", "ead", "lgd", "sector", "institution", "turnover", "pd_origin", "weight")
    parts: dict[str, Any] = {name: getattr(portfolio, name)[::every] for name in columns}
    for name in ("collateral", "undrawn"):
        if (values := getattr(portfolio, name)) is not None:
            parts[name] = values[::every]
    return replace(portfolio, rescore=None, **parts)


def _facts(
    scenario: str, measure: str, found: Crossing, near: PlausiblePath | None, rows: int
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "scenario": scenario,
        "measure": measure,
        "threshold": found.threshold,
        "reached": found.reached,
        "severity": found.at,
        "value": found.measure,
        "limit": found.limit,
        "evaluations": found.evaluations,
        "drivers": None,
    }
    if near is not None:
        peaks = dict(zip(shipped()[0].drivers, near.x.tolist(), strict=True))
        facts["drivers"] = {
            "reached": near.reached,
            "sigma": near.distance,
            "loss_rate": near.loss,
            "alignment": near.alignment,
            "loans": rows,
            "peaks": peaks,
        }
    return facts


def _show(
    catalogue: ScenarioCatalogue,
    scenario: str,
    measure: str,
    found: Crossing,
    near: PlausiblePath | None,
    rows: int,
) -> None:

    def form(v: float) -> str:
        if measure == "pool":
            return tr(f"CNY {v / 1e9:,.3f} bn", f"{v / 1e8:,.2f} 亿元")
        return f"{v:.2%}"

    names = {
        "loss-rate": tr("three-year loss rate", "三年损失率"),
        "cet1": tr("lowest CET1 ratio of all together", "合计最低核心一级资本充足率"),
        "pool": tr("expected claims on the pool", "保险池预期索赔"),
    }
    head = f"{catalogue[scenario].name}: {names[measure]}, "
    head += tr("threshold ", "阈值 ") + form(found.threshold)
    out.print(head, markup=False)
    value = form(found.measure)
    if found.at is None:
        text = tr(
            f"not reached within severity {found.limit:g}: {value} there",
            f"强度 {found.limit:g} 以内未触及:此时为 {value}",
        )
    elif found.at == 0:
        text = tr(f"breached already in the quiet economy: {value}", f"平静经济中已触及:{value}")
    else:
        text = tr(
            f"reached at severity {found.at:.4f}: {value}", f"强度 {found.at:.4f} 时触及:{value}"
        )
    out.print(text, markup=False)
    if near is None:
        return
    if not near.reached:
        out.print(
            tr(
                f"No drivers within 12 sigma cost so much; {near.loss:.2%} at "
                f"{near.distance:.2f} sigma",
                f"12 个 σ 以内没有驱动组合造成如此损失;{near.distance:.2f} 个 σ 处为 "
                f"{near.loss:.2%}",
            )
        )
        return
    shown = shipped()[0].drivers.items()
    order = np.argsort([-abs(x) / d.sigma for x, (_, d) in zip(near.x, shown, strict=True)])
    pairs = list(shown)
    show_table(
        tr(
            f"Most plausible drivers: {near.distance:.2f} sigma ({rows:,} loans, expert priors)",
            f"最可能的驱动组合:{near.distance:.2f} 个 σ({rows:,} 笔贷款,专家先验)",
        ),
        (
            Column(tr("driver", "驱动")),
            Column(tr("peak", "峰值"), right=True),
            Column(tr("unit", "单位")),
            Column(tr("in sigma", "σ 数"), right=True),
        ),
        [
            (pairs[k][0], f"{near.x[k]:+.2f}", pairs[k][1].unit,
             f"{near.x[k] / pairs[k][1].sigma:+.2f}")
            for k in order
        ],
    )  # fmt: skip
