"""What a party has decided to reveal, remembered so that it never says both.

For one (run, release) and one other party, either the seed of the mask that the two share may
leave (the other is missing) or the share of the other's self-mask (it survived). Both together
would open the other's upload.
"""

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from haihe_fl.errors import IntegrityError

Decision = Literal["upload", "pair", "share"]


class DecisionLog(Protocol):
    """Memory of decisions, by (run, release); every method is atomic and durable."""

    def uploaded(self, run: str, release: str) -> bool:
        """Return whether this party uploaded to the release."""

    def record_upload(self, run: str, release: str) -> None:
        """Note that this party uploads; H5211 if it did before."""

    def decided(self, run: str, release: str) -> dict[str, Decision]:
        """Return the decisions made so far, by party."""

    def decide(self, run: str, release: str, decisions: Mapping[str, Decision]) -> None:
        """Note decisions, all or none; H5211 if one contradicts an earlier one."""


class MemoryDecisionLog:
    """Decisions of a process that will not be restarted: simulations and tests."""

    def __init__(self) -> None:
        self._decisions: dict[tuple[str, str], dict[str, Decision]] = {}
        self._lock = threading.Lock()

    def uploaded(self, run: str, release: str) -> bool:
        """Return whether this party uploaded to the release."""
        return (run, release) in self._decisions

    def record_upload(self, run: str, release: str) -> None:
        """Note that this party uploads; H5211 if it did before."""
        with self._lock:
            if self.uploaded(run, release):
                raise contradiction(run, release)
            self._decisions[run, release] = {}

    def decided(self, run: str, release: str) -> dict[str, Decision]:
        """Return the decisions made so far, by party."""
        return dict(self._decisions.get((run, release), {}))

    def decide(self, run: str, release: str, decisions: Mapping[str, Decision]) -> None:
        """Note decisions, all or none; H5211 if one contradicts an earlier one."""
        with self._lock:
            known = self._decisions.setdefault((run, release), {})
            if any(known.get(party, what) != what for party, what in decisions.items()):
                raise contradiction(run, release)
            known.update(decisions)


class SQLiteDecisionLog:
    """Decisions that survive a restart.

    Parameters
    ----------
    path : Path
        SQLite file; made if there is none.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS decisions (run TEXT, release TEXT, party TEXT,"
            " decision TEXT NOT NULL, PRIMARY KEY (run, release, party)) WITHOUT ROWID"
        )

    def uploaded(self, run: str, release: str) -> bool:
        """Return whether this party uploaded to the release."""
        return "" in self._read(run, release)

    def record_upload(self, run: str, release: str) -> None:
        """Note that this party uploads; H5211 if it did before."""
        try:
            with self._lock:
                self._db.execute(
                    "INSERT INTO decisions VALUES (?, ?, '', 'upload')", (run, release)
                )
        except sqlite3.IntegrityError:
            raise contradiction(run, release) from None

    def decided(self, run: str, release: str) -> dict[str, Decision]:
        """Return the decisions made so far, by party."""
        return {party: what for party, what in self._read(run, release).items() if party}

    def decide(self, run: str, release: str, decisions: Mapping[str, Decision]) -> None:
        """Note decisions, all or none; H5211 if one contradicts an earlier one."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                known = self._read(run, release)
                if any(known.get(party, what) != what for party, what in decisions.items()):
                    raise contradiction(run, release)
                rows = [(run, release, party, what) for party, what in decisions.items()]
                self._db.executemany("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?)", rows)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def disconnect(self) -> None:
        """Release the file."""
        self._db.close()

    def _read(self, run: str, release: str) -> dict[str, Decision]:
        query = "SELECT party, decision FROM decisions WHERE run = ? AND release = ?"
        return dict(self._db.execute(query, (run, release)).fetchall())


def contradiction(run: str, release: str) -> IntegrityError:
    """Return the error of a request that contradicts what was revealed or sent before."""
    return IntegrityError(
        "H5211",
        en=f"release {release} of run {run}: the centre asks for what an earlier answer rules out; "
        "stop the run and ask the centre why",
        zh=f"运行 {run} 的发布 {release}:中心的请求与先前的回复相矛盾;请停止运行并向中心查询",
    )
