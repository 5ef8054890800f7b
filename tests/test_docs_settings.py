"""The guides name every setting, with its default."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import BaseModel

from clients.node import UNSAFE_SEED, NodeConfig
from clients.policy import NodePolicy
from haihe_fl.models.additive import AdditiveConfig
from haihe_fl.models.neural.settings import NeuralSettings
from haihe_fl.privacy.gaussian import Budget, epsilon_for, mu_for
from haihe_fl.privacy.noise import Quorum

DOCS = Path(__file__).resolve().parents[1] / "docs"
ADDITIVE = {f.name: f.default for f in fields(AdditiveConfig)}


def defaults(model: type[BaseModel]) -> dict[str, object]:
    return {name: field.default for name, field in model.model_fields.items()}


def table(document: str) -> dict[str, str]:
    """Return the rows of a document's tables: first cell in code marks, second cell."""
    text = (DOCS / document).read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \|", text, re.MULTILINE))


def same(shown: str, default: object) -> bool:
    if isinstance(default, bool):
        return shown.strip() == str(default).lower()
    if isinstance(default, tuple):
        return re.findall(r"\w+", shown) == [str(v) for v in default]
    if isinstance(default, str):
        return shown.strip() == default
    return float(ast.literal_eval(shown.strip())) == default


@pytest.mark.parametrize(
    ("document", "settings"),
    [
        ("training.md", ADDITIVE),
        ("training.md", defaults(NeuralSettings)),
        ("node.md", defaults(NodePolicy)),
    ],
)
def test_every_setting_stands_with_its_default(document, settings):
    rows = table(document)
    assert set(settings) <= set(rows)
    wrong = {k: rows[k] for k, v in settings.items() if not same(rows[k], v)}
    assert wrong == {}


def test_the_node_guide_names_its_files_keys_and_the_variable():
    text = (DOCS / "node.md").read_text(encoding="utf-8")
    assert set(NodeConfig.model_fields) <= set(table("node.md"))
    names = ("node.yaml", "policy.yaml", "identity.key", "ca.pem", "ledger.db", "store.db")
    assert all(name in text for name in (*names, "decisions.db", UNSAFE_SEED))


def test_the_training_guide_names_every_option():
    import typer.main

    from haihe_fl.cli.app import build

    command = typer.main.get_group(build()).commands["train"]
    options = {o for p in command.params for o in p.opts if o.startswith("--")}
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    assert {o for o in options if o != "--help" and f"`{o}" not in text} == set()


def test_the_figures_of_the_privacy_guide_are_computed():
    text = (DOCS / "privacy.md").read_text(encoding="utf-8")
    for epsilon in (1, 3):
        cells = [f"{Budget(epsilon, 1e-5).for_borrower(k).epsilon:.2f}" for k in (1, 2, 3)]
        assert f"| epsilon {epsilon} | {' | '.join(cells)} |" in text
    for runs in (2, 3, 4, 5):
        assert f"{epsilon_for(mu_for(3, 1e-5) * runs**0.5, 1e-5):.2f} ({runs})" in text
    for parties in (3, 5, 10, 23, 100):
        q = Quorum.default(parties)
        left = 2 * q.minimum - q.parties - q.colluders
        worse = epsilon_for(mu_for(3, 1e-5) * (q.noise_parties / left) ** 0.5, 1e-5)
        cells = (parties, q.minimum, q.colluders, q.noise_parties, left, f"{worse:.2f}")
        assert f"| {' | '.join(map(str, cells))} |" in text
