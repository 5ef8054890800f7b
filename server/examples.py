"""Example calls for the terminal, ready to paste."""

import json
import shlex

from server.records import example_row
from server.serving import ScoringServers


def curl(servers: ScoringServers) -> str:
    """Return a ``curl`` command that scores one borrower."""
    row = dict(list(example_row(servers.service.model.catalogue).items())[:3])
    body = {"features": row, "lang": servers.service.language}
    words = ["curl", f"{servers.url}/v1/score", "-H", "Content-Type: application/json"]
    if servers.tls:
        words += ["--cacert", "ca.pem"]
        if servers.tls.client_ca:
            words += ["--cert", "client.pem", "--key", "client.key"]
    return shlex.join([*words, "-d", json.dumps(body, ensure_ascii=False)])


def grpc_python(servers: ScoringServers) -> str:
    """Return a few lines of Python that score one borrower over gRPC."""
    row = dict(list(example_row(servers.service.model.catalogue).items())[:3])
    features = ", ".join(
        f"{json.dumps(name)}: pb.Value({'text' if isinstance(v, str) else 'number'}={v!r})"
        for name, v in row.items()
    )
    channel = f'grpc.insecure_channel("{servers.grpc_address}")'
    if servers.tls:
        mutual = ', open("client.key", "rb").read(), open("client.pem", "rb").read()'
        pems = 'open("ca.pem", "rb").read()' + (mutual if servers.tls.client_ca else "")
        channel = (
            f'grpc.secure_channel("{servers.grpc_address}", grpc.ssl_channel_credentials({pems}))'
        )
    return f"""import grpc
from server import scoring_pb2 as pb, scoring_pb2_grpc

scoring = scoring_pb2_grpc.ScoringStub({channel})
borrower = pb.Borrower(features={{{features}}})
print(scoring.Score(pb.ScoreRequest(borrower=borrower, lang="{servers.service.language}")))"""
