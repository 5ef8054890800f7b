import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import securesum
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum.coordinator import SecureSum

TINY = securesum.Size(institutions=5, entries=40, repeats=2, enumerate_to=3)


def test_every_pattern_of_few_institutions_is_right() -> None:
    rows = securesum.enumerate_dropouts(3, 2, np.random.default_rng(0))
    assert [row["patterns"] for row in rows] == [4**2, 4**3]
    for row in rows:
        assert row["wrong"] == 0 and row["exact"] > 0 and row["aborted"] > 0
        assert row["exact"] + row["aborted"] == row["patterns"]


def test_a_sum_that_is_one_off_is_called_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., SecureSum] = securesum.collect

    def one_off(*args: Any) -> SecureSum:
        result = right(*args)
        return replace(result, total=result.total + 1)

    monkeypatch.setattr(securesum, "collect", one_off)
    (row,) = securesum.enumerate_dropouts(2, 2, np.random.default_rng(0))
    assert row["wrong"] == 1 and row["exact"] == 0


def test_a_release_is_unmasked_exactly_without_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    parties = securesum.consortium(Quorum.default(5), silent=1)
    everyone = list(next(iter(parties.values())).parties)
    measured = securesum.time_server(parties, everyone, TINY, np.random.default_rng(1))
    assert measured["exact"] and measured["masks"] == 4 * 2
    right = securesum.unmask
    monkeypatch.setattr(securesum, "unmask", lambda *args: right(*args) + 1)
    parties = securesum.consortium(Quorum.default(5), silent=1, run="again")
    assert not securesum.time_server(parties, everyone, TINY, np.random.default_rng(1))["exact"]


def test_figures_say_what_is_missed() -> None:
    client = {"mask": 3.0, "chacha20": 1.0, "flower": 6.0}
    server = {"unmask": 2.5, "flower": 2.5, "exact": False}
    rows = securesum.figures(client, server, [{"wrong": 0}, {"wrong": 2}])
    assert [(row["measured"], row["ok"]) for row in rows] == [
        (3.0, "NO"),
        (2.5, "NO"),
        (2.0, "yes"),
        (1.0, "NO"),
        (2.0, "NO"),
        (1.0, "NO"),
    ]


def test_the_whole_benchmark_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(securesum, "QUICK", TINY)
    assert securesum.main(["--quick", "--json", str(tmp_path / "s.json")]) == 0
    written = json.loads((tmp_path / "s.json").read_text("utf-8"))
    (rows,) = (rows for title, rows in written["tables"].items() if title.startswith("Secure sum"))
    assert [row["ok"] for row in rows[-2:]] == ["yes", "yes"]
    assert written["figures"]["masks_at_server"] == 8
    assert "Dropout patterns" in capsys.readouterr().out
