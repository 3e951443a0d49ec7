"""The decode loop's requests and results, and the state of each open request. Does not depend on HTTP."""

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
    """The fields of every request."""

    prompt_ids: tuple[int, ...]
    client: str = ""
    """The client; clients take turns."""
    deadline: float | None = None
    """Deadline of the answer on the clock of ``time.monotonic``. Late answers fail. None: no deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest(BaseRequest):
    """A prompt to continue."""

    max_new_tokens: int
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """None: each answer is drawn differently."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    num_logprobs: int | None = None
    """Number of likeliest tokens to report at each position, in addition to the selected one. None: report nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest(BaseRequest):
    """A target to score after a prompt."""

    target_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """The model's log-probability of a selected token, before temperature and ``top_p``."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The likeliest tokens with their log-probabilities, in descending order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A new part of an answer."""

    text: str
    """The new text, in complete characters. May be empty if ``logprobs`` is not."""
    logprobs: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The continuation, without the token or stop string that ended it."""

    ids: tuple[int, ...]
    """The selected tokens, including those of a stop string."""
    text: str
    finish_reason: FinishReason
    """``stop``: an end token or a stop string; ``length``: ``max_new_tokens`` or the end of the context."""
    logprobs: tuple[TokenLogprobs, ...] = ()


Listener = Callable[[Piece], None]
"""Called with each piece, in the decoding thread."""


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Requests that were submitted together."""

    all_or_none: bool = True
    """Whether the client gets either all of the answers or none."""
    has_started: bool = False
    """Whether one of the requests has, or had, a place."""


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """A request that waits or has a place."""

    request: Any
    group: Group = field(default_factory=Group)
    answer: Future[Any] = field(default_factory=Future)
    """Cancelling it frees the request's place within one step."""
    num_prefilled: int = 0
    """The number of tokens of ``prefill_ids`` that are in the cache."""

    @property
    def prefill_ids(self) -> tuple[int, ...]:
        """The tokens that are read before the first is selected."""
        ids: tuple[int, ...] = self.request.prompt_ids
        return ids

    @property
    def logit_positions(self) -> range:
        """The positions in ``prefill_ids`` after which logits are needed."""
        return range(len(self.prefill_ids) - 1, len(self.prefill_ids))

    @property
    def max_positions(self) -> int:
        """The largest number of positions that the request may need."""
        return len(self.prefill_ids) + 1

    def finish(self, result: object) -> None:
        """Set the result, unless the answer was cancelled."""
        try:
            self.answer.set_result(result)
        except InvalidStateError:
            return

    def fail(self, error: Exception) -> None:
        """Set an error, unless the answer was cancelled."""
        try:
            self.answer.set_exception(error)
        except InvalidStateError:
            return


@dataclass(slots=True, kw_only=True, eq=False)
class GenerationEntry(Entry):
    """A generation request with the state of its answer."""

    request: GenerationRequest
    listener: Listener | None = None
    ids: list[int] = field(default_factory=list)
    """The selected tokens; all but the last are in the cache."""
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    text: AnswerText | None = None
    """The text so far; None unless it is needed before the answer ends."""
    generator: torch.Generator | None = None
    num_logprobs_sent: int = 0
    """Number of ``logprobs`` that the listener has received."""

    def __post_init__(self) -> None:
        if self.request.temperature > 0:
            self.generator = torch.Generator()
            if self.request.seed is None:
                self.generator.seed()
            else:
                self.generator.manual_seed(self.request.seed)

    @property
    def length(self) -> int:
        """The positions in the cache once the last selected token is fed: the prompt and the answer so far."""
        return len(self.request.prompt_ids) + len(self.ids)

    @property
    def max_positions(self) -> int:
        """The largest number of positions that the request may need."""
        return len(self.request.prompt_ids) + self.request.max_new_tokens

    def notify(self, *, everything: bool = False) -> None:
        """Send the listener the new text; ``everything``: include text that may begin a stop string."""
        if self.listener is None or self.text is None:
            return
        text = self.text.take_new_text(everything=everything)
        new_logprobs = tuple(self.logprobs[self.num_logprobs_sent :])
        if text or new_logprobs:
            self.num_logprobs_sent = len(self.logprobs)
            self.listener(Piece(text=text, logprobs=new_logprobs))


@dataclass(slots=True, kw_only=True, eq=False)
class ScoreEntry(Entry):
    """A score request with the state of its score."""

    request: ScoreRequest
    accumulator: ScoreAccumulator = field(default_factory=ScoreAccumulator)

    @property
    def prefill_ids(self) -> tuple[int, ...]:
        """Prompt and target without its last token, after which no logits are needed."""
        return (*self.request.prompt_ids, *self.request.target_ids[:-1])

    @property
    def logit_positions(self) -> range:
        """The positions that precede the target's tokens."""
        return range(len(self.request.prompt_ids) - 1, len(self.prefill_ids))


Answer = Future[GenerationResult]
ScoreAnswer = Future[Score]
