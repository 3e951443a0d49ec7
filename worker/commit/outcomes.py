"""The possible ends of a commit attempt: published, kept as a candidate, reported, rejected, or nothing to do.

Each end is one move of the ledger under the commit lease. This module uses no weights and runs no checks.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from editing_core.checks.batch_reports import batch_report
from editing_core.clock import timestamp, utc_now
from worker import recovery
from worker.commit.counts import changed, rejection
from worker.commit.group import Group
from worker.manifest_records import summaries, version_record
from worker.metrics import Metrics
from worker.protocol.entities import COMMIT_STATES, BatchRecord, BatchState, Lease
from worker.protocol.errors import LostRace
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event

if TYPE_CHECKING:
    from editing_core.checks.checks import CheckReport
    from editing_core.versions.manifest import Manifest
    from worker.session import Candidate, EditingSession

LOGGER = logging.getLogger(__name__)


class Outcomes:
    """Writes the outcome of a group to store and ledger."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        session: EditingSession,
        metrics: Metrics,
        keep_versions: int,
        candidate_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._metrics = metrics
        self._keep_versions = keep_versions
        self._candidate_seconds = candidate_seconds

    def publish(self, version: str, group: Group, candidate: Candidate, *, report: CheckReport, lease: Lease) -> None:
        """Write the version and make it live, or a candidate if the batch asks for it. Raises LostRace, StaleLease."""
        edits = group.set
        with self._metrics.stage("publishing"):
            manifest = self._write(version, group, candidate, report)
        waits = group.options.promote == "manual"
        until = timestamp(utc_now() + timedelta(seconds=self._candidate_seconds)) if waits else None
        self._report_repeats(group)
        try:
            pointer = self._ledger.publication.publish(
                lease,
                expected_revision=group.pointer.revision,
                version=version_record(manifest, group.ids),
                edit_ids=[accepted.id for accepted in edits.live],
                superseded_ids=[accepted.id for accepted in edits.superseded],
                reports={record.spec.id: _report_of(group, record, report) for record in group.batches},
                candidate_until=until,
                dropped={row.accepted.id: row.report for row in group.dropped},
            )
        except LostRace:
            if version not in self._ledger.versions.published():  # present if only the script's answer was lost
                self._session.store.remove(version)
            raise
        if waits:
            log_event(LOGGER, "version.candidate", version=version, batches=group.ids, until=until)
            return
        self._metrics.count_edits("applied", len(group.edits))
        self._metrics.count_edits("dropped", len(group.dropped))
        self._metrics.count_set(**changed(group))
        log_event(LOGGER, "version.published", version=version, revision=pointer.revision, batches=group.ids)
        recovery.copy_to_head(self._ledger, self._session.store, pointer)
        recovery.retain_versions(self._ledger, self._session.store, keep=self._keep_versions)

    def reject(self, group: Group, report: CheckReport, lease: Lease) -> None:
        """Reject the group's single batch."""
        self._end(group, BatchState.REJECTED, report, lease=lease, error="; ".join(report.reasons))
        self._metrics.count_edits("rejected", len(group.edits))
        self._metrics.count_rejection(rejection(report), len(group.edits))
        log_event(LOGGER, "batch.rejected", batch=group.ids[0], reason="; ".join(report.reasons))

    def report_dry_run(self, group: Group, report: CheckReport, lease: Lease) -> None:
        """End the group's single batch, a dry run, with its report."""
        self._report_repeats(group)
        error = "; ".join(report.reasons) or None
        self._end(group, BatchState.REPORTED, report, lease=lease, error=error)
        log_event(LOGGER, "batch.reported", batch=group.ids[0], passed=report.passed)

    def leave(self, group: Group, lease: Lease) -> None:
        """End the batches without a new version: the live version already has everything they ask for."""
        self._report_repeats(group)
        state = BatchState.REPORTED if group.options.dry_run else BatchState.APPLIED
        for record in group.batches:
            report = {"passed": True, "reasons": [], "unchanged": True, **group.change_by(record)}
            fields = {"version": group.pointer.version, "report": report}
            self._ledger.transitions.move(record.spec.id, state, expected=COMMIT_STATES, lease=lease, **fields)
        log_event(LOGGER, "batch.nothing_to_do", version=group.pointer.version, batches=group.ids)

    def _write(self, version: str, group: Group, candidate: Candidate, report: CheckReport) -> Manifest:
        batches = summaries(group.parent, group.set, version=version, records=group.batches)
        earlier = [row for row in group.parent.dropped if row["batch"] in batches]
        return self._session.write_version(
            version,
            candidate,
            parent=group.pointer.version,
            edits=group.set,
            batches=batches,
            dropped=[*earlier, *(row.to_json() for row in group.dropped)],
            report=report,
        )

    def _end(self, group: Group, state: BatchState, report: CheckReport, *, lease: Lease, error: str | None) -> None:
        (record,) = group.batches
        self._ledger.edits.set_reports({row.accepted.id: row.report for row in group.dropped})
        fields = {"report": _report_of(group, record, report), "error": error}
        self._ledger.transitions.move(record.spec.id, state, expected=BatchState.CHECKING, lease=lease, **fields)

    def _report_repeats(self, group: Group) -> None:
        self._ledger.edits.set_reports({edit: {"same_as": held} for edit, held in group.change.repeats.items()})


def _report_of(group: Group, record: BatchRecord, report: CheckReport) -> dict[str, Any]:
    """Return the batch's report: its measurements and its effect on the set."""
    batch = record.spec.id
    found = {**batch_report(report, group.edits_of(batch)), **group.change_by(record)}
    return found | ({"dropped": dropped} if (dropped := group.dropped_of(batch)) else {})
