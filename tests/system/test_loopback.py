"""A real consortium on loopback: SuperLink, SuperNodes and agents over TLS, for one short run."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import server.recording
import server.training
from clients.node import UNSAFE_SEED
from clients.policy import load_policy
from consortium.inprocess import InProcessConsortium
from consortium.local import CONNECTION, LocalConsortium, follow, submit
from consortium.prepare import prepare_nodes
from consortium.processes import free_port, wait_until
from consortium.tls import make_supernode_key
from haihe_fl.data.cohort import Cohort
from haihe_fl.data.mapping import load_mapping
from haihe_fl.data.readers import read_cohort
from haihe_fl.privacy.ledger import Ledger
from haihe_fl.workspace import Workspace
from server.app import JobFile
from server.job import TrainingJob

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

SEED = "7"
MAPPING = """
name: loopback
key: uscc
label: bad
institution: {column: bank}
features:
  liquidity: {range: [0, 1], direction: -1}
  days: [0, 720]
"""  # numbers alone: a run without the release that orders categories
JOB = TrainingJob(
    institutions=3,
    minimum=3,
    colluders=0,
    settings={"main_rounds": 2, "joint_rounds": 2, "rounds_without_pairs": 2, "pairs": 0},
    deadline_s=60,
)


@dataclass
class Deployed:
    """What a deployed run left behind, after everything was stopped."""

    folder: Path
    cohorts: dict[str, Cohort]
    result: dict[str, object] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    listed: list[dict[str, object]] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    stranger: int | None = None


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    folder = tmp_path_factory.mktemp("loopback")
    (folder / "mapping.yaml").write_text(MAPPING)
    _write_rows(folder / "loans.csv")
    cohort = read_cohort(folder / "loans.csv", load_mapping(folder / "mapping.yaml"))
    nodes = prepare_nodes(folder, cohort, None, 3, folder / "loans.csv", folder / "mapping.yaml")
    rows = {name: cohort.take(cohort.institution == name) for name in nodes}
    seen = Deployed(folder, rows)
    job = folder / "job"
    job.mkdir()
    request = JobFile(job=JOB, catalogue=cohort.catalogue, workspace=folder / "centre")
    (job / "job.json").write_text(request.model_dump_json())

    consortium = LocalConsortium(folder / "consortium", nodes, {UNSAFE_SEED: SEED})
    try:
        deployment = consortium.up()
        _start_stranger(consortium, deployment.port)
        submit(deployment, job)
        seen.result = follow(job, lambda what, *_: seen.steps.append(what), deadline_s=200)
        seen.listed = json.loads(
            consortium.flwr("supernode", "list", CONNECTION, "--format", "json")
        )["nodes"]
        stranger = consortium.processes.running["stranger"]
        wait_until(lambda: stranger.poll() is not None, 20)
        seen.stranger = stranger.returncode
        seen.groups = [process.pid for process in consortium.processes.running.values()]
    finally:
        consortium.down()
    return seen


def _write_rows(path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = ["bank,uscc,liquidity,days,bad"]
    for bank in ("bank_a", "bank_b", "bank_c"):
        for number in range(400):
            liquidity, days = rng.random(), 720 * rng.random()
            bad = int(rng.random() < 1 / (1 + np.exp(4 * liquidity - 0.5)))
            lines.append(f"{bank},9112{bank[-1].upper()}MA{number:08d}X,{liquidity},{days},{bad}")
    path.write_text("\n".join(lines) + "\n")


def _start_stranger(consortium: LocalConsortium, port: int) -> None:
    """Start a SuperNode whose key nobody registered."""
    folder = consortium.folder / "stranger"
    folder.mkdir()
    private, _ = make_supernode_key(folder)
    command = [str(Path(sys.executable).with_name("flower-supernode"))]
    command += ["--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
    command += ["--root-certificates", str(consortium.folder / "tls" / "ca.crt")]
    command += ["--auth-supernode-private-key", str(private), "--max-retries", "1"]
    consortium.processes.start("stranger", command)


def group_exists(group: int) -> bool:
    """Return whether a process group still has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def ours(folder: Path) -> list[str]:
    """Return the processes whose environment names a folder of this deployment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_the_run_succeeds_in_order(deployed: Deployed) -> None:
    assert deployed.result["ok"], deployed.result
    assert deployed.result["left_out"] == {}
    assert deployed.result["institutions"] == 3
    assert deployed.result["private"] is False  # the noise is seeded, and it says so
    assert deployed.steps[0] == "discover"
    assert deployed.steps[-1] == "done"


def test_it_is_the_model_of_the_run_in_process(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.training, "record", lambda *_: None)
    consortium = InProcessConsortium.open(tmp_path / "c", deployed.cohorts, noise_seed=SEED)
    catalogue = next(iter(deployed.cohorts.values())).catalogue
    report = server.training.run_training(
        consortium.grid, JOB, catalogue, Workspace.at(tmp_path / "w")
    )
    consortium.close()
    assert deployed.result["fingerprint"] == report.model.fingerprint
    assert deployed.result["validation"] == server.recording.validation_metrics(report)


def test_every_institution_charged_its_ledger(deployed: Deployed) -> None:
    releases = int(str(deployed.result["releases"]))
    for name in deployed.cohorts:
        node = deployed.folder / "nodes" / name
        ledger = Ledger(node / "ledger.db", name, load_policy(node / "policy.yaml").cap)
        kinds = [entry.kind for entry in ledger.entries()]
        assert kinds == ["open", "reserve", *["charge"] * releases, "close"]
        assert ledger.spent() == pytest.approx(JOB.epsilon)
        ledger.disconnect()


def test_a_stranger_cannot_join(deployed: Deployed) -> None:
    assert deployed.stranger not in (None, 0)  # it gave up by itself
    assert len(deployed.listed) == 3
    assert {node["status"] for node in deployed.listed} == {"online"}
    log = (deployed.folder / "consortium" / "logs" / "superlink.log").read_text()
    assert "No SuperNode found with the given public key" in log


def test_no_key_reached_the_centre(deployed: Deployed) -> None:
    keys = {str(key).encode() for cohort in deployed.cohorts.values() for key in cohort.key}
    assert len(keys) > 100
    centre = [deployed.folder / "consortium", deployed.folder / "job", deployed.folder / "centre"]
    files = [path for folder in centre for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "superlink.log" for path in files)
    content = b"\0".join(path.read_bytes() for path in files if not path.name.startswith("agent-"))
    assert len(content) > 10_000
    assert [key for key in keys if key in content] == []


def test_nothing_is_left_running(deployed: Deployed) -> None:
    assert len(deployed.groups) == 1 + 2 * 3 + 1
    # What was killed may wait a moment for its parent to take notice.
    assert wait_until(lambda: not any(map(group_exists, deployed.groups)), 10)
    assert ours(deployed.folder) == []
    assert not (deployed.folder / "consortium" / "deployment.json").exists()
