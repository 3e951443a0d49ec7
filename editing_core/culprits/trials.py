"""Tries several live sets on one parent: solves each, tests it as far as the verdict needs, and collects evidence.

The parent is asked only once for all tries. Knows no batches and no search.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from editing_core.checks.checks import CheckLimits, CheckReport, measuring_of, report_on
from editing_core.checks.limits import Limit
from editing_core.checks.measurement import Measuring
from editing_core.checks.questions import Answering, Models
from editing_core.checks.verdict import Broken
from editing_core.culprits.shares import EditShares, shares_of
from editing_core.culprits.suspects import Evidence
from editing_core.editor.editor import JointEditor, Progress
from editing_core.edits import AcceptedEdit
from editing_core.guards import AcceptedGuard
from editing_core.memit.update import Update
from editing_core.models.views import make_view

_NOTHING = {"size": 0.0, "disturbance": 0.0, "unreached": 0.0, "loss": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One solved set. Its measurements are made on demand."""

    live: tuple[AcceptedEdit, ...]
    new: tuple[AcceptedEdit, ...]
    update: Update
    measuring: Measuring

    @property
    def weights(self) -> dict[str, Tensor]:
        """The edited matrices, as they would be served."""
        return self.update.weights


class Trials:
    """All tries on one parent."""

    def __init__(
        self,
        *,
        editor: JointEditor,
        parent: nn.Module,
        guards: Sequence[AcceptedGuard],
        limits: CheckLimits,
        seed: int,
    ) -> None:
        """``guards``: held by every solve and tested by every check."""
        self.limits = limits
        self._editor, self._guards, self._seed = editor, guards, seed
        self._parent = Answering(parent, editor.loaded.tokenizer)

    def solve(self, live: Sequence[AcceptedEdit], new: Sequence[AcceptedEdit], *, on_progress: Progress) -> Try:
        """Solve a set without measuring it. ``new``: the edits of ``live`` that the checks judge.

        If edits about one subject are left out, the z of the remaining ones are searched again.
        """
        missing = self._editor.missing_targets(live)
        if missing:
            self._editor.compute_targets(missing, live=live, on_progress=on_progress)
        update = self._editor.build(live, guards=self._guards, on_progress=on_progress)
        loaded, artefacts = self._editor.loaded, self._editor.artefacts
        models = Models(
            original=loaded.model,
            parent=self._parent,
            candidate=Answering(make_view(loaded.model, update.weights), loaded.tokenizer),
            tokenizer=loaded.tokenizer,
        )
        measuring = measuring_of(
            models,
            live=live,
            new=new,
            probes=artefacts.probes,
            heldout_ids=artefacts.heldout_ids,
            base_perplexity=artefacts.heldout_perplexity,
            delta_norms=update.delta_norms,
            guards=self._guards,
            max_earlier=self.limits.max_earlier,
            seed=self._seed,
            on_progress=on_progress,
        )
        return Try(live=tuple(live), new=tuple(new), update=update, measuring=measuring)

    def broken(self, attempt: Try, *, first: Collection[Limit]) -> tuple[Broken, ...]:
        """The limits that the new edits break: at least one, if any is broken. Those of ``first`` are tested first."""
        return attempt.measuring.find_broken(self.limits, first=first)

    def report(self, attempt: Try) -> CheckReport:
        """The whole report. Makes all missing measurements."""
        held = self._editor.holding(attempt.live, self._guards)
        return report_on(attempt.measuring, self.limits, protected=held.prompts)

    def evidence(self, attempt: Try, broken: Collection[Limit]) -> dict[str, Evidence]:
        """By new edit: the evidence against it. All of ``broken`` must be measured; other checks do not count."""
        measuring = attempt.measuring
        rows = {edit.id: row for row, edit in enumerate(self._editor.solved(attempt.live))}
        lost = [rows[edit] for edit in sorted(measuring.earlier_lost()) if edit in rows] if "earlier" in broken else []
        shares = shares_of(
            self._editor.loaded,
            attempt.update,
            covariances=self._editor.artefacts.covariances,
            config=self._editor.config,
            lost=lost,
        )
        neighbors = measuring.neighbors_lost() if "specificity" in broken else {}
        missed = measuring.not_holding() if "reliability" in broken else frozenset()
        movers = _movers(shares, [rows[edit.id] for edit in attempt.new if edit.id in rows])
        figures = self._figures(attempt, shares, rows)
        return {
            edit.id: Evidence(
                **figures.get(edit.id, _NOTHING),
                neighbors_lost=neighbors.get(edit.id, (0, 0))[0],
                neighbors_total=neighbors.get(edit.id, (0, 0))[1],
                earlier_lost=movers.count(rows[edit.id]) if edit.id in rows else 0,
                holds=edit.id not in missed,
            )
            for edit in attempt.new
        }

    def _figures(self, attempt: Try, shares: EditShares, rows: Mapping[str, int]) -> dict[str, dict[str, float]]:
        """The figures of each edit in the solve. Edits that are already true are not in it."""
        searches = self._editor.searches(attempt.live)
        return {
            edit: {
                "size": float(shares.size_N[row]),
                "disturbance": float(shares.disturbance_N[row]),
                "unreached": float(shares.unreached_N[row]),
                "loss": searches[edit].loss,
            }
            for edit, row in rows.items()
        }


def _movers(shares: EditShares, new: Sequence[int]) -> list[int]:
    """For each lost edit, the new edit whose share moves it most."""
    return [new[place] for place in shares.moved_NL[list(new)].argmax(0).tolist()] if new else []
