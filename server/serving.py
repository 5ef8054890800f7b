"""Both servers over one scoring service: ports, TLS, start and graceful stop."""

import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from haihe_fl.errors import NetworkError, PolicyError, UserError
from server.grpc_api import GrpcServer
from server.http_api import create_app
from server.scoring import ScoringService

GRACE = 5.0
"""Seconds that requests in flight have to end."""


@dataclass(frozen=True)
class Tls:
    """PEM files: certificate chain, key and, for mutual TLS, the clients' authority."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def check(self) -> None:
        """Read the files once.

        Raises
        ------
        UserError
            H2412 if a file cannot be read, is no PEM, or key and certificate do not match.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(str(p) for p in (self.certificate, self.key, self.client_ca) if p)
            raise UserError(
                "H2412",
                en=f"cannot use the TLS files {files}: {error}; check that they are PEM, readable, "
                "and that key and certificate belong together",
                zh=f"无法使用 TLS 文件 {files}:{error};请确认为可读的 PEM 文件且密钥与证书匹配",
            ) from None

    def read(self) -> tuple[bytes, bytes, bytes | None]:
        """Return key, chain and authority as bytes."""
        authority = self.client_ca.read_bytes() if self.client_ca else None
        return self.key.read_bytes(), self.certificate.read_bytes(), authority


def listen(host: str, port: int, option: str) -> socket.socket:
    """Bind a listening socket.

    Raises
    ------
    NetworkError
        H4401 if the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise NetworkError(
            "H4401",
            en=f"cannot listen on {host}:{port} ({error.strerror}); stop the program that uses it "
            f"or choose another port with {option}",
            zh=f"无法监听 {host}:{port}({error.strerror});请停止占用该端口的程序,"
            f"或用 {option} 另选端口",
        ) from None


def refuse_clear_text(host: str) -> None:
    """Refuse to serve without TLS anywhere but on this machine's own loopback.

    Raises
    ------
    PolicyError
        H3401 for any other address.
    """
    if host not in ("localhost", "::1") and not host.startswith("127."):
        raise PolicyError(
            "H3401",
            en=f"will not serve borrowers' data in clear text on {host}; give --certificate and "
            "--key, or --insecure behind a proxy that ends TLS",
            zh=f"拒绝在 {host} 上以明文提供服务;请提供 --certificate 和 --key,"
            "若前面有终结 TLS 的代理可用 --insecure",
        )


class ScoringServers:
    """HTTP and gRPC servers of one service; a context manager.

    Parameters
    ----------
    service : ScoringService
        What both serve.
    host, http_port, grpc_port
        Where to listen; port 0 takes a free one.
    tls : Tls, optional
        For both servers.
    """

    def __init__(
        self,
        service: ScoringService,
        *,
        host: str = "127.0.0.1",
        http_port: int = 8080,
        grpc_port: int = 50051,
        tls: Tls | None = None,
    ) -> None:
        self.service = service
        self.host, self.http_port, self.grpc_port, self.tls = host, http_port, grpc_port, tls

    def start(self) -> None:
        """Start both, or neither.

        Raises
        ------
        UserError
            H2412 for unusable TLS files.
        NetworkError
            H4401 if an address cannot be had.
        """
        if self.tls:
            self.tls.check()
        with contextlib.ExitStack() as undo:
            http = undo.enter_context(listen(self.host, self.http_port, "--http-port"))
            listen(self.host, self.grpc_port, "--grpc-port").close()
            self.http_port = int(http.getsockname()[1])
            self._grpc = GrpcServer(self.service)
            host = f"[{self.host}]" if ":" in self.host else self.host
            try:
                self.grpc_port = self._grpc.start(
                    f"{host}:{self.grpc_port}", self.tls.read() if self.tls else None
                )
            except RuntimeError:  # taken since the check above
                listen(self.host, self.grpc_port, "--grpc-port").close()
                raise
            undo.callback(self._grpc.stop, 0)
            self._http = uvicorn.Server(self._config())
            self._thread = threading.Thread(
                target=self._http.run, args=([http],), name="http", daemon=True
            )
            self._thread.start()
            while not self._http.started:
                if not self._thread.is_alive():
                    raise RuntimeError("the HTTP server ended while starting")
                time.sleep(0.01)
            undo.pop_all()

    def _config(self) -> uvicorn.Config:
        secure: dict[str, Any] = {}
        if self.tls:
            secure = {"ssl_certfile": str(self.tls.certificate), "ssl_keyfile": str(self.tls.key)}
            if self.tls.client_ca:
                secure["ssl_ca_certs"] = str(self.tls.client_ca)
                secure["ssl_cert_reqs"] = int(ssl.CERT_REQUIRED)
        return uvicorn.Config(
            create_app(self.service),
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=int(GRACE),
            **secure,
        )

    @property
    def url(self) -> str:
        """Base address of the HTTP server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        """Address of the gRPC server, ``host:port``."""
        return (
            f"[{self.host}]:{self.grpc_port}"
            if ":" in self.host
            else f"{self.host}:{self.grpc_port}"
        )

    def stop(self, grace: float = GRACE) -> None:
        """Take no new requests, let those in flight end, stop both."""
        self._http.should_exit = True
        self._grpc.stop(grace)
        self._thread.join(grace + 2)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()
