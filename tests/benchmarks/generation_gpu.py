"""Answers of a GPT-J-6B-shaped or GPT-NeoX-20B-shaped model with random weights in bfloat16 on one GPU.

``python -m tests.benchmarks.generation_gpu [--shape gptj|neox|tiny] [--device cuda|cpu]``: tokens per second of 1, 4
and 16 places beside what the memory's bandwidth allows, and the longest pause of a running answer while another
version's matrices come in. Needs no Redis, no service and no download. Aims for GPT-J's shape on an H200: 60 % of the
limit at one place, no pause above 50 ms; elsewhere they are unmeasured. ``--device cpu --shape tiny`` tries it out.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from editing_core.models.load import LoadedModel
from editing_core.versions.views import make_view
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.lean import lean_twin
from service.generation.decoding.requests import GenerationRequest
from tests.benchmarks.answering.latency import bytes_per_step
from tests.benchmarks.measuring.machine import machine
from tests.benchmarks.measuring.random_models import SHAPES, random_model
from tests.benchmarks.measuring.rates import measure_rates

PLACES = (1, 4, 16)
PROMPT_TOKENS = 32
NUM_STEPS = 128
WARM_UP_STEPS = 16
EDITED_LAYERS = range(3, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gptj")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    console, device = Console(width=110), torch.device(options.device)
    loaded = random_model(options.shape, device=options.device, dtype=torch.bfloat16)
    bandwidth = measure_rates(device, torch.bfloat16).bandwidth
    limit = bandwidth / bytes_per_step(loaded.model)
    console.print(f"{machine(device)}: {bandwidth / 1e9:.0f} GB/s; at most {limit:.1f} steps/s of {loaded.source}")
    table = Table("places", "p50 step", "longest step", "tokens/s", "of the limit", "longest while a version comes in")
    for count in PLACES:
        plain, beside = _steps(loaded, count), _steps(loaded, count, beside=lambda: _bring_in(loaded))
        median = sorted(plain)[len(plain) // 2]
        shown = (f"{1000 * median:.2f} ms", f"{1000 * max(plain):.2f} ms", f"{count / median:.0f}")
        table.add_row(str(count), *shown, f"{1 / median / limit:.0%}", f"{1000 * max(beside):.2f} ms")
    console.print(table)


def _steps(loaded: LoadedModel, count: int, *, beside: Callable[[], object] | None = None) -> list[float]:
    """Seconds of each step of so many places; ``beside`` is done meanwhile in another thread."""
    engine = DecodeEngine(
        lean_twin(loaded.model),
        loaded.tokenizer,
        num_places=count,
        max_length=loaded.max_positions,
        max_waiting=1,
        prefill_tokens=128,
    )
    num_tokens = WARM_UP_STEPS + NUM_STEPS + 8
    prompts = [tuple(range(10 + i, 10 + i + PROMPT_TOKENS)) for i in range(count)]
    engine.submit([GenerationRequest(prompt_ids=prompt, max_new_tokens=num_tokens) for prompt in prompts])
    for _ in range(WARM_UP_STEPS):
        engine.step()
    bringing = threading.Thread(target=beside or (lambda: None))
    bringing.start()
    seconds = []
    for _ in range(NUM_STEPS):
        started = time.perf_counter()
        engine.step()  # its tokens are read back, so the device has done it
        seconds.append(time.perf_counter() - started)
    bringing.join()
    return seconds


def _bring_in(loaded: LoadedModel) -> None:
    """What a promotion does: float32 matrices of six layers from main memory to the device, and a view of them."""
    layers = [layer for layer in EDITED_LAYERS if layer < loaded.family.num_layers(loaded.model)]
    shapes = {
        loaded.family.projection_weight_name(layer): loaded.family.projection_weight(loaded.model, layer).shape
        for layer in layers
    }
    tensors = {name: torch.zeros(shape, dtype=torch.float32) for name, shape in shapes.items()}
    lean_twin(make_view(loaded.model, {name: tensor.to(loaded.device) for name, tensor in tensors.items()}))


if __name__ == "__main__":
    main()
