"""Who computes the blocks of a loss distribution: threads here, or a Ray cluster.

Every number has its place in a counter-based stream (`haihe_fl.stress.draws`), so a block is the
same wherever it is computed, and the whole is the same in whatever order blocks come back. Ray is
optional (``pip install 'haihe-fl[simulation]'``) and imported only when it is asked for.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager as Context
from contextlib import contextmanager, nullcontext
from typing import Any

from haihe_fl.errors import IntegrityError, NetworkError, UserError
from haihe_fl.stress.run import code_version
from haihe_fl.stress.tiles import Block, Spread, Tiles

KINDS = ("threads", "ray")
LOOPBACK = "127.0.0.1"
DEADLINE_S = 600.0
"""Longest wait for any one task of a cluster."""
_TASKS_PER_CPU = 4  # enough to even out slow workers, few enough that sending costs little


def loss_workers(kind: str = "threads", address: str | None = None) -> Context[Spread | None]:
    """Return what to pass `simulate_losses` as ``spread_over``, as a context.

    Parameters
    ----------
    kind : {"threads", "ray"}
        Threads of this process, or Ray.
    address : str, optional
        Of a Ray cluster that runs; left out, one of this machine alone is started, on the
        loopback interface, and stopped at the end.

    Raises
    ------
    UserError
        H2566 for another kind, H2567 if Ray is not installed.
    NetworkError
        H4501 if the cluster cannot be reached.

    Examples
    --------
    >>> with loss_workers("threads") as spread:
    ...     spread is None
    True
    """
    if kind not in KINDS:
        raise UserError(
            "H2566",
            en=f"--workers is threads or ray, not {kind!r}",
            zh=f"--workers 只能是 threads 或 ray,不能是 {kind!r}",
        )
    return nullcontext() if kind == "threads" else ray_workers(address)


@contextmanager
def ray_workers(address: str | None = None, deadline_s: float = DEADLINE_S) -> Iterator[Spread]:
    """Spread blocks over Ray; a connection that was open before stays open.

    Raises
    ------
    UserError
        H2567 if Ray is not installed.
    NetworkError
        H4501 if the cluster cannot be reached, a task fails, or none ends within ``deadline_s``.
    IntegrityError
        H5563 if a worker runs other code: its numbers might differ.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray warns of a default that it will change; it concerns GPUs, of which none is asked for.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:  # read when Ray is imported: it then takes the loopback interface
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "H2567",
            en="--workers ray needs Ray, which is not installed: pip install "
            "'haihe-fl[simulation]'; without it, --workers threads gives the same numbers",
            zh="--workers ray 需要 Ray,当前未安装:pip install 'haihe-fl[simulation]';"
            "不安装时 --workers threads 可得到完全相同的结果",
        ) from None
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, address)
    try:

        def spread(tiles: Tiles, firsts: Sequence[int]) -> Iterator[tuple[int, Block]]:
            return _spread(ray, tiles, firsts, deadline_s)

        yield spread
    finally:
        if mine:
            ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    here = {"_node_ip_address": LOOPBACK, "num_cpus": len(os.sched_getaffinity(0))}
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="error",
            **({} if address else here),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise _failed(f"{address or 'local'}: {error}") from None
    if not address and ray.util.get_node_ip_address() != LOOPBACK:
        ray.shutdown()
        raise _failed("Ray was imported before, and would listen beyond this machine")


def _spread(
    ray: Any, tiles: Tiles, firsts: Sequence[int], deadline_s: float
) -> Iterator[tuple[int, Block]]:
    """Send the tiles once, blocks in a few tasks a processor, and yield what comes back."""
    cpus = max(int(ray.cluster_resources().get("CPU", 1)), 1)
    size = max(1, -(-len(firsts) // (_TASKS_PER_CPU * cpus)))
    task = ray.remote(num_cpus=1, max_retries=1)(_blocks)
    where = ray.put(tiles)
    waiting = [task.remote(where, list(firsts[k : k + size])) for k in range(0, len(firsts), size)]
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=deadline_s)
            if not done:
                raise _failed(f"no task ended within {deadline_s:g} s")
            try:
                code, blocks = ray.get(done[0])
            except ray.exceptions.RayError as error:
                raise _failed(str(error).strip().splitlines()[-1]) from None
            if code != code_version():
                raise IntegrityError(
                    "H5563",
                    en=f"a Ray worker runs haihe-fl {code}, this process {code_version()}; "
                    "install one version on the whole cluster",
                    zh=f"某 Ray 工作进程的 haihe-fl 为 {code},本进程为 {code_version()};"
                    "请在整个集群安装同一版本",
                )
            yield from blocks
    finally:
        for left in waiting:
            ray.cancel(left)


def _blocks(tiles: Tiles, firsts: list[int]) -> tuple[str, list[tuple[int, Block]]]:
    """Compute blocks in a worker; says which code it did so with."""
    return code_version(), [(first, tiles(first)) for first in firsts]


def _failed(what: str) -> NetworkError:
    return NetworkError(
        "H4501",
        en=f"the Ray cluster gave no result ({what}); check it with 'ray status', or use "
        "--workers threads",
        zh=f"Ray 集群未返回结果({what});请用 ray status 检查,或改用 --workers threads",
    )
