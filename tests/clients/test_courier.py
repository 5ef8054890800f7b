"""The courier carries, and says nothing of its own but a number."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    RecordDict,
)
from small_consortium import flower_bytes

from clients.courier import BODY, build_app
from consortium.grid import FIRST_NODE_ID, InProcessGrid
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import from_tensor, to_tensor

Handler = Callable[[m.NodeRequest], m.NodeReply]


class Fake:
    """An agent that remembers what it was asked."""

    def __init__(self, answer: Handler) -> None:
        self.answer = answer
        self.asked: list[m.NodeRequest] = []

    def handle(self, request: m.NodeRequest) -> m.NodeReply:
        self.asked.append(request)
        return self.answer(request)


def carry(agent: Fake, content: RecordDict, kind: str = MessageType.QUERY) -> Message:
    grid = InProcessGrid(build_app(lambda _: agent), {"one": {}})
    (reply,) = grid.send_and_receive([grid.create_message(content, kind, FIRST_NODE_ID, "")])
    return reply


def opaque(body: bytes | str) -> RecordDict:
    return RecordDict({BODY: ConfigRecord({BODY: body})})


def training(weights: list[np.ndarray], **config: object) -> RecordDict:
    body = m.NodeRequest(run="run-1", local_training=m.LocalTraining(arrays={}))
    values = {BODY: body.SerializeToString(), "server-round": 2, "proximal-mu": 0.5, **config}
    arrays = ArrayRecord({f"{i:02d}": Array(w) for i, w in enumerate(weights)})
    return RecordDict({"arrays": arrays, "config": ConfigRecord(values)})


def refusal(message: Message) -> str:
    assert not message.has_error()
    assert list(message.content) == [BODY]
    reply = m.NodeReply.FromString(message.content[BODY][BODY])
    return reply.refusal.code


def test_a_request_goes_in_and_the_reply_comes_out() -> None:
    agent = Fake(lambda _: m.NodeReply(status=m.Status(institution="Bank A")))
    request = m.NodeRequest(run="run-1", hello=m.Hello())
    message = carry(agent, opaque(request.SerializeToString()))
    assert agent.asked == [request]
    assert m.NodeReply.FromString(message.content[BODY][BODY]).status.institution == "Bank A"


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        opaque("text"),
        opaque(b"\xff\xff\xff"),
        RecordDict({BODY: ConfigRecord({"other": b""})}),
        opaque(m.NodeRequest(local_training=m.LocalTraining()).SerializeToString()),
    ],
)
def test_what_is_no_request_never_reaches_the_agent(content: RecordDict) -> None:
    agent = Fake(lambda _: m.NodeReply())
    assert refusal(carry(agent, content)) == "H5303"
    assert agent.asked == []


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        training([np.zeros(2, np.float32)], **{"server-round": "two"}),
        training([np.zeros(2, np.float32)], **{"server-round": -1}),
        training([np.zeros(2, np.float32)], **{BODY: b"\xff"}),
        training([np.zeros(2, np.complex128)]),
        RecordDict({"arrays": ArrayRecord({"0": Array("float32", (2,), "numpy.ndarray", b"?")})}),
    ],
)
def test_what_is_no_training_request_either(content: RecordDict) -> None:
    agent = Fake(lambda _: m.NodeReply())
    assert refusal(carry(agent, content, MessageType.TRAIN)) == "H5303"
    assert agent.asked == []


def test_a_round_of_training() -> None:
    def train(request: m.NodeRequest) -> m.NodeReply:
        weights = [to_tensor(2 * from_tensor(t)) for t in request.local_training.weights]
        return m.NodeReply(local_update=m.LocalUpdate(round=2, weights=weights))

    agent = Fake(train)
    sent = [np.ones((2, 3), np.float32), np.full(2, 3, np.float32)]
    message = carry(agent, training(sent), MessageType.TRAIN)
    asked = agent.asked[0].local_training
    assert (agent.asked[0].run, asked.round, asked.proximal_mu) == ("run-1", 2, 0.5)
    back = [a.numpy() for a in message.content["arrays"].values()]
    assert all(np.array_equal(2 * s, b) for s, b in zip(sent, back, strict=True))
    # What an institution weighs would be its number of rows.
    assert dict(message.content["metrics"]) == {"num-examples": 1}


def test_refusals_pass_and_wrong_updates_do_not() -> None:
    sent = training([np.zeros(2, np.float32)])
    refused = Fake(lambda _: m.NodeReply(refusal=m.Refusal(code="H3305")))
    assert refusal(carry(refused, sent, MessageType.TRAIN)) == "H3305"
    short = Fake(lambda _: m.NodeReply(local_update=m.LocalUpdate(round=2)))
    assert refusal(carry(short, sent, MessageType.TRAIN)) == "H5303"


@pytest.mark.parametrize("kind", [MessageType.QUERY, MessageType.TRAIN])
def test_no_exception_text_leaves(kind: str) -> None:
    def fail(_: m.NodeRequest) -> m.NodeReply:
        raise RuntimeError("row 91120100MACANARY01X")

    hello = opaque(m.NodeRequest(hello=m.Hello()).SerializeToString())
    content = hello if kind == MessageType.QUERY else training([np.zeros(2, np.float32)])
    message = carry(Fake(fail), content, kind)
    assert refusal(message) == "H5303"
    assert b"CANARY" not in b"".join(flower_bytes(message))


def test_a_node_without_an_agent_says_so() -> None:
    app = build_app()
    for config, number in [({}, "H5303"), ({"agent": "unix:/nowhere.sock"}, "H4301")]:
        grid = InProcessGrid(app, {"one": config})
        body = m.NodeRequest(hello=m.Hello()).SerializeToString()
        message = grid.create_message(opaque(body), MessageType.QUERY, FIRST_NODE_ID, "")
        (reply,) = grid.send_and_receive([message])
        assert refusal(reply) == number


def test_the_courier_is_light() -> None:
    code = "import sys, clients.courier; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "flwr" in loaded
    assert not loaded & {"torch", "pandas", "mlflow", "scipy", "opacus", "sqlite3", "yaml"}
