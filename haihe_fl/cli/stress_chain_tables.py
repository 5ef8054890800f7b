"""How ``haihe stress`` prints the chain, and two models side by side."""

from collections.abc import Sequence
from typing import Any

from haihe_fl.cli.console import Column, out, show_table
from haihe_fl.i18n import tr
from haihe_fl.stress.chain_results import CapitalFigures, ChainResult, ContagionFigures


def money(value: float) -> str:
    """Return an amount in units of CNY 100 million."""
    return f"{value / 1e8:,.2f}"


def part_names() -> dict[str, str]:
    """Return the names of the waterfall's steps."""
    return {
        "start": tr("start", "期初"),
        "ppnr": tr("revenue", "拨备前利润"),
        "first_round": tr("first round", "首轮损失"),
        "lgd_downturn": tr("LGD downturn", "LGD 下行"),
        "contagion": tr("contagion", "传染"),
        "pool_relief": tr("pool relief", "保险池赔付"),
        "rwa": tr("RWA", "RWA 变动"),
        "end": tr("end", "期末"),
    }


def show_chain(chain: ChainResult) -> None:
    """Print one result of the chain."""
    yi = tr("CNY 100m", "亿元")
    lines: list[tuple[str, str]] = [
        (
            tr("expected loss with contagion", "含传染的预期损失") + f" ({yi})",
            money(sum(chain.expected)),
        )
    ]
    if chain.losses is not None:
        tail = chain.losses.network
        count = chain.losses.draws
        lines += [
            (tr(f"mean of {count:,} draws", f"{count:,} 次抽样均值"), money(tail.mean)),
            (tr("99 %: value at risk; shortfall", "99%:VaR;ES"),
             f"{money(tail.var99)}; {money(tail.es99)}"),
            (tr("99.9 %: value at risk; shortfall", "99.9%:VaR;ES"),
             f"{money(tail.var999)}; {money(tail.es999)}"),
        ]  # fmt: skip
    if chain.contagion is not None:
        lines += _contagion(chain.contagion)
    if chain.pool is not None:
        pool = chain.pool
        when = f"Q{pool.exhausted_quarter}" if pool.exhausted_quarter else tr("never", "未耗尽")
        lines += [
            (tr("pool: pays", "保险池赔付"), money(pool.paid)),
            (tr("rest: bank, guarantors, government", "其余:银行、担保、政府"),
             ", ".join(money(x) for x in (pool.bank, pool.guarantor, pool.government))),
            (tr("pool empty, expected path", "预期路径下耗尽"), when),
        ]  # fmt: skip
        if pool.exhausted_by is not None:
            lines.append(
                (tr("pool empty, share of draws", "耗尽概率"), f"{pool.exhausted_by[-1]:.1%}")
            )
    if chain.capital is not None:
        whole = chain.capital.network
        lines += [
            (tr("CET1 ratio: start, lowest, end", "核心一级资本充足率:期初、最低、期末"),
             f"{whole.ratio[0]:.2%}, {min(whole.ratio):.2%}, {whole.ratio[-1]:.2%}"),
            (tr("profit before tax; tax", "税前利润;税"),
             f"{money(whole.profit)}; {money(whole.tax)}"),
        ]  # fmt: skip
    show_table(
        tr("The chain", "完整链条") + f", {tr('run', '运行编号')} {chain.run_id}",
        (Column(""), Column("", right=True)),
        lines,
    )
    if chain.capital is not None:
        _show_capital(chain.capital)
    for note in chain.notes:
        out.print(str(note), markup=False)


def _contagion(found: ContagionFigures) -> list[tuple[str, str]]:
    error = f" ± {found.uplift_se:.1%}" if found.uplift_se is not None else ""
    return [
        (tr(f"contagion adds ({found.draws} draws)", f"传染增加损失({found.draws} 次抽样)"),
         f"{found.uplift:.1%}{error}"),
        (tr("enterprises: drawn, felled", "企业:自身违约、被传染"),
         f"{found.drawn:,.0f}, {found.fallen:,.0f}"),
        (tr("guarantees: called, paid", "担保:被要求、已支付"),
         f"{money(found.called)}, {money(found.paid)}"),
    ]  # fmt: skip


