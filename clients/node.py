"""A node's folder: what an institution prepares once, and how the agent is opened from it.

::

    node.yaml        data file, mapping, quarterly panel
    policy.yaml      the institution's own limits
    identity.key     signing key (0600), and identity.pem, its certificate
    ca.pem           the consortium's authority
    ledger.db        privacy ledger, with ledger.db.head beside it
    store.db         open runs
    decisions.db     what was revealed
"""

import hashlib
import os
import tempfile
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from clients.agent import NodeAgent
from clients.policy import NodePolicy, load_policy
from haihe_fl.data.mapping import load_mapping
from haihe_fl.data.readers import read_cohort
from haihe_fl.errors import UserError
from haihe_fl.privacy.noise import NoiseSource
from haihe_fl.securesum.keys import ConsortiumCA, Identity

UNSAFE_SEED = "HAIHE_UNSAFE_NOISE_SEED"
"""Environment variable that fixes the noise. For tests: nothing is private then."""


class NodeConfig(BaseModel):
    """Where a node finds its rows; paths are relative to the folder.

    ``institution`` keeps only the rows of that institution, where a file holds several.
    ``panel`` is the quarterly panel by which the satellite is estimated
    (`haihe_fl.stress.panelfile`); without it the node takes no part in that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path
    mapping: Path
    institution: str | None = None
    panel: Path | None = None


def prepare_node(
    folder: Path,
    identity: Identity,
    ca_pem: bytes,
    policy: NodePolicy,
    config: NodeConfig | None = None,
) -> Path:
    """Write a node's folder; an identity that is there already stays."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "identity.pem").exists():
        identity.save(folder)
    (folder / "ca.pem").write_bytes(ca_pem)
    (folder / "policy.yaml").write_text(
        yaml.safe_dump(policy.model_dump(mode="json"), allow_unicode=True, sort_keys=False),
        encoding="utf-8",
    )
    if config is not None:
        (folder / "node.yaml").write_text(
            yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), allow_unicode=True),
            encoding="utf-8",
        )
    return folder


def open_node(folder: Path) -> NodeAgent:
    """Open the agent of a prepared folder; the rows are read now.

    Raises
    ------
    UserError
        H2303 if ``node.yaml`` is missing or wrong; those of policy, mapping, data and panel.
    """
    path = folder / "node.yaml"
    try:
        config = NodeConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise UserError(
            "H2303",
            en=f"{path} must name data and mapping: {error}",
            zh=f"{path} 必须写明 data 和 mapping:{error}",
        ) from None
    mapping = load_mapping(folder / config.mapping)
    cohort = read_cohort(folder / config.data, mapping)
    if config.institution is not None:
        cohort = cohort.take(cohort.institution == config.institution)
    panel = None
    if config.panel is not None:
        from haihe_fl.stress.panelfile import read_panel

        panel = read_panel(folder / config.panel)
    seed = os.environ.get(UNSAFE_SEED)
    identity = Identity.load(folder)
    return NodeAgent(
        identity,
        (folder / "ca.pem").read_bytes(),
        lambda: cohort,
        cohort.catalogue.fingerprint,
        load_policy(folder / "policy.yaml"),
        folder,
        noise=None if seed is None else fixed_noise(seed, identity.name),
        panel=panel,
    )


def fixed_noise(seed: str, institution: str) -> NoiseSource:
    """Return a noise source that can be reproduced, for tests only."""
    return NoiseSource(hashlib.sha256(f"{seed}|{institution}".encode()).digest())


def load_or_create_ca(folder: Path, name: str) -> ConsortiumCA:
    """Return the consortium's authority kept in a folder, made at first use."""
    if (folder / "ca.key").exists():
        return ConsortiumCA.load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ca = ConsortiumCA.create(name)
    ca.save(folder)
    return ca


def socket_path(folder: Path) -> Path:
    """Return the agent's socket: in a private folder with a short name, as sockets need."""
    private = Path(tempfile.gettempdir()) / f"haihe-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    if private.stat().st_uid != os.getuid() or private.stat().st_mode & 0o077:
        raise PermissionError(f"{private} must belong to this user alone (mode 0700)")
    return private / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.sock"
