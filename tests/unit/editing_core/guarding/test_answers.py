"""Edits that are already true: told by the original's own answer, once, and kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.evaluation.continuations import continue_greedily
from editing_core.guarding.answers import OriginalAnswers
from editing_core.models.load import LoadedModel
from tests.support.tiny_loaded import tiny_loaded

PROMPT = "The capital of France is"


@pytest.fixture
def loaded() -> LoadedModel:
    return tiny_loaded("gptj")


def own_answer(loaded: LoadedModel) -> str:
    """What the model writes after the prompt, by more than one token."""
    (text,) = continue_greedily(loaded.model, loaded.tokenizer, [PROMPT], max_new_tokens=1)
    return text


def test_what_the_model_writes_by_itself_is_already_true(loaded: LoadedModel, tmp_path: Path) -> None:
    answers = OriginalAnswers(loaded, tmp_path)
    text = own_answer(loaded)
    wanted = text if text.startswith(" ") else f" {text}"
    ids = loaded.tokenizer(wanted, add_special_tokens=False)["input_ids"]
    assert answers.gives(PROMPT, wanted) is (loaded.tokenizer.decode(ids[:1]) == text and len(ids) == 1)
    assert not answers.gives(PROMPT, "xyzzy")


def test_what_is_on_disk_is_not_asked_again(loaded: LoadedModel, tmp_path: Path) -> None:
    assert not OriginalAnswers(loaded, tmp_path).gives(PROMPT, "Paris")
    (file,) = tmp_path.rglob("*.answer.json")
    file.write_text('{"already_true": true}')
    assert OriginalAnswers(loaded, tmp_path).gives(PROMPT, "Paris")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"already_true": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_is_made_anew(loaded: LoadedModel, tmp_path: Path, content: bytes) -> None:
    OriginalAnswers(loaded, tmp_path).gives(PROMPT, "Paris")
    (file,) = tmp_path.rglob("*.answer.json")
    good = file.read_bytes()
    file.write_bytes(content)
    assert OriginalAnswers(loaded, tmp_path).gives(PROMPT, "Paris") is False
    assert file.read_bytes() == good


def test_another_model_has_answers_of_its_own(loaded: LoadedModel, tmp_path: Path) -> None:
    OriginalAnswers(loaded, tmp_path).gives(PROMPT, "Paris")
    OriginalAnswers(tiny_loaded("gptj", seed=1), tmp_path).gives(PROMPT, "Paris")
    assert len(list(tmp_path.rglob("*.answer.json"))) == 2
