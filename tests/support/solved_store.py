"""A store with one live version, made by the worker's own session without a Redis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from editing_core.edits import AcceptedEdit, edit_set
from editing_core.guards import AcceptedGuard
from editing_core.versions.head import mark_published
from editing_core.versions.manifest import Manifest
from tests.support.tiny_models import TinyFamily, save_tiny_model
from tests.support.worker_process import CORPUS, LAX
from worker.protocol.entities import BatchOptions, BatchSpec
from worker.protocol.settings import Settings
from worker.session import EditingSession

LAYERS = "1,2"


def tiny_settings(folder: Path, family: TinyFamily = "gptj") -> Settings:
    """Settings of a tiny model with its text and its store in the folder."""
    corpus = folder / "corpus.txt"
    if not corpus.exists():
        corpus.write_text((CORPUS / "heldout.txt").read_text())
    values = LAX | {
        "model": str(save_tiny_model(folder / family, family)),
        "data": folder / "data",
        "corpus": str(corpus),
        "layers": LAYERS,
        "prior_weight": 5.0,
        "clamp": 2.0,
        "num_threads": 1,
    }
    return Settings.model_validate(values)


def solve_store(
    settings: Settings, accepted: Sequence[AcceptedEdit], *, guards: Sequence[AcceptedGuard] = ()
) -> Manifest:
    """Apply the edits batch by batch, as a worker does, and write the result as the live version."""
    session = EditingSession.open(settings)
    edits = edit_set(accepted)
    for batch in dict.fromkeys(edit.batch for edit in accepted):
        own = [edit for edit in edits.live if edit.batch == batch]
        session.compute_targets(own, live=own, on_progress=_silent)
    session.compute_targets(edits.live, live=edits.live, on_progress=_silent)
    candidate = session.build_candidate(edits.live, guards=guards, on_progress=_silent)
    report = session.check(
        candidate, live=edits.live, new=edits.live, parent="v0", is_takedown=False, on_progress=_silent
    )
    version = "v3"
    manifest = session.write_version(
        version,
        candidate,
        parent="v0",
        edits=edits,
        dropped=(),
        batches={edit.batch: {**_summary(edit), "version": version} for edit in accepted},
        report=report,
    )
    mark_published(session.store.layout, version)
    session.store.write_head(4, version)
    return manifest


def _summary(edit: AcceptedEdit) -> dict[str, object]:
    spec = BatchSpec(
        id=edit.batch,
        acceptance=edit.acceptance,
        created=edit.created,
        author=edit.author,
        options=BatchOptions(),
        num_edits=1,
        shard_size=64,
        request_hash="h",
    )
    return spec.summary()


def _silent(done: int, total: int) -> None:
    """Ignore progress."""
