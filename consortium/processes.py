"""Child processes that end when their parent does, and whose output goes to a file."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from haihe_fl.errors import NetworkError

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""No library calls home."""


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child: quiet, and with our own scripts found first.

    Flower starts its helpers by name, so they must be found without an activated environment.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **QUIET, "PATH": path, **extra}


def free_port() -> int:
    """Return a TCP port of loopback that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], timeout_s: float, pause_s: float = 0.1) -> bool:
    """Poll until ``ready`` or the time is over; say which."""
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() >= end:
            return False
        time.sleep(pause_s)
    return True


def listening(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass
class ProcessGroup:
    """Processes started together and stopped together.

    Each runs in a process group of its own, so that what it started (Flower's SuperExec, say)
    ends with it.
    """

    logs: Path
    env: Mapping[str, str] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Start a process; its output goes to ``logs/NAME.log``. Returns the process number."""
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment({**self.env, **(env or {})}),
                start_new_session=True,
            )
        self.running[name] = process
        return process.pid

    def dead(self) -> list[str]:
        """Return the names of processes that have ended."""
        return [name for name, process in self.running.items() if process.poll() is not None]

    def wait_ready(self, name: str, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait for a process to be ready.

        Raises
        ------
        NetworkError
            H4302 if it ended or did not become ready in time.
        """
        process = self.running[name]
        if not wait_until(lambda: ready() or process.poll() is not None, timeout_s) or (
            process.poll() is not None
        ):
            log = self.logs / f"{name}.log"
            tail = " | ".join(log.read_text(errors="replace").splitlines()[-3:])
            raise NetworkError(
                "H4302",
                en=f"{name} did not start within {timeout_s:g} s; see {log}: {tail}",
                zh=f"{name} 未能在 {timeout_s:g} 秒内启动;请查看 {log}:{tail}",
            )

    def stop(self, grace_s: float = 8.0) -> None:
        """Ask every group to end, newest first, and kill what does not."""
        for process in reversed(self.running.values()):
            _signal_group(process, signal.SIGTERM)
        wait_until(lambda: len(self.dead()) == len(self.running), grace_s)
        for process in self.running.values():
            _signal_group(process, signal.SIGKILL)
            process.wait()
        self.running.clear()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
