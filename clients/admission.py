"""What a node lets into a run: plans within its limits, and rosters of verified keys."""

from dataclasses import fields

from clients.policy import NodePolicy
from haihe_fl.errors import IntegrityError, PolicyError
from haihe_fl.messages import node_pb2 as m
from haihe_fl.models.plan import TrainingPlan
from haihe_fl.privacy.accountant import fits
from haihe_fl.securesum.keys import KeyOffer


def check_plan(
    plan: TrainingPlan, run: str, institution: str, catalogue_fingerprint: str, policy: NodePolicy
) -> None:
    """Refuse a plan before anything is reserved for it.

    Raises
    ------
    PolicyError
        H3301 beyond the institution's policy, H3302 dearer than it says, H3303 local training
        in mode secure.
    IntegrityError
        H5307 for another run or without this institution, H5308 for another catalogue.
    """
    policy.check(plan)
    if plan.run != run or institution not in plan.participants:
        raise IntegrityError(
            "H5307",
            en=f"the plan is not for run {run} at {institution}; propose it again",
            zh=f"该计划不属于 {institution} 的任务 {run};请重新提交",
        )
    if plan.catalogue_fingerprint != catalogue_fingerprint:
        raise IntegrityError(
            "H5308",
            en="the plan uses another feature catalogue than this institution's mapping; "
            "agree on one catalogue and version",
            zh="计划使用的特征目录与本机构映射不一致;请统一特征目录及版本",
        )
    if plan.mode == "secure" and plan.local:
        raise PolicyError(
            "H3303",
            en=f"run {run} is in mode secure, where no single institution's update may leave; "
            "local training needs mode inspected",
            zh=f"任务 {run} 为 secure 模式,不允许单个机构的更新外传;本地训练须使用 inspected 模式",
        )
    if not fits([plan.events().values()], plan.budget):
        raise PolicyError(
            "H3302",
            en=f"the steps of run {run} cost more than its stated epsilon {plan.epsilon:g}; "
            "plan it again",
            zh=f"任务 {run} 各步骤的隐私开销超过其声明的 epsilon {plan.epsilon:g};请重新制定计划",
        )


def check_panel(plan: TrainingPlan, panel: object) -> None:
    """Refuse an estimation at an institution without a quarterly panel: before the sum, not in it.

    Raises
    ------
    UserError
        H2582 if there is none.
    """
    if plan.family == "satellite" and panel is None:
        from haihe_fl.stress.panels import no_panel

        raise no_panel()


def offers_of(roster: m.Roster, plan: TrainingPlan) -> list[KeyOffer]:
    """Return a roster's offers, their signatures still to be verified.

    Raises
    ------
    IntegrityError
        H5309 if it names somebody twice, or somebody whom the plan does not.
    PolicyError
        H3304 if it is shorter than the plan's quorum.
    """
    names = [offer.institution for offer in roster.offers]
    if len(set(names)) < len(names) or not set(names) <= set(plan.participants):
        raise IntegrityError(
            "H5309",
            en=f"the roster of run {plan.run} names strangers, or someone twice; start a new run",
            zh=f"任务 {plan.run} 的名册含有未知或重复的机构;请新建任务",
        )
    if len(names) < plan.minimum:
        raise PolicyError(
            "H3304",
            en=f"only {len(names)} institutions take part in run {plan.run}, {plan.minimum} must; "
            "wait for more",
            zh=f"任务 {plan.run} 仅有 {len(names)} 家机构参与,至少需要 {plan.minimum} 家;"
            "请等待更多机构",
        )
    return [KeyOffer(**{name: getattr(offer, name) for name in _OFFER}) for offer in roster.offers]


def offer_message(offer: KeyOffer) -> m.KeyOffer:
    """Return an offer as it travels."""
    return m.KeyOffer(**{name: getattr(offer, name) for name in _OFFER})


_OFFER = [field.name for field in fields(KeyOffer)]
