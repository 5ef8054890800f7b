"""Invented results of a demo run, for looking at the report and for its tests."""

import numpy as np

from haihe_fl.evaluation.histogram import (
    ScoreHistogram,
    histogram,
    histogram_calibration,
    histogram_metrics,
)
from haihe_fl.i18n import Text
from haihe_fl.reports import charts
from haihe_fl.reports.results import (
    BudgetLine,
    Command,
    Comparison,
    DemoResults,
    Estimate,
    ExampleBorrower,
    FeatureShape,
    InstitutionResult,
    PairShape,
    PrivacyResult,
    ReasonLine,
    RunFacts,
    StressResult,
    StressRow,
    Tick,
    ValidationResult,
)

NAMES = [
    ("Jinmen City Commercial Bank", "津门城市商业银行", "City commercial bank", "城市商业银行"),
    ("Haihe Rural Commercial Bank", "海河农村商业银行", "Rural commercial bank", "农村商业银行"),
    ("Binhai Joint-stock Bank", "滨海股份制银行", "Joint-stock bank", "股份制银行"),
    ("Dagu SME Guarantee", "大沽中小企业融资担保公司", "Government guarantor", "政府性担保机构"),
    ("Beichen Micro-lending", "北辰小额贷款公司", "Micro-lender", "小额贷款公司"),
    ("Port Leasing", "港口金融租赁", "Financial leasing", "金融租赁公司"),
]
FEATURES = [
    ("Cash-flow cover", "现金流覆盖倍数"), ("Debt to assets", "资产负债率"),
    ("VAT sales, yoy", "增值税销售额同比"), ("Social-security gap, months", "社保欠缴月数"),
    ("Tax grade", "纳税信用等级"), ("Days past due, 12 months", "近12个月最长逾期天数"),
    ("Electricity use, yoy", "用电量同比"), ("Guarantees given / net worth", "对外担保/净资产"),
    ("Lawsuits as defendant", "被诉案件数"), ("Top buyer's share", "第一大客户占比"),
    ("R&D / sales", "研发投入强度"), ("Receivable days", "应收账款周转天数"),
    ("Age of the enterprise", "成立年限"),
]  # fmt: skip
SCENARIOS = [
    ("Global financial crisis replay", "全球金融危机重演", "Macro cycle", "宏观周期"),
    ("Lockdown, V-shaped", "疫情停摆V型冲击", "Macro cycle", "宏观周期"),
    ("Tariff war escalates", "关税战升级", "Trade", "贸易"),
    ("Port explosion stops the port", "天津港爆炸式停摆", "Trade", "贸易"),
    ("Core enterprise bills overdue", "核心企业商票逾期", "Supply chain", "供应链"),
    ("Haihe basin flood", "海河流域特大洪水", "Climate", "气候"),
    ("Guarantee-ring cascade", "担保圈连环代偿", "Financial network", "金融网络"),
]


def fake_validation(seed=0):
    rng = np.random.default_rng(seed)
    score = rng.normal(-2.9, 1.1, 9000)
    label = rng.random(9000) < 1 / (1 + np.exp(-score))
    exact = histogram(label, score, np.linspace(-8, 4.4, 63))
    h = ScoreHistogram(
        exact.edges,
        exact.good + rng.normal(0, 1.4, 64),
        exact.bad + rng.normal(0, 1.4, 64),
        1.4,
    )
    return ValidationResult(histogram_metrics(h, draws=200), histogram_calibration(h), 1.4, 3.0)


def fake_stress():
    # An image and a colour bar, as the stress charts have them.
    def draw(figure, language):
        figure.set_layout_engine("constrained")
        ax = figure.subplots()
        names = [s[1] if language == "zh" else s[0] for s in SCENARIOS]
        grid = np.random.default_rng(1).uniform(1, 3, (len(names), 12))
        image = ax.imshow(grid, aspect="auto", cmap="YlOrRd")
        ax.set_yticks(range(len(names)), names)
        figure.colorbar(image, ax=ax, shrink=0.6)

    heat = charts.in_both(9, 3.2, draw)
    rows = tuple(
        StressRow(
            name=Text(en=en, zh=zh),
            family=Text(en=f_en, zh=f_zh),
            sigma=-1.1 - 0.3 * i,
            grade=Text(en="expert", zh="专家") if i % 2 else Text(en="verified", zh="已核实"),
            expected_loss=3.1e8 * (1 + i / 3),
            ecl=4.4e8 * (1 + i / 3),
            loss_999=9.9e8 * (1 + i / 3),
            baseline_loss=2.2e8,
            loss_rate=0.031 * (1 + i / 3),
            note=Text(en="Cells are lost.", zh="数据缺失。") if i == 6 else "",
        )
        for i, (en, zh, f_en, f_zh) in enumerate(SCENARIOS)
    )
    loss = charts.svg(7.6, 2.2, lambda f, _: charts.axes(f, 1, 0.5, 0.1, 0.1).plot([1, 2]), "en")
    note = Text(en="PDs come from model v1; no policy overlay.", zh="PD 来自模型 v1；未叠加政策。")
    return StressResult(rows, heat, loss, note)


