"""A consortium in one process: the same strategies, courier and agents, no sockets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clients.agent import NodeAgent
from clients.courier import build_app
from clients.node import fixed_noise, load_or_create_ca, prepare_node
from clients.policy import NodePolicy
from consortium.grid import InProcessGrid
from haihe_fl.data.cohort import Cohort
from haihe_fl.securesum.keys import Identity
from haihe_fl.stress.panels import PanelCounts


@dataclass(frozen=True)
class InProcessConsortium:
    """Agents by institution, and the grid that reaches them.

    Examples
    --------
    See ``consortium.local`` for the same over a network.
    """

    agents: dict[str, NodeAgent]
    grid: InProcessGrid

    @classmethod
    def open(
        cls,
        folder: Path,
        cohorts: dict[str, Cohort],
        policy: NodePolicy | None = None,
        noise_seed: str | None = None,
        panels: Mapping[str, PanelCounts] | None = None,
    ) -> "InProcessConsortium":
        """Open one agent an institution; identities and ledgers in ``folder`` are kept.

        Parameters
        ----------
        folder : Path
            Holds ``ca`` and one folder a node.
        cohorts : dict of str to Cohort
            Rows by institution.
        policy : NodePolicy, optional
            The same for all; the defaults if left out.
        noise_seed : str, optional
            Fixes the noise, for tests only.
        panels : mapping of str to PanelCounts, optional
            Quarterly panels, by institution.
        """
        ca = load_or_create_ca(folder / "ca", "Haihe consortium")
        limits = policy or NodePolicy()
        agents = {}
        for name, cohort in cohorts.items():
            node = folder / "nodes" / name
            known = (node / "identity.pem").exists()
            identity = Identity.load(node) if known else ca.issue(name)
            prepare_node(node, identity, ca.certificate, limits)
            agents[name] = NodeAgent(
                identity,
                ca.certificate,
                partial(_same, cohort),
                cohort.catalogue.fingerprint,
                limits,
                node,
                noise=None if noise_seed is None else fixed_noise(noise_seed, name),
                panel=(panels or {}).get(name),
            )
        app = build_app(connect=lambda context: agents[str(context.node_config["institution"])])
        grid = InProcessGrid(app, {name: {"institution": name} for name in agents})
        return cls(agents, grid)

    def close(self) -> None:
        """Release every node's files."""
        for agent in self.agents.values():
            agent.close()


def _same(cohort: Cohort) -> Cohort:
    return cohort
