"""The secure sum: time against ChaCha20 and against Flower's primitives, and exactness.

A whole release is run among many institutions, a tenth of which never upload. Times stand as
ratios of medians over work that was measured in turn with them, in one process. What Flower's
own SecAgg+ would do for the same masks is done with its primitives: its generator, its addition,
its modulus (2^32, its default; the sums here are exact modulo 2^64). Then every pattern of
dropouts among few institutions is gone through.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from numpy.typing import NDArray

from benchmarks.harness import parser, publish
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum.coordinator import QuorumError, Revealed, SecureSum, collect, unmask
from haihe_fl.securesum.decisions import MemoryDecisionLog
from haihe_fl.securesum.keys import ConsortiumCA, make_offer
from haihe_fl.securesum.party import MaskingParty, Upload

CHUNK = 1 << 16  # bytes at a time; of the powers of two, the fastest
FLOWER_RANGE = 1 << 32
LIMITS = {"mask": 1.5, "server seconds": 2.0, "flower": 1.7}
OK, NEVER, AFTER_UPLOAD, AFTER_PAIRS = "ok", "never", "after upload", "after pairs"


@dataclass(frozen=True)
class Size:
    """How large a run is."""

    institutions: int
    entries: int
    repeats: int
    enumerate_to: int


FULL = Size(institutions=100, entries=1_000_000, repeats=5, enumerate_to=7)
QUICK = Size(institutions=12, entries=20_000, repeats=3, enumerate_to=4)


def consortium(quorum: Quorum, silent: int = 0, run: str = "run") -> dict[str, MaskingParty]:
    """Return the parties of a run; the last ``silent`` of the roster take no part."""
    ca = ConsortiumCA.create("benchmark")
    identities = [ca.issue(f"Institution {i:03d}") for i in range(quorum.parties)]
    made = [make_offer(identity, run) for identity in identities]
    offers = [offer for offer, _ in made]
    present = list(zip(identities, made, strict=True))[: quorum.parties - silent]
    return {
        identity.name: MaskingParty(
            identity, run, keys, offers, ca.certificate, quorum, MemoryDecisionLog()
        )
        for identity, (_, keys) in present
    }


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def chacha20(streams: int, entries: int) -> None:
    """Produce the keystream of so many 64-bit masks, and nothing else."""
    zeros, buffer = bytes(CHUNK), bytearray(CHUNK)
    for _ in range(streams):
        stream = Cipher(ChaCha20(os.urandom(32), bytes(16)), None).encryptor()
        whole, rest = divmod(8 * entries, CHUNK)
        for _ in range(whole):
            stream.update_into(zeros, buffer)
        stream.update_into(zeros[:rest], buffer)


def flower_masks(vector: NDArray[np.int64], signs: Iterable[int]) -> None:
    """Add masks as Flower's SecAgg+ does at a client, and take them off at the server."""
    total = [vector]
    for sign in signs:
        mask = pseudo_rand_gen(os.urandom(32), FLOWER_RANGE, [vector.shape])
        total = (parameters_addition if sign > 0 else parameters_subtraction)(total, mask)
    parameters_mod(total, FLOWER_RANGE)


def time_client(party: MaskingParty, size: Size, vector: NDArray[np.int64]) -> dict[str, Any]:
    """Return medians at one institution: its upload, the bare keystream, Flower's primitives."""
    neighbours = size.institutions - 1
    signs = [1 if i % 2 else -1 for i in range(neighbours + 1)]  # one is the self-mask
    times: dict[str, list[float]] = {"mask": [], "chacha20": [], "flower": []}
    for i in range(size.repeats):
        times["mask"].append(seconds(lambda i=i: party.mask(f"timed/{i}", vector)))  # type: ignore[misc]
        times["chacha20"].append(seconds(lambda: chacha20(neighbours, size.entries)))
        times["flower"].append(seconds(lambda: flower_masks(vector, signs)))
    return {name: statistics.median(values) for name, values in times.items()}


