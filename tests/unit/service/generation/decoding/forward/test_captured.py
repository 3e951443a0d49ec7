"""Captured steps of fixed shapes give the same answers as plain ones."""

from __future__ import annotations

import weakref
from functools import partial

import pytest
import torch

from service.generation.decoding.forward.captured import Capture, CapturedDecode, Work
from service.generation.decoding.forward.lean import lean_copy
from service.generation.decoding.requests import GenerationRequest
from tests.support.decoding import engine_of, logits_both_ways, requests, run_all
from tests.support.generation import PROMPTS, greedy_ids
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer


class Memories:
    """Captures as a device does: into memory that all share, which is gone when the last of what it holds is gone."""

    def __init__(self) -> None:
        self.num_made = self.num_captured = self.num_refused = 0

    def new(self) -> Capture:
        self.num_made += 1
        held: weakref.WeakSet[Captured] = weakref.WeakSet()
        was_used = False

        def capture(work: Work) -> Work:
            nonlocal was_used
            if was_used and not held:
                self.num_refused += 1
                raise RuntimeError("use_count > 0")
            was_used = True
            self.num_captured += 1
            captured = Captured(work)
            held.add(captured)
            return captured

        return capture


class Captured:
    """Work that can be done again."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self) -> None:
        self._work()


LARGEST_ROUNDING = 0.4
"""Of logits of the order of 10, in bfloat16."""
LONG = tuple(tiny_tokenizer()(" ".join(PROMPTS) * 3)["input_ids"][:100])


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_answers_are_the_same_while_others_read_leave_and_the_cache_grows(family: TinyFamily) -> None:
    model = tiny_model(family)
    memories = Memories()
    engine = engine_of(model, num_places=5, prefill_tokens=8, steps=partial(CapturedDecode, new_capture=memories.new))
    asked = [*requests(), *(GenerationRequest(prompt_ids=LONG[: 30 + i], max_new_tokens=60) for i in range(4))]
    answers = engine.submit(asked[:1])
    while engine.busy:
        engine.step()
    answers += [engine.submit([request])[0] for request in asked[1:]]
    while engine.busy:
        engine.step()
    assert memories.num_captured >= 4
    assert memories.num_made >= 2
    assert memories.num_refused == 0
    for request, answer in zip(asked, answers, strict=True):
        expected = greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)
        assert list(answer.result(0).ids) == expected


def test_a_capture_that_fails_costs_no_answer() -> None:
    model = tiny_model("gptj")

    def fail(_: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing")

    engine = engine_of(model, steps=partial(CapturedDecode, new_capture=lambda: fail))
    for request, result in zip(requests(), run_all(engine, requests()), strict=True):
        assert list(result.ids) == greedy_ids(model, list(request.prompt_ids), request.max_new_tokens)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_captured_steps_give_the_logits_of_plain_ones_in_half_precision(family: TinyFamily) -> None:
    model, memories = lean_copy(tiny_model(family, dtype=torch.bfloat16)), Memories()
    captured, plain = logits_both_ways(model, requests(), num_places=5, new_capture=memories.new)
    assert memories.num_captured >= 1
    assert torch.allclose(captured, plain, atol=LARGEST_ROUNDING)
    assert not torch.allclose(captured, plain.roll(1, dims=0), atol=LARGEST_ROUNDING)
