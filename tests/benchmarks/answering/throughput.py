"""Sixteen clients of 64 tokens over HTTP against one static batch of sixteen by the library's ``generate``."""

from __future__ import annotations

import asyncio
import time
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from editing_core.models.load import LoadedModel
from tests.benchmarks.answering.step_profile import profile_of_a_step
from tests.benchmarks.measuring.clients import ask_together
from tests.benchmarks.measuring.served import fact_prompts, served

NUM_CLIENTS = 16
NUM_TOKENS = 64
NUM_ROUNDS = 5
MUST = 1.0
AIM = 2.0


def measure_throughput(console: Console, model: str) -> bool:
    """Tokens per second of each way, in turns; whether HTTP is at least as fast as the static batch."""
    rates: dict[str, list[float]] = {}
    all_threads = torch.get_num_threads()
    with served(model) as place:
        prompts = fact_prompts(NUM_CLIENTS)
        for number in range(NUM_ROUNDS + 1):  # the first warms up and is not counted
            measured = {
                "generate, a static batch of 16, one thread": _static(place.loaded, prompts, num_threads=1),
                "generate, a static batch of 16, all threads": _static(place.loaded, prompts, num_threads=all_threads),
                "Errata through HTTP, whole answers": _through_http(place.url, prompts, stream=False),
                "Errata through HTTP, streams": _through_http(place.url, prompts, stream=True),
            }
            for name, rate in measured.items():
                rates.setdefault(name, []).extend([rate] if number else [])
        torch.set_num_threads(1)  # as the service does for a small model
        profile_of_a_step(console, place.loaded, prompts)
        torch.set_num_threads(all_threads)
    one_thread, more_threads, *ours = (median(found) for found in rates.values())
    static = max(one_thread, more_threads)
    table = Table("way", "tokens/s", "lowest", "highest", "of the faster static", title=f"{model}: 16 × 64 tokens")
    for name, found in rates.items():
        row = (median(found), min(found), max(found))
        table.add_row(name, *(f"{rate:.0f}" for rate in row), f"{row[0] / static:.2f}")
    console.print(table)
    console.print(f"must: {MUST:.0f} times the static batch; aim: {AIM:.0f} times")
    return min(ours) >= MUST * static


def _static(loaded: LoadedModel, prompts: list[str], *, num_threads: int) -> float:
    torch.set_num_threads(num_threads)
    tokenizer = loaded.tokenizer
    rows = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    started = time.perf_counter()
    written = loaded.model.generate(  # type: ignore[operator]
        ids,
        attention_mask=mask,
        max_new_tokens=NUM_TOKENS,
        min_new_tokens=NUM_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    seconds = time.perf_counter() - started
    assert written.shape[1] == longest + NUM_TOKENS
    return len(rows) * NUM_TOKENS / seconds


def _through_http(url: str, prompts: list[str], *, stream: bool) -> float:
    asked = {"max_new_tokens": NUM_TOKENS, "version": "v0"}
    seconds, answers = asyncio.run(ask_together(url, prompts, stream=stream, **asked))
    assert all(answer.num_tokens == NUM_TOKENS for answer in answers)
    return sum(answer.num_tokens for answer in answers) / seconds
