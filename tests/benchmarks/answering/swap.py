"""Sixteen streaming clients through forty moves of the pointer in a minute: errors, mixed answers, gaps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from tests.benchmarks.measuring.clients import Answered, Refused, ask
from tests.benchmarks.measuring.served import Served, fact_prompts, served
from tests.support.generation import greedy_ids, view_of

NUM_CLIENTS = 16
NUM_TOKENS = 48
NUM_MOVES = 40
SECONDS = 60.0
NUM_TURNS = 2
"""Halves of each kind, in turns, so that both see the same machine."""
MAX_RATIO = 1.5


def measure_swap(console: Console, model: str) -> bool:
    """Whether nothing fails or mixes, and the 99th percentile of the gaps keeps within 1.5 times that at rest."""
    prompts = fact_prompts(NUM_CLIENTS)
    with served(model) as place:
        expected = {
            (version, prompt): _expected(place, version, prompt) for version in place.versions for prompt in prompts
        }
        found: dict[str, list[Answered]] = {"without": [], "with": []}
        errors: list[str] = []
        asyncio.run(_phase(place, prompts, seconds=3.0, num_moves=0, found=[], errors=[]))
        for _ in range(NUM_TURNS):
            for name, num_moves in (("without", 0), ("with", NUM_MOVES // NUM_TURNS)):
                seconds = SECONDS / NUM_TURNS
                asyncio.run(_phase(place, prompts, seconds, num_moves, found=found[name], errors=errors))
    mixed = [item for some in found.values() for item in some if expected[item.version, item.prompt] != item.text]
    gaps = {name: _p99([gap for item in some for gap in item.gaps_seconds]) for name, some in found.items()}
    table = Table("promotions", "answers", "versions", "p50 gap", "p99 gap", "longest gap", title=f"{model}: swaps")
    for name, some in found.items():
        all_gaps = sorted(gap for item in some for gap in item.gaps_seconds)
        shown = (all_gaps[len(all_gaps) // 2], gaps[name], all_gaps[-1])
        versions = ", ".join(sorted({item.version for item in some}))
        table.add_row(name, str(len(some)), versions, *(f"{1000 * gap:.1f} ms" for gap in shown))
    console.print(table)
    ratio = gaps["with"] / gaps["without"]
    console.print(
        f"{NUM_MOVES // 2} promotions and {NUM_MOVES // 2} rollbacks in {SECONDS:.0f} s: {len(errors)} errors, "
        f"{len(mixed)} mixed answers, p99 gap {ratio:.2f} times that without (at most {MAX_RATIO})"
    )
    for text in errors[:3]:
        console.print(f"error: {text[:300]}")
    return not errors and not mixed and ratio <= MAX_RATIO


def _expected(place: Served, version: str, prompt: str) -> str:
    tokenizer = place.loaded.tokenizer
    ids = greedy_ids(view_of(place.loaded, version), tokenizer(prompt)["input_ids"], NUM_TOKENS)
    return str(tokenizer.decode(ids, skip_special_tokens=True))


async def _phase(
    place: Served, prompts: Sequence[str], seconds: float, num_moves: int, *, found: list[Answered], errors: list[str]
) -> None:
    ends = time.monotonic() + seconds

    async def client(prompt: str) -> None:
        while time.monotonic() < ends:
            try:
                found.append(await ask(place.url, stream=True, prompt=prompt, max_new_tokens=NUM_TOKENS))
            except (Refused, OSError, ValueError, EOFError) as error:
                errors.append(f"{type(error).__name__}: {error}")

    async def mover() -> None:
        for number in range(num_moves):
            await asyncio.sleep(seconds / num_moves)
            await asyncio.to_thread(place.ledger.publication.promote, "v1" if number % 2 == 0 else "v2", author=None)

    await asyncio.gather(*(client(prompt) for prompt in prompts), mover())


def _p99(gaps: Sequence[float]) -> float:
    return float(torch.tensor(gaps, dtype=torch.float64).quantile(0.99)) if gaps else float("nan")
