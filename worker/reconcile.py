"""Finding forgotten work, and the heartbeat thread that looks for it.

The ledger says what is to be done; a unit is enqueued again when its job neither waits in the queue nor is in a living
worker's hand. The main thread may compute for minutes, so this runs in another thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from redis.exceptions import RedisError

from editing_core.errors import ErrataError
from editing_core.versions.store import VersionStore
from worker.metrics import Metrics
from worker.protocol.entities import BatchState
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import COMMIT_UNIT, RECONCILE_UNIT, batch_of, export_of, export_unit, targets_unit
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.queue import WorkQueue
from worker.recovery import reconcile_pointer
from worker.work_in_hand import REPORT_SECONDS, Hands

LOGGER = logging.getLogger(__name__)


class Reconciler:
    """Looks for forgotten work."""

    def __init__(
        self, *, ledger: Ledger, queue: WorkQueue, store: VersionStore, metrics: Metrics, hands: Hands
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._store = store
        self._metrics = metrics
        self._hands = hands

    def look(self) -> list[str]:
        """Enqueue every forgotten unit and return those, unless another process looks just now.

        The lock lasts as long as a lease: after a process that died while it looked, the others look soon again; a
        look that takes longer may meet another's, which does no harm.
        """
        lock = self._ledger.leases.acquire(
            RECONCILE_UNIT, holder=self._hands.holder, ttl_seconds=self._hands.lease_seconds, max_attempts=None
        )
        if lock is None:
            return []
        try:
            reconcile_pointer(self._ledger, self._store)
            exports = map(export_unit, self._ledger.exports.open())
            woken = self._wake([*self._open_units(), *self._expire(), *exports])
        finally:
            self._ledger.leases.release(lock)
        self._metrics.count_requeues(len(woken))
        if woken:
            log_event(LOGGER, "work.found", units=woken)
        return woken

    def follow_up(self, unit: str) -> None:
        """After a job: wake what it left undone, and the commit if batches became ready while one was running."""
        units = [COMMIT_UNIT] if self._ledger.batches.commit_queue() else []
        if (export := export_of(unit)) is not None:
            units += [unit] if export in self._ledger.exports.open() else []
        elif unit != COMMIT_UNIT:
            units += [left for left in self._ledger.batches.open_units(batch_of(unit)) if left == unit]
        self._wake(units)

    def _open_units(self) -> list[str]:
        units: dict[str, None] = {}
        for record in self._ledger.batches.open():
            if record.status in {BatchState.QUEUED, BatchState.COMPUTING}:
                shards = self._ledger.batches.open_shards(record.spec.id)
                units |= dict.fromkeys(targets_unit(record.spec.id, shard) for shard in shards)
            else:
                units[COMMIT_UNIT] = None
        return list(units)

    def _expire(self) -> list[str]:
        """Give up candidates that nobody has promoted in time; a commit removes their files."""
        doomed = self._ledger.publication.expired_candidates()
        if not doomed or not (gone := self._ledger.publication.discard(doomed, reason="it was not promoted in time")):
            return []
        log_event(LOGGER, "candidates.expired", versions=gone)
        return [COMMIT_UNIT]

    def _wake(self, units: list[str]) -> list[str]:
        if not units:
            return []
        leased = self._ledger.leases.held(units)
        return [
            unit
            for unit in self._queue.without_job([unit for unit in units if unit not in leased])
            if self._queue.enqueue_unit(unit)
        ]


class Heartbeat(threading.Thread):
    """Keeps leases, tells progress while the work is silent, and looks for forgotten work now and then."""

    def __init__(self, hands: Hands, reconciler: Reconciler, *, reconcile_seconds: float) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._hands = hands
        self._reconciler = reconciler
        self._reconcile_seconds = reconcile_seconds
        self._pause_seconds = min(hands.lease_seconds / 3, REPORT_SECONDS / 2)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Beat until stopped; a Redis that is away is waited for.

        Without a heartbeat every lease would be lost again and again: if it breaks, the process ends with it.
        """
        try:
            self._beat_until_stopped()
        finally:
            if not self._stopped.is_set():
                log_event(LOGGER, "heartbeat.broken", level=logging.ERROR)
                os._exit(1)

    def _beat_until_stopped(self) -> None:
        next_look = time.monotonic() + self._reconcile_seconds
        while not self._stopped.wait(self._pause_seconds):
            try:
                self._hands.beat()
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + self._reconcile_seconds
                    self._reconciler.look()
            except LedgerDown as error:
                log_event(LOGGER, "ledger.down", level=logging.WARNING, reason=error.detail)
            except (ErrataError, RedisError, OSError) as error:
                log_event(LOGGER, "reconcile.failed", level=logging.ERROR, reason=str(error))

    def stop(self) -> None:
        """End the thread, and wait for its end."""
        self._stopped.set()
        self.join()
