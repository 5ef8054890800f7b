"""Finds the numbered errors of the product, and the entries that ``docs/errors.md`` has for them.

``python tests/error_numbers.py`` prints every number with its places and its English text.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("haihe_fl", "clients", "server", "strategies", "consortium")
PAGE = ROOT / "docs" / "errors.md"

EXIT_CODES = {"UserError": 2, "PolicyError": 3, "NetworkError": 4, "IntegrityError": 5}
CLASSES = {name: name for name in EXIT_CODES}
NUMBER = re.compile(r"H[2-5]\d{3}\b")
HEADING = re.compile(r"### (?P<number>H\d{4}) (?P<title>.+) · (?P<chinese>.+)")


@dataclass(frozen=True)
class Use:
    """A number in the code.

    Attributes
    ----------
    number : str
        For example ``"H2001"``.
    place : str
        File and line.
    family : str or None
        The error class that it is given to, where the code shows one.
    text : str or None
        English text beside it, with ``{}`` for what is filled in.
    """

    number: str
    place: str
    family: str | None
    text: str | None

    @property
    def module(self) -> str:
        """File of the place."""
        return self.place.partition(":")[0]


@dataclass(frozen=True)
class Entry:
    """A number on the page: its titles, its text, and the headings above it."""

    number: str
    title: str
    chinese: str
    body: str
    section: str


def sources() -> list[Path]:
    """Return the product's modules, without generated ones."""
    found = [path for package in PRODUCT for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in found if "_pb2" not in path.name)


@cache
def uses() -> tuple[Use, ...]:
    """Return every number that stands in the product's code, docstrings left out."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sources()}
    known = dict(CLASSES)
    for text in texts.values():
        known |= _subclasses(ast.parse(text), known)
    return tuple(use for name, text in texts.items() for use in uses_in(text, name, known))


def uses_in(source: str, name: str, known: Mapping[str, str] = CLASSES) -> list[Use]:
    """Return the numbers in the text of one module.

    Parameters
    ----------
    known : mapping of str to str
        The base error behind each error class.

    Examples
    --------
    >>> uses_in('raise UserError("H2001", en=f"no file {path}", zh="")', "a.py")
    [Use(number='H2001', place='a.py:1', family='UserError', text='no file {}')]
    """
    tree = ast.parse(source)
    families = {**known, **_subclasses(tree, known)}
    families |= _helpers(tree, families)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    calls = dict(_calls(tree, families))
    found = []
    for node in ast.walk(tree):
        text = _text(node)
        match = NUMBER.match(text) if text and id(node) not in docstrings else None
        if match is not None:
            family, english = calls.get(id(node), (None, None))
            found.append(Use(match[0], f"{name}:{node.lineno}", family, english))
    return sorted(found, key=lambda use: int(use.place.rpartition(":")[2]))


def entries() -> list[Entry]:
    """Return the entries of the page, in its order."""
    return entries_in(PAGE.read_text("utf-8"))


def entries_in(page: str) -> list[Entry]:
    """Return the entries of a page's text; ``ValueError`` for a heading of another form.

    Examples
    --------
    >>> entries_in("## 2 Data\\n### H2001 No file · 没有文件\\nText.")[0].section
    '2 Data'
    """
    found = []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        section, *blocks = re.split(r"^(?=### )", part, flags=re.MULTILINE)
        for block in blocks:
            heading, _, body = block.partition("\n")
            match = HEADING.fullmatch(heading)
            if match is None:
                raise ValueError(f"no heading of an error: {heading}")
            found.append(Entry(**match.groupdict(), body=body, section=section.strip()))
    return found


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _subclasses(tree: ast.Module, known: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                name = base.id if isinstance(base, ast.Name) else ""
                if parent := known.get(name) or found.get(name):
                    found[node.name] = parent
    return found


def _helpers(tree: ast.Module, known: Mapping[str, str]) -> dict[str, str]:
    """Return the functions that make an error, by what they say they return."""
    return {
        node.name: known[node.returns.id]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and isinstance(node.returns, ast.Name)
        and node.returns.id in known
    }


def _calls(
    tree: ast.Module, families: Mapping[str, str]
) -> Iterator[tuple[int, tuple[str | None, str | None]]]:
    """Yield, for the first argument of each call, the class it goes to and the text beside it."""
    inside = {
        id(call): families.get(node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for call in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            function = node.func
            family = families.get(function.id) if isinstance(function, ast.Name) else None
            if isinstance(function, ast.Attribute) and function.attr == "__init__":
                family = inside.get(id(node))
            english = [k.value for k in node.keywords if k.arg == "en"]
            yield id(node.args[0]), (family, _template(english[0]) if english else None)


def _template(node: ast.expr) -> str:
    """Return a text as it is written, with ``{}`` for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return _text(node) or "{}"


if __name__ == "__main__":
    for use in sorted(uses(), key=lambda use: (use.number, use.place)):
        print(use.number, use.place, use.family or "", use.text or "", sep="\t")
