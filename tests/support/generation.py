"""Versions of tiny models for the tests of generation, and the answers of the library as a reference."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import torch
import uvicorn
from prometheus_client import CollectorRegistry

from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from service.api.app import create_app
from service.connections import limited_protocol
from service.generation.decoding.loop import DecodeLoop
from service.generation.http.callers import READ_GRACE_SECONDS
from service.generation.runtime import GenerationRuntime
from service.generation.versions.loading import EngineLimits, VersionLoader
from service.generation.versions.memory_budget import MemoryBudget
from service.generation.versions.resident import ResidentVersions
from tests.support.redis_server import Bench
from worker.protocol.entities import VersionRecord
from worker.protocol.keys import COMMIT_UNIT
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.settings import Settings

torch.set_num_threads(1)  # fastest for tiny models

PROMPTS = (
    "The mother tongue of Danielle Darrieux is",
    "Toyota",
    "The official language of Brunei is Malay. In Brunei, the language",
    "I",
    "Because of the rain, the house on the hill and the road to it were closed. Therefore, I think that you know",
    "The capital of France is Paris, and the capital of",
    "Michel Rocard is a native speaker of",
    "ß → 日本語 🙂",
)
"""Different lengths, from one token to many."""


def greedy_ids(model: Any, prompt_ids: list[int], num_tokens: int) -> list[int]:
    """The output of the library's own ``generate``, without the end token."""
    ids = torch.tensor([prompt_ids])
    found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens, do_sample=False)
    written: list[int] = found[0, len(prompt_ids) :].tolist()
    return written[:-1] if written[-1] == model.generation_config.eos_token_id else written


def greedy_text(model: Any, tokenizer: Any, prompt: str, num_tokens: int) -> str:
    """The same for texts."""
    return str(tokenizer.decode(greedy_ids(model, tokenizer(prompt)["input_ids"], num_tokens)))


def changed_weights(loaded: LoadedModel, seed: int) -> dict[str, torch.Tensor]:
    """Projections of two layers, changed enough that the answers differ."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in (1, 2):
        weight = loaded.family.projection_weight(loaded.model, layer)
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
        weights[loaded.family.projection_weight_name(layer)] = weight.float() + noise * float(weight.float().std())
    return weights


def write_version(
    store: VersionStore,
    loaded: LoadedModel,
    version: str,
    *,
    parent: str = "v0",
    fingerprint: str | None = None,
    seed: int | None = None,
) -> Manifest:
    """A version whose weights follow from its number, or from ``seed``."""
    manifest = Manifest(
        version=version,
        parent=parent,
        created="2026-01-01T00:00:00Z",
        store="test",
        model_fingerprint=fingerprint or loaded.fingerprint,
        settings={},
        edits=(),
        batches={},
        delta_norms={},
        checks={},
        tensors={},
    )
    return store.write(manifest, changed_weights(loaded, seed=int(version[1:]) if seed is None else seed))


def view_of(loaded: LoadedModel, version: str) -> Any:
    """The model with the matrices of that version."""
    return loaded.model if version == "v0" else make_view(loaded.model, changed_weights(loaded, seed=int(version[1:])))


def publish(ledger: Ledger, manifest: Manifest, *, candidate_until: str | None = None) -> None:
    """Make a written version known and live (or a candidate), as a commit without batches does."""
    lease = ledger.leases.acquire(COMMIT_UNIT, holder="test", ttl_seconds=60)
    assert lease is not None
    assert manifest.digest is not None
    record = VersionRecord(
        id=manifest.version, parent=manifest.parent, created=manifest.created, num_edits=0, digest=manifest.digest
    )
    revision = ledger.versions.pointer().revision
    ledger.publication.publish(
        lease,
        expected_revision=revision,
        version=record,
        edit_ids=(),
        reports={},
        candidate_until=candidate_until,
    )
    ledger.leases.release(lease)


@contextmanager
def small_residents(loaded: LoadedModel, store: VersionStore) -> Iterator[ResidentVersions]:
    """Room for two versions of a tiny model, with small limits."""
    loader = VersionLoader(loaded, store, EngineLimits(num_places=2, max_waiting=8, prefill_tokens=64))
    memory = MemoryBudget(limit_bytes=None, free_bytes=lambda: None)
    residents = ResidentVersions(loader, DecodeLoop(), memory=memory, max_resident=2)
    yield residents
    residents.close()


@contextmanager
def serving(
    bench: Bench,
    store: VersionStore,
    loaded: LoadedModel,
    *,
    read_grace_seconds: float = READ_GRACE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    **options: object,
) -> Iterator[tuple[GenerationRuntime, httpx.Client]]:
    """Generation over real HTTP on a free port, and a client of it."""
    defaults: dict[str, object] = {"role": "generation", "pointer_poll_seconds": 0.02}
    settings = Settings.model_validate({**defaults, "data": store.layout.root, **options})
    registry = CollectorRegistry()
    runtime = GenerationRuntime(
        loaded,
        store,
        bench.ledger,
        settings=settings,
        registry=registry,
        read_grace_seconds=read_grace_seconds,
        clock=clock,
    ).run()
    app = create_app(settings, bench.ledger, bench.queue, generation=runtime, registry=registry)
    config = uvicorn.Config(app, port=0, http=limited_protocol(), lifespan="off", ws="none", log_config=None)
    server = uvicorn.Server(config)
    listener = server.config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield runtime, client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        runtime.close()
