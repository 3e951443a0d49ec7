"""A failing model, step or engine fails the requests that took part, and no others."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import GenerationRequest
from service.generation.errors import GenerationFailed
from tests.support.decoding import WAIT_SECONDS, engine_of, requests, run_all
from tests.support.generation import greedy_ids
from tests.support.tiny_models import tiny_model


class Failing(torch.nn.Module):
    """A real model that fails when it sees a certain token."""

    def __init__(self, model: Any, token: int) -> None:
        super().__init__()
        self.inner = model
        self.generation_config = model.generation_config
        self.token = token

    def forward(self, input_ids: torch.Tensor, **options: Any) -> Any:
        if (input_ids == self.token).any():
            raise RuntimeError("out of memory")
        return self.inner(input_ids=input_ids, **options)


def test_a_failing_prompt_fails_itself_and_leaves_the_running_ones_alone() -> None:
    model = tiny_model("gptj")
    request = requests()[6]
    expected = greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
    poison = next(token for token in range(1, 320) if token not in {*request.prompt_ids, *expected})
    engine = engine_of(Failing(model, poison))
    [good] = engine.submit([request])
    engine.step()
    [bad] = engine.submit([GenerationRequest(prompt_ids=(poison, 1), max_new_tokens=4)])
    while engine.busy:
        engine.step()
    with pytest.raises(GenerationFailed, match="out of memory"):
        bad.result(0)
    assert list(good.result(0).ids) == expected


def test_after_a_failed_step_the_engine_answers_again() -> None:
    model = tiny_model("gptj")
    request = requests()[6]
    expected = greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
    failing = Failing(model, expected[2])
    engine = engine_of(failing)
    with pytest.raises(GenerationFailed):
        run_all(engine, [request])
    failing.token = -1
    assert list(run_all(engine, [request])[0].ids) == expected


def test_logits_that_are_no_numbers_are_an_error_and_not_an_answer() -> None:
    model = tiny_model("gptj")
    with torch.no_grad():
        model.lm_head.bias.fill_(float("nan"))
    with pytest.raises(GenerationFailed, match="not finite"):
        run_all(engine_of(model), requests()[:1])


def test_stopping_answers_open_requests_with_an_error(loop: DecodeLoop) -> None:
    engine = engine_of(tiny_model("gptj"), num_places=1)
    loop.add(engine)
    with loop.pause():
        answers = loop.submit(engine, requests())
        stopping = threading.Thread(target=loop.stop)
        stopping.start()
    stopping.join(WAIT_SECONDS)
    with pytest.raises(GenerationFailed, match="stopping"):
        answers[-1].result(WAIT_SECONDS)
    with pytest.raises(GenerationFailed, match="stopping"):
        loop.submit(engine, requests()[:1])


def test_an_engine_that_breaks_altogether_ends_its_requests_and_no_others(loop: DecodeLoop) -> None:
    broken, sound = engine_of(tiny_model("gptj"), clock=lambda: 1 / 0), engine_of(tiny_model("gptj"))
    loop.add(broken)
    loop.add(sound)
    [lost] = loop.submit(broken, requests()[:1])
    with pytest.raises(GenerationFailed, match="ZeroDivisionError"):
        lost.result(WAIT_SECONDS)
    [answer] = loop.submit(sound, requests()[:1])
    assert len(answer.result(WAIT_SECONDS).ids) > 0
    assert loop.is_alive
