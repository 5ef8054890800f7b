"""``haihe data``: check and describe a bank's file, or make a synthetic consortium."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from haihe_fl.cli.console import Column, JsonOption, err, out, show_json, show_table
from haihe_fl.data.checks import CheckReport, check
from haihe_fl.data.mapping import load_mapping
from haihe_fl.data.readers import Reading, read
from haihe_fl.i18n import tr

app = typer.Typer(
    help=tr("Borrower data: check, describe, synthesise.", "借款人数据:检查、描述、合成。"),
    no_args_is_help=True,
)

FileArgument = Annotated[
    Path, typer.Argument(help=tr("CSV, Parquet or ARFF file.", "CSV、Parquet 或 ARFF 文件。"))
]
MappingOption = Annotated[
    Path, typer.Option("--mapping", "-m", help=tr("Mapping file (YAML).", "映射文件(YAML)。"))
]


@app.command("check", help=tr("List every fault of a file.", "列出文件的所有错误。"))
def check_file(
    file: FileArgument,
    mapping: MappingOption,
    json: JsonOption = False,
    limit: Annotated[
        int,
        typer.Option(min=0, help=tr("Most lines to show; 0: all.", "最多显示行数,0 为全部。")),
    ] = 0,
) -> None:
    """List every fault of a file; the exit code is 2 if there is any."""
    with err.status(tr("checking …", "检查中……")):
        report = check(file, load_mapping(mapping))
    if json:
        show_json(report.as_json(limit or None))
    else:
        _show(report, limit or None)
    if not report.clean:
        raise typer.Exit(2)


def _show(report: CheckReport, limit: int | None) -> None:
    severity = {
        "fault": tr("fault", "错误"),
        "warning": tr("warning", "警告"),
        "info": tr("note", "提示"),
    }
    lines = [
        (
            f.code,
            severity[f.severity],
            "" if row is None else row,
            *(escape(text) for text in (f.column, value, str(f))),
        )
        for f, row, value in islice(report.lines(), limit)
    ]
    total = sum(f.count for f in report.findings)
    if lines:
        columns = (
            Column(tr("code", "编号")),
            Column(tr("severity", "级别")),
            Column(tr("row", "行"), right=True),
            Column(tr("column", "列")),
            Column(tr("cell", "单元格")),
            Column(tr("what", "说明")),
        )
        show_table(escape(str(report.path)), columns, lines)
    if len(lines) < total:
        out.print(tr(f"… {total - len(lines)} more lines", f"……另有 {total - len(lines)} 行"))
    faults, warnings = report.count("fault"), report.count("warning")
    out.print(
        tr(
            f"{report.records} records, {faults} faults, {warnings} warnings",
            f"{report.records} 条记录,{faults} 处错误,{warnings} 处警告",
        )
    )


@app.command(help=tr("Show shape, institutions and rates.", "显示规模、机构与违约率。"))
def describe(file: FileArgument, mapping: MappingOption, json: JsonOption = False) -> None:
    """Show shape, institutions and rates: for the institution's own screen."""
    with err.status(tr("reading …", "读取中……")):
        reading = read(file, load_mapping(mapping))
        summary = _summary(reading)
    if json:
        show_json(summary)
        return
    show_table(
        escape(str(file)),
        (
            Column(tr("institution", "机构")),
            Column(tr("records", "记录数"), right=True),
            Column(tr("default rate", "违约率"), right=True),
        ),
        (
            (escape(i["institution"]), i["records"], f"{i['default_rate']:.1%}")
            for i in summary["institutions"]
        ),
    )
    show_table(
        tr("features", "特征"),
        (
            Column(tr("feature", "特征")),
            Column(tr("kind", "类型")),
            Column(tr("missing", "缺失"), right=True),
            Column(tr("lowest", "最小"), right=True),
            Column(tr("mean", "均值"), right=True),
            Column(tr("highest", "最大"), right=True),
        ),
        (
            (
                f["feature"],
                f["kind"],
                f"{f['missing']:.1%}",
                *("" if f[k] is None else f"{f[k]:.6g}" for k in ("lowest", "mean", "highest")),
            )
            for f in summary["features"]
        ),
    )
    for note in reading.mended:
        out.print(str(note), markup=False)
    out.print(
        tr(
            f"{summary['records']} records, {len(summary['features'])} features, "
            f"{len(summary['institutions'])} institutions, "
            f"default rate {summary['default_rate']:.2%}",
            f"{summary['records']} 条记录,{len(summary['features'])} 个特征,"
            f"{len(summary['institutions'])} 家机构,违约率 {summary['default_rate']:.2%}",
        )
    )


def _summary(reading: Reading) -> dict[str, Any]:
    cohort = reading.cohort
    names, inverse, counts = np.unique(cohort.institution, return_inverse=True, return_counts=True)
    rates = np.bincount(inverse, cohort.label) / counts
    features = []
    for feature, column in zip(cohort.catalogue.features, cohort.values.T, strict=True):
        seen = column[~np.isnan(column)].astype(np.float64)
        number = feature.kind == "number" and seen.size > 0
        features.append(
            {
                "feature": feature.name,
                "kind": feature.kind,
                "missing": 1 - seen.size / len(cohort),
                "lowest": float(seen.min()) if number else None,
                "mean": float(seen.mean()) if number else None,
                "highest": float(seen.max()) if number else None,
            }
        )
    weighted = cohort.weight is not None
    return {
        "records": len(cohort),
        "default_rate": float(cohort.label.mean()),
        "weighted_default_rate": (
            float(np.average(cohort.label, weights=cohort.weight)) if weighted else None
        ),
        "institutions": [
            {
                "institution": str(names[i]),
                "records": int(counts[i]),
                "default_rate": float(rates[i]),
            }
            for i in np.argsort(-counts, kind="stable")
        ],
        "features": features,
        "mended": [{"kind": m.kind, "column": m.column, "count": m.count} for m in reading.mended],
    }


@app.command(help=tr("Make a synthetic Tianjin consortium.", "生成合成的天津联合体数据。"))
def synth(
    out_folder: Annotated[
        Path, typer.Option("--out", help=tr("Folder to write to.", "输出目录。"))
    ],
    enterprises: Annotated[
        int, typer.Option(min=1, help=tr("Number of enterprises.", "企业数量。"))
    ] = 30_000,
    seed: Annotated[int, typer.Option(help=tr("Seed.", "随机种子。"))] = 2023,
    json: JsonOption = False,
) -> None:
    """Make a synthetic consortium and write it to a folder."""
    from haihe_fl.data.synth.consortium import synthesise  # heavy: only this command needs it

    with err.status(tr(f"{enterprises} enterprises …", f"{enterprises} 家企业……")):
        files = synthesise(enterprises=enterprises, seed=seed).save(out_folder)
    if json:
        show_json({"enterprises": enterprises, "seed": seed, "files": [str(f) for f in files]})
        return
    for file in files:
        out.print(str(file), soft_wrap=True, markup=False)
