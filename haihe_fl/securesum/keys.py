"""Keys: institutions' certificates, and the key offers that they sign for each run.

The centre relays key offers and can change none: each carries the institution's certificate
from the consortium CA and a signature over run, name and keys.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID

from haihe_fl.errors import IntegrityError
from haihe_fl.securesum.framing import frame

_YEARS = timedelta(days=365)


@dataclass(frozen=True)
class Identity:
    """An institution's long-lived signing key and its certificate.

    Attributes
    ----------
    name : str
        Legal entity, the certificate's common name.
    key : Ed25519PrivateKey
        Never leaves the institution.
    certificate : bytes
        X.509, PEM.
    """

    name: str
    key: Ed25519PrivateKey
    certificate: bytes

    def save(self, folder: Path) -> None:
        """Write ``identity.key`` (mode 0600) and ``identity.pem``."""
        save_private_key(folder / "identity.key", self.key)
        (folder / "identity.pem").write_bytes(self.certificate)

    @classmethod
    def load(cls, folder: Path) -> "Identity":
        """Read what ``save`` wrote."""
        certificate = (folder / "identity.pem").read_bytes()
        name = _common_name(x509.load_pem_x509_certificate(certificate))
        return cls(name, load_private_key(folder / "identity.key"), certificate)


@dataclass(frozen=True)
class ConsortiumCA:
    """The consortium's certificate authority.

    Examples
    --------
    >>> ca = ConsortiumCA.create("Haihe consortium")
    >>> bank = ca.issue("Bank A")
    >>> verify_certificate(bank.certificate, ca.certificate)[0]
    'Bank A'
    """

    key: Ed25519PrivateKey
    certificate: bytes

    @classmethod
    def create(cls, name: str) -> "ConsortiumCA":
        """Make a new authority, valid for ten years."""
        key = Ed25519PrivateKey.generate()
        now = datetime.now(UTC)
        certificate = _builder(name, name, key.public_key(), now, now + 10 * _YEARS, ca=True)
        return cls(key, _pem(certificate.sign(key, None)))

    def issue(
        self, institution: str, *, since: datetime | None = None, until: datetime | None = None
    ) -> Identity:
        """Make a key and a certificate for an institution, valid for a year from now."""
        since = since or datetime.now(UTC)
        key = Ed25519PrivateKey.generate()
        issuer = _common_name(x509.load_pem_x509_certificate(self.certificate))
        builder = _builder(
            institution, issuer, key.public_key(), since, until or since + _YEARS, ca=False
        )
        return Identity(institution, key, _pem(builder.sign(self.key, None)))

    def save(self, folder: Path) -> None:
        """Write ``ca.key`` (mode 0600) and ``ca.pem``."""
        save_private_key(folder / "ca.key", self.key)
        (folder / "ca.pem").write_bytes(self.certificate)

    @classmethod
    def load(cls, folder: Path) -> "ConsortiumCA":
        """Read what ``save`` wrote."""
        return cls(load_private_key(folder / "ca.key"), (folder / "ca.pem").read_bytes())


def save_private_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key as PEM that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key that ``save_private_key`` wrote."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path} holds no Ed25519 key")
    return key


def verify_certificate(
    certificate: bytes, ca: bytes, at: datetime | None = None
) -> tuple[str, Ed25519PublicKey]:
    """Return the institution and public key of a certificate.

    Parameters
    ----------
    certificate, ca : bytes
        PEM; the latter is the consortium's.
    at : datetime, optional
        When it must be valid; now if left out.

    Raises
    ------
    IntegrityError
        H5207 if it is not from this CA, not valid at the time, or not an institution's.
    """
    at = at or datetime.now(UTC)
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        root = x509.load_pem_x509_certificate(ca)
        leaf.verify_directly_issued_by(root)
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        name, key = _common_name(leaf), leaf.public_key()
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        _reject_certificate("not issued by the consortium", "并非由联盟签发")
    if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
        _reject_certificate(f"{name}: not valid on {at:%Y-%m-%d}", f"{name}:在 {at:%Y-%m-%d} 无效")
    if constraints.ca or not isinstance(key, Ed25519PublicKey):
        _reject_certificate(f"{name}: not an institution's", f"{name}:不是机构证书")
    return name, key


@dataclass(frozen=True)
class KeyOffer:
    """An institution's two public keys for one run, signed.

    Attributes
    ----------
    mask_key, share_key : bytes
        X25519 public keys, 32 bytes each: for pair masks, and for shares sent to it.
    certificate : bytes
        The institution's, PEM.
    signature : bytes
        Ed25519 over institution, run and both keys.
    """

    institution: str
    run: str
    mask_key: bytes
    share_key: bytes
    certificate: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature covers."""
        return frame(
            "haihe key offer v1", self.institution, self.run, self.mask_key, self.share_key
        )


@dataclass(frozen=True)
class PrivateKeys:
    """The private halves of an offer; kept at the institution for the run."""

    mask: X25519PrivateKey
    share: X25519PrivateKey

    def to_bytes(self) -> bytes:
        """Return 64 bytes to keep in a private file across restarts."""
        return self.mask.private_bytes_raw() + self.share.private_bytes_raw()

    @classmethod
    def from_bytes(cls, data: bytes) -> "PrivateKeys":
        """Read what ``to_bytes`` returned."""
        load = X25519PrivateKey.from_private_bytes
        return cls(load(data[:32]), load(data[32:]))


def make_offer(identity: Identity, run: str) -> tuple[KeyOffer, PrivateKeys]:
    """Make fresh keys for a run and sign their public halves."""
    keys = PrivateKeys(X25519PrivateKey.generate(), X25519PrivateKey.generate())
    publics = (
        keys.mask.public_key().public_bytes_raw(),
        keys.share.public_key().public_bytes_raw(),
    )
    unsigned = KeyOffer(identity.name, run, *publics, identity.certificate, b"")
    signature = identity.key.sign(unsigned.signed)
    return KeyOffer(identity.name, run, *publics, identity.certificate, signature), keys


def verify_offer(offer: KeyOffer, ca: bytes, run: str, at: datetime | None = None) -> None:
    """Check certificate, signature, name and run of an offer.

    Raises
    ------
    IntegrityError
        H5207 for the certificate, H5208 for the offer.
    """
    name, key = verify_certificate(offer.certificate, ca, at)
    try:
        key.verify(offer.signature, offer.signed)
        valid = name == offer.institution and run == offer.run
        valid = valid and len(offer.mask_key) == len(offer.share_key) == 32
    except InvalidSignature:
        valid = False
    if not valid:
        raise IntegrityError(
            "H5208",
            en=f"the keys of {offer.institution} for run {run} are not signed by it for this run: "
            "someone stands in the middle, or an old message is replayed; stop the run",
            zh=f"{offer.institution} 在运行 {run} 的密钥未由其为本次运行签名:"
            "存在中间人或旧消息重放;请停止运行",
        )


def _builder(
    name: str, issuer: str, key: Ed25519PublicKey, since: datetime, until: datetime, *, ca: bool
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - timedelta(minutes=5))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _common_name(certificate: x509.Certificate) -> str:
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


def _reject_certificate(en: str, zh: str) -> NoReturn:
    raise IntegrityError(
        "H5207",
        en=f"certificate refused: {en}; ask the consortium administrator for a valid one",
        zh=f"证书被拒绝:{zh};请向联盟管理员申请有效证书",
    )
