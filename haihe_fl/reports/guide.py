"""How to read a report, and what to do next: sentences that follow from its figures."""

import math
import re

from haihe_fl.i18n import Text
from haihe_fl.reports.means import judged
from haihe_fl.reports.results import DemoResults, Label, both

Entry = tuple[Label, Text]


def guide(results: DemoResults) -> tuple[Entry, ...]:
    """Say what the model, epsilon, the AUCs and the stress test mean, for this run."""
    run, privacy = results.run, results.privacy
    unit = both(privacy.unit)
    what = (
        Text(
            en="A sum of look-ups: one table a feature and a few for pairs of features. What "
            "each adds to a score can be read off below, so a borrower's reasons are exact.",
            zh="评分由查表求和得到：每个特征一张表，另有少量特征交互表。各项贡献均可在下文查看，"
            "因此借款人的原因是精确的。",
        )
        if results.shapes
        else Text(
            en="A small neural network; its reasons are approximations.",
            zh="小型神经网络；其原因解释为近似值。",
        )
    )
    factor = math.exp(min(privacy.epsilon, 50.0))
    delta = re.sub(r"e-0+", "e-", f"{privacy.delta:g}")
    many = f"{factor:,.0f}" if factor < 1e6 else f"{factor:.0e}"
    entries: list[Entry] = [
        (
            Text(en="The model", zh="模型"),
            Text(
                en=f"{what.en} It gives the probability of default within 12 months (PD), as the "
                "label defines default. Rows stayed at the institutions; only noisy sums left.",
                zh=f"{what.zh}模型给出 12 个月内的违约概率（PD），违约以标签定义为准。"
                "数据明细未离开机构，只有加噪总和离开。",
            ),
        ),
        (
            Text(en="Epsilon", zh="ε（隐私预算）"),
            Text(
                en=f"Whatever anybody infers from this run, taking part or not changes its odds "
                f"for one {unit.en} by a factor of at most e^{privacy.epsilon:g} = {many}, but "
                f"for a chance of δ = {delta}. That is a worst case over all attacks; "
                "smaller is stricter. Budgets of several runs add up in each institution's own "
                "ledger.",
                zh=f"无论外界从本次运行推断什么，{unit.zh}参与与否对其几率的影响最多为 "
                f"e^{privacy.epsilon:g} = {many} 倍，例外概率不超过 δ = {delta}。"
                "这是针对所有攻击的最坏情形；ε 越小越严格。"
                "多次运行的预算在各机构自己的台账中累计。",
            ),
        ),
        (
            Text(en="Two kinds of AUC", zh="两种 AUC"),
            Text(
                en="Those of 'Who gains' are exact: one process held all rows, as only an "
                "exercise can. Those of 'Validation' come from a noisy sum: all that the "
                "centre of a real consortium would see. They differ by the noise, and most "
                "where records are few.",
                zh="“谁受益”中的 AUC 为精确值：只有演练才能由一个进程持有全部数据。"
                "“验证”中的 AUC 来自加噪总和：真实联合体的中心只能看到它。"
                "两者相差的是噪声，样本越少相差越大。",
            ),
        ),
    ]
    if results.stress:
        entries.append(
            (
                Text(en="Stress losses", zh="压力损失"),
                Text(
                    en="What the portfolio would lose if a scenario came true, with today's "
                    "loans and no reaction of management. They are no forecasts, and no better "
                    "than the evidence that each scenario states.",
                    zh="假设情景成真、现有贷款不变且管理层不作反应时组合的损失。"
                    "并非预测，其可靠性不超过各情景所列的证据等级。",
                ),
            )
        )
    if run.synthetic:
        entries.append(
            (
                Text(en="The data", zh="数据"),
                Text(
                    en="Made up by a generator. The page shows that the method works and what it "
                    "looks like; no figure says anything about a real borrower or institution.",
                    zh="由生成器合成。本页说明方法可行及其样式；任何数值均与真实借款人或机构无关。",
                ),
            )
        )
    return tuple(entries)


