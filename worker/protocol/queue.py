"""The queue of jobs, built on RQ. Jobs only wake workers: the ledger has the state, and lost jobs are enqueued again.

This relies on three properties of RQ. A worker listens on one queue, and popping moves a job to the intermediate list.
Arguments are JSON. Functions are named by dotted path, so this module needs no worker code. It does not rely on the
retries, registries and timeouts of RQ: the state of a unit is in the ledger, and the timeout of a job is hours.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job
from rq.queue import EnqueueData
from rq.serializers import JSONSerializer

from worker.protocol.keys import COMMIT_UNIT, Key, Keys, export_of
from worker.protocol.logs import log_event
from worker.protocol.scripting.connection import reaching

LOGGER = logging.getLogger(__name__)
COMPUTE_TASK = "worker.tasks.compute_targets"
COMMIT_TASK = "worker.tasks.commit"
EXPORT_TASK = "worker.tasks.export"
_TARGETS_UNIT = re.compile(r"targets-(?P<batch>[^-]+)-(?P<shard>[0-9]{1,9})")
FAILURE_SECONDS = 24 * 3600
"""How long RQ keeps the traceback of a failed job."""


class JobState(StrEnum):
    """State of a unit's job."""

    WAITING = "waiting"
    """The job is in the queue."""
    RUNNING = "running"
    """A running worker process has the job."""
    NONE = "none"
    """The unit has no job, or only the remains of one."""


