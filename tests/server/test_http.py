import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from haihe_fl.i18n import set_language
from server.guard import Guard
from server.http_api import create_app
from server.scoring import ScoringService

GOOD: dict[str, Any] = {"debt_ratio": 0.2, "sales_growth": 30, "sector": "biotech"}
BAD: dict[str, Any] = {"debt_ratio": 1.92, "sales_growth": -40.0, "sector": "farm"}


class Client:
    """Calls an application without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **more)

        return asyncio.run(call())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)


@pytest.fixture
def client(service: ScoringService) -> Client:
    return Client(create_app(service, max_body=20_000))


def test_one_borrower(client: Client, service: ScoringService) -> None:
    reply = client.post("/v1/score", json={"features": BAD})
    assert reply.status_code == 200
    (scored,) = service.score([BAD])
    told = reply.json()
    assert told["model"] == {
        "name": "haihe-risk",
        "version": "7",
        "fingerprint": service.info.fingerprint,
    }
    (result,) = told["results"]
    assert (result["pd"], result["score"], result["band"]) == (scored.pd, scored.score, scored.band)
    assert result["reasons"][0] == {
        "features": ["debt_ratio"],
        "points": scored.reasons[0].points,
        "text": "Debt to assets 1.92: raises risk",
    }


def test_one_equals_several_and_order_is_kept(client: Client) -> None:
    rows = [BAD, GOOD, {"debt_ratio": None, "sector": "retail"}]
    many = client.post(
        "/v1/score",
        json={"borrowers": [{"id": f"b{i}", "features": row} for i, row in enumerate(rows)]},
    ).json()["results"]
    assert [r["id"] for r in many] == ["b0", "b1", "b2"]
    for row, result in zip(rows, many, strict=True):
        (one,) = client.post("/v1/score", json={"features": row}).json()["results"]
        assert one == {**result, "id": ""}


@pytest.mark.parametrize(
    ("body", "header", "text"),
    [
        ({"lang": "zh"}, "en", "资产负债率 1.92:提高风险"),
        ({}, "zh-CN,zh;q=0.9,en;q=0.8", "资产负债率 1.92:提高风险"),
        ({"lang": "en"}, "zh-CN", "Debt to assets 1.92: raises risk"),
        ({}, "fr", "Debt to assets 1.92: raises risk"),
    ],
)
def test_language(client: Client, body: dict[str, str], header: str, text: str) -> None:
    reply = client.post(
        "/v1/score", json={"features": BAD, **body}, headers={"Accept-Language": header}
    )
    assert reply.json()["results"][0]["reasons"][0]["text"] == text


def test_language_of_the_server_is_the_default(toy: Any, service: ScoringService) -> None:
    set_language("zh")
    chinese = ScoringService(toy, service.info)
    set_language("en")
    reply = Client(create_app(chinese)).post("/v1/score", json={"features": {"x": 1}})
    assert "未知特征" in reply.json()["message"]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"features": {"debt_ration": 1}}, 422, "H2403", "features.debt_ration"),
        ({"features": {}}, 422, "H2404", "features"),
        ({"features": {"debt_ratio": "1"}}, 422, "H2405", "features.debt_ratio"),
        ({"features": {"debt_ratio": {"a": 1}}}, 422, "H2405", "features.debt_ratio"),
        ({"features": {"sector": "mining"}}, 422, "H2406", "features.sector"),
        (
            {"borrowers": [{"features": GOOD}, {"features": {"debt_ratio": 3}}]},
            422,
            "H2407",
            "borrowers[1].features.debt_ratio",
        ),
        ({"borrowers": []}, 422, "H2408", "borrowers"),
        ({"borrowers": [{"features": GOOD}] * 51}, 422, "H2408", "borrowers"),
        ({"borrowers": [{"feature": GOOD}]}, 422, "H2409", "borrowers.0.features"),
        ({}, 422, "H2409", ""),
        ({"features": GOOD, "borrowers": []}, 422, "H2409", ""),
        ({"features": GOOD, "lang": "fr"}, 422, "H2409", "lang"),
        ({"features": GOOD, "reasons": 11}, 422, "H2409", "reasons"),
        ([], 422, "H2409", ""),
    ],
)
def test_faults(client: Client, body: Any, status: int, code: str, field: str) -> None:
    reply = client.post("/v1/score", json=body)
    told = reply.json()
    assert (reply.status_code, told["code"], told["field"]) == (status, code, field)
    assert set(told) == {"code", "message", "field"}
    chinese = client.post("/v1/score", json=body, headers={"Accept-Language": "zh"}).json()
    assert re.search("[一-鿿]", chinese["message"])


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"[" * 9000, b'{"features": {"debt_ratio": ' + b"9" * 9000 + b"}}"],
)
def test_broken_json(client: Client, text: bytes) -> None:
    reply = client.post("/v1/score", content=text, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422)
    assert reply.json()["code"] in ("H2409", "H2407")


def test_a_form_is_told_to_be_json(client: Client) -> None:
    reply = client.post("/v1/score", content=json.dumps({"features": GOOD}))
    told = reply.json()
    assert (reply.status_code, told["field"]) == (415, "Content-Type")
    assert "application/json" in told["message"]


def test_large_bodies_are_refused(client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 9_000

    for content in (b" " * 20_001, pieces()):
        reply = client.post("/v1/score", content=content)
        assert (reply.status_code, reply.json()["code"]) == (413, "H2411")


def test_unknown_addresses_and_methods(client: Client) -> None:
    for reply in (client.get("/nowhere"), client.get("/v1/score"), client.get("/redoc")):
        assert reply.status_code in (404, 405)
        assert reply.json()["code"] == "H2413"


def test_internal_errors_say_nothing(
    service: ScoringService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(values: object) -> None:
        raise RuntimeError("secret 91120000MA00000000")

    monkeypatch.setattr(service.model, "predict_pd", broken)
    reply = Client(create_app(service)).post("/v1/score", json={"features": GOOD})
    assert (reply.status_code, reply.json()["code"]) == (500, "H5402")
    assert "secret" not in reply.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_health_model_and_schema(client: Client, service: ScoringService) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    told = client.get("/v1/model").json()
    assert told == json.loads(json.dumps(service.describe()))
    schema = client.get("/openapi.json").json()
    features = schema["components"]["schemas"]["Features"]
    assert features["properties"]["debt_ratio"]["maximum"] == 2
    assert features["properties"]["sector"]["enum"] == ["retail", "farm", "biotech", None]
    assert schema["paths"]["/v1/score"]["post"]["responses"]["422"]["content"]
    references = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(schema)))
    assert references <= set(schema["components"]["schemas"])


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_docs_page_is_self_contained(client: Client, lang: str) -> None:
    reply = client.get("/docs", params={"lang": lang})
    page = reply.text
    assert not re.search(r"https?://|//[a-z0-9.-]+\.[a-z]{2,}|@import|src=", page)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    for text in ("/v1/score", "debt_ratio", "curl", "0.50 %", "-999, NA"):
        assert text in page
    assert ("试一试" in page) == (lang == "zh")
    assert client.get("/").headers["location"] == "/docs"


def _run(guard: Guard, n: int) -> list[int]:
    """Send n requests at once and return their statuses."""

    async def one() -> int:
        sent: list[Any] = []
        gate = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await gate.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.get_running_loop().call_later(0.01, gate.set)
        scope = {"type": "http", "path": "/v1/score", "headers": []}
        await guard(scope, receive, send)
        return int(sent[0]["status"])

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(n)))

    return asyncio.run(all_of_them())


async def _slow_app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_flood_is_turned_away_and_passes() -> None:
    guard = Guard(_slow_app, pick_language=lambda _: "en", max_body=10, max_in_flight=3, patience=5)
    assert sorted(_run(guard, 10)) == [200] * 3 + [429] * 7
    assert _run(guard, 3) == [200] * 3


def test_a_body_that_never_comes_is_given_up() -> None:
    guard = Guard(
        _slow_app, pick_language=lambda _: "en", max_body=10, max_in_flight=3, patience=0.001
    )
    assert _run(guard, 1) == [408]