def time_server(
    parties: Mapping[str, MaskingParty], everyone: list[str], size: Size, rng: np.random.Generator
) -> dict[str, Any]:
    """Run a release in which a tenth never upload; return the times to unmask it."""
    quorum = next(iter(parties.values())).quorum
    survivors = sorted(parties)
    missing = [name for name in everyone if name not in parties]
    expected = np.zeros(size.entries, dtype=np.int64)
    uploads: dict[str, Upload] = {}
    for name, party in parties.items():
        vector = rng.integers(-(2**62), 2**62, size.entries)
        expected += vector
        uploads[name] = party.mask("release", vector)
    pairs = {name: party.reveal_pairs("release", survivors) for name, party in parties.items()}
    shares = {
        name: party.reveal_shares(
            "release", survivors, {n: uploads[n].shares[name] for n in survivors}
        )
        for name, party in list(parties.items())[: quorum.minimum]
    }
    masks = len(survivors) * (len(missing) + 1)

    def flower() -> None:
        vectors = [np.zeros(size.entries, dtype=np.int64)]
        for name in survivors:
            vectors = parameters_addition(vectors, [uploads[name].vector.view(np.int64)])
        flower_masks(vectors[0], [1 if i % 2 else -1 for i in range(masks)])

    times: dict[str, list[float]] = {"unmask": [], "chacha20": [], "flower": []}
    exact = True
    for _ in range(min(size.repeats, 3)):
        started = time.perf_counter()
        total = unmask(everyone, quorum, uploads, survivors, pairs, shares)
        times["unmask"].append(time.perf_counter() - started)
        exact &= bool(np.array_equal(total, expected))
        times["chacha20"].append(seconds(lambda: chacha20(masks, size.entries)))
        times["flower"].append(seconds(flower))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {**medians, "masks": masks, "exact": exact}


