"""The metrics of a set of edits: MEMIT's ES, PS, NS and S, and reliability and generation success.

Each metric is computed per case, then averaged over the cases that have such prompts, as in the public implementation:

* **ES** p(new) > p(true) after the prompt. **PS** is the share of the case's paraphrases with p(new) > p(true). **NS**
  is the share of its neighbourhood prompts with p(true) > p(new). All compare the mean log-probability per token.
* **S** is the harmonic mean of ES, PS and NS.
* **reliability** greedy decoding gives the new object's tokens after the prompt.
* **generation success** is the share of the case's prompts (prompt, paraphrases, generation prompts, each once) after
  which 24 greedy tokens name the new object before the old one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from editing_core.asking.continuations import continue_greedily, tells
from editing_core.asking.scoring import TargetScore, counting_rows, score_targets
from editing_core.edits import Edit


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The metrics of one edit; None if it has no such prompts, or no old object to compare with."""

    efficacy: bool | None
    paraphrases: float | None
    neighborhood: float | None
    holds: bool
    generation_success: float
    writes: str
    """The 24 greedy tokens after the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Means over cases, each between 0 and 1; None if no case has such prompts."""

    num_cases: int
    efficacy_score: float | None
    paraphrase_score: float | None
    neighborhood_score: float | None
    score: float | None
    reliability: float
    generation_success: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Prompts of one case, and the start of their scores: prompt, paraphrases, neighbours; new and true for each."""

    edit: Edit
    continuation_prompts: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


def evaluate_cases(
    model: nn.Module,
    tokenizer: Any,
    cases: Sequence[tuple[Edit, Sequence[str]]],
    *,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[CaseResult]:
    """Ask the model about each (edit, generation prompts). Progress counts rows done of all rows.

    If a neighbour has no target of its own, the edit's old object counts as its target.
    """
    asked = [_ask(edit, prompts) for edit, prompts in cases]
    pairs = [pair for case in asked for pair in case.pairs]
    prompts = [prompt for case in asked for prompt in case.continuation_prompts]
    on_rows = counting_rows(on_progress, len(pairs) + len(prompts))
    scores = iter(score_targets(model, tokenizer, pairs, batch_size=batch_size, on_rows=on_rows))
    texts = iter(continue_greedily(model, tokenizer, prompts, batch_size=2 * batch_size, on_rows=on_rows))
    return [
        _result(case, [next(scores) for _ in case.pairs], [next(texts) for _ in case.continuation_prompts])
        for case in asked
    ]


def summarise(results: Sequence[CaseResult]) -> Metrics:
    """Return the means over the cases."""
    if not results:
        raise ValueError("there are no cases to summarise")
    efficacy = _mean(result.efficacy for result in results)
    paraphrases = _mean(result.paraphrases for result in results)
    neighborhood = _mean(result.neighborhood for result in results)
    return Metrics(
        num_cases=len(results),
        efficacy_score=efficacy,
        paraphrase_score=paraphrases,
        neighborhood_score=neighborhood,
        score=harmonic_mean((efficacy, paraphrases, neighborhood)),
        reliability=math.fsum(result.holds for result in results) / len(results),
        generation_success=math.fsum(result.generation_success for result in results) / len(results),
    )


def harmonic_mean(values: Iterable[float | None]) -> float | None:
    """Return the harmonic mean: None if any value is None, 0 if any value is 0."""
    known = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return 0.0 if 0.0 in known else len(known) / math.fsum(1 / value for value in known)


def _ask(edit: Edit, generation_prompts: Sequence[str]) -> _Asked:
    own = (edit.filled_prompt, *edit.filled_paraphrases)
    pairs: list[tuple[str, str]] = []
    for prompt in own:
        pairs.append((prompt, edit.target_new))
        if edit.target_true is not None:
            pairs.append((prompt, edit.target_true))
    for neighbor in edit.neighborhood:
        true = neighbor.target or edit.target_true
        if true is not None:
            pairs += [(neighbor.prompt, edit.target_new), (neighbor.prompt, true)]
    return _Asked(edit, tuple(dict.fromkeys((*own, *generation_prompts))), tuple(pairs))


def _result(case: _Asked, scores: Sequence[TargetScore], texts: Sequence[str]) -> CaseResult:
    edit = case.edit
    num_own = 1 + len(edit.paraphrases)
    has_old = edit.target_true is not None
    own = scores[: num_own * (2 if has_old else 1)]
    others = scores[len(own) :]
    prefers_new = [_above(*own[i : i + 2]) for i in range(0, len(own), 2)] if has_old else []
    keeps_true = [_above(others[i + 1], others[i]) for i in range(0, len(others), 2)]
    return CaseResult(
        efficacy=prefers_new[0] if has_old else None,
        paraphrases=_mean(prefers_new[1:]),
        neighborhood=_mean(keeps_true),
        holds=own[0].greedy_match,
        generation_success=sum(tells(text, edit.target_new, edit.target_true) for text in texts) / len(texts),
        writes=texts[0],
    )


def _above(one: TargetScore, other: TargetScore) -> bool:
    return one.mean_logprob > other.mean_logprob


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
