"""docs/parity.md lists the parity tests under the numbers that tests cite, each with the files that cite it."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
SECTIONS = {
    int(number): set(re.findall(r"^- `(tests/\S+)`$", text, re.MULTILINE))
    for number, text in re.findall(r"^## P(\d+) .+\n([^#]+)", PAGE, re.MULTILINE)
}
UNTESTED: set[int] = set()
"""The page says so; whoever tests them takes them off."""


def cited_by(source: str) -> set[int]:
    """P7 in a docstring or a comment, p7 in the name of a test."""
    return {int(number) for pair in re.findall(r"\bP(\d{1,2})\b|def test_p(\d+)_", source) for number in pair if number}


def test_every_number_is_on_the_page_with_the_files_that_cite_it():
    cited: dict[int, set[str]] = {number: set() for number in UNTESTED}
    for folder in ("unit", "component", "server"):
        for path in (ROOT / "tests" / folder).glob("test_*.py"):
            if path != Path(__file__).resolve():
                for number in cited_by(path.read_text(encoding="utf-8")):
                    cited.setdefault(number, set()).add(path.relative_to(ROOT).as_posix())
    assert cited == SECTIONS
    assert set(SECTIONS) == set(range(1, 20))


def test_the_page_says_what_is_not_tested():
    for number in SECTIONS:
        (text,) = re.findall(rf"^## P{number} .+\n([^#]+)", PAGE, re.MULTILINE)
        assert ("- no test yet" in text) == (number in UNTESTED)


def test_citations_are_found():
    assert cited_by('"""P3, P10: as (P4)."""\ndef test_p19_x(): UP8 = "P-1"') == {3, 4, 10, 19}
