"""What the commands of ``haihe stress`` share: options, portfolio, catalogue."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from haihe_fl.cli.console import err, workspace
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr
from haihe_fl.models.base import RiskModel
from haihe_fl.stress.chain_inputs import ChainInputs
from haihe_fl.stress.chain_results import ChainSettings
from haihe_fl.stress.compose import load_user_scenarios
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.run import shipped
from haihe_fl.stress.satellite import Satellite, load_satellite
from haihe_fl.stress.scenarios import ScenarioCatalogue

if TYPE_CHECKING:
    from haihe_fl.data.cohort import Cohort

OverlayOption = Annotated[str, typer.Option("--overlay", help=tr("Policy response.", "政策叠加。"))]
FileOption = Annotated[
    Path | None, typer.Option("--portfolio", help=tr("File of borrowers.", "借款人文件。"))
]
MappingOption = Annotated[
    Path | None,
    typer.Option("--mapping", "-m", help=tr("Mapping of that file.", "该文件的映射。")),
]
SynthOption = Annotated[
    int,
    typer.Option(
        "--synth",
        help=tr(
            "Without a file: enterprises of the synthetic consortium.", "无文件时:合成企业数。"
        ),
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help=tr("Seed of it.", "合成数据种子。"))]
NameOption = Annotated[
    str, typer.Option("--model-name", help=tr("Registered model.", "已登记的模型。"))
]
VersionOption = Annotated[
    str | None,
    typer.Option("--version", help=tr("Its version (default: champion).", "版本(默认现役)。")),
]
SeverityOption = Annotated[
    float, typer.Option(min=0, max=10, help=tr("Scales the scenario.", "情景强度倍数。"))
]
ScenariosOption = Annotated[
    Path | None,
    typer.Option("--scenarios", help=tr("File of scenarios of your own.", "自定义情景文件。")),
]
FullOption = Annotated[
    bool,
    typer.Option(
        "--full-correlation",
        help=tr(
            "Full instead of residual correlation (through-the-cycle PDs only).",
            "用完整相关性而非剩余相关性(仅限跨周期 PD)。",
        ),
    ),
]
ChainOption = Annotated[
    bool,
    typer.Option(
        "--chain",
        help=tr(
            "The whole chain: draws, contagion, pool, capital.",
            "完整链条:抽样、传染、保险池、资本。",
        ),
    ),
]
DrawsOption = Annotated[
    int | None,
    typer.Option("--draws", min=0, max=100_000, help=tr("Draws of the loss.", "损失抽样次数。")),
]
EnterpriseDrawsOption = Annotated[
    int,
    typer.Option(
        "--enterprise-draws", min=1, max=100_000, help=tr("Draws for contagion.", "传染抽样次数。")
    ),
]
ContagionOption = Annotated[
    bool, typer.Option("--contagion", help=tr("Guarantees and supply chain.", "担保与供应链传染。"))
]
PoolOption = Annotated[bool, typer.Option("--pool", help=tr("Insurance pool.", "信用保险池。"))]
CapitalOption = Annotated[
    bool, typer.Option("--capital", help=tr("CET1 by institution.", "各机构核心一级资本。"))
]
ShapleyOption = Annotated[
    bool, typer.Option("--shapley", help=tr("Waterfall by Shapley.", "按 Shapley 值归因。"))
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save",
        help=tr("Everything as .json, cells as .parquet.", "完整结果存 .json,明细存 .parquet。"),
    ),
]
WorkersOption = Annotated[
    str,
    typer.Option("--workers", help=tr("Draws on threads, or ray.", "抽样方式:threads 或 ray。")),
]
InsuredOption = Annotated[
    float,
    typer.Option("--insured", min=0, max=1, help=tr("Share of losses insured.", "投保损失占比。")),
]


@dataclass(frozen=True, eq=False)
class Book:
    """Rows, the model that scores them, and the synthetic city behind them, if there is one."""

    cohort: "Cohort"
    model: RiskModel
    label: str
    city: Any = None

    @cached_property
    def portfolio(self) -> Portfolio:
        """The rows with PDs of the model."""
        return Portfolio.from_cohort(self.cohort, self.model, model_name=self.label)

    @property
    def inputs(self) -> ChainInputs:
        """What the chain can use: network and balance sheets exist for the synthetic city."""
        if self.city is None or not hasattr(self.city, "guarantees"):
            return ChainInputs(self.portfolio)
        return ChainInputs.of_consortium(self.city, self.portfolio)


def load_book(
    file: Path | None,
    mapping: Path | None,
    synth: int,
    seed: int,
    model_name: str,
    version: str | None,
    work: Path | None,
) -> Book:
    """Read the registered model and the rows that it is to score.

    Raises
    ------
    UserError
        H2530 if only one of file and mapping is given.
    """
    if (file is None) != (mapping is None):
        raise UserError(
            "H2530",
            en="--portfolio and --mapping go together; give both, or neither for --synth",
            zh="--portfolio 与 --mapping 须同时给出;或都不给而用 --synth",
        )
    from server.registry import load_model

    with err.status(tr("loading model and portfolio …", "正在读取模型和组合……")):
        model, info = load_model(workspace(work), model_name, version)
        label = f"{info.name} v{info.version}"
        if file is not None and mapping is not None:
            from haihe_fl.data.mapping import load_mapping
            from haihe_fl.data.readers import read_cohort

            book = Book(read_cohort(file, load_mapping(mapping)), model, label)
        else:
            from haihe_fl.data.synth.consortium import synthesise

            city = synthesise(enterprises=synth, seed=seed)
            book = Book(city.cohort, model, label, city)
        _ = book.portfolio
    return book


def catalogue_of(file: Path | None) -> ScenarioCatalogue:
    """Return the shipped catalogue, with the scenarios of a file if one is given."""
    return shipped()[0] if file is None else load_user_scenarios(file)


def satellite_of(catalogue: ScenarioCatalogue) -> Satellite:
    """Return the coefficients for a catalogue."""
    return shipped()[1] if catalogue is shipped()[0] else load_satellite(catalogue)


def check_names(catalogue: ScenarioCatalogue, ids: list[str], overlay: str) -> None:
    """Refuse unknown names before anything slow is done."""
    catalogue.overlay(overlay)
    for identifier in ids:
        _ = catalogue[identifier]


def chain_settings(
    chain: bool,
    draws: int | None,
    enterprise_draws: int,
    contagion: bool,
    pool: bool,
    capital: bool,
    shapley: bool,
    insured: float,
) -> ChainSettings | None:
    """Return the steps that the switches ask for; None if they ask for none."""
    if not (chain or draws or contagion or pool or capital):
        return None
    return ChainSettings(
        draws=(1000 if chain else 0) if draws is None else draws,
        enterprise_draws=enterprise_draws,
        contagion=chain or contagion,
        pool=chain or pool,
        capital=chain or capital,
        attribution="shapley" if shapley else "order",
        insured=insured,
    )


def check_inputs(inputs: ChainInputs, *named: str) -> None:
    """Refuse steps that were asked for by name and whose inputs are not there.

    Raises
    ------
    UserError
        H2618, saying what is missing.
    """
    for step in named:
        if why := inputs.missing(step):
            raise UserError(
                "H2618",
                en=f"{why.en}; leave out --{step}, or run the synthetic consortium",
                zh=f"{why.zh};请去掉 --{step},或使用合成联合体",
            )
