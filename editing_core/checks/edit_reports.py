"""The report on one new edit: the answers to its prompts and to its neighbours, before and after.

A report is plain JSON:

``holds``                greedy decoding gives the new object's tokens after the prompt
``generation_success``   share of prompt and paraphrases after which 24 greedy tokens name the new object before the old
                         one
``writes``               these 24 tokens after the prompt
``before``, ``after``    for the parent and the candidate: ``probability`` and ``rank`` (1: first choice) of the new
                         object, ``true_probability`` and ``true_rank`` of the old object (None if none was given)
``paraphrases``          each with ``prompt``, ``probability``, ``rank``, ``true_probability``, ``true_rank``,
                         ``generation_success``, ``writes``
``neighbors``            ``kept``, ``total`` and ``prompts``, each with ``prompt``, ``expected``, ``got`` (the
                         candidate's first token), ``kept``, ``made`` (not given by the author)
``left_out``             prompts that were not asked, each with the reason
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from editing_core.asking.continuations import continue_greedily, tells
from editing_core.asking.scoring import OnRows, TargetScore, prompt_ids, score_targets
from editing_core.edits import AcceptedEdit
from editing_core.errors import ErrataError
from editing_core.memit.tokens import target_ids
from editing_core.neighbors import NeighborQuestion

Pair = tuple[str, str | int]
"""A prompt and a target. The target is text or the id of a single token."""
Scores = dict[Pair, TargetScore]


@dataclass(frozen=True, slots=True)
class EditQuestions:
    """All questions about one new edit."""

    accepted: AcceptedEdit
    paraphrases: tuple[str, ...]
    neighbors: tuple[NeighborQuestion, ...]
    left_out: tuple[dict[str, str], ...] = field(default=())

    @property
    def prompts(self) -> tuple[str, ...]:
        """The edit's prompt and its paraphrases."""
        return (self.accepted.edit.filled_prompt, *self.paraphrases)

    def prompt_pairs(self) -> Iterator[Pair]:
        """The edit's prompt with the new and the old object."""
        return self._with_objects(self.prompts[:1])

    def paraphrase_pairs(self) -> Iterator[Pair]:
        """Each paraphrase with the new and the old object."""
        return self._with_objects(self.paraphrases)

    def neighbor_pairs(self) -> Iterator[Pair]:
        """Each neighbour with the edit's new object and with its own object, if one was given."""
        for question in self.neighbors:
            yield question.prompt, self.accepted.edit.target_new
            if question.target is not None:
                yield question.prompt, question.target

    def believed_pairs(self, parent: Scores) -> Iterator[Pair]:
        """Each neighbour without a given object, with the parent's first token."""
        for question in self.neighbors:
            if question.target is None:
                yield question.prompt, parent[question.prompt, self.accepted.edit.target_new].first_choice

    def _with_objects(self, prompts: Iterable[str]) -> Iterator[Pair]:
        edit = self.accepted.edit
        for prompt in prompts:
            yield prompt, edit.target_new
            if edit.target_true is not None:
                yield prompt, edit.target_true


def ask_about(
    model: nn.Module, tokenizer: Any, accepted: AcceptedEdit, neighbors: Sequence[NeighborQuestion]
) -> EditQuestions:
    """The questions that fit the model's context. The others are listed in ``left_out``."""
    edit = accepted.edit
    left_out: list[dict[str, str]] = []

    def fits(prompt: str, *targets: str | None) -> bool:
        try:
            longest = max(len(target_ids(tokenizer, prompt, t)) for t in targets if t is not None)
            prompt_ids(model, tokenizer, prompt, num_new=longest)
        except ErrataError as error:
            left_out.append({"prompt": prompt, "reason": error.detail})
            return False
        return True

    paraphrases = tuple(p for p in dict.fromkeys(edit.filled_paraphrases) if fits(p, edit.target_new, edit.target_true))
    kept = tuple(n for n in neighbors if fits(n.prompt, edit.target_new, n.target))
    return EditQuestions(accepted, paraphrases, kept, tuple(left_out))


