"""Cells of a column in Arrow: texts in canonical form, numbers, masks."""

import math

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

#: What counts as a number in a text file: no thousands separators, no infinity.
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def array(values: NDArray[np.float64]) -> pa.Array:
    """Return numbers as Arrow, null where NaN."""
    return pa.array(values, from_pandas=True)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type of a Parquet file holds numbers."""
    t = pa.types
    return bool(
        t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind) or t.is_boolean(kind)
    )


def is_float(code: str | float) -> bool:
    """Whether a code can be read as a finite number."""
    try:
        return math.isfinite(float(code))
    except ValueError:
        return False


def floats(column: pa.Array) -> NDArray[np.float64]:
    """Return a column of numbers, or of their texts, as float64; NaN where null."""
    values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    return np.array(values, np.float64)


def trimmed(column: pa.Array) -> pa.Array:
    """Text of a column of any type, without outer blanks; null where nothing is left."""
    if pa.types.is_floating(column.type):  # 68020.0 is the code 68020, and never 6.802e4
        values = floats(column)
        if np.all(np.isnan(values) | (np.mod(values, 1) == 0)):
            column = pc.cast(array(values), pa.int64())
    elif pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    elif pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def canonical(text: pa.Array) -> pa.Array:
    """Write whole numbers without a decimal point: ``1.0`` and ``1`` are one code."""
    return pc.replace_substring_regex(text, r"^([+-]?\d+)\.0+$", r"\1")


def canonical_text(text: str) -> str:
    """Do as `canonical` for one text.

    Examples
    --------
    >>> canonical_text(" 722110.0 "), canonical_text("01"), canonical_text("v1.0")
    ('722110', '01', 'v1.0')
    """
    head, dot, tail = text.strip().partition(".")
    return head if dot and tail.strip("0") == "" and head.lstrip("+-").isdigit() else text.strip()


def renamed(text: pa.Array, values: dict[str, str]) -> pa.Array:
    """Replace texts by their names; those without one stay."""
    if not values:
        return text
    place = pc.index_in(text, pa.array([canonical_text(k) for k in values]))
    return pc.coalesce(pa.array(list(values.values())).take(place), text)


def member(text: pa.Array, values: tuple[str, ...]) -> NDArray[np.bool_]:
    """Mark the texts that are among some values."""
    wanted = pa.array([canonical_text(v) for v in values])
    return mask(pc.is_in(text, wanted))


def mask(flags: pa.Array) -> NDArray[np.bool_]:
    """Return flags as an array; null counts as false."""
    return np.asarray(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), np.bool_)


def objects(text: pa.Array, null: str | None) -> NDArray[np.object_]:
    """Return texts as Python objects, with ``null`` where there is none."""
    return np.array([null if v is None else v for v in text.to_pylist()], dtype=np.object_)
