"""One question to many institutions over Flower's grid, with an end to every wait."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flwr.app import Array, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from google.protobuf.message import DecodeError

from haihe_fl.messages.node_pb2 import Hello, NodeReply, NodeRequest, Status

BODY = "haihe"
"""Name of the one record, and of its one entry, that a message carries."""
_NUMBER = re.compile(r"H[2-5][0-9]{3}")


@dataclass
class Replies:
    """What came back: answers, refusals by error number, and who stayed silent."""

    answers: dict[str, NodeReply] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    silent: list[str] = field(default_factory=list)

    @property
    def failed(self) -> dict[str, str]:
        """Reason by institution, for everyone that gave no answer."""
        return {**self.refused, **dict.fromkeys(self.silent, "no answer")}


class Exchange:
    """Asks institutions by name.

    Flower's own ``send_and_receive`` sleeps three seconds between pulls and knows nodes by
    number only; it also drops the number of a node that died. This one polls quickly, keeps
    its own map of message to institution, and returns at the deadline with what it has.

    Parameters
    ----------
    grid : Grid
        Flower's grid, or the in-process one.
    deadline_s : float
        Longest wait for an answer, in seconds.
    poll_s : float
        Pause between two pulls, in seconds.
    """

    def __init__(self, grid: Grid, deadline_s: float = 120.0, poll_s: float = 0.1) -> None:
        self.grid = grid
        self.deadline_s = deadline_s
        self.poll_s = poll_s
        self.nodes: dict[str, int] = {}
        self.bytes_down: dict[str, int] = {}
        self.bytes_up: dict[str, int] = {}

    def discover(self, expected: int, patience_s: float = 60.0) -> dict[str, Status]:
        """Find the institutions behind the connected nodes.

        Waits until ``expected`` nodes are connected, or ``patience_s`` is over, and asks each
        who it is. Of two nodes that claim one institution, neither is taken.
        """
        end = time.monotonic() + patience_s
        while len(ids := sorted(self.grid.get_node_ids())) < expected and time.monotonic() < end:
            time.sleep(self.poll_s)
        self.nodes = {f"node {node_id}": node_id for node_id in ids}
        replies = self.ask({name: NodeRequest(hello=Hello()) for name in self.nodes})
        found: dict[str, list[tuple[int, Status]]] = {}
        for name, reply in replies.answers.items():
            if reply.WhichOneof("body") == "status":
                status = reply.status
                found.setdefault(status.institution, []).append((self.nodes[name], status))
        unique = {name: nodes[0] for name, nodes in found.items() if len(nodes) == 1}
        self.nodes = {name: node_id for name, (node_id, _) in unique.items()}
        for counted in (self.bytes_down, self.bytes_up):  # from now on by institution
            first = dict(counted)
            counted.clear()
            counted |= {name: first[f"node {node_id}"] for name, node_id in self.nodes.items()}
        return {name: status for name, (_, status) in sorted(unique.items())}

    def ask(self, requests: Mapping[str, NodeRequest], patience_s: float | None = None) -> Replies:
        """Send each institution its request and gather the answers until the deadline.

        Parameters
        ----------
        patience_s : float, optional
            A wait shorter than the deadline; the requests stay under way until the deadline.
        """
        contents = {
            name: RecordDict(
                {BODY: ConfigRecord({BODY: request.SerializeToString(deterministic=True)})}
            )
            for name, request in requests.items()
        }
        replies = Replies()
        for name, message in self.send(contents, MessageType.QUERY, patience_s).items():
            if message is None:
                replies.silent.append(name)
                continue
            reply = parse_reply(message)
            if reply.WhichOneof("body") in (None, "refusal"):
                replies.refused[name] = error_number(reply)
            else:
                replies.answers[name] = reply
        return replies

    def send(
        self,
        contents: Mapping[str, RecordDict],
        message_type: str,
        patience_s: float | None = None,
    ) -> dict[str, Message | None]:
        """Send one message to each institution; None stands for no answer in time."""
        for name, content in contents.items():
            _count(self.bytes_down, name, content)
        messages = [
            self.grid.create_message(
                content=content,
                message_type=message_type,
                dst_node_id=self.nodes[name],
                group_id="",
                ttl=self.deadline_s,
            )
            for name, content in contents.items()
        ]
        waiting = {
            message_id: name
            for message_id, name in zip(self.grid.push_messages(messages), contents, strict=True)
            if message_id
        }
        received: dict[str, Message | None] = dict.fromkeys(contents)
        end = time.monotonic() + min(self.deadline_s, patience_s or self.deadline_s)
        while waiting:
            for message in self.grid.pull_messages(list(waiting)):
                # The source of an error reply is not always the node: go by our own map.
                sender = waiting.pop(message.metadata.reply_to_message_id, None)
                if sender is not None and not message.has_error():
                    received[sender] = message
                    _count(self.bytes_up, sender, message.content)
            if not waiting or time.monotonic() >= end:
                break
            time.sleep(self.poll_s)
        return received


def parse_reply(message: Message) -> NodeReply:
    """Return what a message carries; an empty reply if that is nothing of the closed list."""
    record = message.content.config_records.get(BODY)
    body = record.get(BODY) if record is not None else None
    try:
        return NodeReply.FromString(body) if isinstance(body, bytes) else NodeReply()
    except DecodeError:
        return NodeReply()


def error_number(reply: NodeReply) -> str:
    """Return the number of a refusal; H5302 stands for anything that is no error number."""
    return reply.refusal.code if _NUMBER.fullmatch(reply.refusal.code) else "H5302"


def _count(counted: dict[str, int], name: str, content: RecordDict) -> None:
    # Flower's own ``count_bytes`` raises on an empty entry.
    values = (value for record in content.values() for value in record.values())
    counted[name] = counted.get(name, 0) + sum(_size(value) for value in values)


def _size(value: object) -> int:
    if isinstance(value, Array):
        return len(value.data)
    return len(value) if isinstance(value, str | bytes | list) else 8


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""
