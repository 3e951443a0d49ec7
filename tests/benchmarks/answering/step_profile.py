"""Profile of one decode step on one thread: sixteen places, 64 tokens each."""

from __future__ import annotations

import cProfile
import pstats
import time

from rich.console import Console
from rich.table import Table

from editing_core.models.load import LoadedModel
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.packed import PackedWeights, decoding_copy
from service.generation.decoding.requests import GenerationRequest

NUM_TOKENS = 64
KINDS = (
    ("matrix products", ("linear>", "mkldnn", "decoding/forward/packed.py", "torch/_ops.py")),
    ("attention", ("scaled_dot_product_attention>", "softmax", "torch.matmul>")),
    ("keys and values", ("index_copy_", "decoding/forward/cache.py")),
    ("activations and norms", ("gelu>", "layer_norm>", "tanh>", "pow>")),
    ("other operations of tensors", ("method '", "built-in method torch")),
    ("calling modules (Python, torch)", ("torch/nn/", "torch/")),
    ("calling modules (Python, transformers)", ("transformers/",)),
    ("choosing tokens, places, requests (Python, ours)", ("service/",)),
)


def profile_of_a_step(console: Console, loaded: LoadedModel, prompts: list[str]) -> None:
    """Print the milliseconds of one step, without and with the profiler, and what they are."""
    plain = _seconds(loaded, prompts)
    profiler = cProfile.Profile()
    profiler.enable()
    profiled = _seconds(loaded, prompts)
    profiler.disable()
    spent = dict.fromkeys([name for name, _ in KINDS] + ["all else"], 0.0)
    for (file, _, function), figures in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        spent[_kind(f"{file} {function}")] += figures[2]
    table = Table(
        "what", "ms a step", "share", title=f"one step of {len(prompts)} places, one thread, under a profiler"
    )
    total = sum(spent.values())
    for name, seconds in spent.items():
        table.add_row(name, f"{1000 * seconds / NUM_TOKENS:.2f}", f"{seconds / total:.0%}")
    console.print(table)
    console.print(
        f"a step takes {1000 * plain / NUM_TOKENS:.2f} ms without the profiler, {1000 * profiled / NUM_TOKENS:.2f} with"
    )


def _kind(place: str) -> str:
    return next((name for name, marks in KINDS if any(mark in place for mark in marks)), "all else")


def _seconds(loaded: LoadedModel, prompts: list[str]) -> float:
    engine = DecodeEngine(
        decoding_copy(loaded.model, PackedWeights.of(loaded.model, free_bytes=lambda: None)),
        loaded.tokenizer,
        num_places=len(prompts),
        max_length=loaded.max_positions,
        max_waiting=1,
        prefill_tokens=128,
    )
    rows = [tuple(loaded.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    engine.submit([GenerationRequest(prompt_ids=row, max_new_tokens=NUM_TOKENS) for row in rows])
    engine.step()
    started = time.perf_counter()
    while engine.busy:
        engine.step()
    return time.perf_counter() - started
