"""Shamir's secret sharing of 32-byte secrets over the prime field of 2^256 + 297 elements.

Fewer shares than the threshold say nothing about the secret. Shares carry no proof of their own:
they travel under authenticated encryption, and the secret they give back must carry a check.
"""

import secrets
from collections.abc import Mapping
from functools import lru_cache

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(secret: bytes, threshold: int, holders: int) -> list[bytes]:
    """Return one share for each holder; any ``threshold`` of them give the secret back.

    Parameters
    ----------
    secret : bytes
        32 bytes.
    threshold, holders : int
        1 <= threshold <= holders.

    Returns
    -------
    list of bytes
        33 bytes each; the share at position i belongs to holder i.

    Examples
    --------
    >>> shares = split(b"a secret of thirty-two bytes ...", 2, 3)
    >>> combine({0: shares[0], 2: shares[2]})
    b'a secret of thirty-two bytes ...'
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= holders:
        raise ValueError(f"cannot share {len(secret)} bytes {threshold} of {holders}")
    polynomial = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    polynomial.append(int.from_bytes(secret, "big"))
    shares = []
    for x in range(1, holders + 1):
        y = 0
        for coefficient in polynomial:
            y = (y * x + coefficient) % PRIME
        shares.append(y.to_bytes(SHARE_BYTES, "big"))
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret from exactly as many shares as its threshold.

    Parameters
    ----------
    shares : mapping of int to bytes
        Shares by the holder's position.

    Raises
    ------
    ValueError
        If no 32-byte secret has these shares. Wrong shares may also give a wrong secret.
    """
    holders = tuple(sorted(shares))
    values = [int.from_bytes(shares[holder], "big") for holder in holders]
    pairs = zip(_lagrange(holders), values, strict=True)
    secret = sum(coefficient * value for coefficient, value in pairs) % PRIME
    if secret >= 2**256:
        raise ValueError("these shares belong to no 32-byte secret")
    return secret.to_bytes(SECRET_BYTES, "big")


@lru_cache(maxsize=32)
def _lagrange(holders: tuple[int, ...]) -> tuple[int, ...]:
    """Return the weights of the shares in the polynomial's value at zero."""
    weights = []
    for i in holders:
        above = below = 1
        for j in holders:
            if j != i:
                above = above * (j + 1) % PRIME
                below = below * (j - i) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return tuple(weights)
