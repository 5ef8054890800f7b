"""The node agent as a process: gRPC on a Unix-domain socket.

``python -m clients.service FOLDER`` serves the node prepared in FOLDER (see ``clients.node``)
until it is told to stop.
"""

import argparse
import logging
import os
import signal
import threading
from concurrent import futures
from pathlib import Path

import grpc

from clients.agent import NodeAgent
from clients.node import open_node, socket_path
from haihe_fl.messages import HANDLE, MAX_MESSAGE
from haihe_fl.messages.node_pb2 import NodeReply, NodeRequest


def serve_agent(agent: NodeAgent, socket: Path) -> grpc.Server:
    """Start serving an agent on a socket that only this user may reach; returns the server."""
    socket.unlink(missing_ok=True)
    service, method = HANDLE.strip("/").split("/")
    server = grpc.server(
        # One request at a time: rows, ledger and store belong to one thread.
        futures.ThreadPoolExecutor(max_workers=1),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
        ],
    )
    handler = grpc.unary_unary_rpc_method_handler(
        lambda request, _: agent.handle(request),
        request_deserializer=NodeRequest.FromString,
        response_serializer=NodeReply.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    mask = os.umask(0o177)  # from its first moment on the socket is this user's alone
    try:
        server.add_insecure_port(f"unix:{socket}")
    finally:
        os.umask(mask)
    server.start()
    return server


def main() -> None:
    """Serve the node of a folder in the foreground."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    agent = open_node(folder)
    server = serve_agent(agent, socket_path(folder))
    logging.getLogger(__name__).info("serving %s", socket_path(folder))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.stop(grace=2).wait()
    agent.close()


if __name__ == "__main__":
    main()
