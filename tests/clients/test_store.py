from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.store import RunStore, private_file
from haihe_fl.errors import IntegrityError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    store = RunStore(tmp_path / "node" / "store.db")
    yield store
    store.close()


def test_documents_stay_what_they_are(store: RunStore) -> None:
    store.put("run", {"plan": b"1", "keys": b"2"})
    store.put("run", {"plan": b"1"})
    with pytest.raises(IntegrityError, match="H5304"):
        store.put("run", {"roster": b"3", "plan": b"other"})
    assert store.get("run", "roster") is None  # all or none
    assert (store.get("run", "plan"), store.get("run", "keys")) == (b"1", b"2")
    assert store.get("other", "plan") is None


def test_replies_are_bound_to_their_request(store: RunStore) -> None:
    assert store.recall("run", "main/01", b"ask") is None
    store.remember("run", "main/01", b"ask", b"answer")
    assert store.recall("run", "main/01", b"ask") == b"answer"
    assert store.recall("other", "main/01", b"ask") is None
    with pytest.raises(IntegrityError, match="H5305"):
        store.recall("run", "main/01", b"ask otherwise")


def test_all_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = RunStore(path)
    first.put("run", {"plan": b"plan"})
    first.remember("run", "a", b"ask", b"answer")
    first.close()
    second = RunStore(path)
    assert second.get("run", "plan") == b"plan"
    assert second.recall("run", "a", b"ask") == b"answer"
    second.close()


def test_a_finished_run_leaves_its_name_and_no_key(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = RunStore(path)
    store.put("run", {"plan": b"the plan", "keys": b"SECRET-KEY" * 10})
    store.remember("run", "a", b"ask", b"SECRET-REPLY" * 10)
    store.forget("run")
    store.forget("run")
    assert store.get("run", "keys") is None
    assert store.recall("run", "a", b"ask") is None
    assert store.get("run", "finished") == b""
    with pytest.raises(IntegrityError, match="H5304"):
        store.put("run", {"plan": b"another plan"})
    on_disk = b"".join(file.read_bytes() for file in tmp_path.glob("store.db*"))
    assert b"the plan" in on_disk
    assert b"SECRET" not in on_disk
    store.close()


def test_only_the_owner_may_read(tmp_path: Path, store: RunStore) -> None:
    store.put("run", {"keys": b"secret"})
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "node").iterdir()}
    assert set(modes) == {"store.db", "store.db-wal", "store.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_private_file_keeps_its_content(tmp_path: Path) -> None:
    path = private_file(tmp_path / "a" / "file")
    path.write_text("kept")
    assert private_file(path).read_text() == "kept"
    assert path.parent.stat().st_mode & 0o777 == 0o700
