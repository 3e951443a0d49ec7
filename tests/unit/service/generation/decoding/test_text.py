"""Text as its tokens come: whole characters, stop texts, and at the end what decoding all at once gives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.generation.decoding.text import REPLACEMENT_CHARACTER, AnswerText
from tests.support.tiny_models import VOCABULARY_SIZE, tiny_tokenizer

BACKEND = tiny_tokenizer().backend_tokenizer


def decode(ids: Sequence[int]) -> str:
    return str(BACKEND.decode(list(ids), skip_special_tokens=True))


def written(ids: Sequence[int], *stop: str) -> tuple[list[str], AnswerText]:
    """The pieces that are given out after each token and at the end."""
    text = AnswerText(decode, stop)
    pieces = []
    for token in ids:
        text.add(token)
        pieces.append(text.take_new_text())
        if text.stopped:
            break
    text.finish()
    return [*pieces, text.take_new_text(everything=True)], text


@given(st.lists(st.integers(0, VOCABULARY_SIZE - 1), max_size=40))
def test_pieces_of_any_tokens_join_to_what_decoding_them_at_once_gives(ids: list[int]) -> None:
    pieces, text = written(ids)
    assert "".join(pieces) == text.text == decode(ids)


@given(st.text(max_size=20))
def test_a_character_of_several_tokens_is_given_out_whole(content: str) -> None:
    ids = BACKEND.encode(content).ids
    pieces, _ = written(ids)
    assert "".join(pieces) == content
    assert all(piece in content for piece in pieces)


def test_a_byte_that_never_becomes_a_character_is_returned_at_the_end() -> None:
    [first, *_] = BACKEND.encode("日").ids
    pieces, text = written([first])
    assert pieces == ["", REPLACEMENT_CHARACTER]
    assert text.text == REPLACEMENT_CHARACTER


@pytest.mark.parametrize(
    ("content", "stop", "expected"),
    [
        ("The sun. The rain.", ["."], "The sun"),
        ("The sun. The rain.", ["rain", "sun"], "The "),
        ("aaab", ["ab"], "aa"),
        ("The sun", ["sunny"], "The sun"),
        ("The sun", ["The"], ""),
        ("a 日本 b", ["本"], "a 日"),
        ("one\n\ntwo", ["\n\n"], "one"),
    ],
)
def test_text_ends_before_the_first_stop_text_and_nothing_of_it_was_given_out(
    content: str, stop: list[str], expected: str
) -> None:
    pieces, text = written(BACKEND.encode(content).ids, *stop)
    assert "".join(pieces) == text.text == expected
    assert text.stopped == (content != expected)


@given(st.text(alphabet="ab", max_size=12), st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3))
def test_the_stop_text_that_is_complete_first_cuts_as_if_characters_came_one_by_one(
    content: str, stop: list[str]
) -> None:
    pieces, _ = written(BACKEND.encode(content).ids, *stop)
    expected = content
    for end in range(1, len(content) + 1):
        complete = [item for item in stop if content[:end].endswith(item)]
        if complete:
            expected = content[: end - max(map(len, complete))]
            break
    assert "".join(pieces) == expected
