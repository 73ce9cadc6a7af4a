"""The spans in which two prompts differ, with what stands around them."""

from retrace_pack.editing.prompt_diff import Span, spans_between, words_of


def test_words_are_without_articles_punctuation_and_weights():
    assert words_of("A (tiny:1.2) cat's toy, the ((red)) one; snow-covered \\(old\\)") == (
        "tiny", "cat's", "toy", "red", "one", "snow-covered", "old",
    )  # fmt: skip


def test_spans_are_replaced_inserted_and_deleted_words():
    assert spans_between("a red cat on a mat", "the blue cat on a soft mat") == (
        Span(("red",), ("blue",), (), ("cat", "on", "soft", "mat")),
        Span((), ("soft",), ("blue", "cat", "on"), ("mat",)),
    )
    assert spans_between("a man with a hat", "a man") == (Span(("with", "hat"), (), ("man",), ()),)
    assert spans_between("a cat", "The cat!") == ()
