"""Opens a model for editing, and solves edits jointly. The steps of the solve can also be called one by one.

The model's weights are never written to: every result is a view that shares all other tensors with the original.
"""

# Dims: N edits, H hidden size, M width of the projection's input.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from editing_core.covariance.defaults import TEXT_COLUMN
from editing_core.editor.editor import JointEditor
from editing_core.editor.opening import EditorOptions
from editing_core.editor.opening import open_editor as open_joint_editor
from editing_core.edits import AcceptedEdit, Edit, conflicts, edit_set, normalise, validate_edit
from editing_core.errors import EditConflict, InvalidEdit
from editing_core.memit.config import MemitConfig
from editing_core.memit.first_layer_inputs import KeptReads
from editing_core.memit.keys import KeySweep
from editing_core.memit.update import Update, solve_edits
from editing_core.models.load import load_model
from editing_core.models.views import make_view
from errata.edited import EditedModel
from errata.progress import progress_on, stage

CACHE = "var"
"""Default folder for statistics and z files: the one that ``errata prepare`` and the service use by default."""


def open_editor(
    model: str | Path,
    *,
    corpus: str | Path | Sequence[str | Path] = (),
    cache: str | Path = CACHE,
    dataset: str | None = None,
    text_column: str = TEXT_COLUMN,
    statistics: str | Path | None = None,
    num_tokens: int | None = None,
    context_seed: int = 0,
    layers: str | None = None,
    prior_weight: float | None = None,
    clamp: float | None = None,
    guard_weight: float | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: bool = True,
) -> Editor:
    """Load a model, and read or compute its statistics. The first time this takes minutes; later it takes seconds.

    ``model``: a Hugging Face id, a folder, ``demo-gptj`` or ``demo-gptneox``. ``corpus``: text files in UTF-8, a
    document a line; ``dataset`` is the alternative, and the demo models need neither. ``cache``: folder for
    statistics and z files (default ``var``). ``statistics``: folder of published second moments. ``layers`` (as
    ``"3-8"``), ``prior_weight`` (λ), ``clamp`` and ``guard_weight`` replace the model's preset. ``device`` None: CUDA
    if there is any; ``dtype`` None: the checkpoint's on CUDA, float32 on CPUs. ``progress`` False: nothing is written
    to standard error.

    Raises InvalidSettings, UnknownModelFamily and StoreDamaged; all are ErrataError.
    """
    files = [corpus] if isinstance(corpus, str | Path) else corpus
    options = EditorOptions(
        corpus=tuple(Path(file) for file in files),
        dataset=dataset,
        text_column=text_column,
        statistics=Path(statistics) if statistics is not None else None,
        num_tokens=num_tokens,
        context_seed=context_seed,
        layers=layers,
        prior_weight=prior_weight,
        clamp=clamp,
        guard_weight=guard_weight,
    )
    console = Console(stderr=True) if progress else None
    with progress_on(console) as report:
        report("loading the model", 0, 1)
        loaded = load_model(str(model), device=device, dtype=dtype)
        joint = open_joint_editor(loaded, options, root=Path(cache), on_progress=report)
    return Editor(joint_editor=joint, console=console)


