"""Manages the versions in memory: loads them, makes one live, leases them to requests, and unloads them.

A version is a view of the one loaded model. It is loaded in a separate thread, or in the thread that promotes it,
never in the decoding thread, so running answers do not stall. A version goes live by one assignment once it is
complete. It is in use from the moment a request names it until that request's answers are complete. A version is
unloaded when it is not in use, is not live, and either its files are gone or more versions are in memory than the
limit allows. Versions in use may exceed the limit on their number, but never the memory: further requests then have
to wait. This module does not depend on Redis or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager

from editing_core.errors import NotFound, StoreDamaged
from editing_core.models.memory import GIGA
from editing_core.versions.layout import ORIGINAL
from service.generation.decoding.loop import DecodeLoop
from service.generation.errors import NoRoom, NothingServed
from service.generation.versions.loading import Resident, VersionLoader
from service.generation.versions.memory_budget import MemoryBudget
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)


class ResidentVersions:
    """Loads versions, leases them to requests, and unloads them."""

    def __init__(
        self,
        loader: VersionLoader,
        loop: DecodeLoop,
        *,
        memory: MemoryBudget,
        max_resident: int,
        on_loaded: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``on_loaded`` is called with the seconds that loading a version took."""
        self._on_loaded = on_loaded
        self._loader = loader
        self._loop = loop
        self._memory = memory
        self._max_resident = max_resident
        self._live: Resident | None = None
        self._held: dict[str, Resident] = {}
        """The versions in memory, the least recently used first."""
        self._replaced: list[Resident] = []
        """Copies whose digest is not the ledger's and that are still live or in use."""
        self._loading: dict[str, Future[Resident]] = {}
        self._requested: Counter[str] = Counter()
        """The number of callers that are waiting for each version."""
        self._leased: Counter[Resident] = Counter()
        """The number of leases of each resident."""
        self._lock = threading.Lock()
        """Guards the six attributes above."""
        self._waiting_to_go_live: str | None = None
        """The version that goes live once versions in use have been unloaded."""
        self._load_lock = threading.Lock()
        """Held while memory is counted and taken, so two loads do not count on the same bytes."""
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="errata-load")

    @property
    def live(self) -> Resident | None:
        """The version that answers requests that name none; None until the first promotion."""
        return self._live

    @property
    def versions(self) -> tuple[str, ...]:
        """The names of the versions in memory."""
        with self._lock:
            return tuple(self._held)

    @property
    def num_leases(self) -> int:
        """The number of open leases."""
        with self._lock:
            return self._leased.total()

    @property
    def size_bytes(self) -> int:
        """The memory that versions take in addition to the model."""
        with self._lock:
            return self._size_bytes()

    def promote(self, version: str, *, digest: str | None = None) -> Resident:
        """Load the version in the calling thread unless it is in memory, then make it live.

        ``digest``: the digest that the ledger records for it. If this raises, the live version stays live. Raises
        NotFound, StoreDamaged, StoreMismatch, NoRoom, or what the device raises when its memory is full.
        """
        self._begin_request(version)
        waiting = None
        try:
            future, must_load = self._find(version, digest)
            if must_load:
                self._load_into(future, version)
            resident = future.result()
            _require_digest(resident, digest)
            self._live = resident
        except NoRoom as error:
            waiting = version if error.is_temporary else None
            raise
        finally:
            self._waiting_to_go_live = waiting
            self._end_request(version)
        return resident

    @asynccontextmanager
    async def lease(self, version: str | None = None, *, digest: str | None = None) -> AsyncIterator[Resident]:
        """Keep the live version, or the named one, in memory while the context is open; load it if necessary.

        ``digest``: as for ``promote``. Raises NotFound for a version that is not kept, StoreDamaged, NoRoom,
        NothingServed.
        """
        name = self._begin_request(version)
        try:
            self._require_kept(name)
            future, must_load = self._find(name, digest)
            if must_load:
                self._executor.submit(self._load_into, future, name)
            # Shielded, because other requests may wait for the same version when this one is cancelled.
            resident = await asyncio.shield(asyncio.wrap_future(future))
            _require_digest(resident, digest)
            with self._lock:
                self._leased[resident] += 1
        finally:
            self._end_request(name)
        try:
            yield resident
        finally:
            self._end_lease(resident)

    def evict_unused(self) -> None:
        """Unload versions that are not in use and whose files are gone."""
        with self._lock:
            self._evict()

    def close(self) -> None:
        """End the loading thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _begin_request(self, version: str | None) -> str:
        with self._lock:
            if version is None:
                if self._live is None:
                    raise NothingServed("no version could be loaded yet: GET /readyz says why", retry_after_seconds=2)
                version = self._live.version
            self._requested[version] += 1
            return version

    def _end_lease(self, resident: Resident) -> None:
        with self._lock:
            self._leased[resident] -= 1
            if not self._leased[resident]:
                del self._leased[resident]
            self._evict()

    def _end_request(self, version: str) -> None:
        with self._lock:
            self._requested[version] -= 1
            if not self._requested[version]:
                del self._requested[version]
            self._evict()

    def _find(self, version: str, digest: str | None) -> tuple[Future[Resident], bool]:
        """Return the version, loaded or being loaded, and True if the caller must load it.

        A copy with another digest is replaced. Its files are read again, because they may have been restored.
        """
        with self._lock:
            if version in self._held and digest not in {None, self._held[version].digest}:
                self._replaced.append(self._held.pop(version))
            if version in self._held:
                self._held[version] = self._held.pop(version)
            if digest is None and self._live is not None and self._live.version == version:
                return _completed(self._live), False
            if version in self._held:
                return _completed(self._held[version]), False
            if version in self._loading:
                return self._loading[version], False
            self._loading[version] = Future()
            return self._loading[version], True

    def _load_into(self, future: Future[Resident], version: str) -> None:
        started = time.perf_counter()
        try:
            with self._load_lock:
                resident = self._loader.load(version, free_memory=self._free_memory)
        except Exception as error:  # noqa: BLE001 -- passed on to every caller that waits for the version
            with self._lock:
                del self._loading[version]
            log_event(logger, "version_not_loaded", level=_log_level_of(error), version=version, reason=str(error))
            future.set_exception(_without_paths(version, error))
            return
        with self._lock:
            self._loop.add(resident.engine)
            self._held[version] = resident
            del self._loading[version]
            self._evict()
        seconds = time.perf_counter() - started
        self._on_loaded(seconds)
        log_event(logger, "version_loaded", version=version, seconds=round(seconds, 3))
        future.set_result(resident)

    def _free_memory(self, version: str, size_bytes: int) -> None:
        """Unload unused versions, the least recently used first, until this one fits. Raises NoRoom."""
        with self._lock:
            while missing := self._memory.missing_bytes(size_bytes, held_bytes=self._size_bytes()):
                unused = [held for held in self._held.values() if self._is_unused(held) and held.size_bytes]
                if not unused:
                    raise self._no_room(version, size_bytes, missing_bytes=missing)
                self._unload(unused[0])

    def _no_room(self, version: str, size_bytes: int, *, missing_bytes: int) -> NoRoom:
        """Return the error for a version that does not fit; temporary if it fits after other answers end."""
        held = [held for held in (*self._held.values(), *self._replaced) if held.size_bytes]
        is_temporary = missing_bytes <= sum(resident.size_bytes for resident in held if resident is not self._live)
        used_by = ", ".join(resident.version for resident in held) or "the model"
        detail = (
            f"{version} needs {size_bytes / GIGA:.3g} GB, {missing_bytes / GIGA:.3g} GB more than is free; "
            f"the rest is used by {used_by}"
        )
        if is_temporary:
            detail += ": it is loaded when their answers have ended"
        return NoRoom(detail, is_temporary=is_temporary)

    def _size_bytes(self) -> int:
        return sum(resident.size_bytes for resident in (*self._held.values(), *self._replaced))

    def _require_kept(self, version: str) -> None:
        """Raise NotFound if the version's files are gone. It may stay in memory, but only for requests that use it.

        Raises NoRoom while another version waits for memory to go live, because this request would delay it.
        """
        is_live = self._live is not None and self._live.version == version
        if self._waiting_to_go_live not in {None, version, ORIGINAL} and not is_live and version != ORIGINAL:
            raise NoRoom(f"{self._waiting_to_go_live} waits for memory to go live: ask again", is_temporary=True)
        if not is_live and not self._loader.is_kept(version):
            raise NotFound(f"there is no version {version!r}: GET /versions lists the versions that are kept")

    def _is_unused(self, resident: Resident) -> bool:
        return resident is not self._live and not self._leased[resident] and not self._requested[resident.version]

    def _evict(self) -> None:
        """Unload versions whose files are gone, and the least recently used above the limit. The lock must be held."""
        for resident in [resident for resident in self._held.values() if self._is_unused(resident)]:
            if len(self._held) > self._max_resident or not self._loader.is_kept(resident.version):
                self._unload(resident)
        for resident in [resident for resident in self._replaced if self._is_unused(resident)]:
            self._replaced.remove(resident)
            self._loop.remove(resident.engine)

    def _unload(self, resident: Resident) -> None:
        del self._held[resident.version]
        self._loop.remove(resident.engine)
        log_event(logger, "version_unloaded", version=resident.version)


def _require_digest(resident: Resident, digest: str | None) -> None:
    """Raise StoreDamaged if the resident has another digest than the ledger's."""
    if digest is None or resident.digest == digest:
        return
    raise StoreDamaged(
        f"version {resident.version} has the digest {resident.digest} on disk and {digest} in the ledger: "
        "restore it from a backup, or promote another version"
    )


def _without_paths(version: str, error: Exception) -> Exception:
    """Return the error to show to clients. An error that names files of the store is replaced and stays in the log."""
    if isinstance(error, StoreDamaged | OSError):
        shown = StoreDamaged(
            f"version {version} is damaged or cannot be read: ask for another version. Operators: the service's log "
            "names the file; restore it from a backup, or promote another version"
        )
        shown.__cause__ = error
        return shown
    return error


def _log_level_of(error: Exception) -> int:
    """Return the log level for a failed load; low for NoRoom, because that load is retried many times."""
    if isinstance(error, NoRoom):
        return logging.DEBUG
    return logging.INFO if isinstance(error, NotFound) else logging.WARNING


def _completed(resident: Resident) -> Future[Resident]:
    future: Future[Resident] = Future()
    future.set_result(resident)
    return future
