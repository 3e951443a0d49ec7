"""The composition root of generation: the loaded model, its versions, the threads and the routes."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from prometheus_client import CollectorRegistry

from editing_core.editor.memory_plan import outlook
from editing_core.errors import StoreMismatch
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.memory import free_bytes, held_bytes
from editing_core.versions.identity import StoreIdentity, bind_identity, open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.decoding.loop import DecodeLoop, freeze_garbage_collector
from service.generation.generation_service import GenerationService
from service.generation.http.callers import READ_GRACE_SECONDS, Callers
from service.generation.http.openai.catalogue import Catalogue, model_name
from service.generation.http.openai.routes import openai_router
from service.generation.http.resident import resident_router
from service.generation.http.routes import generation_router
from service.generation.messages import Caller, Sampling, VersionChoice
from service.generation.metrics import GenerationMetrics
from service.generation.prompts import Prompts
from service.generation.versions.loading import EngineLimits, VersionLoader
from service.generation.versions.memory_budget import MemoryBudget
from service.generation.versions.min_version import MinVersionResolver
from service.generation.versions.resident import ResidentVersions
from service.generation.versions.watcher import PointerWatcher
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.settings import Settings

LOGGER = logging.getLogger(__name__)
SMALL_MODEL_BYTES = 64 * 1024 * 1024


class GenerationRuntime:
    """Owns the loaded model and its versions; ``start`` creates it, ``close`` ends its threads."""

    def __init__(
        self,
        loaded: LoadedModel,
        store: VersionStore,
        ledger: Ledger,
        *,
        settings: Settings,
        registry: CollectorRegistry,
        read_grace_seconds: float = READ_GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read_grace_seconds``: time after an answer's deadline during which a client may still read its stream.

        ``clock``: seconds by which delays and cached look-ups of versions are measured.
        """
        self._loop = DecodeLoop()
        metrics = GenerationMetrics(registry)
        self._loader = VersionLoader(loaded, store, _engine_limits(settings))
        self._residents = ResidentVersions(
            self._loader,
            self._loop,
            memory=MemoryBudget(limit_bytes=settings.resident_bytes, free_bytes=lambda: free_bytes(loaded.device)),
            max_resident=settings.resident_versions,
            on_loaded=metrics.record_load,
        )
        self._watcher = PointerWatcher(
            ledger,
            store,
            self._residents,
            metrics=metrics,
            poll_seconds=settings.pointer_poll_seconds,
            take_longest_pause=self._loop.take_longest_pause,
            name=f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}",
            clock=clock,
        )
        min_version = MinVersionResolver(
            ledger,
            store,
            self._residents,
            self._watcher,
            poll_seconds=settings.pointer_poll_seconds,
            wait_seconds=settings.min_version_wait_seconds,
            clock=clock,
        )
        self._register_gauges(metrics)
        self._prompts = Prompts(loaded, max_new_tokens=settings.max_new_tokens)
        self._service = service = GenerationService(
            self._prompts, self._residents, self._loop, min_version=min_version, metrics=metrics
        )
        self._max_seconds = settings.max_answer_seconds
        callers = Callers(max_seconds=settings.max_answer_seconds, read_grace_seconds=read_grace_seconds)
        catalogue = Catalogue(name=model_name(loaded.source), ledger=ledger, store=store)
        self.router = generation_router(service, callers)
        self.router.include_router(openai_router(service, callers, catalogue))
        self.router.include_router(resident_router(loaded, self._residents, store=open_identity(settings.data).id))

    def _register_gauges(self, metrics: GenerationMetrics) -> None:
        metrics.watch(
            self._loop.counts,
            lambda: len(self._residents.versions),
            resident_bytes=lambda: self._residents.size_bytes,
            is_ready=lambda: self._is_ready,
            gpu_bytes=held_bytes,
        )
        metrics.watch_pointer(
            num_behind=lambda: self._watcher.state.num_behind,
            seconds_behind=lambda: self._watcher.seconds_behind,
            waits_for_memory=lambda: self._watcher.state.waits_for_memory,
            digest_matches=lambda: not self._watcher.state.is_damaged,
        )

    @classmethod
    def start(cls, settings: Settings, ledger: Ledger, *, registry: CollectorRegistry) -> GenerationRuntime:
        """Load the model, serve the live version, and follow the pointer.

        Raises what ``load_model`` and ``outlook`` raise, and StoreMismatch if the store belongs to another model or
        was solved in another dtype, because its checks would not hold for the model that is served here. A live
        version that cannot be loaded does not stop the start; ``readiness`` reports it.
        """
        device = settings.generation_device or settings.device
        needs = outlook(settings.model, device=device, dtype=settings.dtype, layers=settings.layers)
        log_event(
            LOGGER,
            "generation.memory",
            level=logging.INFO,
            **needs.log_fields("model", "version"),
            resident_versions=settings.resident_versions,
        )
        if (num_threads := settings.num_threads or _threads_for(needs.needs.model)) is not None:
            torch.set_num_threads(num_threads)
        loaded = load_model(settings.model, device=device, dtype=settings.dtype)
        identity = bind_identity(settings.data, model=loaded.fingerprint, model_source=loaded.source)
        _require_same_dtype(identity, loaded)
        store = VersionStore(StoreLayout(settings.data))
        runtime = cls(loaded, store, ledger, settings=settings, registry=registry)
        freeze_garbage_collector()  # before any version is loaded, because versions must be collected later
        return runtime.run()

    def run(self) -> GenerationRuntime:
        """Start the threads. Returns once the live version is served or could not be loaded."""
        self._loader.warm_up()
        self._loop.start()
        self._watcher.start()
        return self

    async def generate_texts(
        self, prompts: Sequence[str], *, version: str, max_new_tokens: int, client: str
    ) -> list[str]:
        """Continue each prompt greedily with a version. Requests queue under ``client``.

        Raises what ``GenerationService`` raises.
        """
        sampling, choice = Sampling(max_new_tokens=max_new_tokens), VersionChoice(version=version)
        seconds = self._max_seconds
        caller = Caller(name=client, timeout_seconds=seconds, read_seconds=seconds)
        done = await self._service.generate(prompts, sampling, choice, caller=caller)
        return [result.text for result in done.results]

    def readiness(self) -> dict[str, object]:
        """Return whether the live version is in memory, and the missing parts, as ``GET /readyz`` reports them."""
        live, state = self._residents.live, self._watcher.state
        running, waiting = self._loop.counts()
        return {
            "ready": self._is_ready,
            "degraded": state.degraded is not None,
            "reason": state.problem or state.degraded or (None if self._loop.is_alive else "the decode loop has ended"),
            "version": live.version if live else None,
            "digest": live.digest if live else None,
            "pointer_revision": state.served.revision if state.served else None,
            "wanted_version": state.wanted.version if state.wanted else None,
            "wanted_revision": state.wanted.revision if state.wanted else None,
            "behind_revisions": state.num_behind,
            "behind_seconds": round(self._watcher.seconds_behind, 3),
            "waits_for_memory": state.waits_for_memory,
            "resident_versions": list(self._residents.versions),
            "running": running,
            "waiting": waiting,
        }

    @property
    def _is_ready(self) -> bool:
        return self._residents.live is not None and self._watcher.state.problem is None and self._loop.is_alive

    @property
    def num_leases(self) -> int:
        """The number of requests that keep a version in memory."""
        return self._residents.num_leases

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Hold decoding between two steps while the context is open."""
        with self._loop.pause():
            yield

    def follow_pointer(self) -> None:
        """Look for a new live version now, and do not wait for it."""
        self._watcher.nudge()

    def end_answers(self) -> None:
        """End open requests with an error that says that the service is stopping. Waits for the current step."""
        self._loop.stop()

    def close(self) -> None:
        """End the threads. Open requests end with an error. A second call does nothing."""
        self._watcher.stop()
        self._loop.stop()
        self._prompts.close()
        self._residents.close()


def _threads_for(model_bytes: int) -> int | None:
    """Return 1 for a small model, whose products end before a second thread wakes; None: torch's default."""
    return 1 if model_bytes < SMALL_MODEL_BYTES else None


def _require_same_dtype(identity: StoreIdentity, loaded: LoadedModel) -> None:
    """Raise StoreMismatch if the store was solved in another dtype than the loaded model's."""
    solved_in = identity.settings.values.get("dtype") if identity.settings else None
    here = str(loaded.dtype).removeprefix("torch.")
    if solved_in not in {None, here}:
        raise StoreMismatch(
            f"the store's edits were solved and checked in {solved_in}, but the model is loaded in {here}: start "
            f"with ERRATA_DTYPE={solved_in} (--dtype), or with another data folder"
        )


def _engine_limits(settings: Settings) -> EngineLimits:
    return EngineLimits(
        num_places=settings.num_places, max_waiting=settings.max_waiting, prefill_tokens=settings.prefill_tokens
    )
