"""The courier: the only code that Flower runs at an institution.

Flower ships an app's code to a node and starts a fresh process for every message, so what
runs here came from the centre. It therefore touches nothing: it hands the message to the
institution's own node agent over a Unix-domain socket and carries the reply back. It imports
neither torch nor pandas, which keeps a process start under a second.
"""

from collections.abc import Callable
from typing import Protocol

import grpc
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from google.protobuf.message import DecodeError

from haihe_fl.messages.codec import from_tensor, to_tensor
from haihe_fl.messages.node_pb2 import LocalTraining, NodeReply, NodeRequest, Refusal

BODY = "haihe"
HANDLE = "/haihe.v1.NodeAgent/Handle"
MAX_MESSAGE = 256 * 2**20
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


def build_app(connect: Callable[[Context], Agent] = _agent_of) -> ClientApp:
    """Return the ClientApp, with the way in which it finds its agent."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        """Carry an opaque request of the closed list (``haihe_fl/messages``)."""
        record = message.content.config_records.get(BODY)
        body = record.get(BODY) if record is not None else None
        try:
            request = NodeRequest.FromString(body) if isinstance(body, bytes) else None
        except DecodeError:
            request = None
        if request is None or request.WhichOneof("body") in (None, "local_training"):
            reply = NodeReply(refusal=Refusal(code=MALFORMED))
        else:
            reply = connect(context).handle(request)
        return Message(
            RecordDict({BODY: ConfigRecord({BODY: reply.SerializeToString()})}), reply_to=message
        )

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Carry a round of local training in the records that Flower's FedAvg speaks."""
        config = message.content["config"]
        body = config[BODY]
        request = NodeRequest.FromString(body if isinstance(body, bytes) else b"")
        arrays = message.content["arrays"]
        request.local_training.MergeFrom(
            LocalTraining(
                round=int(config["server-round"]),
                weights=[to_tensor(a.numpy()) for a in arrays.values()],
                proximal_mu=float(config.get("proximal-mu", 0.0)),
            )
        )
        reply = connect(context).handle(request)
        content = RecordDict()
        if reply.WhichOneof("body") == "local_update":
            weights = [Array(np.array(from_tensor(t))) for t in reply.local_update.weights]
            content["arrays"] = ArrayRecord(dict(zip(arrays, weights, strict=True)))
            # Every institution weighs the same: a row count is a private fact.
            content["metrics"] = MetricRecord({"num-examples": 1})
        else:
            content[BODY] = ConfigRecord({BODY: reply.SerializeToString()})
        return Message(content, reply_to=message)

    return app


app = build_app()
