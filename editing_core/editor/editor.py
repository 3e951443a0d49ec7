"""From a live set to new weights: rows, the search for missing z, and the joint solve, for one model and its artefacts.

An edit that is already true needs no change. If this applies to all edits about a subject, no z is searched for them,
and the solve holds them as it holds guards. (If it applies only to some, they are searched with the others: a zero
residual next to a nonzero one at nearly the same key would halve it.)

Knows no versions, checks or queue, and never changes the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from editing_core.asking.original_answers import OriginalAnswers
from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.editor.holding import Holder, Holding
from editing_core.editor.standing import Standing
from editing_core.edits import AcceptedEdit, canonical, normalise
from editing_core.errors import InvalidEdit
from editing_core.guards import AcceptedGuard
from editing_core.memit.config import MemitConfig
from editing_core.memit.first_layer_inputs import KeptReads
from editing_core.memit.groups import SubjectGroup, subject_groups
from editing_core.memit.search.pool import Target
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import SearchDiverged, SearchTooLarge, search_targets
from editing_core.memit.tokens import EditRows, TokenRow, edit_rows
from editing_core.memit.update import HeldKeys, Update, solve_edits
from editing_core.models.load import LoadedModel
from editing_core.versions.target_files import TargetFiles

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointEditor:
    """Edits one model, always from its original weights."""

    loaded: LoadedModel
    artefacts: ModelArtefacts
    config: MemitConfig
    targets: TargetFiles
    batch_rows: int | None = None
    """Number of rows that are searched at once; None: as many as fit into memory."""
    _rows: dict[str, EditRows] = field(default_factory=dict)
    _kept: KeptReads = field(default_factory=KeptReads)
    _kept_of_held: KeptReads = field(default_factory=KeptReads)
    _answers: dict[tuple[str, str], bool] = field(default_factory=dict)
    _held_rows: dict[tuple[str, str | None], tuple[TokenRow, ...]] = field(default_factory=dict)
    _last_open: list[tuple[tuple[AcceptedEdit, ...], Sequence[tuple[SubjectGroup, str]]]] = field(default_factory=list)
    """The last live set and its open groups with the names of their z. At most one entry."""

    def solve_settings(self) -> dict[str, Any]:
        """Return all settings that determine a version's weights, besides original model, live set and stored z."""
        return {
            **self.config.to_json(),
            "dtype": str(self.loaded.dtype).removeprefix("torch."),
            "contexts": list(self.artefacts.contexts),
            "statistics": self.artefacts.fingerprint(),
            "statistics_tokens": self.artefacts.num_tokens,
        }

    def problems(self, edits: Iterable[AcceptedEdit]) -> dict[str, str]:
        """Return the reason by id, for each edit that the tokenizer or the model's length does not allow."""
        found = {}
        for accepted in edits:
            try:
                self.rows_of(accepted)
            except InvalidEdit as error:
                found[accepted.id] = error.detail
        return found

    def rows_of(self, accepted: AcceptedEdit) -> EditRows:
        """Return the token rows of an edit, tokenised once. Raises InvalidEdit."""
        key = accepted.edit.content_key()
        if key not in self._rows:
            self._rows[key] = edit_rows(
                self.loaded.tokenizer,
                accepted.edit,
                self.artefacts.contexts,
                max_positions=self.loaded.max_positions,
            )
        return self._rows[key]

    def missing_targets(self, live: Iterable[AcceptedEdit]) -> list[AcceptedEdit]:
        """Return the edits whose z, under their present subject's group, is not on disk."""
        return [edit for group, key in self._open(live) for edit in group.edits if key not in self.targets]

    def target_keys(self, live: Iterable[AcceptedEdit]) -> list[str]:
        """Return the names of the z that the set needs, in the order of ``open_groups(live)``."""
        return [key for _, key in self._open(live)]

    def compute_targets(
        self, edits: Iterable[AcceptedEdit], *, live: Iterable[AcceptedEdit], on_progress: Progress = _silent
    ) -> int:
        """Search the z of the groups of ``edits`` within ``live``, unless they are on disk. Returns the steps taken.

        Progress counts only those of ``edits`` that are not on disk, although their groups may contain more.
        """
        wanted = {edit.id for edit in edits}
        missing = [
            (group, key)
            for group, key in self._open(live)
            if any(edit.id in wanted for edit in group.edits) and key not in self.targets
        ]
        groups = [group for group, _ in missing]
        own = sum(edit.id in wanted for group in groups for edit in group.edits)
        num_steps = 0

        def keep(index: int, target: Target) -> None:
            nonlocal num_steps
            num_steps += target.num_losses
            group, key = missing[index]
            self.targets.write(key, target, edits=[edit.edit.content_key() for edit in group.edits])

        try:
            search_targets(
                self.loaded,
                [GroupRows(tuple(self.rows_of(edit) for edit in group.edits)) for group in groups],
                self.config,
                batch_rows=self.batch_rows,
                on_progress=lambda done, total: on_progress(own * done // max(1, total), own),
                on_found=keep,
            )
        except (SearchDiverged, SearchTooLarge) as error:
            first = groups[error.group].edits[0].id  # the id, because this text is logged and edits' texts must not be
            raise InvalidEdit(f"edit {first} (its subject's search): {error.detail}", loc=("subject",)) from error
        return num_steps

    def searches(self, live: Iterable[AcceptedEdit]) -> dict[str, Target]:
        """Return by edit id the search that gave its z. All must be on disk. Edits that are already true have none."""
        return {
            edit.id: target
            for group, key in self._open(live)
            for target in [self.targets.read(key)]
            for edit in group.edits
        }

    def settled(self, live: Iterable[AcceptedEdit]) -> frozenset[str]:
        """Return the ids of the edits that need no change, because all edits about their subject are already true."""
        everything = tuple(live)
        moved = {edit.id for group in self.open_groups(everything) for edit in group.edits}
        return frozenset(edit.id for edit in everything if edit.id not in moved)

    def solved(self, live: Iterable[AcceptedEdit]) -> tuple[AcceptedEdit, ...]:
        """Return the edits that need a change, in the order of the solve."""
        return canonical(edit for group in self.open_groups(live) for edit in group.edits)

    def holding(self, live: Iterable[AcceptedEdit], guards: Iterable[AcceptedGuard] = ()) -> Holding:
        """Return the keys whose output the solve holds."""
        everything = tuple(live)
        settled = self.settled(everything)
        rows = {row.id: self.rows_of(row).prompts for row in everything if row.id in settled}
        contexts = tuple(self.artefacts.contexts)
        holder = Holder(self.loaded.tokenizer, contexts, self.loaded.max_positions, self._held_rows)
        return holder.hold(everything, guards, settled=rows)

    def standing(self, live: Iterable[AcceptedEdit], update: Update) -> Standing:
        """Return the results of each edit in the search and in the solve that gave ``update``."""
        everything = tuple(live)
        ids = [row.id for row in self.solved(everything)]
        return Standing(
            searches=self.searches(everything),
            already_true=self.settled(everything),
            nearest={ids[i]: (ids[j], cosine) for i, (j, cosine) in update.nearest.items()},
        )

    def build(
        self,
        live: Iterable[AcceptedEdit],
        *,
        guards: Iterable[AcceptedGuard] = (),
        on_progress: Progress = _silent,
    ) -> Update:
        """Solve the whole live set jointly. Every z must be on disk. The order of the edits does not matter."""
        everything = tuple(live)
        ordered = self.solved(everything)
        places = {
            edit.id: target.targets_EH[i]
            for group, key in self._open(everything)
            for target in [self.targets.read(key)]
            for i, edit in enumerate(group.edits)
        }
        return solve_edits(
            self.loaded,
            [self.rows_of(edit).prompts for edit in ordered],
            torch.stack([places[edit.id] for edit in ordered]) if ordered else torch.empty(0),
            covariances=self.artefacts.covariances,
            config=self.config,
            kept=self._kept,
            held=HeldKeys(rows=self.holding(everything, guards).rows, kept=self._kept_of_held),
            subjects=[normalise(accepted.edit.subject) for accepted in ordered],
            on_progress=on_progress,
        )

    def open_groups(self, live: Iterable[AcceptedEdit]) -> Iterator[SubjectGroup]:
        """Return the subjects' groups that need a z, because the original model does not give all their objects."""
        return (group for group, _ in self._open(live))

    def _open(self, live: Iterable[AcceptedEdit]) -> Sequence[tuple[SubjectGroup, str]]:
        """Return the open groups with the names of their z. Cached: a commit asks several times about one set."""
        everything = tuple(live)
        if not self._last_open or self._last_open[0][0] != everything:
            self._last_open[:] = [(everything, self._find_open(everything))]
        return self._last_open[0][1]

    def _find_open(self, live: Sequence[AcceptedEdit]) -> Sequence[tuple[SubjectGroup, str]]:
        groups = subject_groups(live)
        answers = OriginalAnswers(self.loaded, self.targets.root, self._answers)
        given = answers.given(_asked(edit) for group in groups for edit in group.edits)
        name = partial(
            SubjectGroup.target_key,
            model=f"{self.loaded.fingerprint} {self.loaded.dtype}",
            contexts=self.artefacts.contexts,
            settings=self.config.target_settings(),
        )
        return [(group, name(group)) for group in groups if not all(_asked(edit) in given for edit in group.edits)]


def _asked(accepted: AcceptedEdit) -> tuple[str, str]:
    return accepted.edit.filled_prompt, accepted.edit.target_new
