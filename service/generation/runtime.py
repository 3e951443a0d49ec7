"""Generation in one process, put together: the loaded model, its versions, the threads, the routes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from prometheus_client import CollectorRegistry

from editing_core.editor.memory_plan import outlook
from editing_core.errors import StoreMismatch
from editing_core.models.load import LoadedModel, load_model
from editing_core.models.memory import free_bytes, held_bytes
from editing_core.versions.identity import StoreIdentity, bind_identity, open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.asking import Asker
from service.generation.decoding.loop import DecodeLoop, spare_what_is_there
from service.generation.http.callers import Callers
from service.generation.http.openai.catalogue import Catalogue, model_name
from service.generation.http.openai.routes import openai_router
from service.generation.http.routes import generation_router
from service.generation.metrics import GenerationMetrics
from service.generation.prompts import Prompts
from service.generation.questions import Caller, Choice, Sampling
from service.generation.resident_digests import resident_router
from service.generation.versions.loading import EngineLimits, VersionLoader
from service.generation.versions.min_version import Lineage
from service.generation.versions.resident import ResidentVersions
from service.generation.versions.room import Room
from service.generation.versions.watcher import PointerWatcher
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.settings import Settings

LOGGER = logging.getLogger(__name__)
SMALL_MODEL_BYTES = 64 * 1024 * 1024


class GenerationRuntime:
    """Owns the resident model; ``start`` makes it, ``close`` ends its threads."""

    def __init__(
        self,
        loaded: LoadedModel,
        store: VersionStore,
        ledger: Ledger,
        *,
        settings: Settings,
        registry: CollectorRegistry,
    ) -> None:
        self._loop = DecodeLoop()
        metrics = GenerationMetrics(registry)
        limits = EngineLimits(
            num_places=settings.num_places, max_waiting=settings.max_waiting, prefill_tokens=settings.prefill_tokens
        )
        self._loader = VersionLoader(loaded, store, limits)
        self._residents = ResidentVersions(
            self._loader,
            self._loop,
            room=Room(limit_bytes=settings.resident_bytes, free_bytes=lambda: free_bytes(loaded.device)),
            max_resident=settings.resident_versions,
            on_loaded=metrics.loaded,
        )
        self._watcher = PointerWatcher(
            ledger,
            store,
            self._residents,
            metrics=metrics,
            poll_seconds=settings.pointer_poll_seconds,
            take_longest_pause=self._loop.take_longest_pause,
        )
        lineage = Lineage(
            ledger,
            store,
            self._residents,
            self._watcher,
            poll_seconds=settings.pointer_poll_seconds,
            wait_seconds=settings.min_version_wait_seconds,
        )
        self._show(metrics)
        self._prompts = Prompts(loaded, max_new_tokens=settings.max_new_tokens)
        self._asker = asker = Asker(self._prompts, self._residents, self._loop, lineage=lineage, metrics=metrics)
        self._max_seconds = settings.max_answer_seconds
        callers = Callers(max_seconds=settings.max_answer_seconds)
        catalogue = Catalogue(name=model_name(loaded.source), ledger=ledger, store=store)
        self.router = generation_router(asker, callers)
        self.router.include_router(openai_router(asker, callers, catalogue))
        self.router.include_router(resident_router(loaded, self._residents, store=open_identity(settings.data).id))

    def _show(self, metrics: GenerationMetrics) -> None:
        metrics.watch(
            self._loop.counts,
            lambda: len(self._residents.versions),
            resident_bytes=lambda: self._residents.size_bytes,
            is_ready=lambda: self._is_ready,
            gpu_bytes=held_bytes,
        )
        metrics.watch_pointer(
            num_behind=lambda: self._watcher.state.num_behind,
            seconds_behind=lambda: self._watcher.state.seconds_behind,
            waits_for_room=lambda: self._watcher.state.waits_for_room,
            digest_matches=lambda: not self._watcher.state.is_damaged,
        )

    @classmethod
    def start(cls, settings: Settings, ledger: Ledger, *, registry: CollectorRegistry) -> GenerationRuntime:
        """Load the model, serve what is live, follow the pointer.

        Raises what ``load_model`` and ``outlook`` raise, and StoreMismatch when the store belongs to another model or
        was solved in another dtype: what its checks found would not hold for what is served here. A live version
        that cannot be loaded does not stop the start: ``readiness`` tells of it.
        """
        device = settings.generation_device or settings.device
        needs = outlook(settings.model, device=device, dtype=settings.dtype, layers=settings.layers)
        log_event(
            LOGGER,
            "generation.memory",
            level=logging.INFO,
            **needs.told("model", "version"),
            resident_versions=settings.resident_versions,
        )
        if (num_threads := settings.num_threads or _threads_for(needs.needs.model)) is not None:
            torch.set_num_threads(num_threads)
        loaded = load_model(settings.model, device=device, dtype=settings.dtype)
        identity = bind_identity(settings.data, model=loaded.fingerprint, model_source=loaded.source)
        _require_same_dtype(identity, loaded)
        store = VersionStore(StoreLayout(settings.data))
        runtime = cls(loaded, store, ledger, settings=settings, registry=registry)
        spare_what_is_there()  # before any version is there: a version is to leave memory again
        return runtime.run()

    def run(self) -> GenerationRuntime:
        """Start the threads; returns when what is live is served, or could not be loaded."""
        self._loader.warm_up()
        self._loop.start()
        self._watcher.start()
        return self

    async def writes(self, prompts: Sequence[str], *, version: str, max_new_tokens: int, client: str) -> list[str]:
        """What a version writes by itself after each prompt, in ``client``'s turn. Raises what ``Asker`` raises."""
        sampling, choice = Sampling(max_new_tokens=max_new_tokens), Choice(version=version)
        caller = Caller(name=client, timeout_seconds=self._max_seconds)
        done = await self._asker.generate(prompts, sampling, choice, caller=caller)
        return [result.text for result in done.results]

    def readiness(self) -> dict[str, object]:
        """Whether the live version is resident, and what is missing."""
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
            "behind_seconds": round(state.seconds_behind, 3),
            "waits_for_memory": state.waits_for_room,
            "resident_versions": list(self._residents.versions),
            "running": running,
            "waiting": waiting,
        }

    @property
    def _is_ready(self) -> bool:
        return self._residents.live is not None and self._watcher.state.problem is None and self._loop.is_alive

    def end_answers(self) -> None:
        """Answer what is still open with an error that says that the service is stopping; takes a step's time."""
        self._loop.stop()

    def close(self) -> None:
        """End the threads; open requests are answered with an error. A second call does nothing."""
        self._watcher.stop()
        self._loop.stop()
        self._prompts.close()
        self._residents.close()


def _threads_for(model_bytes: int) -> int | None:
    """One for a small model, whose products are done sooner than a second thread is woken; None: torch's choice."""
    return 1 if model_bytes < SMALL_MODEL_BYTES else None


def _require_same_dtype(identity: StoreIdentity, loaded: LoadedModel) -> None:
    """Raise StoreMismatch unless the model computes as it does in the worker, where that is known."""
    solved_in = identity.settings.values.get("dtype") if identity.settings else None
    here = str(loaded.dtype).removeprefix("torch.")
    if solved_in not in {None, here}:
        raise StoreMismatch(
            f"the store's edits were solved and checked in {solved_in}, and the model is loaded in {here} here: start "
            f"with ERRATA_DTYPE={solved_in} (--dtype), or with another data folder"
        )
