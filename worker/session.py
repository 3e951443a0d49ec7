"""The editing core as the worker uses it: one model with its artefacts and its store, resident for the process's life.

Knows no queue and no ledger. Nothing is changed in place, so a progress callback may raise at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.covariance.defaults import corpus_for
from editing_core.covariance.prepare import PrepareOptions, prepare
from editing_core.edit_sets import EditSet
from editing_core.edits import AcceptedEdit
from editing_core.evaluation.checks import CheckLimits, CheckReport, run_checks
from editing_core.joint import JointEditor, Progress
from editing_core.memit.config import MemitConfig, configure, preset
from editing_core.models.load import LoadedModel, load_model
from editing_core.needs import outlook
from editing_core.versions.identity import StoreIdentity, bind_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from editing_core.versions.target_files import TargetFiles
from editing_core.versions.views import make_view
from worker.protocol.logs import log_event
from worker.protocol.settings import Settings

LOGGER = logging.getLogger(__name__)
CHECK_SEED = 0
WORKER_NEEDS = ("model", "version", "statistics", "solve")
PROGRESS_LOG_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """New weights beside the live ones."""

    weights: dict[str, Tensor]
    """The edited matrices by parameter name, exactly as they would be served."""
    delta_norms: dict[str, float]
    """‖Δ‖ / ‖W‖ by parameter name."""


class EditingSession:
    """Targets, candidates, checks and versions of one store."""

    def __init__(
        self, *, editor: JointEditor, store: VersionStore, identity: StoreIdentity, limits: CheckLimits
    ) -> None:
        self.store = store
        self._editor = editor
        self._identity = identity
        self._limits = limits
        self._parent: tuple[str, nn.Module] = (ORIGINAL, editor.loaded.model)

    @classmethod
    def open(cls, settings: Settings) -> EditingSession:
        """Load the model, make its artefacts where they are missing, and bind the store to both.

        Raises StoreMismatch where the store belongs to another model or other settings, InvalidSettings and
        UnknownModelFamily.
        """
        if (num_threads := settings.worker_threads or settings.num_threads) is not None:
            torch.set_num_threads(num_threads)
        needs = outlook(settings.model, device=settings.device, dtype=settings.dtype, layers=settings.layers)
        log_event(LOGGER, "worker.memory", level=logging.INFO, **needs.told(*WORKER_NEEDS))
        loaded = load_model(settings.model, device=settings.device, dtype=settings.dtype)
        layout = StoreLayout(settings.data)
        config = _config(loaded, settings)
        bind_identity(layout.root, model=loaded.fingerprint, model_source=settings.model)
        artefacts = _artefacts(loaded, settings, config, layout)
        values = _settings_of_the_solve(loaded, artefacts, config)
        identity = bind_identity(
            layout.root,
            model=loaded.fingerprint,
            model_source=settings.model,
            settings=_digest(values),
            settings_values=values,
        )
        targets = TargetFiles(layout.targets_dir)
        editor = JointEditor(loaded=loaded, artefacts=artefacts, config=config, targets=targets)
        return cls(editor=editor, store=VersionStore(layout), identity=identity, limits=check_limits(settings))

    def open_parent(self, version: str) -> None:
        """Load the version that the next candidate is compared with. Raises NotFound, StoreError, OSError."""
        self._parent_view(version)

    def problems(self, edits: Sequence[AcceptedEdit]) -> dict[str, str]:
        """By id of an edit that the tokenizer or the model's length does not allow: why."""
        return self._editor.problems(edits)

    def missing_targets(self, live: Sequence[AcceptedEdit]) -> list[AcceptedEdit]:
        """Edits whose z, under their present subject's group, is not on disk."""
        return self._editor.missing_targets(live)

    def compute_targets(
        self, edits: Sequence[AcceptedEdit], *, live: Sequence[AcceptedEdit], on_progress: Progress
    ) -> None:
        """Put the z of these edits' groups within ``live`` on disk; those that are there cost nothing."""
        self._editor.compute_targets(edits, live=live, on_progress=on_progress)

    def build_candidate(self, live: Sequence[AcceptedEdit], *, on_progress: Progress) -> Candidate:
        """Solve the whole live set jointly from the original weights."""
        update = self._editor.build(live, on_progress=on_progress)
        return Candidate(weights=update.weights, delta_norms=update.delta_norms)

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
            on_progress=on_progress,
        )
        self._add_searches(report, live)
        return report

    def write_version(
        self,
        version: str,
        candidate: Candidate,
        *,
        parent: str,
        edits: EditSet,
        batches: dict[str, dict[str, Any]],
        report: CheckReport,
    ) -> Manifest:
        """Write the version complete and synced; it is not live by that."""
        settings = self._identity.settings
        assert settings is not None
        manifest = Manifest(
            version=version,
            parent=parent,
            created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            store=self._identity.id,
            model_fingerprint=self._editor.loaded.fingerprint,
            settings=settings.values,
            edits=tuple(accepted.to_json() for accepted in edits.live),
            superseded=tuple(accepted.to_json() for accepted in edits.superseded),
            batches=batches,
            delta_norms=candidate.delta_norms,
            checks=report.summary,
            tensors={},
        )
        return self.store.write(manifest, candidate.weights)

    def _parent_view(self, version: str) -> nn.Module:
        model = self._editor.loaded.model
        if version == ORIGINAL:
            return model
        if self._parent[0] != version:
            tensors = self.store.load_tensors(version, self._editor.loaded.device)
            self._parent = (version, make_view(model, tensors))
        return self._parent[1]

    def _add_searches(self, report: CheckReport, live: Sequence[AcceptedEdit]) -> None:
        """Tell with each new edit how its search for z ended: a high loss says that the model could not be moved."""
        searches = self._editor.searches(live)
        for edit_id, row in report.edits.items():
            if edit_id in searches:
                found = searches[edit_id]
                row["search"] = {"loss": found.loss, "nll": found.nll, "losses_read": found.num_losses}


