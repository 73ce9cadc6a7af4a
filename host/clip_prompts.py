"""Prompts through the CLIP of SD1.x, SD2.x and SDXL: their tokens for alignment, and one conditioning of several rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy.sd import CLIP
from torch import Tensor

from ..attention.words import PromptTokens, Token
from ..inversion.negative_prompt import of_equal_length

ENCODERS = {"l", "g", "h"}
CHUNK = 77
"""Rows of one pass of the text encoder: a start token, at most 75 tokens of the prompt, an end token, padding."""
WORD_END = "</w>"


def prompt_tokens(clip: CLIP, text: str) -> PromptTokens:
    """The tokens of a prompt after ComfyUI's parsing of weights, escapes and embeddings.

    Raises ValueError for a text encoder that is not SD1.x's, SD2.x's or SDXL's, or where its two encoders lay out the prompt
    differently (an embedding with a different length in each).
    """
    tokenized: dict[str, list[list[tuple[Any, float, int]]]] = clip.tokenize(text, return_word_ids=True)
    if not tokenized.keys() <= ENCODERS:
        raise ValueError(
            f"the text encoder ({', '.join(tokenized)}) is not the CLIP of an SD1.x, SD2.x or SDXL checkpoint; "
            "connect the CLIP that belongs to the model."
        )
    layouts = {
        name: _tokens(clip, [token for chunk in chunks for token in chunk]) for name, chunks in tokenized.items()
    }
    first = next(iter(layouts.values()))
    if any([token.row for token in other] != [token.row for token in first] for other in layouts.values()):
        raise ValueError(
            f"the two text encoders lay out {text!r} differently, so its words cannot be located; leave out the "
            "embedding that has a different length in each of them."
        )
    count = sum(len(chunk) for chunk in next(iter(tokenized.values())))
    return PromptTokens(text=text, content=first, rows=count, end_rows=_end_rows(first, count))


def encode_rows(clip: CLIP, texts: Sequence[str]) -> list[list[Any]]:
    """One CONDITIONING whose rows are the texts.

    A prompt of fewer chunks is repeated to the length of the others, which does not change the attention to it.
    Raises ValueError for a CLIP whose weights change on a schedule (hooks).
    """
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in texts]
    if any(len(entries) != 1 for entries in encoded):
        raise ValueError("the CLIP has scheduled hooks, which give several conditionings; connect it without them.")
    rows = [entries[0][0] for entries in encoded]
    extra = {name: _joined([entries[0][1][name] for entries in encoded]) for name in encoded[0][0][1]}
    return [[torch.cat(of_equal_length(rows)), extra]]


def _end_rows(content: Sequence[Token], rows: int) -> tuple[int, ...]:
    """The row of each chunk's end token, right after its last token."""
    last = {chunk: chunk * CHUNK for chunk in range(rows // CHUNK)}
    last.update((token.row // CHUNK, token.row) for token in content)
    return tuple(row + 1 for row in last.values())


def _joined(values: list[Any]) -> Any:  # noqa: ANN401
    return torch.cat(values) if isinstance(values[0], Tensor) else values[0]


def _tokens(clip: CLIP, rows: list[tuple[Any, float, int]]) -> tuple[Token, ...]:
    """The content tokens of all chunks; start, end and padding belong to no word (0)."""
    tokens: list[Token] = []
    word_before, starts = 0, True
    for row, (token, weight, word) in enumerate(rows):
        if word == 0:
            continue
        is_vector = isinstance(token, Tensor)
        key = token.float().cpu().numpy().tobytes() if is_vector else int(token)
        tokens.append(Token(key, row, starts or word != word_before))
        # The vectors of an embedding are one word; the last piece of a written word carries a mark.
        starts = not is_vector and clip.tokenizer.untokenize([(token, weight)])[0][1].endswith(WORD_END)
        word_before = word
    return tuple(tokens)
