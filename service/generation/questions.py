"""What the resident versions are asked and what they answer, in texts and versions; knows no HTTP and no places."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.generation.decoding.requests import GenerationResult
from service.generation.decoding.score import Score
from service.generation.errors import RequestNotValid
from service.generation.stream_events import Said


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which version is to answer; the live one when neither is given."""

    version: str | None = None
    min_version: str | None = None

    def __post_init__(self) -> None:
        """Raise RequestNotValid where both are given."""
        if self.version is not None and self.min_version is not None:
            raise RequestNotValid(
                f"version {self.version} and min_version exclude each other: the first names the version by itself",
                loc=("min_version",),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and for how long it is of use."""

    name: str
    """Clients take turns by it."""
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a prompt is to be continued; the fields of ``GenerationRequest``."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_logprobs: int | None = None
    num_answers: int = 1
    """To each prompt; of a seeded one each has the next seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuations:
    """The answers to some prompts, by one version."""

    version: str
    results: tuple[GenerationResult, ...]
    """``num_answers`` for each prompt, in their order."""
    num_prompt_tokens: tuple[int, ...]
    """Of each result's prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsScored:
    """Scores and who gave them."""

    version: str
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStream:
    """Answers as they are written."""

    version: str
    num_prompt_tokens: tuple[int, ...]
    """Of each answer's prompt."""
    events: AsyncIterator[tuple[int, Said]]
    """What each answer, by its place, has grown by, and at last its result, or why there is none."""
