"""Memory: a node agent with 100,000 borrowers, the courier, the whole demo.

Peaks of resident memory. Agent and courier are processes of their own, as in a deployment, and
their peak is the kernel's (VmHWM). The agent takes part in whole runs, additive and neural, with
two small institutions in this process; it reads its rows from Parquet and is asked over its
socket. Of the demo, all processes are added up, twenty times a second.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from benchmarks.harness import parser, publish
from clients.courier import RemoteAgent, build_app
from clients.node import NodeConfig, load_or_create_ca, prepare_node, socket_path
from clients.policy import NodePolicy
from consortium.grid import InProcessGrid
from consortium.inprocess import InProcessConsortium
from haihe_fl.data.cohort import Cohort
from haihe_fl.data.synth import layout
from haihe_fl.data.synth.consortium import FEWEST_ENTERPRISES, synthesise
from haihe_fl.messages.node_pb2 import Hello, NodeRequest
from haihe_fl.securesum.keys import Identity
from haihe_fl.workspace import Workspace
from server.job import TrainingJob
from server.training import run_training

LARGE = "large"
SMALL = ("small-1", "small-2")
SMALL_ROWS = 500
MB = 1e6
LIMITS = {"agent": 600, "courier": 150, "demo": 4000}

# What flwr-clientapp loads, and one message through the courier to a real agent.
COURIER = """
import sys
import flwr.supernode.cli.flwr_clientapp
from clients.courier import BODY, app
from consortium.grid import FIRST_NODE_ID, InProcessGrid
from flwr.app import ConfigRecord, MessageType, RecordDict
from haihe_fl.messages.node_pb2 import Hello, NodeReply, NodeRequest
grid = InProcessGrid(app, {"node": {"agent": sys.argv[1]}})
body = NodeRequest(hello=Hello()).SerializeToString()
content = RecordDict({BODY: ConfigRecord({BODY: body})})
(reply,) = grid.send_and_receive(
    [grid.create_message(content, MessageType.QUERY, FIRST_NODE_ID, "")]
)
answer = NodeReply.FromString(reply.content[BODY][BODY])
assert answer.WhichOneof("body") == "status", answer
print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    borrowers: int
    settings: dict[str, dict[str, Any]]
    demo: tuple[str, ...]


FULL = Size(100_000, {"additive": {}, "neural": {}}, ())
QUICK = Size(
    2_000,
    {"additive": {"rounds_without_pairs": 2, "pairs": 0}, "neural": {"rounds": 2}},
    ("--enterprises", "2000"),
)


def peak_mb(status: str) -> float:
    r"""Return the peak of resident memory in a text of ``/proc/PID/status``, in MB.

    Examples
    --------
    >>> peak_mb("VmPeak: 5 kB\nVmHWM:\t  100000 kB\n")
    102.4
    """
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MB


def peak_of(pid: int) -> float:
    """Return a process's peak of resident memory so far, in MB."""
    return peak_mb(Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))


def cohorts(borrowers: int, seed: int) -> dict[str, Cohort]:
    """Return one institution of so many borrowers, a record each, and the small ones."""
    wanted = borrowers + SMALL_ROWS * len(SMALL)
    made = synthesise(max(int(1.3 * wanted), FEWEST_ENTERPRISES), seed).cohort
    _, first = np.unique(made.key, return_index=True)
    first = first[:wanted]
    if len(first) < wanted:
        raise ValueError(f"{len(first)} borrowers have a loan, {wanted} are needed")
    order = np.random.default_rng(seed).permutation(first)
    ends = np.cumsum([borrowers, *(SMALL_ROWS for _ in SMALL)])
    parts = zip((LARGE, *SMALL), np.split(order, ends[:-1]), strict=True)
    return {
        name: replace(made.take(rows), institution=np.full(len(rows), name)) for name, rows in parts
    }


def prepare(folder: Path, cohort: Cohort) -> Path:
    """Write the large institution's node folder with its file and mapping; returns it."""
    data = folder / "data"
    data.mkdir(parents=True)
    layout.table(cohort, coded=True).to_parquet(data / "rows.parquet", index=False)
    text = yaml.safe_dump(layout.mapping(cohort), allow_unicode=True, sort_keys=False)
    (data / "mapping.yaml").write_text(text, encoding="utf-8")
    ca = load_or_create_ca(folder / "ca", "Haihe consortium")
    node = folder / "nodes" / LARGE
    config = NodeConfig(data=data / "rows.parquet", mapping=data / "mapping.yaml")
    identity: Identity = ca.issue(LARGE)
    return prepare_node(node, identity, ca.certificate, NodePolicy(), config)


@contextmanager
def agent_process(node: Path, patience_s: float = 300.0) -> Iterator[tuple[int, RemoteAgent]]:
    """Run a node's agent as an institution does, until the end of the block."""
    agent = RemoteAgent(f"unix:{socket_path(node)}")
    with (node / "agent.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "clients.service", str(node)], stdout=log, stderr=log
        )
        try:
            end = time.monotonic() + patience_s
            hello = NodeRequest(hello=Hello())
            while agent.handle(hello).WhichOneof("body") != "status":
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(
                        f"the agent did not start: {(node / 'agent.log').read_text()}"
                    )
                time.sleep(0.2)
            yield process.pid, agent
        finally:
            process.terminate()
            process.wait(30)


