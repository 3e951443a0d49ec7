"""Decode steps of one engine, without HTTP: how long they take, and the kernels that they run."""

from __future__ import annotations

import time
from collections import Counter

import torch
from rich.table import Table
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from editing_core.models.load import LoadedModel
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.joined import join_projections
from service.generation.decoding.forward.lean import lean_copy
from service.generation.decoding.requests import GenerationRequest

PROMPT_TOKENS = 32
NUM_STEPS = 128
WARM_UP_STEPS = 16
PROFILED_STEPS = 16
NUM_KERNELS = 14
"""Shown; the rest is added up."""


def step_seconds(model: nn.Module, loaded: LoadedModel, count: int) -> list[float]:
    """Seconds of each step with this number of places."""
    engine = _writing(model, loaded, count)
    seconds = []
    for _ in range(NUM_STEPS):
        started = time.perf_counter()
        engine.step()  # its tokens are read back, so the device has done it
        seconds.append(time.perf_counter() - started)
    return seconds


def kernels_of_a_step(model: nn.Module, loaded: LoadedModel, count: int) -> Table:
    """What a CUDA device does in one step: kernels by the time they take together."""
    engine = _writing(model, loaded, count)
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as taken:
        for _ in range(PROFILED_STEPS):
            engine.step()
        torch.cuda.synchronize()
    microseconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in taken.events():
        if event.device_type == DeviceType.CUDA:
            microseconds[event.name] += event.time_range.elapsed_us()
            calls[event.name] += 1
    table = Table("kernel", "calls a step", "ms a step", title=f"the device's work in a step of {count} places")
    shown = microseconds.most_common(NUM_KERNELS)
    for name, spent in shown:
        table.add_row(name[:72], f"{calls[name] / PROFILED_STEPS:.0f}", f"{spent / PROFILED_STEPS / 1000:.3f}")
    rest = microseconds.total() - sum(spent for _, spent in shown)
    table.add_row("all others", "", f"{rest / PROFILED_STEPS / 1000:.3f}")
    total = microseconds.total() / PROFILED_STEPS / 1000
    table.add_row("together", f"{calls.total() / PROFILED_STEPS:.0f}", f"{total:.3f}")
    return table


def random_requests(count: int, num_tokens: int) -> list[GenerationRequest]:
    """Different prompts of one length."""
    prompts = [tuple(range(10 + i, 10 + i + PROMPT_TOKENS)) for i in range(count)]
    return [GenerationRequest(prompt_ids=prompt, max_new_tokens=num_tokens) for prompt in prompts]


def _writing(model: nn.Module, loaded: LoadedModel, count: int) -> DecodeEngine:
    """An engine whose places all write, in steps that were captured before."""
    if loaded.device.type == "cuda":
        join_projections(model)
    engine = DecodeEngine(
        lean_copy(model),
        loaded.tokenizer,
        num_places=count,
        max_length=loaded.max_positions,
        max_waiting=1,
        prefill_tokens=128,
    )
    engine.submit(random_requests(count, WARM_UP_STEPS + NUM_STEPS + 8))
    for _ in range(WARM_UP_STEPS):
        engine.step()
    return engine
