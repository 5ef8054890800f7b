"""The institution's privacy ledger: reserve, compute, charge; never refund.

An append-only chain of entries in SQLite, each bound to the one before by SHA-256. A charge is
on disk before ``charge`` returns, so the caller sends only what has been paid for.

The chain alone notices edits, deletions and swaps inside it, not a chain that was cut short or
replaced by an older copy. For that the head stands a second time in a small witness file,
written after every entry. On opening, the witness must be found in the chain:

=============================================  ==========================================
ledger edited, cut, restored from a backup     refused (H5202, H5203)
ledger deleted, witness left                   refused (H5202)
witness deleted, ledger left                   refused (H5202)
crash between ledger and witness               accepted: the witness is in the chain's past
ledger *and* witness deleted or both restored  not detected here: needs a countersigned head
=============================================  ==========================================

Put the witness on another disk, and compare ``head`` with the one that the centre last saw.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from datetime import UTC, datetime
from pathlib import Path

from haihe_fl.errors import IntegrityError, PolicyError
from haihe_fl.privacy.accountant import combined, epsilon_spent, fits, supports
from haihe_fl.privacy.chain import Entry, Head, payload, read_witness, replay, write_witness
from haihe_fl.privacy.events import Event
from haihe_fl.privacy.gaussian import Budget

_SCHEMA = """CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, run TEXT NOT NULL,
    release TEXT NOT NULL, model TEXT NOT NULL, event TEXT NOT NULL,
    prev TEXT NOT NULL, hash TEXT NOT NULL)"""


class Ledger:
    """What one institution's records have paid, over all runs and models.

    Parameters
    ----------
    path : Path
        The SQLite file; made if there is none.
    institution : str
        Legal entity that the ledger belongs to.
    cap : Budget
        Record-level budget that all runs together keep.
    witness : Path, optional
        Where the head stands a second time; ``path`` with ``.head`` added if left out.

    Raises
    ------
    IntegrityError
        H5202 rolled back, H5203 altered, H5204 another institution's.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from haihe_fl.privacy.events import GaussianEvent
    >>> folder = TemporaryDirectory()
    >>> ledger = Ledger(Path(folder.name) / "ledger.db", "Bank A", Budget(3.0, 1e-5))
    >>> ledger.reserve("run-1", {f"main/{i}": GaussianEvent(4.0) for i in range(8)})
    >>> ledger.charge("run-1", "main/0", GaussianEvent(4.0))
    True
    >>> round(ledger.spent(), 2), round(ledger.reserved(), 2), round(ledger.left(), 2)
    (0.93, 2.02, 0.06)
    >>> ledger.close("run-1")
    >>> round(ledger.left(), 2)
    2.07
    >>> folder.cleanup()
    """

    def __init__(
        self, path: Path, institution: str, cap: Budget, *, witness: Path | None = None
    ) -> None:
        if cap.unit != "record":
            raise ValueError("the cap of a ledger is by record; see Budget.for_record")
        self.path, self.institution, self.cap = path, institution, cap
        self.witness = witness or path.with_name(path.name + ".head")
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _readable(path):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._open(read_witness(self.witness))
        except BaseException:
            self._db.close()
            raise

    def _open(self, witness: Head | None) -> None:
        with _readable(self.path):
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_SCHEMA)
            self._state = replay(self._rows())
        if self._state.head.seq > 1 or witness is not None:
            self._state.require(witness, self.path)  # only the first entry may lack its witness
        if self._state.institution not in ("", self.institution):
            raise IntegrityError(
                "H5204",
                en=f"{self.path} is the ledger of {self._state.institution!r}, not of "
                f"{self.institution!r}; open the right file",
                zh=f"{self.path} 是 {self._state.institution!r} 的台账,"
                f"不属于 {self.institution!r};请打开正确的文件",
            )
        with self._transaction():
            if self._state.head.seq == 0:
                self._append("open", "", "", "", self.institution)

    @property
    def head(self) -> Head:
        """Number and hash of the last entry."""
        return self._state.head

    def spent(self) -> float:
        """Return epsilon of everything charged, at the cap's delta."""
        return epsilon_spent(combined(self._state.charged), self.cap.delta)

    def reserved(self) -> float:
        """Return what open reservations would add to ``spent``, in epsilon."""
        return epsilon_spent(combined(self._state.committed), self.cap.delta) - self.spent()

    def left(self) -> float:
        """Return epsilon between the cap and all that is spent or reserved."""
        committed = epsilon_spent(combined(self._state.committed), self.cap.delta)
        return max(0.0, self.cap.epsilon - committed)

    def reserve(self, run: str, events: Mapping[str, Event], model: str = "") -> None:
        """Set aside what a run will cost; the same reservation again changes nothing.

        Parameters
        ----------
        run : str
            Unique among all runs of the institution.
        events : mapping of str to Event
            Event of each release by its name.
        model : str
            What the run trains, for the record.

        Raises
        ------
        PolicyError
            H3202 past the cap, H3204 the run has another reservation or is over, H3205 an
            event that cannot be composed. Nothing is written then.
        """
        with self._lock, self._transaction():
            if unknown := [name for name, event in events.items() if not supports(event)]:
                raise PolicyError(
                    "H3205",
                    en=f"run {run}: release {unknown[0]} has an event that no accountant takes",
                    zh=f"运行 {run}:发布 {unknown[0]} 的隐私事件不受支持",
                )
            if run in self._state.plans:
                if self._state.plans[run] == dict(events) and run not in self._state.closed:
                    return
                raise PolicyError(
                    "H3204",
                    en=f"run {run} has a different reservation already or is closed; "
                    "start a run with a new name",
                    zh=f"运行 {run} 已有不同的预留或已关闭;请用新名称发起运行",
                )
            if not fits([*combined(self._state.committed), list(events.values())], self.cap):
                alone = epsilon_spent([list(events.values())], self.cap.delta)
                raise PolicyError(
                    "H3202",
                    en=f"run {run} of epsilon {alone:.3g} would pass the cap of "
                    f"{self.cap.epsilon:g} per record (delta {self.cap.delta:g}); "
                    f"{self.left():.3g} is left: plan a smaller run",
                    zh=f"运行 {run} 的 epsilon 为 {alone:.3g},将超过每条记录的上限 "
                    f"{self.cap.epsilon:g}(delta {self.cap.delta:g});"
                    f"剩余 {self.left():.3g},请缩小运行计划",
                )
            self._append("reserve", run, "", model, dict(events))

    def charge(self, run: str, release: str, event: Event) -> bool:
        """Pay for a release; on disk when it returns. Call before the first byte leaves.

        Returns
        -------
        bool
            True if it was charged now, False if this very charge was made before.

        Raises
        ------
        PolicyError
            H3203, the release was not reserved with this event, or its run is closed.
        """
        with self._lock, self._transaction():
            if self._state.charged.get(run, {}).get(release) == event:
                return False
            if self._state.plans.get(run, {}).get(release) != event or run in self._state.closed:
                raise _not_reserved(run, release, event)
            self._append("charge", run, release, self._state.models[run], event)
            return True

    def note_exact(self, run: str, release: str) -> None:
        """Note that a sum without noise leaves; once. It costs no epsilon: it has none.

        Raises
        ------
        PolicyError
            H3203, the run was not reserved, or is closed.
        """
        with self._lock, self._transaction():
            if release in self._state.exact.get(run, set()):
                return
            if run not in self._state.plans or run in self._state.closed:
                raise _not_reserved(run, release, "no noise")
            self._append("exact", run, release, self._state.models[run], None)

    def paid(self, run: str, release: str) -> bool:
        """Return whether a release is charged, or noted as exact, already."""
        charged, exact = self._state.charged.get(run, {}), self._state.exact.get(run, set())
        return release in charged or release in exact

    def close(self, run: str) -> None:
        """End a run and give back what it reserved and did not spend."""
        with self._lock, self._transaction():
            if run in self._state.plans and run not in self._state.closed:
                self._append("close", run, "", self._state.models[run], None)

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first."""
        with self._lock:
            return self._rows()

    def verify(self, expected: Head | None = None) -> Head:
        """Read the whole ledger again, check every link, and return its head.

        Parameters
        ----------
        expected : Head, optional
            A head seen earlier, by the centre for example; it must stand in the chain.

        Raises
        ------
        IntegrityError
            H5203 naming the first bad entry; H5202 if ``expected``, the witness or the head
            in memory is not in the chain.
        """
        with self._lock, _readable(self.path):
            state = replay(self._rows())
            state.require(self._state.head, self.path)
            state.require(read_witness(self.witness), self.path)
            if expected is not None:
                state.require(expected, self.path)
            return state.head

    def disconnect(self) -> None:
        """Release the file."""
        self._db.close()

    def _rows(self, after: int = 0) -> list[Entry]:
        query = "SELECT * FROM entries WHERE seq > ? OR ? = 0 ORDER BY seq"
        with closing(self._db.execute(query, (after, after))) as cursor:
            return [Entry(*row) for row in cursor]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the body alone, on the newest state; durable, witness included, when it ends."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._state.extend(self._rows(self._state.head.seq))
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            self._state.extend(self._rows(self._state.head.seq))
            write_witness(self.witness, self._state.head)
        except (sqlite3.Error, OSError) as error:
            raise IntegrityError(
                "H5206",
                en=f"{self.path} cannot be written ({error}); free disk space or mend the disk: "
                "nothing may leave before it is charged",
                zh=f"无法写入 {self.path}({error});请清理或修复磁盘:未记账前任何数据不得外发",
            ) from error

    def _append(
        self,
        kind: str,
        run: str,
        release: str,
        model: str,
        content: dict[str, Event] | Event | str | None,
    ) -> None:
        head = self._state.head
        time = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(head.seq + 1, time, kind, run, release, model, payload(content), head.hash)
        entry = replace(entry, hash=entry.digest())
        self._db.execute("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?)", astuple(entry))


def _not_reserved(run: str, release: str, event: object) -> PolicyError:
    return PolicyError(
        "H3203",
        en=f"release {release} of run {run} was not reserved with {event}, or the run "
        "is closed; reserve it under a new run",
        zh=f"运行 {run} 的发布 {release} 未按 {event} 预留,或该运行已关闭;请在新运行中预留",
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IntegrityError(
            "H5203",
            en=f"{path} is damaged ({error}); stop taking part and call the auditor",
            zh=f"{path} 已损坏({error});请停止参与并联系审计人员",
        ) from error