def check_limits(settings: Settings) -> CheckLimits:
    """The limits of the checks as the settings have them."""
    names = {field.name for field in fields(CheckLimits)} & set(Settings.model_fields)
    return CheckLimits(**{name: getattr(settings, name) for name in names})


def _config(loaded: LoadedModel, settings: Settings) -> MemitConfig:
    num_layers = loaded.family.num_layers(loaded.model)
    base = preset(loaded.family.model_type, num_layers=num_layers, hidden_size=loaded.hidden_size)
    return configure(
        base,
        num_layers=num_layers,
        layers=settings.layers,
        prior_weight=settings.prior_weight,
        clamp=settings.clamp,
    )


def _artefacts(loaded: LoadedModel, settings: Settings, config: MemitConfig, layout: StoreLayout) -> ModelArtefacts:
    corpus = corpus_for(settings.model, settings.corpus, dataset=settings.dataset, text_column=settings.text_column)
    tokens, seed = settings.tokens, settings.context_seed
    options = PrepareOptions(layers=config.layers, num_tokens=tokens, context_seed=seed, statistics=settings.statistics)
    return prepare(loaded, corpus, options, root=layout.artefacts_dir, on_progress=_progress_log())


def _progress_log() -> Callable[[str, int, int], None]:
    next_line = time.monotonic() + PROGRESS_LOG_SECONDS

    def tell(what: str, done: int, total: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + PROGRESS_LOG_SECONDS
            log_event(LOGGER, "prepare.progress", what=what, done=done, total=total)

    return tell


def _settings_of_the_solve(loaded: LoadedModel, artefacts: ModelArtefacts, config: MemitConfig) -> dict[str, Any]:
    """All that decides a version's weights beside the original model, the live set and the stored z."""
    return {
        **config.to_json(),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "contexts": list(artefacts.contexts),
        "statistics": artefacts.fingerprint(),
        "statistics_tokens": artefacts.num_tokens,
    }


def _digest(values: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
