"""Node folders for a consortium on one machine, as an institution would prepare its own."""

from pathlib import Path

import numpy as np

from clients.node import NodeConfig, load_or_create_ca, prepare_node
from clients.policy import NodePolicy
from haihe_fl.data.cohort import Cohort
from haihe_fl.data.synth import Consortium
from haihe_fl.errors import UserError
from haihe_fl.securesum.keys import Identity


def largest(cohort: Cohort, count: int) -> list[str]:
    """Return the institutions with most records, by name.

    Raises
    ------
    UserError
        H2304 if there are not so many.
    """
    names, sizes = np.unique(cohort.institution, return_counts=True)
    if len(names) < count:
        raise UserError(
            "H2304",
            en=f"the data hold {len(names)} institutions, not {count}; ask for fewer, or partition "
            "them in the mapping",
            zh=f"数据中只有 {len(names)} 家机构,不足 {count} 家;请减少数量或在映射中划分",
        )
    order = np.argsort(-sizes, kind="stable")[:count]
    return sorted(str(name) for name in names[order])


def prepare_nodes(
    folder: Path,
    cohort: Cohort,
    made: Consortium | None,
    count: int,
    data: Path | None,
    mapping: Path | None,
) -> dict[str, Path]:
    """Write one node folder an institution, with keys, policy and a file of its own rows.

    Parameters
    ----------
    folder : Path
        Holds ``ca`` and ``nodes``.
    cohort : Cohort
        All rows.
    made : Consortium, optional
        The synthetic consortium; else ``data`` and ``mapping`` name the rows.
    count : int
        How many institutions; the largest.
    """
    chosen = largest(cohort, count)
    ca = load_or_create_ca(folder / "ca", "Haihe consortium")
    if made is not None:
        made.save(folder / "data")
    nodes = {}
    for name in chosen:
        node = folder / "nodes" / name
        if made is not None:
            config = NodeConfig(
                data=folder / "data" / "institutions" / f"{name}.parquet",
                mapping=folder / "data" / "mapping.yaml",
            )
        else:
            assert data is not None and mapping is not None
            config = NodeConfig(data=data.resolve(), mapping=mapping.resolve(), institution=name)
        identity = Identity.load(node) if (node / "identity.pem").exists() else ca.issue(name)
        nodes[name] = prepare_node(node, identity, ca.certificate, NodePolicy(), config)
    return nodes
