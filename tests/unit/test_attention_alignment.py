"""attention/words and attention/alignment against the reference algorithm, transcribed here for one chunk of tokens."""

import numpy as np
import pytest
import torch
from retrace_pack.attention.alignment import align, longest_common, refine_alignment, replace_alignment
from retrace_pack.attention.words import PromptTokens, Token, parse_numbered_words, parse_words

CHUNK = 77


def prompt(text: str, chunks: int = 1) -> PromptTokens:
    """Words separated by spaces, their tokens by "|"; in several chunks, 75 tokens each, as ComfyUI's tokenizer arranges them."""
    pieces = [(piece, at == 0) for word in text.split() for at, piece in enumerate(word.split("|"))]
    content = tuple(Token(piece, 1 + at + 2 * (at // (CHUNK - 2)), starts) for at, (piece, starts) in enumerate(pieces))
    last = [
        max([CHUNK * chunk, *(token.row for token in content if token.row // CHUNK == chunk)])
        for chunk in range(chunks)
    ]
    return PromptTokens(text, content, CHUNK * chunks, tuple(row + 1 for row in last))


def sequence(tokens: PromptTokens) -> list[str]:
    """The output of the reference's tokenizer: start, tokens, end, without padding."""
    return ["<start>", *(token.key for token in tokens.content), "<end>"]


def reference_refinement(source: PromptTokens, target: PromptTokens):
    """The score matrix, the path back through it, then the padding: mapper int [77], alphas [77]."""
    x, y = sequence(source), sequence(target)
    score = np.zeros((len(x) + 1, len(y) + 1), int)
    came = np.zeros_like(score)
    came[0, 1:], came[1:, 0] = 1, 2
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = score[i, j - 1], score[i - 1, j]
            diagonal = score[i - 1, j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            score[i, j] = max(left, up, diagonal)
            came[i, j] = 1 if score[i, j] == left else 2 if score[i, j] == up else 3
    pairs = []
    i, j = len(x), len(y)
    while i or j:
        if came[i, j] == 3:
            i, j = i - 1, j - 1
            pairs.append((j, i))
        elif came[i, j] == 1:
            j -= 1
            pairs.append((j, -1))
        else:
            i -= 1
    found = [source_index for _, source_index in reversed(pairs)]
    mapper = np.arange(CHUNK)
    mapper[: len(found)] = found
    return mapper, (mapper != -1).astype(np.float32)


def reference_replacement(source: PromptTokens, target: PromptTokens):
    """The pass over both prompts, float [77, 77]."""
    different = [
        at for at, (old, new) in enumerate(zip(source.words, target.words, strict=True)) if keys(old) != keys(new)
    ]
    old_rows = [[token.row for token in source.words[at]] for at in different]
    new_rows = [[token.row for token in target.words[at]] for at in different]
    mapper = np.zeros((CHUNK, CHUNK), np.float32)
    i = j = current = 0
    while i < CHUNK and j < CHUNK:
        if current < len(different) and old_rows[current][0] == i:
            old, new = old_rows[current], new_rows[current]
            if len(old) == len(new):
                mapper[old, new] = 1
            else:
                for row in new:
                    mapper[old, row] = 1 / len(new)
            current, i, j = current + 1, i + len(old), j + len(new)
        else:
            mapper[i if current < len(different) else j, j] = 1
            i, j = i + 1, j + 1
    return mapper


def keys(word):
    return [token.key for token in word]


def random_prompt(rng, words: int, pieces=(1, 2, 3)) -> str:
    letters = list("abcdefg")
    return " ".join("|".join(rng.choice(letters, rng.choice(pieces))) for _ in range(words))


@pytest.mark.parametrize("seed", range(40))
def test_refinement_equals_the_reference(seed):
    rng = np.random.default_rng(seed)
    source, target = (prompt(random_prompt(rng, rng.integers(0, 20))) for _ in range(2))
    mapper, alphas = reference_refinement(source, target)
    ours = refine_alignment(source, target)
    maps = torch.rand(3, 5, CHUNK)
    assert np.array_equal(ours.covered.numpy(), alphas)
    expected = maps[:, :, torch.from_numpy(mapper)] * torch.from_numpy(alphas)
    assert torch.equal((maps @ ours.mapper) * ours.covered, expected)


@pytest.mark.parametrize("seed", range(40))
def test_replacement_equals_the_reference_up_to_a_word_of_another_length(seed):
    """The swapped words have as many tokens as before, except for the last word of the prompt, which may have any number."""
    rng = np.random.default_rng(seed)
    old = random_prompt(rng, 12).split()
    new = list(old)
    for at in rng.choice(11, 3, replace=False):
        new[at] = "|".join(rng.choice(list("xyz"), old[at].count("|") + 1))
    new[-1] = random_prompt(rng, 1)
    source, target = prompt(" ".join(old)), prompt(" ".join(new))
    ours, expected = replace_alignment(source, target).mapper.numpy(), reference_replacement(source, target)
    last = max(source.end_rows[0], target.end_rows[0])
    assert np.array_equal(ours[:, : target.end_rows[0]], expected[:, : target.end_rows[0]])
    # Its walk ends with the source, which leaves as many of the last padding rows without any attention.
    walked = CHUNK - max(0, source.end_rows[0] - target.end_rows[0])
    assert np.array_equal(ours[:, last + 1 : walked], expected[:, last + 1 : walked])
    if source.end_rows == target.end_rows:
        assert np.array_equal(ours, expected)


def test_words_behind_one_of_another_length_keep_to_their_counterparts():
    """Where the reference is off by the difference, see replace_alignment."""
    source, target = prompt("a cat on mats"), prompt("a ti|ger on mats")
    mapper = replace_alignment(source, target).mapper
    assert mapper[2, 2] == mapper[2, 3] == 0.5
    assert mapper[3, 4] == mapper[4, 5] == mapper[5, 6] == 1
    assert reference_replacement(source, target)[4, 4] == 1
    back = replace_alignment(target, source).mapper
    assert back[2, 2] == back[3, 2] == 1 and back[4, 3] == 1


@pytest.mark.parametrize("mode", ["replace", "refine", "auto"])
@pytest.mark.parametrize("chunks", [1, 2])
def test_p14_the_same_prompt_is_the_identity(mode, chunks):
    tokens = prompt(" ".join("abcdefghij"[at % 10] for at in range(60 * chunks)), chunks)
    ours = align(tokens, tokens, mode)
    assert torch.equal(ours.mapper, torch.eye(CHUNK * chunks)) and bool((ours.covered == 1).all())


def test_replace_refuses_another_number_of_words():
    with pytest.raises(ValueError, match="has 2 words and the target prompt 'a b c' has 3.*choose the mode refine"):
        align(prompt("a b"), prompt("a b c"), "replace")


@pytest.mark.parametrize(
    ("old", "new", "swaps"),
    [
        ("a red circle on a blue background", "a blue circle on a blue background", True),
        ("a cat on a mat", "a small cat on a mat", False),
        ("red circle here", "circle here now", False),
        ("one two", "three four", True),
    ],
)
def test_auto_swaps_words_only_where_they_keep_their_places(old, new, swaps):
    expected = replace_alignment if swaps else refine_alignment
    source, target = prompt(old), prompt(new)
    assert torch.equal(align(source, target, "auto").mapper, expected(source, target).mapper)
    assert not swaps or not torch.equal(expected(source, target).covered, refine_alignment(source, target).covered)


@pytest.mark.parametrize("words", [80, 150])
def test_words_are_found_over_several_chunks(words):
    text = " ".join(f"w{at}" for at in range(words))
    longer = prompt(text + " cat", chunks=3)
    (row,) = longer.rows_of(prompt("cat"))
    assert row == 1 + words + 2 * (words // 75)
    both = longer.rows_of(prompt("w74 w75"))
    assert both == (75, 78)
    source = prompt(text, chunks=2 if words == 80 else 3)
    ours = refine_alignment(source, longer)
    assert ours.mapper.shape == (source.rows, longer.rows)
    assert ours.covered[row] == 0 and ours.mapper[78, 78] == 1 and ours.mapper[77, 77] == 1
    shared = [token.row for token in longer.content[:-1]]
    assert bool((ours.covered[shared] == 1).all())
    if words == 80:
        assert bool((ours.covered[2 * CHUNK :] == 0).all())


@pytest.mark.parametrize(("old", "new"), [(80, 90), (90, 80), (76, 140)])
@pytest.mark.parametrize("mode", ["refine", "auto"])
def test_the_end_of_each_chunk_takes_from_the_end_of_the_same_chunk(old, new, mode):
    """Where the prompts differ in length, the last chunk's end token stands in another row."""
    source, target = (prompt(" ".join(f"w{at}" for at in range(words)), chunks=2) for words in (old, new))
    first, (source_end, target_end) = 1 + 75, (CHUNK + 1 + words - 75 for words in (old, new))
    ours = align(source, target, mode)
    for row, taken in ((first, first), (target_end, source_end)):
        assert ours.covered[row] == 1
        assert torch.equal(ours.mapper[:, row], torch.eye(2 * CHUNK)[taken])
    padding = 2 * CHUNK - 1
    assert torch.equal(ours.mapper[:, padding], torch.eye(2 * CHUNK)[padding])


@pytest.mark.parametrize("swapped", [3, 78])
def test_a_swapped_word_of_more_tokens_moves_the_end_of_the_second_chunk(swapped):
    words = [f"w{at}" for at in range(80)]
    source, target = (
        prompt(" ".join([*words[:swapped], word, *words[swapped + 1 :]]), 2) for word in ("cat", "ti|g|er")
    )
    assert (source.end_rows, target.end_rows) == ((76, 83), (76, 85))
    ours = align(source, target, "replace")
    assert torch.equal(ours.mapper[:, 85], torch.eye(2 * CHUNK)[83]) and ours.covered[85] == 1


def test_a_word_is_only_a_whole_word():
    tokens = prompt("tom|cat cat ca|t red cat , cat")
    assert tokens.rows_of(prompt("cat")) == (3, 7, 9)
    assert tokens.rows_of(prompt("tom|cat")) == (1, 2)
    assert tokens.rows_of(prompt("tom")) == () and tokens.rows_of(prompt("ca")) == ()
    assert tokens.rows_of(prompt("red cat")) == (6, 7)
    assert tokens.rows_of(prompt("dog")) == () and tokens.rows_of(prompt("")) == ()


def test_longest_common_prefers_as_the_reference_does():
    assert longest_common("ab", "ba") == [1, None]
    assert longest_common("", "a") == [None] and longest_common("a", "") == []


def test_word_lists():
    assert parse_words(" cat, red dog ,,") == ("cat", "red dog")
    assert parse_numbered_words("cat:1.5, embedding:x:-2", "reweight") == (("cat", 1.5), ("embedding:x", -2.0))
    assert parse_numbered_words("", "reweight") == ()


@pytest.mark.parametrize("text", ["cat", "cat:", ":2", "cat:two", "2"])
def test_a_word_without_a_number_is_refused(text):
    with pytest.raises(ValueError, match="reweight: .* is not a word with a number; write word:number"):
        parse_numbered_words(text, "reweight")
