"""The in-process grid, and the private parts of Flower that it leans on."""

import inspect

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from consortium.grid import CLIENT_APP_RAISED, FIRST_NODE_ID, SERVER_NODE_ID, InProcessGrid


def echo_app() -> ClientApp:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if "fail" in message.content:
            raise RuntimeError("row 91120100MACANARY01X")
        name = ConfigRecord({"name": str(context.node_config["name"])})
        return Message(RecordDict({"who": name}), reply_to=message)

    return app


@pytest.fixture
def grid() -> InProcessGrid:
    return InProcessGrid(echo_app(), {name: {"name": name} for name in ("one", "two")})


def ask(grid: InProcessGrid, node: int, content: RecordDict | None = None) -> Message:
    return grid.create_message(content or RecordDict(), MessageType.QUERY, node, "group", 9.0)


def test_flowers_private_parts_are_as_they_were(grid: InProcessGrid) -> None:
    assert TaskIdentity.run_id == grid.run_id
    assert (TaskIdentity.node_id, TaskIdentity.task_id) == (SERVER_NODE_ID, 0)
    assert list(inspect.signature(Run.create_empty).parameters) == ["run_id"]
    abstract = {
        *("set_run", "run", "create_message", "get_node_ids"),
        *("push_messages", "pull_messages", "send_and_receive"),
    }
    assert Grid.__abstractmethods__ <= abstract
    # push_messages stamps the number where Flower's own grid has its SuperLink do it.
    message = ask(grid, FIRST_NODE_ID)
    assert isinstance(message.metadata, Metadata)
    assert message.metadata.message_id == ""
    message.metadata.__dict__["_message_id"] = "stamped"
    assert message.metadata.message_id == "stamped"
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == "stamped"


def test_a_message_has_its_origin_from_the_grid(grid: InProcessGrid) -> None:
    metadata = ask(grid, FIRST_NODE_ID + 1).metadata
    assert (metadata.run_id, metadata.src_node_id) == (grid.run_id, SERVER_NODE_ID)
    assert (metadata.dst_node_id, metadata.group_id) == (FIRST_NODE_ID + 1, "group")
    assert metadata.ttl == 9.0
    assert grid.run.run_id == grid.run_id
    other = Run.create_empty(5)
    grid.set_run(other)
    assert grid.run is other


def test_every_node_answers_as_itself(grid: InProcessGrid) -> None:
    nodes = list(grid.get_node_ids())
    assert nodes == [FIRST_NODE_ID, FIRST_NODE_ID + 1]
    replies = {
        r.metadata.src_node_id: r for r in grid.send_and_receive([ask(grid, n) for n in nodes])
    }
    assert [replies[n].content["who"]["name"] for n in nodes] == ["one", "two"]


def test_a_reply_is_pulled_once_and_by_its_number(grid: InProcessGrid) -> None:
    first, second = grid.push_messages([ask(grid, FIRST_NODE_ID), ask(grid, FIRST_NODE_ID)])
    assert first != second
    (reply,) = grid.pull_messages([second, "unknown"])
    assert reply.metadata.reply_to_message_id == second
    assert list(grid.pull_messages([second])) == []
    assert len(list(grid.pull_messages([first]))) == 1


def test_a_raising_app_gives_a_code_and_no_text(grid: InProcessGrid) -> None:
    bad = RecordDict({"fail": ConfigRecord()})
    unknown = ask(grid, 7)
    for message in grid.send_and_receive([ask(grid, FIRST_NODE_ID, bad), unknown]):
        assert message.has_error()
        assert message.error.code == CLIENT_APP_RAISED
        assert not message.error.reason
        assert "CANARY" not in repr(message.error)


def test_a_lost_message_stays_lost() -> None:
    class Losing(InProcessGrid):
        def deliver(self, message: Message) -> Message | None:
            return None

    grid = Losing(echo_app(), {"one": {"name": "one"}})
    assert list(grid.send_and_receive([ask(grid, FIRST_NODE_ID)])) == []
