"""Never both: contradictory requests are refused, also after a restart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haihe_fl.errors import IntegrityError
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum.decisions import DecisionLog, MemoryDecisionLog, SQLiteDecisionLog
from haihe_fl.securesum.keys import ConsortiumCA, PrivateKeys, make_offer
from haihe_fl.securesum.party import MaskingParty

QUORUM = Quorum(5, 3, 0)
NAMES = ["A", "B", "C", "D", "E"]


def make_parties(
    log: DecisionLog,
) -> tuple[list[MaskingParty], Callable[[DecisionLog], MaskingParty]]:
    """Return the parties, and how the first comes back after a restart."""
    ca = ConsortiumCA.create("test")
    identities = [ca.issue(name) for name in NAMES]
    made = [make_offer(identity, "run") for identity in identities]
    offers = [offer for offer, _ in made]
    logs = [log, *(MemoryDecisionLog() for _ in NAMES[1:])]
    parties = [
        MaskingParty(i, "run", keys, offers, ca.certificate, QUORUM, each)
        for i, (_, keys), each in zip(identities, made, logs, strict=True)
    ]

    def again(log: DecisionLog) -> MaskingParty:
        keys = PrivateKeys.from_bytes(made[0][1].to_bytes())
        return MaskingParty(identities[0], "run", keys, offers, ca.certificate, QUORUM, log)

    return parties, again


@pytest.mark.parametrize("first", ["pairs", "shares"])
@pytest.mark.parametrize("restart", [False, True])
def test_contradiction_refused(tmp_path: Path, first: str, restart: bool) -> None:
    log = SQLiteDecisionLog(tmp_path / "decisions.db")
    parties, restarted = make_parties(log)
    party = parties[0]
    zero = np.zeros(2, dtype=np.int64)
    boxes = {p.name: p.mask("r", zero).shares["A"] for p in parties}
    if first == "pairs":
        assert list(party.reveal_pairs("r", ["A", "B", "C", "D"])) == ["E"]
    else:
        assert sorted(party.reveal_shares("r", NAMES, boxes)) == NAMES
    if restart:
        log.disconnect()
        log = SQLiteDecisionLog(tmp_path / "decisions.db")
        party = restarted(log)
    with pytest.raises(IntegrityError, match="H5211"):
        party.mask("r", zero)
    if first == "pairs":
        with pytest.raises(IntegrityError, match="H5211"):
            party.reveal_shares("r", NAMES, boxes)
        with pytest.raises(IntegrityError, match="H5211"):  # survivors grew
            party.reveal_pairs("r", ["A", "B", "C", "E"])
        with pytest.raises(IntegrityError, match="H5211"):  # D was never called missing
            party.reveal_shares("r", ["A", "B", "C"], boxes)
        assert sorted(party.reveal_pairs("r", ["A", "B", "C"])) == ["D", "E"]  # they may shrink
        assert sorted(party.reveal_shares("r", ["A", "B", "C"], boxes)) == ["A", "B", "C"]
    else:
        with pytest.raises(IntegrityError, match="H5211"):
            party.reveal_pairs("r", ["A", "B", "C", "D"])
        with pytest.raises(IntegrityError, match="H5211"):
            party.reveal_shares("r", ["A", "B", "C", "D"], boxes)
        assert sorted(party.reveal_shares("r", NAMES, boxes)) == NAMES  # a retry is harmless
    log.disconnect()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_refused_decisions_leave_no_trace(tmp_path: Path, kind: str) -> None:
    log: DecisionLog
    log = MemoryDecisionLog() if kind == "memory" else SQLiteDecisionLog(tmp_path / "d.db")
    log.record_upload("run", "r")
    log.decide("run", "r", {"B": "pair"})
    with pytest.raises(IntegrityError, match="H5211"):
        log.decide("run", "r", {"C": "share", "B": "share"})
    assert log.decided("run", "r") == {"B": "pair"}
    assert log.decided("run", "other") == {} and not log.uploaded("other", "r")
