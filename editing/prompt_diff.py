"""Where two prompts differ: the spans that were deleted, inserted or replaced, and what stands before and after them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

ARTICLES = frozenset(("a", "an", "the"))
WEIGHT = re.compile(r"(?<!\\)[()]|:\s*[0-9.]+(?=\s*\))")
WORD = re.compile(r"embedding:[^\s,]+|[^\W_]+(?:['_-][^\W_]+)*")


@dataclass(frozen=True)
class Span:
    """One difference: `removed` words of the first prompt became `added` words of the second.

    Attributes:
        removed, added: words without articles; one of them may be empty.
        before, after: all the words that the second prompt has on either side of the span.
    """

    removed: tuple[str, ...]
    added: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


def words_of(prompt: str) -> tuple[str, ...]:
    """The words of a prompt in lower case, without articles, punctuation and the syntax of weights."""
    return tuple(word for word in WORD.findall(plain_text(prompt)) if word not in ARTICLES)


def plain_text(prompt: str) -> str:
    """The prompt in lower case, without the syntax of weights, its words one space apart."""
    return " ".join(WEIGHT.sub(" ", prompt).lower().split())


def spans_between(before: str, after: str) -> tuple[Span, ...]:
    """The differences in reading order; () for prompts of the same words."""
    old, new = words_of(before), words_of(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return tuple(
        Span(old[first:last], new[start:end], new[:start], new[end:])
        for how, first, last, start, end in matcher.get_opcodes()
        if how != "equal"
    )
