"""Text as the statistics see it: documents, of which some are held out, and windows of their tokens.

Knows neither where text comes from (``text_files``, ``dataset``) nor a model, only its tokenizer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol


class Corpus(Protocol):
    """Text for a model's artefacts: the same documents in the same order whenever it is read."""

    def digest(self) -> str:
        """A digest that differs if the documents differ, or if others of them are held out."""
        ...

    def documents(self, *, heldout: bool) -> Iterator[str]:
        """Non-blank documents that are not held out, or those that are. Raises InvalidSettings for unreadable ones."""
        ...


@dataclass(slots=True, kw_only=True)
class WindowReader:
    """Packs the tokens of documents, an end-of-text after each, into full windows; a rest that fills none is left out.

    ``num_documents`` and ``waiting`` are its place: another reader that is given them goes on behind the last window.
    Memory is bounded by one document.
    """

    tokenizer: Any
    num_tokens: int
    """Tokens in a window."""
    num_documents: int = 0
    """Documents that were taken so far."""
    waiting: deque[int] = field(default_factory=deque)
    """Tokens of those documents that are in no window yet."""

    def read(self, documents: Iterator[str]) -> Iterator[list[int]]:
        """Windows of all documents, of which the first ``num_documents`` were taken before."""
        yield from self._full_windows()
        end = [self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else []
        for document in islice(documents, self.num_documents, None):
            self.waiting += self.tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"] + end
            self.num_documents += 1
            yield from self._full_windows()

    def _full_windows(self) -> Iterator[list[int]]:
        while len(self.waiting) >= self.num_tokens:
            yield [self.waiting.popleft() for _ in range(self.num_tokens)]


def token_windows(documents: Iterator[str], tokenizer: Any, *, num_tokens: int) -> Iterator[list[int]]:
    """The windows of ``documents`` from the first one on."""
    return WindowReader(tokenizer=tokenizer, num_tokens=num_tokens).read(documents)
