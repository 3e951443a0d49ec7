"""The worker process (``python -m worker.main``): one model, one queue, no fork.

Exit codes: 0 after SIGTERM or SIGINT; 2 if it refuses to start (settings, store, a Redis that may lose data); 1 for
errors that a restart may fix.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import sys
import time
import uuid
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from editing_core.errors import ErrataError
from editing_core.export.version import Exporter
from editing_core.models.load import devices_named
from editing_core.models.memory import held_bytes
from editing_core.versions.identity import open_identity
from worker.commit.committer import Committer
from worker.commit.culprits import CulpritFinder
from worker.commit.outcomes import Outcomes
from worker.current_job import CurrentJob
from worker.exports import ExportStage
from worker.metrics import Metrics
from worker.protocol.connections import connect, connect_queue, require_durable
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_context, log_event, start_logging
from worker.protocol.queue import WorkQueue, call_of
from worker.protocol.redis_address import redis_address, require_closed_redis
from worker.protocol.settings import Settings, read_settings
from worker.reconcile import Heartbeat, Reconciler
from worker.recovery import reconcile_pointer
from worker.session import EditingSession
from worker.targets import TargetStage
from worker.tasks import STAGES, Stages
from worker.unit_jobs import ForeignJob, UnitJob
from worker.upkeep.thread import Upkeep

LOGGER = logging.getLogger(__name__)
PAUSE_SECONDS = 1.0
"""Pause before the queue is read again after Redis did not answer."""
SILENCE_SECONDS = 30
"""RQ waits almost this long for a job, and raises the timeout of its connection to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """The parts of one worker process."""

    queue: WorkQueue
    current: CurrentJob
    stages: Stages
    reconciler: Reconciler
    heartbeat: Heartbeat
    upkeep: Upkeep
    metrics: Metrics


def take_share(settings: Settings) -> None:
    """Limit the share of cores and GPU memory, in favour of answers on the same machine. Call before threads start."""
    os.nice(settings.worker_niceness)
    if settings.worker_memory_share is not None and torch.cuda.is_available():
        for device in devices_named(settings.device):
            torch.cuda.set_per_process_memory_fraction(settings.worker_memory_share, device)


def open_worker(settings: Settings) -> WorkerProcess:
    """Create the parts of the process. Raises ErrataError if it must not start."""
    url = redis_address(settings)
    require_closed_redis(url, accept_open=settings.accept_open_redis)
    store_id = open_identity(settings.data).id
    redis = connect(url)
    require_durable(redis, accept_unsafe=settings.accept_unsafe_redis)
    metrics = Metrics()
    if settings.worker_metrics_port is not None:  # before the model, so that a slow load can be observed
        metrics.expose(settings.host, settings.worker_metrics_port)
    ledger = Ledger(redis, Keys(store_id))
    ledger.format.require()
    session = EditingSession.open(settings)
    reconcile_pointer(ledger, session.store)
    queue = WorkQueue(connect_queue(url), store_id, job_timeout_seconds=settings.job_timeout_seconds)
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    current = CurrentJob(ledger, queue, lease_seconds=settings.lease_seconds, holder=holder)
    metrics.watch(lambda: current.unit_age_seconds, gpu_bytes=held_bytes)
    reconciler = Reconciler(ledger=ledger, queue=queue, store=session.store, metrics=metrics, current=current)
    targets = TargetStage(
        ledger=ledger,
        queue=queue,
        session=session,
        current=current,
        metrics=metrics,
        max_attempts=settings.max_attempts,
    )
    committer = _committer(settings, ledger=ledger, session=session, current=current, metrics=metrics)
    exporter = _exporter(settings, ledger=ledger, session=session, current=current, metrics=metrics)
    return WorkerProcess(
        queue=queue,
        current=current,
        stages=Stages(targets=targets, committer=committer, exporter=exporter),
        reconciler=reconciler,
        heartbeat=Heartbeat(current, reconciler, reconcile_seconds=settings.reconcile_seconds),
        upkeep=Upkeep(ledger, queue, session.store, redis=redis, metrics=metrics, current=current, settings=settings),
        metrics=metrics,
    )


