import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmarks import footprint


def test_the_large_institution_has_the_borrowers_asked_for_each_once() -> None:
    members = footprint.cohorts(1_500, seed=5)
    assert [len(c) for c in members.values()] == [1_500, footprint.SMALL_ROWS, footprint.SMALL_ROWS]
    keys = np.concatenate([c.key for c in members.values()])
    assert len(np.unique(keys)) == len(keys)
    assert set(members[footprint.LARGE].institution) == {footprint.LARGE}
    assert len(members[footprint.LARGE].catalogue.features) == 40


def test_peaks_are_the_kernels_own() -> None:
    code = "x = bytearray(80_000_000); del x; print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    peak, now = footprint.peak_of(child.pid), footprint.tree_mb(psutil.Process(child.pid))
    child.communicate("\n")
    assert peak > 80  # of memory that is given back already
    assert 0 < now < peak


def test_the_processes_of_a_tree_add_up() -> None:
    sleep = "import subprocess, sys; print(flush=True); input()"
    nested = (
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', "
        f"{'x = bytearray(50_000_000); ' + sleep!r}], stdin=subprocess.PIPE); "
        "input(); c.communicate(b'\\n')"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", nested], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()  # printed by the grandchild, once it holds its memory
    root = psutil.Process(child.pid)
    whole, alone = footprint.tree_mb(root), root.memory_info().rss / footprint.MB
    child.communicate("\n")
    assert whole > alone + 50
    assert footprint.tree_mb(root) == 0


def test_without_the_command_the_demo_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert footprint.measure_demo(()) == (None, "the command haihe is not installed")
    (tmp_path / "haihe").write_text("#!/bin/sh\necho no such command\nexit 2\n")
    (tmp_path / "haihe").chmod(0o755)
    assert footprint.measure_demo(()) == (None, "haihe demo ended with 2: no such command")
