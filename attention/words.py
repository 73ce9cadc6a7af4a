"""Prompts as rows of their conditioning, and the words in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Token:
    """One token of a prompt: tokens with equal keys are the same; `row` is its row in the conditioning."""

    key: Hashable
    row: int
    starts_word: bool


@dataclass(frozen=True)
class PromptTokens:
    """The tokens of a prompt and where its text encoder puts them.

    Attributes:
        text: the prompt as written, for messages.
        content: the tokens in reading order, without start, end and padding.
        rows: K, the number of rows of the conditioning.
        end_rows: the row of the end token of each chunk; a text encoder splits a long prompt into chunks.
    """

    text: str
    content: tuple[Token, ...]
    rows: int
    end_rows: tuple[int, ...]

    @property
    def words(self) -> tuple[tuple[Token, ...], ...]:
        """The tokens grouped into words; punctuation marks are separate words."""
        words: list[list[Token]] = []
        for token in self.content:
            if token.starts_word or not words:
                words.append([])
            words[-1].append(token)
        return tuple(tuple(word) for word in words)

    def rows_of(self, phrase: PromptTokens) -> tuple[int, ...]:
        """The rows of every occurrence of a phrase of whole words in this prompt; () if there is none."""
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


def parse_numbered_words(text: str, input_name: str) -> tuple[tuple[str, float], ...]:
    """The pairs in "word:number, word:number". Raises ValueError, which names the input, for anything else."""
    pairs = []
    for entry in parse_words(text):
        word, _, number = entry.rpartition(":")
        try:
            pairs.append((word.strip(), float(number)))
        except ValueError:
            word = ""
        if not word.strip():
            raise ValueError(
                f"{input_name}: {entry!r} is not a word with a number; write word:number, for example cat:1.5."
            )
    return tuple(pairs)


def nearest_words(word: str, texts: Sequence[str]) -> list[str]:
    """Up to three words of the texts that are spelled most like `word`; phrases of as many words, where it is a phrase."""
    count = len(word.split())
    phrases = []
    for text in texts:
        words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())
        phrases += [" ".join(words[start : start + count]) for start in range(len(words) - count + 1)]
    return difflib.get_close_matches(word.lower(), dict.fromkeys(phrases), cutoff=0.7)


def _keys(word: tuple[Token, ...]) -> tuple[Hashable, ...]:
    return tuple(token.key for token in word)
