"""The HTTP face of the scoring service."""

import secrets
from functools import partial
from typing import Annotated, Any, Self

from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from haihe_fl.errors import UserError
from haihe_fl.i18n import Language
from server.docs_page import render, with_features
from server.guard import Guard, problem
from server.records import FieldError
from server.scoring import MAX_REASONS, Scored, ScoringService

MAX_BODY = 4 * 2**20
MAX_IN_FLIGHT = 32
PATIENCE = 10.0
Accepted = Annotated[str | None, Header(alias="Accept-Language", include_in_schema=False)]


class Borrower(BaseModel):
    """One borrower."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(default="", max_length=200, description="The caller's own reference")
    features: dict[str, Any]


class ScoreRequest(BaseModel):
    """One borrower (``features``) or several (``borrowers``)."""

    model_config = ConfigDict(extra="forbid")

    features: dict[str, Any] | None = None
    borrowers: list[Borrower] | None = None
    lang: str | None = Field(default=None, description="zh or en; else Accept-Language decides")
    reasons: int = Field(default=4, ge=0, le=MAX_REASONS)

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.features is None) == (self.borrowers is None):
            raise ValueError("give either features (one borrower) or borrowers (several)")
        return self


class ReasonOut(BaseModel):
    """What costs the borrower points against the average borrower."""

    features: tuple[str, ...]
    points: float
    text: str


class ResultOut(BaseModel):
    """Probability of default within 12 months, score and band, worst reasons first."""

    id: str
    pd: float
    score: float
    band: str
    reasons: list[ReasonOut]
    clipped: tuple[str, ...]


class ModelOut(BaseModel):
    """The model that answered."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    version: str
    fingerprint: str


class ScoreResponse(BaseModel):
    """Results in the order of the borrowers."""

    model: ModelOut
    results: list[ResultOut]


class Problem(BaseModel):
    """An error: its number (see the list of errors), what to do, and the field at fault."""

    code: str
    message: str
    field: str


def create_app(
    service: ScoringService,
    *,
    max_body: int = MAX_BODY,
    max_in_flight: int = MAX_IN_FLIGHT,
    patience: float = PATIENCE,
) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service : ScoringService
        What it serves.
    max_body, max_in_flight, patience
        See ``Guard``.
    """
    app = FastAPI(
        title="Haihe FL scoring", version=service.info.version, docs_url=None, redoc_url=None
    )
    app.add_middleware(
        Guard,
        pick_language=partial(service.pick_language, None),
        max_body=max_body,
        max_in_flight=max_in_flight,
        patience=patience,
    )
    info = service.info
    model = ModelOut(name=info.name, version=info.version, fingerprint=info.fingerprint)
    faults: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem} for status in (400, 413, 422, 429, 500)
    }

    @app.post("/v1/score", responses=faults)
    def score(body: ScoreRequest, accept_language: Accepted = None) -> ScoreResponse:
        """Score one borrower or several, all or nothing."""
        lang = service.pick_language(body.lang, accept_language)
        try:
            many = (
                [Borrower(features=body.features or {})]
                if body.borrowers is None
                else body.borrowers
            )
            scored = service.score([b.features for b in many], top=body.reasons)
        except FieldError as error:
            raise _Localised(error, lang, _path(error, body)) from None
        results = [_result(b.id, s, lang) for b, s in zip(many, scored, strict=True)]
        return ScoreResponse(model=model, results=results)

    @app.get("/v1/model")
    def describe() -> dict[str, Any]:
        """Tell which model answers, its scale and the features it takes."""
        return service.describe()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Answer while the service can score."""
        return {"status": "ok"}

    @app.get("/docs", include_in_schema=False)
    def docs(lang: str | None = None, accept_language: Accepted = None) -> HTMLResponse:
        chosen = service.pick_language(lang if lang in ("zh", "en") else None, accept_language)
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        return HTMLResponse(
            render(service, chosen, nonce), headers={"Content-Security-Policy": policy}
        )

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = with_features(
                get_openapi(title=app.title, version=app.version, routes=app.routes),
                service.model.catalogue,
            )
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]
    _handle_errors(app, service)
    return app


class _Localised(Exception):
    """A user's error with the language and the path of the request it arose in."""

    def __init__(self, error: UserError, lang: Language, field: str) -> None:
        super().__init__(error.code)
        text = error.zh if lang == "zh" else error.en
        self.body = {"code": error.code, "message": text, "field": field}


def _path(error: FieldError, body: ScoreRequest) -> str:
    """Return where the fault stands in the request, e.g. ``borrowers[3].features.debt``."""
    if error.field == "borrowers":
        return error.field
    at = "features" if body.borrowers is None else f"borrowers[{error.row}].features"
    return f"{at}.{error.field}" if error.field else at


def _result(ident: str, scored: Scored, lang: Language) -> ResultOut:
    return ResultOut(
        id=ident,
        pd=scored.pd,
        score=scored.score,
        band=scored.band,
        reasons=[
            ReasonOut(features=r.features, points=r.points, text=r.zh if lang == "zh" else r.en)
            for r in scored.reasons
        ],
        clipped=scored.clipped,
    )


def _handle_errors(app: FastAPI, service: ScoringService) -> None:
    def language(request: Request) -> Language:
        return service.pick_language(None, request.headers.get("accept-language"))

    @app.exception_handler(_Localised)
    async def localised(request: Request, error: _Localised) -> JSONResponse:
        return JSONResponse(error.body, 422)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse(_Localised(error, language(request), "lang").body, 422)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        body = problem(400, language(request))
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse({**body, "message": f"{body['message']}: JSON"}, 400)
        if "json" not in request.headers.get("content-type", ""):
            body = {**problem(415, language(request)), "field": "Content-Type"}
            return JSONResponse(body, 415)
        path = ".".join(str(part) for part in first["loc"] if part != "body")
        body = {**body, "field": path[:200], "message": f"{body['message']}: {first['msg']}"}
        return JSONResponse(body, 422)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(
            problem(error.status_code, language(request)), error.status_code, error.headers
        )
