"""Follows the pointer: what the ledger says is live is loaded and made live here.

While Redis is away, what is served stays served. A version that cannot be loaded leaves the one before it in service,
is named by ``state``, and is tried again with growing pauses. Knows no HTTP.
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

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
"""Between two attempts to load a version that could not be loaded."""
MEMORY_RETRY_SECONDS = 0.2
"""Between two attempts to find memory for one: it is free as soon as an answer of another version ends."""
UNREADABLE = "the copy of the pointer on disk cannot be read: the service's log names the file and what is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowState:
    """How well the pointer is followed."""

    wanted: Pointer | None = None
    """What should be live, as far as is known."""
    served: Pointer | None = None
    """What is live here."""
    problem: str | None = None
    """Why what should be live is not."""
    degraded: str | None = None
    """What is missing although the right version is live, as far as is known."""
    waits_for_memory: bool = False
    """What should be live waits for memory that other versions use."""
    is_damaged: bool = False
    """What should be live is damaged, or its digest is not the ledger's."""
    behind_since: float | None = None
    """Since when something else should be live, on the clock of ``time.monotonic``."""

    @property
    def num_behind(self) -> int:
        """Moves of the pointer that are not followed."""
        if self.wanted is None or self.served is None:
            return 0
        return max(0, self.wanted.revision - self.served.revision)

    @property
    def seconds_behind(self) -> float:
        """How long something else should have been live."""
        return 0.0 if self.behind_since is None else time.monotonic() - self.behind_since


class PointerWatcher:
    """Looks at the pointer again and again, in a thread of its own."""

    def __init__(
        self,
        ledger: Ledger,
        store: VersionStore,
        residents: ResidentVersions,
        *,
        metrics: GenerationMetrics,
        poll_seconds: float,
        take_longest_pause: Callable[[], float],
    ) -> None:
        """``take_longest_pause``: the longest time between two steps since it was last called."""
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
        """The ledger has confirmed the digest of what is served."""
        self._format_is_known = False
        self._ledger_is_away = False
        self._stopping = False
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="errata-pointer", daemon=True)

    @property
    def state(self) -> FollowState:
        """How things stand; replaced as a whole, never changed."""
        return self._state

    @property
    def ledger_is_away(self) -> bool:
        """Whether the ledger did not answer, or knew nothing, when it was last asked."""
        return self._ledger_is_away

    def start(self) -> None:
        """Look once, then go on in the thread."""
        self.check()
        self._thread.start()

    def nudge(self) -> None:
        """Look at once: somebody waits for a version."""
        self._awake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        """Read the pointer and serve what it names."""
        try:
            wanted, degraded = self._read_wanted()
            self._ledger_is_away = degraded is not None
        except StoreMismatch as error:  # a later Errata's ledger
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
        elif wanted != self._state.wanted or time.monotonic() >= self._retry_at:
            self._follow(wanted, degraded)

    def _read_wanted(self) -> tuple[Pointer, str | None]:
        """What should be live, and what is missing to be sure of it."""
        try:
            if not self._format_is_known:  # at the start the ledger may have been away
                self._ledger.format.require()
                self._format_is_known = True
            known = self._ledger.versions.known_pointer()
        except LedgerDown as error:
            return self._without_ledger(), f"the pointer is not followed: {error.detail}"
        if known is not None:
            return known, None
        pointer = self._without_ledger()
        forgotten = pointer.revision > 0
        return pointer, "Redis knows no pointer, although there was one" if forgotten else None

    def _without_ledger(self) -> Pointer:
        """What was live when that was last known; at the start what HEAD says, or the original."""
        if self._state.wanted is not None:
            return self._state.wanted
        head = self._store.read_head()
        return Pointer(revision=0, version=ORIGINAL) if head is None else Pointer(**head.model_dump())

    def _follow(self, wanted: Pointer, degraded: str | None) -> None:
        if wanted != self._state.wanted:
            self._retry_seconds = FIRST_RETRY_SECONDS
        since = self._state.behind_since or time.monotonic()
        still_waits = self._state.waits_for_memory and wanted == self._state.wanted
        reason = self._state.degraded if still_waits else degraded
        state = replace(self._state, wanted=wanted, degraded=reason, waits_for_memory=still_waits, behind_since=since)
        self._set_state(state)
        self._take_longest_pause()
        started = time.perf_counter()
        try:
            digest = self._recorded_digest(wanted.version)
            self._residents.promote(wanted.version, digest=digest)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with a version, the one before is served on
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
        """Whether the ledger has no other digest for what was served, perhaps without asking it."""
        if not self._verified:
            recorded, live = self._recorded_digest(served.version), self._residents.live
            self._verified = recorded is not None and live is not None and recorded == live.digest
            return self._verified or recorded is None
        return True

    def _postpone(self, wanted: Pointer, error: Exception) -> None:
        waits = isinstance(error, NoRoom)
        if not (waits and self._state.waits_for_memory):  # one wait is one failure, however often it is looked
            self._metrics.record_load_failure()
        self._retry_at = time.monotonic() + (MEMORY_RETRY_SECONDS if waits else self._retry_seconds)
        if not waits:
            self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
        served = self._state.served
        meanwhile = f"{served.version} is served on" if served else "nothing is served"
        verb = "waits for memory" if waits else "could not be loaded"
        reason = f"version {wanted.version} (revision {wanted.revision}) {verb}, {meanwhile}: {error}"
        damaged = isinstance(error, StoreDamaged) and not isinstance(error.__cause__, OSError)
        state = replace(self._state, waits_for_memory=waits, is_damaged=damaged)
        if served and isinstance(error, NoRoom) and error.is_temporary:  # a matter of moments: answers go on
            self._set_state(replace(state, problem=None, degraded=reason))
        else:
            self._set_state(replace(state, problem=reason))

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
                self._residents.evict_unused()
            except Exception:  # noqa: BLE001 -- a thread that died would leave the service behind without a word
                log_event(logger, "pointer_look_failed", level=logging.ERROR)
