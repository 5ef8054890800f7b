r"""Noise for the secure sum: rounded Gaussians from an OS-seeded ChaCha20 stream.

Why one rounded Gaussian a party carries the exact Gaussian accounting
----------------------------------------------------------------------
Records contribute integers, so the query q is an integer vector and its L2 sensitivity S is
exact in integer units; nothing is recomputed after rounding. Honest party i adds
R_i = round(X_i), X_i ~ N(0, s^2).

*One party.* q + round(X) = round(q + X), because q is an integer: post-processing of the
Gaussian mechanism.

*M parties.* P(round(X) = k) is the density of X + U at k, U uniform on (-1/2, 1/2). By Poisson
summation the characteristic function of R on [-pi, pi] is sum_j phi(t + 2 pi j), with
phi(t) = exp(-s^2 t^2 / 2) sinc(t / 2), and

* that of R_1 + ... + R_M is (sum_j phi(t + 2 pi j))^M;
* that of round(N(0, M s^2) + U_1 + ... + U_{M-1}) is sum_j phi(t + 2 pi j)^M.

They differ only in the cross terms between j = 0 and its aliases; the largest is
M phi(t)^(M-1) phi(2 pi - t), greatest at t = 2 pi / M, so that every probability of one law
differs from the other's by less than

    2 M exp(-2 pi^2 s^2 (1 - 1 / M))  <=  2 M exp(-pi^2 s^2),

below 1e-420 at the floor s = 10 that ``rounded_gaussian`` enforces. The published sum is thus
round(q + N(0, M s^2) + independent uniforms), again post-processing of a Gaussian mechanism
with variance M s^2; with s^2 = z^2 S^2 / (K_min - c) and M >= K_min - c honest survivors it is
at least z^2 S^2. ``tests/privacy/test_noise.py`` checks the two laws against each other at small
s, where the difference can be seen, and against the bound.

*Floating point.* A uniform in (0, 1/2) is drawn with all 53 bits of its mantissa wherever it
lies, so tails are as fine as the centre; the inverse normal is good to a few units in the last
place, which moves the edges between integers by a relative 2^-50 and no more. An observer sees
integers only, so the attack on the low bits of a floating-point Gaussian (Mironov 2012) has
nothing to look at.
"""

import math
import os
import threading
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]

from haihe_fl.errors import PolicyError

MIN_SD = 10.0
"""Least standard deviation of one party's share of the noise, in integer units."""
MAX_SD = 2.0**40
_CHUNK = 1 << 16


class NoiseSource:
    """A stream of privacy noise. Safe to share between threads and across a fork.

    Parameters
    ----------
    seed : bytes, optional
        32 bytes, for tests only: the noise can be reproduced, so nothing is private. Left out,
        the key comes from the operating system.

    Examples
    --------
    >>> noise = NoiseSource(seed=bytes(32))
    >>> noise.private, NoiseSource().private
    (False, True)
    >>> draw = noise.rounded_gaussian(100.0, 10_000)
    >>> draw.dtype, bool(abs(draw.std() - 100) < 3)
    (dtype('int64'), True)
    """

    def __init__(self, seed: bytes | None = None) -> None:
        if seed is not None and len(seed) != 32:
            raise ValueError("a seed has 32 bytes")
        self._seeded = seed is not None
        self._lock = threading.Lock()
        self._key(os.urandom(32) if seed is None else seed)

    @property
    def private(self) -> bool:
        """Whether the noise protects anyone: False for a source with a fixed seed."""
        return not self._seeded

    def rounded_gaussian(self, sd: float, size: int) -> NDArray[np.int64]:
        """Draw integers round(N(0, sd^2)).

        Parameters
        ----------
        sd : float
            In integer units, at least ``MIN_SD``.
        size : int
            How many.

        Returns
        -------
        ndarray of int64, shape (size,)

        Raises
        ------
        PolicyError
            H3201, ``sd`` is too small for the accounting to carry over to integers, or so
            large that integers are no longer exact.
        """
        if not MIN_SD <= sd <= MAX_SD:
            raise PolicyError(
                "H3201",
                en=f"noise of sd {sd:.4g} integer units is outside [{MIN_SD:g}, 2^40]; "
                "choose another fixed-point scale",
                zh=f"噪声标准差为 {sd:.4g} 个整数单位,不在 [{MIN_SD:g}, 2^40] 内;请调整定点缩放",
            )
        out = np.empty(size, dtype=np.int64)
        with self._lock:
            if not self._seeded and self._pid != os.getpid():  # never the parent's stream again
                self._key(os.urandom(32))
            for start in range(0, size, _CHUNK):
                part = out[start : start + _CHUNK]
                part[:] = np.rint(sd * self._normal(len(part)))
        return out

    def _key(self, key: bytes) -> None:
        self._pid = os.getpid()
        self._stream: CipherContext = Cipher(ChaCha20(key, bytes(16)), None).encryptor()

    def _words(self, size: int) -> NDArray[np.uint64]:
        return np.frombuffer(self._stream.update(bytes(8 * size)), dtype="<u8")

    def _normal(self, size: int) -> NDArray[np.float64]:
        words = self._words(size)
        half = words >> np.uint64(1)
        uniform = half.astype(np.float64)
        short = np.flatnonzero(half < 2**53)  # one in a thousand: fill its mantissa
        uniform[short] += (self._words(len(short)).astype(np.float64) + 0.5) * 2.0**-64
        normal: NDArray[np.float64] = ndtri(uniform * 2.0**-64)
        return np.where(words & np.uint64(1), normal, -normal)


@dataclass(frozen=True)
class Quorum:
    """How many parties there are, must stay, and may collude.

    Attributes
    ----------
    parties : int
        Institutions in the run, N.
    minimum : int
        Least number of survivors of a release, K_min; with fewer it aborts.
    colluders : int
        Institutions that may side with the centre, c; their noise protects nobody.

    Examples
    --------
    >>> Quorum.default(20)
    Quorum(parties=20, minimum=16, colluders=1)
    >>> Quorum.default(20).share_sd(noise_multiplier=4.0, sensitivity=1000.0).__round__(2)
    1032.8
    """

    parties: int
    minimum: int
    colluders: int

    def __post_init__(self) -> None:
        if not 0 <= self.colluders < self.minimum <= self.parties:
            raise ValueError(f"{self}: 0 <= colluders < minimum <= parties must hold")
        if 2 * self.minimum <= self.parties + self.colluders:
            raise ValueError(
                f"{self}: with 2 minimum <= parties + colluders the centre could show two "
                "halves of the honest parties different survivors"
            )

    @classmethod
    def default(cls, parties: int) -> "Quorum":
        """Return the usual quorum: four fifths must stay, one may collude if there are five."""
        return cls(parties, math.ceil(0.8 * parties), 1 if parties >= 5 else 0)

    @property
    def noise_parties(self) -> int:
        """Honest survivors there are at least, whose noise must do."""
        return self.minimum - self.colluders

    def share_sd(self, noise_multiplier: float, sensitivity: float) -> float:
        """Return the standard deviation of one party's noise, in units of ``sensitivity``.

        Parameters
        ----------
        noise_multiplier : float
            z of the release: noise on the sum over its L2 sensitivity.
        sensitivity : float
            S, in integer units.
        """
        return noise_multiplier * sensitivity / math.sqrt(self.noise_parties)