def enumerate_dropouts(most: int, entries: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Go through every pattern of dropouts of 2 to ``most`` institutions.

    Each institution stays, never uploads, or falls silent after its upload or after it revealed
    seeds. Where the quorum stays, the sum must be that of the survivors; else nothing may come
    out.
    """
    rows = []
    for count in range(2, most + 1):
        quorum = Quorum(count, count // 2 + 1, 0)
        parties = consortium(quorum)
        values = {n: rng.integers(-(2**63), 2**63, entries) for n in parties}
        row = {"institutions": count, "patterns": 0, "exact": 0, "aborted": 0, "wrong": 0}
        kinds = (OK, NEVER, AFTER_UPLOAD, AFTER_PAIRS) if count <= 5 else (OK, NEVER, AFTER_UPLOAD)
        for pattern in product(kinds, repeat=count):
            row["patterns"] += 1
            row[_outcome(parties, values, dict(zip(parties, pattern, strict=True)), quorum)] += 1
        rows.append(row)
    return rows


def _outcome(
    parties: Mapping[str, MaskingParty],
    values: Mapping[str, NDArray[np.int64]],
    states: Mapping[str, str],
    quorum: Quorum,
) -> str:
    all_uploaded = NEVER not in states.values()
    # Who is silent at a turn is missing from it on; without a missing one there is one turn less.
    staying = [n for n in parties if all_uploaded or states[n] in (OK, AFTER_PAIRS)]
    answering = [n for n in staying if states[n] == OK]
    feasible = min(len(staying), len(answering)) >= quorum.minimum
    try:
        result = _release(parties, "/".join(states.values()), values, states)
    except QuorumError:
        return "wrong" if feasible else "aborted"
    expected = np.sum([values[n] for n in staying], axis=0, dtype=np.int64)
    exact = result.survivors == tuple(staying) and np.array_equal(result.total, expected)
    return "exact" if feasible and exact else "wrong"


def _release(
    parties: Mapping[str, MaskingParty],
    name: str,
    values: Mapping[str, NDArray[np.int64]],
    states: Mapping[str, str],
) -> SecureSum:
    quorum = next(iter(parties.values())).quorum
    uploads = {n: p.mask(name, values[n]) for n, p in parties.items() if states[n] != NEVER}

    def ask_pairs(survivors: list[str], missing: list[str]) -> Revealed:
        there = [n for n in survivors if states[n] in (OK, AFTER_PAIRS)]
        return {n: parties[n].reveal_pairs(name, survivors) for n in there}

    def ask_shares(survivors: list[str], boxes: Mapping[str, Mapping[str, bytes]]) -> Revealed:
        there = [n for n in survivors if states[n] == OK]
        return {n: parties[n].reveal_shares(name, survivors, boxes[n]) for n in there}

    length = len(next(iter(values.values())))
    return collect(name, list(parties), quorum, length, uploads, ask_pairs, ask_shares)


def figures(
    client: Mapping[str, Any], server: Mapping[str, Any], patterns: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return one row a figure: what it is, its limit, what was measured, whether it holds."""
    mask = client["mask"] / client["chacha20"]
    faster_client = client["flower"] / client["mask"]
    faster_server = server["flower"] / server["unmask"]
    wrong = sum(row["wrong"] for row in patterns)
    rows = [
        ("client: mask / ChaCha20 for its neighbours", f"<= {LIMITS['mask']}", mask),
        ("server: unmask, seconds", f"<= {LIMITS['server seconds']}", server["unmask"]),
        ("client: Flower's primitives / mask", f">= {LIMITS['flower']}", faster_client),
        ("server: Flower's primitives / unmask", f">= {LIMITS['flower']}", faster_server),
        ("dropout patterns with a wrong outcome", "<= 0", float(wrong)),
        ("large sum differs in some entry", "<= 0", float(not server["exact"])),
    ]
    return [
        {"figure": name, "limit": limit, "measured": value, "ok": _holds(limit, value)}
        for name, limit, value in rows
    ]


def _holds(limit: str, value: float) -> str:
    sign, bound = limit.split()
    return "yes" if (value <= float(bound) if sign == "<=" else value >= float(bound)) else "NO"


def main(argv: list[str] | None = None) -> int:
    """Measure and publish; a figure that is missed is shown, not hidden."""
    args: argparse.Namespace = parser(__doc__).parse_args(argv)
    size = QUICK if args.quick else FULL
    rng = np.random.default_rng(args.seed)
    silent = max(size.institutions // 10, 1)
    quorum = Quorum.default(size.institutions)
    parties = consortium(quorum, silent)
    everyone = list(next(iter(parties.values())).parties)
    vector = rng.integers(-(2**62), 2**62, size.entries)
    client = time_client(next(iter(parties.values())), size, vector)
    server = time_server(parties, everyone, size, rng)
    patterns = enumerate_dropouts(size.enumerate_to, 3, rng)
    per_entry = size.entries * (size.institutions - 1) / 1e9
    tables = {
        f"Secure sum of {size.institutions} institutions, {size.entries:,} entries of 64 bits, "
        f"{silent} of them never upload": figures(client, server, patterns),
        "Seconds": [
            {"where": "client", "what": "mask", "seconds": client["mask"]},
            {"where": "client", "what": "ChaCha20 alone", "seconds": client["chacha20"]},
            {"where": "client", "what": "Flower's primitives", "seconds": client["flower"]},
            {"where": "server", "what": "unmask", "seconds": server["unmask"]},
            {"where": "server", "what": "ChaCha20 alone", "seconds": server["chacha20"]},
            {"where": "server", "what": "Flower's primitives", "seconds": server["flower"]},
        ],
        "Dropout patterns": patterns,
    }
    extra = {
        "chacha20_ns_per_entry": client["chacha20"] / per_entry,
        "flower_ns_per_entry": client["flower"] / per_entry,
        "mask_ns_per_entry": client["mask"] / per_entry,
        "masks_at_server": server["masks"],
        "load_average": os.getloadavg()[0],
    }
    publish(args, "securesum", tables, extra)
    return 0


if __name__ == "__main__":
    sys.exit(main())
