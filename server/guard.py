"""What stands before the HTTP application: limits on load, size and time, and no leaks."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from haihe_fl.i18n import Language

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
log = logging.getLogger(__name__)

TEXTS = {
    400: ("H2409", "the request is malformed", "请求格式有误"),
    404: ("H2413", "no such address; GET /docs lists them", "没有该地址;全部地址见 GET /docs"),
    405: ("H2413", "this address takes another method; see GET /docs", "请求方法不符;见 GET /docs"),
    408: (
        "H4403",
        "the request did not arrive in time; send it again",
        "请求未及时到达;请重新发送",
    ),
    413: ("H2411", "the request is too large; send fewer borrowers", "请求过大;请减少借款人数量"),
    415: ("H2409", "send Content-Type: application/json", "请加上 Content-Type: application/json"),
    429: ("H4402", "too many requests at once; wait a second", "并发请求过多;请稍后重试"),
    500: ("H5402", "internal error; tell the operator the time", "内部错误;请将时间告知运维人员"),
}


def problem(status: int, lang: Language, field: str = "") -> dict[str, str]:
    """Return the error body of a status."""
    code, en, zh = TEXTS.get(status, TEXTS[400])
    return {"code": code, "message": zh if lang == "zh" else en, "field": field}


class Refused(HTTPException):
    """A request that is not let in; the one kind that FastAPI lets pass while it reads a body."""

    def __init__(self, status: int) -> None:
        super().__init__(status, headers={"connection": "close"})


class Guard:
    """ASGI middleware.

    Parameters
    ----------
    app : ASGI application
        What it guards.
    pick_language : callable
        Language for an ``Accept-Language`` header.
    max_body : int
        Largest request body in bytes; more gets 413, while streaming.
    max_in_flight : int
        Most requests at a time; more get 429 at once. ``/healthz`` is not counted.
    patience : float
        Seconds that a body may take to arrive; then 408.
    """

    def __init__(
        self,
        app: App,
        *,
        pick_language: Callable[[str], Language],
        max_body: int,
        max_in_flight: int,
        patience: float,
    ) -> None:
        self.app = app
        self.pick_language = pick_language
        self.max_body = max_body
        self.max_in_flight = max_in_flight
        self.patience = patience
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        self.in_flight += 1
        try:
            if self.in_flight > self.max_in_flight:
                raise Refused(429)
            await self.app(scope, self._limited(scope, receive), watched)
        except Refused as refused:
            if not started:
                await self._refuse(scope, send, refused.status_code)
        except Exception as error:
            log.error("H5402 %s at %s", type(error).__name__, scope["path"])
            if not started:
                await self._refuse(scope, send, 500)
        finally:
            self.in_flight -= 1

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        left = self.max_body
        complete = False
        deadline = asyncio.get_running_loop().time() + self.patience

        async def limited() -> Message:
            nonlocal left, complete
            if complete:
                return await receive()
            if declared.isdigit() and int(declared) > self.max_body:
                raise Refused(413)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Refused(408) from None
            left -= len(message.get("body", b""))
            if left < 0:
                raise Refused(413)
            complete = not message.get("more_body", False)
            return message

        return limited

    async def _refuse(self, scope: Scope, send: Send, status: int) -> None:
        accepted = dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1")
        body = json.dumps(
            problem(status, self.pick_language(accepted)), ensure_ascii=False
        ).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        if status == 429:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
