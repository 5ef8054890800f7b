"""The hash chain of the privacy ledger, what it says when replayed, and its witness file."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from haihe_fl.errors import IntegrityError
from haihe_fl.privacy.events import Event, event_from_json, event_to_json

GENESIS = "0" * 64


@dataclass(frozen=True)
class Head:
    """Number and hash of the last entry of a chain."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Attributes
    ----------
    seq : int
        1, 2, 3, ... without gaps; the order of things, whatever the clock said.
    time : str
        UTC, ISO 8601; for people only.
    kind : {"open", "reserve", "charge", "exact", "close"}
        What happened; ``exact``: a sum without noise left, which no epsilon covers.
    run, release, model : str
        To what; empty where it does not apply.
    event : str
        JSON: the institution (open), events by release (reserve), one event (charge).
    prev, hash : str
        SHA-256 of the entry before, and of this one with ``prev`` in it.
    """

    seq: int
    time: str
    kind: str
    run: str
    release: str
    model: str
    event: str
    prev: str
    hash: str = ""

    def digest(self) -> str:
        """Return the SHA-256 that ``hash`` must hold."""
        values = [getattr(self, f.name) for f in fields(self) if f.name != "hash"]
        return hashlib.sha256(json.dumps(values, ensure_ascii=True).encode()).hexdigest()


@dataclass
class State:
    """What a chain says: plans, charges and ends of runs."""

    hashes: list[str] = field(default_factory=list)
    institution: str = ""
    plans: dict[str, dict[str, Event]] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    charged: dict[str, dict[str, Event]] = field(default_factory=dict)
    exact: dict[str, set[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    @property
    def head(self) -> Head:
        """Number and hash of the last entry."""
        return Head(len(self.hashes), self.hashes[-1] if self.hashes else GENESIS)

    @property
    def committed(self) -> dict[str, dict[str, Event]]:
        """Events by run that are charged, or reserved by a run still open."""
        return {
            run: self.charged[run] if run in self.closed else self.plans[run] for run in self.plans
        }

    def extend(self, entries: Iterable[Entry]) -> None:
        """Check and take further entries.

        Raises
        ------
        IntegrityError
            H5203, naming the first entry that does not follow.
        """
        for entry in entries:
            try:
                follows = (
                    entry.seq == self.head.seq + 1
                    and entry.prev == self.head.hash
                    and entry.hash == entry.digest()
                    and (entry.kind == "open") == (entry.seq == 1)
                )
                if follows:
                    self._take(entry)
            except (KeyError, TypeError, ValueError, AttributeError, IntegrityError):
                follows = False
            if not follows:
                raise IntegrityError(
                    "H5203",
                    en=f"the privacy ledger was altered at or before entry {self.head.seq + 1}; "
                    "stop taking part and call the auditor",
                    zh=f"隐私台账在第 {self.head.seq + 1} 条或之前被改动;请停止参与并联系审计人员",
                )
            self.hashes.append(entry.hash)

    def require(self, witness: Head | None, path: Path) -> None:
        """Refuse a chain, read from ``path``, in which the witness does not stand (H5202)."""
        if witness is None or not 1 <= witness.seq <= self.head.seq:
            seen = "no witness" if witness is None else f"entry {witness.seq}"
        elif self.hashes[witness.seq - 1] != witness.hash:
            seen = f"another entry {witness.seq}"
        else:
            return
        raise IntegrityError(
            "H5202",
            en=f"{path} ends at entry {self.head.seq} but its witness knows {seen}: it was "
            "deleted or an old copy was put back; restore the newest copy or call the auditor",
            zh=f"{path} 止于第 {self.head.seq} 条,与见证文件({seen})不符:"
            "台账被删除或恢复成旧副本;请恢复最新副本或联系审计人员",
        )

    def _take(self, entry: Entry) -> None:
        match entry.kind:
            case "open":
                self.institution = json.loads(entry.event)["institution"]
            case "reserve":
                events = json.loads(entry.event)
                self.plans[entry.run] = {n: event_from_json(e) for n, e in events.items()}
                self.models[entry.run] = entry.model
                self.charged[entry.run] = {}
            case "charge":
                self.charged[entry.run][entry.release] = event_from_json(entry.event)
            case "exact":
                self.plans[entry.run]  # nothing leaves outside a run
                self.exact.setdefault(entry.run, set()).add(entry.release)
            case "close":
                self.plans[entry.run]  # a run that never was cannot end
                self.closed.add(entry.run)
            case _:
                raise ValueError(entry.kind)


def replay(entries: Iterable[Entry]) -> State:
    """Return what a chain says, checking every link."""
    state = State()
    state.extend(entries)
    return state


def payload(content: dict[str, Event] | Event | str | None) -> str:
    """Return the text of an entry's ``event``."""
    match content:
        case None:
            return ""
        case str():
            return _canonical({"institution": content})
        case dict():
            return _canonical({name: event_to_json(event) for name, event in content.items()})
        case _:
            return event_to_json(content)


def read_witness(path: Path) -> Head | None:
    """Return the head in a witness file, or None if there is no such file."""
    try:
        content = json.loads(path.read_bytes())
        return Head(int(content["seq"]), str(content["hash"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Head(-1, "unreadable")


def write_witness(path: Path, head: Head) -> None:
    """Put the head into a witness file, durably and whole."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w") as file:
        file.write(_canonical({"seq": head.seq, "hash": head.hash}))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
