"""Prompts as the rows of their conditioning, and the words in them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

CHUNK = 77
"""Rows of one pass of a CLIP text encoder: a start token, at most 75 of the prompt, an end token, padding."""


@dataclass(frozen=True)
class Token:
    """One token of a prompt. `key` is what tokens are compared by, `row` its row in the conditioning."""

    key: Hashable
    row: int
    starts_word: bool


@dataclass(frozen=True)
class PromptTokens:
    """The tokens of a prompt without start, end and padding.

    Attributes:
        text: as it was written, for messages.
        content: in reading order, over all chunks.
        rows: K, the number of rows of the conditioning, a multiple of `CHUNK`.
    """

    text: str
    content: tuple[Token, ...]
    rows: int

    @property
    def words(self) -> tuple[tuple[Token, ...], ...]:
        """The tokens word by word; punctuation marks are words of their own."""
        words: list[list[Token]] = []
        for token in self.content:
            if token.starts_word or not words:
                words.append([])
            words[-1].append(token)
        return tuple(tuple(word) for word in words)

    @property
    def end_rows(self) -> tuple[int, ...]:
        """The row of each chunk's end token."""
        last = {chunk: chunk * CHUNK for chunk in range(self.rows // CHUNK)}
        last.update((token.row // CHUNK, token.row) for token in self.content)
        return tuple(row + 1 for row in last.values())

    def rows_of(self, phrase: PromptTokens) -> tuple[int, ...]:
        """The rows of every place where one or more whole words stand in this prompt; () where they do not."""
        wanted = [_keys(word) for word in phrase.words]
        words = self.words
        found: list[int] = []
        for start in range(len(words) - len(wanted) + 1):
            place = words[start : start + len(wanted)]
            if wanted and [_keys(word) for word in place] == wanted:
                found.extend(token.row for word in place for token in word)
        return tuple(found)


def parse_words(text: str) -> tuple[str, ...]:
    """The words or phrases between the commas of `text`."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def parse_numbered_words(text: str, what: str) -> tuple[tuple[str, float], ...]:
    """Pairs of "word:number, word:number"; `what` names the input in the ValueError for anything else."""
    pairs = []
    for entry in parse_words(text):
        word, _, number = entry.rpartition(":")
        try:
            pairs.append((word.strip(), float(number)))
        except ValueError:
            word = ""
        if not word.strip():
            raise ValueError(f"{what}: {entry!r} is not a word with a number; write word:number, for example cat:1.5.")
    return tuple(pairs)


def _keys(word: tuple[Token, ...]) -> tuple[Hashable, ...]:
    return tuple(token.key for token in word)
