"""Follows the pointer: loads the version that the ledger says is live, and makes it live in this process.

While Redis is down, the served version stays live. If a version cannot be loaded, the version before it stays live,
``state`` has the reason, and loading is retried with growing delays. This module does not depend on HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from editing_core.errors import ErrataError, NotFound, StoreDamaged, StoreMismatch
from editing_core.versions.store import VersionStore
from service.generation.errors import NoRoom
from service.generation.metrics import GenerationMetrics
from service.generation.versions.resident import ResidentVersions
from worker.protocol.entities import ORIGINAL, Pointer
from worker.protocol.errors import LedgerDown
from worker.protocol.head_state import describe_older_redis
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.replicas import RENEW_SECONDS

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
"""The first and the largest delay between two attempts to load a version."""
MEMORY_RETRY_SECONDS = 0.2
"""The delay between two attempts to find memory, which is freed as soon as answers of other versions end."""
UNREADABLE = "the copy of the pointer on disk cannot be read: the service's log names the file and the error"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowState:
    """How this process follows the pointer."""

    wanted: Pointer | None = None
    """The last known pointer to the version that should be live."""
    served: Pointer | None = None
    """The pointer to the version that is live here."""
    problem: str | None = None
    """The reason why another version than the wanted one is live."""
    degraded: str | None = None
    """The known impairment although the right version is live."""
    waits_for_memory: bool = False
    """Whether the version that should be live waits for memory that other versions use."""
    is_damaged: bool = False
    """Whether the version that should be live is damaged or has another digest than the ledger's."""
    behind_since: float | None = None
    """Time since which another version should be live, on the watcher's clock."""

    @property
    def num_behind(self) -> int:
        """The number of moves of the pointer that this process has not followed."""
        if self.wanted is None or self.served is None:
            return 0
        return max(0, self.wanted.revision - self.served.revision)


