"""The stage that computes targets: one shard of one batch, under a lease."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from editing_core.clock import utc_now
from editing_core.edits import AcceptedEdit, edit_set, normalise
from editing_core.errors import StoreError
from worker.metrics import Metrics
from worker.protocol.entities import BatchSpec, BatchState, EditStatus, Lease, Progress
from worker.protocol.errors import AttemptsUsedUp, LedgerDown, LostRace, StaleLease
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_context, log_event, of_requests
from worker.protocol.queue import WorkQueue
from worker.work_in_hand import Hands, WorkerStopping

if TYPE_CHECKING:
    from worker.session import EditingSession

LOGGER = logging.getLogger(__name__)
OPEN_STATES = (BatchState.QUEUED, BatchState.COMPUTING)
NAMED_PROBLEMS = 20
"""Edits named in a batch's error; all of them are in their own reports."""


class TargetStage:
    """Computes z for the edits of a shard; the last shard makes the batch ready."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        queue: WorkQueue,
        session: EditingSession,
        hands: Hands,
        metrics: Metrics,
        max_attempts: int,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._session = session
        self._hands = hands
        self._metrics = metrics
        metrics.keep_in(ledger)
        self._max_attempts = max_attempts
        self.is_held_up = False
        """The last run failed for a reason that lies in no batch: it would fail so again at once."""

    def run(self, batch: str, shard: int) -> None:
        """Compute the shard, unless another does or nothing is left to do."""
        self.is_held_up = False
        lease = self._acquire(batch, shard)
        if lease is None:
            return
        try:
            if self._ledger.transitions.begin_shard(batch, shard, lease):
                self._work_on(batch, shard, lease)
        except StaleLease:
            return
        except WorkerStopping:
            self._ledger.leases.release(lease, given_back=True)
            return
        except (StoreError, OSError) as error:  # the place is at fault and no batch: none is charged with it
            self._report_delay(batch, error)
            self._ledger.leases.release(lease, given_back=True)
            raise
        except BaseException as error:
            self._ledger.leases.release(lease, error=describe(error))
            raise
        self._ledger.leases.release(lease)

    def _report_delay(self, batch: str, error: Exception) -> None:
        """Say why, and leave the next try to the reconciler's pause."""
        self.is_held_up = True
        log_event(LOGGER, "targets.held_up", level=logging.ERROR, batch=batch, reason=describe(error))
        reason = f"its targets cannot be computed, and it is tried again: {describe(error)}"
        with suppress(LedgerDown, LostRace):
            self._ledger.transitions.move(batch, BatchState.COMPUTING, expected=BatchState.COMPUTING, error=reason)

    def _acquire(self, batch: str, shard: int) -> Lease | None:
        unit, hands = targets_unit(batch, shard), self._hands
        try:
            return self._ledger.leases.acquire(
                unit, holder=hands.holder, ttl_seconds=hands.lease_seconds, max_attempts=self._max_attempts
            )
        except AttemptsUsedUp as error:
            with suppress(LostRace):
                self._ledger.transitions.move(batch, BatchState.FAILED, expected=OPEN_STATES, error=error.detail)
                self._metrics.count_edits("failed", self._ledger.batches.get(batch).spec.num_edits)
            return None

    def _work_on(self, batch: str, shard: int, lease: Lease) -> None:
        spec = self._ledger.batches.get(batch).spec
        with log_context(batch=batch, **of_requests([spec.request])):
            self._search(spec, shard, lease)

    def _search(self, spec: BatchSpec, shard: int, lease: Lease) -> None:
        batch = spec.id

        def send(progress: Progress) -> None:
            done = min(self._ledger.transitions.shard_progress(batch, shard, progress.done), spec.num_edits)
            self._ledger.transitions.progress([batch], _of_batch(progress, done, spec.num_edits), lease)

        with self._hands.working(lease, send=send) as work:
            first = shard * spec.shard_size
            edits = self._ledger.batches.edits(batch)[first : first + spec.shard_size]
            problems = self._session.problems(edits)
            if problems and not self._can_go_on(spec):
                self._reject(batch, lease, problems)
                return
            usable = [edit for edit in edits if edit.id not in problems]
            self._metrics.went_through("queued", _age_seconds(spec.created))
            with self._metrics.stage("computing"):
                work.begin("computing", len(usable))
                num_steps = 0
                if usable:
                    live = self._same_subjects(usable)
                    num_steps = self._session.compute_targets(usable, live=live, on_progress=work.on_progress)
                work.end()
            self._metrics.count_targets(len(usable), num_steps)
            log_event(LOGGER, "targets.computed", shard=shard, num_edits=len(usable), steps=num_steps)
            self._ledger.transitions.shard_progress(batch, shard, len(edits))
            if self._ledger.transitions.shard_done(batch, shard, lease) == 0:
                self._queue.enqueue_unit(COMMIT_UNIT)

    def _can_go_on(self, spec: BatchSpec) -> bool:
        """Whether the batch may drop edits and has others that can be used."""
        if spec.options.on_failure != "drop":
            return False
        return len(self._session.problems(self._ledger.batches.edits(spec.id))) < spec.num_edits

    def _same_subjects(self, edits: Sequence[AcceptedEdit]) -> tuple[AcceptedEdit, ...]:
        """What will be in force about these subjects if all that waits goes in: z depends on the subject's group.

        A batch that is committed alone meets none of the others that wait, and they do not meet it.
        """
        subjects = {normalise(accepted.edit.subject) for accepted in edits}
        manifest = self._session.store.read_manifest(self._ledger.versions.pointer().version)
        own = edits[0].batch
        waiting = {record.spec.id: record.spec for record in self._ledger.batches.open()}
        met = {batch for batch, spec in waiting.items() if not spec.options.is_alone} - {own}
        if own in waiting and waiting[own].options.is_alone:
            met = set()
        removed = {edit for batch in met | {own} if batch in waiting for edit in waiting[batch].remove}
        known = [row for row in manifest.edit_set.everything if normalise(row.edit.subject) in subjects]
        ids = [edit for subject in sorted(subjects) for edit in self._ledger.edits.about(subject)]
        rows = [row for row in self._ledger.edits.get_many(ids) if row.status == EditStatus.PENDING]
        pending = [row.accepted for row in rows if row.accepted.batch in met | {own}]
        left_out = removed.union(self._session.problems(pending))
        return edit_set(known).joined(pending, without=left_out).live

    def _reject(self, batch: str, lease: Lease, problems: dict[str, str]) -> None:
        self._ledger.edits.set_reports({edit: {"holds": False, "problem": why} for edit, why in problems.items()})
        named = [f"edit {edit}: {why}" for edit, why in list(problems.items())[:NAMED_PROBLEMS]]
        report = {"passed": False, "reasons": named, "num_problems": len(problems)}
        with suppress(LostRace):
            self._ledger.transitions.move(
                batch, BatchState.REJECTED, expected=OPEN_STATES, lease=lease, report=report, error="; ".join(named)
            )
            num_edits = self._ledger.batches.get(batch).spec.num_edits
            self._metrics.count_edits("rejected", num_edits)
            self._metrics.count_rejection("input", num_edits)


def _age_seconds(created: str) -> float:
    return max(0.0, (utc_now() - datetime.fromisoformat(created)).total_seconds())


def describe(error: BaseException) -> str:
    """An exception in one line, for whoever waits for the batch."""
    return f"{type(error).__name__}: {error}"


def _of_batch(progress: Progress, done: int, total: int) -> Progress:
    """A shard's progress as the whole batch's, at the shard's pace."""
    if progress.eta_s is None or progress.done >= progress.total:
        return Progress(phase=progress.phase, done=done, total=total)
    pace_seconds = progress.eta_s / (progress.total - progress.done)
    return Progress(phase=progress.phase, done=done, total=total, eta_s=round(pace_seconds * (total - done), 1))
