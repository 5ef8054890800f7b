"""The largest called guarantees of one draw, without names, for a drawing."""

import numpy as np

from haihe_fl.stress.chain_results import Edge, Node, Picture
from haihe_fl.stress.spillover import Enterprises

MOST_EDGES = 60


def picture(enterprises: Enterprises, draw: int, most: int = MOST_EDGES) -> Picture:
    """Return the guarantees that were called for the most, and who stood at their ends.

    Parameters
    ----------
    enterprises : Enterprises
        Loans and network under a scenario.
    draw : int
        Number of the draw.
    most : int
        Edges at most; those whose guarantor failed come first, then the largest.
    """
    one = enterprises.draw(draw)
    links = enterprises.network.guarantees.tocoo()
    down = one.failed | one.fell
    called = down[links.row] & (one.called[links.col] > 0) & (links.data > 0)
    rows, columns, amounts = links.row[called], links.col[called], links.data[called]
    order = np.lexsort((-amounts, ~one.fell[columns]))[:most]
    rows, columns, amounts = rows[order], columns[order], amounts[order]
    who = np.unique(np.concatenate([rows, columns])) if len(order) else np.zeros(0, np.int64)
    sector = np.full(len(enterprises.network), -1)
    sector[enterprises.nodes] = enterprises.portfolio.sector
    names = enterprises.portfolio.sectors
    nodes = [
        Node(
            sector=names[sector[i]] if sector[i] >= 0 else "",
            state="drawn" if one.failed[i] else "felled" if one.fell[i] else "called",
        )
        for i in who
    ]
    ends = np.searchsorted(who, rows), np.searchsorted(who, columns)
    edges = [
        Edge(borrower=int(b), guarantor=int(g), amount=float(a))
        for b, g, a in zip(*ends, amounts, strict=True)
    ]
    return Picture(draw=draw, nodes=nodes, edges=edges)
