"""What is installed, what is shipped, and what must not be in the tree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("haihe_fl", "clients", "server", "strategies", "consortium", "configs")
TOP_LEVEL = (
    *("haihe_fl", "clients", "server", "strategies", "configs", "notebooks", "benchmarks"),
    *("tests", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
)
DATA = {".yaml", ".yml", ".proto", ".pyi", ".html", ".j2", ".css"}

PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z]+\])?==(?P<version>[0-9][0-9A-Za-z.]*)")
A_PERSONS_PATH = re.compile(r"(?<![\w.)}])/(?:work|root|home|Users|mnt)/\w")
REGISTRY = re.compile(
    r"https?://[^\s\"']*(?:py[p]i|pythonhosted|pytorch\.org/whl|anaconda|npm[j]s)|index[-_]url"
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(requirements: list[str]) -> dict[str, str]:
    """Return version by normalised name; fails for whatever is not one exact pin."""
    found = {}
    for requirement in requirements:
        match = PIN.fullmatch(requirement)
        assert match is not None, f"{requirement} is no exact pin"
        found[normal(match["name"])] = match["version"]
    return found


@cache
def project() -> dict[str, list[str]]:
    """Return the requirements of pyproject.toml by group; the product's own under ``""``."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {"": told["dependencies"], **told["optional-dependencies"]}


@cache
def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


@cache
def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nobody can say which files are tracked")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def third_party(*folders: str) -> dict[str, str]:
    """Return the top-level packages that are imported and not ours, with one place each."""
    ours = {*PACKAGES, "benchmarks", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in {name.partition(".")[0] for name in names}:
                if name not in ours and name not in sys.stdlib_module_names:
                    found[name] = path.relative_to(ROOT).as_posix()
    return found


def test_every_dependency_is_pinned_as_in_the_lock() -> None:
    for group, requirements in project().items():
        for name, version in pins(requirements).items():
            # Ray, which the simulation brings, is locked nowhere: nothing here needs it.
            assert lock().get(name) == version, f"{name} of [{group}] differs from the lock"


def test_the_lock_names_each_package_once_without_local_versions() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").split()
    assert len(lock()) == len(lines)
    assert "torch==2.13.0" in lines  # not 2.13.0+cpu, which is in no public registry


@pytest.mark.parametrize(
    ("folders", "groups"),
    [
        (PACKAGES, ("",)),
        (("benchmarks",), ("", "bench")),
        (("tests",), ("", "bench", "dev")),
    ],
)
def test_whatever_is_imported_is_named(folders: tuple[str, ...], groups: tuple[str, ...]) -> None:
    named = {name for group in groups for name in pins(project()[group])}
    owners = packages_distributions()
    absent = {
        package: place
        for package, place in third_party(*folders).items()
        if not {normal(owner) for owner in owners.get(package, [])} & named
    }
    assert not absent, f"name these in pyproject.toml, pinned as in the lock: {absent}"


def test_the_pins_agree_with_each_other() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build a wheel, offline, from a copy of the tree; returns what is in it."""
    pytest.importorskip("setuptools", reason="the wheel is built without fetching anything")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "tree"
    junk = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in (*PACKAGES, "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=junk)
    for path in ROOT.glob("*.*"):
        if path.suffix in (".toml", ".md") and path.is_file():
            shutil.copyfile(path, copy / path.name)
    shutil.copyfile(ROOT / "LICENSE", copy / "LICENSE")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_all_code_and_all_that_it_reads(wheel: set[str]) -> None:
    for package in PACKAGES:
        assert f"{package}/__init__.py" in wheel
        expected = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.is_file() and (path.suffix in {".py", *DATA} or path.name == "py.typed")
        }
        assert expected <= wheel, sorted(expected - wheel)
    for name in (
        "haihe_fl/py.typed",
        "haihe_fl/messages/node.proto",
        "haihe_fl/reports/templates/report.html.j2",
        "server/scoring.proto",
        "server/docs.html",
        "configs/scenarios.yaml",
        "configs/features.yaml",
    ):
        assert name in wheel


def test_the_wheel_holds_every_kind_of_file_of_the_packages() -> None:
    shipped = {".py", *DATA}
    others = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        and path.suffix not in shipped
        and path.name != "py.typed"
    ]
    assert not others, f"package-data in pyproject.toml does not ship {others}"


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*PACKAGES, "benchmarks"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if A_PERSONS_PATH.search(line) or REGISTRY.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


def test_a_path_and_a_registry_are_seen() -> None:
    assert A_PERSONS_PATH.search("open('" + "/ho" + "me/me/a.csv')")
    assert not A_PERSONS_PATH.search("unix:/run/haihe/bank1.sock, https://e.x/home/page")
    assert REGISTRY.search("https://py" + "pi.org/simple")
    assert REGISTRY.search("--extra-index" + "-url x")


def test_no_file_is_large() -> None:
    large = {
        path.relative_to(ROOT).as_posix(): path.stat().st_size
        for path in tracked()
        if path.stat().st_size > 2**20
    }
    assert not large, "the repository holds code, not data"


def test_the_customers_layout_is_there() -> None:
    absent = [name for name in TOP_LEVEL if not (ROOT / name).exists()]
    assert not absent


def test_ci_runs_what_a_person_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text("utf-8").splitlines()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("demo", "test", "lint", "bench"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
