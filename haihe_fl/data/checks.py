"""The check: every fault of a bank's file, with row and column, before anything is trained.

The report is for the institution's own screen: it shows cells, and never leaves the house.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.decode import CellFault, Decoded, decode
from haihe_fl.data.files import RawTable, open_table
from haihe_fl.data.findings import CheckReport, Finding, Severity
from haihe_fl.data.mapping import Mapping

__all__ = ["LEAK_AUC", "CheckReport", "Finding", "check"]

#: From this AUC on, a single feature is suspected of knowing the outcome.
LEAK_AUC = 0.95
_FEWEST = 20  # of each outcome, for an AUC to mean anything


def check(path: Path, mapping: Mapping) -> CheckReport:
    """Check a file against its mapping and list everything found.

    A kind of fault that the mapping's ``on_fault`` names as ``clip`` is a warning: whoever wrote
    it knows of it. One that is only clipped by default is a fault.

    Raises
    ------
    UserError
        H2020 to H2024 if the file cannot be opened at all.
    """
    raw = open_table(path, mapping.needed, mapping.file)
    decoded = decode(raw, mapping)
    findings = [*_columns(raw, mapping, decoded), *_cells(raw, mapping, decoded)]
    findings += _shape(mapping, decoded)
    order: list[Severity] = ["fault", "warning", "info"]
    findings.sort(key=lambda f: order.index(f.severity))
    return CheckReport(path, mapping.name, len(raw), tuple(findings))


def _columns(raw: RawTable, mapping: Mapping, decoded: Decoded) -> Iterator[Finding]:
    for name in decoded.missing:
        yield Finding(
            "column",
            "fault",
            name,
            "the file has no such column: correct the name, or set the feature to null",
            "文件中没有该列:请更正列名,或将该特征设为 null",
        )
    for name in dict.fromkeys(c for c in mapping.needed if raw.header.count(c) > 1):
        yield Finding(
            "twice",
            "fault",
            name,
            "the column stands more than once in the header: rename the others",
            "该列在表头中出现多次:请将其余的改名",
        )
    known = {*mapping.needed, *mapping.ignore}
    unmapped = [c for c in dict.fromkeys(raw.header) if c not in known]
    for name in unmapped:
        yield Finding(
            "unmapped",
            "info",
            name,
            "the column is not mapped and was not read; list it under ignore to silence this",
            "该列未映射,未读取;列入 ignore 可不再提示",
        )


def _cells(raw: RawTable, mapping: Mapping, decoded: Decoded) -> Iterator[Finding]:
    for fault in decoded.faults:
        en, zh = _explain(fault, mapping)
        yield Finding(
            fault.kind,
            "warning" if mapping.on_fault.get(fault.kind) == "clip" else "fault",
            fault.column,
            en,
            zh,
            tuple(raw.rows[fault.at].tolist()),
            tuple(fault.values),
        )
    if raw.ragged:
        rows, texts = zip(*raw.ragged, strict=True)
        yield Finding(
            "row",
            "warning" if mapping.on_fault.get("row") == "clip" else "fault",
            "*",
            f"the row does not have {len(raw.header)} cells: look for a stray delimiter or quote",
            f"该行不是 {len(raw.header)} 个单元格:请检查多余的分隔符或引号",
            rows,
            texts,
        )


def _explain(fault: CellFault, mapping: Mapping) -> tuple[str, str]:
    feature = fault.feature
    if fault.kind == "range" and feature is not None and feature.range is not None:
        low, high = feature.range
        domain = f"[{low:.15g}, {high:.15g}] {feature.unit}".strip()
        return f"outside the public range {domain}", f"超出公开取值范围 {domain}"
    if fault.kind == "category" and feature is not None:
        known = ", ".join((feature.categories or ())[:8])
        more = " …" if len(feature.categories or ()) > 8 else ""
        return f"no known category ({known}{more})", f"未知类别(应为 {known}{more})"
    if fault.kind == "label":
        good = mapping.label.positive + (mapping.label.negative or ("…",))
        return f"no valid label ({' / '.join(good)})", f"标签无效(应为 {' / '.join(good)})"
    if fault.kind == "key":
        return (
            "empty key, or borrower, institution and date repeat an earlier row",
            "主键为空,或借款人、机构、日期与前面的行重复",
        )
    return "no number or date of the expected form", "不是应有的数值或日期格式"


def _shape(mapping: Mapping, decoded: Decoded) -> Iterator[Finding]:
    """Look at whole columns: constant ones, and those that seem to know the outcome."""
    rows = decoded.label >= 0
    label = decoded.label[rows] == 1
    enough = min(label.sum(), (~label).sum()) >= _FEWEST
    for j, feature in enumerate(mapping.catalogue.features):
        source = mapping.source(feature.name)
        if source is None or source.column in decoded.missing or not rows.any():
            continue
        values = decoded.values[rows, j]
        gone = np.isnan(values)
        seen = values[~gone]
        if (seen.size == 0 or np.all(seen == seen[0])) and (gone.all() or not gone.any()):
            yield Finding(
                "constant",
                "warning",
                source.column,
                f"feature {feature.name} has one value only: check the export and the units",
                f"特征 {feature.name} 只有一个取值:请检查导出和单位",
            )
        elif enough:
            yield from _leaks(feature.name, feature.kind, source.column, values, label)


def _leaks(
    name: str, kind: str, column: str, values: NDArray[np.float32], label: NDArray[np.bool_]
) -> Iterator[Finding]:
    gone = np.isnan(values)
    auc = _auc(gone.astype(np.float32), label)
    if auc >= LEAK_AUC:
        yield Finding(
            "leak-missing",
            "warning",
            column,
            f"whether {name} is missing tells the outcome (AUC {auc:.3f}): "
            "it is probably filled in after default",
            f"{name} 是否缺失即可判断结果(AUC {auc:.3f}):可能在违约之后才填写",
        )
    seen, outcome = values[~gone], label[~gone]
    if min(outcome.sum(), (~outcome).sum()) < _FEWEST:
        return
    if kind == "category":  # each category counts for its default rate
        codes = seen.astype(np.intp)
        totals = np.maximum(np.bincount(codes), 1)
        seen = (np.bincount(codes, outcome) / totals)[codes].astype(np.float32)
    auc = _auc(seen, outcome)
    if auc >= LEAK_AUC:
        yield Finding(
            "leak",
            "warning",
            column,
            f"{name} alone tells the outcome (AUC {auc:.3f}): "
            "make sure that it was known at application",
            f"仅凭 {name} 即可判断结果(AUC {auc:.3f}):请确认申请时已知",
        )


def _auc(score: NDArray[np.float32], label: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, or 1 minus it if that is greater; ties count half."""
    _, inverse = np.unique(score, return_inverse=True)
    bad = np.bincount(inverse, label)
    good = np.bincount(inverse) - bad
    below = np.cumsum(good) - good
    area = float(bad @ (below + good / 2) / (bad.sum() * good.sum()))
    return max(area, 1 - area)
