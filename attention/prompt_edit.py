"""A whole prompt-to-prompt edit: from what is written about prompts and words to what happens to their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .alignment import Mode, align
from .controllers import CrossEdit
from .local_blend import LocalBlend
from .words import PromptTokens, parse_numbered_words, parse_words

Tokenize = Callable[[str], PromptTokens]


@dataclass(frozen=True)
class EditSettings:
    """What a person asks for. Words are separated by commas; the defaults are the reference implementation's.

    Attributes:
        mode: how prompts are aligned, see `alignment.align`.
        cross_fraction, self_fraction: the part of the steps, from the noise end, with the source's cross- and self-attention.
        word_fractions: "word:fraction, ...", another cross fraction for these words of the targets.
        reweight: "word:factor, ...", for words of the targets.
        blend_words, subtract_words: words of any of the prompts. Without blend_words the local blend is open everywhere but at the
            subtracted ones. The others as in `LocalBlend`.
        blend_region: float32 [1 or targets, 1, H, W], see `LocalBlend`; with both words empty and None there is no local blend.
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
    """What happens to the attention of a batch [source, target, ...].

    Attributes:
        tokens: K of each prompt; a conditioning of more rows holds repetitions of them.
        targets: the edit of each target's cross-attention.
        self_fraction: see `controllers.self_is_replaced`.
        blend: or None.
    """

    tokens: tuple[int, ...]
    targets: tuple[CrossEdit, ...]
    self_fraction: float
    blend: LocalBlend | None


def make_edit(source: str, targets: Sequence[str], settings: EditSettings, tokenize: Tokenize) -> PromptEdit:
    """The edit of one source prompt into one or more targets.

    Raises ValueError for prompts that cannot be aligned as asked, for a word that is in none of the prompts in which it is looked
    for, for a fraction outside of 0..1, and for a region of neither one row nor one for each target.
    """
    prompts = [tokenize(text) for text in (source, *targets)]
    others = prompts[1:]
    fractions = _numbers(settings.word_fractions, "cross_replace_words", others, settings.cross_fraction, tokenize)
    if any(bool((each < 0).any() or (each > 1).any()) for each in fractions):
        raise ValueError(
            f"cross_replace_words: {settings.word_fractions!r} holds a fraction outside of 0 to 1; it is a part of the steps."
        )
    equalizers = _numbers(settings.reweight, "reweight", others, 1.0, tokenize)
    return PromptEdit(
        tokens=tuple(prompt.rows for prompt in prompts),
        targets=tuple(
            CrossEdit(align(prompts[0], target, settings.mode), equalizer.float(), fraction)
            for target, equalizer, fraction in zip(others, equalizers, fractions, strict=True)
        ),
        self_fraction=settings.self_fraction,
        blend=_blend(settings, prompts, tokenize),
    )


def find_words(
    words: Sequence[str], what: str, prompts: Sequence[PromptTokens], tokenize: Tokenize
) -> tuple[tuple[int, ...], ...]:
    """For each prompt the token rows of all the words in it. Raises ValueError for a word that is in none of them."""
    found: list[list[int]] = [[] for _ in prompts]
    for word in words:
        places = [prompt.rows_of(tokenize(word)) for prompt in prompts]
        if not any(places):
            listed = " or ".join(repr(prompt.text) for prompt in prompts)
            raise ValueError(f"{what}: the word {word!r} is not in {listed}; write it as it stands in the prompt.")
        for rows, place in zip(found, places, strict=True):
            rows.extend(place)
    return tuple(tuple(sorted(set(rows))) for rows in found)


def _numbers(
    text: str, what: str, prompts: Sequence[PromptTokens], otherwise: float, tokenize: Tokenize
) -> list[Tensor]:
    """For each prompt a number for every token, float64 [K]: what is written for its word, or `otherwise`."""
    numbers = [torch.full((prompt.rows,), otherwise, dtype=torch.float64) for prompt in prompts]
    for word, number in parse_numbered_words(text, what):
        for values, rows in zip(numbers, find_words([word], what, prompts, tokenize), strict=True):
            values[list(rows)] = number
    return numbers


def _blend(settings: EditSettings, prompts: Sequence[PromptTokens], tokenize: Tokenize) -> LocalBlend | None:
    words, subtracted = parse_words(settings.blend_words), parse_words(settings.subtract_words)
    region, targets = settings.blend_region, len(prompts) - 1
    if not (words or subtracted or region is not None):
        return None
    if region is not None and len(region) not in (1, targets):
        raise ValueError(
            f"blend_mask: there are {len(region)} masks, but {targets} target prompts; give one mask, or one for each target."
        )
    return LocalBlend(
        words=find_words(words, "blend_words", prompts, tokenize),
        subtracted=find_words(subtracted, "subtract_words", prompts, tokenize),
        threshold=settings.blend_threshold,
        subtract_threshold=settings.subtract_threshold,
        start=settings.blend_start,
        region=region,
    )
