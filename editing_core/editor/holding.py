"""Chooses the keys that a solve holds, for a set of edits and guards.

The solve holds guards, the neighbourhoods of edits with ``protect``, and edits that are already true. Like edits, each
is held at its subject's look-up token in all contexts, because the model looks the fact up there and an edit's change
affects it there. A neighbour's subject is the text in the slot of its edit's own templates. If no subject is known, the
last token is held, where the answer is read.

A prompt about a subject that an edit changes is not held: a zero residual next to a nonzero one at nearly the same key
would halve the edit. Knows no weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from editing_core.edits import SLOT, AcceptedEdit, Edit, normalise
from editing_core.errors import InvalidEdit
from editing_core.guards import AcceptedGuard
from editing_core.memit.tokens import TokenRow, in_context, subject_row
from editing_core.neighbors import slot_content, word_runs

Rows = tuple[TokenRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The rows that a solve holds, and the guards that it cannot hold."""

    rows: tuple[Rows, ...] = ()
    """Rows of each held prompt, one per context, the bare one first; prompts in canonical order, without repeats."""
    prompts: frozenset[str] = frozenset()
    """Prompts of guards and neighbours that are held."""
    left_out: dict[str, str] = field(default_factory=dict)
    """The reason by id, for each guard that is tested but not held."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Finds the rows to hold, for one tokenizer and its contexts."""

    tokenizer: Any
    contexts: tuple[str, ...]
    max_positions: int
    _rows: dict[tuple[str, str | None], Rows] = field(default_factory=dict)

    def hold(
        self, live: Sequence[AcceptedEdit], guards: Iterable[AcceptedGuard], *, settled: dict[str, Rows]
    ) -> Holding:
        """Return the held rows. ``live`` is the whole set; ``settled`` has the rows of its already true edits, by id.

        The order of edits and guards does not matter.
        """
        changed = {normalise(row.edit.subject) for row in live if row.id not in settled}
        rows = set(settled.values())
        prompts: set[str] = set()
        left_out: dict[str, str] = {}
        for prompt, subject in _neighbors(live):
            if _touched(prompt, subject, changed) is None and (found := self._fitting(prompt, subject)) is not None:
                rows.add(found)
                prompts.add(prompt)
        for accepted in guards:
            guard = accepted.guard
            if (touched := _touched(guard.prompt, guard.subject, changed)) is not None:
                left_out[accepted.id] = f"a live edit changes what the model knows of {touched!r}"
                continue
            try:
                rows.add(self._rows_of(guard.prompt, guard.subject))
                prompts.add(guard.prompt)
            except InvalidEdit as error:
                left_out[accepted.id] = error.detail
        return Holding(rows=tuple(sorted(rows, key=_content)), prompts=frozenset(prompts), left_out=left_out)

    def _fitting(self, prompt: str, subject: str | None) -> Rows | None:
        try:
            return self._rows_of(prompt, subject)
        except InvalidEdit:
            return None

    def _rows_of(self, prompt: str, subject: str | None) -> Rows:
        if (prompt, subject) not in self._rows:
            rows = tuple(self._row(in_context(context, prompt), subject) for context in self.contexts)
            longest = max(len(row.ids) for row in rows)
            if longest > self.max_positions:
                raise InvalidEdit(
                    f"the prompt makes {longest} tokens with the longest context; the model takes {self.max_positions}"
                )
            self._rows[prompt, subject] = rows
        return self._rows[prompt, subject]

    def _row(self, text: str, subject: str | None) -> TokenRow:
        if subject is not None:
            start = text.rindex(subject)
            return subject_row(self.tokenizer, text[:start] + SLOT + text[start + len(subject) :], subject)
        ids = tuple(self.tokenizer(text, verbose=False)["input_ids"])
        return TokenRow(ids=ids, lookup=len(ids) - 1)


def subject_of_neighbor(edit: Edit, prompt: str) -> str | None:
    """Return a neighbour's subject: the content of the slot, if it is worded like the edit or a paraphrase."""
    templates = (edit.prompt, *(text for text in edit.paraphrases if SLOT in text))
    found = (slot_content(template, prompt) for template in templates)
    return next((subject for subject in found if subject is not None and not subject[-1:].isspace()), None)


def _neighbors(live: Iterable[AcceptedEdit]) -> Iterator[tuple[str, str | None]]:
    for accepted in live:
        if accepted.edit.protect:
            for neighbor in accepted.edit.neighborhood:
                yield neighbor.prompt, subject_of_neighbor(accepted.edit, neighbor.prompt)


def _touched(prompt: str, subject: str | None, changed: Collection[str]) -> str | None:
    """Return the edited subject at whose end the fact is looked up; without a subject, any edited one in the prompt."""
    if subject is None:
        return next((run for run in word_runs(prompt) if run in changed), None)
    words = normalise(prompt[: prompt.rindex(subject) + len(subject)]).split()
    runs = [normalise(subject), *(" ".join(words[first:]) for first in range(len(words)))]
    return next((run for run in runs if run in changed), None)


def _content(rows: Rows) -> tuple[tuple[tuple[int, ...], int], ...]:
    return tuple((row.ids, row.lookup) for row in rows)
