"""Steps of fixed shapes give the same answers; what a capture replays is the same work on the same tensors."""

from __future__ import annotations

import pytest

from service.generation.decoding.forward.captured import CapturedDecode, Work
from service.generation.decoding.requests import GenerationRequest
from tests.support.decoding import engine_of, requests, run_all
from tests.support.generation import PROMPTS, greedy_ids
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer

LONG = tuple(tiny_tokenizer()(" ".join(PROMPTS) * 3)["input_ids"][:100])


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_answers_are_the_same_while_others_read_leave_and_the_cache_grows(family: TinyFamily) -> None:
    model = tiny_model(family)
    engine = engine_of(model, num_places=5, prefill_tokens=8)
    captured: list[Work] = []
    engine._steps = CapturedDecode(engine._calls, engine._cache, capture=lambda work: captured.append(work) or work)
    asked = [*requests(), *(GenerationRequest(prompt_ids=LONG[: 30 + i], max_new_tokens=60) for i in range(4))]
    answers = [engine.submit([request])[0] for request in asked]
    while engine.busy:
        engine.step()
    assert len(captured) >= 4
    for request, answer in zip(asked, answers, strict=True):
        expected = greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
        assert list(answer.result(0).ids) == expected


def test_a_capture_that_fails_costs_no_answer() -> None:
    model = tiny_model("gptj")
    engine = engine_of(model)

    def fail(_: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing")

    engine._steps = CapturedDecode(engine._calls, engine._cache, capture=fail)
    for request, result in zip(requests(), run_all(engine, requests()), strict=True):
        assert list(result.ids) == greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
