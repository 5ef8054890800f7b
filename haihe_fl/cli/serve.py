"""``haihe serve``: the scoring service over HTTP and gRPC."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from haihe_fl.cli.console import WorkOption, out, workspace
from haihe_fl.errors import UserError
from haihe_fl.i18n import tr

if TYPE_CHECKING:
    from server.serving import ScoringServers


def serve(
    host: Annotated[
        str, typer.Option(help=tr("Address to listen on.", "监听地址。"))
    ] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help=tr("Port of the HTTP API.", "HTTP 接口端口。"))
    ] = 8080,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help=tr("Port of the gRPC API.", "gRPC 接口端口。"))
    ] = 50051,
    name: Annotated[
        str, typer.Option(help=tr("Registered model.", "登记的模型名称。"))
    ] = "haihe-risk",
    version: Annotated[
        int | None,
        typer.Option(help=tr("Version (default: the champion).", "版本(默认为 champion)。")),
    ] = None,
    out_of_range: Annotated[
        str,
        typer.Option(
            help=tr(
                "Numbers outside their public range: error, or clip.",
                "数值超出公开范围时:error 报错,clip 截断。",
            )
        ),
    ] = "error",
    certificate: Annotated[
        Path | None, typer.Option(help=tr("TLS certificate chain, PEM.", "TLS 证书链(PEM)。"))
    ] = None,
    key: Annotated[Path | None, typer.Option(help=tr("TLS key, PEM.", "TLS 私钥(PEM)。"))] = None,
    client_ca: Annotated[
        Path | None,
        typer.Option(
            help=tr(
                "Admit only clients with a certificate of this authority (mutual TLS).",
                "仅允许持有该机构证书的客户端(双向 TLS)。",
            )
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help=tr("Serve clear text beyond this machine.", "允许在本机之外以明文提供服务。"),
        ),
    ] = False,
    work: WorkOption = None,
) -> None:
    """Serve the registered model over HTTP and gRPC until interrupted."""
    from server.registry import load_model
    from server.scoring import ScoringService
    from server.serving import ScoringServers, Tls, refuse_clear_text

    if (certificate is None) != (key is None) or (client_ca is not None and certificate is None):
        raise UserError(
            "H2412",
            en="--certificate and --key go together, and --client-ca needs both",
            zh="--certificate 与 --key 须同时给出,--client-ca 需要二者",
        )
    if out_of_range not in ("error", "clip"):
        raise UserError(
            "H2409",
            en=f"--out-of-range is error or clip, not {out_of_range}",
            zh=f"--out-of-range 只能是 error 或 clip,而不是 {out_of_range}",
        )
    tls = Tls(certificate, key, client_ca) if certificate and key else None
    if tls is None and not insecure:
        refuse_clear_text(host)
    model, info = load_model(workspace(work), name, version)
    service = ScoringService(
        model, info, out_of_range="clip" if out_of_range == "clip" else "error"
    )
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ScoringServers(
            service, host=host, http_port=http_port, grpc_port=grpc_port, tls=tls
        ) as servers:
            _announce(servers)
            stop.wait()
            out.print(tr("Stopping.", "正在停止。"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(servers: "ScoringServers") -> None:
    """Print where the servers listen and how to call them."""
    from server.examples import curl, grpc_python

    info = servers.service.info
    out.print(
        tr(
            f"Model {info.name} version {info.version} ({info.family}, {info.fingerprint[:12]})",
            f"模型 {info.name} 版本 {info.version}({info.family},{info.fingerprint[:12]})",
        ),
        highlight=False,
    )
    lines = [
        ("HTTP", servers.url),
        (tr("Docs", "文档"), f"{servers.url}/docs"),
        ("gRPC", servers.grpc_address),
    ]
    for label, text in lines:
        out.print(f"  {label:<5} {text}", highlight=False, markup=False, soft_wrap=True)
    for text in ("", curl(servers), "", grpc_python(servers)):
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    out.print(tr("\nStop with Ctrl-C.", "\n按 Ctrl-C 停止。"))
