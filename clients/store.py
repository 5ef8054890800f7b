"""What a node remembers of its runs, so that a restart changes nothing.

A retry of a request gets the stored reply, byte for byte; another request under the same name
is refused. That is what keeps a retried release from leaving twice with fresh noise.
"""

import hashlib
import os
import sqlite3
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


class RunStore:
    """Documents of a run (plan, keys, roster) and replies already given.

    Parameters
    ----------
    path : Path
        SQLite file, readable by its owner only: it holds the keys of open runs.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def put(self, run: str, name: str, body: bytes) -> None:
        """Keep a document; the same again is no change, another is refused with H5304."""
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
            raise IntegrityError(
                "H5305",
                en=f"{name} of run {run} was answered before for another request; start a new run",
                zh=f"任务 {run} 的 {name} 已对另一请求作出应答;请新建任务",
            )
        return bytes(row[1])

    def remember(self, run: str, name: str, request: bytes, reply: bytes) -> None:
        """Keep a reply before it leaves."""
        digest = hashlib.sha256(request).hexdigest()
        self._db.execute("INSERT INTO replies VALUES (?, ?, ?, ?)", (run, name, digest, reply))

    def forget(self, run: str) -> None:
        """Drop a finished run's keys and replies; its name stays taken."""
        self._db.execute("DELETE FROM replies WHERE run = ?", (run,))
        self._db.execute("DELETE FROM documents WHERE run = ? AND name != 'plan'", (run,))
        self.put(run, "finished", b"")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
