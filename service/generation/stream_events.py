"""What the decoding thread says of one request's streamed answers, on its way to their reader.

A reader may be slower than the writer, or read nothing at all: what is said waits here, and nothing else does. Knows no
HTTP and no versions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from editing_core.errors import ErrataError
from service.generation.decoding.requests import GenerationResult, Piece
from service.generation.loop_bridge import Mailbox
from service.generation.stream_timing import Pace

Said = Piece | GenerationResult | ErrataError
"""An answer has grown, has ended, or will not be given."""


@dataclass(frozen=True, slots=True)
class Finished:
    """An answer's end, on the clock of ``time.perf_counter``."""

    result: GenerationResult
    at: float


class Letters:
    """One request's; made and read in one event loop, posted from the decoding thread."""

    def __init__(self, mailbox: Mailbox, num_answers: int, *, pace: Pace) -> None:
        self._mailbox = mailbox
        self._pace = pace
        self._num_answers = self._num_making = num_answers
        self._unread: asyncio.Queue[tuple[int, Piece | Finished | BaseException]] = asyncio.Queue()
        self.all_made = asyncio.Event()
        """No answer is being made any more, whether they were read or not."""
        self.read: dict[int, Finished] = {}
        """Answers that were handed to the reader to their end."""
        self.failed: dict[int, ErrataError] = {}
        """Answers whose failure was."""

    def post(self, number: int, said: Piece | Future[GenerationResult]) -> None:
        """Take what was said of an answer just now: a piece, or that it has ended."""
        self._mailbox.post(partial(self._take, number, said, time.perf_counter()))

    async def events(self) -> AsyncIterator[tuple[int, Said]]:
        """Each answer's pieces and its end, by its number; ends with the last answer."""
        while len(self.read) + len(self.failed) < self._num_answers:
            number, said = await self._unread.get()
            if isinstance(said, Finished):
                self.read[number] = said
                yield number, said.result
            elif isinstance(said, ErrataError):
                self.failed[number] = said
                yield number, said
            elif isinstance(said, BaseException):
                raise said
            else:
                yield number, said

    def _take(self, number: int, said: Piece | Future[GenerationResult], at: float) -> None:
        if isinstance(said, Piece):
            self._pace.note(number, at)
            self._unread.put_nowait((number, said))
            return
        self._num_making -= 1
        if not said.cancelled():
            error = said.exception()
            self._unread.put_nowait((number, Finished(said.result(), at) if error is None else error))
        if not self._num_making:
            self.all_made.set()


def ends_of(answers: Sequence[Future[GenerationResult]]) -> dict[int, float]:
    """When each answer ended, by its place; filled as they end."""
    ends: dict[int, float] = {}

    def note(number: int, _: Future[GenerationResult]) -> None:
        ends[number] = time.perf_counter()

    for number, answer in enumerate(answers):
        answer.add_done_callback(partial(note, number))
    return ends
