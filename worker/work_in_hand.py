"""What this process has in hand: its lease, and how far it is; shared by the thread that works and the heartbeat.

Progress is written at least every two seconds: by the work as it goes, by the heartbeat while the work is silent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from editing_core.errors import ErrataError
from worker.protocol.entities import Lease, Progress
from worker.protocol.errors import LedgerDown, StaleLease
from worker.protocol.ledger.leases import stale
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.queue import WorkQueue

LOGGER = logging.getLogger(__name__)
LOG_SECONDS = 5.0
"""Pause between two lines of the log about what nobody waits for."""
REPORT_SECONDS = 1.0
"""Shortest pause between two reports of one phase; the heartbeat beats twice in it."""


def logged_progress() -> Callable[[str, int, int], None]:
    """A listener of `prepare` that writes a line into the log now and then."""
    next_line = time.monotonic() + LOG_SECONDS

    def report_progress(what: str, done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + LOG_SECONDS
            log_event(LOGGER, "prepare.progress", what=what, done=done, total=total)

    return report_progress


class WorkerStopping(ErrataError):
    """This worker was asked to end; the work is given back."""

    slug = "worker-stopping"
    title = "The worker is stopping"


class Work:
    """One unit in hand, under one lease."""

    def __init__(self, ledger: Ledger, lease: Lease, *, send: Callable[[Progress], None]) -> None:
        self.lease = lease
        self._ledger = ledger
        self._send = send
        self._lock = threading.Lock()
        self._lost = False
        self._stopping = False
        self._phase: str | None = None
        self._done = self._total = 0
        self._began = self._sent = 0.0

    def begin(self, phase: str, total: int) -> None:
        """Enter a phase. Raises StaleLease, WorkerStopping."""
        with self._lock:
            self._phase, self._done, self._total = phase, 0, total
            self._began = time.monotonic()
            self._report()
        self.require()

    def on_progress(self, done: int, total: int) -> None:
        """Note how far the phase is. Raises StaleLease, WorkerStopping."""
        with self._lock:
            self._done, self._total = done, total
            self._report_if_due()
        self.require()

    def end(self) -> None:
        """Leave the phase: when this returns, no report of it is on its way."""
        with self._lock:
            self._phase = None

    def require(self) -> None:
        """Raise StaleLease when the lease is known to be lost, WorkerStopping when the worker is to end."""
        if self._lost:
            raise stale(self.lease)
        if self._stopping:
            raise WorkerStopping(f"the worker was asked to stop: {self.lease.unit} goes on elsewhere")

    def stop(self) -> None:
        """Let the work end at its next step."""
        self._stopping = True

    def keep(self) -> None:
        """Hold on to the lease, and report if the work has been silent; called by the heartbeat."""
        if not self._ledger.leases.renew(self.lease):
            self._lost = True
            return
        with self._lock:
            self._report_if_due()

    def _report_if_due(self) -> None:
        if self._phase is not None and time.monotonic() - self._sent >= REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        assert self._phase is not None
        self._sent = time.monotonic()
        report = Progress(phase=self._phase, done=self._done, total=self._total, eta_s=self._eta_seconds())
        try:
            self._send(report)
        except StaleLease:
            self._lost = True
        except LedgerDown:  # the heartbeat finds out whether the lease outlives it
            pass

    def _eta_seconds(self) -> float | None:
        if not self._done:
            return None
        return round((time.monotonic() - self._began) / self._done * max(0, self._total - self._done), 1)


class Hands:
    """What this process holds: the job that RQ gave it, and the work it does for it."""

    def __init__(self, ledger: Ledger, queue: WorkQueue, *, lease_seconds: float, holder: str) -> None:
        self.holder = holder
        self.lease_seconds = lease_seconds
        self._ledger = ledger
        self._queue = queue
        self._unit: str | None = None
        self._since: float | None = None
        self._work: Work | None = None
        self._stopping = False
        self._beating = threading.Lock()
        """Held while a beat is on its way, so that none comes after the last."""

    @property
    def unit_age_seconds(self) -> float:
        """Since when the present unit of work is in hand; 0 without one."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    @contextmanager
    def job(self, unit: str) -> Iterator[None]:
        """Have the unit's job in hand, and say so to whoever looks for forgotten work."""
        self._queue.beat(unit, ttl_seconds=self.lease_seconds)
        self._unit, self._since = unit, time.monotonic()
        try:
            yield
        finally:
            with self._beating, suppress(LedgerDown):
                self._unit = self._since = None
                self._queue.stop_beating(unit)

    @contextmanager
    def working(self, lease: Lease, *, send: Callable[[Progress], None]) -> Iterator[Work]:
        """Do the work of a lease; the heartbeat keeps it meanwhile."""
        self._work = Work(self._ledger, lease, send=send)
        if self._stopping:
            self._work.stop()
        try:
            yield self._work
        finally:
            self._work = None

    @property
    def is_stopping(self) -> bool:
        """Whether this process was asked to end."""
        return self._stopping

    def stop(self) -> None:
        """Let the present work, and any later one, end at its next step."""
        self._stopping = True
        work = self._work
        if work is not None:
            work.stop()

    def beat(self) -> None:
        """Keep job and lease; called by the heartbeat. Raises LedgerDown."""
        work = self._work
        with self._beating:
            if self._unit is not None:
                self._queue.beat(self._unit, ttl_seconds=self.lease_seconds)
        if work is not None:
            work.keep()
