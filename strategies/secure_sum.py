"""Masked sums over Flower: upload, then unmask for the announced survivors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from haihe_fl.errors import NetworkError, PolicyError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import to_tensor
from haihe_fl.models.plan import TrainingPlan
from haihe_fl.models.releases import ReleaseRequest
from haihe_fl.privacy.noise import Quorum
from haihe_fl.securesum.coordinator import Revealed, SecureSum, collect, well_formed
from haihe_fl.securesum.party import Upload
from strategies.exchange import Exchange, Replies

PATIENCE = 2
"""An institution that stays silent so many times in a row is not asked again in this run."""
FAREWELL_S = 5.0
"""Longest wait for those who are told of the end but were out of the run before."""


@dataclass
class SecureSumSession:
    """The centre's side of one run's secure sums.

    Attributes
    ----------
    exchange : Exchange
        Knows the institutions of the plan.
    plan : TrainingPlan
        Proposed to every institution before the first release.
    roster : tuple of str
        Institutions whose keys everybody holds; masks run between all of them.
    out : dict of str to str
        Institutions no longer asked, with the number of the error they answered.
    """

    exchange: Exchange
    plan: TrainingPlan
    roster: tuple[str, ...] = ()
    out: dict[str, str] = field(default_factory=dict)
    _silences: dict[str, int] = field(default_factory=dict)

    @property
    def members(self) -> list[str]:
        """Institutions still asked."""
        return [name for name in self.roster if name not in self.out]

    def open(self) -> None:
        """Propose the plan, gather everybody's signed keys and hand them round.

        Raises
        ------
        NetworkError
            H4204 if fewer than the plan's minimum accept.
        PolicyError
            H3306 if all who do not accept refuse by policy or budget.
        """
        replies = self._ask(
            {
                name: m.NodeRequest(prepare=m.Prepare(plan=self.plan.to_bytes()))
                for name in self.plan.participants
            }
        )
        offers = {
            name: reply.key_offer
            for name, reply in replies.answers.items()
            if reply.key_offer.institution == name
        }
        self.out = {n: replies.failed.get(n, "H5302") for n in self.plan.participants}
        self.out = {n: why for n, why in self.out.items() if n not in offers}
        self._require(offers)
        self.roster = tuple(sorted(offers))
        roster = m.Roster(offers=[offers[name] for name in self.roster])
        agreed = self._ask({name: m.NodeRequest(roster=roster) for name in self.roster})
        self.out |= agreed.failed
        self._require(agreed.answers)

    def sum(self, request: ReleaseRequest) -> SecureSum:
        """Run one release.

        Raises
        ------
        NetworkError
            H4201 if fewer than the plan's minimum survive; nothing is unmasked then.
        """
        release = m.Release(
            name=request.name,
            kind=request.kind,
            noise_multiplier=request.noise_multiplier,
            length=request.length,
            part=request.part,
            arrays={name: to_tensor(array) for name, array in request.arrays.items()},
        )
        members = self.members
        replies = self._ask({name: m.NodeRequest(release=release) for name in members})
        uploads = {
            name: Upload(np.frombuffer(reply.upload.vector, dtype="<u8"), dict(reply.upload.shares))
            for name, reply in replies.answers.items()
            if reply.upload.release == request.name and len(reply.upload.vector) % 8 == 0
        }
        uploads = {n: u for n, u in uploads.items() if well_formed(u, self.roster, request.length)}
        self.out |= {name: "H5302" for name in replies.answers if name not in uploads}
        self._note(members, uploads, replies)

        def ask_pairs(survivors: list[str], missing: list[str]) -> Revealed:
            body = m.RevealPairs(release=request.name, survivors=survivors)
            answers = self._ask({n: m.NodeRequest(reveal_pairs=body) for n in survivors}).answers
            return {name: dict(reply.pair_seeds.seeds) for name, reply in answers.items()}

        def ask_shares(
            survivors: list[str], ciphertexts: Mapping[str, Mapping[str, bytes]]
        ) -> Revealed:
            answers = self._ask(
                {
                    holder: m.NodeRequest(
                        reveal_shares=m.RevealShares(
                            release=request.name,
                            survivors=survivors,
                            ciphertexts=ciphertexts[holder],
                        )
                    )
                    for holder in survivors
                }
            ).answers
            return {name: dict(reply.self_shares.shares) for name, reply in answers.items()}

        quorum = Quorum(len(self.roster), self.plan.minimum, self.plan.colluders)
        return collect(
            request.name, self.roster, quorum, request.length, uploads, ask_pairs, ask_shares
        )

    def close(self) -> dict[str, m.Status]:
        """End the run at every institution; returns the members' last status.

        Whoever has dropped out is told too: an institution gives back what it reserved and did
        not spend only when it learns that the run is over.
        """
        replies = self._finish(self.members, None)
        self._finish([n for n in self.plan.participants if n not in self.members], FAREWELL_S)
        return {name: reply.status for name, reply in sorted(replies.answers.items())}

    def abort(self) -> None:
        """End the run at every institution, without waiting for the silent."""
        self._finish(self.plan.participants, FAREWELL_S)

    def _finish(self, names: Sequence[str], patience_s: float | None) -> Replies:
        return self._ask({n: m.NodeRequest(finish=m.Finish()) for n in names}, patience_s)

    def _ask(
        self, requests: Mapping[str, m.NodeRequest], patience_s: float | None = None
    ) -> Replies:
        for request in requests.values():
            request.run = self.plan.run
        return self.exchange.ask(requests, patience_s)

    def _note(self, asked: Sequence[str], answered: Mapping[str, Upload], replies: Replies) -> None:
        self.out |= replies.refused
        for name in asked:
            self._silences[name] = 0 if name in answered else self._silences.get(name, 0) + 1
            if self._silences[name] >= PATIENCE:
                self.out.setdefault(name, "no answer")

    def _require(self, present: Mapping[str, object]) -> None:
        if len(present) >= self.plan.minimum:
            return
        against: dict[str, list[str]] = {}
        for name, why in sorted(self.out.items()):
            against.setdefault(why, []).append(name)
        reasons = "; ".join(f"{why}: {', '.join(names)}" for why, names in sorted(against.items()))
        en = (
            f"run {self.plan.run} did not start: {len(present)} institutions accept, "
            f"{self.plan.minimum} must. Against it: {reasons}. docs/errors.md explains each number"
        )
        zh = (
            f"任务 {self.plan.run} 未能启动:{len(present)} 家机构同意,至少需要 "
            f"{self.plan.minimum} 家。未同意:{reasons}。各编号的含义见 docs/errors.md"
        )
        if all(why.startswith("H3") for why in against):
            raise PolicyError("H3306", en=en, zh=zh)
        raise NetworkError("H4204", en=en, zh=zh)