def score_pairs(model: nn.Module, tokenizer: Any, pairs: Iterable[Pair], *, batch_size: int, on_rows: OnRows) -> Scores:
    """Score each different pair once."""
    distinct = list(dict.fromkeys(pairs))
    scores = score_targets(model, tokenizer, distinct, batch_size=batch_size, on_rows=on_rows)
    return dict(zip(distinct, scores, strict=True))


def write_on(
    model: nn.Module, tokenizer: Any, prompts: Iterable[str], *, batch_size: int, on_rows: OnRows
) -> dict[str, str]:
    """The continuation of each different prompt."""
    distinct = list(dict.fromkeys(prompts))
    return dict(
        zip(
            distinct,
            continue_greedily(model, tokenizer, distinct, batch_size=batch_size, on_rows=on_rows),
            strict=True,
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers of two models to the questions about all new edits."""

    parent: Scores
    """Only for the prompts of the new edits and their neighbours."""
    candidate: Scores
    writes: dict[str, str]
    """The candidate's continuations, by prompt."""


def report_edit(questions: EditQuestions, answers: Answers, tokenizer: Any) -> dict[str, Any]:
    """The report that the module's docstring describes."""
    edit = questions.accepted.edit
    prompt = edit.filled_prompt
    successes = [tells(answers.writes[p], edit.target_new, edit.target_true) for p in questions.prompts]
    return {
        "holds": answers.candidate[prompt, edit.target_new].greedy_match,
        "generation_success": sum(successes) / len(successes),
        "writes": answers.writes[prompt],
        "before": _figures(questions, prompt, answers.parent),
        "after": _figures(questions, prompt, answers.candidate),
        "paraphrases": [
            {
                "prompt": paraphrase,
                **_figures(questions, paraphrase, answers.candidate),
                "generation_success": is_success,
                "writes": answers.writes[paraphrase],
            }
            for paraphrase, is_success in zip(questions.paraphrases, successes[1:], strict=True)
        ],
        "neighbors": neighbors_of(questions, answers, tokenizer),
        "left_out": list(questions.left_out),
    }


def neighbors_of(questions: EditQuestions, answers: Answers, tokenizer: Any) -> dict[str, Any]:
    """The report's ``neighbors``. Reads only the answers to the neighbours."""
    found = (
        _neighbor(q, questions.accepted.edit.target_new, answers, tokenizer=tokenizer) for q in questions.neighbors
    )
    counted = [neighbor for neighbor in found if neighbor is not None]
    return {"kept": sum(neighbor["kept"] for neighbor in counted), "total": len(counted), "prompts": counted}


def _figures(questions: EditQuestions, prompt: str, scores: Scores) -> dict[str, Any]:
    edit = questions.accepted.edit
    new = scores[prompt, edit.target_new]
    true = scores[prompt, edit.target_true] if edit.target_true is not None else None
    return {
        "probability": new.probability,
        "rank": new.rank,
        "true_probability": true.probability if true else None,
        "true_rank": true.rank if true else None,
    }


def _neighbor(question: NeighborQuestion, new: str, answers: Answers, *, tokenizer: Any) -> dict[str, Any] | None:
    """None if even the parent does not prefer the true object to the new one. Such a neighbour cannot be lost."""
    before, after = answers.parent[question.prompt, new], answers.candidate[question.prompt, new]
    if question.target is None:
        if before.first_choice == before.first_token:
            return None
        expected = tokenizer.decode([before.first_choice]).strip()
        believed = answers.candidate[question.prompt, before.first_choice]
        is_kept = believed.mean_logprob > after.first_logprob
    else:
        expected = question.target
        if not answers.parent[question.prompt, expected].mean_logprob > before.mean_logprob:
            return None
        is_kept = answers.candidate[question.prompt, expected].mean_logprob > after.mean_logprob
    return {
        "prompt": question.prompt,
        "expected": expected,
        "got": tokenizer.decode([after.first_choice]).strip(),
        "kept": is_kept,
        "made": question.is_made,
    }
