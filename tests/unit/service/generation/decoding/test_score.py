"""Scores against a plain forward pass and against greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from service.generation.decoding.requests import ScoreRequest
from service.generation.decoding.score import NUM_TOP, Score
from service.generation.errors import GenerationFailed
from tests.support.decoding import engine_of
from tests.support.generation import greedy_ids
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer

PROMPT = tiny_tokenizer()("The mother tongue of Danielle Darrieux is")["input_ids"]
LONG = tiny_tokenizer()("Because of the rain, the house on the hill and the road to it were closed. Toyota")[
    "input_ids"
]
TARGET = tiny_tokenizer()(" French and English")["input_ids"]


def score(model: Any, prompt: Sequence[int], target: Sequence[int], *, prefill_tokens: int = 64) -> Score:
    engine = engine_of(model, prefill_tokens=prefill_tokens)
    [answer] = engine.submit([ScoreRequest(prompt_ids=tuple(prompt), target_ids=tuple(target))])
    while engine.busy:
        engine.step()
    found: Score = answer.result(0)
    return found


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_the_logprob_is_the_sum_over_the_targets_tokens(family: TinyFamily) -> None:
    model = tiny_model(family)
    logprobs = torch.log_softmax(model(torch.tensor([PROMPT + TARGET])).logits[0], dim=-1)
    expected = sum(logprobs[len(PROMPT) - 1 + i, token].item() for i, token in enumerate(TARGET))
    found = score(model, PROMPT, TARGET)
    assert found.logprob == pytest.approx(expected, rel=1e-5)  # float32 sums in another order
    first = logprobs[len(PROMPT) - 1]
    assert found.rank == int((first > first[TARGET[0]]).sum()) + 1
    assert found.top[0] == (int(first.argmax()), pytest.approx(float(first.max().exp()), rel=1e-5))
    assert len(found.top) == NUM_TOP


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_greedy_match_holds_exactly_for_the_greedy_continuation(family: TinyFamily) -> None:
    model = tiny_model(family)
    written = greedy_ids(model, PROMPT, 6)
    assert score(model, PROMPT, written).greedy_match
    assert not score(model, PROMPT, [*written[:-1], (written[-1] + 1) % 320]).greedy_match


def test_logits_that_are_no_numbers_are_an_error() -> None:
    model = tiny_model("gptj")
    with torch.no_grad():
        model.lm_head.bias.fill_(float("nan"))
    with pytest.raises(GenerationFailed, match="not finite"):
        score(model, PROMPT, TARGET)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_scores_read_in_chunks_with_others_are_those_of_each_alone(family: TinyFamily) -> None:
    model = tiny_model(family)
    asked = [
        ScoreRequest(prompt_ids=tuple(LONG[:i]), target_ids=tuple(LONG[i:]))
        if i % 2
        else ScoreRequest(prompt_ids=tuple(LONG + LONG)[: 9 * i], target_ids=tuple(PROMPT[:i]))
        for i in (1, 6, 3, 8, 5)
    ]
    engine = engine_of(model, num_places=5)
    answers = engine.submit(asked)
    steps = 0
    while engine.busy:
        engine.step()
        steps += 1
    assert steps > 1
    for request, answer in zip(asked, answers, strict=True):
        alone = score(model, request.prompt_ids, request.target_ids)
        # float32 sums in another order, over at most some twenty tokens
        assert answer.result(0).logprob == pytest.approx(alone.logprob, rel=1e-4)
