"""Enterprises and the edges between them, checked and joined over institutions."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array  # type: ignore[import-untyped]

from haihe_fl.errors import UserError

Floats = NDArray[np.float64]
Index = NDArray[np.int64]
_LAYERS = {"guarantee": "担保", "supply": "供应链"}


class EdgeTable(Protocol):
    """Edges between positions or ids, such as :class:`haihe_fl.data.synth.networks.Edges`."""

    @property
    def source(self) -> NDArray[Any]:
        """Guarantor, or supplier."""

    @property
    def target(self) -> NDArray[Any]:
        """Borrower, or buyer."""

    @property
    def amount(self) -> Floats:
        """Guaranteed amount, or receivable, CNY."""


@dataclass(frozen=True, eq=False)
class Links:
    """Edges of one institution; ``source`` and ``target`` are ids."""

    source: NDArray[Any]
    target: NDArray[Any]
    amount: Floats


def hash_ids(keys: ArrayLike, secret: bytes) -> NDArray[np.str_]:
    """Return what stands for each enterprise's key where edges of several institutions meet.

    HMAC-SHA-256, 128 bits. Keys can be guessed one by one by whoever holds the secret, so these
    are pseudonyms for a registry or a private set intersection, and no anonymous data.

    Examples
    --------
    >>> hash_ids(["91120116MA05UWQ12L"], b"example").tolist()
    ['dec4d82b5189e11a74873960bb4bed4c']
    """
    rows = np.asarray(keys, dtype=np.str_).ravel()
    digests = [hmac.digest(secret, str(k).encode(), hashlib.sha256)[:16].hex() for k in rows]
    return np.array(digests, dtype="U32")


def check_ids(names: NDArray[Any], order: NDArray[np.intp]) -> None:
    """Refuse ids that stand twice or are empty (H2543); ``order`` sorts them."""
    ranked = names[order]
    if len(twice := np.flatnonzero(ranked[1:] == ranked[:-1])):
        row = int(order[twice[0] + 1]) + 1
        raise UserError(
            "H2543",
            en=f"enterprises, row {row}: id {str(names[row - 1])!r} stands twice; "
            "give each enterprise one row",
            zh=f"企业表第 {row} 行:标识 {str(names[row - 1])!r} 重复;每家企业只应有一行",
        )
    if len(names) == 0 or (names.dtype.kind == "U" and not (names != "").all()):
        raise UserError(
            "H2543",
            en="enterprises: there is none, or one has an empty id; fill in or drop the row",
            zh="企业表为空,或有企业缺少标识;请补全或剔除该行",
        )


def column(name: str, given: ArrayLike, n: int, *, signed: bool = False) -> Floats:
    """Return a column of the enterprises (H2544)."""
    values = np.asarray(given, dtype=np.float64)
    fine = np.isfinite(values) & (signed | (values >= 0))
    if values.shape != (n,) or not fine.all():
        row = int(np.flatnonzero(~fine.ravel())[0]) + 1 if not fine.all() else 0
        bad = f"row {row} is {values.ravel()[row - 1]}" if row else f"shape {values.shape}"
        raise UserError(
            "H2544",
            en=f"enterprises, {name}: {bad}; give {n} finite amounts in CNY"
            + ("" if signed else ", none negative"),
            zh=f"企业表 {name} 列有误({bad});应为 {n} 个有限金额(元)"
            + ("" if signed else ",不得为负"),
        )
    return values


def matrix(
    layer: str,
    edges: EdgeTable,
    names: NDArray[Any],
    order: NDArray[np.intp],
) -> csr_array:
    """Return amounts by target (row) and source (column); H2540, H2541, H2542."""
    source = positions(np.asarray(edges.source), names, order, layer)
    target = positions(np.asarray(edges.target), names, order, layer)
    amount = np.asarray(edges.amount, dtype=np.float64)
    if not source.shape == target.shape == amount.shape:
        shapes = f"{source.shape}, {target.shape}, {amount.shape}"
        raise _wrong_edge(
            "H2542", layer, 0, f"columns differ ({shapes})", f"各列长度不同({shapes})"
        )
    if len(bad := np.flatnonzero(~(np.isfinite(amount) & (amount >= 0)))):
        what = f"amount {amount[bad[0]]}"
        raise _wrong_edge(
            "H2542", layer, int(bad[0]) + 1, f"{what} is not a finite amount of 0 or more",
            f"金额 {amount[bad[0]]} 应为有限的非负数",
        )  # fmt: skip
    if len(loops := np.flatnonzero(source == target)):
        who = str(names[source[loops[0]]])
        raise _wrong_edge(
            "H2541", layer, int(loops[0]) + 1, f"{who!r} stands at both ends; drop the edge",
            f"{who!r} 同时为两端;请删除该条",
        )  # fmt: skip
    held = amount > 0
    n = len(names)
    joined = coo_array((amount[held], (target[held], source[held])), shape=(n, n)).tocsr()
    joined.sum_duplicates()
    return joined


def positions(
    wanted: NDArray[Any], names: NDArray[Any], order: NDArray[np.intp], layer: str
) -> Index:
    """Return the position of each wanted id or position (H2540)."""
    if wanted.dtype.kind in "iu":
        found = wanted.astype(np.int64)
        absent = (found < 0) | (found >= len(names))
    else:
        at = np.searchsorted(names, wanted, sorter=order).clip(max=len(names) - 1)
        found = order[at].astype(np.int64)
        absent = names[found] != wanted
    if absent.any():
        row = int(np.flatnonzero(absent)[0])
        raise _wrong_edge(
            "H2540", layer, row + 1, f"no enterprise {str(wanted[row])!r}; add it or drop the row",
            f"没有企业 {str(wanted[row])!r};请补充该企业或删除该行",
        )  # fmt: skip
    return found


def _wrong_edge(code: str, layer: str, row: int, en: str, zh: str) -> UserError:
    return UserError(
        code,
        en=f"{layer}{f', row {row}' if row else ''}: {en}",
        zh=f"{_LAYERS.get(layer, layer)}{f'第 {row} 行' if row else ''}:{zh}",
    )
