"""The models and the questions of a check, about new and earlier edits.

A model keeps its answers, and one parent can therefore serve many candidates. Knows no limits.
"""

# Dims: P prompts, V vocabulary.

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from editing_core.asking.perplexity import num_windows, perplexity
from editing_core.asking.probes import ProbeSet, next_log_probs
from editing_core.asking.scoring import OnRows
from editing_core.checks.edit_reports import EditQuestions, Pair, Scores, ask_about, score_pairs, write_on
from editing_core.checks.guarded_facts import Fact
from editing_core.edits import AcceptedEdit
from editing_core.neighbors import NeighborPicker

_BATCH_SIZE = 32


class Answering:
    """One model and its answers so far."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        self.model = model
        self.scores: Scores = {}
        """The scores of every pair passed to ``score``."""
        self._tokenizer = tokenizer
        self._log_probs_PV: Tensor | None = None
        self._perplexity: float | None = None

    def score(self, pairs: Iterable[Pair], on_rows: OnRows) -> None:
        """Score the pairs that have no score yet."""
        new = [pair for pair in pairs if pair not in self.scores]
        self.scores |= score_pairs(self.model, self._tokenizer, new, batch_size=_BATCH_SIZE, on_rows=on_rows)

    def writes(self, prompts: Iterable[str], on_rows: OnRows) -> dict[str, str]:
        """The model's continuation of each different prompt."""
        return write_on(self.model, self._tokenizer, prompts, batch_size=2 * _BATCH_SIZE, on_rows=on_rows)

    def log_probs(self, probes: ProbeSet, on_rows: OnRows) -> Tensor:
        """Log-probabilities of the next token after each probe, [P, V]."""
        if self._log_probs_PV is None:
            self._log_probs_PV = next_log_probs(self.model, probes.prompts, batch_size=_BATCH_SIZE, on_rows=on_rows)
        return self._log_probs_PV

    def perplexity(self, token_ids: Sequence[int], on_rows: OnRows) -> float:
        """Perplexity on the held-out text."""
        if self._perplexity is None:
            self._perplexity = perplexity(self.model, token_ids, on_rows=on_rows)
        return self._perplexity


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models that are asked."""

    original: nn.Module
    parent: Answering
    candidate: Answering
    tokenizer: Any

    @property
    def parent_is_original(self) -> bool:
        """Whether the version before is the untouched model."""
        return self.parent.model is self.original


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All questions of a check. It is made first, because progress needs a total."""

    new: tuple[EditQuestions, ...]
    earlier: tuple[AcceptedEdit, ...]
    guards: tuple[Fact, ...]
    probes: ProbeSet
    heldout_ids: Sequence[int]
    base_perplexity: float
    num_live: int

    def num_rows(self, *, with_parent: bool) -> int:
        """The number of rows of all stages. Equal rows count once."""
        prompts = {pair for questions in self.new for pair in questions.prompt_pairs()}
        neighbors = {pair for questions in self.new for pair in questions.neighbor_pairs()}
        paraphrases = {pair for questions in self.new for pair in questions.paraphrase_pairs()}
        written = {prompt for questions in self.new for prompt in questions.prompts}
        believed = {q.prompt for questions in self.new for q in questions.neighbors if q.target is None}
        earlier = {own_pair(accepted) for accepted in self.earlier} | {fact.pair for fact in self.guards}
        of_parent, of_candidate = prompts | neighbors | earlier, prompts | paraphrases | neighbors | earlier
        answers = len(of_parent) + len(of_candidate) + len(believed) + len(written)
        harm = len(self.probes.prompts) + num_windows(self.heldout_ids)
        return answers + harm * (2 if with_parent else 1)


def questions_about(
    models: Models, everything: Sequence[AcceptedEdit], new: Sequence[AcceptedEdit], *, probes: ProbeSet, seed: int
) -> tuple[EditQuestions, ...]:
    """The questions about each new edit. ``seed`` draws the neighbours; the candidate has no edit about them."""
    texts = [models.tokenizer.decode(ids) for ids in probes.prompts]
    picker = NeighborPicker(everything, texts, seed=seed)
    return tuple(ask_about(models.original, models.tokenizer, accepted, picker.pick(accepted.edit)) for accepted in new)


def earlier_to_ask(
    live: Sequence[AcceptedEdit], new: Sequence[AcceptedEdit], *, limit: int, seed: int
) -> tuple[AcceptedEdit, ...]:
    """Live edits that are neither new nor superseded by a new one. Above ``limit``: half the oldest, half by digest."""
    new_ids, new_identities = {a.id for a in new}, {a.edit.identity for a in new}
    earlier = [a for a in live if a.id not in new_ids and a.edit.identity not in new_identities]
    earlier.sort(key=lambda accepted: (accepted.acceptance, accepted.id))
    if len(earlier) <= limit:
        return tuple(earlier)
    oldest, others = earlier[: limit // 2], earlier[limit // 2 :]
    others.sort(key=lambda accepted: hashlib.sha256(f"{seed}\0{accepted.id}".encode()).digest())
    return (*oldest, *others[: limit - len(oldest)])


def own_pair(accepted: AcceptedEdit) -> tuple[str, str]:
    """The edit's prompt with its new object."""
    return accepted.edit.filled_prompt, accepted.edit.target_new
