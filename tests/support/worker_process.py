"""The worker in its own process on a tiny model, with the steps of a test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from editing_core.edits import Edit
from editing_core.versions.identity import open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.facts import take_in
from tests.support.tiny_models import TinyFamily, save_tiny_model
from worker.protocol.connections import connect, connect_queue
from worker.protocol.entities import BatchRecord, BatchState
from worker.protocol.keys import Keys, targets_unit
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue
from worker.protocol.settings import Settings, fresh_environment
from worker.session import EditingSession

QUICK = {"lease_seconds": 2.0, "reconcile_seconds": 0.5, "num_threads": 1, "log_format": "json"}
"""Settings under which a killed worker is missed soon, and many processes share few cores."""
WAIT_SECONDS = 240.0
LAX: dict[str, object] = {
    "min_reliability": 0.0,
    "min_specificity": 0.0,
    "min_earlier_kept": 0.0,
    "max_drift": 1e9,
    "max_perplexity_rise": 1e9,
    "max_delta_norm": 1e9,
    "max_delta_per_edit": 1e9,
}
"""Limits for a random model, which has no knowledge to lose and takes few edits."""
CORPUS = Path(__file__).parents[2] / "editing_core" / "demo" / "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """A tiny model and its artefacts, made once for many stores."""

    settings: dict[str, object]
    artefacts: Path

    def bench(self, data: Path, redis_url: str, **settings: object) -> WorkerBench:
        """A new store for this model."""
        shutil.copytree(self.artefacts, StoreLayout(data).artefacts_dir)
        return WorkerBench(data=data, redis_url=redis_url, settings=self.settings | settings)


def prepare_model(folder: Path, family: TinyFamily) -> PreparedModel:
    """Make the model and its artefacts under ``folder``."""
    corpus = folder / "corpus.txt"
    corpus.write_text((CORPUS / "heldout.txt").read_text())
    settings: dict[str, object] = LAX | {
        "model": str(save_tiny_model(folder / "model", family)),
        "corpus": str(corpus),
        "layers": "1,2",
        "prior_weight": 5.0,
        "clamp": 2.0,
    }
    EditingSession.open(Settings.model_validate({**settings, "data": folder / "data", "num_threads": 1}))
    return PreparedModel(settings=settings, artefacts=StoreLayout(folder / "data").artefacts_dir)


def prepare_demo_model(folder: Path) -> PreparedModel:
    """The artefacts of demo-gptj, with the default limits of the checks."""
    settings: dict[str, object] = {"model": "demo-gptj", "device": "cpu"}
    EditingSession.open(Settings.model_validate({**settings, "data": folder / "data"}))
    return PreparedModel(settings=settings, artefacts=StoreLayout(folder / "data").artefacts_dir)


@dataclass(slots=True)
class WorkerBench:
    """One store, its Redis, and the workers that are started on it."""

    data: Path
    redis_url: str
    settings: dict[str, object]
    process: subprocess.Popen[bytes] | None = None
    """The worker started last."""

    @property
    def ledger(self) -> Ledger:
        return Ledger(connect(self.redis_url), Keys(self.store_id))

    @property
    def queue(self) -> WorkQueue:
        return WorkQueue(connect_queue(self.redis_url), self.store_id, job_timeout_seconds=3600)

    @property
    def store_id(self) -> str:
        return open_identity(self.data).id

    @property
    def store(self) -> VersionStore:
        return VersionStore(StoreLayout(self.data))

    @property
    def log(self) -> Path:
        return self.data / "worker.log"

    def make_ready(self, *edits: Edit, **options: object) -> str:
        """Accept a batch and move it to ``ready`` with no target computed: a commit computes what is missing."""
        ledger, batch = self.ledger, take_in(self.ledger, *edits, **options).record.spec.id  # type: ignore[arg-type]
        lease = ledger.leases.acquire(targets_unit(batch, 0), holder="test", ttl_seconds=60)
        assert lease is not None
        assert ledger.transitions.begin_shard(batch, 0, lease)
        assert ledger.transitions.shard_done(batch, 0, lease) == 0
        ledger.leases.release(lease)
        return batch

    def send(self, *edits: Edit, **options: object) -> str:
        """Accept a batch and wake the workers, as the API does; its id."""
        batch = take_in(self.ledger, *edits, **options).record.spec.id  # type: ignore[arg-type]
        self.queue.enqueue_units(self.ledger.batches.open_units(batch))
        return batch

    @contextmanager
    def worker(self, *, dying: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """A worker; ``dying`` (``("before", "publication.publish")``): the call at which it kills itself."""
        module = ("tests.support.dying_worker", *dying) if dying else ("worker.main",)
        options = QUICK | {"data": self.data, "redis_url": self.redis_url} | self.settings
        environment = fresh_environment(**options) | {"OMP_WAIT_POLICY": "PASSIVE"}
        self.data.mkdir(parents=True, exist_ok=True)
        with (
            self.log.open("ab") as output,
            subprocess.Popen([sys.executable, "-m", *module], env=environment, stdout=output, stderr=output) as process,
        ):
            self.process = process
            try:
                yield process
            finally:
                process.terminate()

    def wait(self, batch: str, *states: BatchState) -> BatchRecord:
        """The batch once it is in one of the states (a final one, by default)."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and (self.process is None or self.process.poll() is None):
            record = self.ledger.batches.get(batch)
            if record.status in states or record.is_final:
                return record
            time.sleep(0.05)
        raise AssertionError(f"{batch} is still {self.ledger.batches.get(batch)}:\n{self.log.read_text()}")

    def wait_for_death(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a worker that is to end by itself."""
        try:
            return process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker lives on:\n{self.log.read_text()}") from None
