"""Which kind of edit two prompts ask for: 200 pairs written by hand before the classifier, of which it was tuned on every other."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from retrace_pack.editing.kinds import KINDS, Guess, kind_of, only_colors_differ

PAIRS = list(csv.DictReader((Path(__file__).parent / "prompt_pairs.csv").open(encoding="utf-8", newline="")))


def wrong(pairs):
    for pair in pairs:
        guess = kind_of(pair["before"], pair["after"])
        if guess.kind != pair["kind"]:
            yield f"{pair['kind']}, not {guess.kind}: {pair['before']} -> {pair['after']}"


def test_there_are_25_pairs_of_each_kind():
    assert Counter(pair["kind"] for pair in PAIRS) == dict.fromkeys(KINDS, 25)


@pytest.mark.parametrize(("half", "least"), [(PAIRS[::2], 0.9), (PAIRS[1::2], 0.85)], ids=["tuned on", "not tuned on"])
def test_pairs_are_told_apart(half, least):
    missed = list(wrong(half))
    assert len(missed) <= (1 - least) * len(half), "\n".join(missed)


def test_what_it_is_sure_of_is_right_more_often():
    guesses = [(kind_of(pair["before"], pair["after"]), pair["kind"]) for pair in PAIRS]
    sure = [guess.kind == kind for guess, kind in guesses if guess.sure]
    assert len(sure) >= 0.6 * len(PAIRS) and sum(sure) >= 0.93 * len(sure)


@pytest.mark.parametrize(
    ("before", "after"), [("", "a dog"), ("a dog", ""), ("a dog", "a dog"), ("a dog", "The dog!"), ("...", "a dog")]
)
def test_without_a_difference_of_words_it_is_not_sure(before, after):
    assert not kind_of(before, after).sure


@pytest.mark.parametrize(
    ("before", "after"),
    [("a red car in the rain", "a blue car with a dog in the snow"), ("a zork on a mat", "a blip on a mat")],
)
def test_of_several_kinds_or_unknown_words_it_is_not_sure(before, after):
    assert not kind_of(before, after).sure


def test_weights_case_and_punctuation_say_nothing():
    plain = Guess("color or material", sure=True)
    assert kind_of("a red car, parked", "a blue car, parked") == plain
    assert kind_of("A (red:1.2) car, parked", "a ((blue)) car parked.") == plain


@pytest.mark.parametrize(
    ("before", "after", "only"),
    [
        ("a red car", "a blue car", True), ("a red car", "a car", True), ("a car", "a gray car", True),
        ("a red car and a white dog", "a blue car and a black dog", True), ("a red car", "a striped car", False),
        ("a red car", "a golden car", True), ("a red car", "a gold car", False), ("a red car", "a blue bus", False),
        ("a red car", "a red car", False), ("", "a red car", False),
    ],
)  # fmt: skip
def test_where_only_colors_differ(before, after, only):
    assert only_colors_differ(before, after) == only
