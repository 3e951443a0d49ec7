"""RQ jobs as this worker accepts them: the calls of ``worker.tasks`` and nothing else.

RQ runs whatever dotted name a job's hash holds, and does the same for the names of its callbacks. Anybody who can write
to Redis could run code in the worker that way. ``UnitJob`` never imports a name that comes from Redis: it looks the
function up in a fixed table and drops callbacks. The worker also refuses, without running it, a job with another call
than the one that its id stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job

from editing_core.errors import ErrataError
from worker import tasks
from worker.protocol.queue import COMMIT_TASK, COMPUTE_TASK, EXPORT_TASK

TASKS: dict[str, Callable[..., None]] = {
    COMPUTE_TASK: tasks.compute_targets,
    COMMIT_TASK: tasks.commit,
    EXPORT_TASK: tasks.export,
}
_FOREIGN_FIELDS = (
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "dependency_ids",
    "dependency_id",
    "repeats_left",
    "repeat_intervals",
    "retries_left",
    "retry_intervals",
    "webhooks",
)
"""Fields of a job's hash that Errata never writes with content."""


class ForeignJob(ErrataError):
    """A job that Errata did not write."""

    slug = "foreign-job"
    title = "The queue holds a job that Errata did not write"


class UnitJob(Job):
    """A job whose function comes from ``TASKS``; its callbacks are never resolved."""

    foreign_fields: tuple[str, ...] = ()

    def restore(self, raw_data: Any) -> None:
        """Read the hash. Raises NoSuchJobError for one that RQ cannot read, so that a broken hash stops no worker."""
        fields = {_text(name): value for name, value in dict(raw_data).items()}
        self.foreign_fields = tuple(name for name in _FOREIGN_FIELDS if fields.get(name) not in {None, b"", b"[]"})
        kept = {name.encode(): value for name, value in fields.items() if name not in _FOREIGN_FIELDS}
        try:
            super().restore(kept)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NoSuchJobError(f"the hash of job {self.id} cannot be read: {error}") from error

    @property
    def func(self) -> Callable[..., None]:
        """The function of ``worker.tasks``. Raises ForeignJob."""
        if self.func_name not in TASKS:
            raise ForeignJob(f"job {self.id} calls something that is no task of Errata")
        return TASKS[self.func_name]

    def require_call(self, function: str | None, arguments: Sequence[Any]) -> None:
        """Raise ForeignJob unless the job holds exactly this call and nothing else that RQ would act on."""
        if self.foreign_fields:
            raise ForeignJob(f"job {self.id} has fields that Errata never writes: {', '.join(self.foreign_fields)}")
        try:
            found = (self.func_name, tuple(self.args), self.kwargs, self.instance)
        except (DeserializationError, ValueError, TypeError) as error:
            raise ForeignJob(f"the call of job {self.id} cannot be read") from error
        if found != (function, tuple(arguments), {}, None):
            raise ForeignJob(f"job {self.id} does not hold the call that belongs to its id")


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
