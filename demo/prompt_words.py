"""A prompt as a line of text, with the words that another prompt does not have in another color."""

from __future__ import annotations

from difflib import SequenceMatcher

from PIL import ImageDraw, ImageFont

INK, OTHER = "#555555", "#c2410c"
LARGEST, SMALLEST = 18, 8


def draw_words(draw: ImageDraw.ImageDraw, center: tuple[float, float], text: str, than: str, width: float) -> None:
    """Draw `text` around a point, as large as fits into `width`; words that `than` does not have stand out."""
    sizes = range(LARGEST, SMALLEST - 1, -1)
    font = next((each for size in sizes if (each := ImageFont.load_default(size)).getlength(text) <= width), None)
    font = font or ImageFont.load_default(SMALLEST)
    x = center[0] - font.getlength(text) / 2
    for word, differs in words_of(text, than):
        draw.text((x, center[1]), word, fill=OTHER if differs else INK, font=font, anchor="lm")
        x += font.getlength(f"{word} ")


def words_of(text: str, than: str) -> list[tuple[str, bool]]:
    """The words of a prompt, each with whether the other prompt does without it there."""
    words = text.split()
    same: set[int] = set()
    for block in SequenceMatcher(None, words, than.split(), autojunk=False).get_matching_blocks():
        same |= set(range(block.a, block.a + block.size))
    return [(word, at not in same) for at, word in enumerate(words)]
