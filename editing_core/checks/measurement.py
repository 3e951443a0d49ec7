"""The measurements of one candidate, limit by limit. Each is made on first use.

A caller that needs only the verdict can stop at the first broken limit. Changes no model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from editing_core.asking.perplexity import Perplexities
from editing_core.asking.probes import drift
from editing_core.asking.scoring import OnRows
from editing_core.checks.edit_reports import Answers, neighbors_of, report_edit
from editing_core.checks.limits import CheckLimits, Limit
from editing_core.checks.questions import Models, Plan, own_pair
from editing_core.checks.verdict import Broken, Measured, Share, broken_limits
from editing_core.edits import AcceptedEdit

_PAIR_TOKENS = 12
"""Approximate length of a prompt with its target. It only decides the order of measurements."""


class Measuring:
    """Compares one candidate with its parent and the original."""

    def __init__(self, models: Models, plan: Plan, *, delta_norms: Mapping[str, float], on_rows: OnRows) -> None:
        self._models, self._plan, self._on_rows = models, plan, on_rows
        base = plan.base_perplexity
        self.figures = Measured(
            num_live=plan.num_live,
            num_new=len(plan.new),
            reliability=Share(0, 0),
            generation_success=None,
            specificity=Share(0, 0),
            earlier=Share(0, 0),
            drift=0.0,
            drift_from_parent=0.0,
            answers_kept=1.0,
            perplexity=Perplexities(original=base, parent=base, candidate=base),
            delta_norms=delta_norms,
        )
        """Until a figure is measured, its value breaks no limit."""
        self._stages: dict[Limit, Callable[[], None]] = {
            "norms": lambda: None,
            "reliability": self._measure_reliability,
            "specificity": self._measure_specificity,
            "earlier": self._measure_earlier,
            "guards": self._measure_guards,
            "drift": self._measure_drift,
            "perplexity": self._measure_perplexity,
        }

    def measure_all(self) -> dict[str, dict[str, Any]]:
        """Measure everything. Returns each new edit's report."""
        for measure in self._stages.values():
            measure()
        reports = self._reports()
        successes = [report["generation_success"] for report in reports.values()]
        self.figures = replace(
            self.figures,
            generation_success=sum(successes) / len(successes) if successes else None,
            generalization=self._generalization(),
        )
        return reports

    def measure(self, stages: Collection[Limit]) -> None:
        """Measure the figures for these limits."""
        for stage in stages:
            if stage in self._stages:
                self._stages[stage]()

    def find_broken(self, limits: CheckLimits, *, first: Collection[Limit] = ()) -> tuple[Broken, ...]:
        """The limits that the new edits break: those of ``first`` are tested first, then the others, cheapest first.

        Measuring stops at the first broken limit. Limits that only all live edits together break do not
        count. Drift and perplexity are therefore not measured without new edits.
        """
        stages = [stage for stage in self._stages if self._plan.new or stage not in {"drift", "perplexity"}]
        for stage in sorted(stages, key=lambda stage: (stage not in first, self._cost(stage))):
            self._stages[stage]()
            broken = tuple(b for b in broken_limits(self.figures, limits) if not b.is_capacity)
            if broken:
                return broken
        return ()

    def neighbors_lost(self) -> dict[str, tuple[int, int]]:
        """By new edit: the numbers of lost and of counted neighbours. Requires ``specificity`` to be measured."""
        found = {q.accepted.id: neighbors_of(q, self._answers({}), self._models.tokenizer) for q in self._plan.new}
        return {edit: (row["total"] - row["kept"], row["total"]) for edit, row in found.items()}

    def not_holding(self) -> frozenset[str]:
        """The ids of the new edits that do not hold. Requires ``reliability`` to be measured."""
        scores = self._models.candidate.scores
        return frozenset(q.accepted.id for q in self._plan.new if not scores[own_pair(q.accepted)].greedy_match)

    def earlier_lost(self) -> frozenset[str]:
        """The ids of the earlier edits that no longer hold. Requires ``earlier`` to be measured."""
        return frozenset(accepted.id for accepted in self._held() if not self._holds(accepted))

    def _cost(self, stage: Limit) -> float:
        """The approximate number of tokens that the candidate reads."""
        plan = self._plan
        costs: dict[Limit, float] = {
            "reliability": _PAIR_TOKENS * sum(len(list(q.prompt_pairs())) for q in plan.new),
            "specificity": _PAIR_TOKENS * sum(len(list(q.neighbor_pairs())) for q in plan.new),
            "earlier": _PAIR_TOKENS * len(plan.earlier),
            "guards": _PAIR_TOKENS * len(plan.guards),
            "drift": sum(len(prompt) for prompt in plan.probes.prompts),
            "perplexity": len(plan.heldout_ids),
        }
        return costs.get(stage, 0.0)

    def _measure_reliability(self) -> None:
        pairs = [pair for questions in self._plan.new for pair in questions.prompt_pairs()]
        self._models.parent.score(pairs, self._on_rows)
        self._models.candidate.score(pairs, self._on_rows)
        missed = self.not_holding()
        names = tuple(_name(q.accepted) for q in self._plan.new if q.accepted.id in missed)
        self._note(reliability=Share(len(self._plan.new) - len(names), len(self._plan.new), names))

    def _measure_specificity(self) -> None:
        pairs = [pair for questions in self._plan.new for pair in questions.neighbor_pairs()]
        parent = self._models.parent
        parent.score(pairs, self._on_rows)
        believed = [pair for questions in self._plan.new for pair in questions.believed_pairs(parent.scores)]
        self._models.candidate.score([*pairs, *believed], self._on_rows)
        counts = self.neighbors_lost()
        blame = sorted((q.accepted for q in self._plan.new), key=lambda edit: (-counts[edit.id][0], edit.id))
        lost, total = (sum(count[i] for count in counts.values()) for i in (0, 1))
        self._note(specificity=Share(total - lost, total, tuple(_name(edit) for edit in blame if counts[edit.id][0])))

    def _measure_earlier(self) -> None:
        pairs = [own_pair(accepted) for accepted in self._plan.earlier]
        self._models.parent.score(pairs, self._on_rows)
        self._models.candidate.score(pairs, self._on_rows)
        held = self._held()
        lost = tuple(_name(accepted) for accepted in held if not self._holds(accepted))
        self._note(earlier=Share(len(held) - len(lost), len(held), lost))

    def _measure_guards(self) -> None:
        pairs = [fact.pair for fact in self._plan.guards]
        self._models.parent.score(pairs, self._on_rows)
        self._models.candidate.score(pairs, self._on_rows)
        before, after = self._models.parent.scores, self._models.candidate.scores
        held = [fact for fact in self._plan.guards if before[fact.pair].greedy_match]
        lost = tuple(fact.name for fact in held if not after[fact.pair].greedy_match)
        self._note(guards=Share(len(held) - len(lost), len(held), lost))

    def _measure_drift(self) -> None:
        probes, models = self._plan.probes, self._models
        after = models.candidate.log_probs(probes, self._on_rows)
        from_original = from_parent = drift(probes.log_probs, after)
        of_parent = 0.0
        if not models.parent_is_original:
            before = models.parent.log_probs(probes, self._on_rows)
            from_parent, of_parent = drift(before, after), drift(probes.log_probs, before).mean_kl
        self._note(
            drift=from_original.mean_kl,
            drift_from_parent=from_parent.mean_kl,
            parent_drift=of_parent,
            answers_kept=from_original.answers_kept,
        )

    def _measure_perplexity(self) -> None:
        ids, models, base = self._plan.heldout_ids, self._models, self._plan.base_perplexity
        parent = base if models.parent_is_original else models.parent.perplexity(ids, self._on_rows)
        candidate = models.candidate.perplexity(ids, self._on_rows)
        self._note(perplexity=Perplexities(original=base, parent=parent, candidate=candidate))

    def _note(self, **figures: Any) -> None:
        is_finite = all(score.is_finite for score in self._models.candidate.scores.values())
        self.figures = replace(self.figures, **figures, not_finite=() if is_finite else ("probabilities of targets",))

    def _reports(self) -> dict[str, dict[str, Any]]:
        new, candidate = self._plan.new, self._models.candidate
        candidate.score([pair for questions in new for pair in questions.paraphrase_pairs()], self._on_rows)
        self._note()
        answers = self._answers(
            candidate.writes([prompt for questions in new for prompt in questions.prompts], self._on_rows)
        )
        return {q.accepted.id: report_edit(q, answers, self._models.tokenizer) for q in new}

    def _generalization(self) -> Share:
        scores = self._models.candidate.scores
        asked = [(text, q.accepted.edit.target_new) for q in self._plan.new for text in q.paraphrases]
        return Share(sum(scores[pair].greedy_match for pair in asked), len(asked))

    def _answers(self, writes: dict[str, str]) -> Answers:
        return Answers(parent=self._models.parent.scores, candidate=self._models.candidate.scores, writes=writes)

    def _held(self) -> list[AcceptedEdit]:
        before = self._models.parent.scores
        return [accepted for accepted in self._plan.earlier if before[own_pair(accepted)].greedy_match]

    def _holds(self, accepted: AcceptedEdit) -> bool:
        return self._models.candidate.scores[own_pair(accepted)].greedy_match


def _name(accepted: AcceptedEdit) -> str:
    return f"{accepted.id} ({accepted.edit.subject} → {accepted.edit.target_new})"
