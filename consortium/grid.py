"""An in-process grid: Flower's ``Grid`` over ClientApps called directly.

The one module that leans on a private part of Flower: outside a run, ``Message`` takes its
origin from ``flwr.supercore.task_identity.TaskIdentity``. ``tests/consortium/test_grid.py``
fails when Flower changes that.
"""

import uuid
from collections.abc import Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID = 1
FIRST_NODE_ID = 1001
CLIENT_APP_RAISED = 2


class InProcessGrid(Grid):
    """Delivers every message at once, in the caller's thread; no socket is opened.

    Parameters
    ----------
    app : ClientApp
        The courier.
    node_configs : mapping of str to dict
        One node a name, with the ``node_config`` its SuperNode would be started with.
    """

    def __init__(self, app: ClientApp, node_configs: Mapping[str, dict[str, str]]) -> None:
        self.app = app
        self.run_id = uuid.uuid4().int >> 66
        TaskIdentity.run_id = self.run_id
        TaskIdentity.node_id = SERVER_NODE_ID
        TaskIdentity.task_id = 0
        self._run = Run.create_empty(self.run_id)
        self.contexts = {
            node_id: Context(
                run_id=self.run_id,
                node_id=node_id,
                node_config=dict(config),
                state=RecordDict(),
                run_config={},
            )
            for node_id, config in enumerate(node_configs.values(), start=FIRST_NODE_ID)
        }
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Set the run this grid belongs to."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run this grid belongs to."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message to a node."""
        return Message(
            content,
            dst_node_id=dst_node_id,
            message_type=message_type,
            group_id=group_id,
            ttl=ttl,
        )

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes' numbers."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Deliver messages and keep the replies; a raising app becomes an error reply."""
        ids = []
        for message in messages:
            message_id = uuid.uuid4().hex
            message.metadata.__dict__["_message_id"] = message_id
            ids.append(message_id)
            reply = self.deliver(message)
            if reply is not None:
                self._replies[message_id] = reply
        return ids

    def deliver(self, message: Message) -> Message | None:
        """Run the app on one message; a subclass may lose it by returning None."""
        try:
            return self.app(message, self.contexts[message.metadata.dst_node_id])
        except Exception:  # as Flower does, but without the exception's text
            return Message(Error(CLIENT_APP_RAISED), reply_to=message)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that are there."""
        return [self._replies.pop(i) for i in list(message_ids) if i in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push, then pull."""
        return self.pull_messages(self.push_messages(messages))
