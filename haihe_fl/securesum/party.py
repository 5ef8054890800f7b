"""An institution's side of the secure sum.

Upload: the vector, plus a mask shared with every other party (it cancels in the sum), plus a
self-mask, whose seed is shared out so that ``quorum.minimum`` parties can open it. Then, for the
survivors that the centre announces, a party reveals the seeds of the masks that it shares with
the missing, turn by turn, and at last its shares of the survivors' self-masks.

Why the threshold is ``quorum.minimum``: it is the largest that still works with the fewest
survivors allowed. The centre and c colluders then need minimum - c honest parties to open an
upload; as 2 minimum > parties + c, two disjoint groups of honest parties are never both that
large.

What a party holds to, whatever the centre says, for each (run, release):

* it uploads once, and reveals nothing of a release that it did not upload to;
* towards each other party it reveals the pair's seed or the self-mask's share, never both;
* the survivors it is shown only ever shrink, contain itself and at least ``minimum`` parties;
* shares go out once, for exactly those parties to which it has revealed no seed.

A late upload of a party declared missing stays closed: its self-mask needs minimum - c honest
shares, and those who called it missing give none. Against a centre that follows the protocol
but is curious, only the one announced sum is learned. Against one that shows different parties
different survivors, the sum it can open still holds the noise of at least
2 minimum - parties - c honest parties: an upload a opens only if minimum - c honest parties did
not call it missing, so that at most parties - minimum did, while each honest party outside the
sum must have called a missing or be among the parties - minimum at most that a called missing.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from haihe_fl.errors import IntegrityError, PolicyError
from haihe_fl.securesum import shamir
from haihe_fl.securesum.decisions import DecisionLog, contradiction
from haihe_fl.securesum.framing import frame
from haihe_fl.securesum.keys import Identity, KeyOffer, PrivateKeys, verify_offer
from haihe_fl.securesum.masks import (
    add_masks,
    derive,
    pair_seed,
    pair_sign,
    seal_seed,
    self_seed,
    shared_secret,
)
from haihe_fl.securesum.quorum import Quorum

_NONCE_BYTES = 12


@dataclass(frozen=True)
class Upload:
    """What one institution sends for a release.

    Attributes
    ----------
    vector : ndarray of uint64, shape (length,)
        Masked; uniformly random to anyone without the masks.
    shares : dict of str to bytes
        Share of the self-mask's seed for each party, itself included, encrypted to it.
    """

    vector: NDArray[np.uint64]
    shares: dict[str, bytes]


class MaskingParty:
    """One institution in one run.

    Parameters
    ----------
    identity : Identity
        The institution's.
    run : str
        Unique; keys, masks and decisions are bound to it.
    keys : PrivateKeys
        Private halves of the institution's own offer.
    offers : sequence of KeyOffer
        Of all parties, itself included; each is verified here.
    ca : bytes
        The consortium's certificate, PEM.
    quorum : Quorum
        Agreed for the run.
    log : DecisionLog
        Remembers what was revealed.

    Raises
    ------
    IntegrityError
        H5207 or H5208 for a bad certificate or offer, H5209 for a roster that does not fit.
    """

    def __init__(
        self,
        identity: Identity,
        run: str,
        keys: PrivateKeys,
        offers: Sequence[KeyOffer],
        ca: bytes,
        quorum: Quorum,
        log: DecisionLog,
    ) -> None:
        for offer in offers:
            verify_offer(offer, ca, run)
        by_name = {offer.institution: offer for offer in offers}
        publics = {key for offer in offers for key in (offer.mask_key, offer.share_key)}
        own = by_name.get(identity.name)
        if (
            len(by_name) != len(offers)
            or len(offers) != quorum.parties
            or len(publics) != 2 * len(offers)
            or own is None
            or own.mask_key != keys.mask.public_key().public_bytes_raw()
            or own.share_key != keys.share.public_key().public_bytes_raw()
        ):
            raise IntegrityError(
                "H5209",
                en=f"the roster of run {run} does not hold {quorum.parties} different parties with "
                f"{identity.name} and its own keys among them; stop the run",
                zh=f"运行 {run} 的名册不是 {quorum.parties} 个不同参与方,"
                f"或缺少 {identity.name} 本身的密钥;请停止运行",
            )
        self.name, self.run, self.quorum = identity.name, run, quorum
        self.parties = tuple(sorted(by_name))
        self._log = log
        self._pair_secrets = {
            name: shared_secret(keys.mask, offer.mask_key)
            for name, offer in by_name.items()
            if name != self.name
        }
        self._share_secrets = {
            name: shared_secret(keys.share, offer.share_key) for name, offer in by_name.items()
        }

    def mask(self, release: str, vector: NDArray[np.int64]) -> Upload:
        """Mask a vector for a release; once only: keep the upload and send it again if need be.

        Parameters
        ----------
        release : str
            Unique in the run.
        vector : ndarray of int64, shape (length,)
            With this party's share of the noise already in it.

        Raises
        ------
        IntegrityError
            H5211 if this release was masked before, even before a restart.
        """
        if vector.dtype != np.int64 or vector.ndim != 1:
            raise ValueError(f"cannot mask {vector.dtype} of shape {vector.shape}")
        self._log.record_upload(self.run, release)
        masked = vector.astype(np.int64, order="C").view(np.uint64)  # a copy, never the caller's
        secret = seal_seed(os.urandom(24))
        masks = [
            (self._pair_seed(release, other), pair_sign(self.name, other))
            for other in self._pair_secrets
        ]
        add_masks(masked, [*masks, (self_seed(secret), 1)])
        shares = shamir.split(secret, self.quorum.minimum, len(self.parties))
        return Upload(
            masked,
            {
                holder: self._encrypt(release, holder, share)
                for holder, share in zip(self.parties, shares, strict=True)
            },
        )

    def reveal_pairs(self, release: str, survivors: Collection[str]) -> dict[str, bytes]:
        """Return the seeds of the masks shared with the parties that are not survivors.

        Raises
        ------
        PolicyError
            H3206, fewer survivors than the quorum.
        IntegrityError
            H5210 nothing uploaded or survivors that make no sense, H5211 an earlier answer
            rules this one out.
        """
        missing = self._missing(release, survivors)
        decided = self._log.decided(self.run, release)
        if any(what == "pair" and party not in missing for party, what in decided.items()):
            raise contradiction(self.run, release)
        self._log.decide(self.run, release, dict.fromkeys(missing, "pair"))
        return {party: self._pair_seed(release, party) for party in missing}

    def reveal_shares(
        self, release: str, survivors: Collection[str], ciphertexts: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """Return this party's shares of the survivors' self-masks.

        Parameters
        ----------
        release : str
            One that this party uploaded to.
        survivors : collection of str
            All parties but those whose pair seeds this party revealed.
        ciphertexts : mapping of str to bytes
            By survivor: the share that it encrypted to this party.

        Raises
        ------
        PolicyError
            H3206, fewer survivors than the quorum.
        IntegrityError
            H5210 nothing uploaded or survivors that make no sense, H5211 an earlier answer
            rules this one out, H5212 a share does not decrypt.
        """
        missing = self._missing(release, survivors)
        decided = self._log.decided(self.run, release)
        if {party for party, what in decided.items() if what == "pair"} != set(missing):
            raise contradiction(self.run, release)
        shares = {name: self._decrypt(release, name, ciphertexts.get(name)) for name in survivors}
        self._log.decide(self.run, release, dict.fromkeys(survivors, "share"))
        return shares

    def _missing(self, release: str, survivors: Collection[str]) -> list[str]:
        """Return who is not a survivor, if the survivors may be asked about at all."""
        named = set(survivors)
        if len(named) < self.quorum.minimum:
            raise PolicyError(
                "H3206",
                en=f"release {release} of run {self.run}: {len(named)} survivors are fewer than "
                f"the {self.quorum.minimum} agreed; nothing is revealed",
                zh=f"运行 {self.run} 的发布 {release}:存续方 {len(named)} 个,"
                f"少于约定的 {self.quorum.minimum} 个;不予揭示",
            )
        known = named <= set(self.parties) and self.name in named
        if not known or not self._log.uploaded(self.run, release):
            raise IntegrityError(
                "H5210",
                en=f"release {release} of run {self.run}: {self.name} did not upload to it, or the "
                "survivors are not those of the roster; ask the centre why",
                zh=f"运行 {self.run} 的发布 {release}:{self.name} 未曾上传,"
                "或存续方与名册不符;请向中心查询",
            )
        return [party for party in self.parties if party not in named]

    def _pair_seed(self, release: str, other: str) -> bytes:
        return pair_seed(self._pair_secrets[other], self.run, release, self.name, other)

    def _cipher(self, release: str, other: str, sender: str, holder: str) -> ChaCha20Poly1305:
        secret = self._share_secrets[other]
        return ChaCha20Poly1305(derive(secret, "haihe share v1", self.run, release, sender, holder))

    def _encrypt(self, release: str, holder: str, share: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._cipher(release, holder, self.name, holder)
        return nonce + cipher.encrypt(nonce, share, frame(self.run, release, self.name, holder))

    def _decrypt(self, release: str, sender: str, ciphertext: bytes | None) -> bytes:
        if ciphertext is None or len(ciphertext) <= _NONCE_BYTES:
            _reject_share(release, sender)
        nonce, body = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        cipher = self._cipher(release, sender, sender, self.name)
        try:
            share = cipher.decrypt(nonce, body, frame(self.run, release, sender, self.name))
        except InvalidTag:
            _reject_share(release, sender)
        return share


def _reject_share(release: str, sender: str) -> NoReturn:
    raise IntegrityError(
        "H5212",
        en=f"release {release}: the share from {sender} is missing or was altered on its way; "
        "leave the sender out and start the release again under a new name",
        zh=f"发布 {release}:来自 {sender} 的份额缺失或被篡改;请排除该方并以新名称重新发布",
    )
