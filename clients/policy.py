"""The institution's own policy: what it lets the consortium ask of its rows."""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from haihe_fl.errors import PolicyError, UserError
from haihe_fl.models.plan import TrainingPlan
from haihe_fl.privacy.gaussian import Budget

FEWEST_EXACT = 3
"""A sum without noise is hidden by the others' figures alone: two, less one's own, is one."""


class NodePolicy(BaseModel):
    """Limits that the node agent enforces, whatever the centre asks.

    Attributes
    ----------
    epsilon_cap, delta : float
        Largest privacy loss of one record over all runs together, at this delta.
    epsilon_per_run : float
        Largest budget of a single run.
    families, modes : tuple of str
        Families and modes that may run here: ``additive`` and ``neural`` train a model,
        ``stress`` and ``satellite`` must be named before they may ask anything.
    minimum_survivors : int
        Fewest institutions among which this one's contribution may be hidden.
    exact_stress_sums : bool
        Whether network sums of a stress test may leave without noise, under the mask alone.
        No epsilon covers them: read docs/stress-federated.md first. A stress test at all needs
        ``stress`` among the families.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon_cap: float = Field(default=8.0, gt=0)
    delta: float = Field(default=1e-5, gt=0, lt=1)
    epsilon_per_run: float = Field(default=4.0, gt=0)
    families: tuple[Literal["additive", "neural", "stress", "satellite"], ...] = (
        "additive",
        "neural",
    )
    modes: tuple[Literal["secure", "inspected"], ...] = ("secure", "inspected")
    minimum_survivors: int = Field(default=2, ge=2)
    exact_stress_sums: bool = False

    @property
    def cap(self) -> Budget:
        """The cap as a record-level budget."""
        return Budget(self.epsilon_cap, self.delta)

    def check(self, plan: TrainingPlan) -> None:
        """Refuse a plan that oversteps the policy.

        Raises
        ------
        PolicyError
            H3301, naming the first limit that the plan oversteps.
        """
        breaches = {
            f"family {plan.family}": plan.family not in self.families,
            f"mode {plan.mode}": plan.mode not in self.modes,
            f"epsilon {plan.epsilon:g} > {self.epsilon_per_run:g} per run": plan.epsilon
            > self.epsilon_per_run,
            f"delta {plan.delta:g} > {self.delta:g}": plan.delta > self.delta,
            f"minimum of {plan.minimum} survivors < {self.minimum_survivors}": plan.minimum
            < self.minimum_survivors,
            "sums without noise": bool(plan.exact) and not self.exact_stress_sums,
            f"sums without noise among {plan.quorum.noise_parties} < {FEWEST_EXACT} honest "
            "institutions": bool(plan.exact) and plan.quorum.noise_parties < FEWEST_EXACT,
        }
        for what, breached in breaches.items():
            if breached:
                raise PolicyError(
                    "H3301",
                    en=f"the institution's policy forbids this run: {what}; "
                    "change the plan, or have the institution change its policy file",
                    zh=f"机构策略不允许本次运行:{what};请修改计划,或由机构修改其策略文件",
                )


def load_policy(path: Path) -> NodePolicy:
    """Read a policy from YAML; an empty file means the defaults.

    Raises
    ------
    UserError
        H2301 if the file is missing or says something that is no policy.
    """
    try:
        return NodePolicy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, yaml.YAMLError, ValueError) as error:
        detail = error.errors()[0] if isinstance(error, ValidationError) else {"msg": str(error)}
        where = ".".join(map(str, detail.get("loc", ()))) or "file"
        raise UserError(
            "H2301",
            en=f"policy {path}, {where}: {detail['msg']}; see docs/node.md for the keys",
            zh=f"策略文件 {path} 的 {where} 有误:{detail['msg']};可用的键见 docs/node.md",
        ) from None