class PointerWatcher:
    """Polls the pointer in its own thread."""

    def __init__(
        self,
        ledger: Ledger,
        store: VersionStore,
        residents: ResidentVersions,
        *,
        metrics: GenerationMetrics,
        poll_seconds: float,
        take_longest_pause: Callable[[], float],
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``take_longest_pause`` returns the longest time between two decode steps since its last call."""
        self._clock = clock
        self._announcement = ledger.replicas.announcement(name)
        self._reported: int | None = None
        """The revision that was last announced; None: this process counts as not ready."""
        self._report_at = 0.0
        self._ledger = ledger
        self._store = store
        self._residents = residents
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._take_longest_pause = take_longest_pause
        self._state = FollowState()
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._retry_at = 0.0
        self._verified = False
        """Whether the ledger has confirmed the digest of the served version."""
        self._format_is_known = False
        self._ledger_is_down = False
        self._stopping = False
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="errata-pointer", daemon=True)

    @property
    def state(self) -> FollowState:
        """The current state. It is replaced as a whole and never changed in place."""
        return self._state

    @property
    def seconds_behind(self) -> float:
        """The number of seconds for which another version should have been live."""
        since = self._state.behind_since
        return 0.0 if since is None else self._clock() - since

    @property
    def ledger_is_down(self) -> bool:
        """Whether the ledger failed to answer, or had no pointer, at the last check."""
        return self._ledger_is_down

    def start(self) -> None:
        """Check once in the calling thread, then start polling."""
        self.check()
        self._report()
        self._thread.start()

    def nudge(self) -> None:
        """Check the pointer now, because a request waits for a version."""
        self._awake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._announcement.withdraw()

    def check(self) -> None:
        """Read the pointer and serve the version that it names."""
        try:
            wanted, degraded = self._read_wanted()
            self._ledger_is_down = degraded is not None
        except StoreMismatch as error:  # the ledger has the format of a later Errata
            self._set_state(replace(self._state, problem=error.detail))
            return
        except ErrataError as error:  # HEAD cannot be read
            if self._state.problem != UNREADABLE:
                log_event(logger, "head_not_read", level=logging.ERROR, reason=error.detail)
            self._set_state(replace(self._state, problem=UNREADABLE))
            return
        served = self._state.served
        if served is not None and wanted.revision < served.revision:
            problem = describe_older_redis(served, wanted, place="the served version")
            self._set_state(FollowState(wanted=wanted, served=served, problem=problem))
        elif wanted == served and (degraded is not None or self._is_confirmed(wanted)):
            self._set_state(FollowState(wanted=wanted, served=served, degraded=degraded))
        elif wanted != self._state.wanted or self._clock() >= self._retry_at:
            self._follow(wanted, degraded)

    def _read_wanted(self) -> tuple[Pointer, str | None]:
        """Return the pointer to the version that should be live, and the reason why it may be outdated."""
        try:
            if not self._format_is_known:  # the ledger may have been down at the start
                self._ledger.format.require()
                self._format_is_known = True
            known = self._ledger.versions.known_pointer()
        except LedgerDown as error:
            return self._without_ledger(), f"the pointer is not followed: {error.detail}"
        if known is not None:
            return known, None
        pointer = self._without_ledger()
        forgotten = pointer.revision > 0
        return pointer, "Redis has no pointer, although there was one" if forgotten else None

    def _without_ledger(self) -> Pointer:
        """Return the last known pointer; at the start, the one in HEAD or else the original version."""
        if self._state.wanted is not None:
            return self._state.wanted
        head = self._store.read_head()
        return Pointer(revision=0, version=ORIGINAL) if head is None else Pointer(**head.model_dump())

    def _follow(self, wanted: Pointer, degraded: str | None) -> None:
        if wanted != self._state.wanted:
            self._retry_seconds = FIRST_RETRY_SECONDS
        since = self._state.behind_since or self._clock()
        still_waits = self._state.waits_for_memory and wanted == self._state.wanted
        reason = self._state.degraded if still_waits else degraded
        state = replace(self._state, wanted=wanted, degraded=reason, waits_for_memory=still_waits, behind_since=since)
        self._set_state(state)
        self._take_longest_pause()
        started = time.perf_counter()
        try:
            digest = self._recorded_digest(wanted.version)
            self._residents.promote(wanted.version, digest=digest)
        except Exception as error:  # noqa: BLE001 -- after any failure of a version, the one before stays live
            self._postpone(wanted, error)
            return
        self._verified = digest is not None
        seconds = time.perf_counter() - started
        self._metrics.record_swap(
            revision=wanted.revision,
            version=wanted.version,
            seconds=seconds,
            stall_seconds=self._take_longest_pause(),
        )
        log_event(logger, "serving", version=wanted.version, revision=wanted.revision, seconds=round(seconds, 4))
        self._set_state(FollowState(wanted=wanted, served=wanted, degraded=degraded))

    def _is_confirmed(self, served: Pointer) -> bool:
        """Whether the ledger has no other digest for the served version. It is asked until it confirms this once."""
        if not self._verified:
            recorded, live = self._recorded_digest(served.version), self._residents.live
            self._verified = recorded is not None and live is not None and recorded == live.digest
            return self._verified or recorded is None
        return True

    def _postpone(self, wanted: Pointer, error: Exception) -> None:
        waits = isinstance(error, NoRoom)
        if not (waits and self._state.waits_for_memory):  # a wait counts as one failure, however often it is retried
            self._metrics.record_load_failure()
        self._retry_at = self._clock() + (MEMORY_RETRY_SECONDS if waits else self._retry_seconds)
        if not waits:
            self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
        served = self._state.served
        meanwhile = f"{served.version} stays live" if served else "no version is served"
        verb = "waits for memory" if waits else "could not be loaded"
        reason = f"version {wanted.version} (revision {wanted.revision}) {verb}, {meanwhile}: {error}"
        damaged = isinstance(error, StoreDamaged) and not isinstance(error.__cause__, OSError)
        state = replace(self._state, waits_for_memory=waits, is_damaged=damaged)
        if served and isinstance(error, NoRoom) and error.is_temporary:  # memory is free soon, and answers continue
            self._set_state(replace(state, problem=None, degraded=reason))
        else:
            self._set_state(replace(state, problem=reason))

    def _report(self) -> None:
        """Announce which revision is served here, after a change and every second."""
        state = self._state
        served = state.served.revision if state.served is not None and state.problem is None else None
        if served == self._reported and self._clock() < self._report_at:
            return
        if served is not None:
            self._announcement.serve(served)
        elif self._reported is not None:
            self._announcement.withdraw()
        self._reported, self._report_at = served, self._clock() + RENEW_SECONDS

    def _recorded_digest(self, version: str) -> str | None:
        try:
            return self._ledger.versions.get(version).digest
        except (LedgerDown, NotFound):
            return None

    def _set_state(self, state: FollowState) -> None:
        before, self._state = self._state, state
        still_waits = before.waits_for_memory and state.waits_for_memory and before.wanted == state.wanted
        if state.problem != before.problem and state.problem is not None and not (still_waits and before.problem):
            log_event(logger, "pointer_not_followed", level=logging.ERROR, reason=state.problem)
        if state.degraded != before.degraded and state.degraded is not None and not (still_waits and before.degraded):
            log_event(logger, "generation_degraded", level=logging.WARNING, reason=state.degraded)

    def _run(self) -> None:
        while not self._stopping:
            self._awake.wait(self._poll_seconds)
            self._awake.clear()
            try:
                self.check()
                self._report()
                self._residents.evict_unused()
            except Exception:  # noqa: BLE001 -- if this thread ended, the service would silently fall behind
                log_event(logger, "pointer_check_failed", level=logging.ERROR)
