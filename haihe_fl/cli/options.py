"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from haihe_fl.errors import UserError
from haihe_fl.i18n import Text, tr

if TYPE_CHECKING:
    from haihe_fl.data.cohort import Cohort
    from haihe_fl.data.synth import Consortium

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help=tr("File of borrowers (CSV, Parquet, ARFF).", "借款人数据文件。")),
]
MappingOption = Annotated[
    Path | None,
    typer.Option("--mapping", "-m", help=tr("Its mapping (YAML).", "对应的映射文件(YAML)。")),
]
EnterprisesOption = Annotated[
    int,
    typer.Option(
        "--enterprises",
        min=1000,
        max=1_000_000,
        help=tr("Size of the synthetic consortium.", "合成联合体的企业数。"),
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", help=tr("Seed of the synthetic data.", "合成数据的随机种子。"))
]
FamilyOption = Annotated[
    str, typer.Option("--family", help=tr("additive or neural.", "additive 或 neural。"))
]
EpsilonOption = Annotated[
    float,
    typer.Option(
        "--epsilon",
        min=0.01,
        help=tr("Budget of one record for the run.", "本次运行每条记录的预算。"),
    ),
]
DeltaOption = Annotated[float, typer.Option("--delta", min=1e-12, max=0.01)]
HoldoutOption = Annotated[
    float,
    typer.Option(
        "--holdout", min=0.0, max=0.8, help=tr("Share held out to validate.", "留出验证的比例。")
    ),
]


def check_family(family: str) -> str:
    """Return the family, or raise H2601."""
    if family not in ("additive", "neural"):
        raise UserError(
            "H2601",
            en=f"--family is additive or neural, not {family!r}",
            zh=f"--family 只能是 additive 或 neural,不能是 {family!r}",
        )
    return family


def read_rows(
    data: Path | None, mapping: Path | None, enterprises: int, seed: int
) -> "tuple[Cohort, Consortium | None]":
    """Read the file, or make the synthetic consortium where none is given.

    Raises
    ------
    UserError
        H2602 if only one of data and mapping is given.
    """
    if (data is None) != (mapping is None):
        raise UserError(
            "H2602",
            en="--data and --mapping go together; docs/mapping.md says how to write a mapping",
            zh="--data 与 --mapping 须同时给出;映射文件的写法见 docs/mapping.md",
        )
    if data is not None and mapping is not None:
        from haihe_fl.data.mapping import load_mapping
        from haihe_fl.data.readers import read_cohort

        return read_cohort(data, load_mapping(mapping)), None
    from haihe_fl.data.synth import synthesise

    consortium = synthesise(enterprises=enterprises, seed=seed)
    return consortium.cohort, consortium


def institutions_of(cohort: "Cohort") -> int:
    """Return the number of institutions, or raise H2606 if there is one only."""
    count = len(set(cohort.institution.tolist()))
    if count < 2:
        raise UserError(
            "H2606",
            en="all rows belong to one institution, and a federation needs two at least; name "
            "the column that tells them apart in the mapping (institution: COLUMN), or, for an "
            "exercise, deal the rows out with 'institution: {skewed: {count: 10, seed: 0}}' "
            "(docs/mapping.md)",
            zh="全部数据属于同一家机构,而联邦至少需要两家;请在映射中写明区分机构的列"
            "(institution: 列名),或在演练时用 'institution: {skewed: {count: 10, seed: 0}}' "
            "划分数据(见 docs/mapping.md)",
        )
    return count


def data_title(data: Path | None, enterprises: int, seed: int) -> Text:
    """Say where the rows come from, in both languages."""
    if data is not None:
        return Text(en=data.name, zh=data.name)
    return Text(
        en=f"synthetic Tianjin consortium, {enterprises:,} enterprises, seed {seed}",
        zh=f"合成天津联合体,{enterprises:,} 家企业,种子 {seed}",
    )


def data_label(data: Path | None, enterprises: int, seed: int) -> str:
    """Say where the rows come from, as cards show it."""
    return str(data_title(data, enterprises, seed))
