"""attention/prompt_edit: texts about prompts and words become numbers for their tokens."""

import pytest
import torch
from retrace_pack.attention.prompt_edit import EditSettings, find_words, make_edit
from retrace_pack.attention.words import PromptTokens, Token

CHUNK = 77
SOURCE, TARGET, OTHER = "a red cat", "a blue cat", "a small red cat sleeps"


def tokenize(text: str) -> PromptTokens:
    content = tuple(Token(word, row, True) for row, word in enumerate(text.split(), start=1))
    return PromptTokens(text, content, CHUNK, (len(content) + 1,))


def edit(targets=(TARGET,), **settings):
    return make_edit(SOURCE, targets, EditSettings(**settings), tokenize)


def test_fractions_and_factors_go_to_the_tokens_of_their_words():
    (target,) = edit(cross_fraction=0.7, word_fractions="blue:0.2", reweight="cat:3, a:-1").targets
    assert target.fractions.tolist() == [0.7, 0.7, 0.2] + [0.7] * (CHUNK - 3)
    assert target.fractions.dtype == torch.float64 and target.equalizer.dtype == torch.float32
    assert target.equalizer[:5].tolist() == [1, -1, 1, 3, 1]
    assert target.is_active and not edit(cross_fraction=0.0).targets[0].is_active
    assert edit(cross_fraction=0.0, word_fractions="blue:0.2").targets[0].is_active


def test_each_target_has_its_own_alignment_and_only_its_own_words():
    whole = edit((TARGET, OTHER), reweight="sleeps:2", self_fraction=0.3)
    swapped, refined = whole.targets
    assert whole.tokens == (CHUNK,) * 3 and whole.self_fraction == 0.3 and whole.blend is None
    assert float(swapped.alignment.covered[2]) == 1 and bool((swapped.equalizer == 1).all())
    assert refined.alignment.covered[:6].tolist() == [1, 1, 0, 1, 1, 0]
    assert float(refined.equalizer[5]) == 2


def test_the_blend_knows_the_words_of_every_prompt():
    blend = edit(
        (TARGET, OTHER), blend_words="cat, blue", subtract_words="small", blend_threshold=0.5, blend_start=0.1
    ).blend
    assert blend.words == ((3,), (2, 3), (4,)) and blend.subtracted == ((), (), (2,))
    assert (blend.threshold, blend.subtract_threshold, blend.start) == (0.5, 0.3, 0.1)


def test_subtracted_words_alone_are_a_blend_that_is_open_elsewhere():
    blend = edit((TARGET,), subtract_words="cat").blend
    assert not any(blend.words) and blend.subtracted[0] == (3,)
    assert edit((TARGET,)).blend is None


def test_a_region_alone_is_a_blend_and_has_one_row_or_one_for_each_target():
    region = torch.ones(2, 1, 4, 4)
    blend = edit((TARGET, OTHER), blend_region=region).blend
    assert blend.region is region and not blend.reads_maps and len(blend.words) == 3
    with pytest.raises(ValueError, match="blend_mask: there are 2 masks, but 1 target prompts"):
        edit((TARGET,), blend_region=region)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reweight": "red:2"}, "reweight: the word 'red' is not in 'a blue cat'"),
        ({"word_fractions": "dog:0.5"}, "cross_replace_words: the word 'dog' is not in"),
        ({"word_fractions": "cat:-0.5"}, "a fraction outside 0 to 1"),
        ({"blend_words": "dog"}, "blend_words: the word 'dog' is not in 'a red cat' or 'a blue cat'"),
        ({"blend_words": "cat", "subtract_words": "dog"}, "subtract_words: the word 'dog' is not in"),
    ],
)
def test_a_missing_word_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        edit(**settings)


def test_rows_of_several_words_are_sorted_and_not_doubled():
    assert find_words(["cat", "red cat"], "words", [tokenize(SOURCE)], tokenize) == ((2, 3),)


def test_all_missing_words_are_listed_with_the_nearest_ones():
    with pytest.raises(
        ValueError,
        match=r"words: the words 'cats' \(nearest: cat\), 'red cab' \(nearest: red cat\), 'zebra' are not in",
    ):
        find_words(["cats", "red cab", "zebra"], "words", [tokenize(SOURCE)], tokenize)
