"""From raw cells to numbers, categories, labels and dates, with every fault noted.

`decode` is the one reading of a file: `haihe_fl.data.readers` makes a cohort of it, and
`haihe_fl.data.checks` a report, so that what is checked is what is trained on.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from haihe_fl.data import cells
from haihe_fl.data.catalogue import Feature
from haihe_fl.data.files import RawTable
from haihe_fl.data.mapping import Kind, Mapping
from haihe_fl.data.sources import Derived, SectorSource, Source

_AMOUNTS = {
    "ead": Feature(name="ead", range=(0, 1e15)),
    "lgd": Feature(name="lgd", range=(0, 1)),
    "weight": Feature(name="weight", range=(0, 1e12)),
}


@dataclass(frozen=True)
class CellFault:
    """Faults of one kind in one column.

    Attributes
    ----------
    kind : str
        A `Kind`, and so what ``on_fault`` of the mapping speaks of.
    column : str
        Column of the file, or derived.
    at : ndarray of intp, shape (k,)
        Positions of the faulty records, ascending.
    values : list of str, length k
        The cells as they stand.
    feature : Feature, optional
        The feature whose domain is broken.
    """

    kind: Kind
    column: str
    at: NDArray[np.intp]
    values: list[str]
    feature: Feature | None = None


@dataclass
class Decoded:
    """All records of a file in catalogue order; faulty cells are clipped or missing.

    ``label`` is -1 where it is faulty. ``missing`` names the columns that the file lacks.
    """

    values: NDArray[np.float32]
    label: NDArray[np.int8]
    key: NDArray[np.object_] | None
    institution: NDArray[np.object_] | None
    rest: NDArray[np.object_] | None
    date: NDArray[np.datetime64] | None
    extra: dict[str, NDArray[Any]]
    faults: list[CellFault] = field(default_factory=list)
    missing: tuple[str, ...] = ()


def decode(raw: RawTable, mapping: Mapping) -> Decoded:
    """Decode every record of a table, in the table's order."""
    return _Decoder(raw, mapping).run()


