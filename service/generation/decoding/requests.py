"""What is asked of the decode loop and what it answers; knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from service.generation.decoding.score import Score, ScoreAccumulator
from service.generation.decoding.text import AnswerText

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRequest:
    """What every request has."""

    prompt_ids: tuple[int, ...]
    client: str = ""
    """Whose turn it takes."""
    deadline: float | None = None
    """On the clock of ``time.monotonic``; whoever has no whole answer by then gets an error. None: no hurry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest(BaseRequest):
    """One prompt to be continued."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """None: another text every time."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these."""
    num_logprobs: int | None = None
    """How many likeliest tokens to tell at each place, beside the chosen one; None: tell nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest(BaseRequest):
    """A target to be scored after a prompt."""

    target_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """How likely a chosen token was, by the model itself: temperature and ``top_p`` change nothing here."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The likeliest tokens and their logarithms of probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What an answer has grown by."""

    text: str
    """Whole characters; may be empty where ``logprobs`` is not."""
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The continuation, without the token or stop string that ended it."""

    ids: tuple[int, ...]
    """With those of a stop string."""
    text: str
    finish_reason: FinishReason
    """``stop``: the model ended it, or a stop string did; ``length``: ``max_new_tokens`` or the end of the context."""
    logprobs: tuple[TokenLogprobs, ...] = ()


Listener = Callable[[Piece], None]
"""Told of each piece, in the decoding thread."""


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Requests that came together."""

    all_or_none: bool = True
    """The answers are given together or not at all."""
    has_started: bool = False
    """One of them has, or had, a place."""


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A request on its way: waiting, or in a place."""

    request: Any
    group: Group = field(default_factory=Group)
    answer: Future[Any] = field(default_factory=Future)
    """Cancelling it frees the request's place within one step."""
    num_prefilled: int = 0
    """Tokens of ``prefill_ids`` that are in the cache."""

    @property
    def prefill_ids(self) -> tuple[int, ...]:
        """The tokens that are read before the first is chosen."""
        ids: tuple[int, ...] = self.request.prompt_ids
        return ids

    @property
    def wanted(self) -> range:
        """After which of them the logits are needed."""
        return range(len(self.prefill_ids) - 1, len(self.prefill_ids))

    @property
    def longest(self) -> int:
        """Positions that the request can come to need."""
        return len(self.prefill_ids) + 1

    def finish(self, result: object) -> None:
        """Answer, unless the client has gone."""
        try:
            self.answer.set_result(result)
        except InvalidStateError:
            return

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless the client has gone."""
        try:
            self.answer.set_exception(error)
        except InvalidStateError:
            return


@dataclass(slots=True, kw_only=True, eq=False)
class GenerationEntry(Entry):
    """A prompt that is being continued."""

    request: GenerationRequest
    listener: Listener | None = None
    ids: list[int] = field(default_factory=list)
    """Chosen tokens; all but the last are in the cache."""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    text: AnswerText | None = None
    """Kept where it is needed before the end."""
    generator: torch.Generator | None = None
    num_logprobs_sent: int = 0
    """Of ``logprobs``, those that the listener knows."""

    def __post_init__(self) -> None:
        if self.request.temperature > 0:
            self.generator = torch.Generator()
            if self.request.seed is None:
                self.generator.seed()
            else:
                self.generator.manual_seed(self.request.seed)

    @property
    def length(self) -> int:
        """Positions in the cache once the last chosen token is fed: prompt and answer so far."""
        return len(self.request.prompt_ids) + len(self.ids)

    @property
    def longest(self) -> int:
        """Positions that the request can come to need."""
        return len(self.request.prompt_ids) + self.request.max_new_tokens

    def notify(self, *, everything: bool = False) -> None:
        """Give the listener what is new."""
        if self.listener is None or self.text is None:
            return
        text = self.text.take_new_text(everything=everything)
        new_logprobs = tuple(self.logprobs[self.num_logprobs_sent :])
        if text or new_logprobs:
            self.num_logprobs_sent = len(self.logprobs)
            self.listener(Piece(text=text, logprobs=new_logprobs))


@dataclass(slots=True, kw_only=True, eq=False)
class ScoreEntry(Entry):
    """A target that is being scored."""

    request: ScoreRequest
    accumulator: ScoreAccumulator = field(default_factory=ScoreAccumulator)

    @property
    def prefill_ids(self) -> tuple[int, ...]:
        """Prompt and target, but for the last token, after which nothing is asked."""
        return (*self.request.prompt_ids, *self.request.target_ids[:-1])

    @property
    def wanted(self) -> range:
        """After which of them the target's tokens come."""
        return range(len(self.request.prompt_ids) - 1, len(self.prefill_ids))


Answer = Future[GenerationResult]
ScoreAnswer = Future[Score]
