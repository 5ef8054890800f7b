"""Who may import whom; CONTRIBUTING.md draws the house that these tests hold up."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("haihe_fl", "clients", "server", "strategies", "consortium", "benchmarks", "configs")
PRODUCT = ("haihe_fl", "clients", "server", "strategies", "consortium")

# What a package may import of ours, itself aside.
HOUSE = {
    "haihe_fl": set(),
    "configs": set(),
    "strategies": {"haihe_fl"},
    "server": {"haihe_fl", "strategies"},
    "clients": {"haihe_fl", "strategies"},
    "consortium": {"haihe_fl", "strategies", "server", "clients"},
    "haihe_fl.cli": {"haihe_fl", "strategies", "server", "clients", "consortium"},
    "benchmarks": {"haihe_fl", "strategies", "server", "clients", "consortium"},
}

# What a room of haihe_fl may import of the others. COMMON is open to all.
COMMON = {"configuration", "errors", "i18n", "workspace"}
ROOMS: dict[str, set[str]] = {
    "data": set(),
    "privacy": set(),
    "securesum": set(),
    "evaluation": set(),
    "messages": set(),
    "evidence": set(),
    "models": {"data", "privacy", "evaluation", "messages"},
    "scorecard": {"data", "models"},
    "monitoring": {"data", "models", "evaluation", "scorecard"},
    "stress": {"data", "models", "evaluation", "scorecard", "privacy"},
    "reports": {"data", "models", "evaluation", "scorecard", "stress", "privacy"},
}

NETWORK = {
    *("flwr", "grpc", "grpc_health", "grpc_reflection", "fastapi", "starlette", "uvicorn"),
    *("mlflow", "requests", "httpx", "aiohttp", "socket", "http", "socketserver"),
}
GENERATORS = ("numpy.random", "random", "torch.random", "scipy.stats")
TORCH_DRAWS = {
    *("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"),
    *("rand_like", "randn_like", "randint_like", "manual_seed", "Generator"),
    *("normal_", "uniform_", "bernoulli_", "exponential_", "random_"),
}

LONGEST = 330


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def modules(*packages: str) -> list[Path]:
    found = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in found if "_pb2" not in path.name)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def file_of(module: str) -> Path | None:
    stem = ROOT.joinpath(*module.split("."))
    return next((p for p in (stem / "__init__.py", stem.with_suffix(".py")) if p.exists()), None)


def imports_in(node: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and full name of what a statement imports, each ``from`` name on its own."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = module.split(".")
            parts = parts[: len(parts) - node.level + is_package]
            base = ".".join([*parts, *([base] if base else [])])
        for alias in node.names:
            yield node.lineno, f"{base}.{alias.name}"
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func
        called = getattr(function, "attr", getattr(function, "id", ""))
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.lineno, node.args[0].value


def imports(path: Path) -> list[tuple[int, str]]:
    is_package = path.name == "__init__.py"
    nodes = ast.walk(tree_of(path))
    return [found for node in nodes for found in imports_in(node, name_of(path), is_package)]


def top_level_imports(path: Path) -> Iterator[str]:
    """Yield what is imported when a module is: not in functions, not for type checkers."""
    is_package = path.name == "__init__.py"
    waiting: list[ast.AST] = list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        yield from (name for _, name in imports_in(node, name_of(path), is_package))
        waiting += ast.iter_child_nodes(node)


def top(name: str) -> str:
    return name.partition(".")[0]


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "haihe_fl.cli" if parts[:2] == ("haihe_fl", "cli") else parts[0]


def faults_of_package(path: Path) -> list[str]:
    """Return the imports of a module that HOUSE forbids."""
    package = package_of(path)
    allowed = HOUSE[package] | {top(package)}
    faults = []
    for line, name in imports(path):
        target = top(name)
        into_cli = name.startswith("haihe_fl.cli") and package != "haihe_fl.cli"
        if (target in PACKAGES or target == "tests") and (target not in allowed or into_cli):
            faults.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
        if package == "haihe_fl" and (target in NETWORK or name.startswith("urllib.request")):
            faults.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    return faults


def room_of(name: str) -> str | None:
    """Return the room of a module's full name, None if it is in none."""
    parts = name.split(".")
    if parts[0] != "haihe_fl" or len(parts) < 2 or file_of(f"haihe_fl.{parts[1]}") is None:
        return None
    return parts[1]


def faults_of_room(path: Path) -> list[str]:
    """Return the imports of a module of haihe_fl that ROOMS forbids."""
    room = room_of(name_of(path))
    if room in (None, "cli"):
        return []
    allowed = COMMON if room in COMMON else COMMON | ROOMS[room] | {room}
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports(path)
        if room_of(name) not in {None, *allowed}
    ]


