"""What a report says in sentences: findings computed from the figures, and standing texts."""

from haihe_fl.i18n import Text
from haihe_fl.reports.means import judged, mean_auc
from haihe_fl.reports.results import DemoResults, InstitutionResult, both

THREAT_MODEL = (
    Text(
        en="The centre follows the protocol but is curious; it sees masked vectors and noisy sums, "
        "never rows, labels or one institution's own sum.",
        zh="中心遵守协议但可能好奇：只能看到加掩码的向量和加噪后的总和，"
        "看不到明细、标签或单家机构的总和。",
    ),
    Text(
        en="Noise is added at the institutions before masking; the stated epsilon holds against "
        "the centre and anyone who later gets the model or the journal.",
        zh="噪声由机构在加掩码之前加入；所列 ε 对中心以及日后获得模型或运行日志的任何人均成立。",
    ),
    Text(
        en="Institutions that pool what they know learn the sum of the others, and their own share "
        "of the noise can be subtracted; the run plan states how many may do so.",
        zh="若干机构合谋可得知其余机构之和，并可减去自己加入的噪声；运行计划写明所容许的合谋机构数。",
    ),
    Text(
        en="Epsilon bounds what any one protected unit changes in everything released; it does "
        "not hide facts about groups, such as the default rate of a sector.",
        zh="ε 限定任一受保护单元对全部发布结果的影响；并不隐藏群体性事实，例如某行业的违约率。",
    ),
    Text(
        en="Out of scope: a compromised institution's own rows, false data sent on purpose "
        "(screened, not prevented), side channels of the machines.",
        zh="不在范围内：被攻破机构自身的数据、故意上报的虚假数据（可筛查，不能杜绝）、机器的旁路信道。",
    ),
)

GLOSSARY = (
    ("AUC", Text(en="Chance that a defaulter is scored riskier than a non-defaulter; .5 is a coin.",
                 zh="违约者的风险评分高于未违约者的概率；0.5 相当于掷硬币。")),
    ("KS", Text(en="Largest gap between the score distributions of defaulters and others.",
                zh="违约者与未违约者评分分布之间的最大差距。")),
    ("PR-AUC", Text(en="Average precision: precision averaged over recall; compare with the "
                       "default rate, not with .5.",
                    zh="平均精确率：按召回率平均的精确率；应与违约率比较，而非 0.5。")),
    ("PD, ECL, EL", Text(en="Probability of default within 12 months; expected credit loss "
                            "(provision), here its peak; expected loss, all quarters together.",
                         zh="12 个月违约概率；预期信用损失（拨备，此处为峰值）；"
                            "预期损失（全部季度合计）。")),
    ("ε, δ", Text(en="Differential privacy: smaller is stricter. Always read with the unit "
                     "(record or borrower) and the threat model.",
                  zh="差分隐私参数：越小越严格；须连同保护单元（记录或借款人）与威胁模型一起理解。")),
    (Text(en="Release", zh="发布"),
     Text(en="One noisy vector that leaves the institutions, as a sum over all of them.",
          zh="离开机构的一个加噪向量，且只以全部机构之和的形式出现。")),
    (Text(en="Local-only", zh="仅本地"),
     Text(en="A model that an institution trains on its own rows alone.",
          zh="机构仅用自有数据训练的模型。")),
    (Text(en="Held-out", zh="留出样本"),
     Text(en="Borrowers kept out of training, chosen by a hash of their identifier.",
          zh="不参与训练的借款人，按其标识的哈希值选出。")),
    (Text(en="Calibration slope", zh="校准斜率"),
     Text(en="1 is ideal; below 1, PDs are too extreme. Intercept 0 is ideal; above 0, risk is "
             "under-stated.",
          zh="理想值为 1；小于 1 表示 PD 过于极端。截距理想值为 0；大于 0 表示低估风险。")),
    (Text(en="Baseline loss", zh="基线损失"),
     Text(en="What the portfolio loses over the same quarters in a quiet economy: every PD stays "
             "where the model puts it.",
          zh="同期经济平稳时组合的损失：各 PD 保持模型给出的水平。")),
    (Text(en="99.9% loss", zh="99.9% 损失"),
     Text(en="Loss that one year exceeds with a chance of 0.1%, seen from the worst quarter; it "
             "may lie below EL, which adds up all quarters.",
          zh="从最差季度起一年内以 0.1% 概率被超过的损失；预期损失为全部季度合计，可能高于它。")),
    (Text(en="Severity, σ", zh="强度 σ"),
     Text(en="How many standard deviations of the economy's common factor a scenario amounts to.",
          zh="情景相当于经济共同因子的多少个标准差。")),
    (Text(en="Log-odds", zh="对数几率"),
     Text(en="ln(PD / (1 − PD)): effects of features add up on this scale; +0.7 doubles the odds.",
          zh="ln(PD / (1 − PD))：各特征影响在此尺度上相加；+0.7 使几率翻倍。")),
    (Text(en="Scenario grade", zh="情景证据等级"),
     Text(en="How well the size of a scenario's shocks is documented; an expert size is no "
             "published figure.",
          zh="情景冲击幅度的依据程度；专家设定值不是公开发布的数据。")),
)  # fmt: skip


