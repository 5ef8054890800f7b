"""A deployed consortium on loopback: a real SuperLink, SuperNodes and node agents.

The same commands as over a network, on one machine: TLS, node authentication, one node agent
and one SuperNode an institution.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from clients.courier import RemoteAgent
from clients.node import socket_path
from consortium.flower_app import write_flower_app
from consortium.processes import (
    ProcessGroup,
    child_environment,
    free_port,
    listening,
    wait_until,
)
from consortium.tls import make_loopback_tls, make_supernode_key
from haihe_fl.errors import NetworkError, UserError
from haihe_fl.messages.node_pb2 import Hello, NodeRequest

CONNECTION = "haihe"


@dataclass(frozen=True)
class Deployment:
    """A running consortium, as written to ``deployment.json`` for other commands."""

    pid: int
    port: int
    flower_home: str
    app: str
    nodes: dict[str, str]
    """Institution by Flower's node number."""

    @property
    def institutions(self) -> list[str]:
        """Names of the institutions, sorted."""
        return sorted(self.nodes.values())

    def save(self, folder: Path) -> None:
        """Write ``deployment.json``."""
        (folder / "deployment.json").write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Deployment":
        """Find the consortium that runs from a folder.

        Raises
        ------
        UserError
            H2302 if none runs there.
        """
        path = folder / "deployment.json"
        try:
            found = cls(**json.loads(path.read_text()))
            os.kill(found.pid, 0)
        except (OSError, ValueError, TypeError):
            raise UserError(
                "H2302",
                en=f"no consortium runs from {folder}; start one with `haihe consortium up`",
                zh=f"{folder} 下没有正在运行的联合体;请先执行 `haihe consortium up`",
            ) from None
        return found


