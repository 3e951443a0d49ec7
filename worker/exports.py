"""The stage that writes exports: one version as one folder, under a lease.

What the request or the store is at fault for fails the export at once, with the reason; what may pass (a full disk, a
killed worker) is tried again as often as any other work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing_core.durable import locked
from editing_core.errors import ErrataError
from editing_core.export.card import read_record
from editing_core.export.folder import sweep_partial
from editing_core.export.request import ExportRequest
from worker.metrics import Metrics
from worker.protocol.entities import Lease
from worker.protocol.errors import AttemptsUsedUp, LedgerDown, StaleLease
from worker.protocol.keys import export_unit
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_context, log_event, of_requests
from worker.targets import describe
from worker.work_in_hand import Hands, Work, WorkerStopping

if TYPE_CHECKING:
    from editing_core.export.version import Exporter

LOGGER = logging.getLogger(__name__)
NOT_KEPT = ("edits", "checks")
"""What of an export's own record the ledger has elsewhere."""


class ExportStage:
    """Writes what was asked for into the data folder."""

    def __init__(
        self, *, ledger: Ledger, exporter: Exporter, hands: Hands, metrics: Metrics, max_attempts: int
    ) -> None:
        self._ledger = ledger
        self._exporter = exporter
        self._hands = hands
        self._metrics = metrics
        self._max_attempts = max_attempts

    def run(self, export: str) -> None:
        """Write the export, unless another does or nothing is left to do."""
        lease = self._acquire(export)
        if lease is None:
            return
        try:
            if self._ledger.exports.begin(export, lease):
                self._make(export, lease)
        except StaleLease:
            return
        except WorkerStopping:
            self._ledger.leases.release(lease, given_back=True)
            return
        except BaseException as error:
            self._ledger.leases.release(lease, error=describe(error))
            raise
        self._ledger.leases.release(lease)

    def _acquire(self, export: str) -> Lease | None:
        try:
            return self._ledger.leases.acquire(
                export_unit(export),
                holder=self._hands.holder,
                ttl_seconds=self._hands.lease_seconds,
                max_attempts=self._max_attempts,
            )
        except AttemptsUsedUp as error:
            sweep_partial(self._folder(export))
            self._fail(export, error.detail, None)
            return None

    def _make(self, export: str, lease: Lease) -> None:
        record = self._ledger.exports.get(export)
        with log_context(export=export, version=record.request.version, **of_requests([record.asked_by])):
            self._make_what(record.request, lease)

    def _make_what(self, request: ExportRequest, lease: Lease) -> None:
        export = request.id
        log_event(LOGGER, "export.started", export=export, attempt=lease.attempt)
        try:
            with (
                self._hands.working(lease, send=lambda p: self._ledger.exports.progress(export, p, lease)) as work,
                self._metrics.stage("exporting"),
                self._held(request.version),
            ):
                record = self._written(request, work)
        except (StaleLease, WorkerStopping, LedgerDown):
            raise
        except ErrataError as error:
            self._fail(export, error.detail, lease)
            return
        result = {name: value for name, value in record.items() if name not in NOT_KEPT}
        self._ledger.exports.finish(export, result, lease)
        log_event(LOGGER, "export.done", export=export, size_bytes=record["size_bytes"])

    def _written(self, request: ExportRequest, work: Work) -> dict[str, Any]:
        """The record of the export, which is there already where the last worker died just after the rename."""
        folder = self._folder(request.id)
        if folder.exists() and any(folder.iterdir()):
            return read_record(folder)
        phase = ""

        def report_progress(now: str, done: int, total: int) -> None:
            nonlocal phase
            if now != phase:
                phase = now
                work.begin(now, total)
            work.on_progress(done, total)

        try:
            return self._exporter.export(
                request, folder, on_phase=report_progress, before_rename=lambda: self._ledger.leases.require(work.lease)
            )
        finally:
            work.end()

    @contextmanager
    def _held(self, version: str) -> Iterator[None]:
        """Keep the version's files from being removed meanwhile; of one that has none the export says so itself."""
        folder = self._exporter.store.layout.versions_dir / version
        if not folder.is_dir():
            yield
            return
        with locked(folder, shared=True):
            yield

    def _fail(self, export: str, error: str, lease: Lease | None) -> None:
        log_event(LOGGER, "export.failed", level=logging.ERROR, export=export, reason=error)
        self._ledger.exports.fail(export, error, lease)

    def _folder(self, export: str) -> Path:
        return self._exporter.store.layout.exports_dir / export
