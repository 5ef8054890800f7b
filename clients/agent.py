"""The node agent: the trust boundary of an institution.

It alone reads the rows, holds the keys, keeps the ledger, adds the noise and the mask. What it
answers comes from the closed list of ``haihe_fl/messages``; whatever goes wrong inside leaves
as a number.
"""

import hashlib
import hmac
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import haihe_fl
from clients.policy import NodePolicy
from clients.store import RunStore
from haihe_fl.data.cohort import Cohort
from haihe_fl.errors import HaiheError, IntegrityError, PolicyError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.messages.codec import from_tensor, from_tensors, to_tensor
from haihe_fl.models.plan import LocalStep, ReleaseStep, TrainingPlan
from haihe_fl.models.releases import ReleaseComputer, ReleaseRequest
from haihe_fl.privacy.accountant import fits
from haihe_fl.privacy.ledger import Ledger
from haihe_fl.privacy.noise import NoiseSource, Quorum
from haihe_fl.securesum.decisions import SQLiteDecisionLog
from haihe_fl.securesum.keys import Identity, KeyOffer, PrivateKeys, make_offer
from haihe_fl.securesum.party import MaskingParty

log = logging.getLogger(__name__)

INTERNAL_ERROR = "H5306"
SOFTWARE = f"haihe-fl {haihe_fl.__version__}"


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
        Where ledger and store live.
    noise : NoiseSource, optional
        For tests only: a seeded source makes every result reproducible and protects nobody.
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
    ) -> None:
        self.identity = identity
        self.ca_pem = ca_pem
        self.policy = policy
        self.catalogue_fingerprint = catalogue_fingerprint
        self.ledger = Ledger(folder / "ledger.db", identity.name, policy.cap)
        self._store = RunStore(folder / "store.db")
        self._decisions = SQLiteDecisionLog(folder / "decisions.db")
        self._load = load
        self._cohort: Cohort | None = None
        self._noise = noise or NoiseSource()
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
        what = request.WhichOneof("body")
        with self._lock:
            try:
                match what:
                    case "hello":
                        return m.NodeReply(status=self._status())
                    case "prepare":
                        return self._prepare(request.run, request.prepare)
                    case "roster":
                        return self._roster(request.run, request.roster)
                    case "release":
                        return self._release(request.run, request.release)
                    case "reveal_pairs":
                        return self._reveal_pairs(request.run, request.reveal_pairs)
                    case "reveal_shares":
                        return self._reveal_shares(request.run, request.reveal_shares)
                    case "local_training":
                        return self._local_training(request.run, request.local_training)
                    case "finish":
                        return self._finish(request.run)
                    case _:
                        code = "H5303"
            except HaiheError as error:
                log.warning("refused %s of run %s: %s", what, request.run, error)
                code = error.code
            except Exception:
                log.exception("%s of run %s failed", what, request.run)
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
        self._check_plan(run, plan)
        self._store.put(run, "plan", request.plan)
        if self._store.get(run, "finished") is not None:
            raise _no_run(run)
        offer = self._store.get(run, "offer")
        if offer is None:
            self.ledger.reserve(run, plan.events(), plan.model)
            made, keys = make_offer(self.identity, run)
            self._store.put(run, "keys", keys.to_bytes())
            offer = _offer_message(made).SerializeToString()
            self._store.put(run, "offer", offer)
        return m.NodeReply(key_offer=m.KeyOffer.FromString(offer))

    def _check_plan(self, run: str, plan: TrainingPlan) -> None:
        self.policy.check(plan)
        if plan.run != run or self.identity.name not in plan.participants:
            raise IntegrityError(
                "H5307",
                en=f"the plan is not for run {run} at {self.identity.name}; propose it again",
                zh=f"该计划不属于 {self.identity.name} 的任务 {run};请重新提交",
            )
        if plan.catalogue_fingerprint != self.catalogue_fingerprint:
            raise IntegrityError(
                "H5308",
                en="the plan uses another feature catalogue than this institution's mapping; "
                "agree on one catalogue and version",
                zh="计划使用的特征目录与本机构映射不一致;请统一特征目录及版本",
            )
        if not fits([plan.events().values()], plan.budget):
            raise PolicyError(
                "H3302",
                en=f"the steps of run {run} cost more than its stated epsilon {plan.epsilon:g}; "
                "plan it again",
                zh=f"任务 {run} 各步骤的隐私开销超过其声明的 epsilon {plan.epsilon:g};请重新制定计划",
            )
        if plan.mode == "secure" and plan.local:
            raise PolicyError(
                "H3303",
                en=f"run {run} is in mode secure, where no single institution's update may leave; "
                "local training needs mode inspected",
                zh=f"任务 {run} 为 secure 模式,不允许单个机构的更新外传;本地训练须使用 inspected 模式",
            )

    def _roster(self, run: str, request: m.Roster) -> m.NodeReply:
        current = self._run(run)
        party = self._join(run, current.plan, request)
        self._store.put(run, "roster", request.SerializeToString(deterministic=True))
        current.party = party
        return m.NodeReply(status=self._status())

    def _join(self, run: str, plan: TrainingPlan, roster: m.Roster) -> MaskingParty:
        """Verify everybody's keys and take part with them; the quorum may not shrink."""
        offers = [_offer_of(message) for message in roster.offers]
        if not {offer.institution for offer in offers} <= set(plan.participants):
            raise IntegrityError(
                "H5309",
                en=f"the roster of run {run} names strangers; start a new run",
                zh=f"任务 {run} 的名册含有未知机构;请新建任务",
            )
        if len(offers) < plan.minimum:
            raise PolicyError(
                "H3304",
                en=f"only {len(offers)} institutions take part in run {run}, {plan.minimum} must; "
                "wait for more",
                zh=f"任务 {run} 仅有 {len(offers)} 家机构参与,至少需要 {plan.minimum} 家;请等待更多机构",
            )
        keys = PrivateKeys.from_bytes(self._store.get(run, "keys") or b"")
        quorum = Quorum(len(offers), plan.minimum, plan.colluders)
        return MaskingParty(self.identity, run, keys, offers, self.ca_pem, quorum, self._decisions)

    def _run(self, run: str) -> _Run:
        """Return an open run, from memory or, after a restart, from the store."""
        if run not in self._runs:
            plan_bytes = self._store.get(run, "plan")
            if plan_bytes is None or self._store.get(run, "keys") is None:
                raise _no_run(run)
            plan = TrainingPlan.from_bytes(plan_bytes)
            current = _Run(plan, ReleaseComputer(self.cohort, plan.holdout_share))
            roster = self._store.get(run, "roster")
            if roster is not None:
                current.party = self._join(run, plan, m.Roster.FromString(roster))
            self._runs[run] = current
        return self._runs[run]

    def _party(self, run: str) -> tuple[TrainingPlan, ReleaseComputer, MaskingParty]:
        current = self._run(run)
        if current.party is None:
            raise _no_run(run)
        return current.plan, current.computer, current.party

    def _release(self, run: str, request: m.Release) -> m.NodeReply:
        plan, computer, party = self._party(run)
        step = plan.step(request.name)
        asked = (
            request.name,
            request.kind,
            request.noise_multiplier,
            request.length,
            request.part,
        )
        if not isinstance(step, ReleaseStep) or asked != (
            step.name,
            step.kind,
            step.noise_multiplier,
            step.length,
            step.part,
        ):
            raise _not_planned(run, request.name)
        body = request.SerializeToString(deterministic=True)
        event = plan.events()[step.name]
        stored = self._store.recall(run, step.name, body)
        if stored is None:
            answer = computer.answer(
                ReleaseRequest(*asked, arrays=from_tensors(request.arrays))  # type: ignore[arg-type]
            )
            sd = plan.quorum.share_sd(step.noise_multiplier, answer.sensitivity)
            noisy = answer.vector + self._noise.rounded_gaussian(sd, step.length)
            upload = party.mask(step.name, noisy)
            stored = m.NodeReply(
                upload=m.Upload(
                    release=step.name,
                    vector=upload.vector.astype("<u8").tobytes(),
                    shares=upload.shares,
                )
            ).SerializeToString()
            self._store.remember(run, step.name, body, stored)
        # Paid for before the first byte leaves; the same charge again costs nothing.
        self.ledger.charge(run, step.name, event)
        return m.NodeReply.FromString(stored)

    def _reveal_pairs(self, run: str, request: m.RevealPairs) -> m.NodeReply:
        party = self._party(run)[2]
        seeds = party.reveal_pairs(request.release, list(request.survivors))
        return m.NodeReply(pair_seeds=m.PairSeeds(release=request.release, seeds=seeds))

    def _reveal_shares(self, run: str, request: m.RevealShares) -> m.NodeReply:
        party = self._party(run)[2]
        shares = party.reveal_shares(
            request.release, list(request.survivors), dict(request.ciphertexts)
        )
        return m.NodeReply(self_shares=m.SelfShares(release=request.release, shares=shares))

    def _local_training(self, run: str, request: m.LocalTraining) -> m.NodeReply:
        from haihe_fl.models.neural.session import train_round  # torch only where it is needed

        current = self._run(run)
        plan, name = current.plan, f"local/{request.round:02d}"
        step = plan.step(name)
        if not isinstance(step, LocalStep) or plan.neural is None:
            raise _not_planned(run, name)
        body = request.SerializeToString(deterministic=True)
        stored = self._store.recall(run, name, body)
        if stored is None:
            weights = train_round(
                current.computer,
                plan.neural,
                step.noise_multiplier,
                [np.array(from_tensor(t)) for t in request.weights],
                from_tensors(request.arrays),
                proximal_mu=request.proximal_mu,
                noise=self._noise,
            )
            stored = m.NodeReply(
                local_update=m.LocalUpdate(
                    round=request.round, weights=[to_tensor(w) for w in weights]
                )
            ).SerializeToString()
            self._store.remember(run, name, body, stored)
        self.ledger.charge(run, name, plan.events()[name])
        return m.NodeReply.FromString(stored)

    def _finish(self, run: str) -> m.NodeReply:
        if self._store.get(run, "plan") is None:
            raise _no_run(run)
        self.ledger.close(run)
        self._store.forget(run)
        self._runs.pop(run, None)
        return m.NodeReply(status=self._status())


def _offer_message(offer: KeyOffer) -> m.KeyOffer:
    return m.KeyOffer(
        institution=offer.institution,
        run=offer.run,
        mask_key=offer.mask_key,
        share_key=offer.share_key,
        certificate=offer.certificate,
        signature=offer.signature,
    )


def _offer_of(message: m.KeyOffer) -> KeyOffer:
    return KeyOffer(
        institution=message.institution,
        run=message.run,
        mask_key=message.mask_key,
        share_key=message.share_key,
        certificate=message.certificate,
        signature=message.signature,
    )


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
