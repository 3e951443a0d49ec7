"""The cost of finding the culprits: 40 good edits and 3 poisoned ones, compared with the 40 alone, in one process.

``python -m tests.benchmarks.culprits [--kind contradicting|neighbors|both]``: a real ledger and Redis, the worker's own
stages on demo-gptj. Prints the seconds of z, keys, solve and checks (of the processor and by the clock) for the good
batch, for the poisoned one with ``drop`` and with ``reject``, and what was named; exit code 1 when a poisoned batch
takes more than 3 times the good one's seconds of the processor (those by the clock hold where nothing else computes),
or when the edits named are not the poisoned ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table

from editing_core.edits import Edit
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from tests.benchmarks.measuring.machine import machine
from tests.support.facts import take_in
from tests.support.poison import PoisonedBatch, against_own_neighbors, contradicting, of_both_kinds
from tests.support.redis_server import running_redis
from worker.main import WorkerProcess, open_worker
from worker.protocol.connections import connect
from worker.protocol.entities import BatchOptions, BatchRecord
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.settings import Settings

MOST_TIMES = 3.0
KINDS: dict[str, Callable[[int], PoisonedBatch]] = {
    "contradicting": contradicting,
    "neighbors": against_own_neighbors,
    "both": of_both_kinds,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of one batch."""

    record: BatchRecord
    named: tuple[Edit, ...]
    cpu_seconds: float
    seconds: float


class Desk:
    """The worker's stages on a store of their own, without its process and its queue."""

    def __init__(self, settings: Settings, store_id: Callable[[], str]) -> None:
        self._place: WorkerProcess = open_worker(settings)
        self.ledger = Ledger(connect(str(settings.redis_url)), Keys(store_id()))

    def send(self, edits: Sequence[Edit], on_failure: Literal["reject", "drop"] = "reject") -> Outcome:
        """Take a batch in and work on it to its end."""
        taken = take_in(self.ledger, *edits, options=BatchOptions(on_failure=on_failure))
        batch, began, cpu_began = taken.record.spec.id, time.perf_counter(), time.process_time()
        for shard in self.ledger.batches.open_shards(batch):
            self._place.stages.targets.run(batch, shard)
        self._place.stages.committer.run()
        cpu_seconds, seconds = time.process_time() - cpu_began, time.perf_counter() - began
        record = self.ledger.batches.get(batch)
        named = {row["id"] for row in (record.report or {}).get("culprits", ())}
        edits_named = tuple(row.edit for row in taken.edits if row.id in named)
        return Outcome(record=record, named=edits_named, cpu_seconds=cpu_seconds, seconds=seconds)


def measure(kind: str, seed: int, folder: Path, redis_url: str) -> dict[str, Outcome]:
    """The good batch, and the poisoned one either way, each on a store of its own with the same live edits."""
    batch = KINDS[kind](seed)
    outcomes = {}
    for name in ("good", "drop", "reject"):
        data = folder / f"{kind}-{name}"
        desk = desk_on(data, redis_url, artefacts=folder / "artefacts")
        if batch.live:
            assert desk.send(batch.live).record.status == "applied"
        edits = batch.good if name == "good" else (*batch.good, *batch.poisoned)
        outcomes[name] = desk.send(edits, "drop" if name == "drop" else "reject")
    return outcomes


def desk_on(data: Path, redis_url: str, *, artefacts: Path) -> Desk:
    """A desk with an empty store; the model's artefacts are made once, under ``artefacts``."""
    artefacts.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True)
    StoreLayout(data).artefacts_dir.symlink_to(artefacts)
    options = {"data": data, "redis_url": redis_url, "device": "cpu", "lease_seconds": 3600.0}
    settings = Settings.model_validate(options)
    return Desk(settings, lambda: open_identity(data).id)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console = Console()
    table = Table(
        "poison", "batch", "status", "live", "named", "tries", "CPU s", "times", "s", "times", title="culprits"
    )
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="errata-") as name, running_redis(Path(name) / "redis") as redis:
        for kind in options.kind or KINDS:
            outcomes = measure(kind, options.seed, Path(name), redis.url)
            missed += _add(table, kind, outcomes, KINDS[kind](options.seed))
    console.print(table)
    console.print(machine(torch.device("cpu")))
    console.print("as promised" if not missed else f"not reached: {'; '.join(missed)}")
    return 1 if missed else 0


def _add(table: Table, kind: str, outcomes: dict[str, Outcome], batch: PoisonedBatch) -> list[str]:
    """Add the rows of one kind, and return what is not as it should be."""
    good, missed = outcomes["good"], []
    wanted = {"good": "applied", "drop": "applied", "reject": "rejected"}
    for name, outcome in outcomes.items():
        report = outcome.record.report or {}
        times = outcome.cpu_seconds / good.cpu_seconds, outcome.seconds / good.seconds
        cells = (kind, name, str(outcome.record.status), str(report.get("num_live")), str(len(outcome.named)))
        tries = str(report.get("culprit_search", {}).get("tries", ""))
        table.add_row(*(
            *cells,
            tries,
            f"{outcome.cpu_seconds:.1f}",
            f"{times[0]:.2f}",
            f"{outcome.seconds:.1f}",
            f"{times[1]:.2f}",
        ))
        expected = () if name == "good" else batch.poisoned
        if outcome.record.status != wanted[name]:
            missed.append(f"{kind}, {name}: {outcome.record.status}: {outcome.record.error}")
        if set(outcome.named) != set(expected):
            missed.append(f"{kind}, {name}: named {[edit.subject for edit in outcome.named]}")
        if times[0] > MOST_TIMES:
            missed.append(f"{kind}, {name}: {times[0]:.2f} times the good batch")
    return missed


if __name__ == "__main__":
    sys.exit(main())
