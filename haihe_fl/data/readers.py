"""From a bank's file to a cohort, as its mapping says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from haihe_fl.data.cohort import Cohort
from haihe_fl.data.decode import CellFault, Decoded, decode
from haihe_fl.data.files import open_table
from haihe_fl.data.mapping import Mapping
from haihe_fl.data.partition import partition
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr


@dataclass(frozen=True)
class Mended:
    """How many cells or rows of one column were mended while reading."""

    kind: str
    column: str
    count: int

    def __str__(self) -> str:
        en, zh = {
            "type": ("wrong cells read as missing", "个类型错误的单元格按缺失处理"),
            "range": ("numbers clipped to the public range", "个数值截断到公开取值范围"),
            "category": ("unknown categories read as missing", "个未知类别按缺失处理"),
            "label": ("rows without a valid label left out", "行因标签无效未读入"),
            "key": ("rows with an empty or repeated key left out", "行因主键为空或重复未读入"),
            "row": ("rows with the wrong number of cells left out", "行因列数不符未读入"),
        }[self.kind]
        return tr(f"{self.column}: {self.count} {en}", f"{self.column}:{self.count} {zh}")


@dataclass(frozen=True, eq=False)
class Reading:
    """A cohort, the file's row of each of its records, and what was mended on the way."""

    cohort: Cohort
    rows: NDArray[np.int64]
    mended: tuple[Mended, ...]


def read_cohort(path: Path, mapping: Mapping) -> Cohort:
    """Read a file into a cohort; `read` also tells what was mended."""
    return read(path, mapping).cohort


def read(path: Path, mapping: Mapping) -> Reading:
    """Read a CSV, Parquet or ARFF file, plain or gzipped.

    Faults are treated as the mapping's ``on_fault`` says: by default numbers outside their
    public range are clipped, and anything else wrong rejects the file.

    Raises
    ------
    UserError
        H2020 to H2024 if the file cannot be opened (`open_table`), H2025 if it lacks columns,
        H2026 if it has faults that the mapping rejects, H2027 if no row is left.
    """
    raw = open_table(path, mapping.needed, mapping.file)
    decoded = decode(raw, mapping)
    at, ragged = raw.rows, raw.ragged
    del raw
    # A node reads once and lives long: Arrow would keep the table's memory for itself.
    pa.default_memory_pool().release_unused()
    if decoded.missing:
        names = ", ".join(decoded.missing)
        raise UserError(
            "H2025",
            en=f"{path} lacks the columns {names}; correct the names in mapping {mapping.name}, "
            "or set a feature that you do not hold to null",
            zh=f"{path} 缺少列 {names};请更正映射 {mapping.name} 中的列名,未持有的特征请设为 null",
        )
    faults = list(decoded.faults)
    if ragged:
        faults.append(CellFault("row", "*", np.arange(len(ragged)), []))
    rejected = [f for f in faults if mapping.action(f.kind) == "reject"]
    if rejected:
        first = rejected[0]
        row = ragged[0][0] if first.kind == "row" else int(at[first.at[0]])
        count = sum(len(f.at) for f in rejected)
        raise UserError(
            "H2026",
            en=f"{path}: {count} faults, the first ({first.kind}) in row {row}, column "
            f"{first.column}; list them with 'haihe data check', or set on_fault in the mapping",
            zh=f"{path}:共 {count} 处错误,首处({first.kind})在第 {row} 行 {first.column} 列;"
            "请用 haihe data check 列出全部,或在映射中设置 on_fault",
        )
    keep = decoded.label >= 0
    for fault in faults:
        if fault.kind == "key":
            keep[fault.at] = False
    if not keep.any():
        raise UserError(
            "H2027",
            en=f"{path}: no row is left after faulty ones were dropped; check the label's values",
            zh=f"{path}:剔除错误行后没有剩余数据;请检查标签取值",
        )
    mended = tuple(Mended(f.kind, f.column, len(f.at)) for f in faults)
    return Reading(_cohort(decoded, mapping, at, keep), at[keep], mended)


def pool(
    names: NDArray[np.object_], rest: NDArray[np.object_] | None, min_rows: int
) -> NDArray[np.str_]:
    """Pool small institutions.

    Institutions of fewer than ``min_rows`` rows, and rows without one, become ``rest:VALUE`` by
    the column ``rest``; pools that are still too small, and rows without a value, become ``rest``.

    Parameters
    ----------
    names, rest : ndarray of object, shape (n,)
        Institution and pooling column of each row; None where unknown.

    Examples
    --------
    >>> names = np.array(["a", "a", "b", "c", None], object)
    >>> pool(names, np.array(["X", "X", "Y", "Y", "Z"], object), 2).tolist()
    ['a', 'a', 'rest:Y', 'rest:Y', 'rest']
    """
    known = np.array(["" if v is None else v for v in names], np.str_)
    small = _small(known, min_rows)
    if rest is None:
        pooled = np.full(len(known), "rest")
    else:
        pooled = np.array(["rest" if v is None else f"rest:{v}" for v in rest], np.str_)
        few = np.zeros(len(known), np.bool_)
        few[small] = _small(pooled[small], min_rows)
        pooled = np.where(few, "rest", pooled)
    return np.where(small, pooled, known)


def _small(names: NDArray[np.str_], min_rows: int) -> NDArray[np.bool_]:
    _, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    return np.asarray((counts[inverse] < min_rows) | (names == ""), np.bool_)


def _cohort(
    decoded: Decoded, mapping: Mapping, rows: NDArray[np.int64], keep: NDArray[np.bool_]
) -> Cohort:
    where = mapping.institution
    n = int(keep.sum())
    if decoded.institution is not None and where is not None:
        rest = None if decoded.rest is None else decoded.rest[keep]
        institution = pool(decoded.institution[keep], rest, where.min_rows)
    else:
        institution = np.full(n, where.name if where and where.name else mapping.name)
    if decoded.key is None:  # a key of its own for each row, so that hold-outs are stable
        key = np.array([f"{mapping.name}:{row}" for row in rows[keep]])
    else:
        key = decoded.key[keep].astype(np.str_)
    extra = {name: column[keep] for name, column in decoded.extra.items()}
    cohort = Cohort(
        catalogue=mapping.catalogue,
        values=decoded.values[keep],
        label=decoded.label[keep],
        key=key,
        institution=institution,
        date=None if decoded.date is None else decoded.date[keep],
        weight=extra.pop("weight", None),
        extra=extra,
    )
    if where is not None and where.skewed is not None:
        skew = where.skewed
        cohort = partition(cohort, skew.count, skew.seed, skew.by, min_rows=skew.min_rows)
    return cohort