@dataclass(frozen=True, slots=True, kw_only=True)
class Editor:
    """One model and its statistics, ready to be edited. Made by ``open_editor``."""

    joint_editor: JointEditor
    """The editor of the core, as the service's worker uses it."""
    console: Console | None = None
    """Where progress is written; None: nowhere."""

    @property
    def model(self) -> nn.Module:
        """The untouched model."""
        return self.joint_editor.loaded.model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self.joint_editor.loaded.tokenizer

    @property
    def config(self) -> MemitConfig:
        """The constants: edited layers, λ, clamp factor, steps and learning rate of the search."""
        return self.joint_editor.config

    def edit(self, edits: Iterable[Edit]) -> EditedModel:
        """Solve all edits jointly from the original weights, in any order; z files in the cache are reused.

        Raises InvalidEdit for an edit that cannot be used, and EditConflict for two that contradict each other; both
        name the edits by their places in the list.
        """
        live = self._accept(edits)
        with progress_on(self.console) as progress:
            self.joint_editor.compute_targets(live, live=live, on_progress=stage(progress, "searching z"))
            update = self.joint_editor.build(live, on_progress=stage(progress, "solving layers"))
        return self._edited(live, update)

    def targets(self, edits: Iterable[Edit]) -> dict[Edit, Tensor]:
        """First step: the z of each edit [H], searched or read from the cache (MEMIT, Eqn. 16).

        Edits about one subject share one search. If the model already says everything that is wanted about a subject,
        its edits have no z and are left out.
        """
        live = self._accept(edits)
        with progress_on(self.console) as progress:
            self.joint_editor.compute_targets(live, live=live, on_progress=stage(progress, "searching z"))
        return {
            accepted.edit: target.targets_EH[place]
            for group in self.joint_editor.open_groups(live)
            for target in [self.joint_editor.searches(group.edits)[group.edits[0].id]]
            for place, accepted in enumerate(group.edits)
        }

    def keys(self, edits: Iterable[Edit]) -> dict[int, Tensor]:
        """Second step: per edited layer the keys of the edits [N, M] on the original weights (MEMIT, Eqn. 19).

        Rows are in the order given. The solve reads the keys of later layers on weights that are edited already; those
        are in ``EditedModel.update.layers``.
        """
        live, config = self._accept(edits), self.config
        rows = [self.joint_editor.rows_of(accepted).prompts for accepted in live]
        if not rows:
            return {}
        sweep = KeySweep(
            self.joint_editor.loaded, rows, layers=config.layers, bare_weight=config.bare_weight, kept=KeptReads()
        )
        keys = {}
        for layer in config.layers:
            keys[layer] = sweep.read(self.model, layer)[0]
            sweep.advance(self.model, layer)
        return keys

    def solve(self, targets: Mapping[Edit, Tensor]) -> EditedModel:
        """Third step: new matrices that move each edit to its z [H] (MEMIT, Eqns. 14 and 20, Algorithm 1).

        The z may be your own. Rows of ``EditedModel.update.layers`` are in the order of the mapping. Unlike ``edit``,
        nothing else is held: no protected neighbours, and no edits that are already true.
        """
        live = self._accept(targets)
        with progress_on(self.console) as progress:
            update = solve_edits(
                self.joint_editor.loaded,
                [self.joint_editor.rows_of(accepted).prompts for accepted in live],
                torch.stack([targets[accepted.edit] for accepted in live]) if live else torch.empty(0),
                covariances=self.joint_editor.artefacts.covariances,
                config=self.config,
                subjects=[normalise(accepted.edit.subject) for accepted in live],
                on_progress=stage(progress, "solving layers"),
            )
        return self._edited(live, update)

    def _edited(self, live: Sequence[AcceptedEdit], update: Update) -> EditedModel:
        return EditedModel(
            model=make_view(self.model, update.weights),
            edits=tuple(live),
            update=update,
            joint_editor=self.joint_editor,
            console=self.console,
        )

    def _accept(self, edits: Iterable[Edit]) -> tuple[AcceptedEdit, ...]:
        """The edits as a live set, in the order given; of several edits about one thing, the last."""
        given = tuple(edits)
        for place, edit in enumerate(given):
            try:
                validate_edit(edit)
            except InvalidEdit as error:
                raise InvalidEdit(f"edits[{place}]: {error.detail}", loc=("edits", place, *error.loc)) from None
        for first, second in conflicts(given):
            raise EditConflict(
                f"edits[{first}] and edits[{second}] give {given[first].identity} two objects:"
                f" {given[first].target_new!r} and {given[second].target_new!r}"
            )
        accepted = [_accepted(place, edit) for place, edit in enumerate(given)]
        live = {row.id for row in edit_set(accepted).live}
        kept = tuple(row for row in accepted if row.id in live)
        for name, problem in self.joint_editor.problems(kept).items():
            raise InvalidEdit(f"{name}: {problem}")
        return kept


def _accepted(place: int, edit: Edit) -> AcceptedEdit:
    return AcceptedEdit(
        id=f"edits[{place}]", edit=edit, batch="python", acceptance=place, created="1970-01-01T00:00:00Z"
    )
