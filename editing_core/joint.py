"""From a live set to new weights: rows, the search for missing z, the joint solve, for one model and its artefacts.

Shared by the worker and by ``errata evaluate``. Knows no versions, checks or queue; never changes the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.edits import AcceptedEdit, canonical
from editing_core.errors import InvalidEdit
from editing_core.memit.config import MemitConfig
from editing_core.memit.editor import Update, solve_edits
from editing_core.memit.groups import SubjectGroup, subject_groups
from editing_core.memit.kept import KeptReads
from editing_core.memit.search.pool import Target
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import SearchDiverged, SearchTooLarge, search_targets
from editing_core.memit.tokens import EditRows, edit_rows
from editing_core.models.load import LoadedModel
from editing_core.versions.target_files import TargetFiles

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Progress that nobody wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointEditor:
    """Edits one model, always from its original weights."""

    loaded: LoadedModel
    artefacts: ModelArtefacts
    config: MemitConfig
    targets: TargetFiles
    batch_rows: int | None = None
    """Rows of searches at once; None: as many as fit into memory."""
    _rows: dict[str, EditRows] = field(default_factory=dict)
    _kept: KeptReads = field(default_factory=KeptReads)

    def problems(self, edits: Iterable[AcceptedEdit]) -> dict[str, str]:
        """Per id of an edit that the tokenizer or the model's length does not allow: why."""
        found = {}
        for accepted in edits:
            try:
                self.rows_of(accepted)
            except InvalidEdit as error:
                found[accepted.id] = error.detail
        return found

    def rows_of(self, accepted: AcceptedEdit) -> EditRows:
        """Token rows of an edit, tokenised once; raises InvalidEdit."""
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
        """Edits whose z, under their present subject's group, is not on disk."""
        return [edit for group in subject_groups(live) if self._key(group) not in self.targets for edit in group.edits]

    def compute_targets(
        self, edits: Iterable[AcceptedEdit], *, live: Iterable[AcceptedEdit], on_progress: Progress = _silent
    ) -> None:
        """Make the z files of the groups of ``edits`` within ``live``; those on disk cost nothing.

        Progress counts those of ``edits`` alone that are not on disk, though their groups may hold more.
        """
        wanted = {edit.id for edit in edits}
        groups = [
            group
            for group in subject_groups(live)
            if any(edit.id in wanted for edit in group.edits) and self._key(group) not in self.targets
        ]
        own = sum(edit.id in wanted for group in groups for edit in group.edits)
        try:
            search_targets(
                self.loaded,
                [GroupRows(tuple(self.rows_of(edit) for edit in group.edits)) for group in groups],
                self.config,
                batch_rows=self.batch_rows,
                on_progress=lambda done, total: on_progress(own * done // max(1, total), own),
                on_found=lambda index, target: self.targets.write(
                    self._key(groups[index]), target, edits=[edit.edit.content_key() for edit in groups[index].edits]
                ),
            )
        except (SearchDiverged, SearchTooLarge) as error:
            first = groups[error.group].edits[0].id  # named by its id: this text is logged, and edits' texts are not
            raise InvalidEdit(f"edit {first} (its subject's search): {error.detail}", loc=("subject",)) from error

    def searches(self, live: Iterable[AcceptedEdit]) -> dict[str, Target]:
        """Per edit id the search that gave its z; all must be on disk."""
        return {
            edit.id: target
            for group in subject_groups(live)
            for target in [self.targets.read(self._key(group))]
            for edit in group.edits
        }

    def build(self, live: Iterable[AcceptedEdit], *, on_progress: Progress = _silent) -> Update:
        """Solve the whole live set jointly; every z must be on disk. The order given leaves no trace."""
        ordered = canonical(live)
        places = {
            edit.id: target.targets_EH[i]
            for group in subject_groups(ordered)
            for target in [self.targets.read(self._key(group))]
            for i, edit in enumerate(group.edits)
        }
        return solve_edits(
            self.loaded,
            [self.rows_of(edit).prompts for edit in ordered],
            torch.stack([places[edit.id] for edit in ordered]) if ordered else torch.empty(0),
            covariances=self.artefacts.covariances,
            config=self.config,
            kept=self._kept,
            on_progress=on_progress,
        )

    def _key(self, group: SubjectGroup) -> str:
        model = f"{self.loaded.fingerprint} {self.loaded.dtype}"
        return group.target_key(model=model, contexts=self.artefacts.contexts, config=self.config)
