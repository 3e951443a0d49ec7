"""The versions in memory: which one is live, who uses which, and when one may leave.

A version is a view of the one loaded model. Loading happens in a thread of its own or in the promoting one, never in
the one that decodes, so running answers do not stall. Making a version live is one assignment, after it is complete.
A version is used from the moment somebody asks for it until their answer is made; it leaves memory when nobody uses
it, it is not live, and either its files are gone or more are held than the limits say. Versions in use may exceed the
number, never the memory: who would then has to wait. Knows no Redis and no HTTP.
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

from editing_core.errors import NotFound
from editing_core.versions.layout import ORIGINAL
from service.generation.decoding.loop import DecodeLoop
from service.generation.errors import NoRoom, NothingServed
from service.generation.versions.loading import Resident, VersionLoader, for_clients, loudness_of, require_digest, there
from service.generation.versions.room import Room, no_room
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)


class ResidentVersions:
    """Holds versions, hands them out, and lets them go."""

    def __init__(
        self,
        loader: VersionLoader,
        loop: DecodeLoop,
        *,
        room: Room,
        max_resident: int,
        on_loaded: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``on_loaded``: told how long it took to load a version."""
        self._on_loaded = on_loaded
        self._versions = loader
        self._loop = loop
        self._room = room
        self._max_resident = max_resident
        self._live: Resident | None = None
        self._held: dict[str, Resident] = {}
        """In order of last use, the least recent first."""
        self._aside: list[Resident] = []
        """With another digest than the ledger's, and live or in use."""
        self._loading: dict[str, Future[Resident]] = {}
        self._uses: Counter[str] = Counter()
        """Who is just getting a version, by its name."""
        self._leased: Counter[Resident] = Counter()
        """Who has got which."""
        self._lock = threading.Lock()
        """Guards the six above."""
        self._awaited: str | None = None
        """What is to be live, while it waits for versions in use to leave."""
        self._loading_one = threading.Lock()
        """Held while memory is counted and taken: two loads must not count on the same."""
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

    @property
    def size_bytes(self) -> int:
        """What the versions in memory add to the model."""
        with self._lock:
            return self._size_bytes()

    def promote(self, version: str, *, digest: str | None = None) -> Resident:
        """Load the version if need be, in the calling thread, then make it live.

        ``digest``: what the ledger says that it must have. Whatever is live stays so when this raises: NotFound,
        StoreDamaged, StoreMismatch, or what the device raises when its memory is full.
        """
        self._begin_use(version)
        awaited = None
        try:
            future, mine = self._find(version, digest)
            if mine:
                self._load_into(future, version)
            resident = future.result()
            require_digest(resident, digest)
            self._live = resident
        except NoRoom as error:
            awaited = version if error.is_passing else None
            raise
        finally:
            self._awaited = awaited
            self._end_use(version)
        return resident

    @asynccontextmanager
    async def lease(self, version: str | None = None, *, digest: str | None = None) -> AsyncIterator[Resident]:
        """Hold the live version, or the named one (loaded on demand), for as long as an answer is made.

        ``digest``: as for ``promote``. Raises NotFound for a version that is not kept, StoreDamaged, NothingServed.
        """
        name = self._begin_use(version)
        try:
            self._require_kept(name)
            future, mine = self._find(name, digest)
            if mine:
                self._loader.submit(self._load_into, future, name)
            # Shielded: others may be waiting for the same version when this client goes.
            resident = await asyncio.shield(asyncio.wrap_future(future))
            require_digest(resident, digest)
            with self._lock:
                self._leased[resident] += 1
        finally:
            self._end_use(name)
        try:
            yield resident
        finally:
            self._give_back(resident)

    def tidy(self) -> None:
        """Let go of what nobody uses and whose files are gone."""
        with self._lock:
            self._evict()

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

    def _give_back(self, resident: Resident) -> None:
        with self._lock:
            self._leased[resident] -= 1
            if not self._leased[resident]:
                del self._leased[resident]
            self._evict()

    def _end_use(self, version: str) -> None:
        with self._lock:
            self._uses[version] -= 1
            if not self._uses[version]:
                del self._uses[version]
            self._evict()

    def _find(self, version: str, digest: str | None) -> tuple[Future[Resident], bool]:
        """The version, there or on its way; True when the caller must see to it that it is loaded.

        One of another digest is put aside, and read anew: its files may have been restored.
        """
        with self._lock:
            if version in self._held and digest not in {None, self._held[version].digest}:
                self._aside.append(self._held.pop(version))
            if version in self._held:
                self._held[version] = self._held.pop(version)
            if digest is None and self._live is not None and self._live.version == version:
                return there(self._live), False
            if version in self._held:
                return there(self._held[version]), False
            if version in self._loading:
                return self._loading[version], False
            self._loading[version] = Future()
            return self._loading[version], True

    def _load_into(self, future: Future[Resident], version: str) -> None:
        started = time.perf_counter()
        try:
            with self._loading_one:
                resident = self._versions.load(version, make_room=self._make_room)
        except Exception as error:  # noqa: BLE001 -- goes to whoever waits for the version
            with self._lock:
                del self._loading[version]
            log_event(logger, "version_not_loaded", level=loudness_of(error), version=version, reason=str(error))
            future.set_exception(for_clients(version, error))
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

    def _make_room(self, version: str, size_bytes: int) -> None:
        """Let unused versions go, the least recently used first, until this one fits. Raises NoRoom."""
        with self._lock:
            while missing := self._room.missing_bytes(size_bytes, held_bytes=self._size_bytes()):
                unused = [held for held in self._held.values() if self._is_unused(held) and held.size_bytes]
                if not unused:
                    held = [held for held in (*self._held.values(), *self._aside) if held.size_bytes]
                    ending = sum(_size(resident) for resident in held if resident is not self._live)
                    using = [resident.version for resident in held]
                    raise no_room(version, size_bytes, missing_bytes=missing, using=using, is_passing=missing <= ending)
                self._let_go(unused[0])

    def _size_bytes(self) -> int:
        return sum(map(_size, (*self._held.values(), *self._aside)))

    def _require_kept(self, version: str) -> None:
        """Raise NotFound where the files are gone: in memory a version stays until its last use ends.

        Raises NoRoom where the version that is to be live waits for others to leave: whoever names one would keep it.
        """
        is_live = self._live is not None and self._live.version == version
        if self._awaited not in {None, version, ORIGINAL} and not is_live and version != ORIGINAL:
            raise NoRoom(f"{self._awaited} waits for memory, to go live: ask again", is_passing=True)
        if not is_live and not self._versions.is_kept(version):
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are kept")

    def _is_unused(self, resident: Resident) -> bool:
        return resident is not self._live and not self._leased[resident] and not self._uses[resident.version]

    def _evict(self) -> None:
        """Let go of what is no longer kept, and of the least recently used ones above the limit; the lock is held."""
        for resident in [resident for resident in self._held.values() if self._is_unused(resident)]:
            if len(self._held) > self._max_resident or not self._versions.is_kept(resident.version):
                self._let_go(resident)
        for resident in [resident for resident in self._aside if self._is_unused(resident)]:
            self._aside.remove(resident)
            self._loop.remove(resident.engine)

    def _let_go(self, resident: Resident) -> None:
        del self._held[resident.version]
        self._loop.remove(resident.engine)
        log_event(logger, "version_let_go", version=resident.version)


def _size(resident: Resident) -> int:
    return resident.size_bytes
