"""The node agent: the trust boundary of an institution.

It alone reads the rows, holds the keys, keeps the ledger, adds the noise and the mask. What it
answers comes from the closed list of ``haihe_fl/messages``; whatever goes wrong inside leaves
as a number.
"""

import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import haihe_fl
from clients.admission import check_panel, check_plan, offer_message, offers_of
from clients.policy import NodePolicy
from clients.store import RunStore, already_answered, private_file
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import HaiheError, IntegrityError, PolicyError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import from_tensor, from_tensors, to_tensor
from haihe_fl.models.plan import ExactStep, LocalStep, ReleaseStep, TrainingPlan
from haihe_fl.models.releases import ReleaseComputer, ReleaseRequest
from haihe_fl.privacy.ledger import Ledger
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.securesum.decisions import SQLiteDecisionLog
from haihe_fl.securesum.keys import Identity, PrivateKeys, make_offer
from haihe_fl.securesum.party import MaskingParty

log = logging.getLogger(__name__)

MALFORMED, INTERNAL_ERROR = "H5303", "H5306"
SOFTWARE = f"haihe-fl {haihe_fl.__version__}"
_RUN = re.compile(r"[\w.-]{0,64}", re.ASCII)


@dataclass
class _Run:
    plan: TrainingPlan
    computer: ReleaseComputer
    party: MaskingParty | None = None


