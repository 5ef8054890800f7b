"""What a node remembers of its runs, so that a restart changes nothing.

A retry of a request gets the stored reply, byte for byte; another request under the same name
is refused. That is what keeps a retried release from leaving twice with fresh noise.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from haihe_fl.errors import IntegrityError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    run TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run, name)
);
CREATE TABLE IF NOT EXISTS replies (
    run TEXT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, reply BLOB NOT NULL,
    PRIMARY KEY (run, name)
);
"""


def private_file(path: Path) -> Path:
    """Make a file that only its owner may read, if there is none; SQLite keeps the mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    return path


class RunStore:
    """Documents of a run (plan, keys, roster) and replies already given.

    Parameters
    ----------
    path : Path
        SQLite file, readable by its owner only: it holds the keys of open runs.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(
            private_file(path), check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON")  # a finished run's keys leave no trace
        self._db.executescript(_SCHEMA)

    def put(self, run: str, documents: Mapping[str, bytes]) -> None:
        """Keep documents by name, all or none; the same again changes nothing.

        Raises
        ------
        IntegrityError
            H5304 if another document has one of the names.
        """
        with self._transaction():
            for name, body in documents.items():
                kept = self.get(run, name)
                if kept is None:
                    self._db.execute("INSERT INTO documents VALUES (?, ?, ?)", (run, name, body))
                elif kept != body:
                    raise IntegrityError(
                        "H5304",
                        en=f"run {run} already has another {name}; start a new run",
                        zh=f"任务 {run} 已有不同的 {name};请新建任务",
                    )

    def get(self, run: str, name: str) -> bytes | None:
        """Return a document, or None."""
        row = self._db.execute(
            "SELECT body FROM documents WHERE run = ? AND name = ?", (run, name)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def recall(self, run: str, name: str, request: bytes) -> bytes | None:
        """Return the reply given before to this very request, or None.

        Raises
        ------
        IntegrityError
            H5305 if another request was answered under this name.
        """
        row = self._db.execute(
            "SELECT request, reply FROM replies WHERE run = ? AND name = ?", (run, name)
        ).fetchone()
        if row is None:
            return None
        if row[0] != hashlib.sha256(request).hexdigest():
            raise already_answered(run, name)
        return bytes(row[1])

    def remember(self, run: str, name: str, request: bytes, reply: bytes) -> None:
        """Keep a reply before it leaves."""
        digest = hashlib.sha256(request).hexdigest()
        self._db.execute("INSERT INTO replies VALUES (?, ?, ?, ?)", (run, name, digest, reply))

    def forget(self, run: str) -> None:
        """Drop a finished run's keys and replies; its name stays taken."""
        with self._transaction():
            self._db.execute("DELETE FROM replies WHERE run = ?", (run,))
            self._db.execute("DELETE FROM documents WHERE run = ? AND name != 'plan'", (run,))
            self._db.execute("INSERT INTO documents VALUES (?, 'finished', x'')", (run,))
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def already_answered(run: str, name: str) -> IntegrityError:
    """Return the error of a step that was answered before, otherwise."""
    return IntegrityError(
        "H5305",
        en=f"{name} of run {run} was answered before for another request; start a new run",
        zh=f"任务 {run} 的 {name} 已对另一请求作出应答;请新建任务",
    )
