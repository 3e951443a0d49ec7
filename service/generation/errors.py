"""What generation refuses, in the error tree of ``editing_core.errors``.

ErrataError
└── GenerationError
    ├── RequestNotValid      a field out of range, or two that exclude each other    422
    ├── PromptTooLong        more tokens than the model's context                    400
    ├── VersionUnavailable   a version that is not, or will not be, served           409
    ├── TooManyWaiting       the waiting list is full                                429
    ├── AnswerLate           an answer that was not complete by its deadline          504
    ├── NoRoom               no memory for one more version                           503
    ├── NothingServed        no version could be loaded yet                          503
    └── GenerationFailed     a step of the model failed                              503
        └── GenerationStopping   the process is going down                           503
"""

from __future__ import annotations

from typing import ClassVar

from editing_core.errors import ErrataError


class GenerationError(ErrataError):
    """Root of what generation refuses."""

    status_hint: ClassVar[int] = 503
    """The HTTP status that answers it."""
    slug: ClassVar[str] = "generation"
    title: ClassVar[str] = "The model could not be asked"

    def __init__(self, detail: str, *, loc: tuple[str | int, ...] = (), retry_after_seconds: int | None = None) -> None:
        super().__init__(detail, loc=loc)
        self.retry_after_seconds = retry_after_seconds
        """After how long asking again makes sense; None: it does not, or nobody knows."""


class RequestNotValid(GenerationError):
    """A field is out of range, or two fields exclude each other."""

    status_hint: ClassVar[int] = 422
    slug = "generation-request-not-valid"
    title = "The request cannot be used as it stands"


class PromptTooLong(GenerationError):
    """The prompt has more tokens than the model's context takes."""

    status_hint: ClassVar[int] = 400
    slug = "prompt-too-long"
    title = "The prompt is too long for the model"


class VersionUnavailable(GenerationError):
    """A version that is not served, not yet or never."""

    status_hint: ClassVar[int] = 409
    slug = "version-unavailable"
    title = "The version is not served"


class TooManyWaiting(GenerationError):
    """The waiting list of a version is full."""

    next_step_hint: ClassVar[str] = "Ask again after the time in Retry-After."
    status_hint: ClassVar[int] = 429
    slug = "too-many-waiting"
    title = "Too many requests are waiting"


class AnswerLate(GenerationError):
    """The answer was not complete by its deadline; its place was freed."""

    next_step_hint: ClassVar[str] = "Ask for fewer tokens, or again later; a stream gives what is written so far."
    status_hint: ClassVar[int] = 504
    slug = "answer-late"
    title = "The answer was not complete in time"


class NoRoom(GenerationError):
    """There is no memory for one more version while those that are there are being used."""

    next_step_hint: ClassVar[str] = "Ask again after the time in Retry-After, or without version."
    status_hint: ClassVar[int] = 503
    slug = "no-room"
    title = "There is no memory for this version now"

    def __init__(self, detail: str, *, is_temporary: bool) -> None:
        """``is_temporary``: answers of versions that are not live use the memory, which is free when they end."""
        super().__init__(detail, retry_after_seconds=1)
        self.is_temporary = is_temporary


class NothingServed(GenerationError):
    """No version is being served, because the live one could not be loaded."""

    next_step_hint: ClassVar[str] = "Ask again later; GET /readyz says what is missing."
    status_hint: ClassVar[int] = 503
    slug = "nothing-served"
    title = "No version is served yet"


class GenerationFailed(GenerationError):
    """A step of the model failed; the requests that were in it end, others go on."""

    next_step_hint: ClassVar[str] = "Ask again, or ask another version; the service's log says more."
    status_hint: ClassVar[int] = 503
    slug = "generation-failed"
    title = "The model failed while answering"


class GenerationStopping(GenerationFailed):
    """The process is going down, and will not finish the answer."""

    next_step_hint: ClassVar[str] = "Ask again after the time in Retry-After, or another replica."
    slug = "generation-stopping"
    title = "The service stops before the answer is whole"