def advice(results: DemoResults) -> tuple[Text, ...]:
    """Say what follows from the figures for the people who run the model."""
    return (
        *_on_calibration(results),
        *_on_institutions(results),
        *_on_budget(results),
        *_on_stress(results),
    )


def _on_calibration(results: DemoResults) -> tuple[Text, ...]:
    if results.validation is None:
        return (
            Text(
                en="No held-out validation was made: do not use the PDs before one is.",
                zh="未做留出验证：验证之前请勿使用 PD。",
            ),
        )
    found = results.validation.metrics
    slope = found.intervals.get("calibration_slope")
    level = found.intervals.get("calibration_intercept")
    if slope is None or level is None or not all(map(math.isfinite, (*slope, *level))):
        return ()
    if slope[0] <= 1 <= slope[1] and level[0] <= 0 <= level[1]:
        return (
            Text(
                en="Nothing speaks against the level of the PDs: slope 1 and intercept 0 lie in "
                "their intervals. Wide intervals ask for more held-out records before pricing.",
                zh="PD 水平未见异常：斜率 1 与截距 0 均在区间内。"
                "区间较宽时，定价前应增加留出样本。",
            ),
        )
    return (
        Text(
            en="The PDs are off: slope 1 or intercept 0 lies outside its interval. Use the score "
            "to rank, and calibrate before pricing or provisioning.",
            zh="PD 存在偏差：斜率 1 或截距 0 不在区间内。评分可用于排序，定价或计提前须先校准。",
        ),
    )


def _on_institutions(results: DemoResults) -> tuple[Text, ...]:
    rows = judged(results.institutions)
    gains = [r.gain for r in rows if r.gain is not None and r.gain.low is not None]
    worse = sum(g.high is not None and g.high < 0 for g in gains)
    open_ = sum(g.low is not None and g.high is not None and g.low <= 0 <= g.high for g in gains)
    texts = []
    if worse:
        texts.append(
            Text(
                en=f"{worse} institutions do worse than alone beyond chance: let them keep their "
                "own model, or blend the two.",
                zh=f"{worse} 家机构的表现确定低于自有模型：可保留自有模型，或两者融合。",
            )
        )
    if open_:
        texts.append(
            Text(
                en=f"{open_} institutions are undecided: their test records are too few to tell. "
                "Judge them again on more records, not on the point figure.",
                zh=f"{open_} 家机构尚无定论：测试记录太少。应以更多记录重新评估，而非依据点估计。",
            )
        )
    return tuple(texts)


def _on_budget(results: DemoResults) -> tuple[Text, ...]:
    budgets = results.privacy.budgets
    if not budgets:
        return ()
    least = min(budgets, key=lambda b: b.cap - b.spent - b.reserved)
    same = len({(b.spent, b.reserved, b.cap) for b in budgets}) == 1
    left, name = max(least.cap - least.spent - least.reserved, 0.0), both(least.name)
    if same and len(budgets) > 1:
        name = Text(en="all are alike", zh="各家相同")
    return (
        Text(
            en=f"Before training again: the tightest ledger ({name.en}) has ε {left:.2f} left of "
            f"{least.cap:.2f}. What is spent never comes back; `haihe budget` shows every ledger.",
            zh=f"再次训练之前：余额最少的台账（{name.zh}）剩余 ε {left:.2f}，上限 "
            f"{least.cap:.2f}。已用预算不会恢复；`haihe budget` 显示全部台账。",
        ),
    )


def _on_stress(results: DemoResults) -> tuple[Text, ...]:
    if results.stress is None or not results.stress.rows:
        return ()
    worst = max(results.stress.rows, key=lambda row: row.expected_loss)
    name, grade = both(worst.name), both(worst.grade)
    sure = grade.en == "verified"
    en = (
        "its size is documented."
        if sure
        else "have the size of its shocks confirmed before anything is built on the figure."
    )
    zh = "其冲击幅度有据可查。" if sure else "使用该数值之前，应先确认其冲击幅度。"
    return (
        Text(
            en=f"Worst scenario: {name.en} (evidence: {grade.en}); {en}",
            zh=f"最坏情景：{name.zh}（证据等级：{grade.zh}）；{zh}",
        ),
    )
