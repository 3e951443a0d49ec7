"""The checks of a candidate. They use exactly the weights that would be served.

* **Reliability**: every token of the new object is the first choice, given the tokens before it. **Generalization**:
  the same after each paraphrase. **Generation success**: the 24 greedy tokens after the prompt and after each
  paraphrase name the new object before the old one.
* **Specificity**: the share of neighbours that are kept (see ``editing_core.neighbors``). A neighbour with an object is
  kept if p(object) > p(new), by the mean log-probability per token. It counts only if the same is true in the parent.
  For any other neighbour, the parent's first token is the truth. The neighbour is kept if that token stays likelier
  than the first token of the new object. An edit is therefore not blamed for neighbours that were lost before it.
* **Earlier edits**: live edits that are not new and that held in the parent must still hold. Up to a limit, all are
  asked; above the limit, half are the oldest and half are drawn by seed. **Guards** are checked the same way, but
  always all of them.
* **Drift**, KL(original ‖ candidate) on the probe set, and **perplexity** on held-out text. Both are compared with the
  parent (harm by this batch) and with the original (capacity). **‖Δ‖/‖W‖** is measured for each layer.

A batch passes by shares. In a passing batch, edits that do not hold stay, with ``holds`` false in their report. A NaN
or an infinity anywhere fails the check. The checks change no model.
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
    """Test the candidate. ``live`` is its whole live set, ``new`` the part of it that this commit adds.

    ``parent`` is the version before (``original`` itself for v0). ``base_perplexity`` is the original's perplexity on
    ``heldout_ids``. ``on_progress(done, total)`` is called after each batch of rows and may raise. With
    ``is_takedown``, only harm against the original is judged. ``protected``: prompts whose output the solve held.
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
    """The whole report on a candidate. Makes all missing measurements."""
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
    """The measurements of a candidate, none of them made yet. The arguments are those of ``run_checks``."""
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
