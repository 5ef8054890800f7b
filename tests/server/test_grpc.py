import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from server import scoring_pb2 as pb
from server import scoring_pb2_grpc as pb_grpc
from server.grpc_api import SERVICE, GrpcServer
from server.scoring import ScoringService

GOOD: dict[str, Any] = {"debt_ratio": 0.2, "sales_growth": 30, "sector": "biotech"}
BAD: dict[str, Any] = {"debt_ratio": 1.92, "sales_growth": -40.0, "sector": "farm"}


def borrower(row: dict[str, Any], ident: str = "") -> pb.Borrower:
    values = {
        name: pb.Value()
        if value is None
        else pb.Value(text=value)
        if isinstance(value, str)
        else pb.Value(number=value)
        for name, value in row.items()
    }
    return pb.Borrower(id=ident, features=values)


@pytest.fixture
def channel(service: ScoringService) -> Iterator[grpc.Channel]:
    server = GrpcServer(service)
    port = server.start("127.0.0.1:0")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(0)


@pytest.fixture
def stub(channel: grpc.Channel) -> pb_grpc.ScoringStub:
    return pb_grpc.ScoringStub(channel)


def test_score(stub: pb_grpc.ScoringStub, service: ScoringService) -> None:
    reply = stub.Score(pb.ScoreRequest(borrower=borrower(BAD, "b7"), lang="zh"), timeout=10)
    (scored,) = service.score([BAD])
    assert (reply.id, reply.score.pd, reply.score.score, reply.score.band) == (
        "b7",
        scored.pd,
        scored.score,
        scored.band,
    )
    assert [r.text for r in reply.score.reasons] == [r.zh for r in scored.reasons]
    assert (reply.model.version, reply.model.fingerprint) == ("7", service.info.fingerprint)
    few = stub.Score(pb.ScoreRequest(borrower=borrower(BAD), reasons=1), timeout=10)
    assert [r.text for r in few.score.reasons] == ["Debt to assets 1.92: raises risk"]
    none = stub.Score(pb.ScoreRequest(borrower=borrower(BAD), reasons=0), timeout=10)
    assert not none.score.reasons


def test_an_empty_value_is_missing(stub: pb_grpc.ScoringStub, service: ScoringService) -> None:
    reply = stub.Score(pb.ScoreRequest(borrower=borrower({"debt_ratio": None})), timeout=10)
    assert reply.score.pd == service.score([{"debt_ratio": None}])[0].pd


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"debt_ratio": 99.0}, "H2407", "debt_ratio"),
        ({"负债": 99.0}, "H2403", "负债"),
        ({"sector": 1.0}, "H2405", "sector"),
        ({}, "H2404", ""),
    ],
)
def test_faults(stub: pb_grpc.ScoringStub, row: dict[str, Any], code: str, field: str) -> None:
    for lang, mark in (("en", "feature"), ("zh", "特征")):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Score(pb.ScoreRequest(borrower=borrower(row), lang=lang), timeout=10)
        error = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.details().startswith(code)
        assert mark in error.details()
        trailing = {m.key: m.value for m in error.trailing_metadata()}
        assert trailing["haihe-code"] == code
        assert trailing["haihe-field-bin"].decode() == field


def test_language_by_metadata_and_a_wrong_one(stub: pb_grpc.ScoringStub) -> None:
    reply = stub.Score(
        pb.ScoreRequest(borrower=borrower(BAD)),
        metadata=(("accept-language", "zh-CN"),),
        timeout=10,
    )
    assert reply.score.reasons[0].text == "资产负债率 1.92:提高风险"
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(pb.ScoreRequest(borrower=borrower(BAD), lang="fr"), timeout=10)
    assert caught.value.details().startswith("H2409")


def test_stream_keeps_order_and_survives_a_faulty_borrower(
    stub: pb_grpc.ScoringStub, service: ScoringService
) -> None:
    rows = [BAD, {"debt_ratio": 99.0}, GOOD]

    def requests() -> Iterator[pb.ScoreBatchRequest]:
        for k in range(3):
            yield pb.ScoreBatchRequest(
                borrowers=[borrower(row, f"{k}-{i}") for i, row in enumerate(rows)]
            )

    replies = list(stub.ScoreBatch(requests(), timeout=10))
    assert [a.id for r in replies for a in r.answers] == [
        f"{k}-{i}" for k in range(3) for i in range(3)
    ]
    first, fault, last = replies[1].answers
    assert first.score.pd == service.score([BAD])[0].pd
    assert last.score.pd == service.score([GOOD])[0].pd
    assert (fault.WhichOneof("outcome"), fault.problem.code) == ("problem", "H2407")
    assert fault.problem.field == "debt_ratio"


def test_stream_is_answered_before_it_ends(stub: pb_grpc.ScoringStub) -> None:
    import queue

    waiting: queue.Queue[pb.ScoreBatchRequest | None] = queue.Queue()
    replies = stub.ScoreBatch(iter(waiting.get, None), timeout=10)
    for _ in range(2):
        waiting.put(pb.ScoreBatchRequest(borrowers=[borrower(GOOD)]))
        assert len(next(replies).answers) == 1
    waiting.put(None)
    assert list(replies) == []


def test_too_large_a_batch(stub: pb_grpc.ScoringStub) -> None:
    request = pb.ScoreBatchRequest(borrowers=[borrower(GOOD)] * 51)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.ScoreBatch(iter([request]), timeout=10))
    assert caught.value.details().startswith("H2408")
    huge = pb.ScoreRequest(borrower=pb.Borrower(id="x" * (5 * 2**20)))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(huge, timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_internal_errors_say_nothing(
    stub: pb_grpc.ScoringStub,
    service: ScoringService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(values: object) -> None:
        raise RuntimeError("secret 91120000MA00000000")

    monkeypatch.setattr(service.model, "predict_pd", broken)
    caplog.set_level(logging.DEBUG)
    for call in (
        lambda: stub.Score(pb.ScoreRequest(borrower=borrower(GOOD)), timeout=10),
        lambda: list(
            stub.ScoreBatch(iter([pb.ScoreBatchRequest(borrowers=[borrower(GOOD)])]), timeout=10)
        ),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details() == "H5402 internal error"
    assert "secret" not in caplog.text


def test_describe(stub: pb_grpc.ScoringStub, service: ScoringService) -> None:
    reply = stub.Describe(pb.DescribeRequest(), timeout=10)
    assert json.loads(reply.json) == json.loads(json.dumps(service.describe()))
    assert reply.family == "toy"


def test_health(service: ScoringService) -> None:
    server = GrpcServer(service)
    port = server.start("127.0.0.1:0")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            reply = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=10)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server._health.enter_graceful_shutdown()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        server.stop(0)


def test_reflection_finds_the_service(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, file = stub.ServerReflectionInfo(iter(asked), timeout=10)
    names = {s.name for s in listed.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    assert b"ScoreBatch" in file.file_descriptor_response.file_descriptor_proto[0]
