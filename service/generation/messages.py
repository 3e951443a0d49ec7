"""The requests and results of the generation service, in texts and versions. Does not depend on HTTP or places."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.generation.decoding.requests import GenerationResult
from service.generation.decoding.score import Score
from service.generation.errors import RequestNotValid
from service.generation.stream_events import StreamEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionChoice:
    """The version that answers: ``version``, or the live one, at least ``min_version`` if that is given."""

    version: str | None = None
    min_version: str | None = None

    def __post_init__(self) -> None:
        """Raise RequestNotValid if both are given."""
        if self.version is not None and self.min_version is not None:
            raise RequestNotValid(
                f"version ({self.version}) and min_version exclude each other: send only one of them",
                loc=("min_version",),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The client of a request, and its time limits."""

    name: str
    """Name by which clients take turns."""
    timeout_seconds: float
    """Time limit for the complete answer. Later answers are dropped."""
    read_seconds: float
    """Time limit for reading a stream, which is closed afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to continue a prompt; see the fields of ``GenerationRequest``."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    num_logprobs: int | None = None
    num_answers: int = 1
    """Answers to each prompt; with a seed, answer i uses the seed plus i."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResults:
    """The answers of one version to some prompts."""

    version: str
    results: tuple[GenerationResult, ...]
    """``num_answers`` results for each prompt, in the order of the prompts."""
    num_prompt_tokens: tuple[int, ...]
    """The number of tokens of each result's prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResults:
    """Scores of targets and the version that computed them."""

    version: str
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStream:
    """The answers of one version as they are written."""

    version: str
    num_prompt_tokens: tuple[int, ...]
    """The number of tokens of each answer's prompt."""
    events: AsyncIterator[tuple[int, StreamEvent]]
    """Events with the index of their answer: pieces of text, then the result or an error."""
