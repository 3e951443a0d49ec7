"""The thread that maintains file copies and sizes, erases edits and removes z files while work runs.

Work may compute for minutes and the heartbeat must never wait, so upkeep has its own thread. One process per store runs
it at a time. Steps that remove files a commit could look for need the commit lease. While a commit runs, they wait for
the next round.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import RedisError

from editing_core.errors import ErrataError
from editing_core.versions.store import VersionStore
from worker.current_job import CurrentJob
from worker.metrics import Metrics
from worker.protocol.connections import rewrite_log
from worker.protocol.entities import Lease
from worker.protocol.errors import LedgerDown, StaleLease
from worker.protocol.keys import COMMIT_UNIT
from worker.protocol.ledger.leases import stale
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.queue import WorkQueue
from worker.protocol.settings import Settings
from worker.protocol.signing import read_signing_key
from worker.upkeep.audit_file import copy_audit, copy_notes
from worker.upkeep.erasure import Eraser, InUse
from worker.upkeep.guard_file import copy_guards
from worker.upkeep.retention import copy_pins
from worker.upkeep.sizes import store_bytes
from worker.upkeep.target_cleanup import collect_targets

LOGGER = logging.getLogger(__name__)
UPKEEP_UNIT = "upkeep"
"""Leased like a unit of work, though it is not one."""
SIZE_SECONDS = 60.0
COLLECT_SECONDS = 3600.0
FIRST_COLLECT_SECONDS = 600.0


class Upkeep(threading.Thread):
    """Copies audit chain, pins and guards to disk, erases edits, removes z files and reports sizes."""

    def __init__(
        self,
        ledger: Ledger,
        queue: WorkQueue,
        store: VersionStore,
        *,
        redis: Redis,
        metrics: Metrics,
        current: CurrentJob,
        settings: Settings,
    ) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._redis = redis
        self._ledger = ledger
        self._store = store
        self._metrics = metrics
        self._eraser = Eraser(ledger=ledger, queue=queue, store=store)
        self._holder = current.holder
        self._lease_seconds = current.lease_seconds
        self._pause_seconds = settings.reconcile_seconds
        self._signing_key = read_signing_key(settings.signing_key_file)
        self._stopped = threading.Event()
        self._next_sizes = 0.0
        self._next_collect = time.monotonic() + FIRST_COLLECT_SECONDS

    def run(self) -> None:
        """Run until stopped. Failures are logged, and the next round tries again."""
        while not self._stopped.wait(self._pause_seconds):
            try:
                self.tend()
            except LedgerDown as error:
                log_event(LOGGER, "ledger.down", level=logging.WARNING, reason=error.detail)
            except StaleLease as error:
                log_event(LOGGER, "upkeep.lease_lost", level=logging.WARNING, reason=error.detail)
            except (ErrataError, RedisError, OSError) as error:
                log_event(LOGGER, "upkeep.failed", level=logging.ERROR, reason=str(error))

    def stop(self) -> None:
        """Stop the thread. Another one starts its current step again."""
        self._stopped.set()
        self.join(self._lease_seconds)

    def tend(self) -> None:
        """Run one round, unless another process is running one."""
        with self._leased(UPKEEP_UNIT) as guard:
            if guard is None:
                return
            copy_notes(self._ledger, self._store.layout)
            copy_audit(self._ledger, self._store.layout, key=self._signing_key)
            copy_pins(self._ledger, self._store)
            copy_guards(self._ledger, self._store.layout)
            self._report_sizes()
            self._purge(guard)
            self._collect(guard)

    def _report_sizes(self) -> None:
        if time.monotonic() >= self._next_sizes:
            self._next_sizes = time.monotonic() + SIZE_SECONDS
            self._metrics.show_bytes(store_bytes(self._store.layout))

    def _purge(self, keep: Callable[[], None]) -> None:
        pending = self._ledger.erasure.pending()
        if not pending:
            return
        with self._leased(COMMIT_UNIT) as guard:
            if guard is None:
                return
            erased = [edit for edit in pending if self._erased(edit, _both(guard, keep))]
        if not erased:
            return
        result = rewrite_log(self._redis)
        for edit in erased:
            purge = self._ledger.erasure.get(edit)
            self._ledger.erasure.end(edit, "purge.done", content=purge.hash if purge else None, append_only_file=result)
        log_event(LOGGER, "purge.done", edits=erased, append_only_file=result)
        copy_audit(self._ledger, self._store.layout, key=self._signing_key)

    def _erased(self, edit: str, guard: Callable[[], None]) -> bool:
        """Erase an edit and return whether its text is gone. An edit that must wait does not delay the others."""
        try:
            return self._eraser.erase(edit, guard=guard)
        except InUse as error:
            log_event(LOGGER, "purge.waits", level=logging.WARNING, edit=edit, reason=error.detail)
            return False

    def _collect(self, keep: Callable[[], None]) -> None:
        if time.monotonic() < self._next_collect:
            return
        with self._leased(COMMIT_UNIT) as guard:
            if guard is not None:
                self._next_collect = time.monotonic() + COLLECT_SECONDS
                collect_targets(self._ledger, self._store, guard=_both(guard, keep))

    @contextmanager
    def _leased(self, unit: str) -> Iterator[Callable[[], None] | None]:
        """Lease the unit for the block. Yield a function that renews it or raises StaleLease; None if it is taken."""
        lease = self._ledger.leases.acquire(
            unit, holder=self._holder, ttl_seconds=self._lease_seconds, max_attempts=None
        )
        if lease is None:
            yield None
            return
        try:
            yield lambda: self._keep(lease)
        finally:
            self._ledger.leases.release(lease)

    def _keep(self, lease: Lease) -> None:
        if not self._ledger.leases.renew(lease):
            raise stale(lease)


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def keep() -> None:
        first()
        second()

    return keep
