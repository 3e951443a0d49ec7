"""The text for the statistics: documents, some of them held out, and windows of their tokens.

Does not know the source of the text (``text_files``, ``dataset``). Knows only the tokenizer of a model.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol


class Corpus(Protocol):
    """Text for a model's artefacts. Every read gives the same documents in the same order."""

    def digest(self) -> str:
        """Return a digest that changes if the documents or the choice of held-out documents change."""
        ...

    def documents(self, *, heldout: bool) -> Iterator[str]:
        """Yield the non-blank documents that are held out, or the others. Raises InvalidSettings if unreadable."""
        ...


@dataclass(slots=True, kw_only=True)
class WindowReader:
    """Packs the tokens of documents, each followed by an end-of-text, into full windows. An incomplete rest is dropped.

    ``num_documents`` and ``waiting`` are the reader's position. A new reader with these values continues after the last
    window. Memory is bounded by one document.
    """

    tokenizer: Any
    num_tokens: int
    """Tokens in a window."""
    num_documents: int = 0
    """Number of documents read so far."""
    waiting: deque[int] = field(default_factory=deque)
    """Tokens of those documents that are not in a window yet."""

    def read(self, documents: Iterator[str]) -> Iterator[list[int]]:
        """Yield windows of all documents, skipping the first ``num_documents``, which were read before."""
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
    """Yield all windows of ``documents``."""
    return WindowReader(tokenizer=tokenizer, num_tokens=num_tokens).read(documents)
