"""The words that differ between two prompts, and the things that both name, as a local blend looks for them."""

from __future__ import annotations

from collections.abc import Sequence

from .kinds import SURFACE, is_one_of, is_verb
from .lexicon import CONDITIONS, EXPRESSIONS, FUNCTION, MEDIA, PLACES, POSES, SHAPES, STYLES
from .prompt_diff import Span, plain_text, spans_between, words_of

AUTO = "auto"
NO_THING = FUNCTION | MEDIA | STYLES | PLACES | CONDITIONS | POSES | EXPRESSIONS | SURFACE | SHAPES
"""Words that name no thing with an outline of its own."""


def differing_words(before: str, afters: Sequence[str]) -> tuple[str, ...]:
    """The words and phrases of `before` or of any of `afters` that the others lack, in reading order, each once.

    A color, material or shape takes along what it describes ("red car", "blue car"): attention finds things, not qualities.
    Articles and prepositions count only where nothing else differs. () for prompts of the same words.
    """
    spans = [span for after in afters for span in spans_between(before, after)]
    texts = [plain_text(prompt) for prompt in (before, *afters)]
    for wanted in (lambda word: word not in FUNCTION, lambda word: True):
        found = [
            phrase
            for span in spans
            for words in (span.removed, span.added)
            for phrase in _phrases([word for word in words if wanted(word)], words, span, texts)
        ]
        if found:
            return tuple(dict.fromkeys(found))
    return ()


def shared_things(before: str, afters: Sequence[str]) -> tuple[str, ...]:
    """The things that `before` and all of `afters` name, in reading order, each once.

    What a differing word describes is not among them: in "wooden floor", "grassy floor" the floor changes.
    """
    changed = {
        word
        for after in afters
        for span in spans_between(before, after)
        for word in (*span.removed, *span.added, *span.after[:1])
    }
    kept = set(words_of(before)).intersection(*(words_of(after) for after in afters)) - changed
    things = [word for word in words_of(before) if word in kept and not is_one_of(word, NO_THING) and not is_verb(word)]
    return tuple(dict.fromkeys(things))


def _phrases(chosen: Sequence[str], words: Sequence[str], span: Span, texts: Sequence[str]) -> list[str]:
    """The chosen words one by one, the qualities at the end of the span as one phrase with the word that follows it, if they
    stand together in one of the texts ("red, shiny" does not)."""
    follows = span.after[0] if span.after else ""
    qualities = 0
    while qualities < len(words) and is_one_of(words[len(words) - 1 - qualities], SURFACE | SHAPES):
        qualities += 1
    phrase = " ".join((*words[len(words) - qualities :], follows))
    if not qualities or not follows or follows in FUNCTION or not any(phrase in text for text in texts):
        return list(chosen)
    return [*chosen[: len(chosen) - qualities], phrase]
