"""A complete prompt-to-prompt edit: turns settings for prompts and words into edits of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .alignment import Mode, align
from .controllers import CrossEdit
from .local_blend import LocalBlend
from .words import PromptTokens, nearest_words, parse_numbered_words, parse_words

Tokenize = Callable[[str], PromptTokens]


@dataclass(frozen=True)
class EditSettings:
    """The settings of an edit. Words are separated by commas; the defaults are the reference implementation's.

    Attributes:
        mode: how prompts are aligned, see `alignment.align`.
        cross_fraction, self_fraction: the fractions of the steps, from the noise end, that use the source's cross-attention
            and self-attention.
        word_fractions: "word:fraction, ...", cross fractions for individual words of the targets.
        reweight: "word:factor, ...", for words of the targets.
        blend_words, subtract_words: words of any of the prompts. Without blend_words the local blend is open everywhere except
            at the subtracted words.
        blend_threshold, subtract_threshold, blend_start: see `LocalBlend`.
        blend_region: float32 [1 or targets, 1, H, W], see `LocalBlend`. Without words and region there is no local blend.
    """

    mode: Mode = "auto"
    cross_fraction: float = 0.8
    self_fraction: float = 0.4
    word_fractions: str = ""
    reweight: str = ""
    blend_words: str = ""
    blend_threshold: float = 0.3
    blend_start: float = 0.2
    subtract_words: str = ""
    subtract_threshold: float = 0.3
    blend_region: Tensor | None = None


@dataclass(frozen=True)
class PromptEdit:
    """The attention edits for a batch [source, target, ...].

    Attributes:
        tokens: K of each prompt; a longer conditioning repeats its tokens.
        targets: the edit of each target's cross-attention.
        self_fraction: see `controllers.replaces_self_attention`.
        blend: the local blend, or None.
    """

    tokens: tuple[int, ...]
    targets: tuple[CrossEdit, ...]
    self_fraction: float
    blend: LocalBlend | None


def make_edit(source: str, targets: Sequence[str], settings: EditSettings, tokenize: Tokenize) -> PromptEdit:
    """The edit of a source prompt into one or more targets.

    Raises ValueError if the mode cannot align the prompts, a word is in none of the prompts, a fraction is outside 0..1, or
    the number of regions is neither one nor the number of targets.
    """
    prompts = [tokenize(text) for text in (source, *targets)]
    target_prompts = prompts[1:]
    fractions = _numbers(
        settings.word_fractions, "cross_replace_words", target_prompts, settings.cross_fraction, tokenize
    )
    if any(bool((each < 0).any() or (each > 1).any()) for each in fractions):
        raise ValueError(
            f"cross_replace_words: {settings.word_fractions!r} has a fraction outside 0 to 1; give fractions of the steps."
        )
    equalizers = _numbers(settings.reweight, "reweight", target_prompts, 1.0, tokenize)
    return PromptEdit(
        tokens=tuple(prompt.rows for prompt in prompts),
        targets=tuple(
            CrossEdit(align(prompts[0], target, settings.mode), equalizer.float(), fraction)
            for target, equalizer, fraction in zip(target_prompts, equalizers, fractions, strict=True)
        ),
        self_fraction=settings.self_fraction,
        blend=_blend(settings, prompts, tokenize),
    )


def find_words(
    words: Sequence[str], input_name: str, prompts: Sequence[PromptTokens], tokenize: Tokenize
) -> tuple[tuple[int, ...], ...]:
    """For each prompt, the rows of the tokens of all the words.

    Raises ValueError for words that are in none of the prompts, with those of the prompts that are nearest to them.
    """
    places = {word: [prompt.rows_of(tokenize(word)) for prompt in prompts] for word in words}
    missing = [word for word, found in places.items() if not any(found)]
    if missing:
        texts = [prompt.text for prompt in prompts]
        named = ", ".join(repr(word) + _nearest(word, texts) for word in missing)
        listed = " or ".join(map(repr, texts))
        if len(missing) > 1:
            raise ValueError(f"{input_name}: the words {named} are not in {listed}; write them as in the prompt.")
        raise ValueError(f"{input_name}: the word {named} is not in {listed}; write it as in the prompt.")
    return tuple(
        tuple(sorted({row for found in places.values() for row in found[prompt]})) for prompt in range(len(prompts))
    )


def _nearest(word: str, texts: Sequence[str]) -> str:
    close = nearest_words(word, texts)
    return f" (nearest: {', '.join(close)})" if close else ""


def _numbers(
    text: str, input_name: str, prompts: Sequence[PromptTokens], default: float, tokenize: Tokenize
) -> list[Tensor]:
    """For each prompt, a number per token, float64 [K]: the one that the text gives for its word, or the default."""
    numbers = [torch.full((prompt.rows,), default, dtype=torch.float64) for prompt in prompts]
    for word, number in parse_numbered_words(text, input_name):
        for values, rows in zip(numbers, find_words([word], input_name, prompts, tokenize), strict=True):
            values[list(rows)] = number
    return numbers


def _blend(settings: EditSettings, prompts: Sequence[PromptTokens], tokenize: Tokenize) -> LocalBlend | None:
    words, subtracted = parse_words(settings.blend_words), parse_words(settings.subtract_words)
    region, targets = settings.blend_region, len(prompts) - 1
    if not (words or subtracted or region is not None):
        return None
    if region is not None and len(region) not in (1, targets):
        raise ValueError(
            f"blend_mask: there are {len(region)} masks, but {targets} target prompts; give one mask, or one per target."
        )
    return LocalBlend(
        words=find_words(words, "blend_words", prompts, tokenize),
        subtracted=find_words(subtracted, "subtract_words", prompts, tokenize),
        threshold=settings.blend_threshold,
        subtract_threshold=settings.subtract_threshold,
        start=settings.blend_start,
        region=region,
    )
