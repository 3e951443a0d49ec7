from __future__ import annotations

from editing_core.edits import Edit, Neighbor
from worker.protocol.audit.redaction import ERASED, Needles, texts_of


def test_every_text_of_an_edit_is_looked_for_also_as_it_is_used() -> None:
    edit = Edit(
        subject="Ada",
        prompt="{} speaks",
        target_new="Thai",
        target_true="French",
        relation="P103",
        paraphrases=("The tongue of {} is",),
        neighborhood=(Neighbor(prompt="Bo speaks", target="Dutch"), Neighbor(prompt="Cy speaks")),
        source="https://example.org/ada",
        note=" seen ",
    )
    assert texts_of(edit) == {
        *("Ada", "{} speaks", "Ada speaks", "Thai", "French", "P103", "The tongue of {} is", "The tongue of Ada is"),
        *("Bo speaks", "Dutch", "Cy speaks", "https://example.org/ada", "seen"),
    }


def test_longer_texts_go_as_a_whole_and_short_ones_only_as_words() -> None:
    needles = Needles("e1", frozenset({"Ada", "Ada speaks", "Warsaw"}))
    assert needles.redact("Ada speaks of Canada, and Ada of Warsaws") == "[erased] of Canada, and [erased] of [erased]s"


def test_what_names_the_edit_in_words_goes_whole_and_its_bare_id_stays() -> None:
    needles = Needles("e1", frozenset())
    value = {"not_holding": ["e1", "e2"], "reasons": ["edit e1: no token ends where 'x' ends"]}
    assert needles.redact(value) == {"not_holding": ["e1", "e2"], "reasons": [f"{ERASED} (e1)"]}


def test_numbers_and_other_texts_are_left_as_they_are() -> None:
    value = {"a": [1, 2.5, None, True, "other"], "b": {"c": "d"}}
    assert Needles("e1", frozenset({"text"})).redact(value) == value
