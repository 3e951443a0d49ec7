"""Edits of one shape made of random words: CounterFact's counts, with as many tokens as a benchmark says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from editing_core.edits import SLOT, AcceptedEdit, Edit, Neighbor
from editing_core.memit.tokens import EditRows, edit_rows
from editing_core.models.load import LoadedModel

NUM_CONTEXTS = 5
NUM_PARAPHRASES, NUM_NEIGHBORS = 2, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RowShape:
    """Tokens of a row's parts."""

    context: int = 10
    subject: int = 4
    after: int = 5
    target: int = 2

    def __str__(self) -> str:
        """For people."""
        return (
            f"contexts of {self.context} tokens, subjects of {self.subject}, {self.after} after it, "
            f"targets of {self.target}"
        )


class RandomEdits:
    """Draws edits in words of the word tokenizer; equal arguments draw equal edits."""

    def __init__(self, num_words: int, shape: RowShape) -> None:
        self._num_words, self._shape = num_words, shape
        self._rng = random.Random(0)
        self.contexts = (SLOT, *(f"{self._words(shape.context)} {SLOT}" for _ in range(NUM_CONTEXTS)))

    def draw(self, num_edits: int) -> list[AcceptedEdit]:
        """``num_edits`` more edits."""
        return [
            AcceptedEdit(id=f"e{i:05}", edit=self._edit(), batch="b", acceptance=1, created="2026-01-01T00:00:00Z")
            for i in range(num_edits)
        ]

    def token_ids(self, num_tokens: int) -> list[int]:
        """Ordinary text, as it were."""
        return [self._rng.randrange(1, self._num_words) for _ in range(num_tokens)]

    def _edit(self) -> Edit:
        shape = self._shape
        prompt = f"{SLOT} {self._words(shape.after)}"
        true = self._words(shape.target)
        return Edit(
            subject=self._words(shape.subject),
            prompt=prompt,
            target_new=self._words(shape.target),
            target_true=true,
            relation=prompt,
            paraphrases=tuple(
                f"{self._words(shape.context)} {SLOT} {self._words(shape.after)}" for _ in range(NUM_PARAPHRASES)
            ),
            neighborhood=tuple(
                Neighbor(prompt=self._words(shape.subject + shape.after), target=true) for _ in range(NUM_NEIGHBORS)
            ),
        )

    def _words(self, count: int) -> str:
        return " ".join(f"w{i}" for i in self.token_ids(count))


def rows_of(loaded: LoadedModel, edits: Sequence[AcceptedEdit], contexts: Sequence[str]) -> list[EditRows]:
    """Token rows of each edit."""
    return [
        edit_rows(loaded.tokenizer, accepted.edit, contexts, max_positions=loaded.max_positions) for accepted in edits
    ]
