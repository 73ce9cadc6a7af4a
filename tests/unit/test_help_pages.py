"""Every table of a help page fits ComfyUI's help panel, which cuts off everything beyond its 272 pixels."""

import re
from itertools import groupby
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent.parent / "web" / "docs"
COLUMNS, WIDTH = 2, 36
"""At most this many columns, and characters in the longest words of all columns together. Measured in the panel: a column's
margins take some 49 pixels, a character of such words some 4.75."""


def tables(text: str) -> list[list[list[str]]]:
    """Rows of cells, without the line below the header."""
    lines = groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    found = [[line.strip("| ").split(" | ") for line in rows] for is_table, rows in lines if is_table]
    return [[row for row in rows if set("".join(row)) > set("- ")] for rows in found]


def longest_word(cell: str) -> int:
    """The longest unbreakable part; the browser breaks at spaces, after hyphens, and around Chinese characters."""
    return max(map(len, re.split(r"\s|(?<=-)|[\u3000-\uffff]", re.sub("[`*]", "", cell))), default=0)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_no_table_is_wider_than_the_panel(page):
    for rows in tables(page.read_text(encoding="utf-8")):
        widths = [max(map(longest_word, column)) for column in zip(*rows, strict=True)]
        assert len(widths) <= COLUMNS and sum(widths) <= WIDTH, rows[0]
