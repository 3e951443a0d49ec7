"""The versions in memory: which one is live, who uses which, and when one may leave.

A version is a view of the one loaded model. Loading happens in a thread of its own or in the promoting one, never in
the one that decodes, so running answers do not stall. Making a version live is one assignment, after it is complete.
A version is used from the moment somebody asks for it until their answer is made; it leaves memory when nobody uses
it, it is not live, and more are held than the limit says (which those in use may exceed). Knows no Redis and no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from editing_core.errors import NotFound, StoreDamaged, StoreMismatch
from editing_core.models.load import LoadedModel
from editing_core.versions.layout import ORIGINAL
from editing_core.versions.store import VersionStore
from editing_core.versions.views import make_view
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.loop import DecodeLoop
from service.generation.errors import NothingServed
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resident:
    """A version that can be asked."""

    version: str
    digest: str
    """Of the edited matrices as served."""
    model: nn.Module
    engine: DecodeEngine


class ResidentVersions:
    """Holds versions, hands them out, and lets them go."""

    def __init__(
        self,
        loaded: LoadedModel,
        store: VersionStore,
        loop: DecodeLoop,
        *,
        num_places: int,
        max_waiting: int,
        max_resident: int,
    ) -> None:
        self._loaded = loaded
        self._store = store
        self._loop = loop
        self._num_places = num_places
        self._max_waiting = max_waiting
        self._max_resident = max_resident
        self._live: Resident | None = None
        self._held: dict[str, Resident] = {}
        """In order of last use, the least recent first."""
        self._loading: dict[str, Future[Resident]] = {}
        self._uses: Counter[str] = Counter()
        self._lock = threading.Lock()
        """Guards the four above."""
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="errata-load")

    @property
    def live(self) -> Resident | None:
        """The version that answers who names none; None until the first is promoted."""
        return self._live

    @property
    def versions(self) -> tuple[str, ...]:
        """What is in memory."""
        with self._lock:
            return tuple(self._held)

    def promote(self, version: str, *, digest: str | None = None) -> Resident:
        """Load the version if need be, in the calling thread, then make it live.

        ``digest``: what the ledger says that it must have. Whatever is live stays so when this raises: NotFound,
        StoreDamaged, StoreMismatch, or what the device raises when its memory is full.
        """
        self._begin_use(version)
        try:
            future, mine = self._find(version)
            if mine:
                self._load_into(future, version)
            resident = future.result()
            self._require_digest(resident, digest)
            self._live = resident
        finally:
            self._end_use(version)
        return resident

    @asynccontextmanager
    async def lease(self, version: str | None = None, *, digest: str | None = None) -> AsyncIterator[Resident]:
        """Hold the live version, or the named one (loaded on demand), for as long as an answer is made.

        ``digest``: as for ``promote``. Raises NotFound for a version that is not kept, StoreDamaged, NothingServed.
        """
        name = self._begin_use(version)
        try:
            future, mine = self._find(name)
            if mine:
                self._loader.submit(self._load_into, future, name)
            # Shielded: others may be waiting for the same version when this client goes.
            resident = await asyncio.shield(asyncio.wrap_future(future))
            self._require_digest(resident, digest)
            yield resident
        finally:
            self._end_use(name)

    def close(self) -> None:
        """End the loading thread."""
        self._loader.shutdown(wait=True, cancel_futures=True)

    def _begin_use(self, version: str | None) -> str:
        with self._lock:
            if version is None:
                if self._live is None:
                    raise NothingServed("no version could be loaded yet: GET /readyz says why", retry_after_seconds=2)
                version = self._live.version
            self._uses[version] += 1
            return version

    def _end_use(self, version: str) -> None:
        with self._lock:
            self._uses[version] -= 1
            if not self._uses[version]:
                del self._uses[version]
            self._evict()

    def _find(self, version: str) -> tuple[Future[Resident], bool]:
        """The version, there or on its way; True when the caller must see to it that it is loaded."""
        with self._lock:
            if version in self._held:
                self._held[version] = self._held.pop(version)
                there: Future[Resident] = Future()
                there.set_result(self._held[version])
                return there, False
            if version in self._loading:
                return self._loading[version], False
            self._loading[version] = Future()
            return self._loading[version], True

    def _load_into(self, future: Future[Resident], version: str) -> None:
        started = time.perf_counter()
        try:
            resident = self._load(version)
        except Exception as error:  # noqa: BLE001 -- goes to whoever waits for the version
            with self._lock:
                del self._loading[version]
            level = logging.INFO if isinstance(error, NotFound) else logging.WARNING
            log_event(logger, "version_not_loaded", level=level, version=version, reason=str(error))
            future.set_exception(_for_clients(version, error))
            return
        with self._lock:
            self._loop.add(resident.engine)
            self._held[version] = resident
            del self._loading[version]
            self._evict()
        log_event(logger, "version_loaded", version=version, seconds=round(time.perf_counter() - started, 3))
        future.set_result(resident)

    def _load(self, version: str) -> Resident:
        try:
            manifest = self._store.read_manifest(version)
        except NotFound:  # in words for clients, who have no business with the store's folder
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are kept") from None
        fingerprint = manifest.model_fingerprint
        if fingerprint is not None and fingerprint != self._loaded.fingerprint:
            raise StoreMismatch(
                f"version {version} was made for the model {fingerprint}, and the one loaded here is "
                f"{self._loaded.fingerprint}: start with the store's model, or with another data folder"
            )
        model: Any = self._loaded.model
        if version != ORIGINAL:
            model = make_view(model, self._store.load_tensors(version, self._loaded.device))
        engine = DecodeEngine(
            model,
            self._loaded.tokenizer,
            num_places=self._num_places,
            max_length=self._loaded.max_positions,
            max_waiting=self._max_waiting,
        )
        assert manifest.digest is not None, "the store gives finished manifests"
        return Resident(version=version, digest=manifest.digest, model=model, engine=engine)

    def _require_digest(self, resident: Resident, digest: str | None) -> None:
        """Raise StoreDamaged for another digest; the version is then read anew next time, unless others use it."""
        if digest is None or resident.digest == digest:
            return
        version = resident.version
        with self._lock:
            if self._held.get(version) is resident and resident is not self._live and self._uses[version] == 1:
                del self._held[version]
                self._loop.remove(resident.engine)
        raise StoreDamaged(
            f"version {version} has the digest {resident.digest} on disk and {digest} in the ledger: "
            "restore it from a backup, or promote another version"
        )

    def _evict(self) -> None:
        """Let go of the least recently used ones above the limit; the lock is held."""
        for version, resident in list(self._held.items()):
            if len(self._held) <= self._max_resident:
                return
            if resident is not self._live and not self._uses[version]:
                del self._held[version]
                self._loop.remove(resident.engine)
                log_event(logger, "version_let_go", version=version)


def _for_clients(version: str, error: Exception) -> Exception:
    """The same in words for clients, where it names the store's files: those are in the log."""
    if isinstance(error, StoreDamaged | OSError):
        return StoreDamaged(
            f"version {version} is damaged or cannot be read: ask for another version; whoever runs this service finds "
            "the file in its log, and restores it from a backup or promotes another version"
        )
    return error
