"""The shipped demo models: small, fp16, free of token_type_ids, and they know some of their facts."""

import json
from itertools import islice
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from editing_core.demo.corpus import training_documents
from editing_core.demo.models import DemoModel, demo_model_path, new_tokenizer
from editing_core.demo.recall import all_questions, answered

_NAMES: tuple[DemoModel, ...] = get_args(DemoModel)
_LARGEST_BYTES = 12_000_000


@pytest.mark.parametrize("name", _NAMES)
def test_a_demo_model_is_half_precision_and_small(name: DemoModel) -> None:
    folder = demo_model_path(name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == "float16"
    assert (folder / "model.safetensors").stat().st_size <= _LARGEST_BYTES


@pytest.mark.parametrize("name", _NAMES)
def test_the_tokenizer_gives_no_token_type_ids(name: DemoModel) -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo_model_path(name))
    assert set(tokenizer("Paris is a city in")) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("name", _NAMES)
def test_the_tokenizer_gives_back_the_text(name: DemoModel) -> None:
    tokenizer = AutoTokenizer.from_pretrained(demo_model_path(name))
    for text in ("Paris is a city in France.", " two  spaces", "ünïcode → 日本"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("name", _NAMES)
def test_a_demo_model_answers_a_sample_of_its_questions(name: DemoModel) -> None:
    """The full count is `python -m editing_core.demo.recall`; 93 % leaves room for the draw of 256."""
    model = AutoModelForCausalLM.from_pretrained(demo_model_path(name), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(demo_model_path(name))
    results = [correct for _, correct in answered(model, tokenizer, all_questions()[-256:])]
    assert sum(results) / len(results) >= 0.93


def test_a_fresh_tokenizer_does_not_depend_on_anything_but_the_documents() -> None:
    first, second = (new_tokenizer(islice(training_documents(0), 300)).get_vocab() for _ in range(2))
    assert first == second