class _Decoder:
    def __init__(self, raw: RawTable, mapping: Mapping) -> None:
        self.mapping = mapping
        self.n = len(raw)
        self.cells: dict[str, pa.Array] = dict(raw.columns)
        self.faults: dict[tuple[Kind, str, Feature | None], CellFault] = {}
        self.missing = tuple(c for c in mapping.needed if c not in raw.header)

    def run(self) -> Decoded:
        for name, derived in self.mapping.derive.items():
            if all(c in self.cells for c in derived.of):
                self.cells[name] = self._derive(derived)
        m = self.mapping
        values = np.full((self.n, len(m.catalogue.features)), np.nan, np.float32)
        for j, feature in enumerate(m.catalogue.features):
            source = m.source(feature.name)
            if source is not None and source.column in self.cells:
                values[:, j] = self._feature(feature, source)
        extra: dict[str, NDArray[Any]] = {}
        for name, domain in _AMOUNTS.items():
            source = getattr(m, name)
            if source is not None and source.column in self.cells:
                extra[name] = self._feature(domain, source).astype(np.float32)
        if m.sector is not None and m.sector.column in self.cells:
            extra["sector"] = self._sector(m.sector)
        where = m.institution
        decoded = Decoded(
            values,
            self._label(),
            self._plain(m.key.column if m.key else None),
            self._plain(where.column if where else None),
            self._plain(where.rest if where else None),
            self._date(),
            extra,
            missing=self.missing,
        )
        self._keys(decoded)
        decoded.faults = list(self.faults.values())
        return decoded

    def _fault(
        self, kind: Kind, column: str, wrong: NDArray[np.bool_], feature: Feature | None = None
    ) -> None:
        at = np.flatnonzero(wrong)
        if at.size and (kind, column, feature) not in self.faults:
            shown = ["" if v is None else str(v) for v in self.cells[column].take(at).to_pylist()]
            self.faults[kind, column, feature] = CellFault(kind, column, at, shown, feature)

    def _number(self, source: Source, codes: tuple[str | float, ...] = ()) -> NDArray[np.float64]:
        """Numbers of a column, NaN where missing or wrong; wrong cells are noted."""
        column = self.cells[source.column]
        if cells.is_number(column.type) and not source.values:
            values = cells.floats(column)
            wrong = np.isinf(values)
        else:
            text = self._text(source, codes)
            good = pc.match_substring_regex(text, cells.NUMBER)
            values = cells.floats(pc.if_else(good, text, pa.scalar(None, pa.string())))
            wrong = cells.mask(pc.invert(good)) | np.isinf(values)
        gone = [float(c) for c in (*codes, *source.missing) if cells.is_float(c)]
        if gone:
            values[np.isin(values, gone)] = np.nan
        values[wrong] = np.nan
        self._fault("type", source.column, wrong)
        return values * source.factor

    def _text(self, source: Source, codes: tuple[str | float, ...] = ()) -> pa.Array:
        """Texts of a column in canonical form, renamed, null where missing."""
        text = cells.trimmed(self.cells[source.column])
        for mark in source.strip:
            text = pc.replace_substring(text, mark, "")
        text = cells.canonical(text)
        gone = [cells.canonical_text(str(c)) for c in (*codes, *source.missing)]
        if gone:
            text = pc.if_else(pc.is_in(text, pa.array(gone)), pa.scalar(None, pa.string()), text)
        return cells.renamed(text, source.values)

    def _feature(self, feature: Feature, source: Source) -> NDArray[np.float64]:
        if feature.kind == "category":
            names = pa.array([cells.canonical_text(c) for c in feature.categories or ()])
            text = self._text(source, feature.missing)
            place = pc.index_in(text, names)
            values = cells.floats(place)
            unknown = cells.mask(pc.is_valid(text)) & np.isnan(values)
            self._fault("category", source.column, unknown, feature)
            return values
        assert feature.range is not None
        low, high = feature.range
        values = self._number(source, feature.missing)
        slack = 1e-9 * (high - low)  # a factor may round
        outside = (values < low - slack) | (values > high + slack)
        self._fault("range", source.column, outside, feature)
        return np.clip(values, low, high)

    def _sector(self, source: SectorSource) -> NDArray[np.str_]:
        text = self._text(source)
        if source.other is not None:
            raw = self._text(source.model_copy(update={"values": {}}))
            text = pc.if_else(cells.member(raw, tuple(source.values)), text, source.other)
        return np.array(cells.objects(text, ""), np.str_)

    def _label(self) -> NDArray[np.int8]:
        source = self.mapping.label
        label = np.full(self.n, -1, np.int8)
        if source.column in self.cells:
            text = cells.canonical(cells.trimmed(self.cells[source.column]))
            positive = cells.member(text, source.positive)
            if source.negative is None:
                label[cells.mask(pc.is_valid(text))] = 0
            else:
                label[cells.member(text, source.negative)] = 0
            label[positive] = 1
            self._fault("label", source.column, label < 0)
        return label

    def _plain(self, column: str | None) -> NDArray[np.object_] | None:
        if column is None or column not in self.cells:
            return None
        return cells.objects(self._text(Source(column=column)), None)

    def _date(self) -> NDArray[np.datetime64] | None:
        source = self.mapping.date
        if source is None or source.column not in self.cells:
            return None
        return self._days(source.column, source.format, source.origin).astype("datetime64[D]")

    def _days(
        self, column: str, form: str | None, origin: date | None = None
    ) -> NDArray[np.datetime64]:
        raw = self.cells[column]
        if pa.types.is_temporal(raw.type):
            return np.asarray(raw.cast(pa.date32()).to_numpy(zero_copy_only=False), "datetime64[D]")
        if origin is not None:
            count = self._number(Source(column=column))
            start = np.where(np.isnan(count), np.datetime64("NaT"), np.datetime64(origin, "D"))
            return np.asarray(start + np.nan_to_num(count).astype("timedelta64[D]"))
        text = cells.canonical(cells.trimmed(raw))
        parsed = pd.to_datetime(
            pd.Series(cells.objects(text, None)), format=form or "ISO8601", errors="coerce"
        )
        days: NDArray[np.datetime64] = parsed.to_numpy().astype("datetime64[D]")
        self._fault("type", column, np.isnat(days) & cells.mask(pc.is_valid(text)))
        return days

    def _keys(self, decoded: Decoded) -> None:
        """Note empty keys, and records that repeat borrower, institution and date."""
        source = self.mapping.key
        if source is None or decoded.key is None:
            return
        same = pd.DataFrame({"key": decoded.key})
        if decoded.institution is not None:
            same["institution"] = decoded.institution
        if decoded.date is not None:
            same["date"] = decoded.date
        wrong = same["key"].isna() | same.duplicated()
        self._fault("key", source.column, wrong.to_numpy(np.bool_))

    def _derive(self, derived: Derived) -> pa.Array:
        """Return a derived column; faults of its inputs are noted under their own names."""
        of = derived.of
        if derived.op == "prefix":
            text = self._text(Source(column=of[0], missing=("0",)))
            return pc.utf8_slice_codeunits(text, 0, int(derived.by))
        if derived.op == "same":
            first, second = (self._text(Source(column=c)) for c in of)
            return pc.cast(pc.equal(first, second), pa.int8())
        if derived.op in ("year", "days"):
            dates = [self._days(c, derived.format) for c in of]
            if derived.op == "days":
                return cells.array((dates[1] - dates[0]) / np.timedelta64(1, "D"))
            years = dates[0].astype("datetime64[Y]").astype(np.float64) + 1970
            return cells.array(np.where(np.isnat(dates[0]), np.nan, years))
        first, *others = (self._number(Source(column=c)) for c in of)
        with np.errstate(divide="ignore", invalid="ignore"):
            match derived.op:
                case "ratio":
                    first = np.where(others[0] == 0, np.nan, first / others[0])
                case "difference":
                    first = first - others[0]
                case "sum":
                    first = np.sum([first, *others], axis=0)
                case "above":
                    first = np.where(np.isnan(first), np.nan, first > derived.by)
        return cells.array(first)
