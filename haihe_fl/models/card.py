"""The model card: what a model is for, what it was made from, and what it does not promise."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from haihe_fl.data.catalogue import FeatureCatalogue
from haihe_fl.i18n import Language, Text, language
from haihe_fl.privacy.gaussian import epsilon_for, mu_for

Mode = Literal["secure", "inspected", "local"]
Say = Callable[[str, str], str]

MODES: dict[Mode, Text] = {
    "secure": Text(
        en="secure sum: only the noisy sum over institutions is ever seen by anyone",
        zh="安全求和:任何一方只能看到各机构加噪后的总和",
    ),
    "inspected": Text(
        en="inspected: each institution adds the full noise; its updates are visible to screening",
        zh="可审查:各机构自行加入全部噪声,其更新对筛查可见",
    ),
    "local": Text(
        en="local: each institution trains and adds the full noise itself; the centre averages",
        zh="本地训练:各机构自行训练并加入全部噪声,中心只做平均",
    ),
}


@dataclass(frozen=True)
class CardFacts:
    """What a model card states.

    Attributes
    ----------
    name, family, mode
        Name in the registry, family of models, and how the institutions took part.
    catalogue : FeatureCatalogue
        The features.
    institutions : int
        How many institutions trained it.
    epsilon, delta : float or None
        Budget spent at the institution that spent most, per ``unit``; None if the model was
        trained without privacy.
    unit : {"record", "borrower"}
        What the budget protects.
    gaussian : bool
        Whether all releases are plain Gaussian ones, so that the conversion to borrowers is
        exact; otherwise the general bound for groups is stated.
    tolerated : int
        Colluding institutions that the noise allows for.
    metrics : mapping of str to float
        Figures of the evaluation, by name.
    measured : Text
        How they were measured, on which data.
    releases : int
        Noisy vectors released in all.
    fingerprints : mapping of str to str
        Hashes of model, config, data and catalogue.
    limitations : tuple of Text
        Beyond those that hold for every model.
    trained : date, optional
        Day of training.
    synthetic : bool
        Whether the borrowers were made up.
    """

    name: str
    family: str
    mode: Mode
    catalogue: FeatureCatalogue
    institutions: int
    epsilon: float | None
    delta: float | None
    metrics: Mapping[str, float]
    measured: Text
    unit: Literal["record", "borrower"] = "record"
    gaussian: bool = True
    tolerated: int = 0
    releases: int = 0
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    limitations: tuple[Text, ...] = ()
    trained: date | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        if (self.epsilon is None) != (self.delta is None):
            raise ValueError("epsilon never stands without its delta")


def borrower_budget(facts: CardFacts, records: int) -> tuple[float, float]:
    """Return epsilon and delta of a borrower with so many records, one per institution.

    Examples
    --------
    >>> from haihe_fl.data.catalogue import Feature
    >>> c = FeatureCatalogue(name="tiny", features=(Feature(name="age", range=(0, 80)),))
    >>> how = Text(en="", zh="")
    >>> facts = CardFacts("m", "additive", "secure", c, 3, 3.0, 1e-5, {}, how)
    >>> [round(borrower_budget(facts, k)[0], 1) for k in (1, 2, 3)]
    [3.0, 6.7, 11.0]
    """
    if facts.epsilon is None or facts.delta is None:
        raise ValueError("the model was trained without privacy")
    if facts.epsilon == 0.0 or facts.unit == "borrower":
        return facts.epsilon, facts.delta
    if facts.gaussian:
        mu = mu_for(facts.epsilon, facts.delta)
        return epsilon_for(records * mu, facts.delta), facts.delta
    delta = records * math.exp((records - 1) * facts.epsilon) * facts.delta
    return records * facts.epsilon, min(delta, 1.0)


def model_card(facts: CardFacts, lang: Language | None = None) -> str:
    """Return the model card as Markdown, in one language (by default that in force)."""
    zh = (lang or language()) == "zh"

    def say(en: str, chinese: str) -> str:
        return chinese if zh else en

    def text(both: Text) -> str:
        return say(both.en, both.zh)

    when = f" ({facts.trained.isoformat()})" if facts.trained else ""
    parts = [f"# {say('Model card', '模型卡')}: {facts.name}{when}"]

    def section(en: str, chinese: str, lines: list[str]) -> None:
        parts.extend(["", f"## {say(en, chinese)}", "", *(f"- {line}" for line in lines)])

    section(
        "What it is",
        "模型简介",
        [
            say(
                f"Probability of default within 12 months of a small or medium enterprise; "
                f"family `{facts.family}`.",
                f"中小企业 12 个月内违约概率模型;模型族 `{facts.family}`。",
            ),
            say(
                "Every score comes with the terms that cost most against the average borrower.",
                "每个评分附有相对平均借款人失分最多的原因。",
            ),
        ],
    )
    section(
        "Intended use",
        "用途",
        [
            say(
                "Ranking and pricing of SME loans, early warning and stress tests, under the "
                "lender's own policy.",
                "中小企业贷款的排序与定价、预警与压力测试,须遵循贷款机构自身政策。",
            ),
            say(
                "Not for natural persons, nor for a refusal without a human review and a reason.",
                "不用于自然人;不得在没有人工复核和理由的情况下直接拒贷。",
            ),
        ],
    )
    section("Data", "数据", _data(facts, say))
    section(
        "Training",
        "训练",
        [text(MODES[facts.mode]) + say(".", "。")]
        + (
            [say(f"{facts.releases} releases.", f"共 {facts.releases} 次发布。")]
            * bool(facts.releases)
        ),
    )
    section("Privacy", "隐私", _privacy(facts, say))
    section("Threat model", "威胁模型", _threats(facts, say))
    parts.extend(["", f"## {say('Evaluation', '评估')}", "", text(facts.measured), ""])
    if facts.metrics:
        parts.extend([f"| {say('figure', '指标')} | {say('value', '数值')} |", "|---|---:|"])
        parts.extend(f"| {name} | {value:.4g} |" for name, value in facts.metrics.items())
    section("Limitations", "局限", _limitations(facts, say) + [text(t) for t in facts.limitations])
    if facts.fingerprints:
        hashes = [f"{name}: `{value}`" for name, value in facts.fingerprints.items()]
        section("Fingerprints (SHA-256)", "指纹(SHA-256)", hashes)
    return "\n".join(parts) + "\n"


def _data(facts: CardFacts, say: Say) -> list[str]:
    names = ", ".join(f"`{f.name}`" for f in facts.catalogue.features)
    made_up = [
        say(
            "The borrowers are synthetic: no figure here is evidence about real enterprises.",
            "借款人为合成数据:以下数字不能作为真实企业的证据。",
        )
    ]
    return [
        say(
            f"{facts.institutions} institutions; rows, labels and identifiers stayed with them.",
            f"{facts.institutions} 家机构;记录、标签与标识均未离开机构。",
        ),
        say(
            f"Catalogue `{facts.catalogue.name}` version {facts.catalogue.version}, "
            f"{len(facts.catalogue.features)} features: {names}.",
            f"特征目录 `{facts.catalogue.name}` 版本 {facts.catalogue.version},"
            f"{len(facts.catalogue.features)} 个特征:{names}。",
        ),
        *(made_up if facts.synthetic else []),
    ]


def _privacy(facts: CardFacts, say: Say) -> list[str]:
    if facts.epsilon is None:
        return [
            say(
                "**None.** Trained without differential privacy; it may reveal its records.",
                "**无。** 训练未使用差分隐私,模型可能泄露训练记录。",
            )
        ]
    unit = say(facts.unit, "记录" if facts.unit == "record" else "借款人")
    lines = [
        say(
            f"**epsilon {facts.epsilon:.3g}, delta {facts.delta:.3g}, per {unit}**: adding or "
            f"removing one {unit} anywhere.",
            f"**epsilon {facts.epsilon:.3g},delta {facts.delta:.3g},单位:{unit}**:"
            f"任意增减一个{unit}。",
        )
    ]
    if facts.unit == "record":
        for k in (2, 3):
            epsilon, delta = borrower_budget(facts, k)
            lines.append(
                say(
                    f"A borrower with records at {k} institutions: epsilon {epsilon:.3g}, "
                    f"delta {delta:.3g}.",
                    f"在 {k} 家机构有记录的借款人:epsilon {epsilon:.3g},delta {delta:.3g}。",
                )
            )
    lines.append(
        say(
            "Noise: this project's own ChaCha20 generator, seeded by the operating system. Opacus "
            "offers `secure_mode`, but it needs a package that is no longer maintained.",
            "噪声:本项目自有的 ChaCha20 生成器,由操作系统提供种子。Opacus 的 `secure_mode` "
            "依赖已停止维护的软件包,故未采用。",
        )
    )
    return lines


def _threats(facts: CardFacts, say: Say) -> list[str]:
    centre = {
        "secure": say(
            "A curious centre sees the noisy sum over institutions, never one institution's part.",
            "好奇的中心只看到各机构加噪后的总和,看不到单个机构的部分。",
        ),
    }.get(
        facts.mode,
        say(
            "A curious centre sees each institution's update, which already carries all the noise.",
            "好奇的中心能看到各机构的更新,但其中已含全部噪声。",
        ),
    )
    collusion = (
        say(
            f"Up to {facts.tolerated} colluding institutions are allowed for in the noise.",
            f"噪声已计入至多 {facts.tolerated} 家合谋机构。",
        )
        if facts.mode == "secure"
        else say(
            "Colluding institutions and centre do not weaken another institution's guarantee.",
            "其他机构与中心合谋不削弱本机构的保证。",
        )
    )
    robust = (
        say(
            "A malicious institution can bend the model within its clipped sums: nobody may look.",
            "恶意机构可在截断范围内影响模型:安全求和下无人可检查其更新。",
        )
        if facts.mode == "secure"
        else say(
            "Up to 20 % malicious institutions meet screening and robust aggregation.",
            "至多 20% 的恶意机构由筛查与稳健聚合应对。",
        )
    )
    return [
        centre,
        collusion,
        robust,
        say(
            "A network attacker meets mutual TLS and signed messages; a reader of the published "
            "model or its API learns no more than the budget allows.",
            "网络攻击者面对双向 TLS 与签名消息;模型或接口的使用者所得不超过预算所限。",
        ),
        say(
            "Out of scope: a compromised institution host, side channels, the centre colluding "
            "with a majority.",
            "不在范围内:机构主机被攻陷、侧信道、中心与多数机构合谋。",
        ),
    ]


def _limitations(facts: CardFacts, say: Say) -> list[str]:
    lines = [
        say(
            "Learned on borrowers that were granted credit; others may differ.",
            "仅从已获信贷的借款人学习,其他企业可能不同。",
        ),
        say(
            "Scores are calibrated to the training period; watch drift and recalibrate.",
            "评分按训练时期校准,须监测漂移并重新校准。",
        ),
    ]
    if facts.epsilon is not None:
        lines.append(
            say(
                "Noise blurs rare categories and small groups most.",
                "噪声对罕见类别和小群体影响最大。",
            )
        )
    return lines
