"""Where the look-up token is, and when an edit's tokens cannot be used."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from editing_core.edits import Edit
from editing_core.errors import InvalidEdit
from editing_core.memit.tokens import edit_rows, subject_row, target_ids
from tests.support.tiny_models import tiny_tokenizer

SUBJECTS = (
    "Rome",
    "Danielle Darrieux",
    "日本語",
    "🙂",
    "👩‍👩‍👧 family",
    "שלום עולם",
    "مرحبا",
    "e\u0301tude",
    "नमस्ते",
    "A.B.",
    "  padded",
)


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("template", ["{} is", "We know that {} is here", "{}, who sings", "Ask {}"])
def test_the_lookup_token_ends_where_the_subject_ends(subject: str, template: str) -> None:
    tokenizer = tiny_tokenizer()
    row = subject_row(tokenizer, template, subject)
    before_slot = template[: template.index("{}")]
    assert tokenizer.decode(row.up_to_lookup) == before_slot + subject
    assert tokenizer.decode(row.ids) == template.replace("{}", subject)


def test_a_merge_across_the_subjects_end_is_refused_with_the_reason() -> None:
    tokenizer = Tokenizer(models.BPE({"R": 1, "o": 2, "oo": 3}, [("o", "o")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    with pytest.raises(InvalidEdit, match="no token ends where subject 'Ro' ends"):
        subject_row(fast, "{}o", "Ro")


def test_every_context_gets_a_row_and_the_subject_is_found_behind_it() -> None:
    tokenizer = tiny_tokenizer()
    edit = Edit(subject="Rome", prompt="{} lies in", target_new="Spain", relation="in")
    rows = edit_rows(tokenizer, edit, ("{}", "Rome is not. {}"), max_positions=100)
    assert [tokenizer.decode(row.up_to_lookup) for row in rows.prompts] == ["Rome", "Rome is not. Rome"]
    assert tokenizer.decode(rows.kl.ids) == "Rome is a"


def test_the_target_is_set_off_by_one_space_unless_there_is_one() -> None:
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(target_ids(tokenizer, "It is", "Rome")) == " Rome"
    assert tokenizer.decode(target_ids(tokenizer, "It is ", "Rome")) == "Rome"
    assert tokenizer.decode(target_ids(tokenizer, "It is", " Rome")) == " Rome"


def test_the_target_of_a_tokenizer_that_begins_every_text_with_a_space_is_the_prompts_continuation() -> None:
    words = ["\u2581It", "\u2581is", "\u2581Rome", "\u2581"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="\u2581"))  # noqa: S106
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert fast(" Rome")["input_ids"] == [3, 2]
    assert target_ids(fast, "It is", "Rome") == [2]


def test_a_row_longer_than_the_context_is_refused() -> None:
    edit = Edit(subject="Rome", prompt="{} " + "very " * 50 + "is", target_new="old", relation="age")
    with pytest.raises(InvalidEdit, match="shorten the prompt"):
        edit_rows(tiny_tokenizer(), edit, ("{}",), max_positions=40)
