"""Blocks of draws on a Ray cluster: the same numbers, and clear errors."""

import gc
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from haihe_fl.errors import IntegrityError, NetworkError, UserError
from haihe_fl.stress import workers
from haihe_fl.stress.distribution import LossDraws, simulate_losses
from haihe_fl.stress.draws import DrawSettings
from haihe_fl.stress.kernel import Shock
from haihe_fl.stress.portfolio import Portfolio
from haihe_fl.stress.tiles import Block, Spread, Tiles
from haihe_fl.stress.workers import loss_workers, ray_workers

# Of processes and sockets that Ray itself leaves open.
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ARRAYS = ("losses", "expected", "variance", "quarters", "weights")


def draw(spread: Spread | None, method: str, draws: int = 700) -> LossDraws:
    rng = np.random.default_rng(3)
    n = 900
    portfolio = Portfolio.build(
        pd=rng.uniform(0.005, 0.2, n),
        ead=rng.lognormal(13, 1, n),
        lgd=0.45,
        sector=np.array(["a", "b"])[rng.integers(0, 2, n)],
        sectors=("a", "b"),
        institution=np.array(["x", "y", "z"])[rng.integers(0, 3, n)],
    )
    options = DrawSettings(shift=-2.0, method=method)
    return simulate_losses(
        portfolio, Shock.none(2, 5), options=options, draws=draws, seed=4, spread_over=spread
    )


def backwards(tiles: Tiles, firsts: Any) -> Iterator[tuple[int, Block]]:
    return ((first, tiles(first)) for first in reversed(firsts))


def same(a: LossDraws, b: LossDraws) -> bool:
    return all(getattr(a, k).tobytes() == getattr(b, k).tobytes() for k in ARRAYS)


def test_blocks_may_come_in_any_order() -> None:
    here = draw(None, "bucketed")
    assert same(draw(backwards, "bucketed"), here)
    assert not same(draw(lambda t, f: ((k, t(0)) for k in f[:-1]), "bucketed", 640), here)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Spread]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is an extra: pip install 'haihe-fl[simulation]'")
    with ray_workers(deadline_s=120.0) as spread:
        yield spread
    gc.collect()  # Ray leaves its stopped processes to the garbage collector, which warns


@pytest.mark.parametrize("method", ["bucketed", "dense"])
def test_ray_gives_the_same_numbers_to_the_last_bit(cluster: Spread, method: str) -> None:
    assert same(draw(cluster, method), draw(None, method))


def test_nothing_listens_beyond_this_machine(cluster: Spread) -> None:
    ray = importlib.import_module("ray")
    (node,) = ray.nodes()
    assert node["NodeManagerAddress"] == "127.0.0.1"
    assert not ray._private.worker.global_worker.node.webui_url
    with ray_workers() as inner:  # a connection that is open is used, and stays
        assert same(draw(inner, "bucketed", 64), draw(None, "bucketed", 64))
    assert ray.is_initialized()


def test_a_task_that_fails_or_hangs_is_an_error(cluster: Spread) -> None:
    with pytest.raises(NetworkError, match=r"H4501.*TypeError"):
        list(cluster(None, [0, 64]))  # type: ignore[arg-type]
    with (
        ray_workers(deadline_s=1e-6) as hasty,
        pytest.raises(NetworkError, match=r"H4501.*no task ended"),
    ):
        draw(hasty, "dense")


def test_a_worker_of_other_code_is_refused(
    cluster: Spread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "code_version", lambda: "0.0.0+other")
    with pytest.raises(IntegrityError, match="H5563"):
        draw(cluster, "bucketed", 64)


def test_without_ray_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(workers.importlib, "import_module", absent)
    with pytest.raises(UserError, match=r"H2567.*haihe-fl\[simulation\]"), loss_workers("ray"):
        pass
    with pytest.raises(UserError, match="H2566"):
        loss_workers("dask")
    with loss_workers() as spread:
        assert spread is None