def _gain(row: InstitutionResult) -> float:
    return row.gain.value if row.gain else row.federated.value - row.local.value


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def findings(results: DemoResults) -> tuple[Text, ...]:
    """Say in sentences who gains from federating, who does not, and what privacy costs.

    An institution counts as better or worse beyond chance only if the paired interval of its gain
    excludes zero; without such intervals the text says so.
    """
    rows = judged(results.institutions)
    texts = []
    if rows:
        better = [r for r in rows if _gain(r) > 0]
        mean = mean_auc(rows).gain
        texts.append(
            Text(
                en=f"Against a model of its own rows alone, the federated model ranks better at "
                f"{len(better)} of {len(rows)} institutions; the mean change in AUC, "
                f"weighted by test records, is {_signed(mean)}.",
                zh=f"与仅用自有数据的模型相比，联邦模型在 {len(rows)} 家机构中的 "
                f"{len(better)} 家排序更好；按测试记录数加权，AUC 平均变化 {_signed(mean)}。",
            )
        )
        texts.append(_beyond_chance(rows))
        worse = sorted((r for r in rows if _gain(r) <= 0), key=_gain)
        if worse:
            en = [f"{both(r.name).en} ({_signed(_gain(r))})" for r in worse]
            zh = [f"{both(r.name).zh}（{_signed(_gain(r))}）" for r in worse]
            texts.append(
                Text(
                    en=f"It gains nothing at: {', '.join(en)}.",
                    zh=f"未获提升的机构：{'、'.join(zh)}。",
                )
            )
        else:
            texts.append(
                Text(en="No institution is worse off on its figure.", zh="没有机构的数值变差。")
            )
    unjudged = len(results.institutions) - len(rows)
    if unjudged:
        texts.append(
            Text(
                en=f"{unjudged} could not be judged: their test records hold one class only, or "
                "they have too few records for a model of their own.",
                zh=f"另有 {unjudged} 家无法判断：测试记录只有一类标签，"
                "或记录过少无法训练自有模型。",
            )
        )
    pooled = results.comparison.pooled
    if pooled is not None:
        gap = pooled.value - results.comparison.federated.value
        word = ("below", "低") if gap >= 0 else ("above", "高")
        name = both(results.comparison.pooled_name)
        cost = (
            (
                "what privacy and the form of the model cost together",
                "这是隐私保护与模型形式的共同代价",
            )
            if gap >= 0
            else ("privacy costs no ranking power here", "隐私保护在此未损失排序能力")
        )
        texts.append(
            Text(
                en=f"Over all test rows it stands {abs(gap):.3f} {word[0]} the reference "
                f"({name.en}): {cost[0]}.",
                zh=f"在全部测试样本上，比参照（{name.zh}）{word[1]} {abs(gap):.3f}：{cost[1]}。",
            )
        )
    return tuple(texts)


def _beyond_chance(rows: list[InstitutionResult]) -> Text:
    sure = [r.gain for r in rows if r.gain is not None and r.gain.low is not None]
    if not sure:
        return Text(
            en="No paired intervals were computed, so chance is not ruled out anywhere.",
            zh="未计算配对置信区间，因此不能排除偶然。",
        )
    up = sum(g.low is not None and g.low > 0 for g in sure)
    down = sum(g.high is not None and g.high < 0 for g in sure)
    open_ = len(sure) - up - down
    return Text(
        en=f"Beyond chance (95% paired interval): better at {up}, worse at {down}, "
        f"undecided at {open_}.",
        zh=f"排除偶然后（95% 配对区间）：{up} 家更好，{down} 家更差，{open_} 家无法定论。",
    )
