"""Mask seeds, and their expansion into vectors modulo 2^64.

Two parties share one X25519 secret a run; each release derives a fresh seed from it, so that a
seed revealed for one release opens no other.
"""

from collections.abc import Iterable
from hashlib import sha256

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from haihe_fl.errors import IntegrityError
from haihe_fl.securesum.framing import frame

SEED_BYTES = 32
_CHECK_BYTES = 8
_CHUNK = 1 << 14  # entries at a time: keystream and sum stay in the processor's cache
_ZEROS = bytes(8 * _CHUNK)
_NONCE = bytes(16)  # every seed is used for one stream only


def shared_secret(private: X25519PrivateKey, public: bytes) -> bytes:
    """Return the X25519 secret with the owner of a public key.

    Raises
    ------
    IntegrityError
        H5208 if the public key is of low order, which no honest party makes.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise IntegrityError(
            "H5208",
            en="a public key in the roster is not a usable X25519 key; stop the run",
            zh="名册中的公钥不是可用的 X25519 密钥;请停止运行",
        ) from None


def derive(secret: bytes, *context: str) -> bytes:
    """Return 32 bytes bound to a context (HKDF-SHA256)."""
    return HKDF(SHA256(), SEED_BYTES, salt=None, info=frame(*context)).derive(secret)


def pair_seed(secret: bytes, run: str, release: str, one: str, other: str) -> bytes:
    """Return the seed of the mask between two parties, the same from either side.

    Examples
    --------
    >>> seed = pair_seed(bytes(32), "run", "main/0", "Bank A", "Bank B")
    >>> seed == pair_seed(bytes(32), "run", "main/0", "Bank B", "Bank A")
    True
    >>> seed == pair_seed(bytes(32), "run", "main/1", "Bank A", "Bank B")
    False
    """
    return derive(secret, "haihe pair mask v1", run, release, *sorted((one, other)))


def add_mask(vector: NDArray[np.uint64], seed: bytes, sign: int) -> None:
    """Add the expansion of a seed to a vector, or subtract it, in place and modulo 2^64.

    Parameters
    ----------
    vector : ndarray of uint64, shape (length,)
        Contiguous.
    seed : bytes
        32 bytes.
    sign : {1, -1}
        Add or subtract.

    Examples
    --------
    >>> vector = np.arange(3, dtype=np.uint64)
    >>> add_mask(vector, bytes(32), 1)
    >>> hex(vector[0])  # the first ChaCha20 block of an all-zero key, RFC 8439 A.1
    '0x903df1a0ade0b876'
    >>> add_mask(vector, bytes(32), -1); vector
    array([0, 1, 2], dtype=uint64)
    """
    add_masks(vector, [(seed, sign)])


def add_masks(vector: NDArray[np.uint64], masks: Iterable[tuple[bytes, int]]) -> None:
    """Add or subtract the expansions of many seeds, as ``add_mask`` does with one.

    All streams advance side by side over a stretch of the vector that stays in the cache.
    """
    streams = [
        (
            Cipher(ChaCha20(seed, _NONCE), None).encryptor().update_into,
            np.add if sign > 0 else np.subtract,
        )
        for seed, sign in masks
    ]
    buffer = bytearray(_ZEROS)
    words = np.frombuffer(buffer, dtype="<u8")
    for start in range(0, len(vector), _CHUNK):
        part = vector[start : start + _CHUNK]
        zeros, mask = memoryview(_ZEROS)[: part.nbytes], words[: len(part)]
        for fill, operation in streams:
            fill(zeros, buffer)
            operation(part, mask, out=part)


def pair_sign(party: str, other: str) -> int:
    """Return the sign with which a party adds the mask that it shares with another."""
    return 1 if party < other else -1


def seal_seed(entropy: bytes) -> bytes:
    """Return a 32-byte self-mask secret that shows whether it was put together rightly.

    Parameters
    ----------
    entropy : bytes
        24 bytes from the operating system; 8 bytes of their hash are added.
    """
    if len(entropy) != SEED_BYTES - _CHECK_BYTES:
        raise ValueError("a self-mask has 24 bytes of entropy")
    return entropy + sha256(b"haihe self mask check v1" + entropy).digest()[:_CHECK_BYTES]


def self_seed(secret: bytes) -> bytes:
    """Return the seed of a self-mask from its secret.

    Raises
    ------
    IntegrityError
        H5213 if the secret was put together from wrong shares.

    Examples
    --------
    >>> len(self_seed(seal_seed(bytes(24))))
    32
    """
    if seal_seed(secret[:-_CHECK_BYTES]) != secret:
        raise IntegrityError(
            "H5213",
            en="the shares of a self-mask do not fit together: a holder sent a wrong one; "
            "start the release again under a new name",
            zh="自掩码的份额不一致:有持有方发送了错误份额;请以新名称重新发布",
        )
    return derive(secret, "haihe self mask v1")
