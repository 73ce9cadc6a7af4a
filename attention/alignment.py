"""Which source token provides the attention of a target token (Hertz et al. 2022, Prompt-to-Prompt, arXiv 2208.01626)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .words import PromptTokens

Mode = Literal["auto", "replace", "refine"]


@dataclass(frozen=True)
class Alignment:
    """Maps the attention of a source prompt to that of a target prompt.

    Attributes:
        mapper: float32 [K_source, K_target]; source probabilities [..., K_source] @ mapper are the target's.
        covered: float32 [K_target]; 0 for a token without a counterpart, which keeps its own attention.
    """

    mapper: Tensor
    covered: Tensor


def align(source: PromptTokens, target: PromptTokens, mode: Mode) -> Alignment:
    """Align two prompts. "auto" replaces if the words that both share keep their positions, and refines otherwise.

    Raises ValueError for "replace" if the prompts differ in their number of words.
    """
    if mode == "replace" or (mode == "auto" and _keep_positions(source, target)):
        return replace_alignment(source, target)
    return refine_alignment(source, target)


def replace_alignment(source: PromptTokens, target: PromptTokens) -> Alignment:
    """Align word by word, by position (section 3.2, "Word swap").

    If the numbers of tokens differ, the attention of all tokens of a word is spread evenly over the tokens of its counterpart.
    In the reference implementation all later words are then shifted by the difference; here they stay aligned.

    Raises ValueError if the prompts differ in their number of words.
    """
    if len(source.words) != len(target.words):
        raise ValueError(
            f"the source prompt {source.text!r} has {len(source.words)} words and the target prompt {target.text!r} has "
            f"{len(target.words)}; replace swaps word for word: choose the mode refine or auto."
        )
    alignment = _special_rows(source, target)
    for old, new in zip(source.words, target.words, strict=True):
        for at, token in enumerate(new):
            if len(old) == len(new):
                alignment.mapper[old[at].row, token.row] = 1
            else:
                alignment.mapper[[other.row for other in old], token.row] = 1 / len(new)
    alignment.covered[[token.row for token in target.content]] = 1
    return alignment


def refine_alignment(source: PromptTokens, target: PromptTokens) -> Alignment:
    """Align tokens along the longest common subsequence (section 3.2, "Adding a new phrase"); new tokens keep their attention."""
    alignment = _special_rows(source, target)
    matches = longest_common([token.key for token in source.content], [token.key for token in target.content])
    for token, match in zip(target.content, matches, strict=True):
        if match is not None:
            alignment.mapper[source.content[match].row, token.row] = 1
            alignment.covered[token.row] = 1
    return alignment


def longest_common(source: Sequence[Hashable], target: Sequence[Hashable]) -> list[int | None]:
    """For each item of `target`, the index of its counterpart in `source`, or None.

    Needleman-Wunsch with gap 0, match 1 and mismatch -1; ties are resolved as in the reference: left, up, diagonal.
    """
    best = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, old in enumerate(source, start=1):
        for j, new in enumerate(target, start=1):
            diagonal = best[i - 1][j - 1] + (1 if old == new else -1)
            best[i][j] = max(best[i][j - 1], best[i - 1][j], diagonal)
    matches: list[int | None] = [None] * len(target)
    i, j = len(source), len(target)
    while i and j:
        if best[i][j] == best[i][j - 1]:
            j -= 1
        elif best[i][j] == best[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            matches[j] = i
    return matches


def _special_rows(source: PromptTokens, target: PromptTokens) -> Alignment:
    """Start and padding rows map to the same rows of the source, end tokens to the end token of the same chunk."""
    mapper, covered = torch.zeros(source.rows, target.rows), torch.zeros(target.rows)
    special = set(range(min(source.rows, target.rows))) - {token.row for token in target.content}
    ends = dict(zip(target.end_rows, source.end_rows, strict=False))
    for row in special:
        mapper[ends.get(row, row), row] = 1
        covered[row] = 1
    return Alignment(mapper, covered)


def _keep_positions(source: PromptTokens, target: PromptTokens) -> bool:
    old, new = ([tuple(token.key for token in word) for word in prompt.words] for prompt in (source, target))
    shared = sum(match is not None for match in longest_common(old, new))
    return len(old) == len(new) and shared == sum(first == second for first, second in zip(old, new, strict=True))
