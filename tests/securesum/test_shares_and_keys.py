"""Certificates, offers, rosters and secret sharing."""

import contextlib
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haihe_fl.errors import IntegrityError
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum import shamir
from haihe_fl.securesum.decisions import MemoryDecisionLog
from haihe_fl.securesum.keys import (
    ConsortiumCA,
    Identity,
    make_offer,
    verify_certificate,
    verify_offer,
)
from haihe_fl.securesum.masks import seal_seed, self_seed, shared_secret
from haihe_fl.securesum.party import MaskingParty


@pytest.fixture(scope="module")
def ca() -> ConsortiumCA:
    return ConsortiumCA.create("海河联盟")


def test_good_offer_passes_and_every_change_is_refused(ca: ConsortiumCA) -> None:
    bank = ca.issue("天津某银行")
    offer, _ = make_offer(bank, "run-1")
    verify_offer(offer, ca.certificate, "run-1")
    other, _ = make_offer(ca.issue("Bank B"), "run-1")
    bad = [
        replace(offer, mask_key=other.mask_key),
        replace(offer, share_key=offer.mask_key),
        replace(offer, signature=other.signature),
        replace(offer, signature=b""),
        replace(offer, institution="Bank B"),
        replace(offer, run="run-2"),
        replace(offer, certificate=other.certificate),
    ]
    for changed in bad:
        with pytest.raises(IntegrityError, match="H5208"):
            verify_offer(changed, ca.certificate, changed.run)
    with pytest.raises(IntegrityError, match="H5208"):  # replayed into another run
        verify_offer(offer, ca.certificate, "run-2")


def test_foreign_expired_and_authority_certificates_are_refused(ca: ConsortiumCA) -> None:
    foreign = ConsortiumCA.create("海河联盟").issue("Bank A")  # same name, other key
    with pytest.raises(IntegrityError, match="H5207"):
        verify_certificate(foreign.certificate, ca.certificate)
    with pytest.raises(IntegrityError, match="H5207"):
        verify_offer(make_offer(foreign, "run")[0], ca.certificate, "run")
    with pytest.raises(IntegrityError, match="H5207"):
        verify_certificate(ca.certificate, ca.certificate)
    with pytest.raises(IntegrityError, match="H5207"):
        verify_certificate(b"no certificate", ca.certificate)
    bank = ca.issue("Bank A")
    forger = Identity("Bank A", foreign.key, bank.certificate)  # stolen certificate, own key
    with pytest.raises(IntegrityError, match="H5208"):
        verify_offer(make_offer(forger, "run")[0], ca.certificate, "run")
    now = datetime.now(UTC)
    for days in (-1, 400):
        with pytest.raises(IntegrityError, match="H5207"):
            verify_certificate(bank.certificate, ca.certificate, now + timedelta(days=days))
    past = ca.issue("Bank A", since=now - timedelta(days=9), until=now - timedelta(days=1))
    with pytest.raises(IntegrityError, match="H5207"):
        verify_certificate(past.certificate, ca.certificate)


def test_keys_are_saved_for_their_owner_only(ca: ConsortiumCA, tmp_path: Path) -> None:
    bank = ca.issue("Bank A")
    bank.save(tmp_path / "bank")
    ca.save(tmp_path / "ca")
    for file in (tmp_path / "bank" / "identity.key", tmp_path / "ca" / "ca.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = Identity.load(tmp_path / "bank")
    assert again.name == "Bank A"
    offer, _ = make_offer(again, "run")
    verify_offer(offer, ConsortiumCA.load(tmp_path / "ca").certificate, "run")


def test_rosters_that_do_not_fit_are_refused(ca: ConsortiumCA) -> None:
    banks = [ca.issue(name) for name in ("A", "B", "C")]
    made = [make_offer(bank, "run") for bank in banks]
    offers, keys = [offer for offer, _ in made], made[0][1]
    twice, _ = make_offer(banks[0], "run")  # correctly signed, but not the keys in use
    rosters = [offers[:2], offers[1:], [*offers[:2], offers[1]], [twice, *offers[1:]]]
    for roster in rosters:
        with pytest.raises(IntegrityError, match="H5209"):
            MaskingParty(
                banks[0], "run", keys, roster, ca.certificate, Quorum(3, 2, 0), MemoryDecisionLog()
            )
    with pytest.raises(IntegrityError, match="H5208"):
        shared_secret(keys.mask, bytes(32))  # a point of low order


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 12), st.data())
def test_any_threshold_of_shares_gives_the_secret(
    secret: bytes, holders: int, data: st.DataObject
) -> None:
    threshold = data.draw(st.integers(1, holders))
    shares = shamir.split(secret, threshold, holders)
    chosen = data.draw(st.permutations(range(holders)))[:threshold]
    assert shamir.combine({i: shares[i] for i in chosen}) == secret
    if threshold > 1:
        assert shares[0] != b"\0" + secret
        few = {i: shares[i] for i in chosen[:-1]}
        with contextlib.suppress(ValueError):
            assert shamir.combine(few) != secret


def test_too_few_shares_fit_every_secret() -> None:
    """Two of three shares of a threshold of three agree with any secret whatever."""
    shares = shamir.split(bytes(32), 3, 3)
    values = [int.from_bytes(share, "big") for share in shares]
    weights = shamir._lagrange((0, 1, 2))
    for wanted in (1, 2**255):
        rest = wanted - weights[0] * values[0] - weights[1] * values[1]
        third = rest * pow(weights[2], -1, shamir.PRIME) % shamir.PRIME
        forged = {0: shares[0], 1: shares[1], 2: third.to_bytes(33, "big")}
        assert int.from_bytes(shamir.combine(forged), "big") == wanted


def test_the_field_is_prime_and_checks_hold() -> None:
    assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in (2, 3, 5, 7, 11, 13))
    with pytest.raises(ValueError, match="cannot share"):
        shamir.split(bytes(31), 2, 3)
    with pytest.raises(ValueError, match="no 32-byte secret"):
        shamir.combine({0: (2**256 + 5).to_bytes(33, "big")})
    secret = seal_seed(bytes(range(24)))
    assert self_seed(secret) == self_seed(bytes(secret))
    with pytest.raises(IntegrityError, match="H5213"):
        self_seed(secret[:-1] + bytes([secret[-1] ^ 1]))