def _show_capital(capital: CapitalFigures) -> None:
    names = part_names()
    show_table(
        tr("CET1 ratio of all together, in points", "全体核心一级资本充足率(百分点)"),
        (Column(tr("step", "步骤")), Column(tr("points", "百分点"), right=True)),
        [(names[part], f"{100 * v:+.2f}") for part, v in capital.network.waterfall.items()],
    )
    show_table(
        tr("CET1 ratio by institution", "各机构核心一级资本充足率"),
        (
            Column(tr("institution", "机构")),
            *(
                Column(h, right=True)
                for h in (
                    tr("start", "期初"),
                    tr("end", "期末"),
                    tr("lowest", "最低"),
                    tr("below", "跌破"),
                    tr("of draws", "抽样占比"),
                )
            ),
        ),
        [
            (
                name,
                f"{row.waterfall['start']:.2%}",
                f"{row.waterfall['end']:.2%}",
                f"{min(row.ratio):.2%}",
                f"Q{row.breach}" if row.breach else "–",
                "–" if row.breach_probability is None else f"{row.breach_probability:.0%}",
            )
            for name, row in capital.institutions.items()
        ],
    )
    out.print(
        tr(
            f"Below: first quarter under the minimum of {capital.minimum:.1%}, and the share of "
            "draws in which that happens. Opening balance sheets: ",
            f"跌破:首个低于下限 {capital.minimum:.1%} 的季度,及其抽样占比。期初资产负债:",
        )
        + capital.evidence,
        markup=False,
    )


def show_chains(chains: Sequence[ChainResult]) -> None:
    """Print one line a scenario."""
    lines = []
    for c in sorted(chains, key=lambda c: -sum(c.expected)):
        lines.append(
            (
                tr(c.stress["name"]["en"], c.stress["name"]["zh"]),
                money(sum(c.expected)),
                f"{c.contagion.uplift:.1%}" if c.contagion else "–",
                money(c.losses.network.var999) if c.losses else "–",
                (f"Q{c.pool.exhausted_quarter}" if c.pool.exhausted_quarter else "–")
                if c.pool
                else "–",
                f"{min(c.capital.network.ratio):.2%}" if c.capital else "–",
                f"{c.capital.network.ratio[-1]:.2%}" if c.capital else "–",
                c.run_id,
            )
        )
    heads = (
        tr("expected loss", "预期损失"),
        tr("contagion", "传染"),
        tr("99.9 % loss", "99.9% 损失"),
        tr("pool empty", "保险池耗尽"),
        tr("lowest CET1", "最低 CET1"),
        tr("CET1 at end", "期末 CET1"),
    )
    show_table(
        tr("The chain, CNY 100m", "完整链条(亿元)"),
        (
            Column(tr("scenario", "情景")),
            *(Column(h, right=True) for h in heads),
            Column(tr("run id", "运行编号")),
        ),
        lines,
    )
    for note in chains[0].notes:
        out.print(str(note), markup=False)


def show_models(rows: Sequence[dict[str, Any]]) -> None:
    """Print what changes from one stored run to the other."""
    a, b = rows[0]["models"]

    def pair(values: Sequence[float], form: str) -> str:
        return " → ".join(format(v, form) for v in values)

    show_table(
        tr(f"From A ({a}) to B ({b}), CNY 100m", f"由 A({a})到 B({b}),亿元"),
        (
            Column(tr("scenario", "情景")),
            Column(tr("PD at start", "期初 PD"), right=True),
            Column(tr("expected loss", "预期损失"), right=True),
            Column(tr("change", "变化"), right=True),
            Column(tr("allowance built", "拨备增加"), right=True),
            Column(tr("CET1 at end", "期末 CET1"), right=True),
            Column(tr("moves most", "变动最大的机构")),
        ),
        [
            (
                tr(r["name"]["en"], r["name"]["zh"]),
                pair(r["pd_start"], ".2%"),
                " → ".join(money(v) for v in r["expected_loss"]),
                f"{r['loss_change'] / 1e8:+,.2f}",
                " → ".join(money(v) for v in r["ecl_change"]),
                pair(r["cet1_end"], ".2%") if r["cet1_end"] else "–",
                f"{r['most_moved']} ({r['most_moved_change'] / 1e8:+,.2f})",
            )
            for r in rows
        ],
    )
