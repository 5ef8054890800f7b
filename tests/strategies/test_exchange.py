"""Every wait ends, and every answer is counted to the right institution."""

from collections.abc import Iterable

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from consortium.grid import InProcessGrid
from haihe_fl.messages import node_pb2 as m
from strategies.exchange import BODY, Exchange

NAMES = ("one", "two", "three")
DEADLINE_S = 0.2

pytestmark = pytest.mark.timeout(30)  # nothing here may wait for ever

HELLO = m.NodeRequest(hello=m.Hello())


def status(name: str) -> bytes:
    return m.NodeReply(status=m.Status(institution=name)).SerializeToString()


class Consortium(InProcessGrid):
    """Nodes that answer with given bytes, or not at all (None), or late."""

    def __init__(self, answers: dict[str, bytes | str | None], late_pulls: int = 0) -> None:
        app = ClientApp()

        @app.query()
        def query(message: Message, context: Context) -> Message:
            answer = answers[str(context.node_config["name"])]
            if answer == "raise":
                raise RuntimeError("row 1")
            content = {BODY: ConfigRecord({BODY: answer})} if answer != "empty" else {}
            return Message(RecordDict(content), reply_to=message)

        super().__init__(app, {name: {"name": name} for name in answers})
        self.answers = list(answers.values())
        self.late_pulls = late_pulls
        self.ttl: list[float] = []

    def deliver(self, message: Message) -> Message | None:
        self.ttl.append(message.metadata.ttl)
        answer = self.answers[message.metadata.dst_node_id - 1001]
        return None if answer is None else super().deliver(message)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.late_pulls -= 1
        return [] if self.late_pulls >= 0 else super().pull_messages(message_ids)


def exchange_of(grid: InProcessGrid) -> Exchange:
    return Exchange(grid, deadline_s=DEADLINE_S, poll_s=0.002)


def test_discovery_by_name() -> None:
    exchange = exchange_of(Consortium({name: status(name) for name in NAMES}))
    found = exchange.discover(3)
    assert list(found) == sorted(NAMES)
    assert {found[name].institution for name in found} == set(NAMES)
    # Counted by institution from the start, and by nothing else.
    assert set(exchange.bytes_down) == set(exchange.bytes_up) == set(NAMES)
    assert all(count > 0 for count in exchange.bytes_up.values())


def test_two_that_claim_one_name_are_both_left_out() -> None:
    answers = {"one": status("one"), "two": status("one"), "three": status("three")}
    exchange = exchange_of(Consortium(answers))
    assert list(exchange.discover(3)) == ["three"]
    assert list(exchange.nodes) == ["three"]


def test_discovery_does_not_wait_for_ever() -> None:
    exchange = exchange_of(Consortium({"one": status("one"), "two": None}))
    found = exchange.discover(9, patience_s=DEADLINE_S)
    assert list(found) == ["one"]


def test_answers_refusals_and_silence() -> None:
    answers: dict[str, bytes | str | None] = {
        "good": status("good"),
        "refuses": m.NodeReply(refusal=m.Refusal(code="H3301")).SerializeToString(),
        "talks": m.NodeReply(refusal=m.Refusal(code="row 91120100MA")).SerializeToString(),
        "garbled": b"\xff\xff",
        "text": "not bytes",
        "nothing": b"",
        "empty": "empty",
        "raises": "raise",
        "silent": None,
    }
    exchange = exchange_of(Consortium(answers))
    exchange.nodes = dict(zip(answers, exchange.grid.get_node_ids(), strict=True))
    replies = exchange.ask(dict.fromkeys(answers, HELLO))
    assert list(replies.answers) == ["good"]
    assert replies.refused == {
        "refuses": "H3301",
        **dict.fromkeys(("talks", "garbled", "text", "nothing", "empty"), "H5302"),
    }
    assert sorted(replies.silent) == ["raises", "silent"]
    assert set(replies.failed) == set(answers) - {"good"}
    assert "silent" not in exchange.bytes_up


def test_a_late_answer_is_taken_until_the_deadline() -> None:
    grid = Consortium({"one": status("one")}, late_pulls=5)
    exchange = exchange_of(grid)
    exchange.nodes = {"one": 1001}
    assert list(exchange.ask({"one": HELLO}).answers) == ["one"]
    grid.late_pulls = 10**6
    replies = exchange.ask({"one": HELLO})
    assert replies.silent == ["one"]
    # What arrives after the deadline is no answer to the next question.
    grid.late_pulls = 0
    grid.answers = [None]
    assert exchange.ask({"one": HELLO}).silent == ["one"]


def test_less_patience_leaves_the_message_under_way() -> None:
    grid = Consortium({"one": None})
    exchange = Exchange(grid, deadline_s=600.0, poll_s=0.002)
    exchange.nodes = {"one": 1001}
    replies = exchange.ask({"one": HELLO}, patience_s=0.05)
    assert replies.silent == ["one"]
    assert grid.ttl == [600.0]


def test_bytes_are_those_of_the_records() -> None:
    exchange = exchange_of(Consortium({"one": status("one")}))
    exchange.nodes = {"one": 1001}
    content = RecordDict({BODY: ConfigRecord({BODY: bytes(1000)})})
    exchange.send({"one": content}, MessageType.QUERY)
    assert 1000 <= exchange.bytes_down["one"] < 1100
    assert len(status("one")) <= exchange.bytes_up["one"] < 100


def test_an_unknown_institution_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        exchange_of(Consortium({})).ask({"one": HELLO})
