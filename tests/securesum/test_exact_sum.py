"""The sum is exact, and only the sum comes out."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from haihe_fl.errors import IntegrityError, PolicyError
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.securesum.coordinator import QuorumError, Revealed, SecureSum, collect
from haihe_fl.securesum.decisions import MemoryDecisionLog
from haihe_fl.securesum.keys import ConsortiumCA, make_offer
from haihe_fl.securesum.masks import add_mask, pair_sign
from haihe_fl.securesum.party import MaskingParty, Upload

OK, NEVER, AFTER_UPLOAD, AFTER_PAIRS = "ok", "never", "after upload", "after pairs"


def consortium(quorum: Quorum, run: str = "run") -> dict[str, MaskingParty]:
    ca = ConsortiumCA.create("test")
    identities = [ca.issue(f"机构 {i:02d}") for i in range(quorum.parties)]
    made = [make_offer(identity, run) for identity in identities]
    offers = [offer for offer, _ in made]
    return {
        identity.name: MaskingParty(
            identity, run, keys, offers, ca.certificate, quorum, MemoryDecisionLog()
        )
        for identity, (_, keys) in zip(identities, made, strict=True)
    }


def vectors(parties: Mapping[str, MaskingParty], length: int) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(length)
    info = np.iinfo(np.int64)
    return {name: rng.integers(info.min, info.max, length) for name in parties}


def release(
    parties: Mapping[str, MaskingParty],
    name: str,
    values: Mapping[str, NDArray[np.int64]],
    states: Mapping[str, str],
) -> tuple[SecureSum, list[str]]:
    quorum = next(iter(parties.values())).quorum
    length = len(next(iter(values.values())))
    asked: list[str] = []
    uploads = {n: p.mask(name, values[n]) for n, p in parties.items() if states[n] != NEVER}

    def ask_pairs(survivors: list[str], missing: list[str]) -> Revealed:
        asked.append("pairs")
        there = [n for n in survivors if states[n] in (OK, AFTER_PAIRS)]
        answers = {n: parties[n].reveal_pairs(name, survivors) for n in there}
        assert all(sorted(answer) == missing for answer in answers.values())
        return answers

    def ask_shares(survivors: list[str], boxes: Mapping[str, Mapping[str, bytes]]) -> Revealed:
        asked.append("shares")
        there = [n for n in survivors if states[n] == OK]
        return {n: parties[n].reveal_shares(name, survivors, boxes[n]) for n in there}

    result = collect(name, list(parties), quorum, length, uploads, ask_pairs, ask_shares)
    return result, asked


@pytest.mark.parametrize(
    ("quorum", "kinds"),
    [
        (Quorum(5, 3, 0), (OK, NEVER, AFTER_UPLOAD)),
        (Quorum(5, 4, 1), (OK, NEVER, AFTER_UPLOAD)),
        (Quorum(4, 3, 0), (OK, NEVER, AFTER_UPLOAD, AFTER_PAIRS)),
    ],
)
def test_every_dropout_pattern_is_exact_or_aborts(quorum: Quorum, kinds: tuple[str, ...]) -> None:
    parties = consortium(quorum)
    values = vectors(parties, 3)
    outcomes = set()
    for pattern in product(kinds, repeat=quorum.parties):
        states = dict(zip(parties, pattern, strict=True))
        if NEVER in pattern:  # who is silent at the first turn is missing at the second
            survivors = [n for n in parties if states[n] in (OK, AFTER_PAIRS)]
        else:
            survivors = list(parties)
        answering = [n for n in survivors if states[n] == OK]
        feasible = min(len(survivors), len(answering)) >= quorum.minimum
        outcomes.add(feasible)
        if not feasible:
            with pytest.raises(QuorumError) as caught:
                release(parties, "/".join(pattern), values, states)
            assert set(caught.value.missing) == {n for n in parties if states[n] != OK} or (
                set(caught.value.missing) <= {n for n in parties if states[n] != OK}
                and caught.value.missing
            )
            continue
        result, asked = release(parties, "/".join(pattern), values, states)
        assert list(result.survivors) == survivors
        expected = np.sum([values[n] for n in survivors], axis=0, dtype=np.int64)
        assert np.array_equal(result.total, expected)
        if NEVER not in pattern:
            assert asked == ["shares"]  # two messages when nobody is missing at the upload
    assert outcomes == {True, False}


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_any_vector_in_any_company(count: int, entries: list[int]) -> None:
    parties = consortium(Quorum(count, count, 0))
    values = {name: np.roll(np.array(entries, dtype=np.int64), i) for i, name in enumerate(parties)}
    kept = {name: value.copy() for name, value in values.items()}
    result, _ = release(parties, "r", values, dict.fromkeys(parties, OK))
    assert np.array_equal(result.total, np.sum(list(values.values()), axis=0, dtype=np.int64))
    assert all(np.array_equal(values[n], kept[n]) for n in parties)  # inputs are left alone


def test_long_vectors_cross_the_chunks_of_the_keystream() -> None:
    parties = consortium(Quorum(3, 2, 0))
    values = vectors(parties, 50_001)
    states = dict(zip(parties, (OK, NEVER, OK), strict=True))
    result, asked = release(parties, "r", values, states)
    assert asked == ["pairs", "shares"]
    there = [values[n] for n in parties if states[n] == OK]
    assert np.array_equal(result.total, np.sum(there, axis=0, dtype=np.int64))


def test_an_upload_is_uniform_and_fresh() -> None:
    parties = consortium(Quorum(3, 2, 0))
    zero = np.zeros(20_000, dtype=np.int64)
    one, again = (next(iter(parties.values())).mask(name, zero).vector for name in ("a", "b"))
    for vector in (one, again):
        counts = np.bincount(vector.view(np.uint8), minlength=256)
        assert chisquare(counts).pvalue > 1e-6
        assert not np.array_equal(vector.view(np.int64), zero)
    assert not np.any(one == again)


def test_late_upload_of_a_missing_party_stays_closed() -> None:
    parties = consortium(Quorum(5, 4, 1))
    names = list(parties)
    late, others = names[-1], names[:-1]
    values = vectors(parties, 8)
    uploads = {n: p.mask("r", values[n]) for n, p in parties.items()}
    seeds = {n: parties[n].reveal_pairs("r", others)[late] for n in others}
    known = uploads[late].vector.copy()
    for name in others:  # the centre takes off every pair mask
        add_mask(known, seeds[name], -pair_sign(late, name))
    assert not np.any(known.view(np.int64) == values[late])  # the self-mask is left
    shares = 0
    for name in others:
        boxes = {sender: uploads[sender].shares[name] for sender in names}
        for survivors in (names, [n for n in names if n != others[0]]):
            with pytest.raises(IntegrityError, match=r"H5211|H5210"):
                parties[name].reveal_shares("r", survivors, boxes)
        shares += late in parties[name].reveal_shares("r", others, boxes)
    assert shares == 0
    boxes = {sender: uploads[sender].shares[late] for sender in names}
    assert late in parties[late].reveal_shares("r", names, boxes)  # alone it opens nothing


def test_the_sum_carries_the_noise_that_was_agreed() -> None:
    quorum = Quorum(6, 5, 1)
    parties = consortium(quorum)
    z, sensitivity, length = 2.0, 400.0, 40_000
    sd = quorum.share_sd(z, sensitivity)
    values = {n: NoiseSource().rounded_gaussian(sd, length) for n in parties}
    full, _ = release(parties, "full", values, dict.fromkeys(parties, OK))
    target = z**2 * sensitivity**2 * quorum.parties / quorum.noise_parties
    assert full.total.var() == pytest.approx(target, rel=0.04)
    states = dict(zip(parties, (NEVER, OK, OK, OK, OK, OK), strict=True))
    fewest, _ = release(parties, "fewest", values, states)
    # With the fewest survivors, and the colluder's noise known, what is left still does.
    honest = fewest.total - values[fewest.survivors[0]]
    assert honest.var() == pytest.approx(z**2 * sensitivity**2, rel=0.04)


def test_malformed_uploads_and_answers_count_as_missing() -> None:
    parties = consortium(Quorum(4, 3, 0))
    names = list(parties)
    values = vectors(parties, 4)
    uploads = {n: p.mask("r", values[n]) for n, p in parties.items()}
    uploads[names[0]] = Upload(uploads[names[0]].vector[:-1], uploads[names[0]].shares)

    def ask_pairs(survivors: list[str], missing: list[str]) -> Revealed:
        return {n: parties[n].reveal_pairs("r", survivors) for n in survivors}

    def ask_shares(survivors: list[str], boxes: Mapping[str, Mapping[str, bytes]]) -> Revealed:
        return {n: parties[n].reveal_shares("r", survivors, boxes[n]) for n in survivors}

    result = collect("r", names, Quorum(4, 3, 0), 4, uploads, ask_pairs, ask_shares)
    assert result.missing == (names[0],)
    assert np.array_equal(result.total, np.sum([values[n] for n in names[1:]], axis=0))

    def short_pairs(survivors: list[str], missing: list[str]) -> Revealed:
        return {n: dict.fromkeys(missing, b"short") for n in survivors}

    with pytest.raises(QuorumError, match=names[3]):
        collect("r", names, Quorum(4, 3, 0), 4, uploads, short_pairs, ask_shares)


def test_a_wrong_share_is_noticed() -> None:
    parties = consortium(Quorum(3, 2, 0))
    names = list(parties)
    uploads = {n: p.mask("r", np.zeros(2, dtype=np.int64)) for n, p in parties.items()}

    def ask_shares(survivors: list[str], boxes: Mapping[str, Mapping[str, bytes]]) -> Revealed:
        answers = {n: parties[n].reveal_shares("r", survivors, boxes[n]) for n in survivors}
        answers[names[0]][names[1]] = bytes(33)
        return answers

    with pytest.raises(IntegrityError, match="H5213"):
        collect("r", names, Quorum(3, 2, 0), 2, uploads, lambda s, m: {}, ask_shares)


def test_shares_altered_or_for_another_release_are_refused() -> None:
    parties = consortium(Quorum(3, 2, 0))
    names = list(parties)
    zero = np.zeros(2, dtype=np.int64)
    first = {n: p.mask("first", zero) for n, p in parties.items()}
    second = {n: p.mask("second", zero) for n, p in parties.items()}
    mine = {sender: upload.shares[names[0]] for sender, upload in second.items()}
    replayed = {**mine, names[1]: first[names[1]].shares[names[0]]}
    swapped = {**mine, names[1]: mine[names[2]]}
    flipped = {**mine, names[1]: mine[names[1]][:-1] + bytes([mine[names[1]][-1] ^ 1])}
    for boxes in (replayed, swapped, flipped, {names[0]: mine[names[0]]}):
        with pytest.raises(IntegrityError, match="H5212"):
            parties[names[0]].reveal_shares("second", names, boxes)
    assert len(parties[names[0]].reveal_shares("second", names, mine)) == 3


def test_too_few_survivors_or_no_upload_reveal_nothing() -> None:
    parties = consortium(Quorum(4, 3, 0))
    names = list(parties)
    party = parties[names[0]]
    with pytest.raises(IntegrityError, match="H5210"):
        party.reveal_pairs("never uploaded", names[:3])
    party.mask("r", np.zeros(2, dtype=np.int64))
    with pytest.raises(PolicyError, match="H3206"):
        party.reveal_pairs("r", names[:2])
    with pytest.raises(PolicyError, match="H3206"):
        party.reveal_pairs("r", [names[0]] * 3)
    for survivors in (names[1:], [*names[:2], "stranger"]):
        with pytest.raises(IntegrityError, match="H5210"):
            party.reveal_pairs("r", survivors)
    with pytest.raises(ValueError, match="cannot mask"):
        party.mask("r2", np.zeros(2))  # type: ignore[arg-type]