class NodeAgent:
    """Answers the centre on behalf of one institution.

    Parameters
    ----------
    identity : Identity
        The institution's name, key and certificate.
    ca_pem : bytes
        Certificate of the consortium's authority.
    load : callable
        Reads the institution's rows; called once, at the first run.
    catalogue_fingerprint : str
        Schema of the rows.
    policy : NodePolicy
        The institution's own limits.
    folder : Path
        Where ledger and store live; for this user's eyes only.
    noise : NoiseSource, optional
        For tests only: a seeded source makes every result reproducible and protects nobody.
    panel : PanelCounts, optional
        The institution's quarterly panel; without one it takes no part in family ``satellite``.
    """

    def __init__(
        self,
        identity: Identity,
        ca_pem: bytes,
        load: Callable[[], Cohort],
        catalogue_fingerprint: str,
        policy: NodePolicy,
        folder: Path,
        noise: NoiseSource | None = None,
        panel: object = None,
    ) -> None:
        self.identity = identity
        self.ca_pem = ca_pem
        self.policy = policy
        self.catalogue_fingerprint = catalogue_fingerprint
        self.ledger = Ledger(private_file(folder / "ledger.db"), identity.name, policy.cap)
        self._store = RunStore(folder / "store.db")
        self._decisions = SQLiteDecisionLog(private_file(folder / "decisions.db"))
        self._load = load
        self._cohort: Cohort | None = None
        self._noise = noise or NoiseSource()
        self._panel = panel
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._secret = identity.key.sign(b"haihe data commitment")  # deterministic, never sent

    @property
    def cohort(self) -> Cohort:
        """The institution's rows, read at first use and kept warm."""
        if self._cohort is None:
            self._cohort = self._load()
        return self._cohort

    def handle(self, request: m.NodeRequest) -> m.NodeReply:
        """Answer one request; never raises, and never says more than a number on failure."""
        what, run = request.WhichOneof("body"), request.run
        if not _RUN.fullmatch(run):
            return m.NodeReply(refusal=m.Refusal(code=MALFORMED))
        with self._lock:
            try:
                match what:
                    case "hello":
                        return m.NodeReply(status=self._status())
                    case "prepare":
                        return self._prepare(run, request.prepare)
                    case "roster":
                        return self._roster(run, request.roster)
                    case "release":
                        return self._release(run, request.release)
                    case "reveal_pairs":
                        return self._reveal_pairs(run, request.reveal_pairs)
                    case "reveal_shares":
                        return self._reveal_shares(run, request.reveal_shares)
                    case "local_training":
                        return self._local_training(run, request.local_training)
                    case "finish":
                        return self._finish(run)
                    case _:
                        code = MALFORMED
            except HaiheError as error:
                log.warning("refused %s of run %s: %s", what, run, error)
                code = error.code
            except Exception:
                log.exception("%s of run %s failed", what, run)
                code = INTERNAL_ERROR
        return m.NodeReply(refusal=m.Refusal(code=code))

    def close(self) -> None:
        """Release ledger, store and decisions."""
        self.ledger.disconnect()
        self._store.close()
        self._decisions.disconnect()

    def _status(self) -> m.Status:
        return m.Status(
            institution=self.identity.name,
            catalogue_fingerprint=self.catalogue_fingerprint,
            software=SOFTWARE,
            epsilon_spent=self.ledger.spent(),
            epsilon_cap=self.policy.epsilon_cap,
            delta=self.policy.delta,
            data_commitment=self._commitment(),
            fixed_noise=not self._noise.private,
        )

    def _commitment(self) -> str:
        """Keyed hash of the rows: the institution can open it to an auditor, nobody else can."""
        if self._cohort is None:
            return ""
        return hmac.new(self._secret, self.cohort.fingerprint.encode(), hashlib.sha256).hexdigest()

    def _prepare(self, run: str, request: m.Prepare) -> m.NodeReply:
        plan = TrainingPlan.from_bytes(request.plan)
        check_plan(plan, run, self.identity.name, self.catalogue_fingerprint, self.policy)
        check_panel(plan, self._panel)
        if self._store.get(run, "finished") is not None:
            raise _no_run(run)
        documents = {"plan": request.plan}
        offer = self._store.get(run, "offer")
        if offer is None:
            self.ledger.reserve(run, plan.events(), plan.model)
            made, keys = make_offer(self.identity, run)
            offer = offer_message(made).SerializeToString()
            documents |= {"keys": keys.to_bytes(), "offer": offer}
        self._store.put(run, documents)
        return m.NodeReply(key_offer=m.KeyOffer.FromString(offer))

    def _roster(self, run: str, request: m.Roster) -> m.NodeReply:
        current = self._run(run)
        party = self._join(current.plan, request)
        self._store.put(run, {"roster": request.SerializeToString(deterministic=True)})
        current.party = party
        return m.NodeReply(status=self._status())

    def _join(self, plan: TrainingPlan, roster: m.Roster) -> MaskingParty:
        """Verify everybody's keys and take part with them; the quorum may not shrink."""
        offers = offers_of(roster, plan)
        keys = PrivateKeys.from_bytes(self._store.get(plan.run, "keys") or b"")
        quorum = Quorum(len(offers), plan.minimum, plan.colluders)
        return MaskingParty(
            self.identity, plan.run, keys, offers, self.ca_pem, quorum, self._decisions
        )

    def _run(self, run: str) -> _Run:
        """Return an open run, from memory or, after a restart, from the store."""
        if run not in self._runs:
            plan_bytes = self._store.get(run, "plan")
            if plan_bytes is None or self._store.get(run, "keys") is None:
                raise _no_run(run)
            plan = TrainingPlan.from_bytes(plan_bytes)
            whole = plan.family == "stress"
            current = _Run(plan, ReleaseComputer(self.cohort, plan.holdout_share, whole=whole))
            current.computer.cache["satellite/panel"] = self._panel
            roster = self._store.get(run, "roster")
            if roster is not None:
                current.party = self._join(plan, m.Roster.FromString(roster))
            self._runs[run] = current
        return self._runs[run]

    def _party(self, run: str) -> MaskingParty:
        party = self._run(run).party
        if party is None:
            raise _no_run(run)
        return party

    def _release(self, run: str, request: m.Release) -> m.NodeReply:
        party, current = self._party(run), self._run(run)
        step = current.plan.step(request.name)
        if not isinstance(step, ReleaseStep | ExactStep) or any(
            getattr(request, name) != value for name, value in step
        ):
            raise _not_planned(run, request.name)

        def answer() -> m.NodeReply:
            asked = ReleaseRequest(**dict(step), arrays=from_tensors(request.arrays))
            exact = current.computer.answer(asked)
            vector = exact.vector
            if not isinstance(step, ExactStep):
                sd = current.plan.quorum.share_sd(step.noise_multiplier, exact.sensitivity)
                vector = vector + self._noise.rounded_gaussian(sd, step.length)
            upload = party.mask(step.name, vector)
            masked = upload.vector.astype("<u8").tobytes()
            return m.NodeReply(
                upload=m.Upload(release=step.name, vector=masked, shares=upload.shares)
            )

        return self._once(current.plan, step, request, answer)

    def _local_training(self, run: str, request: m.LocalTraining) -> m.NodeReply:
        from haihe_fl.models.neural.session import train_round  # torch only where it is needed

        current = self._run(run)
        name, settings = f"local/{request.round:02d}", current.plan.neural
        step = current.plan.step(name)
        if (
            not isinstance(step, LocalStep)
            or settings is None
            or request.proximal_mu != settings.proximal_mu
        ):
            raise _not_planned(run, name)

        def answer() -> m.NodeReply:
            weights = train_round(
                current.computer,
                settings.model_dump(mode="json"),
                step.noise_multiplier,
                [np.array(from_tensor(t)) for t in request.weights],
                from_tensors(request.arrays),
                proximal_mu=settings.proximal_mu,
                noise=self._noise,
            )
            update = m.LocalUpdate(round=request.round, weights=[to_tensor(w) for w in weights])
            return m.NodeReply(local_update=update)

        return self._once(current.plan, step, request, answer)

    def _once(
        self,
        plan: TrainingPlan,
        step: ReleaseStep | LocalStep | ExactStep,
        request: m.Release | m.LocalTraining,
        answer: Callable[[], m.NodeReply],
    ) -> m.NodeReply:
        """Answer a step of the plan: once with fresh noise, and ever after with that reply."""
        body = request.SerializeToString(deterministic=True)
        reply = self._store.recall(plan.run, step.name, body)
        if reply is None:
            if self.ledger.paid(plan.run, step.name):  # the store was lost: not twice for one price
                raise already_answered(plan.run, step.name)
            reply = answer().SerializeToString()
            self._store.remember(plan.run, step.name, body, reply)
        # Paid for before the first byte leaves; the same charge again costs nothing.
        if isinstance(step, ExactStep):
            self.ledger.note_exact(plan.run, step.name)
        else:
            self.ledger.charge(plan.run, step.name, plan.events()[step.name])
        sent: m.NodeReply = m.NodeReply.FromString(reply)
        return sent

    def _reveal_pairs(self, run: str, request: m.RevealPairs) -> m.NodeReply:
        seeds = self._party(run).reveal_pairs(request.release, list(request.survivors))
        return m.NodeReply(pair_seeds=m.PairSeeds(release=request.release, seeds=seeds))

    def _reveal_shares(self, run: str, request: m.RevealShares) -> m.NodeReply:
        shares = self._party(run).reveal_shares(
            request.release, list(request.survivors), dict(request.ciphertexts)
        )
        if self._run(run).plan.exact:
            # Without noise, sums over different survivors would give the difference away.
            names = "\n".join(sorted(request.survivors))
            self._store.put(run, {"list of survivors": names.encode()})
        return m.NodeReply(self_shares=m.SelfShares(release=request.release, shares=shares))

    def _finish(self, run: str) -> m.NodeReply:
        if self._store.get(run, "plan") is None:
            raise _no_run(run)
        self.ledger.close(run)
        self._store.forget(run)
        self._runs.pop(run, None)
        return m.NodeReply(status=self._status())


def _no_run(run: str) -> IntegrityError:
    return IntegrityError(
        "H5311",
        en=f"run {run} is not open at this institution; prepare it first",
        zh=f"任务 {run} 在本机构未开启;请先执行准备步骤",
    )


def _not_planned(run: str, name: str) -> PolicyError:
    return PolicyError(
        "H3305",
        en=f"the plan of run {run} has no such step {name}; ask only for what was planned",
        zh=f"任务 {run} 的计划中没有步骤 {name};只能请求计划内的步骤",
    )