def measure_agent(size: Size, seed: int) -> dict[str, Any]:
    """Take a large institution through runs; return its peaks, and the courier's, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        members = cohorts(size.borrowers, seed)
        large = members.pop(LARGE)
        catalogue = large.catalogue
        node = prepare(root, large)
        small = InProcessConsortium.open(root, members)
        peaks: dict[str, Any] = {"file": (root / "data" / "rows.parquet").stat().st_size / MB}
        for family, settings in size.settings.items():
            with agent_process(node) as (pid, remote):
                peaks.setdefault("loaded", peak_of(pid))
                agents = {**small.agents, LARGE: remote}
                app = build_app(lambda context, a=agents: a[str(context.node_config["name"])])  # type: ignore[misc]
                grid = InProcessGrid(app, {name: {"name": name} for name in agents})
                job = TrainingJob(
                    family="additive" if family == "additive" else "neural",
                    institutions=len(agents),
                    settings=settings,
                    deadline_s=600,
                )
                report = run_training(
                    grid, job, catalogue, Workspace.at(root / "work"), poll_s=0.01
                )
                if any(LARGE not in survivors for survivors in report.survivors):
                    raise RuntimeError(f"the large institution dropped out: {report.left_out}")
                peaks[family] = peak_of(pid)
                peaks[f"{family} seconds"] = report.seconds
                peaks[f"{family} releases"] = len(report.survivors)
                if "courier" not in peaks:
                    peaks["courier"] = measure_courier(remote.address)
        return peaks


def measure_courier(address: str) -> float:
    """Carry one message in a fresh process, as Flower starts one; return its peak in MB."""
    done = subprocess.run(
        [sys.executable, "-c", COURIER, address], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the courier failed: {done.stderr}")
    return peak_mb(done.stdout)


def tree_mb(process: psutil.Process) -> float:
    """Return the resident memory of a process and all below it, in MB; 0 if it is gone."""
    total = 0.0
    try:
        for member in [process, *process.children(recursive=True)]:
            try:
                total += member.memory_info().rss / MB
            except psutil.NoSuchProcess:
                continue
    except psutil.NoSuchProcess:
        pass
    return total


def measure_demo(options: tuple[str, ...]) -> tuple[float | None, str]:
    """Run ``haihe demo``; return the peak of its processes together in MB, or why there is none."""
    haihe = Path(sys.executable).with_name("haihe")
    if not haihe.exists():
        return None, "the command haihe is not installed"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "demo.log"
        with log.open("w") as file:
            child = subprocess.Popen(
                [str(haihe), "demo", "--work", f"{folder}/work", *options],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "COLUMNS": "120"},
            )
            peak, process = 0.0, psutil.Process(child.pid)
            while child.poll() is None:
                peak = max(peak, tree_mb(process))
                time.sleep(0.05)
        if child.returncode != 0:
            last = " ".join(log.read_text(errors="replace").split())[-300:]
            return None, f"haihe demo ended with {child.returncode}: {last}"
    return peak, ""


def rows_of(peaks: dict[str, Any], demo: float | None, borrowers: int) -> list[dict[str, Any]]:
    """Return one row a figure; a figure that was not measured says so.

    Examples
    --------
    >>> peaks = {"loaded": 9.0, "additive": 601.0, "neural": 2.0, "courier": 3.0}
    >>> [row["ok"] for row in rows_of(peaks, None, 10)]
    ['yes', 'NO', 'yes', 'yes', 'not measured']
    """
    who = f"agent, {borrowers:,} borrowers"
    rows = [
        (f"{who}, rows read", "agent", peaks["loaded"]),
        (f"{who}, additive run", "agent", peaks["additive"]),
        (f"{who}, neural run (loads torch)", "agent", peaks.get("neural")),
        ("courier, one message", "courier", peaks["courier"]),
        ("haihe demo, all processes", "demo", demo),
    ]
    return [
        {
            "figure": figure,
            "limit MB": LIMITS[limit],
            "measured MB": peak,
            "ok": "not measured" if peak is None else "yes" if peak < LIMITS[limit] else "NO",
        }
        for figure, limit, peak in rows
    ]


def main(argv: list[str] | None = None) -> int:
    """Measure and publish; a figure that is missed is shown, not hidden."""
    options = parser(__doc__, seed=2023)
    options.add_argument("--no-demo", action="store_true", help="leave the demo out")
    args: argparse.Namespace = options.parse_args(argv)
    size = QUICK if args.quick else FULL
    logging.getLogger("flwr").setLevel(logging.WARNING)
    peaks = measure_agent(size, args.seed)
    demo, why = (None, "left out") if args.no_demo else measure_demo(size.demo)
    publish(
        args,
        "footprint",
        {"Peaks of resident memory": rows_of(peaks, demo, size.borrowers)},
        {**peaks, "demo": demo, "demo_note": why},
    )
    if why:
        print(f"demo not measured: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
