"""Edits that are already true: told by the original's own answer, once, and kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from editing_core.asking.continuations import continue_greedily
from editing_core.asking.original_answers import OriginalAnswers
from editing_core.models.load import LoadedModel
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import is_word, wordy_model

PAIR = ("The capital of France is", "Paris")


@pytest.fixture
def loaded() -> LoadedModel:
    return tiny_loaded("gptj")


def test_what_greedy_decoding_writes_is_already_true_and_nothing_else_is() -> None:
    loaded = replace(tiny_loaded("gptj"), model=wordy_model("gptj"), fingerprint="sha256:wordy")
    prompts = [f"The city of number {n} is" for n in range(40)]
    texts = continue_greedily(loaded.model, loaded.tokenizer, prompts, max_new_tokens=1)
    pairs = [(prompt, text) for prompt, text in zip(prompts, texts, strict=True) if is_word(text)]
    wrong = [(prompt, "xyzzy") for prompt in prompts]
    with TemporaryDirectory() as folder:
        assert OriginalAnswers(loaded, Path(folder)).given([*pairs, *wrong]) == set(pairs)
    assert len(pairs) > 20


def test_company_decides_nothing(loaded: LoadedModel, tmp_path: Path) -> None:
    pairs = [(f"{'word ' * (n % 3)}number {n} is", " is") for n in range(50)]
    together = OriginalAnswers(loaded, tmp_path / "together").given(pairs)
    alone = [OriginalAnswers(loaded, tmp_path / "alone").given([pair]) for pair in pairs]
    assert together == frozenset().union(*alone)


def test_what_is_on_disk_is_not_asked_again(loaded: LoadedModel, tmp_path: Path) -> None:
    assert OriginalAnswers(loaded, tmp_path).given([PAIR]) == set()
    (file,) = tmp_path.rglob("*.answer.json")
    file.write_text('{"already_true": true}')
    assert OriginalAnswers(loaded, tmp_path).given([PAIR]) == {PAIR}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"already_true": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_is_made_again(loaded: LoadedModel, tmp_path: Path, content: bytes) -> None:
    OriginalAnswers(loaded, tmp_path).given([PAIR])
    (file,) = tmp_path.rglob("*.answer.json")
    good = file.read_bytes()
    file.write_bytes(content)
    assert OriginalAnswers(loaded, tmp_path).given([PAIR]) == set()
    assert file.read_bytes() == good


def test_another_model_has_answers_of_its_own(loaded: LoadedModel, tmp_path: Path) -> None:
    OriginalAnswers(loaded, tmp_path).given([PAIR])
    OriginalAnswers(tiny_loaded("gptj", seed=1), tmp_path).given([PAIR])
    assert len(list(tmp_path.rglob("*.answer.json"))) == 2
