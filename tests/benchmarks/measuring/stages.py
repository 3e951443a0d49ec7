"""The stages of a batch on one model, each with its work in closed form, to be measured or counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from editing_core.asking.probes import ProbeSet
from editing_core.checks.checks import CheckReport, run_checks
from editing_core.checks.limits import CheckLimits
from editing_core.covariance.statistics import SecondMoments
from editing_core.edits import AcceptedEdit
from editing_core.memit.config import MemitConfig
from editing_core.memit.groups import subject_groups
from editing_core.memit.search.memory import rows_that_fit
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import search_targets
from editing_core.memit.tokens import EditRows, edit_rows
from editing_core.memit.update import Update
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from tests.benchmarks.arithmetic import NOTHING, ModelShape, Work, checks_work, search_work, sweep_work
from tests.benchmarks.measuring.layouts import (
    asked_in_checks,
    needed_search,
    needed_sweep,
    packed_search,
    padded_sweep,
    search_batches,
)
from tests.benchmarks.measuring.meter import Meter
from tests.benchmarks.measuring.solving import SolveReadings, solve_measured
from tests.benchmarks.workplace import Workplace
from worker.session import CHECK_SEED

WINDOW_TOKENS, BATCH_TOKENS = 512, 4096
"""Of a preparation."""
NEVER = -1.0
"""A loss under which no search stops."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """One model, and all that its edits need."""

    loaded: LoadedModel
    config: MemitConfig
    contexts: tuple[str, ...]
    covariances: Mapping[int, Tensor]
    probes: ProbeSet
    heldout_ids: Sequence[int]
    heldout_perplexity: float
    _known: dict[str, EditRows] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, place: Workplace) -> Stages:
        """A demo model's."""
        artefacts = place.artefacts
        return cls(
            loaded=place.loaded,
            config=place.config,
            contexts=artefacts.contexts,
            covariances=artefacts.covariances,
            probes=artefacts.probes,
            heldout_ids=artefacts.heldout_ids,
            heldout_perplexity=artefacts.heldout_perplexity,
        )

    @cached_property
    def shape(self) -> ModelShape:
        """What decides the model's costs."""
        return ModelShape.of(self.loaded)

    def without_early_stop(self, num_steps: int) -> Stages:
        """The same stages, with searches that take all their steps."""
        return replace(self, config=replace(self.config, stop_loss=NEVER, num_steps=num_steps))

    def rows(self, edits: Sequence[AcceptedEdit]) -> list[EditRows]:
        """Token rows of each edit, tokenised once."""
        for accepted in edits:
            if accepted.id not in self._known:
                self._known[accepted.id] = edit_rows(
                    self.loaded.tokenizer, accepted.edit, self.contexts, max_positions=self.loaded.max_positions
                )
        return [self._known[accepted.id] for accepted in edits]

    def search(self, edits: Sequence[AcceptedEdit]) -> Tensor:
        """The z of each edit, in the order given."""
        groups = subject_groups(edits)
        found = search_targets(self.loaded, self._group_rows(edits), self.config)
        places = {
            edit.id: target.targets_EH[i]
            for group, target in zip(groups, found, strict=True)
            for i, edit in enumerate(group.edits)
        }
        return torch.stack([places[edit.id] for edit in edits])

    def search_work(self, edits: Sequence[AcceptedEdit], *, room: int | None = None, is_needed: bool = False) -> Work:
        """The work of ``search`` if no search stops early: as laid out, or without padding."""
        groups, lay_out = self._group_rows(edits), needed_search if is_needed else packed_search
        room = room or rows_that_fit(self.loaded, groups, target_layer=self.config.target_layer)
        total = NOTHING
        for batch in search_batches(groups, room=room):
            total += search_work(
                self.shape,
                lay_out(batch),
                target_layer=self.config.target_layer,
                num_steps=self.config.num_steps,
            )
        return total

    def solve(self, edits: Sequence[AcceptedEdit], targets_NH: Tensor, meter: Meter) -> tuple[Update, SolveReadings]:
        """New matrices; ``edits`` in canonical order."""
        rows = [edit.prompts for edit in self.rows(edits)]
        return solve_measured(
            self.loaded, rows, targets_NH, covariances=self.covariances, config=self.config, meter=meter
        )

    def sweep_work(self, edits: Sequence[AcceptedEdit], *, is_needed: bool = False) -> Work:
        """Of keys and residuals: as padded, or without padding."""
        rows = self.rows(edits)
        layout = needed_sweep(rows) if is_needed else padded_sweep(rows, self.loaded.device)
        return sweep_work(self.shape, layout, self.config.layers)

    def check(self, edits: Sequence[AcceptedEdit], update: Update) -> CheckReport:
        """All edits are new and their parent is the original, with the worker's default limits."""
        model = self.loaded.model
        return run_checks(
            original=model,
            parent=model,
            candidate=make_view(model, update.weights),
            tokenizer=self.loaded.tokenizer,
            live=edits,
            new=edits,
            probes=self.probes,
            heldout_ids=self.heldout_ids,
            base_perplexity=self.heldout_perplexity,
            delta_norms=update.delta_norms,
            limits=CheckLimits(),
            seed=CHECK_SEED,
        )

    def check_work(self, edits: Sequence[AcceptedEdit]) -> Work:
        """The work of ``check`` if no continuation ends early."""
        parent, candidate = asked_in_checks(
            self.loaded.model,
            self.loaded.tokenizer,
            edits,
            probes=self.probes.prompts,
            num_heldout=len(self.heldout_ids),
            seed=CHECK_SEED,
        )
        return checks_work(self.shape, parent, candidate, num_edited=len(self.config.layers))

    def _group_rows(self, edits: Sequence[AcceptedEdit]) -> list[GroupRows]:
        return [GroupRows(tuple(self.rows(group.edits))) for group in subject_groups(edits)]


def feed_moments(loaded: LoadedModel, layers: Sequence[int], *, num_tokens: int) -> SecondMoments:
    """Compute second moments of at least ``num_tokens`` random tokens, in batches as in a preparation."""
    window = min(WINDOW_TOKENS, loaded.max_positions)
    size = max(1, BATCH_TOKENS // window)
    generator = torch.Generator().manual_seed(0)
    moments = SecondMoments.empty(loaded, layers)
    while moments.num_tokens < num_tokens:
        ids = torch.randint(loaded.vocabulary_size, (size, window), generator=generator)
        moments.add(loaded, ids.tolist())
    return moments
