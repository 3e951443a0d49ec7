"""Chooses the neighbours of an edit for the checks: prompts about other subjects. Their answers must not change.

An edit's given neighbours are used. If none is given or left, ten are made: the edit's prompt template with ten other
subjects. The subjects come first from given neighbours of the same relation, then from names in the probe set's text.
A digest over seed, edit and name selects the ten. The selection does not depend on the other edits of the batch.

Two kinds are left out: made neighbours whose subject has a live or new edit, and given neighbours that a live or new
edit answers (the same relation about the same subject). Knows no model.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from editing_core.edits import SLOT, AcceptedEdit, Edit, fill, normalise

NUM_MADE = 10
_MOST_WORDS = 8
_NAME_WORD = re.compile(r"[^\W\d_][\w'’-]*")


@dataclass(frozen=True, slots=True)
class NeighborQuestion:
    """A prompt that is asked before and after the edit."""

    prompt: str
    target: str | None
    """The true object. None means the first choice of the version before."""
    is_made: bool


class NeighborPicker:
    """Picks the neighbours of edits, given all edits that are live after the commit."""

    def __init__(self, edits: Collection[AcceptedEdit], probe_texts: Sequence[str], *, seed: int) -> None:
        """``edits``: the live and the new edits. ``probe_texts``: ordinary text, as a source of names."""
        self._seed = seed
        self._edited = {normalise(accepted.edit.subject) for accepted in edits}
        self._edited_parts = {part for subject in self._edited for part in word_runs(subject)}
        self._edited_by_relation: dict[str, set[str]] = defaultdict(set)
        self._prompts_by_relation: dict[str, set[str]] = defaultdict(set)
        self._asked: set[str] = set()
        self._subjects_of: dict[tuple[str, str], set[str]] = {}
        for accepted in edits:
            edit = accepted.edit
            relation = normalise(edit.relation)
            self._edited_by_relation[relation].add(normalise(edit.subject))
            self._prompts_by_relation[relation].update(neighbor.prompt for neighbor in edit.neighborhood)
            self._asked.update(normalise(text) for text in (edit.filled_prompt, *edit.filled_paraphrases))
        self._probe_names = self._without_edit(names_in(probe_texts))

    def pick(self, edit: Edit) -> list[NeighborQuestion]:
        """The edit's neighbours, each prompt once."""
        if edit.neighborhood:
            given = {n.prompt: NeighborQuestion(n.prompt, n.target, is_made=False) for n in edit.neighborhood}
            kept = [question for question in given.values() if not self._is_edited(question.prompt, edit.relation)]
            if kept:
                return kept
        first = self._ordered(self._same_relation_subjects(edit), edit)[:NUM_MADE]
        rest = self._ordered(self._probe_names - set(first), edit)[: NUM_MADE - len(first)]
        return [NeighborQuestion(fill(edit.prompt, name), None, is_made=True) for name in (*first, *rest)]

    def _is_edited(self, prompt: str, relation: str) -> bool:
        if normalise(prompt) in self._asked:
            return True
        edited = self._edited_by_relation[normalise(relation)]
        return any(run in edited for run in word_runs(prompt))

    def _same_relation_subjects(self, edit: Edit) -> set[str]:
        """Subjects of given neighbours with the edit's relation and template, without subjects that have an edit."""
        key = (normalise(edit.relation), edit.prompt)
        if key not in self._subjects_of:
            slots = (slot_content(edit.prompt, prompt) for prompt in self._prompts_by_relation[key[0]])
            self._subjects_of[key] = self._without_edit(subject for subject in slots if subject is not None)
        return self._subjects_of[key]

    def _without_edit(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if not self._touches_edit(name)}

    def _touches_edit(self, name: str) -> bool:
        return normalise(name) in self._edited_parts or any(run in self._edited for run in word_runs(name))

    def _ordered(self, names: Iterable[str], edit: Edit) -> list[str]:
        def digest(name: str) -> bytes:
            return hashlib.sha256(f"{self._seed}\0{edit.content_key()}\0{name}".encode()).digest()

        return sorted(names, key=digest)


def names_in(texts: Sequence[str]) -> set[str]:
    """Names in running text: words that always begin with a capital. Adjacent words form one name.

    A name at the start or end of a text is left out, because texts may be cut in the middle of a word.
    """
    ordinary = {word for text in texts for word in _NAME_WORD.findall(text) if word[0].islower()}
    found = {name for text in texts for name in _capital_runs(text, ordinary)}
    return {name.removesuffix("'s").removesuffix("’s") for name in found if len(name.split()) <= _MOST_WORDS}


def _capital_runs(text: str, ordinary: Collection[str]) -> Iterator[str]:
    words = list(_NAME_WORD.finditer(text))
    is_name = [len(w[0]) > 1 and w[0][0].isupper() and w[0].lower() not in ordinary for w in words]
    first = 0
    while first < len(words):
        last = first
        while last + 1 < len(words) and is_name[last + 1] and text[words[last].end() : words[last + 1].start()] == " ":
            last += 1
        start, end = words[first].start(), words[last].end()
        if is_name[first] and start > 0 and end < len(text):
            yield text[start:end]
        first = last + 1 if is_name[first] else first + 1


def slot_content(template: str, prompt: str) -> str | None:
    """The text that fills the template's slot in this prompt. None if the prompt does not match the template."""
    before, _, after = template.partition(SLOT)
    subject = prompt[len(before) : len(prompt) - len(after)]
    return subject if subject.strip() and fill(template, subject) == prompt else None


def word_runs(text: str) -> Iterator[str]:
    """All runs of up to eight words, without the punctuation around them."""
    words = normalise(text).split()
    for start in range(len(words)):
        for end in range(start + 1, min(start + _MOST_WORDS, len(words)) + 1):
            run = " ".join(words[start:end])
            yield run
            bare = run.strip(".,;:!?()[]\"'“”‘’")
            if bare != run:
                yield bare
