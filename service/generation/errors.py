"""The errors of generation, as part of the error tree of ``editing_core.errors``.

ErrataError
└── GenerationError
    ├── RequestNotValid      a field out of range, or two that exclude each other  422
    ├── PromptTooLong        more tokens than the model's context                  400
    ├── VersionUnavailable   a version that is not served now, or never will be    409
    ├── TooManyWaiting       the waiting list is full                              429
    ├── AnswerLate           an answer that was not complete by its deadline       504
    ├── NoRoom               no memory for one more version                        503
    ├── NothingServed        no version could be loaded yet                        503
    └── GenerationFailed     a step of the model failed                            503
        └── GenerationStopping   the process is shutting down                      503
"""

from __future__ import annotations

from typing import ClassVar

from editing_core.errors import ErrataError


class GenerationError(ErrataError):
    """Root of the errors of generation."""

    status_hint: ClassVar[int] = 503
    """The HTTP status of the response."""
    slug: ClassVar[str] = "generation"
    title: ClassVar[str] = "The model could not answer"

    def __init__(self, detail: str, *, loc: tuple[str | int, ...] = (), retry_after_seconds: int | None = None) -> None:
        super().__init__(detail, loc=loc)
        self.retry_after_seconds = retry_after_seconds
        """Time after which a retry makes sense; None if a retry does not help or the time is unknown."""


class RequestNotValid(GenerationError):
    """A field is out of range, or two fields exclude each other."""

    status_hint: ClassVar[int] = 422
    slug = "generation-request-not-valid"
    title = "The request is not valid"


class PromptTooLong(GenerationError):
    """The prompt has more tokens than the model's context holds."""

    status_hint: ClassVar[int] = 400
    slug = "prompt-too-long"
    title = "The prompt is too long for the model"


class VersionUnavailable(GenerationError):
    """The version is not served yet, or never will be."""

    status_hint: ClassVar[int] = 409
    slug = "version-unavailable"
    title = "The version is not served"


class TooManyWaiting(GenerationError):
    """The waiting list of a version is full."""

    next_step_hint: ClassVar[str] = "Retry after the time in Retry-After."
    status_hint: ClassVar[int] = 429
    slug = "too-many-waiting"
    title = "Too many requests are waiting"


class AnswerLate(GenerationError):
    """The answer was not complete by its deadline; its place was freed."""

    next_step_hint: ClassVar[str] = (
        "Ask for fewer tokens, or retry later; a stream returns the text that was written in time."
    )
    status_hint: ClassVar[int] = 504
    slug = "answer-late"
    title = "The answer was not complete in time"


class NoRoom(GenerationError):
    """There is no memory for one more version while the versions in memory are in use."""

    next_step_hint: ClassVar[str] = "Retry after the time in Retry-After, or ask the live version."
    status_hint: ClassVar[int] = 503
    slug = "no-room"
    title = "There is no memory for this version now"

    def __init__(self, detail: str, *, is_temporary: bool) -> None:
        """``is_temporary``: versions that are not live use the memory, which is freed once their answers have ended."""
        super().__init__(detail, retry_after_seconds=1)
        self.is_temporary = is_temporary


class NothingServed(GenerationError):
    """No version is served, because the live one could not be loaded."""

    next_step_hint: ClassVar[str] = "Retry later; GET /readyz says what is missing."
    status_hint: ClassVar[int] = 503
    slug = "nothing-served"
    title = "No version is served yet"


class GenerationFailed(GenerationError):
    """A step of the model failed; the requests that took part in it end, and others go on."""

    next_step_hint: ClassVar[str] = "Retry, or ask another version; the service's log has the details."
    status_hint: ClassVar[int] = 503
    slug = "generation-failed"
    title = "The model failed while answering"


class GenerationStopping(GenerationFailed):
    """The process is shutting down and will not finish the answer."""

    next_step_hint: ClassVar[str] = "Retry after the time in Retry-After, or ask another replica."
    slug = "generation-stopping"
    title = "The service stops before the answer is complete"
