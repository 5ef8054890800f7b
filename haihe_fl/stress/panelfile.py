"""An institution's quarterly panel from a file: CSV or Parquet, plain or gzipped.

One row a cell, with the columns

========== ===========================================================================
quarter    ``2020Q1``; or 1, 2, 3 ... for an exercise without a calendar
sector     a sector of ``configs/scenarios.yaml``
grade      annual PD of the grade in a neutral quarter by the consortium's model, 0 to 1
performing borrowers that perform at the start of the quarter
defaults   those of them that default in it
========== ===========================================================================

Cells without a row hold nobody. Quarters must follow each other without a gap.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.files import RawTable, open_table
from haihe_fl.data.sources import FileFormat
from haihe_fl.errors import UserError
from haihe_fl.stress.macro import Quarter
from haihe_fl.stress.panels import PanelCounts
from haihe_fl.stress.run import shipped

COLUMNS = ("quarter", "sector", "grade", "performing", "defaults")
MOST_BORROWERS = 10**9
"""In one cell; keeps every sum over 10,000 institutions within 64 bits."""
MOST_CELLS = 20_000_000


def read_panel(path: Path, sectors: tuple[str, ...] | None = None) -> PanelCounts:
    """Read and check a panel.

    Parameters
    ----------
    path : Path
        See the module for its columns.
    sectors : tuple of str, optional
        Names in the order of the counts; those of the shipped scenarios if left out.

    Raises
    ------
    UserError
        H2587 for the first thing wrong, with its row and column; H2020 to H2024 if the file
        cannot be opened.
    """
    order = sectors or shipped()[0].sectors
    table = open_table(path, COLUMNS, FileFormat())
    if absent := [name for name in COLUMNS if name not in table.columns]:
        _refuse(path, f"the columns {', '.join(absent)} are missing", f"缺少列 {', '.join(absent)}")
    if table.ragged:
        row = table.ragged[0][0]
        _refuse(path, f"row {row} has another number of cells", f"第 {row} 行的单元格数不符")
    at, start = _quarters(path, table)
    known = {name: k for k, name in enumerate(order)}
    sector = _column(path, table, "sector", lambda cell: known[str(cell)], int)
    pd = _column(path, table, "grade", _within(float, 0.0, 1.0, ends=False), float)
    performing, defaults = (
        _column(path, table, name, _within(int, 0, MOST_BORROWERS), np.int64)
        for name in ("performing", "defaults")
    )
    if (more := defaults > performing).any():
        row = int(table.rows[more.argmax()])
        _refuse(path, f"row {row}: more defaults than borrowers", f"第 {row} 行违约数超过户数")
    grades, grade = np.unique(pd, return_inverse=True)
    shape = (int(at.max()) + 1, len(order), len(grades))
    if np.prod(shape, dtype=float) > MOST_CELLS:
        en = f"{shape[0]} quarters, {shape[1]} sectors and {shape[2]} grades are too many cells"
        _refuse(path, en, f"{shape[0]} 个季度、{shape[1]} 个行业、{shape[2]} 个等级,单元格过多")
    cell = np.ravel_multi_index((at, sector, grade), shape)
    first = np.unique(cell, return_index=True)[1]
    if len(first) < len(cell):
        row = int(table.rows[np.setdiff1d(np.arange(len(cell)), first)[0]])
        _refuse(path, f"row {row} repeats a cell", f"第 {row} 行与前面的单元格重复")
    counts = np.zeros((2, int(np.prod(shape))), np.int64)
    counts[:, cell] = performing, defaults
    n, d = counts.reshape(2, *shape)
    return PanelCounts(n, d, np.log(grades / (1.0 - grades)), start)


def _quarters(path: Path, table: RawTable) -> tuple[NDArray[np.int64], Quarter | None]:
    """Return the position of each row's quarter, and the first quarter if they are dated."""

    def parse(cell: Any) -> int:
        text = str(cell)
        if "Q" in text.upper():
            quarter = Quarter.parse(text)
            if not 1900 <= quarter.year <= 2200:
                raise ValueError
            return 4 * quarter.year + quarter.number - 1
        return int(_within(int, 1, 1000)(cell))

    number = _column(path, table, "quarter", parse, np.int64)
    found = np.unique(number)
    dated = bool(found[0] >= 4 * 1900)
    if (not dated and found[0] != 1) or len(found) != found[-1] - found[0] + 1:
        _refuse(
            path,
            "quarters must follow each other without a gap, all as 2020Q1 or all from 1 on",
            "季度须连续无间断,且统一写作 2020Q1 或自 1 起编号",
        )
    start = Quarter(int(found[0]) // 4, int(found[0]) % 4 + 1) if dated else None
    return number - found[0], start


def _within(
    kind: type[int] | type[float], low: float, high: float, *, ends: bool = True
) -> Callable[[Any], Any]:
    """Return a reader of numbers of one kind within a range, its ends included or not."""

    def read(cell: Any) -> Any:
        value = float(cell)
        whole = kind(value)
        inside = low <= value <= high if ends else low < value < high
        if not inside or whole != value:
            raise ValueError(cell)
        return whole

    return read


def _column(
    path: Path, table: RawTable, name: str, read: Callable[[Any], Any], dtype: Any
) -> NDArray[Any]:
    cells = table.columns[name].to_pylist()
    out = np.empty(len(cells), dtype)
    for k, cell in enumerate(cells):
        try:
            out[k] = read(cell)
        except (ValueError, TypeError, KeyError, OverflowError):
            row, shown = int(table.rows[k]), "" if cell is None else str(cell)[:40]
            _refuse(path, f"row {row}, {name}: {shown!r}", f"第 {row} 行 {name}:{shown!r}")
    return out


def _refuse(path: Path, en: str, zh: str) -> NoReturn:
    raise UserError(
        "H2587",
        en=f"panel {path}: {en}; see the quarterly panel in docs/satellite.md",
        zh=f"面板 {path}:{zh};格式见 docs/satellite.md 的季度面板一节",
    )
