"""What is asked of the decode loop and what it answers; knows no HTTP."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Literal

import torch

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One prompt to be continued."""

    prompt_ids: tuple[int, ...]
    max_new_tokens: int
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    seed: int | None = None
    """None: another text every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The continuation, without the token that ended it."""

    ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    """``stop``: the model ended it; ``length``: ``max_new_tokens`` or the end of the context."""


Answer = Future[GenerationResult]
"""Cancelling it frees the request's place within one step."""


@dataclass(slots=True, kw_only=True, eq=False)
class Running:
    """A request on its way: waiting, or in a place."""

    request: GenerationRequest
    answer: Answer = field(default_factory=Future)
    ids: list[int] = field(default_factory=list)
    """Chosen tokens; all but the last are in the cache."""
    generator: torch.Generator | None = None

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

    def finish(self, result: GenerationResult) -> None:
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
