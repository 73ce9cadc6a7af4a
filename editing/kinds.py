"""The kinds of edits, and which one two prompts ask for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from . import lexicon
from .prompt_diff import Span, spans_between, words_of

Kind = Literal[
    "color or material",
    "object or shape",
    "pose",
    "background",
    "add something",
    "remove something",
    "style",
    "everything",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

LEAST_SHARED = 0.2
"""The fraction of the longer prompt's words that both share, below which everything changes."""
SURFACE = lexicon.COLORS | lexicon.SHADES | lexicon.PATTERNS | lexicon.MATERIALS
PURE_COLORS = lexicon.COLORS - lexicon.MATERIALS
SETTING = lexicon.PLACES | lexicon.CONDITIONS
BACKDROP = frozenset(("background", "backdrop", "skyline"))
DIRECTIONS = frozenset(
    ("left", "right", "up", "upward", "down", "downward", "away", "camera", "sideways", "behind", "forward")
)
IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose", "feet": "foot",
    "teeth": "tooth", "leaves": "leaf", "knives": "knife", "wolves": "wolf", "scarves": "scarf", "shelves": "shelf",
}  # fmt: skip
SPELLINGS = ((re.compile(r"colou?r"), "color"), (re.compile(r"\bgr[ae]y"), "gray"))
"""From British to American spelling, which is the one of the word lists."""


@dataclass(frozen=True)
class Guess:
    """The kind of an edit, and whether all that differs between the prompts points to it."""

    kind: Kind
    sure: bool


def kind_of(before: str, after: str) -> Guess:
    """The kind of edit that turns the picture of `before` into one of `after`, from the words that differ.

    Not sure are prompts of the same words, an empty prompt, differences of several kinds, and words that say too little.
    """
    before, after = _american(before), _american(after)
    spans = spans_between(before, after)
    if not spans or not words_of(before) or not words_of(after):
        return Guess("everything", sure=False)
    if any(_is_style(span) for span in spans):
        return Guess("style", sure=True)
    if _share_little(before, after):
        return Guess("everything", sure=True)
    votes = [_kind_of_span(span) for span in spans]
    kinds: Counter[Kind] = Counter()
    for (kind, _), span in zip(votes, spans, strict=True):
        kinds[kind] += 1 + len(_content((*span.removed, *span.added)))
    (kind, _), *others = kinds.most_common()
    return Guess(kind, sure=not others and all(sure for _, sure in votes))


def is_one_of(word: str, words: Collection[str]) -> bool:
    """Whether the word, its singular, or the last part of a compound is among the words."""
    return any(form in words for form in _forms(word))


def _american(prompt: str) -> str:
    for spelling, american in SPELLINGS:
        prompt = spelling.sub(american, prompt.lower())
    return prompt


def _forms(word: str) -> tuple[str, ...]:
    word = _american(word)
    last = word.rpartition("-")[2]
    forms = [word, last, IRREGULAR.get(word, word), word.removesuffix("'s")]
    for each in (word, last):
        if each.endswith("ies"):
            forms.append(each[:-3] + "y")
        if each.endswith("es"):
            forms.append(each[:-2])
        if each.endswith("s") and not each.endswith("ss"):
            forms.append(each[:-1])
    return tuple(forms)


def _content(words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in lexicon.FUNCTION]


def only_colors_differ(before: str, after: str) -> bool:
    """Whether each difference replaces, adds or removes names of colors and nothing else: what has a color keeps its surface.

    A name that is also a material's, such as gold, is taken for the material.
    """
    spans = spans_between(_american(before), _american(after))
    changed = [word for span in spans for word in _content([*span.removed, *span.added])]
    return bool(changed) and all(word in PURE_COLORS for word in changed)


def _any(words: Sequence[str], among: Collection[str]) -> bool:
    return any(is_one_of(word, among) for word in words)


def is_verb(word: str) -> bool:
    """Whether the word is taken for a form of a verb: it ends in -ing and is no noun that does."""
    return len(word) > 4 and word.endswith("ing") and not is_one_of(word, lexicon.NOUNS_IN_ING)


def _share_little(before: str, after: str) -> bool:
    ignored = lexicon.MEDIA | lexicon.STYLES
    old, new = (
        {_forms(word)[-1] for word in _content(words_of(text)) if word not in ignored} for text in (before, after)
    )
    longer = max(len(old), len(new))
    if longer < 3 and _same_sort(old, new):
        return False
    return longer > 0 and len(old & new) / longer < LEAST_SHARED


def _same_sort(old: Collection[str], new: Collection[str]) -> bool:
    """Whether two short prompts name things of the same sort: "a cat" and "a dog"."""
    sorts = (lexicon.ANIMALS | lexicon.PEOPLE, lexicon.GARMENTS, lexicon.FOOD, lexicon.FURNITURE, lexicon.THINGS)
    return bool(set(old) & set(new)) or any(_any([*old], sort) and _any([*new], sort) for sort in sorts)


