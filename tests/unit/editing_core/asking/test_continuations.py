"""Greedy continuations are those of plain forward passes; naming is by whole words, first come."""

from __future__ import annotations

import pytest
import torch

from editing_core.asking.continuations import continue_greedily, tells
from editing_core.errors import InvalidPrompt
from editing_core.models.views import make_view
from tests.support.tiny_models import TEXT, TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer

each_family = pytest.mark.parametrize("family", TINY_FAMILIES)


@each_family
def test_padded_prompts_continue_as_each_alone_does_without_a_cache(family: TinyFamily) -> None:
    model, tokenizer = tiny_model(family, dtype=torch.float64), tiny_tokenizer()
    prompts = [text[:length] for text, length in zip(TEXT, (3, 40, 12, 30, 9, 22, 5), strict=True)]
    for prompt, text in zip(prompts, continue_greedily(model, tokenizer, prompts, batch_size=4), strict=True):
        ids = tokenizer(prompt)["input_ids"]
        num_before = len(ids)
        for _ in range(24):
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                ids.pop()
                break
        assert text == tokenizer.decode(ids[num_before:])


def test_a_continuation_ends_before_the_end_token() -> None:
    model = tiny_model("gptj")
    bias = torch.zeros_like(model.lm_head.bias)
    bias[0] = 1e6
    assert continue_greedily(make_view(model, {"lm_head.bias": bias}), tiny_tokenizer(), ["The", "A"]) == ["", ""]


@each_family
def test_a_continuation_ends_where_the_context_does(family: TinyFamily) -> None:
    tokenizer = tiny_tokenizer()
    prompt = "a" * 254
    assert len(tokenizer(prompt)["input_ids"]) == 254
    (text,) = continue_greedily(tiny_model(family), tokenizer, [prompt])
    assert len(text) > 0
    with pytest.raises(InvalidPrompt, match="256"):
        continue_greedily(tiny_model(family), tokenizer, ["a" * 256])


@each_family
def test_a_long_prompt_does_not_shorten_the_others_continuations(family: TinyFamily) -> None:
    model, tokenizer = tiny_model(family, dtype=torch.float64), tiny_tokenizer()
    prompts = ["The capital", "a" * 254, "b" * 250, "I"]
    alone = [continue_greedily(model, tokenizer, [prompt])[0] for prompt in prompts]
    assert continue_greedily(model, tokenizer, prompts) == alone


@each_family
def test_fewer_tokens_are_the_beginning_of_more(family: TinyFamily) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    (short,) = continue_greedily(model, tokenizer, ["The capital"], max_new_tokens=4)
    (long,) = continue_greedily(model, tokenizer, ["The capital"], max_new_tokens=8)
    assert long.startswith(short.removesuffix("\N{REPLACEMENT CHARACTER}"))


@pytest.mark.parametrize(
    ("text", "new", "old", "told"),
    [
        (" English. He was born", "English", "French", True),
        (" French and English", "English", "French", False),
        (" english, not French", "English", "French", True),
        (" neither of the two", "English", "French", False),
        (" English", "English", None, True),
        (" French", "English", None, False),
        (" Parisian cafés in Lyon", "Paris", "Lyon", False),
        (" the Frenchman speaks English", "English", "French", True),
        (" New   York", "New York", "York", True),
        (" New York", "York", "New York", False),
        (" Guinea-Bissau", "Guinea", "Guinea-Bissau", False),
        (" Guinea-Bissau", "Guinea-Bissau", "Guinea", True),
        ("巴黎是首都", "巴黎", "伦敦", True),
        (" 1984x and 84", "84", None, True),
        (" 1984x", "84", None, False),
        (" Cafe\u0301", "Café", None, True),
    ],
)
def test_a_text_counts_as_success_if_it_names_the_new_object_first(
    text: str, new: str, old: str | None, told: bool
) -> None:
    assert tells(text, new, old) is told
