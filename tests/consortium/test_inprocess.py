"""The whole path in one process: what travels, what is recorded, what stays."""

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from small_consortium import CATALOGUE, NAMES, SHORT, SpyGrid, make_cohorts

import server.recording
from clients.policy import NodePolicy
from consortium.flower_app import BUNDLED, write_flower_app
from consortium.inprocess import InProcessConsortium
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import NetworkError, PolicyError
from haihe_fl.workspace import Workspace
from server.job import TrainingJob
from server.report import TrainingReport
from server.training import run_training

CANARY = "91120100MACANARY0X"
ODD = 0.7370213947
"""A value that nobody else has; as bytes and as text it must not be seen."""

JOB = TrainingJob(institutions=5, settings=SHORT, minimum=4, colluders=0, deadline_s=0.2)
NEURAL = TrainingJob(
    family="neural",
    institutions=5,
    settings={"hidden": [4], "rounds": 2, "local_steps": 2, "proximal_mu": 0.1},
    minimum=4,
    colluders=0,
    deadline_s=20.0,
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What would go into MLflow, kept here instead."""
    kept: list[dict[str, object]] = []

    def keep(workspace: Workspace, model: object, **content: object) -> None:
        kept.append(content)

    monkeypatch.setattr(server.recording, "record_run", keep)
    return kept


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[InProcessConsortium]:
    consortium = InProcessConsortium.open(tmp_path / "c", make_cohorts(), noise_seed="7")
    yield consortium
    consortium.close()


def run(consortium: InProcessConsortium, folder: Path, job: TrainingJob = JOB) -> TrainingReport:
    grid = SpyGrid(consortium)
    return run_training(grid, job, CATALOGUE, Workspace.at(folder), poll_s=0.002)


def test_a_run_with_fixed_noise_can_be_repeated_and_says_so(
    consortium: InProcessConsortium, tmp_path: Path, written: list[dict[str, object]]
) -> None:
    first = run(consortium, tmp_path)
    again = InProcessConsortium.open(tmp_path / "d", make_cohorts(), noise_seed="7")
    other = InProcessConsortium.open(tmp_path / "e", make_cohorts(), noise_seed="8")
    second, third = run(again, tmp_path), run(other, tmp_path)
    assert first.model.fingerprint == second.model.fingerprint != third.model.fingerprint
    assert first.plan.run != second.plan.run  # other keys, other masks, the same sums
    assert all(status.fixed_noise for status in first.status.values())
    assert server.recording.FIXED_NOISE.en in str(written[0]["card"])
    for one in (again, other):
        one.close()


def test_a_private_run_makes_no_confession(
    tmp_path: Path, written: list[dict[str, object]]
) -> None:
    consortium = InProcessConsortium.open(tmp_path / "c", make_cohorts())
    report = run(consortium, tmp_path)
    assert not any(status.fixed_noise for status in report.status.values())
    assert server.recording.FIXED_NOISE.en not in str(written[0]["card"])
    consortium.close()


def test_a_neural_run(
    consortium: InProcessConsortium, tmp_path: Path, written: list[dict[str, object]]
) -> None:
    report = run(consortium, tmp_path, NEURAL)
    assert (report.plan.mode, report.model.family) == ("inspected", "neural")
    assert report.left_out == {}
    assert np.isfinite(report.model.predict_pd(make_cohorts()[NAMES[0]].values)).all()
    for agent in consortium.agents.values():
        paid = [e.release for e in agent.ledger.entries() if e.kind == "charge"]
        assert sorted(paid) == sorted(report.plan.events())  # each step once
        # Held-out rows pay for the validation alone: the run keeps its budget.
        assert 0.9 * NEURAL.epsilon < agent.ledger.spent() <= 1.0001 * NEURAL.epsilon
        assert agent.ledger.reserved() == 0.0


def test_a_ledger_outlives_its_process(tmp_path: Path, written: list[dict[str, object]]) -> None:
    policy = NodePolicy(epsilon_cap=4.0)
    consortium = InProcessConsortium.open(tmp_path / "c", make_cohorts(), policy)
    run(consortium, tmp_path)
    certificates = {n: a.identity.certificate for n, a in consortium.agents.items()}
    consortium.close()
    consortium = InProcessConsortium.open(tmp_path / "c", make_cohorts(), policy)
    assert certificates == {n: a.identity.certificate for n, a in consortium.agents.items()}
    with pytest.raises(PolicyError, match=r"H3306.*H3202"):
        run(consortium, tmp_path)
    consortium.close()


def canary_cohorts() -> dict[str, Cohort]:
    cohorts = make_cohorts()
    for name, cohort in cohorts.items():
        key, values = cohort.key.copy(), cohort.values.copy()
        key[:3], values[:3, 0] = CANARY, ODD
        cohorts[name] = replace(cohort, key=key, values=values)
    return cohorts


@pytest.mark.parametrize("job", [JOB, NEURAL], ids=["additive", "neural"])
def test_no_canary_leaves(
    tmp_path: Path,
    job: TrainingJob,
    written: list[dict[str, object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    cohorts = canary_cohorts()
    sick, odd = NAMES[3], NAMES[4]
    cohorts[odd].label[0] = 7  # no label at all: what reads it raises
    consortium = InProcessConsortium.open(tmp_path / "c", cohorts)

    def load() -> None:
        raise ValueError(f"rows.csv, row 3: {CANARY} has liquidity {ODD}, label 1")

    consortium.agents[sick]._load = load
    grid = SpyGrid(consortium)
    job = job.model_copy(update={"minimum": 3})
    report = run_training(grid, job, CATALOGUE, Workspace.at(tmp_path), poll_s=0.002)

    assert report.left_out[sick] == "H5306"
    assert CANARY in caplog.text  # the institution's own log has it
    traffic = [reply.SerializeToString() for _, _, reply in grid.seen] + grid.up
    assert sum(map(len, traffic)) > 50_000
    keys = {str(key) for cohort in cohorts.values() for key in cohort.key}
    needles = {key.encode() for key in keys} | {
        CANARY.encode(),
        b"CANARY",
        b"rows.csv",
        b"Traceback",
        b"ValueError",
        b"labels must be",
        repr(ODD).encode(),
        f"{np.float32(ODD)}".encode(),
        np.float64(ODD).tobytes(),
        np.float64(np.float32(ODD)).tobytes(),
        np.full(2, ODD, np.float32).tobytes(),
        *(cohort.fingerprint.encode() for cohort in cohorts.values()),
    }
    assert len(keys) > 100
    everything = b"\0".join(traffic)
    assert [needle for needle in needles if needle in everything] == []
    # Nor did it reach what is recorded.
    assert CANARY not in repr(written)
    consortium.close()


def test_replies_are_of_the_closed_list_and_hold_no_more(
    consortium: InProcessConsortium, tmp_path: Path, written: list[dict[str, object]]
) -> None:
    grid = SpyGrid(consortium)
    run_training(grid, JOB, CATALOGUE, Workspace.at(tmp_path), poll_s=0.002)
    kinds = {reply.WhichOneof("body") for _, _, reply in grid.seen}
    assert kinds == {"status", "key_offer", "upload", "self_shares"}
    for _, _, reply in grid.seen:
        assert not list(UnknownFieldSet(reply))
    counts = {str(len(cohort)) for cohort in make_cohorts().values()}
    for _, _, reply in grid.seen:
        if reply.HasField("status"):  # coarse: no count among its fields
            assert not counts & {str(value) for _, value in reply.status.ListFields()}


def test_a_job_with_impossible_numbers(
    consortium: InProcessConsortium, tmp_path: Path, written: list[dict[str, object]]
) -> None:
    with pytest.raises(NetworkError, match="H4203"):
        run(consortium, tmp_path, JOB.model_copy(update={"minimum": 6}))


def test_the_bundle_holds_the_courier_alone(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / "clients").mkdir(parents=True)
    (folder / "clients" / "agent.py").write_text("# of an earlier time")
    assert write_flower_app(folder) == folder
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert files == {"pyproject.toml", "clients/__init__.py", "clients/courier.py"}
    root = Path(__file__).parents[2]
    for name in BUNDLED:
        assert (folder / name).read_bytes() == (root / name).read_bytes()
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["dependencies"] == []
    assert project["tool"]["flwr"]["app"]["fab-include"] == list(BUNDLED)
    assert project["tool"]["flwr"]["app"]["components"]["clientapp"] == "clients.courier:app"
