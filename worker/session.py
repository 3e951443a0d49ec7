"""The worker's interface to the editing core: one model with its artefacts and store, loaded once per process.

Uses neither the queue nor the ledger. Nothing is changed in place, so a progress callback may raise at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from editing_core.checks.checks import CheckReport, run_checks
from editing_core.checks.limits import CheckLimits
from editing_core.clock import timestamp, utc_now
from editing_core.culprits.trials import Trials, Try
from editing_core.editor.editor import JointEditor, Progress
from editing_core.editor.holding import Holding
from editing_core.editor.memory_plan import outlook
from editing_core.editor.opening import EditorOptions, open_editor
from editing_core.editor.standing import Standing
from editing_core.edits import AcceptedEdit, EditSet
from editing_core.guards import AcceptedGuard, canonical_guards
from editing_core.memit.update import Update
from editing_core.models.load import load_model
from editing_core.models.machine import circumstances
from editing_core.models.views import make_view
from editing_core.versions.identity import StoreIdentity, bind_identity, settings_fingerprint
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from worker.current_job import logged_progress
from worker.protocol.logs import log_event
from worker.protocol.settings import Settings

LOGGER = logging.getLogger(__name__)
CHECK_SEED = 0
WORKER_NEEDS = ("model", "version", "statistics", "solve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """New weights that are not live yet."""

    weights: dict[str, Tensor]
    """The edited matrices by parameter name, exactly as they would be served."""
    delta_norms: dict[str, float]
    """‖Δ‖ / ‖W‖ by parameter name."""
    guards: tuple[AcceptedGuard, ...] = ()
    """The guards in force for the solve, ordered by id."""
    holding: Holding = field(default_factory=Holding)
    standing: Standing | None = None
    """The findings of the solve about the edits; None if they were not requested."""
    seconds: Mapping[str, float] = field(default_factory=dict)  # for ``keys`` and ``solve``


class EditingSession:
    """Targets, candidates, checks and versions of one store."""

    def __init__(
        self, *, editor: JointEditor, store: VersionStore, identity: StoreIdentity, limits: CheckLimits
    ) -> None:
        self.store = store
        self._editor = editor
        self._identity = identity
        self._limits = limits
        self.loaded = editor.loaded
        """The original model, without edits."""
        self._parent: tuple[str, nn.Module] = (ORIGINAL, editor.loaded.model)

    @classmethod
    def open(cls, settings: Settings) -> EditingSession:
        """Load the model, make missing artefacts, and bind the store to the model and the settings.

        Raises StoreMismatch if the store belongs to another model or other settings, InvalidSettings, and
        UnknownModelFamily.
        """
        if (num_threads := settings.worker_threads or settings.num_threads) is not None:
            torch.set_num_threads(num_threads)
        needs = outlook(settings.model, device=settings.device, dtype=settings.dtype, layers=settings.layers)
        log_event(LOGGER, "worker.memory", level=logging.INFO, **needs.log_fields(*WORKER_NEEDS))
        loaded = load_model(settings.model, device=settings.device, dtype=settings.dtype)
        layout = StoreLayout(settings.data)
        bind_identity(layout.root, model=loaded.fingerprint, model_source=settings.model)
        editor = open_editor(loaded, _editor_options(settings), root=layout.root, on_progress=logged_progress())
        values = editor.solve_settings()
        identity = bind_identity(
            layout.root,
            model=loaded.fingerprint,
            model_source=settings.model,
            settings=settings_fingerprint(values),
            settings_values=values,
        )
        return cls(
            editor=editor,
            store=VersionStore(layout, keep_manifest=True),
            identity=identity,
            limits=CheckLimits.read(settings),
        )

    def open_parent(self, version: str) -> None:
        """Load the parent version of the next candidate. Raises NotFound, StoreError, OSError."""
        self._parent_view(version)

    def problems(self, edits: Sequence[AcceptedEdit]) -> dict[str, str]:
        """Return the edits that the tokenizer or the model's context length does not allow: edit id to reason."""
        return self._editor.problems(edits)

    def missing_targets(self, live: Sequence[AcceptedEdit]) -> list[AcceptedEdit]:
        """Return the edits whose z, for the current group of their subject, is not on disk."""
        return self._editor.missing_targets(live)

    def compute_targets(
        self, edits: Sequence[AcceptedEdit], *, live: Sequence[AcceptedEdit], on_progress: Progress
    ) -> int:
        """Compute the missing z of these edits' groups within ``live`` and write them. Return the number of steps."""
        return self._editor.compute_targets(edits, live=live, on_progress=on_progress)

    def build_candidate(
        self, live: Sequence[AcceptedEdit], *, guards: Sequence[AcceptedGuard] = (), on_progress: Progress
    ) -> Candidate:
        """Solve the whole live set jointly from the original weights."""
        return self._candidate(live, self._editor.build(live, guards=guards, on_progress=on_progress), guards)

    def check(
        self,
        candidate: Candidate,
        *,
        live: Sequence[AcceptedEdit],
        new: Sequence[AcceptedEdit],
        parent: str,
        is_takedown: bool,
        on_progress: Progress,
    ) -> CheckReport:
        """Test the candidate as it would be served, against its parent and against the original."""
        loaded, artefacts = self._editor.loaded, self._editor.artefacts
        report = run_checks(
            original=loaded.model,
            parent=self._parent_view(parent),
            candidate=make_view(loaded.model, candidate.weights),
            tokenizer=loaded.tokenizer,
            live=live,
            new=new,
            probes=artefacts.probes,
            heldout_ids=artefacts.heldout_ids,
            base_perplexity=artefacts.heldout_perplexity,
            delta_norms=candidate.delta_norms,
            limits=self._limits,
            seed=CHECK_SEED,
            is_takedown=is_takedown,
            guards=candidate.guards,
            protected=candidate.holding.prompts,
            on_progress=on_progress,
        )
        self.report_standing(report, candidate)
        return report

    def report_standing(self, report: CheckReport, candidate: Candidate) -> None:
        """Add the findings of a candidate's solve to its report."""
        report.summary["guards"]["only_tested"] = candidate.holding.left_out
        if candidate.standing is not None:
            candidate.standing.add_to(report.edits)

    def trials(self, parent: str, guards: Sequence[AcceptedGuard] = ()) -> Trials:
        """Return trials of other sets against this parent, to find the edits that break a check."""
        return Trials(
            editor=self._editor,
            parent=self._parent_view(parent),
            guards=tuple(guards),
            limits=self._limits,
            seed=CHECK_SEED,
        )

    def candidate_of(self, attempt: Try, guards: Sequence[AcceptedGuard]) -> Candidate:
        """Return the candidate of a tried set."""
        return self._candidate(attempt.live, attempt.update, guards)

    def _candidate(self, live: Sequence[AcceptedEdit], update: Update, guards: Sequence[AcceptedGuard]) -> Candidate:
        return Candidate(
            weights=update.weights,
            delta_norms=update.delta_norms,
            guards=canonical_guards(guards),
            holding=self._editor.holding(live, guards),
            standing=self._editor.standing(live, update),
            seconds={"keys": update.keys_seconds, "solve": update.solve_seconds},
        )

    def write_version(
        self,
        version: str,
        candidate: Candidate,
        *,
        parent: str,
        edits: EditSet,
        batches: dict[str, dict[str, Any]],
        dropped: Sequence[dict[str, Any]],
        report: CheckReport,
    ) -> Manifest:
        """Write the complete version and sync it. This does not make it live."""
        settings = self._identity.settings
        assert settings is not None
        manifest = Manifest(
            version=version,
            parent=parent,
            created=timestamp(utc_now(), timespec="seconds"),
            store=self._identity.id,
            model_fingerprint=self._editor.loaded.fingerprint,
            settings=settings.values,
            edits=tuple(accepted.to_json() for accepted in edits.live),
            superseded=tuple(accepted.to_json() for accepted in edits.superseded),
            guards=tuple(accepted.to_json() for accepted in candidate.guards),
            batches=batches,
            dropped=tuple(dropped),
            delta_norms=candidate.delta_norms,
            checks=report.summary,
            tensors={},
            made_with=circumstances(self._editor.loaded.device),
        )
        return self.store.write(manifest, candidate.weights)

    def _parent_view(self, version: str) -> nn.Module:
        model = self._editor.loaded.model
        if version == ORIGINAL:
            return model
        if self._parent[0] != version:
            self._parent = (version, make_view(model, self.store.load_tensors(version, self._editor.loaded.device)))
        return self._parent[1]


def _editor_options(settings: Settings) -> EditorOptions:
    """Return the editor's options from the settings."""
    return replace(EditorOptions.read(settings), num_tokens=settings.tokens)