def faults_of_generators(path: Path) -> list[str]:
    """Return where a module uses a generator that is not made for masks or privacy noise."""
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports(path)
        if any(f"{name}.".startswith(f"{generator}.") for generator in GENERATORS)
    ]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute):
            written = ast.unparse(node)
            numpy = written.startswith(("np.random", "numpy.random"))
            torch = written.startswith("torch.") and node.attr in TORCH_DRAWS
            if numpy or torch or (node.attr in TORCH_DRAWS and node.attr.endswith("_")):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} uses {written}")
    return found


def test_packages_import_only_what_stands_below_them() -> None:
    faults = [fault for path in modules(*PACKAGES) for fault in faults_of_package(path)]
    assert not faults, "\n".join(faults)


def test_rooms_import_only_what_their_table_allows() -> None:
    rooms = {p.name for p in (ROOT / "haihe_fl").iterdir() if (p / "__init__.py").exists()}
    assert rooms - {"cli"} <= set(ROOMS), "say in ROOMS what the new room may import"
    faults = [fault for path in modules("haihe_fl") for fault in faults_of_room(path)]
    assert not faults, "\n".join(faults)


def test_the_table_of_rooms_has_no_circle() -> None:
    placed: set[str] = set()
    while open_rooms := {room for room in ROOMS if room not in placed and ROOMS[room] <= placed}:
        placed |= open_rooms
    assert placed == set(ROOMS)


def test_noise_and_masks_come_from_no_general_generator() -> None:
    where = ("haihe_fl/privacy", "haihe_fl/securesum", "clients", "strategies")
    faults = [fault for path in modules(*where) for fault in faults_of_generators(path)]
    assert not faults, "\n".join(faults)


def test_the_courier_reaches_neither_torch_nor_pandas() -> None:
    seen: dict[str, str] = {}
    waiting = [("clients.courier", "")]
    while waiting:
        name, by = waiting.pop()
        if name in seen:
            continue
        seen[name] = by
        path = file_of(name)
        if path is not None and top(name) in PACKAGES:
            parents = name.split(".")[:-1]
            waiting += [(".".join(parents[: i + 1]), name) for i in range(len(parents))]
            waiting += [(target, name) for target in top_level_imports(path)]
            waiting += [(target.rpartition(".")[0], name) for target in top_level_imports(path)]
    heavy = {n: by for n, by in seen.items() if top(n) in ("torch", "pandas", "opacus", "mlflow")}
    assert not heavy, heavy
    assert "haihe_fl.messages.codec" in seen  # it does follow


def test_a_process_that_loads_the_courier_holds_neither_torch_nor_pandas() -> None:
    code = "import sys, clients.courier; print(*{'torch', 'pandas'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_every_package_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(*PACKAGES)
        if path.name == "__init__.py" and not ast.get_docstring(tree_of(path))
    ]
    assert not silent, silent
    bare = [
        str(path.parent.relative_to(ROOT))
        for path in modules(*PACKAGES)
        if not (path.parent / "__init__.py").exists()
    ]
    assert not bare, f"no __init__.py in {bare}"


def test_modules_stay_readable() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in modules(*PRODUCT)
    }
    long = {name: n for name, n in lengths.items() if n > LONGEST}
    assert not long, f"divide {long}"


def in_tree(folder: Path, name: str, source: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("haihe_fl/data/a.py", "import flwr.app"),
        ("haihe_fl/data/a.py", "def f():\n    from server import registry"),
        ("haihe_fl/models/a.py", "import importlib\nimportlib.import_module('clients.agent')"),
        ("clients/a.py", "from consortium import grid"),
        ("clients/a.py", "from server.registry import load_model"),
        ("server/a.py", "import clients"),
        ("strategies/a.py", "from clients import courier"),
        ("server/a.py", "from haihe_fl.cli import console"),
        ("benchmarks/a.py", "from haihe_fl import cli"),
    ],
)
def test_a_forbidden_import_is_seen(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert faults_of_package(in_tree(tmp_path, name, source))


@pytest.mark.parametrize(
    "source",
    [
        "from haihe_fl.privacy import noise",
        "from haihe_fl import privacy",
        "from ..privacy import noise",
        "from .. import privacy",
    ],
)
def test_a_forbidden_room_is_seen(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for room in ("privacy", "data", "models"):
        in_tree(tmp_path, f"haihe_fl/{room}/__init__.py", "")
    assert faults_of_room(in_tree(tmp_path, "haihe_fl/data/a.py", source))
    assert not faults_of_room(in_tree(tmp_path, "haihe_fl/models/a.py", source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.random.default_rng(0)",
        "from numpy.random import default_rng",
        "import numpy.random",
        "import random",
        "import torch\ntorch.randn(3)",
        "def f(x):\n    x.normal_()",
    ],
)
def test_a_general_generator_is_seen(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert faults_of_generators(in_tree(tmp_path, "clients/a.py", source))


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