def _is_style(span: Span) -> bool:
    """Whether the span says how the picture is made: at its head ("an oil painting of") or at its tail (", pixel art")."""
    added = _content(span.added)
    names_style = _any(added, lexicon.STYLES - lexicon.MEDIA) or "style" in span.added
    if not _content([word for word in span.before if word not in lexicon.MEDIA | lexicon.STYLES]):
        if span.after and span.after[0] in lexicon.MEDIA:
            return bool(added) and _any(added, lexicon.STYLES | SURFACE)
        if names_style and ("of" in span.added or span.after[:1] == ("of",)):
            return True
    if "style" in span.added and names_style:
        return True
    at_end = not _content(span.after) and bool(added)
    attached = bool(span.added) and span.added[0] in lexicon.ATTACHING | lexicon.SETTING_PREPOSITIONS
    return at_end and names_style and not attached and is_one_of(added[-1], lexicon.STYLES)


def _kind_of_span(span: Span) -> tuple[Kind, bool]:
    """The kind of one difference, and whether its words are known well enough."""
    removed, added = _content(span.removed), _content(span.added)
    changed = [*removed, *added]
    follows = span.after[0] if span.after else ""
    if _any(changed, BACKDROP) or is_one_of(follows, BACKDROP):
        return "background", True
    if changed and all(word in SURFACE for word in changed) and _describes(span, follows):
        return "color or material", True
    if not span.removed or not span.added:
        return _kind_of_one_side(span, inserted=not span.removed)
    if _is_pose(span):
        return "pose", True
    if _is_setting(span, changed, follows):
        return "background", True
    if _any(changed, lexicon.SHAPES) or (_any(removed, lexicon.OBJECTS) and _any(added, lexicon.OBJECTS)):
        return "object or shape", True
    if span.added[0] in lexicon.ATTACHING and span.removed[0] not in lexicon.ATTACHING:
        return "add something", False
    return "object or shape", False


def _describes(span: Span, follows: str) -> bool:
    """Whether the span's words are said of a thing: "a glass vase", and not "a glass of wine" or "olive and cheese"."""
    words = span.added or span.removed
    if not (span.added and span.removed) and {words[0], words[-1]} & lexicon.FUNCTION:
        return False
    if words[-1] not in lexicon.COLORS | lexicon.PATTERNS | lexicon.SHADES:
        return bool(span.added and span.removed) or (bool(follows) and follows not in lexicon.FUNCTION)
    return not is_one_of(words[-1], lexicon.FOOD) or not follows or follows not in lexicon.FUNCTION


def _is_pose(span: Span) -> bool:
    words = (*span.removed, *span.added)
    if _any(_content(words), lexicon.POSES | lexicon.EXPRESSIONS):
        return True
    if any(is_verb(word) and word not in lexicon.ATTACHING for word in words):
        return True
    near = span.before[-3:]
    return any(word in DIRECTIONS for word in words) and _any(near, {"looking", "facing", "turned", "head", "gaze"})


def _is_setting(span: Span, changed: Sequence[str], follows: str) -> bool:
    """Whether the span stands where a place, a season or the weather does."""
    if not (_any(changed, SETTING) or is_one_of(follows, lexicon.PLACES)):
        return False
    if _any(_content(span.added)[-1:], lexicon.ANIMALS | lexicon.PEOPLE | lexicon.GARMENTS | lexicon.FOOD):
        return False
    return _governor(span) in lexicon.SETTING_PREPOSITIONS or _any(changed, lexicon.CONDITIONS)


def _governor(span: Span) -> str:
    """The nearest word before the span's content that attaches a phrase to what stands before it; "" at the subject."""
    leading = [word for word in span.added[:2] if word in lexicon.FUNCTION]
    for word in reversed((*span.before, *leading)):
        if word in lexicon.SETTING_PREPOSITIONS | lexicon.ATTACHING or is_verb(word):
            return word
    return ""


def _kind_of_one_side(span: Span, inserted: bool) -> tuple[Kind, bool]:
    """The kind of an insertion or a deletion."""
    words = span.added if inserted else span.removed
    content = _content(words)
    thing: Kind = "add something" if inserted else "remove something"
    if not content:
        return "everything", False
    if _any(content, lexicon.EXPRESSIONS) or (_any(content, lexicon.BODY) and _any(content, lexicon.POSES)):
        return "pose", True
    if words[0] in lexicon.ATTACHING:
        return thing, True
    if words[0] in lexicon.SETTING_PREPOSITIONS:
        return ("background", True) if _any(content, SETTING) else (thing, False)
    if is_verb(words[0]) or is_one_of(words[0], lexicon.POSES):
        return "pose", True
    if all(is_one_of(word, lexicon.CONDITIONS) for word in content):
        return "background", True
    if all(is_one_of(word, lexicon.SHAPES) for word in content):
        return "object or shape", True
    return thing, _any(content, lexicon.OBJECTS)
