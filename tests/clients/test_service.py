"""The node agent behind its socket: real gRPC, in one process."""

import socket as sockets
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from small_consortium import CATALOGUE, NAMES, Node, make_plan, prepare

from clients import node as nodes
from clients.agent import NodeAgent
from clients.courier import RemoteAgent
from clients.node import NodeConfig, fixed_noise, open_node, prepare_node, socket_path
from clients.policy import NodePolicy
from clients.service import serve_agent
from haihe_fl.errors import UserError
from haihe_fl.messages import HANDLE
from haihe_fl.messages import node_pb2 as m
from haihe_fl.securesum.keys import ConsortiumCA, Identity


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[NodeAgent]:
    agent = Node(tmp_path / "node", ConsortiumCA.create("test")).open()
    yield agent
    agent.close()


@pytest.fixture
def socket(tmp_path: Path, agent: NodeAgent) -> Iterator[Path]:
    path = tmp_path / "agent.sock"
    server = serve_agent(agent, path)
    yield path
    server.stop(grace=None).wait(5)


def test_requests_over_the_socket(agent: NodeAgent, socket: Path) -> None:
    remote = RemoteAgent(f"unix:{socket}", timeout_s=20)
    assert remote.handle(m.NodeRequest(hello=m.Hello())).status.institution == NAMES[0]
    offer = remote.handle(prepare(make_plan()))
    assert offer.HasField("key_offer")
    assert offer == agent.handle(prepare(make_plan()))
    refused = remote.handle(m.NodeRequest(run="run-9", finish=m.Finish()))
    assert refused == m.NodeReply(refusal=m.Refusal(code="H5311"))


def test_only_this_user_may_connect(socket: Path) -> None:
    mode = socket.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert mode & 0o777 == 0o600


def test_garbage_gets_no_text(socket: Path) -> None:
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        for method in (HANDLE, "/haihe.v1.NodeAgent/Other"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"\xff\xff\xff", timeout=20)
            assert "Traceback" not in str(caught.value.details())
            assert "DecodeError" not in str(caught.value.details())


def test_an_absent_or_silent_agent_is_a_number(tmp_path: Path) -> None:
    hello = m.NodeRequest(hello=m.Hello())
    gone = RemoteAgent(f"unix:{tmp_path / 'none.sock'}", timeout_s=5)
    assert gone.handle(hello).refusal.code == "H4301"
    mute = tmp_path / "mute.sock"
    with sockets.socket(sockets.AF_UNIX) as listener:  # accepts, and says nothing
        listener.bind(str(mute))
        listener.listen()
        assert RemoteAgent(f"unix:{mute}", timeout_s=0.3).handle(hello).refusal.code == "H4301"


def test_a_restart_takes_the_socket_over(agent: NodeAgent, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.touch()  # left behind by a killed agent
    server = serve_agent(agent, path)
    hello = m.NodeRequest(hello=m.Hello())
    assert RemoteAgent(f"unix:{path}", timeout_s=20).handle(hello).HasField("status")
    server.stop(grace=None).wait(5)


def test_socket_paths_are_short_private_and_distinct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes.tempfile, "gettempdir", lambda: str(tmp_path))
    one, other = socket_path(tmp_path / "one"), socket_path(tmp_path / "other")
    assert one != other
    assert one.parent == other.parent
    assert one.parent.stat().st_mode & 0o777 == 0o700
    assert len(one.name) < 30
    one.parent.chmod(0o755)
    with pytest.raises(PermissionError, match="0700"):
        socket_path(tmp_path / "one")


def test_a_prepared_folder(tmp_path: Path) -> None:
    ca = ConsortiumCA.create("test")
    folder = tmp_path / "node"
    first = ca.issue(NAMES[0])
    config = NodeConfig(data=Path("rows.csv"), mapping=Path("mapping.yaml"))
    prepare_node(folder, first, ca.certificate, NodePolicy(epsilon_cap=2), config)
    prepare_node(folder, ca.issue(NAMES[0]), ca.certificate, NodePolicy(), config)
    assert Identity.load(folder).certificate == first.certificate  # the identity stays
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "identity.key").stat().st_mode & 0o777 == 0o600
    assert NodeConfig.model_validate(yaml.safe_load((folder / "node.yaml").read_text())) == config


@pytest.mark.parametrize("content", [None, b"data: x", b"data: [", b"\xff\xfe"])
def test_a_folder_without_a_sound_node_file(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "node.yaml").write_bytes(content)
    with pytest.raises(UserError, match="H2303"):
        open_node(tmp_path)


def test_fixed_noise_confesses(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", ConsortiumCA.create("test"))
    noise = fixed_noise("7", NAMES[0])
    agent = node.open(noise=noise)
    status = agent.handle(m.NodeRequest(hello=m.Hello())).status
    assert status.fixed_noise
    assert status.catalogue_fingerprint == CATALOGUE.fingerprint
    again, other = fixed_noise("7", NAMES[0]), fixed_noise("7", NAMES[1])
    draws = [n.rounded_gaussian(100.0, 8).tolist() for n in (noise, again, other)]
    assert draws[0] == draws[1] != draws[2]
    agent.close()
