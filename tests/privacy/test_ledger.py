"""The ledger refuses, remembers, and notices."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haihe_fl.errors import IntegrityError, PolicyError
from haihe_fl.privacy.chain import Head
from haihe_fl.privacy.events import Event, GaussianEvent, SampledGaussianEvent
from haihe_fl.privacy.gaussian import Budget
from haihe_fl.privacy.ledger import Ledger

CAP = Budget(3.0, 1e-5)
STEP = GaussianEvent(4.0)


def plan(count: int, event: Event = STEP) -> dict[str, Event]:
    return {f"main/{i}": event for i in range(count)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def open_ledger(path: Path) -> Ledger:
    return Ledger(path, "Bank A", CAP)


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    made = open_ledger(path)
    yield made
    made.disconnect()


def test_reservations_past_the_cap_are_refused_and_leave_nothing(ledger: Ledger) -> None:
    with pytest.raises(PolicyError, match="H3202"):
        ledger.reserve("run", plan(9))
    assert ledger.head.seq == 1 and ledger.reserved() == 0
    ledger.reserve("run", plan(6))
    with pytest.raises(PolicyError, match="H3202"):
        ledger.reserve("other model", plan(3), model="neural")
    ledger.reserve("other model", plan(2), model="neural")
    ledger.reserve("run", plan(6))  # the same again
    assert ledger.head.seq == 3 and ledger.spent() == 0
    assert ledger.left() == pytest.approx(3.0 - ledger.reserved())
    with pytest.raises(PolicyError, match="H3204"):
        ledger.reserve("run", plan(5))
    with pytest.raises(PolicyError, match="H3205"):
        ledger.reserve("new", {"x": 3.0})  # type: ignore[dict-item]


def test_charges_are_made_once_and_never_come_back(ledger: Ledger) -> None:
    ledger.reserve("run", plan(4))
    assert ledger.charge("run", "main/0", STEP)
    spent, head = ledger.spent(), ledger.head
    assert not ledger.charge("run", "main/0", STEP)
    assert (ledger.spent(), ledger.head) == (spent, head)
    for run, release, event in (
        ("run", "main/0", GaussianEvent(5.0)),
        ("run", "main/1", GaussianEvent(3.9)),
        ("run", "main/4", STEP),
        ("another", "main/0", STEP),
    ):
        with pytest.raises(PolicyError, match="H3203"):
            ledger.charge(run, release, event)
    assert ledger.head == head
    ledger.close("run")
    ledger.close("run")
    assert ledger.head.seq == head.seq + 1
    assert ledger.spent() == spent and ledger.reserved() == 0
    with pytest.raises(PolicyError, match="H3203"):
        ledger.charge("run", "main/1", STEP)
    with pytest.raises(PolicyError, match="H3204"):
        ledger.reserve("run", plan(4))
    ledger.reserve("run 2", plan(7))
    with pytest.raises(PolicyError, match="H3202"):
        ledger.reserve("run 3", plan(1))


def test_everything_survives_reopening(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.reserve("run", plan(4), model="additive")
    ledger.charge("run", "main/2", STEP)
    before = (ledger.spent(), ledger.reserved(), ledger.left(), ledger.head)
    again = open_ledger(path)  # the first was not closed: a crash
    assert (again.spent(), again.reserved(), again.left(), again.head) == before
    assert again.verify() == ledger.head
    assert not again.charge("run", "main/2", STEP)
    assert again.charge("run", "main/3", STEP)
    assert not ledger.charge("run", "main/3", STEP)  # one file, one truth
    assert [entry.kind for entry in ledger.entries()] == ["open", "reserve", "charge", "charge"]
    for each in (ledger, again):
        each.disconnect()
    with pytest.raises(IntegrityError, match="H5204"):
        Ledger(path, "Bank B", CAP)
    with pytest.raises(ValueError, match="by record"):
        Ledger(path, "Bank A", Budget(3.0, 1e-5, "borrower"))


def filled(path: Path) -> Head:
    ledger = open_ledger(path)
    ledger.reserve("run", plan(4))
    for i in range(3):
        ledger.charge("run", f"main/{i}", STEP)
    ledger.close("run")
    ledger.disconnect()
    return ledger.head


COLUMNS = ("seq", "time", "kind", "run", "release", "model", "event", "prev", "hash")


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 6), st.sampled_from(COLUMNS), st.text(min_size=1, max_size=4))
def test_any_changed_row_is_noticed(tmp_path: Path, row: int, column: str, extra: str) -> None:
    path = tmp_path / "ledger.db"
    if not path.exists():
        filled(path)
    copy = tmp_path / "copy" / "ledger.db"
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.parent.mkdir()
    for suffix in ("", ".head"):
        shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    new = 77 + row if column == "seq" else None
    with sqlite3.connect(copy) as db:
        if new is not None:
            db.execute("UPDATE entries SET seq = ? WHERE seq = ?", (new, row))
        else:
            db.execute(f"UPDATE entries SET {column} = {column} || ? WHERE seq = ?", (extra, row))
    db.close()
    with pytest.raises(IntegrityError, match=r"H520[23]"):
        open_ledger(copy)


def test_deleted_swapped_and_cut_rows_are_noticed(path: Path) -> None:
    head = filled(path)
    original = path.read_bytes()
    statements = [
        "DELETE FROM entries WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 6",
        "DELETE FROM entries WHERE seq > 1",
        "DELETE FROM entries",
        "UPDATE entries SET seq = CASE seq WHEN 3 THEN 104 ELSE 103 END WHERE seq IN (3, 4);"
        "UPDATE entries SET seq = seq - 100 WHERE seq > 100",
    ]
    for statement in statements:
        path.write_bytes(original)
        db = sqlite3.connect(path)
        db.executescript(statement)
        db.close()
        with pytest.raises(IntegrityError, match=r"H520[23]"):
            open_ledger(path)
    path.write_bytes(original)
    ledger = open_ledger(path)
    assert ledger.verify(head) == head
    for expected in (Head(7, head.hash), Head(6, "0" * 64), Head(0, "0" * 64)):
        with pytest.raises(IntegrityError, match="H5202"):
            ledger.verify(expected)
    with sqlite3.connect(path) as other:
        other.execute("UPDATE entries SET time = 'never' WHERE seq = 2")
    other.close()
    with pytest.raises(IntegrityError, match="H5203"):
        ledger.verify()
    ledger.disconnect()


def test_rollback_and_deletion_beside_the_witness_are_noticed(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.reserve("run", plan(2))
    ledger.disconnect()
    backup, witness = path.read_bytes(), path.with_name("ledger.db.head")
    old_witness = witness.read_bytes()
    ledger = open_ledger(path)
    ledger.charge("run", "main/0", STEP)
    ledger.disconnect()
    newest = path.read_bytes()
    witness_now = witness.read_bytes()

    path.write_bytes(backup)  # an old backup put back
    with pytest.raises(IntegrityError, match="H5202"):
        open_ledger(path)
    for left in path.parent.glob("ledger.db*"):
        left.unlink()
    witness.write_bytes(witness_now)  # the ledger deleted
    for _ in range(2):
        with pytest.raises(IntegrityError, match="H5202"):
            open_ledger(path)
    path.write_bytes(newest)
    witness.unlink()  # the witness deleted
    with pytest.raises(IntegrityError, match="H5202"):
        open_ledger(path)
    witness.write_bytes(b"{")  # the witness damaged
    with pytest.raises(IntegrityError, match="H5202"):
        open_ledger(path)
    witness.write_bytes(old_witness)  # a crash between ledger and witness
    ledger = open_ledger(path)
    assert ledger.spent() > 0 and witness.read_bytes() == witness_now
    ledger.disconnect()


def test_a_forked_history_is_noticed(path: Path) -> None:
    filled(path)
    witness = path.with_name("ledger.db.head").read_bytes()
    for left in path.parent.glob("ledger.db*"):
        left.unlink()
    other = open_ledger(path)
    for i in range(8):
        other.reserve(f"run {i}", plan(1, GaussianEvent(100.0)))
    other.disconnect()
    path.with_name("ledger.db.head").write_bytes(witness)
    with pytest.raises(IntegrityError, match="H5202"):
        open_ledger(path)


def test_damaged_files_are_noticed(path: Path) -> None:
    filled(path)
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"H520[236]"):
        open_ledger(path)


def test_a_charge_that_cannot_be_written_is_refused(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.reserve("run", plan(2))

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("haihe_fl.privacy.ledger.write_witness", full)
        with pytest.raises(IntegrityError, match="H5206"):
            ledger.charge("run", "main/0", STEP)
    assert not ledger.charge("run", "main/0", STEP)  # the charge itself stands
    other = sqlite3.connect(ledger.path)
    other.execute("BEGIN IMMEDIATE")
    ledger._db.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(IntegrityError, match="H5206"):
        ledger.charge("run", "main/1", STEP)
    other.close()
    assert ledger.charge("run", "main/1", STEP)


def test_sampled_events_count_against_the_cap(ledger: Ledger) -> None:
    local = SampledGaussianEvent(1.1, 0.01, 1000)
    ledger.reserve("neural", {"local/0": local})
    ledger.charge("neural", "local/0", local)
    assert 1.2 < ledger.spent() < 2.5
    with pytest.raises(PolicyError, match="H3202"):
        ledger.reserve("additive", plan(6))
    ledger.reserve("additive", plan(1))