class LocalConsortium:
    """Starts and stops everything.

    Parameters
    ----------
    folder : Path
        Where keys, databases, logs and ``deployment.json`` go.
    node_folders : dict of str to Path
        One prepared node folder (see ``clients.node``) an institution.
    node_env : dict of str to str
        Extra environment of the node agents.
    """

    def __init__(
        self, folder: Path, node_folders: dict[str, Path], node_env: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.node_folders = node_folders
        self.node_env = node_env or {}
        self.flower_home = folder / "flower"
        self.processes = ProcessGroup(folder / "logs", env={"FLWR_HOME": str(self.flower_home)})
        self.deployment: Deployment | None = None
        self.nodes: dict[str, str] = {}

    def up(self, progress: Callable[[str], None] = lambda _: None) -> Deployment:
        """Start the SuperLink, register and start every node, and wait until all are online."""
        self.flower_home.mkdir(parents=True, exist_ok=True)
        (self.folder / "superlink.db").unlink(missing_ok=True)
        try:
            ca, port = self._start_superlink()
            progress("SuperLink")
            for name, node in self.node_folders.items():
                self._start_agent(name, node)
                progress(f"{name}: agent")
            for name, node in self.node_folders.items():
                self._start_supernode(name, node, ca, port)
                progress(f"{name}: SuperNode")
            self._wait_online()
        except BaseException:
            self.down()
            raise
        self.deployment = Deployment(
            pid=os.getpid(),
            port=port,
            flower_home=str(self.flower_home),
            app=str(write_flower_app(self.folder / "app")),
            nodes=self.nodes,
        )
        self.deployment.save(self.folder)
        return self.deployment

    def down(self) -> None:
        """Stop everything."""
        self.processes.stop()
        (self.folder / "deployment.json").unlink(missing_ok=True)

    def _start_superlink(self) -> tuple[Path, int]:
        keys = self.folder / "tls"
        keys.mkdir(parents=True, exist_ok=True)
        ca, certificate, key = make_loopback_tls(keys)
        port = free_port()
        (self.flower_home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
            f'address = "127.0.0.1:{port}"\nroot-certificates = "{ca}"\n'
        )
        command = [_script("flower-superlink"), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--ssl-ca-certfile", str(ca), "--ssl-certfile", str(certificate)]
        command += ["--ssl-keyfile", str(key), "--enable-supernode-auth"]
        command += ["--database", str(self.folder / "superlink.db")]
        command += ["--disable-runtime-dependency-installation"]
        self.processes.start("superlink", command)
        self.processes.wait_ready("superlink", lambda: listening(port))
        return ca, port

    def _start_agent(self, name: str, node: Path) -> None:
        self.processes.start(
            f"agent-{name}", [sys.executable, "-m", "clients.service", str(node)], self.node_env
        )

    def _start_supernode(self, name: str, node: Path, ca: Path, port: int) -> None:
        agent = RemoteAgent(f"unix:{socket_path(node)}", timeout_s=5)
        self.processes.wait_ready(
            f"agent-{name}",
            lambda: agent.handle(NodeRequest(hello=Hello())).WhichOneof("body") == "status",
        )
        private, public = make_supernode_key(node)
        registered = json.loads(
            self.flwr(
                "supernode", "register", str(public), CONNECTION, "--name", name, "--format", "json"
            )
        )
        self.nodes[str(registered["node-id"])] = name
        command = [_script("flower-supernode"), "--superlink", f"127.0.0.1:{port}"]
        command += ["--root-certificates", str(ca), "--auth-supernode-private-key", str(private)]
        command += ["--port", str(free_port())]
        command += ["--node-config", f'agent="{agent.address}"']
        self.processes.start(f"supernode-{name}", command)

    def _wait_online(self, timeout_s: float = 60.0) -> None:
        def online() -> bool:
            states = supernodes(self.flower_home, self.nodes)
            return sum(state == "online" for state in states.values()) == len(self.node_folders)

        if not wait_until(online, timeout_s, pause_s=1.0):
            raise NetworkError(
                "H4303",
                en=f"not all SuperNodes came online within {timeout_s:g} s; "
                f"see {self.processes.logs}",
                zh=f"部分 SuperNode 未能在 {timeout_s:g} 秒内上线;请查看 {self.processes.logs}",
            )

    def flwr(self, *arguments: str) -> str:
        """Run a ``flwr`` command against this SuperLink and return what it prints."""
        return run_flwr(self.flower_home, *arguments)


def supernodes(flower_home: Path, nodes: dict[str, str]) -> dict[str, str]:
    """Return the state of every SuperNode, by institution."""
    listing = json.loads(run_flwr(flower_home, "supernode", "list", CONNECTION, "--format", "json"))
    states = {node["node-id"]: str(node["status"]) for node in listing["nodes"]}
    return {name: states.get(number, "unknown") for number, name in nodes.items()}


def submit(deployment: Deployment, job: Path) -> str:
    """Submit a training job to a running consortium; returns Flower's run number."""
    printed = run_flwr(
        Path(deployment.flower_home),
        "run",
        deployment.app,
        CONNECTION,
        "--run-config",
        f'job="{job}"',
        "--format",
        "json",
    )
    return str(json.loads(printed)["run-id"])


def follow(
    job: Path,
    progress: Callable[[str, int, int], None],
    deadline_s: float,
) -> dict[str, object]:
    """Wait for a job's ``result.json``, passing on the steps it notes in ``progress.jsonl``.

    Raises
    ------
    NetworkError
        H4304 if there is no result at the deadline.
    """
    seen = 0
    end = time.monotonic() + deadline_s
    steps, result = job / "progress.jsonl", job / "result.json"
    while time.monotonic() < end:
        done = result.exists()
        lines = steps.read_text().splitlines() if steps.exists() else []
        for line in lines[seen:]:
            step = json.loads(line)
            progress(step["what"], step["done"], step["total"])
        seen = len(lines)
        if done:
            answer: dict[str, object] = json.loads(result.read_text())
            return answer
        time.sleep(0.3)
    raise NetworkError(
        "H4304",
        en=f"the run in {job} gave no result within {deadline_s:g} s; see the SuperLink's log",
        zh=f"{job} 的任务在 {deadline_s:g} 秒内没有结果;请查看 SuperLink 日志",
    )


def run_flwr(flower_home: Path, *arguments: str) -> str:
    """Run ``flwr`` and return its standard output.

    Raises
    ------
    NetworkError
        H4305 if the command fails.
    """
    done = subprocess.run(
        [_script("flwr"), *arguments],
        env=child_environment({"FLWR_HOME": str(flower_home), "COLUMNS": "200"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        detail = " ".join((done.stderr or done.stdout).split())[-300:]
        raise NetworkError(
            "H4305",
            en=f"`flwr {arguments[0]}` failed: {detail}",
            zh=f"`flwr {arguments[0]}` 执行失败:{detail}",
        )
    return done.stdout


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
