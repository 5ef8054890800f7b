"""The courier: the only code that Flower runs at an institution.

Flower ships an app's code to a node and starts a fresh process for every message, so what
runs here came from the centre. It therefore touches nothing: it hands the message to the
institution's own node agent over a Unix-domain socket and carries the reply back. It imports
neither torch nor pandas, which keeps a process start under a second.
"""

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

import grpc
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from haihe_fl.messages import HANDLE, MAX_MESSAGE
from haihe_fl.messages.codec import from_tensor, to_tensor
from haihe_fl.messages.node_pb2 import NodeReply, NodeRequest, Refusal

T = TypeVar("T")
log = logging.getLogger(__name__)

BODY = "haihe"
MALFORMED, UNREACHABLE = "H5303", "H4301"


class Agent(Protocol):
    """What the courier knows of a node agent."""

    def handle(self, request: NodeRequest) -> NodeReply:
        """Answer one request; never raises."""


class RemoteAgent:
    """A node agent behind a Unix-domain socket, e.g. ``unix:/run/haihe/bank1.sock``."""

    def __init__(self, address: str, timeout_s: float = 600.0) -> None:
        self.address = address
        self.timeout_s = timeout_s

    def handle(self, request: NodeRequest) -> NodeReply:
        """Ask the agent; a refusal H4301 stands for an agent that cannot be reached."""
        limits = [
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
        ]
        with grpc.insecure_channel(self.address, options=limits) as channel:
            call = channel.unary_unary(
                HANDLE,
                request_serializer=NodeRequest.SerializeToString,
                response_deserializer=NodeReply.FromString,
            )
            try:
                reply: NodeReply = call(request, timeout=self.timeout_s, wait_for_ready=False)
            except grpc.RpcError:
                return NodeReply(refusal=Refusal(code=UNREACHABLE))
            return reply


def _agent_of(context: Context) -> Agent:
    return RemoteAgent(str(context.node_config["agent"]))


Reader = Callable[[Message], NodeRequest]
Writer = Callable[[Message, NodeReply], RecordDict]


def build_app(connect: Callable[[Context], Agent] = _agent_of) -> ClientApp:
    """Return the ClientApp, with the way in which it finds its agent."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        """Carry an opaque request of the closed list (``haihe_fl/messages``)."""
        return _carry(message, context, connect, _read_opaque, _write_opaque)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Carry a round of local training in the records that Flower's FedAvg speaks."""
        return _carry(message, context, connect, _read_training, _write_training)

    return app


def _carry(
    message: Message,
    context: Context,
    connect: Callable[[Context], Agent],
    read: Reader,
    write: Writer,
) -> Message:
    """Carry a message to the agent and its reply back; a fault here leaves as a number too.

    Flower would send the text of an exception to the server's log.
    """
    try:
        content = write(message, connect(context).handle(read(message)))
    except Exception:
        log.exception("a message could not be carried")
        content = _write_opaque(message, NodeReply(refusal=Refusal(code=MALFORMED)))
    return Message(content, reply_to=message)


def _read_opaque(message: Message) -> NodeRequest:
    request = _parse(message.content.config_records[BODY])
    if request.WhichOneof("body") == "local_training":
        raise ValueError("local training travels as Flower's records")
    return request


def _parse(record: ConfigRecord) -> NodeRequest:
    request: NodeRequest = NodeRequest.FromString(_entry(record, BODY, bytes))
    return request


def _entry(record: ConfigRecord, name: str, kind: type[T]) -> T:
    value = record[name]
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be of type {kind.__name__}")
    return value


def _write_opaque(message: Message, reply: NodeReply) -> RecordDict:
    return RecordDict({BODY: ConfigRecord({BODY: reply.SerializeToString()})})


def _read_training(message: Message) -> NodeRequest:
    config = message.content.config_records["config"]
    request = _parse(config)
    request.local_training.round = _entry(config, "server-round", int)
    request.local_training.proximal_mu = _entry(config, "proximal-mu", float)
    arrays = message.content.array_records["arrays"].values()
    request.local_training.weights.extend(to_tensor(array.numpy()) for array in arrays)
    return request


def _write_training(message: Message, reply: NodeReply) -> RecordDict:
    if reply.WhichOneof("body") != "local_update":
        return _write_opaque(message, reply)
    names = message.content.array_records["arrays"]
    weights = [Array(np.array(from_tensor(t))) for t in reply.local_update.weights]
    return RecordDict(
        {
            "arrays": ArrayRecord(dict(zip(names, weights, strict=True))),
            # Every institution weighs the same: a row count is a private fact.
            "metrics": MetricRecord({"num-examples": 1}),
        }
    )


app = build_app()