def fake_shapes(rng):
    shapes = []
    for i, (en, zh) in enumerate(FEATURES):
        text, weight = Text(en=en, zh=zh), 0.6 / (1 + 0.25 * i)
        if en == "Tax grade":
            shapes.append(
                FeatureShape(text, weight, (-0.4, -0.1, 0.1, 0.5, 0.9), None, tuple("ABMCD"), 0.2)
            )
            continue
        steps = np.cumsum(rng.normal(0, 0.08, 24)) + np.linspace(-1, 1, 24) * weight
        edges = tuple(np.sort(rng.gamma(1.2, 40 if i % 2 else 2000, 23)).tolist())
        shapes.append(FeatureShape(text, weight, tuple(steps.tolist()), edges, None, 0.3))
    return tuple(shapes)


def fake_results(institutions=6, **changes):
    rng = np.random.default_rng(4)
    rows = []
    for i, (en, zh, k_en, k_zh) in enumerate(NAMES[:institutions]):
        local, gain = 0.742 + 0.008 * i, 0.041 - 0.0105 * i
        half = 0.012 + 0.004 * i
        fed = local + gain
        rows.append(
            InstitutionResult(
                name=Text(en=en, zh=zh),
                kind=Text(en=k_en, zh=k_zh),
                records=9000 - 1300 * i,
                test_records=1800 - 260 * i,
                default_rate=0.041 + 0.012 * i,
                federated=Estimate(fed, fed - half, fed + half),
                local=Estimate(local, local - half, local + half),
                gain=Estimate(gain, gain - 0.7 * half, gain + 0.7 * half),
            )
        )
    pairs = tuple(
        PairShape(
            x=Text(en=FEATURES[i][0], zh=FEATURES[i][1]),
            y=Text(en=FEATURES[i + 1][0], zh=FEATURES[i + 1][1]),
            importance=0.1 - 0.02 * i,
            values=tuple(map(tuple, rng.normal(0, 0.1, (7, 7)).round(3).tolist())),
            x_ticks=(Tick(0.5, Text(en="NA", zh="缺失")), Tick(2.0, "0.2"), Tick(5.0, "1.4")),
            y_ticks=tuple(Tick(k + 0.5, Text(en=f"kind {k}", zh=f"类别{k}")) for k in range(7)),
        )
        for i in range(4)
    )
    reasons = (
        ReasonLine(Text(en="Social security unpaid for 3 months", zh="社保欠缴 3 个月"), 21.4),
        ReasonLine(Text(en="Debt to assets 84 %", zh="资产负债率 84%"), 14.2),
        ReasonLine(Text(en="R&D / sales 6 %", zh="研发投入强度 6%"), -3.5),
    )
    stages = ["quantiles", "counts", *(f"main/{i:02}" for i in range(15)), "screen"]
    stages += [f"joint/{i:02}" for i in range(15)]
    values = {
        "run": RunFacts(
            run_id="demo-20240901-7f3a",
            started="2024-09-01 10:12 +08:00",
            minutes=4.6,
            mode=Text(en="in process, 6 institutions", zh="单进程，6 家机构"),
            secure=True,
            seed=20240901,
            data=Text(en="Synthetic Tianjin consortium, seed 7", zh="合成天津联合体，种子 7"),
            synthetic=True,
            records=42_500,
            features=38,
            releases=33,
            bytes_per_institution=214_300,
            model_version="v1",
            model_family=Text(en="additive with pairs", zh="可加模型（含交互）"),
            model_fingerprint="9f1c2ab47d5e" * 5 + "abcd",
        ),
        "institutions": tuple(rows),
        "comparison": Comparison(Estimate(0.7871, 0.7788, 0.7954), Estimate(0.7993, 0.791, 0.807)),
        "privacy": PrivacyResult(
            epsilon=3.0,
            delta=1e-5,
            borrower_epsilon={2: 6.7, 3: 11.0},
            budgets=tuple(
                BudgetLine(r.name, 3.0, 0.0 if i % 2 else 1.5, 8.0 if i != 2 else 5.0)
                for i, r in enumerate(rows)
            ),
        ),
        "validation": fake_validation(),
        "trace": tuple(
            {"release": i + 1.0, "noise_sd": 40.0 + 30 * (i > 17), "step": 2.0 * 0.9**i}
            for i in range(len(stages))
        ),
        "stages": tuple(stages),
        "shapes": fake_shapes(rng),
        "pairs": pairs,
        "examples": tuple(
            ExampleBorrower(
                Text(en=f"Workshop {c}, Jinnan", zh=f"津南某加工厂 {c}"), 0.083, reasons, 512, 0.071
            )
            for c in "AB"
        ),
        "stress": fake_stress(),
        "commands": (
            Command(
                Text(en="Score a file", zh="为文件评分"), "haihe score borrowers.csv --model v1"
            ),
            Command(Text(en="Run one scenario", zh="运行一个情景"), "haihe stress run gfc-replay"),
        ),
        "reproducibility": (
            (Text(en="Config hash", zh="配置哈希"), "c0ffee" * 10),
            (Text(en="Versions", zh="版本"), "haihe-fl 0.1.0, numpy 2.4.6"),
        ),
    }
    return DemoResults(**{**values, **changes})