def _committer(
    settings: Settings, *, ledger: Ledger, session: EditingSession, current: CurrentJob, metrics: Metrics
) -> Committer:
    outcomes = Outcomes(
        ledger=ledger,
        session=session,
        metrics=metrics,
        keep_versions=settings.keep_versions,
        candidate_seconds=settings.candidate_seconds,
    )
    return Committer(
        ledger=ledger,
        session=session,
        current=current,
        metrics=metrics,
        outcomes=outcomes,
        culprits=CulpritFinder(session=session, metrics=metrics, max_tries=settings.culprit_tries),
        max_attempts=settings.max_attempts,
    )


def _exporter(
    settings: Settings, *, ledger: Ledger, session: EditingSession, current: CurrentJob, metrics: Metrics
) -> ExportStage:
    exporter = Exporter(
        store=session.store, model=settings.model, served=lambda: session.loaded, device=settings.device
    )
    return ExportStage(
        ledger=ledger, exporter=exporter, current=current, metrics=metrics, max_attempts=settings.max_attempts
    )


class QueueWorker(SimpleWorker):
    """RQ's worker on the one queue: jobs run in this process, as a forked child could not use the GPU."""

    max_connection_wait_time = 5.0
    """Longest pause, in seconds, between two tries to reach a Redis that is away."""

    def __init__(self, parts: WorkerProcess) -> None:
        super().__init__(
            [parts.queue.rq],
            connection=parts.queue.redis,
            serializer=JSONSerializer,
            job_class=UnitJob,
            log_job_description=False,
            worker_ttl=SILENCE_SECONDS,
        )
        self._parts = parts

    @property
    def was_stopped(self) -> bool:
        """Whether a signal has asked it to end."""
        return self._parts.current.is_stopping

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a job under the heartbeat, then enqueue what it left undone; fail a job that Errata did not write."""
        assert isinstance(job, UnitJob)
        unit = self._parts.queue.unit(job.id)
        try:
            job.require_call(*(call_of(unit) or (None, ())))
        except ForeignJob as error:
            self._refuse(job, queue, error)
            return
        with self._parts.current.job(unit), log_context(unit=unit):
            token = STAGES.set(self._parts.stages)
            try:
                super().execute_job(job, queue)
            finally:
                STAGES.reset(token)
        if not self._parts.stages.is_held_up(unit):
            self._parts.reconciler.follow_up(unit)

    def _refuse(self, job: Job, queue: Queue, error: ForeignJob) -> None:
        """Fail the job without running it; its content may be hostile and is not logged."""
        log_event(LOGGER, "job.refused", level=logging.ERROR, reason=error.title, job=ascii(job.id)[:100])
        self._parts.metrics.refused_jobs.inc()
        self.handle_job_failure(job, queue, exc_string=error.title)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """End at the work's next step and give the work back; at once when there is none."""
        self._parts.current.stop()
        super().request_stop(signum, frame)


def serve(parts: WorkerProcess) -> None:
    """Work until asked to stop; RQ's loop ends when Redis goes away, the model stays."""
    parts.heartbeat.start()
    parts.upkeep.start()
    try:
        while True:
            try:
                parts.reconciler.look()
                worker: Any = QueueWorker(parts)
                worker.work(logging_level="WARNING")
            except (LedgerDown, RedisError, OSError) as error:
                log_event(LOGGER, "redis.away", level=logging.WARNING, reason=str(error))
            if parts.current.is_stopping:
                return
            time.sleep(PAUSE_SECONDS)
    finally:
        parts.upkeep.stop()
        parts.heartbeat.stop()


def main() -> int:
    """Run the worker process."""
    try:
        settings = read_settings()
        start_logging(settings.log_level, form=settings.log_format)
        os.umask(0o077)  # manifests and z files hold the texts of edits
        take_share(settings)
        parts = open_worker(settings)
        gc.collect()
        gc.freeze()  # collections during a commit skip the model and its library, and stay linear in the live set
        log_event(LOGGER, "worker.started", holder=parts.current.holder, queue=parts.queue.rq.name)
        serve(parts)
    except ErrataError as error:
        sys.stderr.write(f"errata: {error.detail}\n")
        return 1 if isinstance(error, LedgerDown) else 2
    log_event(LOGGER, "worker.stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
