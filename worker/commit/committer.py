"""The commit: solves, checks and publishes all ready batches together, one commit at a time.

The new set is the set of the live version joined with the batches, solved from the original weights. If a group fails
its checks, each of its batches is tried alone, in order of acceptance. If a batch fails alone, the commit searches for
the edits to blame. A batch that waits to be promoted, or only asks for a report, is a commit of its own. If a commit
dies on the way, the next one finds the batches again. At most an unpublished version folder is left behind.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from editing_core.checks.batch_reports import shortcomings
from worker import recovery
from worker.commit.culprits import CulpritFinder
from worker.commit.group import Dropped, Group
from worker.commit.outcomes import Outcomes
from worker.current_job import STORE_FAILURES, CurrentJob, LeasedWork, WorkerStopping, describe
from worker.metrics import Metrics
from worker.protocol.entities import COMMIT_STATES, BatchRecord, BatchState, Lease
from worker.protocol.errors import LedgerDown, LostRace, StaleLease
from worker.protocol.keys import COMMIT_UNIT, commit_attempts
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_context, log_event, of_requests
from worker.upkeep.guard_file import write_guards

if TYPE_CHECKING:
    from editing_core.checks.checks import CheckReport
    from worker.session import Candidate, EditingSession

LOGGER = logging.getLogger(__name__)


class Committer:
    """Runs commits while it holds the commit lease."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        session: EditingSession,
        current: CurrentJob,
        metrics: Metrics,
        outcomes: Outcomes,
        culprits: CulpritFinder,
        max_attempts: int,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._current = current
        self._metrics = metrics
        self._outcomes = outcomes
        self._culprits = culprits
        self._max_attempts = max_attempts
        self._taken: list[str] = []
        self.is_held_up = False
        """The last run failed for a reason that no batch caused. An immediate retry would fail again."""

    def run(self) -> None:
        """Commit until no batch is ready. Does nothing if another process holds the commit lease."""
        self.is_held_up = False
        with self._current.leased(
            COMMIT_UNIT, max_attempts=None, uncounted=STORE_FAILURES, units=self._attempt_counters
        ) as lease:
            if lease is not None:
                self._commit_all(lease)
        self._taken = []

    def _attempt_counters(self) -> list[str]:
        return [commit_attempts(batch) for batch in self._taken]

    def _commit_all(self, lease: Lease) -> None:
        self._taken = []
        try:
            recovery.reconcile_pointer(self._ledger, self._session.store)
            with self._current.working(
                lease, send=lambda p: self._ledger.transitions.progress(self._taken, p, lease)
            ) as work:
                recovery.sweep_unpublished(self._ledger, self._session.store)
                while waiting := self._ledger.batches.commit_queue():
                    self._commit(self._choose(waiting), work)
        except StaleLease as error:
            log_event(LOGGER, "commit.lease_lost", level=logging.WARNING, reason=error.detail, batches=self._taken)
            raise
        except WorkerStopping:
            self._ledger.transitions.give_back(lease, self._taken)
            raise
        except STORE_FAILURES as error:  # no batch caused it, so it counts as no attempt
            self._ledger.transitions.give_back(lease, self._taken)
            self._report_delay(error)
            raise
        except BaseException as error:
            if not self._taken:
                self._report_delay(error)
            raise

    def _report_delay(self, error: BaseException) -> None:
        """Report why the commit is delayed, without counting an attempt. The reconciler retries after its pause."""
        self.is_held_up = True
        log_event(LOGGER, "commit.held_up", level=logging.ERROR, reason=describe(error))
        with suppress(LedgerDown):
            self._ledger.transitions.explain_ready(f"the commit cannot be made, and is tried again: {describe(error)}")

    def _choose(self, waiting: Sequence[BatchRecord]) -> list[str]:
        """Return the waiting batches to commit together, without those that are commits of their own.

        A batch that was in an earlier commit that died goes alone, so it cannot harm other batches.
        """
        ids = [record.spec.id for record in waiting]
        attempts = self._ledger.transitions.commit_attempts(ids)
        tried = [batch for batch in ids if attempts[batch]]
        if tried or waiting[0].spec.options.is_alone:
            return tried[:1] or ids[:1]
        return [record.spec.id for record in waiting if not record.spec.options.is_alone]

    def _commit(self, batches: Sequence[str], work: LeasedWork) -> None:
        self._session.open_parent(self._ledger.versions.pointer().version)
        self._taken = self._ledger.transitions.begin_commit(work.lease, batches, max_attempts=self._max_attempts)
        for batch in set(batches) - set(self._taken):
            self._log_end(batch)
        if self._taken and not self._attempt(self._taken, work) and len(self._taken) > 1:
            log_event(LOGGER, "commit.group_failed", batches=self._taken)
            for batch in self._taken:
                self._attempt([batch], work)
        self._taken = []

    def _attempt(self, batches: Sequence[str], work: LeasedWork) -> bool:
        """Commit these batches. Start again whenever the pointer moved meanwhile."""
        while True:
            try:
                return self._attempt_once(batches, work)
            except StaleLease:
                raise
            except LostRace as error:
                log_event(LOGGER, "commit.again", reason=error.detail, batches=list(batches))
            finally:
                work.end()
            self._ledger.leases.require(work.lease)
            batches = [batch for batch in batches if self._ledger.batches.get(batch).status in COMMIT_STATES]
            if not batches:
                return True

    def _attempt_once(self, batches: Sequence[str], work: LeasedWork) -> bool:
        work.begin("reading", len(batches))
        group = self._group(batches)
        with log_context(batches=group.ids, **of_requests(record.spec.request for record in group.batches)):
            return self._take_through(group, work)

    def _take_through(self, group: Group, work: LeasedWork) -> bool:
        lease = work.lease
        if group.changes_nothing and not group.dropped and self._ledger.batches.count_open() == len(group.batches):
            work.end()
            self._outcomes.leave(group, lease)
            return True
        self._enter(BatchState.APPLYING, group, lease)
        version = f"v{self._ledger.publication.new_version_number(above=recovery.highest_on_disk(self._session.store))}"
        log_event(LOGGER, "commit.started", version=version, parent=group.pointer.version, batches=group.ids)
        candidate = self._apply(group, work)
        self._ledger.leases.require(lease)
        self._enter(BatchState.CHECKING, group, lease)
        report = self._check(group, candidate, work)
        work.end()
        if not report.passed and len(group.batches) == 1:
            group, candidate, report = self._culprits.resolve(group, candidate, report, work)
        self._ledger.leases.require(lease)
        self._ledger.edits.set_reports(report.edits)
        return self._end(version, group, candidate, report=report, work=work)

    def _end(self, version: str, group: Group, candidate: Candidate, *, report: CheckReport, work: LeasedWork) -> bool:
        """Publish, report or reject the group. Return False if its batches must be tried one by one."""
        if group.options.dry_run:
            self._outcomes.report_dry_run(group, report, work.lease)
        elif report.passed and not self._falls_short(group, report):
            work.begin("writing", 1)
            self._outcomes.publish(version, group, candidate, report=report, lease=work.lease)
        elif len(group.batches) == 1:
            self._outcomes.reject(group, report, work.lease)
        else:
            return False
        work.end()
        return True

    def _falls_short(self, group: Group, report: CheckReport) -> bool:
        """Whether a batch of a larger group would not pass by its own edits. If so, each batch is tried alone."""
        short = {batch: found for batch in group.ids if (found := shortcomings(report, group.edits_of(batch)))}
        if short and len(group.batches) > 1:
            log_event(LOGGER, "commit.batches_short", batches=short)
        return bool(short) and len(group.batches) > 1

    def _group(self, batches: Sequence[str]) -> Group:
        pointer = self._ledger.versions.pointer()
        records = tuple(self._ledger.batches.get(batch) for batch in batches)
        edits = tuple(edit for batch in batches for edit in self._ledger.batches.edits(batch))
        parent = self._session.store.read_manifest(pointer.version)
        guards = self._ledger.guards.all()
        write_guards(self._session.store.layout, guards)  # keeps the copy at least as new as any manifest
        group = Group(batches=records, pointer=pointer, parent=parent, edits=edits, guards=guards)
        return self._without_unusable(group)

    def _without_unusable(self, group: Group) -> Group:
        """Leave out edits that the tokenizer does not allow, from batches that may drop edits."""
        may_drop = {record.spec.id for record in group.batches if record.spec.options.on_failure == "drop"}
        edits = {edit.id: edit for edit in group.edits if edit.batch in may_drop}
        problems = self._session.problems(list(edits.values()))
        return group.without(
            problems, dropped=tuple(Dropped.unusable(edits[edit], why) for edit, why in problems.items())
        )

    def _enter(self, state: BatchState, group: Group, lease: Lease) -> None:
        for batch in group.ids:
            self._ledger.transitions.move(batch, state, expected=COMMIT_STATES, lease=lease)

    def _apply(self, group: Group, work: LeasedWork) -> Candidate:
        live = group.live
        missing = self._session.missing_targets(live)
        if missing:
            with self._metrics.stage("computing"):
                work.begin("computing", len(missing))
                num_steps = self._session.compute_targets(missing, live=live, on_progress=work.on_progress)
            self._metrics.count_targets(len(missing), num_steps)
        with self._metrics.stage("applying"):
            work.begin("applying", len(live))
            candidate = self._session.build_candidate(live, guards=group.guards, on_progress=work.on_progress)
        for part, seconds in candidate.seconds.items():
            self._metrics.went_through(part, seconds)
        return candidate

    def _check(self, group: Group, candidate: Candidate, work: LeasedWork) -> CheckReport:
        with self._metrics.stage("checking"):
            work.begin("checking", len(group.new))
            return self._session.check(
                candidate,
                live=group.live,
                new=group.new,
                parent=group.parent.version,
                is_takedown=group.is_takedown,
                on_progress=work.on_progress,
            )

    def _log_end(self, batch: str) -> None:
        record = self._ledger.batches.get(batch)
        if record.status == BatchState.FAILED:
            self._metrics.count_edits("failed", record.spec.num_edits)
        log_event(LOGGER, "batch.left_out", batch=batch, status=record.status, reason=record.error)
