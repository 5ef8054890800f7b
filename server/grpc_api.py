"""The gRPC face of the scoring service, with standard health checks and reflection."""

import functools
import json
import logging
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from haihe_fl.errors import HaiheError
from haihe_fl.i18n import Language
from server import scoring_pb2 as pb
from server import scoring_pb2_grpc as pb_grpc
from server.records import FieldError
from server.scoring import Scored, ScoringService

SERVICE = "haihe.v1.Scoring"
MAX_MESSAGE = 4 * 2**20
WORKERS = 32
log = logging.getLogger(__name__)


def _scrubbed(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors into a status; gRPC would send the text of an exception to the caller."""

    @functools.wraps(method)
    def guarded(self: "ScoringServicer", request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except HaiheError as error:
            _abort(context, error, self.language(getattr(request, "lang", ""), context, False))
        except Exception as error:
            if context.code() is None:  # not our own abort
                log.error("H5402 %s in %s", type(error).__name__, method.__name__)
                context.abort(grpc.StatusCode.INTERNAL, "H5402 internal error")
            raise

    return guarded


def _abort(context: grpc.ServicerContext, error: HaiheError, lang: Language) -> None:
    field = error.field if isinstance(error, FieldError) else ""
    context.set_trailing_metadata((("haihe-code", error.code), ("haihe-field-bin", field.encode())))
    text = error.zh if lang == "zh" else error.en
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{error.code} {text}")


class ScoringServicer(pb_grpc.ScoringServicer):
    """Translates messages; the scoring is the service's."""

    def __init__(self, service: ScoringService) -> None:
        self.service = service
        info = service.info
        self.model = pb.Model(name=info.name, version=info.version, fingerprint=info.fingerprint)

    def language(self, asked: str, context: grpc.ServicerContext, strict: bool = True) -> Language:
        """Return the language of an answer; ``strict`` refuses an unknown one."""
        metadata = dict(context.invocation_metadata())
        accepted = str(metadata.get("accept-language", ""))
        return self.service.pick_language(
            asked if strict or asked in ("zh", "en") else "", accepted
        )

    @_scrubbed
    def Score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:
        """Score one borrower."""
        lang = self.language(request.lang, context)
        row = _features(request.borrower)
        (scored,) = self.service.score([row], top=_top(request))
        return pb.ScoreResponse(
            id=request.borrower.id, score=_message(scored, lang), model=self.model
        )

    def ScoreBatch(
        self, request_iterator: Iterator[pb.ScoreBatchRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ScoreBatchResponse]:
        """Score batches as they come."""
        for request in request_iterator:
            yield self._batch(request, context)

    @_scrubbed
    def _batch(
        self, request: pb.ScoreBatchRequest, context: grpc.ServicerContext
    ) -> pb.ScoreBatchResponse:
        lang = self.language(request.lang, context)
        rows = [_features(borrower) for borrower in request.borrowers]
        answers = self.service.score_each(rows, top=_top(request))
        return pb.ScoreBatchResponse(
            answers=[
                pb.Answer(id=borrower.id, problem=_problem(answer, lang))
                if isinstance(answer, FieldError)
                else pb.Answer(id=borrower.id, score=_message(answer, lang))
                for borrower, answer in zip(request.borrowers, answers, strict=True)
            ],
            model=self.model,
        )

    @_scrubbed
    def Describe(
        self, request: pb.DescribeRequest, context: grpc.ServicerContext
    ) -> pb.DescribeResponse:
        """Tell which model answers."""
        text = json.dumps(self.service.describe(), ensure_ascii=False)
        return pb.DescribeResponse(model=self.model, family=self.service.info.family, json=text)


def _features(borrower: pb.Borrower) -> dict[str, object]:
    row: dict[str, object] = {}
    for name, value in borrower.features.items():
        kind = value.WhichOneof("kind")
        row[name] = getattr(value, kind) if kind else None
    return row


def _top(request: pb.ScoreRequest | pb.ScoreBatchRequest) -> int:
    return request.reasons if request.HasField("reasons") else 4


def _message(scored: Scored, lang: Language) -> pb.Score:
    return pb.Score(
        pd=scored.pd,
        score=scored.score,
        band=scored.band,
        clipped=scored.clipped,
        reasons=[
            pb.Reason(features=r.features, points=r.points, text=r.zh if lang == "zh" else r.en)
            for r in scored.reasons
        ],
    )


def _problem(error: FieldError, lang: Language) -> pb.Problem:
    text = error.zh if lang == "zh" else error.en
    return pb.Problem(code=error.code, message=text, field=error.field)


class GrpcServer:
    """A gRPC server of the scoring service; at most ``WORKERS`` calls at a time.

    A call beyond that gets RESOURCE_EXHAUSTED at once instead of waiting.
    """

    def __init__(self, service: ScoringService) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=WORKERS,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.so_reuseport", 0),  # else two servers share a port without a word
            ],
        )
        add: Any = pb_grpc.add_ScoringServicer_to_server  # generated without types
        add(ScoringServicer(service), self._server)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def start(self, address: str, tls: tuple[bytes, bytes, bytes | None] | None = None) -> int:
        """Listen at ``host:port``; return the port.

        Parameters
        ----------
        address : str
            Where to listen; port 0 takes a free one.
        tls : tuple of bytes, optional
            Key, certificate chain and, for mutual TLS, the authority of the clients.
        """
        if tls is None:
            port = self._server.add_insecure_port(address)
        else:
            key, chain, authority = tls
            credentials = grpc.ssl_server_credentials(
                [(key, chain)],
                root_certificates=authority,
                require_client_auth=authority is not None,
            )
            port = self._server.add_secure_port(address, credentials)
        self._server.start()
        for name in ("", SERVICE):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    def stop(self, grace: float) -> None:
        """Report NOT_SERVING, let calls in flight end for ``grace`` seconds, then stop."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