class WorkQueue:
    """The queue of a store. ``redis``: a client from ``connections.connect_queue``.

    Every method raises LedgerDown if Redis does not answer.
    """

    def __init__(self, redis: Redis, store_id: str, *, job_timeout_seconds: int) -> None:
        self.redis: Any = redis
        self.store_id = store_id
        self._keys = Keys(store_id)
        self.rq = Queue(
            f"errata-{store_id}", connection=redis, serializer=JSONSerializer, default_timeout=job_timeout_seconds
        )

    def enqueue_units(self, units: Sequence[str]) -> None:
        """Enqueue a job for each of these units that has no job yet.

        Needs two round trips for any number of units, and more only for units with the remains of an older job.
        """
        if not units:
            return
        with reaching():
            new, known = self._by_job(units)
            jobs = [self._new_job(unit) for unit in new]
            if jobs:
                self.rq.enqueue_many(jobs)
            for unit in self._not_waiting(known):
                self.enqueue_unit(unit)

    def enqueue_unit(self, unit: str) -> bool:
        """Enqueue a job for the unit, unless its job waits or runs. Return whether a job was enqueued.

        The remains of an older job are deleted first, because RQ refuses a second job with the same id while they
        exist. Commits go to the front.
        """
        with reaching():
            if self._job_state(unit) != JobState.NONE:
                return False
            self._delete_remains(unit)
            return self._enqueue(unit)

    def without_job(self, units: Sequence[str]) -> list[str]:
        """Return the units whose job neither waits nor runs."""
        with reaching(), self.redis.pipeline(transaction=False) as pipe:
            pipe.lrange(self.rq.key, 0, -1)
            for unit in units:
                pipe.exists(self._keys.at(Key.BEAT, unit))
                pipe.exists(Job.key_for(self.job_id(unit)))
            waiting, *answers = pipe.execute()
        ids = {job_id.decode() for job_id in waiting}
        beats, jobs = answers[::2], answers[1::2]
        return [
            unit
            for unit, beat, job in zip(units, beats, jobs, strict=True)
            if not beat and not (job and self.job_id(unit) in ids)
        ]

    def job_state(self, unit: str) -> JobState:
        """Return the state of the unit's job."""
        with reaching():
            return self._job_state(unit)

    def depth(self) -> int:
        """Return the number of waiting jobs."""
        with reaching():
            return int(self.rq.count)

    def beat(self, unit: str, *, ttl_seconds: float) -> None:
        """Publish for ``ttl_seconds`` that this process runs the unit's job."""
        with reaching():
            self.redis.set(self._keys.at(Key.BEAT, unit), 1, px=max(1, round(ttl_seconds * 1000)))

    def stop_beating(self, unit: str) -> None:
        """Publish that this process no longer runs the unit's job."""
        with reaching():
            self.redis.delete(self._keys.at(Key.BEAT, unit))

    def forget(self, unit: str) -> None:
        """Delete the remains of the unit's ended jobs, because their tracebacks may quote an edit."""
        with reaching():
            self.redis.delete(f"rq:results:{self.job_id(unit)}")
            if self._job_state(unit) == JobState.NONE:
                self._delete_remains(unit)

    def job_id(self, unit: str) -> str:
        """Return the id of a unit's job. It contains the store id, because all stores share the namespace of RQ."""
        return f"{self.store_id}-{unit}"

    def unit(self, job_id: str) -> str:
        """Return the unit of a job id from ``job_id``."""
        return job_id.removeprefix(f"{self.store_id}-")

    def _by_job(self, units: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the units without a job, and the units with a job hash. Units with a running job are left out."""
        with self.redis.pipeline(transaction=False) as pipe:
            for unit in units:
                pipe.exists(self._keys.at(Key.BEAT, unit))
                pipe.exists(Job.key_for(self.job_id(unit)))
            answers = pipe.execute()
        idle = [(unit, job) for unit, beat, job in zip(units, answers[::2], answers[1::2], strict=True) if not beat]
        return [unit for unit, job in idle if not job], [unit for unit, job in idle if job]

    def _not_waiting(self, units: Sequence[str]) -> list[str]:
        if not units:
            return []
        with self.redis.pipeline(transaction=False) as pipe:
            for unit in units:
                pipe.lpos(self.rq.key, self.job_id(unit))
            places = pipe.execute()
        return [unit for unit, place in zip(units, places, strict=True) if place is None]

    def _new_job(self, unit: str) -> EnqueueData:
        function, arguments = required_call(unit)
        return Queue.prepare_data(
            function,
            args=arguments,
            job_id=self.job_id(unit),
            at_front=unit == COMMIT_UNIT,
            result_ttl=0,
            failure_ttl=FAILURE_SECONDS,
            description=unit,
        )

    def _job_state(self, unit: str) -> JobState:
        if self.redis.exists(self._keys.at(Key.BEAT, unit)):
            return JobState.RUNNING
        if self.redis.lpos(self.rq.key, self.job_id(unit)) is not None and self._job(unit) is not None:
            return JobState.WAITING
        return JobState.NONE

    def _job(self, unit: str) -> Job | None:
        try:
            return Job.fetch(self.job_id(unit), connection=self.redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return None

    def _enqueue(self, unit: str) -> bool:
        function, arguments = required_call(unit)
        try:
            self.rq.enqueue_call(
                function,
                args=arguments,
                job_id=self.job_id(unit),
                at_front=unit == COMMIT_UNIT,
                unique=True,
                result_ttl=0,
                failure_ttl=FAILURE_SECONDS,
                description=unit,
            )
        except DuplicateJobError:  # enqueued by another process, or written by a worker that had lost the job
            log_event(LOGGER, "unit.already_queued", unit=unit)
            return False
        return True

    def _delete_remains(self, unit: str) -> None:
        """Delete the remains of an older job, including a hash that RQ cannot read as a job.

        A worker writes its state into the hash of its job even if the job was deleted in the meantime. The resulting
        hash is not a valid job, never expires, and would keep the unit out of the queue forever.
        """
        self.redis.lrem(self.rq.intermediate_queue_key, 0, self.job_id(unit))
        self.redis.lrem(self.rq.key, 0, self.job_id(unit))
        job = self._job(unit)
        if job is not None:
            job.delete()
        self.redis.delete(Job.key_for(self.job_id(unit)))


def call_of(unit: str) -> tuple[str, tuple[Any, ...]] | None:
    """Return the task and the arguments of a unit's job; None if the text names no unit."""
    if unit == COMMIT_UNIT:
        return COMMIT_TASK, ()
    if export := export_of(unit):
        return EXPORT_TASK, (export,)
    found = _TARGETS_UNIT.fullmatch(unit)
    return (COMPUTE_TASK, (found["batch"], int(found["shard"]))) if found else None


def required_call(unit: str) -> tuple[str, tuple[Any, ...]]:
    """Return the task and the arguments of a unit that this process made."""
    call = call_of(unit)
    assert call is not None, unit
    return call
