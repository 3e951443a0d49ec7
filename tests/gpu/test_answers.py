"""On a CUDA device steps are captured as graphs; answers stay the library's, whatever else uses the device."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch

from editing_core.models.streams import loading_stream
from editing_core.models.views import make_view
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.captured import Capture, CapturedDecode, CudaGraphs, Work
from service.generation.decoding.forward.joined import join_projections
from service.generation.decoding.forward.lean import lean_copy
from service.generation.decoding.requests import GenerationRequest
from tests.support.decoding import engine_of, logits_both_ways
from tests.support.devices import DEVICES
from tests.support.generation import PROMPTS, greedy_ids
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer

pytestmark = pytest.mark.parametrize("device", DEVICES[1:])
NUM_TOKENS = 40
LARGEST_ROUNDING = 0.4
"""Of logits of the order of 10, in bfloat16."""


def rows() -> list[tuple[int, ...]]:
    return [tuple(tiny_tokenizer()(prompt)["input_ids"]) for prompt in PROMPTS]


def answers(engine: DecodeEngine, *, num_tokens: int = NUM_TOKENS) -> list[tuple[int, ...]]:
    found = engine.submit([GenerationRequest(prompt_ids=row, max_new_tokens=num_tokens) for row in rows()])
    while engine.busy:
        engine.step()
    return [answer.result(0).ids for answer in found]


class Captures:
    """Counts the graphs that are captured, and how often all of them are replaced."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self.num_replaced = self.num_captured = 0

    def new(self) -> Capture:
        self.num_replaced += 1
        self.num_captured = 0
        graphs = CudaGraphs(self._device)

        def capture(work: Work) -> Work:
            self.num_captured += 1
            return graphs(work)

        return capture

    def engine(self, model: Any, *, num_places: int) -> DecodeEngine:
        return engine_of(model, num_places=num_places, steps=partial(CapturedDecode, new_capture=self.new))


@contextmanager
def copies(device: str) -> Iterator[None]:
    """While open, another thread takes memory of the device and copies into it, as the loading of versions does."""
    ended, beside = threading.Event(), loading_stream(torch.device(device))

    def bring() -> int:
        number = 0
        while not ended.is_set():
            number += 1
            with beside.work():
                torch.zeros(1_000_000 + 4096 * (number % 7)).to(device)
        return number

    with ThreadPoolExecutor(1) as pool:
        copying = pool.submit(bring)
        try:
            yield
        finally:
            ended.set()
        assert copying.result() > 0


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_captured_steps_write_the_same_text_as_the_library(family: TinyFamily, device: str) -> None:
    model: Any = copy.deepcopy(tiny_model(family))
    expected = [tuple(greedy_ids(model, list(row), NUM_TOKENS)) for row in rows()]
    captures = Captures(device)
    engine = captures.engine(lean_copy(model.to(device)), num_places=5)
    with copies(device):
        for _ in range(3):
            assert answers(engine) == expected
    assert captures.num_captured >= 3


def test_steps_are_captured_again_after_the_cache_has_grown(device: str) -> None:
    model: Any = copy.deepcopy(tiny_model("gptj"))
    expected = [tuple(greedy_ids(model, list(row), 150)) for row in rows()]
    captures = Captures(device)
    engine = captures.engine(lean_copy(model.to(device)), num_places=len(PROMPTS))
    short, num_replaced = answers(engine, num_tokens=8), captures.num_replaced
    assert short == [ids[:8] for ids in expected]
    assert answers(engine, num_tokens=150) == expected
    assert captures.num_replaced > num_replaced
    assert captures.num_captured >= 1


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_edited_version_answers_in_half_precision(family: TinyFamily, dtype: torch.dtype, device: str) -> None:
    model: Any = copy.deepcopy(tiny_model(family, dtype=dtype)).to(device)
    names = [name for name, weight in model.named_parameters() if weight.ndim == 2 and ".mlp." in name][:2]
    view = make_view(model, {name: 2 * model.get_parameter(name).float() for name in names})
    join_projections(model)
    captures, asked = Captures(device), [GenerationRequest(prompt_ids=r, max_new_tokens=30) for r in rows()]
    captured, plain = logits_both_ways(lean_copy(view), asked, num_places=len(PROMPTS), new_capture=captures.new)
    assert captures.num_captured >= 1
    assert torch.allclose(captured, plain, atol=LARGEST_ROUNDING)
    assert not torch.allclose(captured, plain.roll(1, dims=0), atol=LARGEST_ROUNDING)
