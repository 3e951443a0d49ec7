"""Opens the new store of a rebuild: the model, its statistics, the editor and the identity.

If possible, the statistics of the original solve are found by their fingerprint and copied from the source, so no text
is needed. Other statistics are computed from text.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from editing_core.covariance.artefacts import RECORD_FILE, ModelArtefacts, read_artefacts, read_record
from editing_core.covariance.prepare import PrepareOptions, artefact_key, prepare
from editing_core.editor.editor import JointEditor
from editing_core.editor.opening import corpus_of, open_editor
from editing_core.edits import AcceptedEdit
from editing_core.errors import StoreDamaged, StoreMismatch
from editing_core.memit.config import MemitConfig
from editing_core.models.load import LoadedModel, load_model
from editing_core.remaking.task import Source, Task
from editing_core.versions.identity import StoreIdentity, bind_identity, settings_fingerprint
from editing_core.versions.layout import StoreLayout
from editing_core.versions.target_files import TargetFiles

Progress = Callable[[str, int, int], None]
"""Called with the name of the step, the amount that is done and the total amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStore:
    """The editor and the identity of the store that will be written."""

    editor: JointEditor
    identity: StoreIdentity
    """Identity of the new store, bound to the model and the settings."""

    @property
    def loaded(self) -> LoadedModel:
        """The original model."""
        return self.editor.loaded


def open_new_store(task: Task, source: Source, *, same_model: bool, on_progress: Progress) -> NewStore:
    """Load the model, find or compute its statistics, and bind the new store to both.

    Raises StoreMismatch if ``same_model`` is required and the model differs, and InvalidSettings.
    """
    made_with = source.manifest.made_with
    threads = task.num_threads or (made_with.get("num_threads") if same_model else None)
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    on_progress("loading the model", 0, 1)
    loaded = _load(task, source, same_model=same_model)
    base = MemitConfig.from_json(source.manifest.settings) if same_model else None
    editor = open_editor(
        loaded,
        task.options,
        root=task.out,
        base=base,
        make_artefacts=lambda wanted: _artefacts(task, source, loaded, wanted, on_progress=on_progress),
    )
    values = editor.solve_settings()
    identity = bind_identity(
        task.out,
        model=loaded.fingerprint,
        model_source=loaded.source,
        settings=settings_fingerprint(values),
        settings_values=values,
    )
    return NewStore(editor=editor, identity=identity)


def copy_stored_targets(editor: JointEditor, source: Source, live: tuple[AcceptedEdit, ...]) -> int:
    """Copy the z of the live edits that exist undamaged in the source. Returns the number of copied z."""
    stored, num_copied = TargetFiles(source.layout.targets_dir), 0
    for group, key in zip(editor.open_groups(live), editor.target_keys(live), strict=True):
        try:
            target = stored.read(key)
        except StoreDamaged:  # a missing or damaged z is searched again
            continue
        editor.targets.write(key, target, edits=[accepted.edit.content_key() for accepted in group.edits])
        num_copied += 1
    return num_copied


def _load(task: Task, source: Source, *, same_model: bool) -> LoadedModel:
    dtype = task.dtype or (str(source.manifest.settings["dtype"]) if same_model else None)
    loaded = load_model(task.model or source.model, device=task.device, dtype=dtype)
    expected = source.manifest.model_fingerprint
    if same_model and loaded.fingerprint != expected:
        raise StoreMismatch(
            f"{loaded.source!r} is not the model on which {source.manifest.version} was solved ({loaded.fingerprint}, "
            f"not {expected}): name that one by --model, or use `errata migrate` for another model"
        )
    return loaded


def _artefacts(
    task: Task, source: Source, loaded: LoadedModel, wanted: PrepareOptions, *, on_progress: Progress
) -> ModelArtefacts:
    root = StoreLayout(task.out).artefacts_dir
    kept = None if task.new_statistics else _solved_with(task, source, loaded, layers=wanted.layers)
    if kept is not None:
        folder, artefacts = kept
        on_progress("copying the statistics", 0, 1)
        _copy(folder, root / folder.name)
        return artefacts
    corpus = corpus_of(loaded.source, task.options)
    made = source.layout.artefacts_dir / artefact_key(loaded, corpus, wanted).folder_name()
    if (made / RECORD_FILE).is_file():
        _copy(made, root / made.name)
    return prepare(loaded, corpus, wanted, root=root, on_progress=on_progress)


def _solved_with(
    task: Task, source: Source, loaded: LoadedModel, *, layers: tuple[int, ...]
) -> tuple[Path, ModelArtefacts] | None:
    """Return the source's statistics from the version's solve, if they fit the task; otherwise None."""
    wanted = {
        "model": loaded.fingerprint,
        "layers": list(layers),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        **({"num_tokens": task.options.num_tokens} if task.options.num_tokens is not None else {}),
        **({"context_seed": task.options.context_seed} if task.options.context_seed is not None else {}),
    }
    for record in sorted(source.layout.artefacts_dir.glob(f"*/{RECORD_FILE}")):
        key = read_record(record.parent)["key"]
        if any(key.get(name) != value for name, value in wanted.items()):
            continue
        artefacts = read_artefacts(record.parent)
        if artefacts is not None and artefacts.fingerprint() == source.manifest.settings["statistics"]:
            return record.parent, artefacts
    return None


def _copy(folder: Path, final: Path) -> None:
    """Copy a folder completely or not at all."""
    if final.exists():
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    fresh = final.with_name(f".{final.name}-{secrets.token_hex(4)}")
    shutil.copytree(folder, fresh)
    fresh.replace(final)
