"""Every help page fits ComfyUI's help panel, which is 218 pixels wide on a small screen and cuts off what is wider."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent.parent / "web" / "docs"
LONGEST, LONGEST_CODE, LONGEST_LISTED = 28, 24, 20
"""Characters that the panel cannot break: of plain text, of code, and of code in a list. The browser tests measure the pages."""


def pieces(text: str) -> list[str]:
    """What the browser does not break: it breaks at spaces, after hyphens, and around Chinese characters."""
    return re.split(r"\s|(?<=-)|[\u3000-\uffff]", text.replace("*", ""))


def too_long(line: str) -> list[str]:
    shown = re.sub(r"!?\[(.*?)\]\(.*?\)", r"\1", line)
    plain, code = shown.split("`")[::2], shown.split("`")[1::2]
    longest = LONGEST_LISTED if line.startswith(("- ", "* ")) else LONGEST_CODE
    return [piece for text in plain for piece in pieces(text) if len(piece) > LONGEST] + [
        piece for text in code for piece in pieces(text) if len(piece) > longest
    ]


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_no_table_and_no_word_is_wider_than_the_panel(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("|")] == []
    assert [piece for line in lines for piece in too_long(line)] == []
