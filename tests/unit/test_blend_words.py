"""The words that differ: things, with the color or shape that sets them apart, never a mere article; and the things that stay."""

import pytest
from retrace_pack.editing.blend_words import differing_words, shared_things


@pytest.mark.parametrize(
    ("before", "afters", "expected"),
    [
        ("a cat on a mat", ["a dog on a mat"], ("cat", "dog")),
        ("a cat on a mat", ["a dog on a mat", "an owl on a mat"], ("cat", "dog", "owl")),
        ("a red car in the rain", ["a blue car in the rain"], ("red car", "blue car")),
        ("a car", ["a red car"], ("red car",)),
        ("a large red car", ["a car"], ("large red car",)),
        ("a woman with blonde hair", ["a woman with dark brown hair"], ("blonde hair", "dark brown hair")),
        ("a round table", ["a square table"], ("round table", "square table")),
        ("a bowl of apples", ["a bowl of apples and a spoon"], ("spoon",)),
        ("a man with a hat", ["a man"], ("hat",)),
        ("a (red:1.3) car", ["a ((crimson)) car"], ("red car", "crimson car")),
        ("a red, shiny car", ["a blue, shiny car"], ("red", "blue")),
        ("a red\ncar", ["a blue  car"], ("red car", "blue car")),
        ("a glass on a table", ["a glass under a table"], ("on", "under")),
        ("a street", ["a street, embedding:my-style.2"], ("embedding:my-style.2",)),
        ("a Cat.", ["the cat"], ()),
        ("", ["a cat"], ("cat",)),
    ],
)
def test_words_that_differ(before, afters, expected):
    assert differing_words(before, afters) == expected


@pytest.mark.parametrize(
    ("before", "afters", "expected"),
    [
        ("a dog running on a beach", ["a dog running in the snow"], ("dog",)),
        ("a red ball and a cube on a wooden floor", ["a red ball and a cube on a grassy floor"], ("ball", "cube")),
        ("a cat on a chair", ["a cat on a red chair"], ("cat",)),
        ("a cat on a chair", ["a cat on a sofa", "a dog on a chair"], ()),
        ("a photo of a vase in a kitchen", ["a photo of a vase in a forest"], ("vase",)),
        ("a photo of a beach", ["a painting of a beach"], ()),
        ("", ["a cat"], ()),
    ],
)
def test_things_that_stay(before, afters, expected):
    assert shared_things(before, afters) == expected
