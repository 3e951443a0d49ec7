"""The checks of a candidate, asked of the very weights that would be served.

* **Reliability** every token of the new object is the first choice given those before it. **Generalization** the same
  after each paraphrase. **Generation success** 24 greedy tokens from the prompt and each paraphrase name the new object
  before the old one.
* **Specificity** the share of neighbours that are kept (see ``editing_core.neighbors``). A neighbour with its object is
  kept if p(object) > p(new), by the mean log-probability per token, and counts only if that held in the parent. For
  any other, the token that the parent writes first is the truth; it is kept if that token stays likelier than the new
  object's first token. So an edit answers for what it breaks, not for what is broken.
* **Earlier edits** those of the live set that are not new and that held in the parent must still hold; up to
  a limit all are asked, above it half the oldest and half drawn by seed. **Guards** in the same way, all of them.
* **Drift** KL(original ‖ candidate) on the probe set and **perplexity** on held-out text, against the parent (this
  batch's fault) and against the original (capacity). **‖Δ‖/‖W‖** of each layer.

A batch passes by shares; in a passing batch, edits that do not hold stay, with ``holds`` false in their report. A NaN
or an infinity anywhere fails the check. Changes no model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import nn

from editing_core.asking.probes import ProbeSet
from editing_core.asking.scoring import counting_rows
from editing_core.checks.guarded_facts import guarded_facts, mark_protected
from editing_core.checks.limits import CheckLimits
from editing_core.checks.measurement import Measuring
from editing_core.checks.questions import Answering, Models, Plan, earlier_to_ask, questions_about
from editing_core.checks.takedown import judge_takedown
from editing_core.checks.verdict import CheckReport, judge
from editing_core.edits import AcceptedEdit
from editing_core.guards import AcceptedGuard

__all__ = ["CheckLimits", "CheckReport", "measuring_of", "report_on", "run_checks"]


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
    measuring = measuring_of(
        Models(
            original=original,
            parent=Answering(parent, tokenizer),
            candidate=Answering(candidate, tokenizer),
            tokenizer=tokenizer,
        ),
        live=live,
        new=new,
        probes=probes,
        heldout_ids=heldout_ids,
        base_perplexity=base_perplexity,
        delta_norms=delta_norms,
        guards=guards,
        max_earlier=limits.max_earlier,
        seed=seed,
        on_progress=on_progress,
    )
    return report_on(measuring, limits, is_takedown=is_takedown, protected=protected)


def report_on(
    measuring: Measuring, limits: CheckLimits, *, is_takedown: bool = False, protected: Collection[str] = ()
) -> CheckReport:
    """The whole report on a candidate: what is not measured yet is measured now."""
    reports = measuring.measure_all()
    apart = mark_protected(reports, protected)
    report = (judge_takedown if is_takedown else judge)(measuring.figures, limits, edits=reports)
    report.summary["specificity"] |= apart
    return report


def measuring_of(
    models: Models,
    *,
    live: Sequence[AcceptedEdit],
    new: Sequence[AcceptedEdit],
    probes: ProbeSet,
    heldout_ids: Sequence[int],
    base_perplexity: float,
    delta_norms: Mapping[str, float],
    guards: Sequence[AcceptedGuard] = (),
    max_earlier: int,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> Measuring:
    """The candidate's figures, none of them measured yet; the arguments are those of ``run_checks``."""
    everything = {accepted.id: accepted for accepted in (*live, *new)}
    plan = Plan(
        new=questions_about(models, tuple(everything.values()), new, probes=probes, seed=seed),
        earlier=earlier_to_ask(live, new, limit=max_earlier, seed=seed),
        guards=guarded_facts(models.original, models.tokenizer, guards),
        probes=probes,
        heldout_ids=heldout_ids,
        base_perplexity=base_perplexity,
        num_live=len(live),
    )
    on_rows = counting_rows(on_progress, plan.num_rows(with_parent=not models.parent_is_original))
    return Measuring(models, plan, delta_norms=delta_norms, on_rows=on_rows)
