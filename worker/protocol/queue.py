"""The queue: wake-ups for workers, over RQ. The ledger is the truth; a lost job is enqueued again by the reconciler.

What of RQ is relied on: one worker listens on exactly one queue (a job is moved to the intermediate list with its pop,
not lost); arguments are JSON; functions go by dotted name, so that this module needs no worker code. What is not:
retries, registries and timeouts of RQ (a unit's state is in the ledger, and a job's timeout is set in hours).
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
"""How long RQ keeps the traceback of a job that raised."""


class JobState(StrEnum):
    """What is known of a unit's job."""

    WAITING = "waiting"
    """In the queue's list."""
    IN_HAND = "in_hand"
    """A living worker process has it."""
    NONE = "none"
    """There is none, or only the remains of one."""


class WorkQueue:
    """The one queue of a store; ``redis`` from ``connections.connect_queue``.

    Every method raises LedgerDown when Redis is away.
    """

    def __init__(self, redis: Redis, store_id: str, *, job_timeout_seconds: int) -> None:
        self.redis: Any = redis
        self.store_id = store_id
        self._keys = Keys(store_id)
        self.rq = Queue(
            f"errata-{store_id}", connection=redis, serializer=JSONSerializer, default_timeout=job_timeout_seconds
        )

    def enqueue_units(self, units: Sequence[str]) -> None:
        """Wake workers for each of these units that has no job yet.

        Needs two round trips, however many units there are; more only for units with the remains of an older job.
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
        """Wake a worker for the unit, unless its job waits or is in a living worker's hand; whether it did.

        The remains of an older job are deleted first: RQ refuses a second job of one id while they exist. Commits go
        to the front.
        """
        with reaching():
            if self._job_state(unit) != JobState.NONE:
                return False
            self._delete_remains(unit)
            return self._enqueue(unit)

    def without_job(self, units: Sequence[str]) -> list[str]:
        """Those of the units whose job neither waits nor is in a living worker's hand."""
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
        """What is known of the unit's job."""
        with reaching():
            return self._job_state(unit)

    def depth(self) -> int:
        """How many jobs wait."""
        with reaching():
            return int(self.rq.count)

    def beat(self, unit: str, *, ttl_seconds: float) -> None:
        """Say that this process has the unit's job in hand, for ``ttl_seconds``."""
        with reaching():
            self.redis.set(self._keys.at(Key.BEAT, unit), 1, px=max(1, round(ttl_seconds * 1000)))

    def stop_beating(self, unit: str) -> None:
        """Say that this process is through with the unit's job."""
        with reaching():
            self.redis.delete(self._keys.at(Key.BEAT, unit))

    def forget(self, unit: str) -> None:
        """Delete what ended jobs of the unit have left: their tracebacks may quote an edit."""
        with reaching():
            self.redis.delete(f"rq:results:{self.job_id(unit)}")
            if self._job_state(unit) == JobState.NONE:
                self._delete_remains(unit)

    def job_id(self, unit: str) -> str:
        """RQ's jobs of all stores share one name space."""
        return f"{self.store_id}-{unit}"

    def unit(self, job_id: str) -> str:
        """The inverse of ``job_id``."""
        return job_id.removeprefix(f"{self.store_id}-")

    def _by_job(self, units: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the units without a job, and those with the hash of one; not those in a living worker's hand."""
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
            return JobState.IN_HAND
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
        except DuplicateJobError:  # another process was quicker, or a worker that lost its job has written to it
            log_event(LOGGER, "unit.already_queued", unit=unit)
            return False
        return True

    def _delete_remains(self, unit: str) -> None:
        """Delete what an older job has left; also a hash that is no job any more.

        A worker writes its state into a job that it has popped even if the job was deleted meanwhile: what that leaves
        cannot be read as a job, never expires, and would keep the unit out of the queue for ever.
        """
        self.redis.lrem(self.rq.intermediate_queue_key, 0, self.job_id(unit))
        self.redis.lrem(self.rq.key, 0, self.job_id(unit))
        job = self._job(unit)
        if job is not None:
            job.delete()
        self.redis.delete(Job.key_for(self.job_id(unit)))


def call_of(unit: str) -> tuple[str, tuple[Any, ...]] | None:
    """The task and the arguments of a unit's job; None if the text names no unit."""
    if unit == COMMIT_UNIT:
        return COMMIT_TASK, ()
    if export := export_of(unit):
        return EXPORT_TASK, (export,)
    found = _TARGETS_UNIT.fullmatch(unit)
    return (COMPUTE_TASK, (found["batch"], int(found["shard"]))) if found else None


def required_call(unit: str) -> tuple[str, tuple[Any, ...]]:
    """The task and the arguments of a unit that this process made."""
    call = call_of(unit)
    assert call is not None, unit
    return call
