"""The checks of a candidate, asked of the very weights that would be served.

* **Taken** every token of the new object is the first choice given those before it. **Told** 24 greedy tokens from the
  prompt and each paraphrase name the new object before the old one.
* **Neighbours** (``gate.neighbors`` tells which): one given with its object is kept when p(object) > p(new), the mean
  log-probability per token compared, and counts only if it was so in the parent; of any other the token that the
  parent writes first is the truth, and it is kept when that stays likelier than the new object's first token. So an
  edit answers for what it breaks, not for what is broken.
* **Earlier edits** those of the live set that are not new and that were taken in the parent must still be taken; up to
  a limit all are asked, above it half the oldest and half drawn by seed. **Guards** in the same way, all of them.
* **Drift** KL(original ‖ candidate) on the probe set and **perplexity** on held-out text, against the parent (this
  batch's fault) and against the original (capacity). **‖Δ‖/‖W‖** of each layer.

A batch passes by shares; in a passing batch, edits that did not take stay, with ``taken`` false in their report. A NaN
or an infinity anywhere fails the check. Changes no model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from editing_core.edits import AcceptedEdit
from editing_core.evaluation.gate.edit_reports import (
    Answers,
    EditQuestions,
    Pair,
    Scores,
    ask_about,
    report_edit,
    score_pairs,
    write_on,
)
from editing_core.evaluation.gate.kept import Fact, earlier_edits, guarded_facts, share_kept, tell_apart
from editing_core.evaluation.gate.neighbors import NeighborPicker
from editing_core.evaluation.gate.takedown import judge_takedown
from editing_core.evaluation.gate.verdict import CheckLimits, CheckReport, Measured, Perplexities, Share, judge
from editing_core.evaluation.perplexity import num_windows, perplexity
from editing_core.evaluation.probes import Drift, ProbeSet, drift, next_log_probs
from editing_core.evaluation.scoring import OnRows, counting_rows
from editing_core.guarding.guards import AcceptedGuard

__all__ = ["CheckLimits", "CheckReport", "run_checks"]

_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Models:
    original: nn.Module
    parent: nn.Module
    candidate: nn.Module
    tokenizer: Any

    @property
    def parent_is_original(self) -> bool:
        return self.parent is self.original


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """All that will be asked; made first, so that progress has a total."""

    new: tuple[EditQuestions, ...]
    earlier: tuple[Fact, ...]
    guards: tuple[Fact, ...]
    probes: ProbeSet
    heldout_ids: Sequence[int]
    base_perplexity: float
    num_live: int

    def num_rows(self, *, with_parent: bool) -> int:
        """Rows of all stages, each different one counted once."""
        prompts = {pair for questions in self.new for pair in questions.prompt_pairs()}
        neighbors = {pair for questions in self.new for pair in questions.neighbor_pairs()}
        paraphrases = {pair for questions in self.new for pair in questions.paraphrase_pairs()}
        written = {prompt for questions in self.new for prompt in questions.prompts}
        believed = {q.prompt for questions in self.new for q in questions.neighbors if q.target is None}
        answers = len(neighbors | prompts) + len(prompts | paraphrases | neighbors) + len(believed) + len(written)
        harm = len(self.probes.prompts) + num_windows(self.heldout_ids)
        held = sum(len({fact.pair for fact in facts}) for facts in (self.earlier, self.guards))
        return answers + 2 * held + harm * (2 if with_parent else 1)


def run_checks(
    *,
    original: nn.Module,
    parent: nn.Module,
    candidate: nn.Module,
    tokenizer: Any,
    live: Sequence[AcceptedEdit],
    new: Sequence[AcceptedEdit],
    probes: ProbeSet,
    heldout_ids: Sequence[int],
    base_perplexity: float,
    delta_norms: Mapping[str, float],
    limits: CheckLimits,
    seed: int,
    is_takedown: bool = False,
    guards: Sequence[AcceptedGuard] = (),
    protected: Collection[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CheckReport:
    """Test the candidate; ``live`` is its whole live set, ``new`` those of it that this commit brings.

    ``parent`` is the version before (``original`` itself for v0). ``base_perplexity`` is the original's on
    ``heldout_ids``. ``on_progress(done, total)`` is called after each batch of rows and may raise. With
    ``is_takedown`` judged is harm against the original alone. ``protected``: prompts that the solve held.
    """
    models = _Models(original=original, parent=parent, candidate=candidate, tokenizer=tokenizer)
    everything = {accepted.id: accepted for accepted in (*live, *new)}
    plan = _Plan(
        new=_questions(models, tuple(everything.values()), new, probes=probes, seed=seed),
        earlier=earlier_edits(live, new, limit=limits.max_earlier, seed=seed),
        guards=guarded_facts(original, tokenizer, guards),
        probes=probes,
        heldout_ids=heldout_ids,
        base_perplexity=base_perplexity,
        num_live=len(live),
    )
    on_rows = counting_rows(on_progress, plan.num_rows(with_parent=not models.parent_is_original))
    answers = _ask(models, plan.new, on_rows)
    reports = {q.accepted.id: report_edit(q, answers, tokenizer) for q in plan.new}
    measured = _measure(models, plan, reports, answers=answers, delta_norms=delta_norms, on_rows=on_rows)
    apart = tell_apart(reports, protected)
    report = (judge_takedown if is_takedown else judge)(measured, limits, edits=reports)
    report.summary["neighbors"] |= apart
    return report


def _questions(
    models: _Models, everything: Sequence[AcceptedEdit], new: Sequence[AcceptedEdit], *, probes: ProbeSet, seed: int
) -> tuple[EditQuestions, ...]:
    texts = [models.tokenizer.decode(ids) for ids in probes.prompts]
    picker = NeighborPicker(everything, texts, seed=seed)
    return tuple(ask_about(models.original, models.tokenizer, accepted, picker.pick(accepted.edit)) for accepted in new)


def _ask(models: _Models, new: Sequence[EditQuestions], on_rows: OnRows) -> Answers:
    prompts = [pair for questions in new for pair in questions.prompt_pairs()]
    paraphrases = [pair for questions in new for pair in questions.paraphrase_pairs()]
    neighbors = [pair for questions in new for pair in questions.neighbor_pairs()]
    written = [prompt for questions in new for prompt in questions.prompts]

    def score(model: nn.Module, pairs: Sequence[Pair]) -> Scores:
        return score_pairs(model, models.tokenizer, pairs, batch_size=_BATCH_SIZE, on_rows=on_rows)

    parent = score(models.parent, [*prompts, *neighbors])
    believed = [pair for questions in new for pair in questions.believed_pairs(parent)]
    return Answers(
        parent=parent,
        candidate=score(models.candidate, [*prompts, *paraphrases, *neighbors, *believed]),
        writes=write_on(models.candidate, models.tokenizer, written, batch_size=2 * _BATCH_SIZE, on_rows=on_rows),
    )


def _measure(
    models: _Models,
    plan: _Plan,
    reports: Mapping[str, dict[str, Any]],
    *,
    answers: Answers,
    delta_norms: Mapping[str, float],
    on_rows: OnRows,
) -> Measured:
    earlier, earlier_scores = _kept(models, plan.earlier, on_rows)
    guards, guard_scores = _kept(models, plan.guards, on_rows)
    from_original, from_parent = _drifts(models, plan.probes, on_rows)
    scores = [*answers.candidate.values(), *earlier_scores.values(), *guard_scores.values()]
    told = [report["told"] for report in reports.values()]
    return Measured(
        num_live=plan.num_live,
        num_new=len(plan.new),
        taken=_taken(plan.new, reports),
        told=sum(told) / len(told) if told else None,
        neighbors=_neighbors_kept(plan.new, reports),
        earlier=earlier,
        guards=guards,
        drift=from_original.mean_kl,
        drift_from_parent=from_parent.mean_kl,
        answers_kept=from_original.answers_kept,
        perplexity=_perplexities(models, plan, on_rows),
        delta_norms=delta_norms,
        not_finite=() if all(score.is_finite for score in scores) else ("probabilities of targets",),
    )


def _taken(new: Sequence[EditQuestions], reports: Mapping[str, dict[str, Any]]) -> Share:
    missed = tuple(_name(q.accepted) for q in new if not reports[q.accepted.id]["taken"])
    return Share(len(new) - len(missed), len(new), missed)


def _neighbors_kept(new: Sequence[EditQuestions], reports: Mapping[str, dict[str, Any]]) -> Share:
    counts = [(q.accepted, reports[q.accepted.id]["neighbors"]) for q in new]
    lost = sorted(counts, key=lambda pair: (pair[1]["kept"] - pair[1]["total"], pair[0].id))
    return Share(
        sum(count["kept"] for _, count in counts),
        sum(count["total"] for _, count in counts),
        tuple(_name(accepted) for accepted, count in lost if count["kept"] < count["total"]),
    )


def _kept(models: _Models, facts: Sequence[Fact], on_rows: OnRows) -> tuple[Share, Scores]:
    tokenizer = models.tokenizer
    return share_kept(models.parent, models.candidate, tokenizer, facts, batch_size=_BATCH_SIZE, on_rows=on_rows)


def _drifts(models: _Models, probes: ProbeSet, on_rows: OnRows) -> tuple[Drift, Drift]:
    after = next_log_probs(models.candidate, probes.prompts, batch_size=_BATCH_SIZE, on_rows=on_rows)
    from_original = drift(probes.log_probs, after)
    if models.parent_is_original:
        return from_original, from_original
    before = next_log_probs(models.parent, probes.prompts, batch_size=_BATCH_SIZE, on_rows=on_rows)
    return from_original, drift(before, after)


def _perplexities(models: _Models, plan: _Plan, on_rows: OnRows) -> Perplexities:
    return Perplexities(
        original=plan.base_perplexity,
        parent=plan.base_perplexity
        if models.parent_is_original
        else perplexity(models.parent, plan.heldout_ids, on_rows=on_rows),
        candidate=perplexity(models.candidate, plan.heldout_ids, on_rows=on_rows),
    )


def _name(accepted: AcceptedEdit) -> str:
    return f"{accepted.id} ({accepted.edit.subject} → {accepted.edit.target_new})"
