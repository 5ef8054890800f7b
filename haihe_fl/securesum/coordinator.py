"""The centre's side of the secure sum: whom to ask what, and the exact sum of the survivors."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from haihe_fl.errors import NetworkError
from haihe_fl.securesum import shamir
from haihe_fl.securesum.masks import SEED_BYTES, add_masks, pair_sign, self_seed
from haihe_fl.securesum.party import Upload
from haihe_fl.securesum.quorum import Quorum

Revealed = Mapping[str, Mapping[str, bytes]]
"""What each party that answered revealed about others: answerer -> other -> bytes."""

AskPairs = Callable[[list[str], list[str]], Revealed]
"""``ask_pairs(survivors, missing)``: asks every survivor for its seeds towards the missing."""

AskShares = Callable[[list[str], Mapping[str, Mapping[str, bytes]]], Revealed]
"""``ask_shares(survivors, ciphertexts)``: asks every survivor for its shares of all survivors'
self-masks; ``ciphertexts[holder][sender]`` is what it needs for that."""


class QuorumError(NetworkError):
    """Too few parties are left; nothing was unmasked.

    Attributes
    ----------
    missing : tuple of str
        Who did not answer.
    """

    def __init__(self, release: str, minimum: int, missing: Collection[str]) -> None:
        self.missing = tuple(sorted(missing))
        names = ", ".join(self.missing)
        super().__init__(
            "H4201",
            en=f"release {release} aborted: without {names} fewer than {minimum} institutions are "
            "left; bring them back and start the release again under a new name",
            zh=f"发布 {release} 已中止:缺少 {names},剩余机构少于 {minimum} 个;"
            "请待其恢复后以新名称重新发布",
        )


@dataclass(frozen=True)
class SecureSum:
    """The outcome of a release.

    Attributes
    ----------
    total : ndarray of int64, shape (length,)
        Exact sum of the survivors' vectors, modulo 2^64.
    survivors, missing : tuple of str
        Whose vectors are in it, and whose are not.
    """

    total: NDArray[np.int64]
    survivors: tuple[str, ...]
    missing: tuple[str, ...]


def collect(
    release: str,
    parties: Sequence[str],
    quorum: Quorum,
    length: int,
    uploads: Mapping[str, Upload],
    ask_pairs: AskPairs,
    ask_shares: AskShares,
) -> SecureSum:
    """Bring a release from the uploads to the sum.

    Asks for pair seeds until every announced survivor has answered, taking those who stay
    silent, or whose answer is malformed, for missing; then for shares, of which
    ``quorum.minimum`` are enough. Asks for no pair seeds when nobody is missing.

    Parameters
    ----------
    release : str
        For messages only.
    parties : sequence of str
        All parties of the run.
    length : int
        Entries that an upload must have.
    uploads : mapping of str to Upload
        What came in by the deadline; malformed ones are left out.

    Raises
    ------
    QuorumError
        H4201, naming who is missing, when fewer than ``quorum.minimum`` are left.
    IntegrityError
        H5213 if the shares of a self-mask do not fit together.
    """
    everyone = sorted(parties)
    survivors = [n for n in everyone if n in uploads and well_formed(uploads[n], everyone, length)]
    answers: Revealed = {}
    while True:
        missing = [name for name in everyone if name not in survivors]
        if len(survivors) < quorum.minimum:
            raise QuorumError(release, quorum.minimum, missing)
        if not missing:
            break
        answers = ask_pairs(survivors, missing)
        answered = [n for n in survivors if _complete(answers.get(n), missing, SEED_BYTES)]
        if answered == survivors:
            break
        survivors = answered
    ciphertexts = {
        holder: {sender: uploads[sender].shares[holder] for sender in survivors}
        for holder in survivors
    }
    shares = {
        holder: revealed
        for holder, revealed in ask_shares(survivors, ciphertexts).items()
        if holder in survivors and _complete(revealed, survivors, shamir.SHARE_BYTES)
    }
    if len(shares) < quorum.minimum:
        raise QuorumError(release, quorum.minimum, set(everyone) - set(shares))
    total = unmask(everyone, quorum, uploads, survivors, answers, shares)
    return SecureSum(total, tuple(survivors), tuple(missing))


def unmask(
    parties: Sequence[str],
    quorum: Quorum,
    uploads: Mapping[str, Upload],
    survivors: Collection[str],
    pair_seeds: Revealed,
    shares: Revealed,
) -> NDArray[np.int64]:
    """Return the exact sum of the survivors' vectors.

    Parameters
    ----------
    parties : sequence of str
        All parties of the run; a holder's place among the sorted names is its share's position.
    uploads : mapping of str to Upload
        At least the survivors'.
    pair_seeds : mapping
        By survivor: the seeds towards every party that is not one.
    shares : mapping
        By holder: its shares of the survivors' self-masks; ``quorum.minimum`` holders at least.

    Raises
    ------
    QuorumError
        H4201 when survivors or holders are too few.
    IntegrityError
        H5213 if the shares of a self-mask do not fit together.
    """
    everyone = sorted(parties)
    present = sorted(survivors)
    holders = sorted(shares)[: quorum.minimum]
    for answered in (present, holders):
        if len(answered) < quorum.minimum:
            raise QuorumError("", quorum.minimum, set(everyone) - set(answered))
    total = np.zeros_like(uploads[present[0]].vector)
    masks: list[tuple[bytes, int]] = []
    for name in present:
        total += uploads[name].vector
        held = {everyone.index(holder): shares[holder][name] for holder in holders}
        masks.append((_self_seed(held), -1))
        masks += [
            (pair_seeds[name][gone], -pair_sign(name, gone))
            for gone in everyone
            if gone not in survivors
        ]
    add_masks(total, masks)
    return total.view(np.int64)


def well_formed(upload: Upload, parties: Sequence[str], length: int) -> bool:
    """Return whether an upload has the right shape and a share for every party."""
    vector = upload.vector
    shaped = vector.dtype == np.uint64 and vector.shape == (length,)
    return shaped and set(upload.shares) == set(parties)


def _complete(revealed: Mapping[str, bytes] | None, about: Sequence[str], size: int) -> bool:
    return revealed is not None and all(len(revealed.get(name, b"")) == size for name in about)


def _self_seed(held: Mapping[int, bytes]) -> bytes:
    try:
        return self_seed(shamir.combine(held))
    except ValueError:  # no secret at all has these shares
        return self_seed(bytes(SEED_BYTES))
