"""A borrower's record as it comes over the wire: checked, then put in catalogue order."""

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.errors import UserError

OutOfRange = Literal["error", "clip"]
Row = Mapping[str, object]


class FieldError(UserError):
    """A borrower's record is wrong at one field; ``row`` counts from 0 within the batch."""

    def __init__(self, code: str, *, en: str, zh: str, field: str = "", row: int = 0) -> None:
        super().__init__(code, en=en, zh=zh)
        self.field = field
        self.row = row


class RecordEncoder:
    """Turns records with names and categories into the columns of a catalogue, checking all.

    Parameters
    ----------
    catalogue : FeatureCatalogue
        What a record may hold.
    out_of_range : {"error", "clip"}
        What to do with a number outside its feature's public range.
    """

    def __init__(self, catalogue: FeatureCatalogue, out_of_range: OutOfRange = "error") -> None:
        self.catalogue = catalogue
        self.out_of_range = out_of_range
        self._names = frozenset(catalogue.names)
        self._missing = [frozenset(f.missing) for f in catalogue.features]
        self._codes = [
            {name: float(i) for i, name in enumerate(f.categories or ())}
            for f in catalogue.features
        ]

    def encode(
        self, rows: Sequence[Row]
    ) -> tuple[NDArray[np.float32], dict[int, FieldError], dict[int, list[str]]]:
        """Encode records.

        Returns
        -------
        values : ndarray of float32, shape (n, d)
            NaN where a feature is absent, None, NaN or one of its declared missing codes.
        faults : dict of int to FieldError
            First fault of each faulty row.
        clipped : dict of int to list of str
            Features of each row that were clipped.
        """
        faults: dict[int, FieldError] = {}
        clipped: dict[int, list[str]] = {}
        for i, row in enumerate(rows):
            if not self._names.issuperset(row):
                unknown = min(str(name) for name in row if name not in self._names)
                faults[i] = self._unknown(unknown, i)
            elif not row:
                faults[i] = FieldError(
                    "H2404",
                    en="the borrower has no feature at all; send at least one",
                    zh="该借款人没有任何特征,请至少提供一个",
                    row=i,
                )
        values = np.full((len(rows), len(self.catalogue.features)), np.nan)
        for j, feature in enumerate(self.catalogue.features):
            column = values[:, j]
            for i, row in enumerate(rows):
                given = row.get(feature.name)
                if given is None or i in faults:
                    continue
                code = self._code(j, feature, given)
                if isinstance(code, float):
                    column[i] = code
                else:
                    faults[i] = _wrong(feature, given, i)
            if feature.range is not None:
                self._check_range(feature, column, faults, clipped)
        return values.astype(np.float32), faults, clipped

    def _code(self, j: int, feature: Feature, given: object) -> float | None:
        """Return the number that stands for a value, NaN if missing, None if it is no value."""
        if isinstance(given, np.generic):
            given = given.item()
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            return None
        if given in self._missing[j] or given != given:
            return math.nan
        if feature.kind == "category":
            return self._codes[j].get(given) if isinstance(given, str) else None
        if isinstance(given, str):
            return None
        try:
            return float(given)
        except OverflowError:
            return math.inf if given > 0 else -math.inf

    def _check_range(
        self,
        feature: Feature,
        column: NDArray[np.float64],
        faults: dict[int, FieldError],
        clipped: dict[int, list[str]],
    ) -> None:
        low, high = feature.range or (-math.inf, math.inf)
        for i in np.flatnonzero((column < low) | (column > high)).tolist():
            if self.out_of_range == "clip":
                clipped.setdefault(i, []).append(feature.name)
            else:
                faults.setdefault(i, _outside(feature, float(column[i]), i))
        np.clip(column, low, high, out=column)

    def _unknown(self, name: str, row: int) -> FieldError:
        folded = {known.lower(): known for known in self.catalogue.names}
        near = [
            folded[m] for m in difflib.get_close_matches(name.lower()[:100], folded, 3, cutoff=0.5)
        ]
        shown = name[:60]
        return FieldError(
            "H2403",
            en=f"unknown feature {shown!r}"
            + (f"; did you mean {', '.join(near)}?" if near else "; GET /v1/model lists them all"),
            zh=f"未知特征 {shown!r}"
            + (f";是否为 {'、'.join(near)}?" if near else ";全部特征见 GET /v1/model"),
            field=shown,
            row=row,
        )


def domain(feature: Feature) -> str:
    """Return what a feature may hold, as a text for both languages.

    A long list of categories is cut to its first twelve.
    """
    if feature.categories:
        shown = ", ".join(feature.categories[:12])
        return f"{{{shown}{', ...' if len(feature.categories) > 12 else ''}}}"
    low, high = feature.range or (-math.inf, math.inf)
    return f"[{low:.12g}, {high:.12g}]{' ' + feature.unit if feature.unit else ''}"


def _wrong(feature: Feature, given: object, row: int) -> FieldError:
    text = isinstance(given, str)
    shown = repr(given[:60]) if isinstance(given, str) else type(given).__name__
    if feature.kind == "category" and text:
        code, en, zh = "H2406", f"has no category {shown}", f"没有类别 {shown}"
    else:
        kind = ("a category name", "类别名称") if feature.categories else ("a number", "数字")
        code, en, zh = "H2405", f"must be {kind[0]}, not {shown}", f"应为{kind[1]},而不是 {shown}"
    return FieldError(
        code,
        en=f"feature {feature.name} {en}; allowed: {domain(feature)}, or null if missing",
        zh=f"特征 {feature.name} {zh};允许:{domain(feature)},缺失请填 null",
        field=feature.name,
        row=row,
    )


def _outside(feature: Feature, value: float, row: int) -> FieldError:
    return FieldError(
        "H2407",
        en=f"feature {feature.name} is {value:.12g}, outside {domain(feature)}; "
        "check its unit, or send null if missing",
        zh=f"特征 {feature.name} 为 {value:.12g},超出 {domain(feature)};请检查单位,缺失请填 null",
        field=feature.name,
        row=row,
    )


def example_row(catalogue: FeatureCatalogue) -> dict[str, float | str]:
    """Return a made-up borrower, towards the safe end of every feature's public domain."""
    row: dict[str, float | str] = {}
    for f in catalogue.features:
        if f.categories:
            row[f.name] = f.categories[0]
            continue
        low, high = f.range or (0.0, 1.0)
        at = {1: 0.1, 0: 0.5, -1: 0.7}[f.direction]
        if f.scale == "log":
            a, b = math.asinh(low), math.asinh(high)
            value = math.sinh(a + at * (b - a))
        else:
            value = low + at * (high - low)
        row[f.name] = min(max(float(f"{value:.2g}"), low), high)
    return row
