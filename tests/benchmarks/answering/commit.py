"""Latency of answers while a worker on the same cores applies a batch, compared with latency at rest."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table

from service.client.client import Client
from tests.benchmarks.hundred_edits import draw
from tests.benchmarks.measuring.clients import Answered, ask
from tests.benchmarks.measuring.served import fact_prompts
from tests.support.errata_process import errata_up

NUM_CLIENTS = 4
NUM_TOKENS = 32
NUM_EDITS = 50
REST_SECONDS = 15.0


def measure_commit(console: Console, model: str) -> bool:
    """Print the figures at rest and during a batch of 50 edits, with the worker's threads bounded and not."""
    table = Table("worker", "while", "answers", "p50", "p99", "longest", "seconds", title=f"{model}: during a commit")
    applied = True
    for threads in (1, None):
        reported = "one thread" if threads else "torch's default"
        with TemporaryDirectory(prefix="errata-bench-") as folder:
            applied = _measure(Path(folder), model, threads, table, reported) and applied
    console.print(table)
    return applied


def _measure(folder: Path, model: str, threads: int | None, table: Table, reported: str) -> bool:
    settings = {"num_threads": None, "worker_threads": threads, "lease_seconds": 10.0}
    with errata_up(folder, model=model, **settings) as running, Client(running.url, timeout_seconds=60) as client:
        _add(table, reported, "at rest", _answers(running.url, lambda: time.sleep(REST_SECONDS)))
        batch = client.submit_edits([edit.to_json() for edit in draw(0, NUM_EDITS)])
        ended: list[str] = []
        started = time.monotonic()
        answers = _answers(running.url, lambda: ended.append(client.wait_for_batch(batch.id).status))
        _add(table, reported, f"{NUM_EDITS} edits ({ended[0]})", answers, time.monotonic() - started)
        return ended[0] == "applied"


def _answers(url: str, work: object) -> list[Answered]:
    """The answers of the clients until the work ends."""
    working = threading.Thread(target=work)  # type: ignore[arg-type]
    found: list[Answered] = []

    async def client(prompt: str) -> None:
        while working.is_alive():
            found.append(await ask(url, stream=True, prompt=prompt, max_new_tokens=NUM_TOKENS))

    async def clients() -> None:
        await asyncio.gather(*(client(prompt) for prompt in fact_prompts(NUM_CLIENTS)))

    working.start()
    asyncio.run(clients())
    return found


def _add(table: Table, reported: str, moment: str, answers: list[Answered], seconds: float = REST_SECONDS) -> None:
    times = torch.tensor([item.seconds for item in answers], dtype=torch.float64)
    shown = (float(times.median()), float(times.quantile(0.99)), float(times.max()))
    table.add_row(reported, moment, str(len(answers)), *(f"{1000 * time:.0f} ms" for time in shown), f"{seconds:.0f}")
