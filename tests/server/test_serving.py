import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from haihe_fl.cli.serve import serve
from haihe_fl.data.catalogue import Feature, FeatureCatalogue
from haihe_fl.errors import NetworkError, PolicyError, UserError
from haihe_fl.models.additive import AdditiveModel
from haihe_fl.models.additive.tables import Tables
from haihe_fl.models.binning import Binning
from haihe_fl.workspace import Workspace
from server import scoring_pb2 as pb
from server import scoring_pb2_grpc as pb_grpc
from server.examples import curl, grpc_python
from server.registry import load_model, record_run
from server.scoring import ScoringService
from server.serving import ScoringServers, Tls, refuse_clear_text

BODY = {"features": {"debt_ratio": 1.9}}


def additive() -> AdditiveModel:
    catalogue = FeatureCatalogue(name="one", features=(Feature(name="debt", range=(0, 2)),))
    binning = Binning(catalogue, np.array([[1.0]]), np.zeros(0, dtype=np.int64))
    tables = Tables.empty(binning, [3]).replace(main=np.array([0.0, -0.5, 0.5]), intercept=-3.0)
    return AdditiveModel(tables, counts=np.array([0.0, 100.0, 100.0]))


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem; server and client certificates of that authority; other.pem of nobody's."""
    folder = tmp_path_factory.mktemp("pems")
    authority = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)

    def issue(
        name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
    ) -> None:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if key is signer else issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=key is signer, path_length=None), True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                False,
            )
            .sign(signer, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    issue("ca", authority, authority)
    for name in ("server", "client"):
        issue(name, ec.generate_private_key(ec.SECP256R1()), authority)
    other = ec.generate_private_key(ec.SECP256R1())
    issue("other", other, other)
    return folder


def score(channel: grpc.Channel) -> float:
    request = pb.ScoreRequest(borrower=pb.Borrower(features={"debt_ratio": pb.Value(number=1.9)}))
    with channel:
        return float(pb_grpc.ScoringStub(channel).Score(request, timeout=10).score.pd)


def test_both_servers_give_the_same_score(service: ScoringService) -> None:
    with ScoringServers(service, http_port=0, grpc_port=0) as servers:
        (result,) = httpx.post(f"{servers.url}/v1/score", json=BODY).json()["results"]
        assert result["pd"] == score(grpc.insecure_channel(servers.grpc_address))
        assert result["pd"] == service.score([BODY["features"]])[0].pd
        assert "127.0.0.1" in curl(servers)
        code = grpc_python(servers)
        compile(code, "example", "exec")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert 'band: "' in done.stdout
        url = servers.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_tls(service: ScoringService, pems: Path) -> None:
    tls = Tls(pems / "server.pem", pems / "server.key")
    trust = ssl.create_default_context(cafile=str(pems / "ca.pem"))
    with ScoringServers(service, http_port=0, grpc_port=0, tls=tls) as servers:
        assert servers.url.startswith("https:")
        assert httpx.post(f"{servers.url}/v1/score", json=BODY, verify=trust).status_code == 200
        credentials = grpc.ssl_channel_credentials((pems / "ca.pem").read_bytes())
        assert score(grpc.secure_channel(servers.grpc_address, credentials)) > 0
        assert "--cacert" in curl(servers)
        with pytest.raises(httpx.TransportError):
            httpx.get(servers.url.replace("https", "http") + "/healthz")


def test_mutual_tls_admits_only_known_clients(service: ScoringService, pems: Path) -> None:
    tls = Tls(pems / "server.pem", pems / "server.key", pems / "ca.pem")
    authority = (pems / "ca.pem").read_bytes()
    with ScoringServers(service, http_port=0, grpc_port=0, tls=tls) as servers:
        for name, admitted in (("client", True), ("other", False), ("", False)):
            trust = ssl.create_default_context(cafile=str(pems / "ca.pem"))
            key = chain = None
            if name:
                trust.load_cert_chain(pems / f"{name}.pem", pems / f"{name}.key")
                key = (pems / f"{name}.key").read_bytes()
                chain = (pems / f"{name}.pem").read_bytes()
            credentials = grpc.ssl_channel_credentials(authority, key, chain)
            channel = grpc.secure_channel(servers.grpc_address, credentials)
            if admitted:
                reply = httpx.post(f"{servers.url}/v1/score", json=BODY, verify=trust)
                assert reply.status_code == 200
                assert score(channel) > 0
            else:
                with pytest.raises(httpx.TransportError):
                    httpx.post(f"{servers.url}/v1/score", json=BODY, verify=trust)
                with pytest.raises(grpc.RpcError):
                    score(channel)


@pytest.mark.parametrize("files", [("none.pem", "server.key"), ("server.pem", "client.key")])
def test_unusable_tls_files(service: ScoringService, pems: Path, files: tuple[str, str]) -> None:
    servers = ScoringServers(
        service, http_port=0, grpc_port=0, tls=Tls(pems / files[0], pems / files[1])
    )
    with pytest.raises(UserError, match=files[0]) as caught:
        servers.start()
    assert caught.value.code == "H2412"


@pytest.mark.parametrize("which", ["http_port", "grpc_port"])
def test_a_port_in_use_is_said_with_the_mend(service: ScoringService, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"http_port": 0, "grpc_port": 0, which: taken.getsockname()[1]}
        with pytest.raises(NetworkError, match=f"--{which.replace('_', '-')}") as caught:
            ScoringServers(service, **ports).start()
    assert caught.value.code == "H4401"


def test_clear_text_stays_on_this_machine() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.3.2.1"):
        refuse_clear_text(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "scoring.example"):
        with pytest.raises(PolicyError) as caught:
            refuse_clear_text(host)
        assert caught.value.code == "H3401"


def test_command_refuses_before_it_listens(tmp_path: Path, pems: Path) -> None:
    with pytest.raises(UserError, match="haihe train"):
        serve(work=tmp_path)
    with pytest.raises(PolicyError):
        serve(host="0.0.0.0", work=tmp_path)
    with pytest.raises(UserError, match="go together"):
        serve(certificate=pems / "server.pem", work=tmp_path)
    with pytest.raises(UserError, match="error or clip"):
        serve(out_of_range="ignore", work=tmp_path)


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    work = tmp_path / "work"
    model = additive()
    made = record_run(Workspace.at(work), model, run_name="r", params={}, metrics={})
    code = "import typer; from haihe_fl.cli.serve import serve; typer.run(serve)"
    options = ["--work", str(work), "--http-port", "0", "--grpc-port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HAIHE_LANG": "en", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout and process.stderr
    told: dict[str, str] = {}
    lines = []
    for line in process.stdout:
        lines.append(line)
        words = line.split()
        if len(words) == 2 and words[0] in ("HTTP", "gRPC"):
            told[words[0]] = words[1]
        if "Ctrl-C" in line:
            break
    try:
        assert f"version {made.version}" in lines[0]
        assert any(line.startswith("curl http://127.0.0.1") for line in lines)
        reply = httpx.post(f"{told['HTTP']}/v1/score", json={"features": {"debt": 1.5}})
        assert reply.json()["results"][0]["pd"] == pytest.approx(1 / (1 + np.exp(2.5)))
        assert reply.json()["model"]["fingerprint"] == model.fingerprint
    finally:
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "Stopping." in out


def test_additive_model_by_registry_and_service(tmp_path: Path) -> None:
    workspace = Workspace.at(tmp_path)
    record_run(workspace, additive(), run_name="r", params={}, metrics={})
    model, info = load_model(workspace)
    assert isinstance(model, AdditiveModel)
    (high, low, missing) = ScoringService(model, info).score(
        [{"debt": 1.5}, {"debt": 0.5}, {"debt": None}]
    )
    assert high.reasons[0].en == "debt 1.5: raises risk"
    assert high.reasons[0].points == pytest.approx(0.5 * info.scale.factor, abs=0.05)
    assert low.score > missing.score > high.score
