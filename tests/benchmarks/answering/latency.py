"""Time to first token, gap between tokens and tokens per second, compared with the limit of memory bandwidth."""

from __future__ import annotations

import asyncio
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from tests.benchmarks.measuring.clients import Answered, ask_together
from tests.benchmarks.measuring.rates import measure_rates
from tests.benchmarks.measuring.served import fact_prompts, served

NUM_TOKENS = 64
NUM_ROUNDS = 5
CLIENTS = (1, 4, 16)


def measure_latency(console: Console, model: str) -> bool:
    """Print the figures for one, four and sixteen streams."""
    table = Table("clients", "first token", "p50 gap", "p99 gap", "tokens/s", "of the limit", title=f"{model}: streams")
    with served(model) as place:
        prompts = fact_prompts(max(CLIENTS))
        read_bytes = bytes_per_step(place.loaded.model)
        bandwidth = measure_rates(torch.device("cpu"), torch.float32).bandwidth
        for count in CLIENTS:
            asked = {"stream": True, "max_new_tokens": NUM_TOKENS, "version": "v0"}
            rounds = [asyncio.run(ask_together(place.url, prompts[:count], **asked)) for _ in range(NUM_ROUNDS + 1)][1:]
            rate = median(sum(item.num_tokens for item in answers) / seconds for seconds, answers in rounds)
            answers = [item for _, some in rounds for item in some]
            table.add_row(
                str(count), *_figures(answers), f"{rate:.0f}", f"{rate / (count * bandwidth / read_bytes):.0%}"
            )
    console.print(table)
    console.print(
        f"limit: {bandwidth / 1e9:.1f} GB/s over {read_bytes / 1e6:.1f} MB of weights a step are "
        f"{bandwidth / read_bytes:.0f} steps/s, one token of each client a step"
    )
    return True


def bytes_per_step(model: nn.Module) -> int:
    """Bytes of the weights that each step reads: all but the embedding table, which it reads in part."""
    table = model.get_input_embeddings().weight  # type: ignore[operator]
    tied = model.get_output_embeddings().weight is table  # type: ignore[operator]
    return sum(weight.nbytes for weight in model.parameters() if weight is not table or tied)


def _figures(answers: list[Answered]) -> list[str]:
    gaps = torch.tensor([gap for item in answers for gap in item.gaps_seconds], dtype=torch.float64)
    first = median(item.first_seconds for item in answers)
    shown = (first, float(gaps.median()), float(gaps.quantile(0.99)))
    return [f"{1000 * seconds:.1f} ms" for seconds in shown]
