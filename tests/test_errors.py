"""Every number has one meaning, one entry in ``docs/errors.md``, and the class it belongs to."""

from collections import Counter, defaultdict

import pytest
from error_numbers import EXIT_CODES, NUMBER, ROOT, entries, entries_in, uses, uses_in

# One meaning, told in the words of the place where it arose.
SAME_MEANING = {
    "H2409": "an option or parameter of a scoring request, named in the text",
    "H2412": "the TLS files, in the words of the option or of the file",
    "H2413": "no such address, or not with this method",
    "H5203": "the ledger, altered or damaged",
    "H5208": "a key offer, unsigned or no key at all",
    "H5402": "an internal error, over gRPC or HTTP",
}
ROOMS = {
    "0": "Data",
    "1": "Models and training",
    "2": "Privacy and secure sum",
    "3": "Consortium and nodes",
    "4": "Serving and registry",
    "5": "Stress",
    "6": "Reports and command line",
}


def test_every_number_in_the_code_has_its_entry() -> None:
    explained = {entry.number for entry in entries()}
    absent = [f"{use.number} at {use.place}" for use in uses() if use.number not in explained]
    assert not absent, "write entries in docs/errors.md for: " + "; ".join(absent)


def test_every_entry_is_of_a_number_in_the_code() -> None:
    raised = {use.number for use in uses()}
    left_over = [entry.number for entry in entries() if entry.number not in raised]
    assert not left_over, f"docs/errors.md explains what no code raises: {left_over}"


def test_entries_stand_once_in_order_under_their_headings() -> None:
    numbers = [entry.number for entry in entries()]
    assert [n for n, times in Counter(numbers).items() if times > 1] == []
    assert numbers == sorted(numbers)
    for entry in entries():
        assert entry.section == f"{entry.number[1]} · {ROOMS[entry.number[2]]}", entry.number
        before, mend, after = entry.body.partition("**Mend:**")
        assert before.strip() and mend and after.strip(), f"{entry.number}: when, and how to mend"
        assert any("\u4e00" <= c <= "\u9fff" for c in entry.chinese), entry.number


def test_a_number_means_one_thing() -> None:
    texts: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for use in uses():
        if use.text is not None:
            texts[use.number][use.text].add(use.module)
    for number, by_text in texts.items():
        modules = {module for where in by_text.values() for module in where}
        if len(by_text) > 1 and len(modules) > 1 and number not in SAME_MEANING:
            pytest.fail(f"{number} says different things: {dict(by_text)}")
    assert set(SAME_MEANING) <= {use.number for use in uses()}


def test_the_first_digit_is_the_exit_code_of_the_class() -> None:
    checked = 0
    for use in uses():
        if use.family is not None:
            assert int(use.number[1]) == EXIT_CODES[use.family], f"{use.number} at {use.place}"
            checked += 1
    assert checked > 80


def test_documents_name_only_numbers_that_exist() -> None:
    known = {entry.number for entry in entries()}
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if page.exists():
            assert set(NUMBER.findall(page.read_text("utf-8"))) <= known, page.name


def test_the_scanner_sees_constants_tables_helpers_and_subclasses() -> None:
    source = """
class Gone(NetworkError):
    def __init__(self):
        super().__init__("H4001", en="gone", zh="")

def wrong(code) -> UserError:
    'H2009 in a docstring is no use.'

CODES = {"kind": "H2002"}
UNREACHABLE = "H4003"
raise wrong("H2004")
abort("H5005 internal")
raise PolicyError("H3006", en="a {b} " + f"{c}", zh="")
"""
    found = {use.number: (use.family, use.text) for use in uses_in(source, "a.py")}
    assert found == {
        "H4001": ("NetworkError", "gone"),
        "H2002": (None, None),
        "H4003": (None, None),
        "H2004": ("UserError", None),
        "H5005": (None, None),
        "H3006": ("PolicyError", "a {b} {}"),
    }


def test_a_heading_of_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match="no heading"):
        entries_in("## 2 · Data\n### H2001 no Chinese title\n")
