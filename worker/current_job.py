"""The job that this process works on, its lease and its progress; shared by the working thread and the heartbeat.

Progress is written at least every two seconds: by the work itself, or by the heartbeat while the work reports nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from editing_core.errors import ErrataError, StoreError
from worker.protocol.entities import Lease, Progress
from worker.protocol.errors import LedgerDown, StaleLease
from worker.protocol.ledger.leases import stale
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.queue import WorkQueue

LOGGER = logging.getLogger(__name__)
LOG_SECONDS = 5.0
"""Pause between two log lines about the progress of the preparation."""
REPORT_SECONDS = 1.0
"""Shortest pause between two reports of one phase; the heartbeat runs twice in that time."""
STORE_FAILURES = (StoreError, OSError)
"""Failures that no batch caused, such as a full disk; they do not count as an attempt."""


def logged_progress() -> Callable[[str, int, int], None]:
    """Return a progress callback of the preparation that logs a line every ``LOG_SECONDS``."""
    next_line = time.monotonic() + LOG_SECONDS

    def report_progress(what: str, done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + LOG_SECONDS
            log_event(LOGGER, "prepare.progress", what=what, done=done, total=total)

    return report_progress


class WorkerStopping(ErrataError):
    """The worker was asked to stop; its work is returned to the queue."""

    slug = "worker-stopping"
    title = "The worker is stopping"


class LeasedWork:
    """One unit of work under one lease: its phase, its progress, and whether it may go on."""

    def __init__(
        self, ledger: Ledger, lease: Lease, *, send: Callable[[Progress], None], report_seconds: float = REPORT_SECONDS
    ) -> None:
        """``report_seconds``: shortest pause between two reports of one phase."""
        self.lease = lease
        self._report_seconds = report_seconds
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
        """Record the progress of the phase. Raises StaleLease, WorkerStopping."""
        with self._lock:
            self._done, self._total = done, total
            self._report_if_due()
        self.require()

    def end(self) -> None:
        """Leave the phase. After this returns, no report of the phase is sent."""
        with self._lock:
            self._phase = None

    def require(self) -> None:
        """Raise StaleLease if the lease is known to be lost, WorkerStopping if the worker was asked to stop."""
        if self._lost:
            raise stale(self.lease)
        if self._stopping:
            raise WorkerStopping(f"the worker was asked to stop: another worker continues {self.lease.unit}")

    def stop(self) -> None:
        """Make the work end at its next step."""
        self._stopping = True

    def keep(self) -> None:
        """Renew the lease, and report if the work has not; called by the heartbeat."""
        if not self._ledger.leases.renew(self.lease):
            self._lost = True
            return
        with self._lock:
            self._report_if_due()

    def _report_if_due(self) -> None:
        if self._phase is not None and time.monotonic() - self._sent >= self._report_seconds:
            self._report()

    def _report(self) -> None:
        assert self._phase is not None
        self._sent = time.monotonic()
        report = Progress(phase=self._phase, done=self._done, total=self._total, eta_s=self._eta_seconds())
        try:
            self._send(report)
        except StaleLease:
            self._lost = True
        except LedgerDown:  # the heartbeat finds out whether the lease is still valid
            pass

    def _eta_seconds(self) -> float | None:
        if not self._done:
            return None
        return round((time.monotonic() - self._began) / self._done * max(0, self._total - self._done), 1)


class CurrentJob:
    """The job that RQ gave this process, and the leased work that it does for the job."""

    def __init__(
        self,
        ledger: Ledger,
        queue: WorkQueue,
        *,
        lease_seconds: float,
        holder: str,
        report_seconds: float = REPORT_SECONDS,
    ) -> None:
        self.holder = holder
        self._report_seconds = report_seconds
        self.lease_seconds = lease_seconds
        self._ledger = ledger
        self._queue = queue
        self._unit: str | None = None
        self._since: float | None = None
        self._work: LeasedWork | None = None
        self._stopping = False
        self._beating = threading.Lock()
        """Held while a heartbeat is sent, so that none follows the last one."""

    @property
    def unit_age_seconds(self) -> float:
        """How long this process has worked on its job; 0 without one."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    @contextmanager
    def job(self, unit: str) -> Iterator[None]:
        """Work on the job of a unit for the block, and publish that to the reconcilers."""
        self._queue.beat(unit, ttl_seconds=self.lease_seconds)
        self._unit, self._since = unit, time.monotonic()
        try:
            yield
        finally:
            with self._beating, suppress(LedgerDown):
                self._unit = self._since = None
                self._queue.stop_beating(unit)

    @contextmanager
    def leased(
        self,
        unit: str,
        *,
        max_attempts: int | None,
        uncounted: tuple[type[BaseException], ...] = (),
        units: Callable[[], Sequence[str]] = tuple,
    ) -> Iterator[Lease | None]:
        """Lease a unit for the block, and release the lease at its end; None while another process holds it.

        A lost lease and a stopping worker end the block without an error. Errors are raised again and recorded for
        ``units`` (the unit itself if there are none). Attempts end uncounted if the worker stops, and after the errors
        in ``uncounted``. ``max_attempts`` is that of ``leases.acquire``. Raises AttemptsUsedUp.
        """
        leases, is_counted = self._ledger.leases, max_attempts is not None
        lease = leases.acquire(unit, holder=self.holder, ttl_seconds=self.lease_seconds, max_attempts=max_attempts)
        if lease is None:
            yield None
            return
        try:
            yield lease
        except StaleLease:
            return
        except WorkerStopping:
            leases.release(lease, given_back=is_counted)
        except uncounted:
            leases.release(lease, given_back=is_counted)
            raise
        except BaseException as error:
            leases.release(lease, error=describe(error), units=units())
            raise
        else:
            leases.release(lease)

    @contextmanager
    def working(self, lease: Lease, *, send: Callable[[Progress], None]) -> Iterator[LeasedWork]:
        """Do the work of a lease; the heartbeat renews the lease in the meantime."""
        self._work = LeasedWork(self._ledger, lease, send=send, report_seconds=self._report_seconds)
        if self._stopping:
            self._work.stop()
        try:
            yield self._work
        finally:
            self._work = None

    @property
    def is_stopping(self) -> bool:
        """Whether this process was asked to stop."""
        return self._stopping

    def stop(self) -> None:
        """Make the current work, and any later one, end at its next step."""
        self._stopping = True
        work = self._work
        if work is not None:
            work.stop()

    def beat(self) -> None:
        """Renew job and lease; called by the heartbeat. Raises LedgerDown."""
        work = self._work
        with self._beating:
            if self._unit is not None:
                self._queue.beat(self._unit, ttl_seconds=self.lease_seconds)
        if work is not None:
            work.keep()


def describe(error: BaseException) -> str:
    """Return an exception as one line for the record of a batch or export."""
    return f"{type(error).__name__}: {error}"
