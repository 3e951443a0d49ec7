"""Makes a version in a new store from the manifest of a stored one: z, the joint solve, the checks, the files.

The rest of the manifest, such as superseded edits and batches, is unchanged. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from editing_core.checks.checks import CheckReport, run_checks
from editing_core.clock import timestamp, utc_now
from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit
from editing_core.errors import InvalidEdit
from editing_core.guards import AcceptedGuard
from editing_core.memit.targets import SearchDiverged, SearchTooLarge
from editing_core.memit.update import Update
from editing_core.models.machine import circumstances
from editing_core.models.views import make_view
from editing_core.remaking.comparison import MatrixDifference, ScoreDifference, matrix_differences, score_difference
from editing_core.remaking.guards import before_their_edits, kept_by_stored
from editing_core.remaking.new_store import NewStore, Progress, copy_stored_targets, open_new_store
from editing_core.remaking.task import Source, Task, open_source, require_room_for_store
from editing_core.verifying.digests import tensors_digest
from editing_core.versions.head import mark_published
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore

CHECK_SEED = 0
"""Same seed as the worker's, so the checks draw the same prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of a rebuild or a migration."""

    source: Source
    manifest: Manifest
    """Manifest of the new version. It has no digest if the version was not written."""
    digest: str
    report: CheckReport
    is_written: bool
    command: str
    """Command line that serves the new store."""
    targets_reused: int
    targets_searched: int
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Edits that this model cannot take: the reason by edit id. Empty for the same model."""
    stored_unreadable: str | None = None
    """Reason why the stored matrices could not be compared."""
    matrices: tuple[MatrixDifference, ...] = ()
    """Differences of the matrices; computed for the same model if the digests differ."""
    scores: ScoreDifference | None = None

    @property
    def is_same(self) -> bool:
        """Whether the new version equals the stored one bit for bit."""
        return self.digest == self.source.manifest.digest


def remake(task: Task, *, same_model: bool, on_progress: Progress) -> Outcome:
    """Solve the version's edits again, check them, and write a store that can be served.

    With ``same_model``, the model must be the version's own and every edit must be usable. Otherwise, edits that the
    model cannot take are left out. A version whose checks fail is written only if it equals the stored one bit for bit
    or if the task allows it. Raises StoreError, InvalidSettings and InvalidEdit.
    """
    source = open_source(task.source, task.version)
    require_room_for_store(task.out, task.source)
    place = open_new_store(task, source, same_model=same_model, on_progress=on_progress)
    live, left_out = _usable(place.editor, source.manifest, same_model=same_model)
    num_reused = copy_stored_targets(place.editor, source, live) if same_model and task.with_targets else 0
    live, unreachable = _search(place.editor, live, same_model=same_model, on_progress=on_progress)
    if not live and source.manifest.live:
        raise InvalidEdit("this model can take none of the edits: there is nothing to solve")
    draft = _draft(source.manifest, place, live)
    update = solve(place.editor, draft, on_progress=on_progress)
    guards = draft.accepted_guards
    counted = kept_by_stored(guards, source, place.loaded) if same_model else before_their_edits(guards, live)
    report = check(place.editor, draft, update, task, guards=counted, on_progress=on_progress)
    digest = tensors_digest(update.weights)
    draft = draft.model_copy(update={"delta_norms": update.delta_norms, "checks": report.summary})
    is_written = report.passed or task.even_if_failed or digest == source.manifest.digest
    if is_written:
        on_progress("writing", 0, 1)
        draft = write(draft, update, StoreLayout(task.out))
    matrices: tuple[MatrixDifference, ...] = ()
    scores, unreadable = None, None
    if same_model and digest != source.manifest.digest:
        matrices, scores, unreadable = _compare(place, source, update, live, on_progress=on_progress)
    return Outcome(
        source=source,
        manifest=draft,
        digest=digest,
        report=report,
        is_written=is_written,
        command=_command(task, place),
        targets_reused=num_reused,
        targets_searched=len(place.editor.target_keys(live)) - num_reused,
        left_out={**left_out, **unreachable},
        stored_unreadable=unreadable,
        matrices=matrices,
        scores=scores,
    )


def solve(editor: JointEditor, manifest: Manifest, *, on_progress: Progress) -> Update:
    """Solve the weights for the live edits and guards of the manifest. The z of every edit must exist."""
    guards = manifest.accepted_guards
    return editor.build(
        manifest.live, guards=guards, on_progress=lambda done, total: on_progress("solving", done, total)
    )


def check(
    editor: JointEditor,
    manifest: Manifest,
    update: Update,
    task: Task,
    *,
    guards: Sequence[AcceptedGuard],
    on_progress: Progress,
) -> CheckReport:
    """Check the version, with these guards, as one batch that applies all its edits to the original."""
    loaded, artefacts = editor.loaded, editor.artefacts
    report = run_checks(
        original=loaded.model,
        parent=loaded.model,
        candidate=make_view(loaded.model, update.weights),
        tokenizer=loaded.tokenizer,
        live=manifest.live,
        new=manifest.live,
        probes=artefacts.probes,
        heldout_ids=artefacts.heldout_ids,
        base_perplexity=artefacts.heldout_perplexity,
        delta_norms=update.delta_norms,
        limits=task.limits,
        seed=CHECK_SEED,
        guards=guards,
        protected=editor.holding(manifest.live, manifest.accepted_guards).prompts,
        on_progress=lambda done, total: on_progress("checking", done, total),
    )
    counted = {accepted.id for accepted in guards}
    report.summary["guards"]["not_counted"] = [row.id for row in manifest.accepted_guards if row.id not in counted]
    return report


def write(manifest: Manifest, update: Update, layout: StoreLayout) -> Manifest:
    """Write the version and make it the live version of the store."""
    finished = VersionStore(layout).write(manifest, update.weights)
    mark_published(layout, finished.version)
    VersionStore(layout).write_head(1, finished.version)
    return finished


def _usable(
    editor: JointEditor, manifest: Manifest, *, same_model: bool
) -> tuple[tuple[AcceptedEdit, ...], dict[str, str]]:
    """Return the live edits that tokenizer and context length allow, and the reasons for all others by edit id."""
    problems = editor.problems(manifest.live)
    if problems and same_model:
        edit, reason = next(iter(problems.items()))
        raise InvalidEdit(f"edit {edit} of {manifest.version} cannot be used: {reason}")
    return _without(manifest.live, problems), problems


def _search(
    editor: JointEditor, live: tuple[AcceptedEdit, ...], *, same_model: bool, on_progress: Progress
) -> tuple[tuple[AcceptedEdit, ...], dict[str, str]]:
    """Search the missing z. For another model, leave out subjects whose search fails."""
    unreachable: dict[str, str] = {}
    while missing := editor.missing_targets(live):
        groups = [
            group
            for group, key in zip(editor.open_groups(live), editor.target_keys(live), strict=True)
            if key not in editor.targets
        ]
        try:
            editor.compute_targets(
                missing, live=live, on_progress=lambda done, total: on_progress("searching z", done, total)
            )
        except InvalidEdit as error:
            cause = error.__cause__
            if same_model or not isinstance(cause, SearchDiverged | SearchTooLarge):
                raise
            unreachable |= {accepted.id: error.detail for accepted in groups[cause.group].edits}
            live = _without(live, unreachable)
    return live, unreachable


def _without(live: tuple[AcceptedEdit, ...], left_out: Mapping[str, str]) -> tuple[AcceptedEdit, ...]:
    return tuple(accepted for accepted in live if accepted.id not in left_out)


def _draft(manifest: Manifest, place: NewStore, live: tuple[AcceptedEdit, ...]) -> Manifest:
    """Return the source's manifest with the values of the new store.

    The version keeps its name, so references stay valid.
    """
    settings = place.identity.settings
    assert settings is not None
    kept = {accepted.id for accepted in live} | _beneath(manifest, place.editor, live)
    changed = {
        "parent": ORIGINAL,
        "created": timestamp(utc_now(), timespec="seconds"),
        "store": place.identity.id,
        "model_fingerprint": place.loaded.fingerprint,
        "settings": settings.values,
        "edits": tuple(record for record in manifest.edits if record["id"] in kept),
        "superseded": tuple(record for record in manifest.superseded if record["id"] in kept),
        "made_with": circumstances(place.loaded.device),
        "digest": None,
        "size_bytes": None,
    }
    return manifest.model_copy(update=changed)


def _beneath(manifest: Manifest, editor: JointEditor, live: tuple[AcceptedEdit, ...]) -> set[str]:
    """Return the ids of usable superseded edits that a take-out could restore: a live edit has the same identity."""
    about = {accepted.edit.identity for accepted in live}
    beneath = [accepted for accepted in manifest.edit_set.superseded if accepted.edit.identity in about]
    return {accepted.id for accepted in beneath} - set(editor.problems(beneath))


def _compare(
    place: NewStore, source: Source, update: Update, live: tuple[AcceptedEdit, ...], *, on_progress: Progress
) -> tuple[tuple[MatrixDifference, ...], ScoreDifference | None, str | None]:
    stored, reason = source.tensors()
    if stored is None:
        return (), None, reason
    scores = score_difference(
        place.loaded,
        stored,
        update.weights,
        live=live,
        on_progress=lambda done, total: on_progress("scoring both versions", done, total),
    )
    return matrix_differences(place.loaded, stored, update.weights), scores, None


def _command(task: Task, place: NewStore) -> str:
    constants = place.editor.config.overrides().given()
    texts = [f"--corpus {file}" for file in task.options.corpus]
    texts += (
        [f"--dataset {task.options.dataset} --text-column {task.options.text_column}"] if task.options.dataset else []
    )
    texts += [f"--statistics {task.options.statistics}"] if task.options.statistics else []
    return " ".join([
        f"errata up --data {task.out} --model {place.loaded.source}",
        *(
            f"--{name.replace('_', '-')} {value if isinstance(value, str) else f'{value:g}'}"
            for name, value in constants.items()
        ),
        *texts,
    ])
