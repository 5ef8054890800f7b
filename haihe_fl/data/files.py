"""Files as they lie on a bank's disk: CSV, Parquet and ARFF, plain or gzipped.

Only the columns that a mapping needs are read. Cells of text formats stay text here, so that a
cell that is no number can be shown as it stands, with its row, instead of failing the file.
"""

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from haihe_fl.data.sources import FileFormat
from haihe_fl.errors import UserError

_FORMATS = {".csv": "csv", ".txt": "csv", ".tsv": "csv", ".parquet": "parquet", ".arff": "arff"}


@dataclass(frozen=True)
class RawTable:
    """The needed columns of a file.

    Attributes
    ----------
    columns : dict of str to pyarrow.Array
        Cells by column; text for CSV and ARFF, null where the cell is empty.
    rows : ndarray of int64, shape (n,)
        Row of each record as a person counts it in the file: the header of a CSV is row 1, the
        first record of a Parquet file is row 1. A line break inside a quoted cell starts no row.
    header : tuple of str
        Every column of the file, needed or not.
    ragged : tuple of (int, str)
        Rows with too many or too few cells, and their text: they are not among the records.
    """

    columns: dict[str, pa.Array]
    rows: NDArray[np.int64]
    header: tuple[str, ...]
    ragged: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def open_table(path: Path, needed: Sequence[str], file: FileFormat) -> RawTable:
    """Read the needed columns of a file; those that it lacks are left out.

    Raises
    ------
    UserError
        H2020 if the file cannot be read, H2021 if its format is unknown, H2022 if its encoding
        is another, H2023 if its contents are damaged, H2024 if it holds no records.
    """
    form = file.format or _FORMATS.get(Path(path.name.lower().removesuffix(".gz")).suffix)
    if form is None:
        raise UserError(
            "H2021",
            en=f"{path}: cannot tell the format from the name; "
            "say file: {format: csv, parquet or arff} in the mapping",
            zh=f"{path}:无法由文件名判断格式;请在映射中写明 file: {{format: csv、parquet 或 arff}}",
        )
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise UserError(
            "H2020",
            en=f"cannot read {path}: {error}; check the path and that the file is whole",
            zh=f"无法读取 {path}:{error};请检查路径以及文件是否完整",
        ) from None
    try:
        table = _parquet(data, needed) if form == "parquet" else _text(data, form, needed, file)
    except (UnicodeDecodeError, LookupError) as error:
        raise _encoding(path, file, str(error)) from None
    except (pa.ArrowException, ValueError, csv.Error) as error:
        if "UTF8" in str(error):
            raise _encoding(path, file, str(error)) from None
        raise UserError(
            "H2023",
            en=f"{path} is no readable {form} file: {error}; export it again",
            zh=f"{path} 不是可读的 {form} 文件:{error};请重新导出",
        ) from None
    if not len(table) and not table.ragged:
        raise UserError(
            "H2024",
            en=f"{path} holds no records; check that the export is complete",
            zh=f"{path} 中没有记录;请检查导出是否完整",
        )
    return table


def _encoding(path: Path, file: FileFormat, why: str) -> UserError:
    return UserError(
        "H2022",
        en=f"{path} is not in encoding {file.encoding}: {why}; "
        "say file: {encoding: gb18030} (or the right one) in the mapping",
        zh=f"{path} 的编码不是 {file.encoding}:{why};"
        "请在映射中写明 file: {encoding: gb18030}(或实际编码)",
    )


def _parquet(data: bytes, needed: Sequence[str]) -> RawTable:
    file = pq.ParquetFile(pa.BufferReader(data))
    header = tuple(file.schema_arrow.names)
    # One thread: more would each keep memory of their own for as long as a node lives.
    table = file.read(columns=[c for c in needed if c in header], use_threads=False)
    columns = {name: _whole(table.column(name)) for name in table.column_names}
    return RawTable(columns, np.arange(1, file.metadata.num_rows + 1), header)


def _text(data: bytes, form: str, needed: Sequence[str], file: FileFormat) -> RawTable:
    if file.encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        data = data.decode(file.encoding).encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if form == "arff":
        header, data, before = _arff(data)
        delimiter, quote = ",", "'"
    else:
        delimiter, quote, before = file.delimiter, '"', 1
        text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
        header = tuple(c.strip() for c in next(csv.reader(text, delimiter=delimiter), ()))
    if not header or not data.strip():
        return RawTable({}, np.empty(0, np.int64), header)
    # Positions stand for names, so that spaces around a name, or one standing twice, do no harm.
    places = {c: str(header.index(c)) for c in needed if c in header}
    ragged: list[tuple[int, str]] = []

    def note(row: pa_csv.InvalidRow) -> str:
        ragged.append((before + int(row.number) - (form == "csv"), row.text))
        return "skip"

    table = pa_csv.read_csv(
        io.BytesIO(data),
        pa_csv.ReadOptions(
            use_threads=False,  # row numbers are known only then
            column_names=[str(i) for i in range(len(header))],
        ),
        pa_csv.ParseOptions(
            delimiter=delimiter,
            quote_char=quote,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=note,
        ),
        pa_csv.ConvertOptions(
            column_types={p: pa.string() for p in places.values()},
            include_columns=list(places.values()) or ["0"],
            null_values=[*file.missing, ""],
            strings_can_be_null=True,
        ),
    )
    start = before + (form == "arff")
    rows = np.arange(start, start + table.num_rows + len(ragged), dtype=np.int64)
    rows = rows[~np.isin(rows, [r for r, _ in ragged])]
    keep = np.zeros(table.num_rows, np.bool_)  # blank lines, and the header, are no records
    for column in table.columns:
        keep |= pc.is_valid(column).to_numpy()
    if form == "csv":
        keep[0] = False
    table = table.filter(pa.array(keep))
    columns = {name: _whole(table.column(place)) for name, place in places.items()}
    faults = tuple(r for r in ragged if form == "csv" or not r[1].startswith("%"))  # ARFF comments
    return RawTable(columns, rows[keep], header, faults)


def _arff(data: bytes) -> tuple[tuple[str, ...], bytes, int]:
    """Part an ARFF file into attribute names, data, and the number of lines before the data."""
    names: list[str] = []
    offset = 0
    for lines, line in enumerate(io.BytesIO(data), start=1):
        offset += len(line)
        words = line.decode().strip()
        if words.lower().startswith("@data"):
            return tuple(names), data[offset:], lines
        if words.lower().startswith("@attribute"):
            rest = words[len("@attribute") :].strip()
            quote = rest[0] if rest[:1] in ("'", '"') else ""
            names.append(rest[1:].split(quote, 1)[0] if quote else rest.split(None, 1)[0])
    raise ValueError("no @data line")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
