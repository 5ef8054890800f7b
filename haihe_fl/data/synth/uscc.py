"""Unified social credit codes (GB 32100-2015): making and checking them.

A code has 18 characters: registrar (9), kind (1, enterprise), six digits of the district,
nine of the organisation code (GB 11714-1997, its last a check character), and one check
character over the first seventeen.
"""

import numpy as np
from numpy.typing import NDArray

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
DISTRICT_CODES = [f"1201{n:02}" for n in (*range(1, 7), *range(10, 20))]

_LETTERS = np.array(list(ALPHABET))
_VALUE = {letter: i for i, letter in enumerate(ALPHABET)}
_WEIGHTS = np.array([pow(3, i, 31) for i in range(17)])
_ORGANISATION_WEIGHTS = np.array([3, 7, 9, 10, 5, 8, 4, 2])
# In an organisation code letters count A = 10 ... Z = 35, with no letter left out.
_ORGANISATION_VALUE = np.array(
    [int(c) if c.isdigit() else ord(c) - ord("A") + 10 for c in ALPHABET]
)
_SERIALS = 31**6
_STRIDE = 387_420_489  # coprime to 31, so the walk below visits each serial once


def is_uscc(code: str) -> bool:
    """Say whether a code is well formed and its check character right.

    Examples
    --------
    >>> is_uscc("91350100M000100Y43"), is_uscc("91350100M000100Y44"), is_uscc("9135")
    (True, False, False)
    """
    if len(code) != 18 or any(c not in _VALUE for c in code):
        return False
    digits = np.array([_VALUE[c] for c in code])
    return bool(digits[17] == (-digits[:17] @ _WEIGHTS) % 31)


def make_usccs(district: NDArray[np.integer], start: int) -> NDArray[np.str_]:
    """Make one distinct code per enterprise.

    Parameters
    ----------
    district : ndarray of int, shape (n,)
        Position of the district in ``DISTRICT_CODES``.
    start : int
        Where the walk over serial numbers begins.

    Returns
    -------
    ndarray of str, shape (n,)
        Codes whose organisation part begins with ``XX``, which marks them as synthetic.

    Examples
    --------
    >>> code = str(make_usccs(np.array([12]), start=7)[0])
    >>> code[:10], is_uscc(code)
    ('91120116XX', True)
    """
    n = len(district)
    serial = (start + np.arange(n, dtype=np.int64) * _STRIDE) % _SERIALS
    digits = np.empty((n, 18), dtype=np.int64)
    digits[:, :2] = (9, 1)
    digits[:, 2:8] = np.array([[int(c) for c in code] for code in DISTRICT_CODES])[district]
    digits[:, 8:10] = _VALUE["X"]
    for column in range(15, 9, -1):
        serial, digits[:, column] = np.divmod(serial, 31)
    check = 11 - _ORGANISATION_VALUE[digits[:, 8:16]] @ _ORGANISATION_WEIGHTS % 11
    digits[:, 16] = np.select([check == 10, check == 11], [_VALUE["X"], 0], check)
    digits[:, 17] = -(digits[:, :17] @ _WEIGHTS) % 31
    return np.ascontiguousarray(_LETTERS[digits]).view("<U18").reshape(n)
